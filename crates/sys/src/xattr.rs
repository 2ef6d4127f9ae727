//! Extended attributes by descriptor, also on `O_PATH` descriptors (symlinks, devices), where the kernel wants the way through /proc.
//!
//! What must stay true: no path given by an image reaches a call of this file; names and values are bytes.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::{Error, fd};

/// Largest list of names and largest value the kernel hands out (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX` in linux/limits.h).
const KERNEL_MAX: usize = 64 * 1024;

/// Names of all attributes of `fd`, sorted.
///
/// # Errors
/// As listxattr(2); a filesystem without attributes answers with an empty list instead.
pub fn list(fd: impl AsFd) -> Result<Vec<Vec<u8>>, Error> {
    let fd = fd.as_fd();
    let mut buffer = vec![0; 512];
    let length = loop {
        let answer = match rustix::fs::flistxattr(fd, buffer.as_mut_slice()) {
            Err(Errno::BADF) => rustix::fs::listxattr(fd::proc_path(fd.as_raw_fd()), buffer.as_mut_slice()),
            other => other,
        };
        match answer {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Ok(length) => break length,
            Err(Errno::RANGE) if buffer.len() < KERNEL_MAX => buffer.resize(KERNEL_MAX, 0),
            Err(errno) => return Err(failed("listxattr", fd, b"", errno)),
        }
    };
    let mut names: Vec<Vec<u8>> = buffer[..length].split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    names.sort_unstable();
    Ok(names)
}

/// Value of attribute `name`, or none where it is not set (or the filesystem has no attributes).
pub fn get(fd: impl AsFd, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let fd = fd.as_fd();
    let key = key(fd, name)?;
    let mut value = vec![0; 256];
    loop {
        let answer = match rustix::fs::fgetxattr(fd, &key, value.as_mut_slice()) {
            Err(Errno::BADF) => rustix::fs::getxattr(fd::proc_path(fd.as_raw_fd()), &key, value.as_mut_slice()),
            other => other,
        };
        match answer {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) if value.len() < KERNEL_MAX => value.resize(KERNEL_MAX, 0),
            Err(errno) => return Err(failed("getxattr", fd, name, errno)),
        }
    }
}

/// All attributes of `fd` with their values.
pub fn get_all(fd: impl AsFd) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let fd = fd.as_fd();
    let mut all = BTreeMap::new();
    for name in list(fd)? {
        // One that disappeared between the two calls is simply not there.
        if let Some(value) = get(fd, &name)? {
            all.insert(name, value);
        }
    }
    Ok(all)
}

/// Sets attribute `name`, replacing a former value.
///
/// # Errors
/// `EOPNOTSUPP` where the filesystem or the kind of file does not take this attribute, `EPERM` where we may not.
pub fn set(fd: impl AsFd, name: &[u8], value: &[u8]) -> Result<(), Error> {
    let fd = fd.as_fd();
    let key = key(fd, name)?;
    let answer = match rustix::fs::fsetxattr(fd, &key, value, XattrFlags::empty()) {
        Err(Errno::BADF) => rustix::fs::setxattr(fd::proc_path(fd.as_raw_fd()), &key, value, XattrFlags::empty()),
        other => other,
    };
    answer.map_err(|errno| failed("setxattr", fd, name, errno))
}

/// Removes attribute `name`; one that is not set is no error.
pub fn remove(fd: impl AsFd, name: &[u8]) -> Result<(), Error> {
    let fd = fd.as_fd();
    let key = key(fd, name)?;
    let answer = match rustix::fs::fremovexattr(fd, &key) {
        Err(Errno::BADF) => rustix::fs::removexattr(fd::proc_path(fd.as_raw_fd()), &key),
        other => other,
    };
    match answer {
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(errno) => Err(failed("removexattr", fd, name, errno)),
    }
}

fn key(fd: BorrowedFd<'_>, name: &[u8]) -> Result<CString, Error> {
    CString::new(name).map_err(|_| failed("xattr name", fd, name, Errno::INVAL))
}

fn failed(call: &str, on: BorrowedFd<'_>, name: &[u8], errno: Errno) -> Error {
    Error::new(format!("{call}({:?}, {:?})", fd::describe(on), String::from_utf8_lossy(name)), errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, OFlags};

    #[test]
    fn attributes_travel_through_plain_and_path_descriptors() {
        let path = format!("/dev/shm/shipway-xattr-{}", std::process::id());
        let plain = rustix::fs::open(&path, OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from(0o600)).expect("open");
        let handle = rustix::fs::openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("open");
        rustix::fs::unlink(&path).expect("unlink");
        assert_eq!(get(&plain, b"trusted.one").expect("get"), None);
        set(&plain, b"trusted.one", &[1; 300]).expect("set");
        assert_eq!(get(&plain, b"trusted.one").expect("get"), Some(vec![1; 300]));
        // The file has lost its name, so the way through /proc must work by the descriptor alone.
        set(&handle, b"trusted.two", b"").expect("set by path handle");
        assert_eq!(list(&handle).expect("list"), [b"trusted.one".to_vec(), b"trusted.two".to_vec()]);
        remove(&handle, b"trusted.one").expect("remove");
        remove(&handle, b"trusted.one").expect("twice");
        assert_eq!(get_all(&plain).expect("all"), BTreeMap::from([(b"trusted.two".to_vec(), Vec::new())]));
    }

    #[test]
    fn a_name_with_a_nul_is_refused() {
        let file = std::fs::File::open("/dev/null").expect("open");
        assert_eq!(get(&file, b"user.a\0b").expect_err("nul").errno, Errno::INVAL);
    }
}
