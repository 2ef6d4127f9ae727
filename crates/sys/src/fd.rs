//! Small helpers on file descriptors: sealed memory files, bounded reads, names for messages.
//!
//! What must stay true: every descriptor made here is close-on-exec, and no read here is unbounded.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::Error;

/// Makes a memory file holding `bytes` that nobody, not even its owner, can change any more; its offset is 0.
///
/// # Errors
/// `ENOMEM` or `EMFILE` as memfd_create(2) tells them.
///
/// # Source
/// memfd_create(2), `F_ADD_SEALS` in fcntl(2).
pub fn memfd_sealed(name: &str, bytes: &[u8]) -> Result<OwnedFd, Error> {
    let call = || format!("memfd_create({name:?}, {} bytes)", bytes.len());
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(|e| Error::new(call(), e))?;
    let mut file = File::from(fd);
    file.write_all(bytes).map_err(|e| Error::from_io(call(), &e))?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).map_err(|e| Error::new(call(), e))?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).map_err(|e| Error::new(format!("fcntl(F_ADD_SEALS on memfd {name:?})"), e))?;
    Ok(file.into())
}

/// Reads `fd` from its offset to its end.
///
/// # Errors
/// `EFBIG` when more than `limit` bytes come; nothing beyond `limit + 1` bytes is read or kept.
pub fn read_all_limited(fd: impl AsFd, limit: usize) -> Result<Vec<u8>, Error> {
    let fd = fd.as_fd();
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 16 * 1024];
    loop {
        let count = match rustix::io::read(fd, &mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(Error::new(format!("read({:?})", describe(fd)), errno)),
        };
        if bytes.len() + count > limit {
            return Err(Error::new(format!("read({:?}, at most {limit} bytes)", describe(fd)), Errno::FBIG));
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
}

/// Reads a whole small file of the host by path, e.g. one of `/proc`.
///
/// # Errors
/// As open(2); `EFBIG` beyond `limit` bytes.
pub fn read_host_file(path: &str, limit: usize) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(|e| Error::from_io(format!("open({path:?})"), &e))?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| Error::from_io(format!("read({path:?})"), &e))?;
    if bytes.len() > limit {
        return Err(Error::new(format!("read({path:?}, at most {limit} bytes)"), Errno::FBIG));
    }
    Ok(bytes)
}

/// Tells what `fd` points at, for messages: the kernel's name of it, or `fd 7` when /proc cannot say.
pub fn describe(fd: impl AsFd) -> String {
    let number = fd.as_fd().as_raw_fd();
    match std::fs::read_link(proc_path(number)) {
        Ok(target) => target.to_string_lossy().into_owned(),
        Err(_) => format!("fd {number}"),
    }
}

/// Marks every descriptor numbered `from` and above close-on-exec.
///
/// # Errors
/// `ENOSYS` before kernel 5.11 (`CLOSE_RANGE_CLOEXEC`).
pub fn close_range_cloexec(from: u32) -> Result<(), Error> {
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC takes three plain numbers and closes nothing: every descriptor that Rust values own stays open.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, from, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if answer == 0 {
        return Ok(());
    }
    Err(Error::from_io(format!("close_range({from}.., CLOEXEC)"), &std::io::Error::last_os_error()))
}

/// The path under /proc that reaches what descriptor `number` points at, even one opened with `O_PATH`.
pub(crate) fn proc_path(number: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_memory_file_reads_back_and_refuses_writes() {
        let fd = memfd_sealed("greeting", b"hello").expect("memfd");
        assert_eq!(read_all_limited(&fd, 5).expect("read"), b"hello");
        assert!(File::from(fd).write_all(b"x").is_err());
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let fd = memfd_sealed("big", &[7; 100_000]).expect("memfd");
        assert_eq!(read_all_limited(&fd, 99_999).expect_err("too big").errno, Errno::FBIG);
    }

    #[test]
    fn a_descriptor_is_described_by_its_path() {
        assert_eq!(describe(File::open("/dev/null").expect("open")), "/dev/null");
    }

    #[test]
    fn marking_close_on_exec_leaves_descriptors_open() {
        let fd = memfd_sealed("kept", b"x").expect("memfd");
        close_range_cloexec(3).expect("close_range");
        assert_eq!(read_all_limited(&fd, 1).expect("still open"), b"x");
    }
}
