//! Copying file contents by the cheapest way the two filesystems offer: share the blocks, copy inside the kernel, or read and write.
//!
//! What must stay true: after success `target` holds exactly the first `length` bytes of `source`; holes stay holes where the kernel tells them.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::{Error, fd};

/// Below this size one read and one write are cheaper than asking for clones and holes.
const SMALL: u64 = 64 * 1024;

/// Size of the buffer of the last resort.
const BUFFER: usize = 256 * 1024;

/// How the bytes came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The two files share their blocks until one is written (`FICLONE`).
    Cloned,
    /// The kernel copied (`copy_file_range`), or the files were small and passed through memory.
    Copied,
}

/// Copies the first `length` bytes of `source` into the empty file `target`.
///
/// Both must be regular files; their offsets are neither used nor meaningful afterwards.
///
/// # Errors
/// As read(2) and write(2); `EIO` with a detail when `source` got shorter than `length` meanwhile.
///
/// # Source
/// ioctl_ficlone(2), copy_file_range(2) (across filesystems only since kernel 5.19, hence the fallback), lseek(2) `SEEK_DATA`.
pub fn copy_file(source: impl AsFd, target: impl AsFd, length: u64) -> Result<Way, Error> {
    let (source, target) = (source.as_fd(), target.as_fd());
    if length <= SMALL {
        copy_range(source, target, 0, length, false)?;
        return Ok(Way::Copied);
    }
    let size = rustix::fs::fstat(source).map_err(|e| failed("fstat", source, target, e))?.st_size as u64;
    if size == length && rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(Way::Cloned);
    }
    if size < length {
        return Err(failed("copy", source, target, Errno::IO).with_detail("the source is shorter than promised"));
    }
    copy_segments(source, target, length)?;
    Ok(Way::Copied)
}

fn copy_segments(source: BorrowedFd<'_>, target: BorrowedFd<'_>, length: u64) -> Result<(), Error> {
    for stretch in stretches_of_data(source, length)? {
        copy_range(source, target, stretch.start, stretch.end, true)?;
    }
    rustix::fs::ftruncate(target, length).map_err(|e| failed("ftruncate", source, target, e))
}

/// Where the first `length` bytes of `file` are data, in order; the rest is holes. All of it, where the filesystem knows nothing of holes.
///
/// The offset of `file` is meaningless afterwards.
pub fn stretches_of_data(file: impl AsFd, length: u64) -> Result<Vec<Range<u64>>, Error> {
    let file = file.as_fd();
    let wrong = |call: &str, errno| Error::new(format!("{call}({:?})", fd::describe(file)), errno);
    let (mut found, mut position) = (Vec::new(), 0);
    while position < length {
        let stretch = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Ok(start) if start >= length => break,
            Ok(start) => {
                let end = rustix::fs::seek(file, SeekFrom::Hole(start)).map_err(|errno| wrong("lseek(SEEK_HOLE)", errno))?;
                start..end.min(length)
            }
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => position..length,
            Err(errno) => return Err(wrong("lseek(SEEK_DATA)", errno)),
        };
        position = stretch.end;
        found.push(stretch);
    }
    Ok(found)
}

fn copy_range(source: BorrowedFd<'_>, target: BorrowedFd<'_>, start: u64, end: u64, in_kernel: bool) -> Result<(), Error> {
    let (mut from, mut to) = (start, start);
    while in_kernel && from < end {
        let left = (end - from) as usize;
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), left) {
            Ok(0) | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("copy_file_range", source, target, errno)),
        }
    }
    let mut buffer = vec![0; BUFFER.min((end - from) as usize)];
    while from < end {
        let want = buffer.len().min((end - from) as usize);
        match rustix::io::pread(source, &mut buffer[..want], from) {
            Ok(0) => return Err(failed("read", source, target, Errno::IO).with_detail("the source is shorter than promised")),
            Ok(count) => {
                write_all_at(source, target, &buffer[..count], from)?;
                from += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("read", source, target, errno)),
        }
    }
    Ok(())
}

fn write_all_at(source: BorrowedFd<'_>, target: BorrowedFd<'_>, mut bytes: &[u8], mut position: u64) -> Result<(), Error> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(target, bytes, position) {
            Ok(count) => {
                bytes = &bytes[count..];
                position += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("write", source, target, errno)),
        }
    }
    Ok(())
}

fn failed(call: &str, source: BorrowedFd<'_>, target: BorrowedFd<'_>, errno: Errno) -> Error {
    Error::new(format!("{call}({:?} to {:?})", fd::describe(source), fd::describe(target)), errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Seek, Write};
    use std::os::unix::fs::{FileExt, MetadataExt};

    fn scratch(folder: &str) -> File {
        let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        File::from(rustix::fs::open(folder, flags, rustix::fs::Mode::from(0o600)).expect("tmpfile"))
    }

    fn check(folder: &str, content: &[u8], length: u64) {
        let (mut source, target) = (scratch(folder), scratch("/dev/shm"));
        source.write_all(content).expect("write");
        source.rewind().expect("rewind");
        copy_file(&source, &target, length).expect("copy");
        let mut back = vec![0; length as usize];
        target.read_exact_at(&mut back, 0).expect("read");
        assert_eq!(target.metadata().expect("stat").size(), length);
        assert!(back == content[..length as usize]);
    }

    #[test]
    fn contents_of_every_size_come_over_within_and_across_filesystems() {
        let content: Vec<u8> = (0..700_001u32).map(|n| (n % 251) as u8).collect();
        for folder in ["/dev/shm", "/tmp"] {
            for length in [0, 1, SMALL, SMALL + 1, 700_001] {
                check(folder, &content, length);
            }
        }
    }

    #[test]
    fn holes_stay_holes() {
        let (source, target) = (scratch("/dev/shm"), scratch("/dev/shm"));
        source.set_len(1 << 30).expect("len");
        source.write_all_at(b"middle", 1 << 29).expect("write");
        copy_file(&source, &target, 1 << 30).expect("copy");
        let copied = target.metadata().expect("stat");
        assert_eq!(copied.size(), 1 << 30);
        assert!(copied.blocks() * 512 < 1 << 20);
        let mut back = [0; 6];
        target.read_exact_at(&mut back, 1 << 29).expect("read");
        assert_eq!(&back, b"middle");
    }

    #[test]
    fn a_source_that_is_too_short_is_an_error() {
        let (source, target) = (scratch("/dev/shm"), scratch("/dev/shm"));
        assert_eq!(copy_file(&source, &target, 10).expect_err("short").errno, Errno::IO);
        assert_eq!(copy_file(&source, &target, SMALL * 2).expect_err("short").errno, Errno::IO);
    }
}
