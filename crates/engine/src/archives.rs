//! Archives on their way out: packed on a thread of their own, as fast as the client reads.

use std::io;

use shipway_archive::pack::Packer;

use crate::blocking::ChannelWriter;

/// Lets `work` fill an archive on a thread where it may take as long as the client reads. What goes wrong ends the stream.
pub(crate) fn pack_on_thread(
    mut writer: ChannelWriter,
    work: impl FnOnce(&mut Packer<&mut ChannelWriter>) -> Result<(), shipway_archive::Error> + Send + 'static,
) {
    tokio::task::spawn_blocking(move || {
        let mut packer = Packer::new(&mut writer);
        let packed = work(&mut packer).and_then(|()| packer.finish().map(drop));
        match packed {
            Ok(()) => {
                if let Err(error) = writer.finish() {
                    tracing::debug!(%error, "the reader of an archive went away");
                }
            }
            Err(error) => writer.fail(io::Error::other(error.to_string())),
        }
    });
}
