//! An attached session over a hijacked connection: the process's output out, the client's input in, until one side ends.

use shipway_engine::containers::{Attachment, Input};
use shipway_engine::values::StreamKind;
use shipway_wire::stream::{Channel, header};

use crate::detach::{DetachKeys, Typed};
use crate::hijack::{Hijacked, Incoming, Outgoing};

/// Runs a session to its end. Returning drops `attachment`, which is what detaches.
pub(crate) async fn run(connection: Hijacked, head: String, attachment: Attachment, keys: DetachKeys) {
    let (incoming, mut outgoing) = connection.split();
    if outgoing.write(head.as_bytes()).await.is_err() {
        return;
    }
    carry(incoming, outgoing, attachment, keys).await;
}

/// Carries both directions after the head was sent.
pub(crate) async fn carry(incoming: Incoming, mut outgoing: Outgoing, attachment: Attachment, keys: DetachKeys) {
    let Attachment { tty, mut output, input } = attachment;
    let sending = async {
        let mut piece = Vec::new();
        while let Some(frame) = output.recv().await {
            piece.clear();
            if !tty {
                let channel = channel_of(frame.stream);
                piece.extend_from_slice(&header(channel, u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX)));
            }
            piece.extend_from_slice(&frame.bytes);
            if outgoing.write(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receive(incoming, input, tty.then_some(keys)) => {}
    }
    outgoing.finish();
}

/// The frame channel of an output stream.
pub(crate) fn channel_of(stream: StreamKind) -> Channel {
    match stream {
        StreamKind::Stdout => Channel::Output,
        StreamKind::Stderr => Channel::Error,
    }
}

/// Hands on what the client sends. Ends when the client leaves or types the detach keys; the end of its input only closes the process's.
async fn receive(mut incoming: Incoming, input: Option<Input>, mut keys: Option<DetachKeys>) {
    let Some(input) = input else { return incoming.gone().await };
    loop {
        let bytes = match incoming.read().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(_) => return,
        };
        let (bytes, leaves) = match keys.as_mut().map(|keys| keys.typed(&bytes)) {
            None => (bytes, false),
            Some(Typed::Forward(bytes)) => (bytes.into(), false),
            Some(Typed::Detach(bytes)) => (bytes.into(), true),
        };
        // A process that closed its input is no reason to end the session: its output goes on.
        if !bytes.is_empty() && input.write(bytes).await.is_err() {
            break;
        }
        if leaves {
            return;
        }
    }
    input.close();
    incoming.gone().await;
}
