//! Filters judged by an interpreter: whole tables of calls, then single promises.

use shipway_sys::seccomp::{ALLOW, NATIVE, X86, errno, interpret};

use super::syscalls::{NONE, SYSCALLS};
use super::{compile, default_profile, parse_profile};

const DEFAULT: u64 = 0xa804_25fb;
const ADMIN: u64 = DEFAULT | 1 << 21;

fn number(name: &str) -> u32 {
    u32::from(SYSCALLS.iter().find(|call| call.0 == name).expect("known").1)
}

fn judge(capabilities: u64, name: &str, first: u64) -> u32 {
    let program = compile(&default_profile(capabilities)).expect("compiles");
    interpret(&program, number(name), NATIVE, [first, 0, 0, 0, 0, 0]).expect("ends")
}

#[test]
fn the_table_is_sorted_and_its_numbers_are_used_once() {
    assert!(SYSCALLS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    for column in [|call: &(&str, u16, u16)| call.1, |call: &(&str, u16, u16)| call.2] {
        let mut numbers: Vec<u16> = SYSCALLS.iter().map(column).filter(|number| *number != NONE).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }
}

#[test]
fn single_calls_are_judged_as_docker_does() {
    let eperm = errno(1);
    for (capabilities, name, first, expected) in [
        (DEFAULT, "read", 0, ALLOW),
        (DEFAULT, "unshare", 0x1000_0000, eperm),
        (ADMIN, "unshare", 0x1000_0000, ALLOW),
        (DEFAULT, "clone3", 0, errno(38)),
        (ADMIN, "clone3", 0, ALLOW),
        (DEFAULT, "clone", 0x11, ALLOW),
        (DEFAULT, "clone", 0x1000_0000, eperm),
        (ADMIN, "clone", 0x1000_0000, ALLOW),
        (DEFAULT, "mount", 0, eperm),
        (DEFAULT, "chroot", 0, ALLOW),
        (DEFAULT & !(1 << 18), "chroot", 0, eperm),
        (DEFAULT, "keyctl", 0, eperm),
        (ADMIN, "keyctl", 0, eperm),
        (DEFAULT, "io_uring_setup", 0, eperm),
        (DEFAULT, "ptrace", 0, ALLOW),
        (DEFAULT, "bpf", 0, eperm),
        (DEFAULT | 1 << 39, "bpf", 0, ALLOW),
        (DEFAULT, "socket", 2, ALLOW),
        (DEFAULT, "socket", 38, eperm),
        (DEFAULT, "socket", 39, ALLOW),
        (DEFAULT, "socket", 40, eperm),
        (DEFAULT, "socket", 41, ALLOW),
        // The kernel takes 32 bits: the rest must not make another family of it.
        (DEFAULT, "socket", 1 << 32 | 40, eperm),
        (DEFAULT, "personality", 0, ALLOW),
        (DEFAULT, "personality", 0xffff_ffff, ALLOW),
        (DEFAULT, "personality", 0x0400_0000, eperm),
    ] {
        assert_eq!(judge(capabilities, name, first), expected, "{name}({first:#x}) with {capabilities:#x}");
    }
}

#[test]
fn foreign_numbers_and_architectures_are_denied() {
    let program = compile(&default_profile(DEFAULT)).expect("compiles");
    assert_eq!(interpret(&program, 0x4000_0000, NATIVE, [0; 6]), Some(errno(1)), "x32");
    assert_eq!(interpret(&program, 9999, NATIVE, [0; 6]), Some(errno(1)), "unknown number");
    assert_eq!(interpret(&program, 0, 0xc000_0016, [0; 6]), Some(errno(1)), "another architecture");
    assert_eq!(interpret(&program, 3, X86, [0; 6]), Some(ALLOW), "read of a 32-bit program");
    assert_eq!(interpret(&program, 21, X86, [0; 6]), Some(errno(1)), "mount of a 32-bit program");
}

#[test]
fn the_tree_agrees_with_a_plain_reading_of_the_rules() {
    let profile = default_profile(DEFAULT);
    let program = compile(&profile).expect("compiles");
    assert!(program.len() < 500, "{} instructions", program.len());
    for (name, native, _) in SYSCALLS.iter().filter(|call| call.1 != NONE) {
        let fits = profile.rules.iter().filter(|rule| rule.names.iter().any(|listed| listed == name));
        let plain = fits.clone().find(|rule| rule.tests.is_empty()).map(|rule| rule.action);
        if fits.clone().all(|rule| rule.tests.is_empty()) {
            let found = interpret(&program, u32::from(*native), NATIVE, [0; 6]);
            assert_eq!(found, Some(plain.unwrap_or(profile.default)), "{name}");
        }
    }
}

const JSON: &str = r#"{
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
  "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
  "syscalls": [
    {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
    {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [
      {"index": 1, "value": 4294967296, "op": "SCMP_CMP_GE"}, {"index": 0, "value": 7, "op": "SCMP_CMP_NE"}]},
    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS", "excludes": {"caps": ["CAP_SYS_ADMIN"]}}
  ]}"#;

#[test]
fn a_json_profile_means_what_it_says() {
    let run = |capabilities: u64, name: &str, arguments: [u64; 6]| {
        let program = compile(&parse_profile(JSON.as_bytes(), capabilities).expect("parses")).expect("compiles");
        interpret(&program, number(name), NATIVE, arguments).expect("ends")
    };
    assert_eq!(run(0, "read", [0; 6]), ALLOW);
    assert_eq!(run(0, "write", [0; 6]), errno(13));
    assert_eq!(run(0, "kill", [1, 1 << 32, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(0, "kill", [7, 1 << 32, 0, 0, 0, 0]), errno(13));
    assert_eq!(run(0, "kill", [1, 0xffff_ffff, 0, 0, 0, 0]), errno(13));
    assert_eq!(run(0, "mount", [0; 6]), errno(13));
    assert_eq!(run(ADMIN, "mount", [0; 6]), ALLOW);
    assert_eq!(run(0, "reboot", [0; 6]), 0x8000_0000);
    assert_eq!(run(ADMIN, "reboot", [0; 6]), errno(13));
}

#[test]
fn what_is_not_understood_is_refused() {
    for (from, to) in [
        ("SCMP_ACT_ALLOW", "SCMP_ACT_DANCE"),
        ("SCMP_CMP_GE", "SCMP_CMP_ALMOST"),
        ("CAP_SYS_ADMIN", "CAP_FLY"),
        ("\"index\": 1", "\"index\": 6"),
    ] {
        assert!(parse_profile(JSON.replace(from, to).as_bytes(), 0).is_err(), "{to}");
    }
    assert!(parse_profile(b"{}", 0).is_err());
}
