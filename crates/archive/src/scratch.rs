//! Files without a name, for what is too much for memory; they go with the last handle, also when we are killed.

use std::fs::File;

use shipway_sys::path::Dir;

use crate::Error;

/// A new one on the filesystem of `folder`; in memory where that filesystem has no files without names (FAT, NFS).
///
/// # Source
/// open(2), `O_TMPFILE`, Linux 3.11.
pub(crate) fn file(folder: &Dir) -> Result<File, Error> {
    match folder.unnamed_file() {
        Ok(file) => Ok(file),
        Err(error) if matches!(error.errno, rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::ROFS) => {
            let memory = rustix::fs::memfd_create("archive-scratch", rustix::fs::MemfdFlags::CLOEXEC);
            memory.map(File::from).map_err(|errno| Error::Read(errno.into()))
        }
        Err(error) => Err(error.into()),
    }
}
