//! The default profile: what a container may ask of the kernel without being asked why.
//!
//! It means the same as Docker's default (security.md section 6, moby's `seccomp/default.json`), said the other way round: of the closed table of system
//! calls everything is allowed but the calls listed here, some of which a capability opens again. What must stay true: a call that is not in the table
//! is denied; two calls that take 32-bit arguments (`socket`, `personality`) are judged by those 32 bits, so that garbage above cannot pass for another
//! value.

use shipway_model::Capability;
use shipway_sys::seccomp::{ALLOW, errno};

use super::compile::{ArgumentTest, Comparison, Profile, Rule};
use super::syscalls::SYSCALLS;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// Closed for everyone: obsolete calls, other kernels' calls, and those that reach past namespaces (keys, kexec, swap, io_uring, userfaultfd).
const CLOSED: &[&str] = &[
    "_sysctl",
    "add_key",
    "afs_syscall",
    "bdflush",
    "break",
    "create_module",
    "ftime",
    "get_kernel_syms",
    "getpmsg",
    "gtty",
    "idle",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lock",
    "lsm_get_self_attr",
    "lsm_list_modules",
    "lsm_set_self_attr",
    "migrate_pages",
    "move_pages",
    "mpx",
    "nfsservctl",
    "nice",
    "oldfstat",
    "oldlstat",
    "oldolduname",
    "oldstat",
    "olduname",
    "pivot_root",
    "prof",
    "profil",
    "putpmsg",
    "query_module",
    "readdir",
    "request_key",
    "security",
    "sgetmask",
    "sigaction",
    "signal",
    "sigpending",
    "sigsuspend",
    "ssetmask",
    "stty",
    "swapoff",
    "swapon",
    "sysfs",
    "tuxcall",
    "ulimit",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
    "vserver",
];

/// Open to those who hold the capability.
const GATED: &[(Capability, &[&str])] = &[
    (
        Capability::SysAdmin,
        &[
            "bpf",
            "clone",
            "clone3",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "listmount",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "open_tree_attr",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "statmount",
            "syslog",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (Capability::DacReadSearch, &["open_by_handle_at"]),
    (Capability::SysBoot, &["reboot"]),
    (Capability::SysChroot, &["chroot"]),
    (Capability::SysModule, &["delete_module", "finit_module", "init_module"]),
    (Capability::SysPacct, &["acct"]),
    (Capability::SysPtrace, &["kcmp", "pidfd_getfd", "process_madvise"]),
    (Capability::SysRawio, &["ioperm", "iopl"]),
    (Capability::SysTime, &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    (Capability::SysTtyConfig, &["vhangup"]),
    (Capability::SysNice, &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    (Capability::Syslog, &["syslog"]),
    (Capability::Bpf, &["bpf"]),
    (Capability::Perfmon, &["perf_event_open"]),
];

/// Judged by their first argument.
const TESTED: [&str; 2] = ["personality", "socket"];

/// clone(2) flags that make namespaces: all CLONE_NEW* but time, which clone cannot make.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Execution domains that change nothing dangerous: Linux, Linux 32 bit, UNAME26, both, and "only tell me".
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// AF_ALG and AF_VSOCK reach the kernel's crypto and the hypervisor.
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;

/// The default profile for a process with these capabilities (bit mask).
pub fn default_profile(capabilities: u64) -> Profile {
    let holds = |capability: Capability| capabilities >> capability.number() & 1 == 1;
    let gated = |name: &str| GATED.iter().any(|(_, names)| names.contains(&name));
    let open = SYSCALLS.iter().map(|call| call.0).filter(|name| !CLOSED.contains(name) && !TESTED.contains(name) && !gated(name));
    let mut names: Vec<String> = open.map(str::to_owned).collect();
    for (_, list) in GATED.iter().filter(|(capability, _)| holds(*capability)) {
        names.extend(list.iter().map(|name| (*name).to_owned()));
    }
    let mut rules = vec![Rule { names, action: ALLOW, tests: Vec::new() }];
    if !holds(Capability::SysAdmin) {
        // The flags of clone3 lie in memory, where a filter cannot see them: "no such call" makes libraries fall back to clone.
        rules.push(Rule { names: vec!["clone3".to_owned()], action: errno(ENOSYS), tests: Vec::new() });
        rules.push(tested("clone", Comparison::MaskedEqual { mask: NAMESPACE_FLAGS }, 0));
    }
    rules.extend(PERSONALITIES.iter().map(|value| tested("personality", Comparison::Equal, *value)));
    rules.push(tested("socket", Comparison::Less, AF_ALG));
    rules.push(tested("socket", Comparison::Equal, AF_ALG + 1));
    rules.push(tested("socket", Comparison::Greater, AF_VSOCK));
    Profile { default: errno(EPERM), with_32_bit: true, rules }
}

fn tested(name: &str, comparison: Comparison, value: u64) -> Rule {
    let test = ArgumentTest { index: 0, comparison, value, low_word: true };
    Rule { names: vec![name.to_owned()], action: ALLOW, tests: vec![test] }
}
