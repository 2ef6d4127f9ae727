//! Standard input, read by one thread of its own: files, pipes and terminals alike, and a blocked read never holds anything up.

use bytes::Bytes;
use std::io::Read as _;

/// Pieces of standard input; the channel closes at its end.
pub(crate) fn keys() -> tokio::sync::mpsc::Receiver<Bytes> {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let reader = move || {
        let mut buffer = vec![0; 32 * 1024];
        let mut input = std::io::stdin().lock();
        loop {
            match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    if sender.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    };
    // Without the thread the channel is closed at once: the process sees an empty input, which is the truth we can offer.
    drop(std::thread::Builder::new().name("standard-input".to_owned()).spawn(reader));
    receiver
}
