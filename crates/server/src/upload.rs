//! A request body on its way to synchronous code.

use std::io;

use bytes::Bytes;
use http_body_util::BodyExt;
use shipway_engine::blocking::{self, ChannelReader};

use crate::request::Request;

/// The body as a reader. A client that breaks off becomes a read error, so that half an archive is never taken for a whole one.
pub(crate) fn reader(request: &mut Request) -> ChannelReader {
    let (sender, reader) = blocking::stream_in();
    let Some(mut body) = request.take_body() else { return reader };
    // The task ends with the body, which ends with the connection.
    tokio::spawn(async move {
        let mut wanted = true;
        while let Some(frame) = body.frame().await {
            let piece: io::Result<Bytes> = match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(bytes)) => Ok(bytes),
                Ok(Err(_trailers)) => continue,
                Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("the client broke off: {error}"))),
            };
            let failed = piece.is_err();
            // A reader that stopped early has answered: the rest is read and thrown away, because the client reads no answer while it is sending.
            wanted = wanted && sender.send(piece).await.is_ok();
            if failed {
                return;
            }
        }
    });
    reader
}
