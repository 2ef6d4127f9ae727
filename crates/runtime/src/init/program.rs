//! From a process of ours to the program asked for: identity, rights, exec.
//!
//! The order matters: limits and the bounding set while still privileged, then groups and user, then the working directory, then the filter, then the
//! last capabilities, then the exec. What must stay true: inheritable and ambient sets are empty unless asked (S-103); the program gets the handles
//! 0, 1 and 2 and no other (S-105); after the filter only capset and execve are needed.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use shipway_sys::{Error, caps, process, rlimit, seccomp};

use super::{at, new_session};
use crate::message::{Failure, Program, Step};

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The bytes of a compiled filter.
pub(crate) fn read_filter(handle: Option<&OwnedFd>) -> Result<Vec<u8>, Failure> {
    let handle = handle.ok_or_else(|| Failure::said(Step::Protocol, "the filter's handle is missing"))?;
    let told = |call: &'static str| move |errno| Failure::new(Step::Seccomp, Error::new(call, errno));
    let size = rustix::fs::fstat(handle).map_err(told("fstat(filter)"))?.st_size;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0).min(seccomp::MAX_INSTRUCTIONS * 8)];
    // The handle is shared with other launches, so its offset must not move.
    let length = rustix::io::pread(handle, &mut bytes, 0).map_err(told("pread(filter)"))?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Makes `handles` the standard ones, in a new session.
pub(crate) fn take_standard(handles: &[OwnedFd], terminal: bool) -> Result<(), Failure> {
    new_session(terminal.then(|| handles[0].as_fd()))?;
    for (number, handle) in handles.iter().enumerate() {
        process::install_standard(handle.as_fd(), number as i32).map_err(at(Step::Terminal))?;
    }
    Ok(())
}

/// Becomes the program, or says why not. `gate` is passed when everything that can be checked has been, before the filter.
pub(crate) fn become_it(program: &Program, filter: Option<&[u8]>, gate: impl FnOnce() -> Result<(), Failure>) -> Failure {
    let steps = || {
        prepare(program)?;
        let path = find(program.args.first().map(String::as_str).unwrap_or_default(), &program.env)?;
        refuse_ourselves(&path)?;
        gate()?;
        finish(program, filter)?;
        Ok(path)
    };
    match steps() {
        Err(failure) => failure,
        Ok(path) => execute(program, &path),
    }
}

fn prepare(program: &Program) -> Result<(), Failure> {
    process::reset_signals();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(program.umask));
    for (resource, soft, hard) in &program.rlimits {
        rlimit::set_clamped(*resource, *soft, *hard).map_err(at(Step::Identity))?;
    }
    // As the old user first, as the new one otherwise: either may be the only one who can get there.
    let entered = rustix::process::chdir(&*program.cwd).is_ok();
    assume_identity(program)?;
    if !entered {
        rustix::process::chdir(&*program.cwd)
            .map_err(|errno| Failure::new(Step::WorkingDirectory, Error::new(format!("chdir({:?})", program.cwd), errno)))?;
    }
    check_cwd(program)
}

/// What cannot be undone or would be in the way before: no new rights, the filter, the last capabilities.
fn finish(program: &Program, filter: Option<&[u8]>) -> Result<(), Failure> {
    if program.no_new_privileges {
        rustix::thread::set_no_new_privs(true)
            .map_err(|errno| Failure::new(Step::Identity, Error::new("prctl(PR_SET_NO_NEW_PRIVS)", errno)))?;
    }
    shipway_sys::fd::close_range_cloexec(3).map_err(at(Step::Identity))?;
    if let Some(filter) = filter {
        seccomp::load(filter).map_err(at(Step::Seccomp))?;
    }
    caps::set(program.effective, program.permitted, program.inheritable | program.ambient).map_err(at(Step::Identity))?;
    if program.ambient != 0 {
        caps::raise_ambient(program.ambient).map_err(at(Step::Identity))?;
    }
    Ok(())
}

fn assume_identity(program: &Program) -> Result<(), Failure> {
    let told = |call: String| move |errno: Errno| Failure::new(Step::Identity, Error::new(call, errno));
    caps::clear_ambient().map_err(at(Step::Identity))?;
    caps::bound_to(program.bounding).map_err(at(Step::Identity))?;
    caps::keep_across_user_change(true).map_err(at(Step::Identity))?;
    let mut groups: Vec<Gid> = program.groups.iter().copied().map(Gid::from_raw).collect();
    let primary = Gid::from_raw(program.gid);
    if !groups.contains(&primary) {
        groups.insert(0, primary);
    }
    rustix::thread::set_thread_groups(&groups).map_err(told(format!("setgroups({:?})", program.groups)))?;
    rustix::thread::set_thread_res_gid(primary, primary, primary).map_err(told(format!("setgid({})", program.gid)))?;
    let user = Uid::from_raw(program.uid);
    rustix::thread::set_thread_res_uid(user, user, user).map_err(told(format!("setuid({})", program.uid)))?;
    caps::keep_across_user_change(false).map_err(at(Step::Identity))?;
    // Loading a filter without no_new_privs takes CAP_SYS_ADMIN, kept until then; everything else goes now.
    let until_filter = caps::SYS_ADMIN & caps::permitted().map_err(at(Step::Identity))?;
    caps::set(program.effective | until_filter, program.permitted | until_filter, program.inheritable).map_err(at(Step::Identity))
}

/// A working directory outside the root (a leaked handle's, S-105) has no name inside it.
fn check_cwd(program: &Program) -> Result<(), Failure> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().first() == Some(&b'/') => Ok(()),
        Ok(_) | Err(Errno::NOENT) => {
            Err(Failure::said(Step::WorkingDirectory, format!("the working directory {:?} lies outside the container", program.cwd)))
        }
        Err(errno) => Err(Failure::new(Step::WorkingDirectory, Error::new("getcwd()", errno))),
    }
}

fn execute(program: &Program, path: &str) -> Failure {
    let (Some(path), Some(arguments), Some(environment)) = (c_string(path), c_strings(&program.args), c_strings(&program.env)) else {
        return Failure { step: Step::Execute, errno: Errno::INVAL.raw_os_error(), text: "an argument contains a zero byte".to_owned() };
    };
    let error = process::execute(&path, &arguments, &environment);
    Failure { step: Step::Execute, errno: error.errno.raw_os_error(), text: words(error.errno) }
}

/// The file that `name` means: itself when it has a slash, otherwise the first executable one along PATH.
fn find(name: &str, environment: &[String]) -> Result<String, Failure> {
    let lookup = |errno: Errno, text: String| Failure { step: Step::Lookup, errno: errno.raw_os_error(), text };
    if name.contains('/') {
        return match executable(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(Errno::ISDIR) => Err(lookup(Errno::ACCESS, "is a directory".to_owned())),
            Err(Errno::ACCESS) => Err(lookup(Errno::ACCESS, "permission denied".to_owned())),
            Err(errno) => Err(lookup(errno, format!("stat {name}: {}", words(errno)))),
        };
    }
    let path = environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    for folder in path.split(':') {
        let candidate = format!("{}/{name}", if folder.is_empty() { "." } else { folder });
        if !name.is_empty() && executable(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    Err(lookup(Errno::NOENT, "executable file not found in $PATH".to_owned()))
}

/// How often a script may be run by a script (the kernel's own bound is 5).
const SCRIPTS: usize = 6;

/// A program that leads to the file we run from (`/proc/self/exe`, `/proc/1/exe`, a script with that for its interpreter) would start our own binary
/// inside the container (S-101). That file is sealed and lies, like no file of an image, on the kernel's own memory filesystem.
fn refuse_ourselves(path: &str) -> Result<(), Failure> {
    let told = |errno: Errno| Failure::new(Step::Execute, Error::new(format!("stat({path:?})"), errno));
    let sealed = rustix::fs::memfd_create("where", rustix::fs::MemfdFlags::CLOEXEC).map_err(told)?;
    let ours = rustix::fs::fstat(&sealed).map_err(told)?.st_dev;
    let mut next = path.to_owned();
    for _ in 0..SCRIPTS {
        // What cannot be looked at cannot be executed either, and the kernel says so better.
        let Ok(found) = rustix::fs::stat(&*next) else { return Ok(()) };
        if found.st_dev == ours {
            let text = "the program is the engine's own binary, which does not run in containers".to_owned();
            return Err(Failure { step: Step::Lookup, errno: Errno::ACCESS.raw_os_error(), text });
        }
        match interpreter(&next) {
            Some(interpreter) => next = interpreter,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// What the first line of a script says it is run by.
fn interpreter(path: &str) -> Option<String> {
    // Never waits: a name that is a pipe is no program.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()?;
    let mut head = [0; 256];
    let length = rustix::io::pread(&file, &mut head, 0).ok()?;
    let line = head[..length].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let text = std::str::from_utf8(line).ok()?;
    text.split_ascii_whitespace().next().map(str::to_owned)
}

fn executable(path: &str) -> Result<(), Errno> {
    let status = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// The kernel's words without the call in front, lower case, as Go programs print them.
fn words(errno: Errno) -> String {
    let whole = Error::new("", errno).to_string();
    whole.trim_start_matches(": ").to_owned()
}

fn c_string(text: &str) -> Option<CString> {
    CString::new(text).ok()
}

fn c_strings(texts: &[String]) -> Option<Vec<CString>> {
    texts.iter().map(|text| c_string(text)).collect()
}
