//! Capabilities of this thread: five sets as bit masks.
//!
//! What must stay true: bit n is capability number n of capabilities(7); what the kernel does not know is left out, never an error.

use rustix::io::Errno;

use crate::Error;
use crate::process::last_error;

/// CAP_SYS_ADMIN, needed to load a seccomp filter without no_new_privs.
pub const SYS_ADMIN: u64 = 1 << 21;
/// Highest number asked for; kernels know fewer.
const HIGHEST: u32 = 63;
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets the three classic sets of this thread (capset(2)).
pub fn set(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Error> {
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Half {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let halves = [half(0), half(32)];
    // SAFETY: version 3 reads exactly one header and two halves, both alive on this stack and laid out as in linux/capability.h.
    let answer = unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) };
    if answer == 0 { Ok(()) } else { Err(last_error(format!("capset(effective {effective:#x}, permitted {permitted:#x})"))) }
}

/// The permitted set of this thread.
pub fn permitted() -> Result<u64, Error> {
    let header = Header { version: VERSION_3, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: version 3 writes exactly two halves into the array on this stack.
    let answer = unsafe { libc::syscall(libc::SYS_capget, &raw const header, halves.as_mut_ptr()) };
    if answer == 0 { Ok(u64::from(halves[0].permitted) | u64::from(halves[1].permitted) << 32) } else { Err(last_error("capget()")) }
}

/// Takes every capability outside `keep` from the bounding set, so no program started from here can gain it.
///
/// # Cost
/// One call per capability known to the kernel, about 40.
pub fn bound_to(keep: u64) -> Result<(), Error> {
    for number in 0..=HIGHEST {
        if keep >> number & 1 == 1 {
            continue;
        }
        // SAFETY: prctl with integers only.
        let answer = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        if answer != 0 {
            let error = last_error(format!("prctl(PR_CAPBSET_DROP, {number})"));
            // EINVAL marks the first number this kernel does not know.
            return if error.errno == Errno::INVAL { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Keeps the permitted set across the change away from user 0.
pub fn keep_across_user_change(keep: bool) -> Result<(), Error> {
    rustix::thread::set_keep_capabilities(keep).map_err(|errno| Error::new(format!("prctl(PR_SET_KEEPCAPS, {keep})"), errno))
}

/// Empties the ambient set.
pub fn clear_ambient() -> Result<(), Error> {
    rustix::thread::clear_ambient_capability_set().map_err(|errno| Error::new("prctl(PR_CAP_AMBIENT_CLEAR_ALL)", errno))
}

/// Puts the capabilities of `mask` into the ambient set; they must be permitted and inheritable.
pub fn raise_ambient(mask: u64) -> Result<(), Error> {
    for number in (0..=HIGHEST).filter(|number| mask >> number & 1 == 1) {
        // SAFETY: prctl with integers only.
        let answer = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, libc::c_ulong::from(number), 0, 0) };
        if answer != 0 {
            return Err(last_error(format!("prctl(PR_CAP_AMBIENT_RAISE, {number})")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn permitted_agrees_with_proc() {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:\t")).expect("CapPrm");
        assert_eq!(super::permitted().expect("capget"), u64::from_str_radix(line, 16).expect("hex"));
    }
}
