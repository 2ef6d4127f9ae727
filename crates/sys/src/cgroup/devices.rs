//! Which devices a group may touch: the list, its text for version 1, and the BPF program that means the same on version 2.
//!
//! What must stay true: everything starts denied; a rule only ever adds.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::Error;
use crate::process::last_error;

/// Character or block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Both (only in rules).
    Any,
    /// Character device.
    Character,
    /// Block device.
    Block,
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Character or block.
    pub kind: DeviceKind,
    /// Major number, `None` for every.
    pub major: Option<u32>,
    /// Minor number, `None` for every.
    pub minor: Option<u32>,
    /// May be opened for reading.
    pub read: bool,
    /// May be opened for writing.
    pub write: bool,
    /// A node of it may be made.
    pub make: bool,
}

impl Device {
    /// A character device with all rights.
    pub const fn character(major: u32, minor: Option<u32>) -> Self {
        Self { kind: DeviceKind::Character, major: Some(major), minor, read: true, write: true, make: true }
    }

    /// Everything is allowed.
    pub const fn all() -> Self {
        Self { kind: DeviceKind::Any, major: None, minor: None, read: true, write: true, make: true }
    }

    /// The rule as devices.allow takes it: `c 1:3 rwm`.
    pub(super) fn rule(&self) -> String {
        let letter = match self.kind {
            DeviceKind::Any => 'a',
            DeviceKind::Character => 'c',
            DeviceKind::Block => 'b',
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let rights: String =
            [(self.read, 'r'), (self.write, 'w'), (self.make, 'm')].iter().filter(|(on, _)| *on).map(|(_, letter)| *letter).collect();
        format!("{letter} {}:{} {rights}", number(self.major), number(self.minor))
    }
}

/// What every sandbox has: any node may be made, and null, zero, full, random, urandom, tty, console, ptmx, pts may be used.
pub fn default_devices() -> Vec<Device> {
    let make = |kind| Device { kind, major: None, minor: None, read: false, write: false, make: true };
    let mut devices = vec![make(DeviceKind::Character), make(DeviceKind::Block)];
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        devices.push(Device::character(major, Some(minor)));
    }
    devices.push(Device::character(136, None));
    devices
}

/// One eBPF instruction.
#[derive(Clone, Copy)]
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    constant: i32,
}

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, constant: i32) -> Instruction {
    Instruction { code, registers: source << 4 | destination, offset, constant }
}

const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE_CONSTANT: u8 = 0xb7;
const AND_CONSTANT: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_NOT_CONSTANT: u8 = 0x55;
const EXIT: u8 = 0x95;

/// bpf_cgroup_dev_ctx: access_type (kind in the low 16 bits, rights above), major, minor. Returns 1 to allow.
fn program(devices: &[Device]) -> Vec<Instruction> {
    let mut code = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(MOVE_REGISTER, 3, 2, 0, 0),
        instruction(AND_CONSTANT, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for device in devices {
        let mut tests = Vec::new();
        match device.kind {
            DeviceKind::Any => {}
            DeviceKind::Block => tests.push((2, 1)),
            DeviceKind::Character => tests.push((2, 2)),
        }
        tests.extend(device.major.map(|major| (4, major as i32)));
        tests.extend(device.minor.map(|minor| (5, minor as i32)));
        // Rights not given by this rule must not be asked for: 1 make, 2 read, 4 write.
        let missing = i32::from(!device.make) | i32::from(!device.read) << 1 | i32::from(!device.write) << 2;
        let length = tests.len() + 3 + 2;
        for (at, (register, constant)) in tests.iter().enumerate() {
            code.push(instruction(JUMP_IF_NOT_CONSTANT, *register, 0, (length - at - 1) as i16, *constant));
        }
        code.push(instruction(MOVE_REGISTER, 0, 3, 0, 0));
        code.push(instruction(AND_CONSTANT, 0, 0, 0, missing));
        code.push(instruction(JUMP_IF_NOT_CONSTANT, 0, 0, 2, 0));
        code.push(instruction(MOVE_CONSTANT, 0, 0, 0, 1));
        code.push(instruction(EXIT, 0, 0, 0, 0));
    }
    code.push(instruction(MOVE_CONSTANT, 0, 0, 0, 0));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

/// The part of union bpf_attr that BPF_PROG_LOAD reads here.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part of union bpf_attr that BPF_PROG_ATTACH reads here.
#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Attaches the program to the group (version 2) at `folder`; the kernel keeps it as long as the group lives. A later list replaces an earlier one.
///
/// # Source
/// bpf(2); kernel Documentation/bpf/prog_cgroup_sockopt and linux/bpf.h: BPF_PROG_TYPE_CGROUP_DEVICE (15), BPF_CGROUP_DEVICE (6).
pub(super) fn attach_program(folder: &Path, devices: &[Device]) -> Result<(), Error> {
    const PROGRAM_LOAD: libc::c_long = 5;
    const PROGRAM_ATTACH: libc::c_long = 8;
    let code = program(devices);
    let load = LoadAttributes {
        kind: 15,
        count: code.len() as u32,
        instructions: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..LoadAttributes::default()
    };
    // SAFETY: the attributes point at `code` and a static string, both alive during the call, with the true count; a negative answer is an error.
    let program = unsafe {
        let number = libc::syscall(libc::SYS_bpf, PROGRAM_LOAD, &raw const load, size_of::<LoadAttributes>());
        if number < 0 {
            return Err(last_error("bpf(BPF_PROG_LOAD, cgroup device)"));
        }
        OwnedFd::from_raw_fd(number as i32)
    };
    let group = rustix::fs::open(folder, rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| Error::new(format!("open({folder:?})"), errno))?;
    let attach = AttachAttributes { target: group.as_raw_fd() as u32, program: program.as_raw_fd() as u32, kind: 6, flags: 0 };
    // SAFETY: both descriptors are open and owned here; the structure holds integers only.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, PROGRAM_ATTACH, &raw const attach, size_of::<AttachAttributes>()) };
    if answer == 0 { Ok(()) } else { Err(last_error(format!("bpf(BPF_PROG_ATTACH, {folder:?})"))) }
}
