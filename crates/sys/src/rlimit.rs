//! Resource limits by Docker's names, clamped to what this process may set.
//!
//! What must stay true: without CAP_SYS_RESOURCE a wish above the hard limit is lowered, never refused (security.md, R12).

use crate::Error;
use crate::process::last_error;

/// A limit that is none.
pub const UNLIMITED: u64 = libc::RLIM_INFINITY;

/// The resource called `name` ("nofile", "core", ...), `None` for a word the kernel has no limit for.
pub fn resource(name: &str) -> Option<u32> {
    Some(match name {
        "core" => libc::RLIMIT_CORE,
        "cpu" => libc::RLIMIT_CPU,
        "data" => libc::RLIMIT_DATA,
        "fsize" => libc::RLIMIT_FSIZE,
        "locks" => libc::RLIMIT_LOCKS,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "nofile" => libc::RLIMIT_NOFILE,
        "nproc" => libc::RLIMIT_NPROC,
        "rss" => libc::RLIMIT_RSS,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "stack" => libc::RLIMIT_STACK,
        "as" => libc::RLIMIT_AS,
        _ => return None,
    })
}

/// The limit of this process: (soft, hard).
pub fn get(resource: u32) -> Result<(u64, u64), Error> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives on this stack and getrlimit writes exactly one.
    let answer = unsafe { libc::getrlimit(resource, &raw mut limit) };
    if answer == 0 { Ok((limit.rlim_cur, limit.rlim_max)) } else { Err(last_error(format!("getrlimit({resource})"))) }
}

/// Sets a limit of this process, lowered to the present hard limit where the wish is refused. Returns what was set.
pub fn set_clamped(resource: u32, soft: u64, hard: u64) -> Result<(u64, u64), Error> {
    if set(resource, soft, hard).is_ok() {
        return Ok((soft, hard));
    }
    let (_, ceiling) = get(resource)?;
    let (soft, hard) = (soft.min(ceiling), hard.min(ceiling));
    set(resource, soft.min(hard), hard)?;
    Ok((soft, hard))
}

fn set(resource: u32, soft: u64, hard: u64) -> Result<(), Error> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: setrlimit reads one structure from this stack.
    let answer = unsafe { libc::setrlimit(resource, &raw const limit) };
    if answer == 0 { Ok(()) } else { Err(last_error(format!("setrlimit({resource}, {soft}, {hard})"))) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_wish_above_the_ceiling_is_lowered() {
        let core = super::resource("core").expect("known");
        super::set_clamped(core, 10, 10).expect("lowering is always allowed");
        let (soft, hard) = super::set_clamped(core, 5, 10).expect("within");
        assert_eq!((soft, hard), (5, 10));
        assert!(super::resource("bogus").is_none());
    }
}
