//! Namespaces: entering, leaving, naming, and the loopback of a new network.
//!
//! What must stay true: these change the calling *thread*; they are meant for processes with one.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::Error;
use crate::process::last_error;

/// Mount points.
pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
/// Process numbers; takes effect for children.
pub const PID: u64 = libc::CLONE_NEWPID as u64;
/// Interfaces, routes, firewall, sockets.
pub const NETWORK: u64 = libc::CLONE_NEWNET as u64;
/// System V IPC and POSIX message queues.
pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
/// Host and domain name.
pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
/// The root of the cgroup tree as seen from inside.
pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
/// Users, groups, capabilities.
pub const USER: u64 = libc::CLONE_NEWUSER as u64;

/// Enters the namespace behind `handle` (a file of /proc/PID/ns, or a bind of it); `kind` is one of the constants above, or 0 for whatever it is.
pub fn enter(handle: BorrowedFd<'_>, kind: u64) -> Result<(), Error> {
    use std::os::fd::AsRawFd;
    // SAFETY: setns(2) takes a descriptor, which the borrow keeps open, and an integer.
    let answer = unsafe { libc::setns(handle.as_raw_fd(), kind as i32) };
    if answer == 0 { Ok(()) } else { Err(last_error(format!("setns({}, {kind:#x})", crate::fd::describe(handle)))) }
}

/// Enters several namespaces of one process at once (kernel 5.8), or none of them.
pub fn enter_process(pidfd: BorrowedFd<'_>, kinds: u64) -> Result<(), Error> {
    use std::os::fd::AsRawFd;
    // SAFETY: as above; with a pidfd the integer is a set of CLONE_NEW* bits.
    let answer = unsafe { libc::setns(pidfd.as_raw_fd(), kinds as i32) };
    if answer == 0 { Ok(()) } else { Err(last_error(format!("setns(pidfd, {kinds:#x})"))) }
}

/// Leaves the given namespaces for fresh ones.
pub fn leave(kinds: u64) -> Result<(), Error> {
    // SAFETY: only CLONE_NEW* bits are passed (never CLONE_FILES or CLONE_FS alone), so no table of this thread is detached behind std's back.
    let answer = unsafe { libc::unshare(kinds as i32) };
    if answer == 0 { Ok(()) } else { Err(last_error(format!("unshare({kinds:#x})"))) }
}

/// Gives this thread a root and working directory of its own: only for a thread that ends soon, since std believes that all threads share them.
pub(crate) fn part_from_folders() -> Result<(), Error> {
    // SAFETY: CLONE_FS concerns the root, the working directory and the umask of this thread alone; by the agreement above nothing else runs on it.
    let answer = unsafe { libc::unshare(libc::CLONE_FS) };
    if answer == 0 { Ok(()) } else { Err(last_error("unshare(CLONE_FS)")) }
}

/// Opens the namespace `name` ("net", "mnt", "pid", ...) of a process.
pub fn of_process(pid: Pid, name: &str) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{}/ns/{name}", pid.as_raw_pid());
    rustix::fs::open(&path, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| Error::new(format!("open({path:?})"), errno))
}

/// Runs `work` with the calling thread in another network namespace, and brings it back.
///
/// # Errors
/// `setns(2)`'s of going there. When the way back is barred the process ends: its thread would do the next person's work in a stranger's network.
pub fn visit_network<T>(handle: BorrowedFd<'_>, work: impl FnOnce() -> T) -> Result<T, Error> {
    /// Brings the thread home, also when `work` panics.
    struct Home(OwnedFd);
    impl Drop for Home {
        fn drop(&mut self) {
            if enter(self.0.as_fd(), NETWORK).is_err() {
                std::process::abort();
            }
        }
    }
    let home =
        rustix::fs::open("/proc/thread-self/ns/net", rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
            .map_err(|errno| Error::new("open(\"/proc/thread-self/ns/net\")", errno))?;
    enter(handle, NETWORK)?;
    let _home = Home(home);
    Ok(work())
}

/// Names this host as seen from inside.
pub fn set_host_name(name: &str) -> Result<(), Error> {
    rustix::system::sethostname(name.as_bytes()).map_err(|errno| Error::new(format!("sethostname({name:?})"), errno))
}

/// Names this NIS domain.
pub fn set_domain_name(name: &str) -> Result<(), Error> {
    rustix::system::setdomainname(name.as_bytes()).map_err(|errno| Error::new(format!("setdomainname({name:?})"), errno))
}

/// Switches `lo` of the current network namespace on.
///
/// # Source
/// netdevice(7), SIOCSIFFLAGS.
pub fn bring_loopback_up() -> Result<(), Error> {
    // SAFETY: socket(2) takes integers; the new descriptor belongs to us alone.
    let socket = unsafe {
        let number = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if number < 0 {
            return Err(last_error("socket(AF_INET)"));
        }
        OwnedFd::from_raw_fd(number)
    };
    // SAFETY: ifreq is plain data for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, letter) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = *letter as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    use std::os::fd::AsRawFd;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives on this stack during the call.
    let answer = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if answer == 0 { Ok(()) } else { Err(last_error("ioctl(SIOCSIFFLAGS, \"lo\")")) }
}

/// True when the answer means "this kernel has no such namespace".
pub fn is_unknown(errno: Errno) -> bool {
    errno == Errno::INVAL
}
