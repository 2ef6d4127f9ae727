//! A user namespace without a program in it, as the mapping of an id-mapped mount.
//!
//! What must stay true: the process that brings the namespace into being runs no code but two system calls, because it is a copy of a process with
//! threads; it is gone when the function returns.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::Error;
use crate::process::{CloneArguments, last_error};

/// `count` ids: those from `inside` on are the ones on the disk, those from `outside` on are what is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The mapping that shows `from` as `to` and everyone else as themselves. Whoever `to` is on the disk is nobody, because two cannot be one.
pub fn swap_in(from: u32, to: u32) -> Vec<Extent> {
    let (low, high) = (from.min(to), from.max(to));
    let same = |first: u32, last: u32| Extent { inside: first, outside: first, count: last - first };
    let mut extents = vec![Extent { inside: from, outside: to, count: 1 }];
    extents.push(same(0, low));
    if high > low {
        extents.push(same(low + 1, high));
    }
    // The last id means "nobody" and can never be mapped.
    extents.push(same(high.saturating_add(1), u32::MAX));
    extents.retain(|extent| extent.count > 0);
    extents
}

/// Makes a user namespace with these mappings.
///
/// # Cost
/// One copy of our page table, about a millisecond.
///
/// # Source
/// user_namespaces(7): both maps are written once, by a process with CAP_SETUID and CAP_SETGID in the parent namespace.
pub fn namespace_mapping(users: &[Extent], groups: &[Extent]) -> Result<OwnedFd, Error> {
    let child = Sleeper::start()?;
    let told = |path: &str| {
        let call = format!("write({path:?})");
        move |error: std::io::Error| Error::from_io(call, &error)
    };
    for (name, extents) in [("uid_map", users), ("gid_map", groups)] {
        let path = format!("/proc/{}/{name}", child.pid.as_raw_pid());
        // The kernel takes the whole map in one write.
        let text: String = extents.iter().map(|extent| format!("{} {} {}\n", extent.inside, extent.outside, extent.count)).collect();
        let file = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::new(format!("open({path:?})"), errno))?;
        std::io::Write::write_all(&mut std::fs::File::from(file), text.as_bytes()).map_err(told(&path))?;
    }
    crate::namespace::of_process(child.pid, "user")
}

/// A process that sleeps in a user namespace of its own until it is dropped.
struct Sleeper {
    pid: Pid,
    /// When we die, this end of the pipe closes, and the sleeper wakes up and leaves.
    _alarm: OwnedFd,
}

impl Sleeper {
    fn start() -> Result<Self, Error> {
        let (read, alarm) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|errno| Error::new("pipe2()", errno))?;
        let mut arguments = CloneArguments::with(libc::CLONE_NEWUSER as u64);
        let (read_number, alarm_number) = (read.as_raw_fd(), alarm.as_raw_fd());
        // SAFETY: no CLONE_VM and no stack, so the child has its own copy of this stack, as after fork(2). Other threads may have held locks of the
        // allocator or of std when it was copied; therefore the branch below makes raw system calls alone, with integers read before, and leaves.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArguments>()) };
        if pid == 0 {
            // SAFETY: close(2), read(2) into a byte of this stack and exit_group(2) touch nothing that another thread could have left half done.
            unsafe {
                let mut byte = 0u8;
                libc::syscall(libc::SYS_close, alarm_number);
                libc::syscall(libc::SYS_read, read_number, &raw mut byte, 1usize);
                loop {
                    libc::syscall(libc::SYS_exit_group, 0);
                }
            }
        }
        if pid < 0 {
            return Err(last_error("clone3(CLONE_NEWUSER)"));
        }
        let pid = Pid::from_raw(pid as i32).ok_or_else(|| Error::new("clone3(CLONE_NEWUSER)", Errno::SRCH))?;
        Ok(Self { pid, _alarm: alarm })
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It cannot refuse, and it has no signal to tell its end by, so that only a wait for every kind of child sees it.
        let _ = crate::process::send_signal(self.pid, libc::SIGKILL);
        let mut status = 0;
        // SAFETY: the status is written to this stack; the pid is a child of ours that nobody else waits for, since waits without __WALL skip it.
        while unsafe { libc::waitpid(self.pid.as_raw_pid(), &raw mut status, libc::__WALL) } < 0
            && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
        {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(extents: &[Extent], id: u32) -> Option<u32> {
        let found = extents.iter().find(|extent| id >= extent.inside && id - extent.inside < extent.count)?;
        Some(found.outside + (id - found.inside))
    }

    #[test]
    fn one_id_is_shown_as_another_and_the_rest_as_themselves() {
        for (from, to) in [(1000, 0), (0, 1000), (7, 8), (u32::MAX - 1, 0)] {
            let extents = swap_in(from, to);
            assert_eq!(shown(&extents, from), Some(to));
            assert_eq!(shown(&extents, to), None, "two cannot be one");
            assert_eq!(shown(&extents, 500), Some(500));
            assert_eq!(shown(&extents, u32::MAX), None);
            // The kernel refuses maps that say something twice.
            let mut outside: Vec<(u64, u64)> =
                extents.iter().map(|extent| (u64::from(extent.outside), u64::from(extent.outside) + u64::from(extent.count))).collect();
            outside.sort_unstable();
            assert!(outside.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{outside:?}");
        }
        assert_eq!(
            swap_in(5, 5),
            [
                Extent { inside: 5, outside: 5, count: 1 },
                Extent { inside: 0, outside: 0, count: 5 },
                Extent { inside: 6, outside: 6, count: u32::MAX - 6 }
            ]
        );
    }
}
