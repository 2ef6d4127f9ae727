//! How a process is shown by ps: its name and its command line.
//!
//! Source: prctl(2), `PR_SET_NAME` and `PR_SET_MM_MAP` (kernel 3.18, with CONFIG_CHECKPOINT_RESTORE; no capability needed), proc_pid_stat(5).

use std::ffi::CString;

use rustix::io::Errno;

use crate::Error;
use crate::process::last_error;

/// Where a process's parts lie, in the kernel's form (`struct prctl_mm_map`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MemoryMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    /// Null: the auxiliary vector stays.
    auxv: u64,
    auxv_size: u32,
    /// All bits set: the executable stays.
    exe_fd: u32,
}

const PR_SET_MM: libc::c_int = 35;
const PR_SET_MM_MAP: libc::c_ulong = 14;

impl MemoryMap {
    /// Reads the text of `/proc/self/stat`. The end of the heap is not in it.
    fn read(stat: &str, brk: u64) -> Option<Self> {
        // The name may hold anything, so fields are counted from the last bracket; the first one behind it is number 3.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.trim().parse().ok();
        Some(Self {
            start_code: field(26)?,
            end_code: field(27)?,
            start_data: field(45)?,
            end_data: field(46)?,
            start_brk: field(47)?,
            brk,
            start_stack: field(28)?,
            arg_start: field(48)?,
            arg_end: field(49)?,
            env_start: field(50)?,
            env_end: field(51)?,
            auxv: 0,
            auxv_size: 0,
            exe_fd: u32::MAX,
        })
    }
}

/// Shows this process under `name` (15 bytes of it) with the command line `arguments`. `stat` is the text of its `/proc/self/stat`.
///
/// The bytes of the command line stay allocated for ever.
///
/// # Errors
/// `EINVAL` on kernels without checkpoint support, or when `stat` is another process's.
pub fn show_as(name: &str, arguments: &[&str], stat: &str) -> Result<(), Error> {
    let wrong = |what: &str| Error::new(format!("show as {name:?}: {what}"), Errno::INVAL);
    let short = CString::new(name).map_err(|_| wrong("a zero in the name"))?;
    rustix::thread::set_name(&short).map_err(|errno| Error::new("prctl(PR_SET_NAME)", errno))?;
    // SAFETY: sbrk(0) moves nothing and answers with the end of the heap.
    let brk = unsafe { libc::sbrk(0) } as u64;
    let mut map = MemoryMap::read(stat, brk).ok_or_else(|| wrong("unreadable stat"))?;
    let line: Vec<u8> = arguments.iter().flat_map(|argument| argument.bytes().chain([0])).collect();
    let line: &'static [u8] = Box::leak(line.into_boxed_slice());
    map.arg_start = line.as_ptr() as u64;
    map.arg_end = map.arg_start + line.len() as u64;
    // SAFETY: the kernel reads one `prctl_mm_map`, whose layout MemoryMap has, and checks every address; the new line is never freed and the other
    // values are those that the kernel itself told, so nothing but what /proc shows changes.
    let answer = unsafe { libc::prctl(PR_SET_MM, PR_SET_MM_MAP, &raw const map, size_of::<MemoryMap>(), 0) };
    if answer == 0 { Ok(()) } else { Err(last_error("prctl(PR_SET_MM_MAP)")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_behind_whatever_the_name_holds() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let map = MemoryMap::read(&format!("1 (a) b) S {}\n", numbers.join(" ")), 99).unwrap();
        assert_eq!((map.start_code, map.start_stack, map.start_brk, map.brk, map.arg_start, map.env_end), (26, 28, 47, 99, 48, 51));
        assert_eq!(MemoryMap::read("1 (a) S 1 2", 0), None);
    }

    #[test]
    fn a_process_shows_what_it_says() {
        // Of the whole process: nextest gives each test one.
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        if show_as("other-name", &["/sbin/other", "--", "x y"], &stat).is_ok() {
            assert_eq!(std::fs::read("/proc/self/cmdline").unwrap(), b"/sbin/other\0--\0x y\0");
        }
        assert_eq!(std::fs::read_to_string("/proc/thread-self/comm").unwrap(), "other-name\n");
    }
}
