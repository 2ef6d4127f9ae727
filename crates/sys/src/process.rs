//! Processes: clone3, spawning without copying the parent, exec, waiting, signals.
//!
//! What must stay true: [`clone_process`] is only for programs with one thread (its token proves it); a program with threads starts others by
//! [`spawn`], which copies no page table; nothing here waits without being told how long.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use crate::Error;

/// Proof that this process has one thread, so a copy of it may go on running ordinary code.
#[derive(Debug, Clone, Copy)]
pub struct SingleThreaded(());

impl SingleThreaded {
    /// Looks at /proc/self/task. Without a /proc (a parked init in its empty world) the caller must have the token from before.
    ///
    /// # Errors
    /// `EBUSY` when there is a second thread.
    pub fn prove() -> Result<Self, Error> {
        let call = "read(/proc/self/task)";
        let tasks = std::fs::read_dir("/proc/self/task").map_err(|error| Error::from_io(call, &error))?.count();
        if tasks == 1 { Ok(Self(())) } else { Err(Error::new(call, Errno::BUSY).with_detail(format!("{tasks} threads, 1 wanted"))) }
    }
}

/// Which side of [`clone_process`] the caller woke up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The old one, with the pid of the new one in the old one's pid namespace.
    Parent(Pid),
}

/// The child becomes a sibling: its parent is the caller's parent.
pub const CLONE_PARENT: u64 = 0x8000;
/// The child starts in the cgroup (version 2) of `CloneArguments::cgroup`; beyond the 32 bits of clone(2).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// struct clone_args of linux/sched.h, version 2 (kernel 5.7).
#[repr(C)]
#[derive(Default)]
pub(crate) struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl CloneArguments {
    pub(crate) fn with(flags: u64) -> Self {
        Self { flags, ..Self::default() }
    }
}

/// Copies this process (fork semantics) with the `CLONE_*` namespace flags of `flags`, straight into `cgroup` (version 2) when given.
///
/// # Source
/// clone(2), "clone3()"; CLONE_INTO_CGROUP kernel 5.7.
pub fn clone_process(_one_thread: SingleThreaded, flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, Error> {
    let mut arguments = CloneArguments::with(flags);
    if flags & CLONE_PARENT == 0 {
        arguments.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM and no stack is passed, so the child runs on its own copy of this stack, as after fork(2); the token proves that no other
    // thread can hold a lock of the allocator or of std at this moment.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArguments>()) };
    match pid {
        0 => Ok(Cloned::Child),
        pid if pid > 0 => Pid::from_raw(pid as i32).map(Cloned::Parent).ok_or_else(|| Error::new("clone3()", Errno::SRCH)),
        _ => Err(last_error(format!("clone3(flags {:#x})", arguments.flags))),
    }
}

/// A program to start beside a big process: what it is, what it gets.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// File to execute, by path.
    pub path: &'a CStr,
    /// argv, the first being the name it goes by.
    pub arguments: &'a [CString],
    /// Environment, whole.
    pub environment: &'a [CString],
    /// Which of our handles it gets under which number.
    pub handles: &'a [(BorrowedFd<'a>, RawFd)],
}

/// Starts a program in a session of its own, with no signal blocked or ignored and only the handles named (the rest must be close-on-exec).
///
/// # Cost
/// About 0.1 ms whatever our size: glibc's posix_spawn shares memory until the exec.
///
/// # Source
/// posix_spawn(3); POSIX_SPAWN_SETSID since glibc 2.26.
pub fn spawn(program: &Spawn<'_>) -> Result<Pid, Error> {
    let call = || format!("posix_spawn({:?})", program.path);
    let argv = pointers(program.arguments);
    let envp = pointers(program.environment);
    // SAFETY: both structures are initialised by the functions made for it before any other use, destroyed once below, and not moved in between.
    // argv and envp are null-terminated arrays of pointers into strings that outlive the call; glibc keeps none of them.
    let (code, pid) = unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        let mut attributes: libc::posix_spawnattr_t = std::mem::zeroed();
        let mut none: libc::sigset_t = std::mem::zeroed();
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigfillset(&raw mut all);
        libc::posix_spawn_file_actions_init(&raw mut actions);
        libc::posix_spawnattr_init(&raw mut attributes);
        let flags = libc::POSIX_SPAWN_SETSID | libc::POSIX_SPAWN_SETSIGMASK as i16 | libc::POSIX_SPAWN_SETSIGDEF as i16;
        libc::posix_spawnattr_setflags(&raw mut attributes, flags);
        libc::posix_spawnattr_setsigmask(&raw mut attributes, &raw const none);
        libc::posix_spawnattr_setsigdefault(&raw mut attributes, &raw const all);
        for (ours, theirs) in program.handles {
            libc::posix_spawn_file_actions_adddup2(&raw mut actions, ours.as_raw_fd(), *theirs);
        }
        let mut pid = 0;
        let code =
            libc::posix_spawn(&raw mut pid, program.path.as_ptr(), &raw const actions, &raw const attributes, argv.as_ptr(), envp.as_ptr());
        libc::posix_spawnattr_destroy(&raw mut attributes);
        libc::posix_spawn_file_actions_destroy(&raw mut actions);
        (code, pid)
    };
    if code != 0 {
        return Err(Error::new(call(), Errno::from_raw_os_error(code)));
    }
    Pid::from_raw(pid).ok_or_else(|| Error::new(call(), Errno::SRCH))
}

/// Becomes another program; returns only to say why not.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> Error {
    let argv = pointers(arguments);
    let envp = pointers(environment);
    // SAFETY: path is a C string, argv and envp are null-terminated arrays of pointers to strings that live until execve replaces or returns.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr().cast(), envp.as_ptr().cast()) };
    last_error(format!("execve({path:?})"))
}

fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    strings.iter().map(|text| text.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By exit(2) with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

impl Ended {
    /// The one number shells and Docker report: the code, or 128 + signal.
    pub fn code(self) -> i32 {
        match self {
            Ended::Exited(code) => code,
            Ended::Signalled(signal) => 128 + signal,
        }
    }
}

/// Takes one ended child of this process, if there is one; never blocks. `None` also when there are no children.
pub fn reap_any() -> Result<Option<(Pid, Ended)>, Error> {
    reap(None, WaitOptions::NOHANG)
}

/// Takes this child if it has ended; never blocks. `None` also when it is not (or no longer) a child of ours.
pub fn reap_if_ended(pid: Pid) -> Result<Option<Ended>, Error> {
    Ok(reap(Some(pid), WaitOptions::NOHANG)?.map(|(_, ended)| ended))
}

/// Waits for this child, however long it takes.
pub fn reap_blocking(pid: Pid) -> Result<Option<Ended>, Error> {
    Ok(reap(Some(pid), WaitOptions::empty())?.map(|(_, ended)| ended))
}

fn reap(pid: Option<Pid>, options: WaitOptions) -> Result<Option<(Pid, Ended)>, Error> {
    loop {
        let answer = match pid {
            None => rustix::process::wait(options),
            Some(pid) => rustix::process::waitpid(Some(pid), options),
        };
        return match answer {
            Ok(Some((pid, status))) => Ok(ended(status).map(|ended| (pid, ended))),
            Ok(None) | Err(Errno::CHILD) => Ok(None),
            Err(Errno::INTR) => continue,
            Err(errno) => Err(Error::new(format!("wait4({})", pid.map_or(-1, Pid::as_raw_pid)), errno)),
        };
    }
}

fn ended(status: rustix::process::WaitStatus) -> Option<Ended> {
    status.exit_status().map(Ended::Exited).or_else(|| status.terminating_signal().map(Ended::Signalled))
}

/// A handle that stays with the process even when its number is used again.
pub fn open_pidfd(pid: Pid) -> Result<OwnedFd, Error> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(|errno| Error::new(format!("pidfd_open({})", pid.as_raw_pid()), errno))
}

/// Sends signal `number` (1-64, real-time ones included; 0 only asks whether the process is there) to `pid`.
pub fn send_signal(pid: Pid, number: i32) -> Result<(), Error> {
    // SAFETY: kill(2) takes two integers and touches no memory of ours; a Pid is positive, so no process group is meant.
    let answer = unsafe { libc::kill(pid.as_raw_pid(), number) };
    if answer == 0 { Ok(()) } else { Err(last_error(format!("kill({}, {number})", pid.as_raw_pid()))) }
}

/// Becomes the process to whom orphaned grandchildren are given.
pub fn become_subreaper() -> Result<(), Error> {
    // The argument is only asked whether it is there.
    rustix::process::set_child_subreaper(Some(Pid::INIT)).map_err(|errno| Error::new("prctl(PR_SET_CHILD_SUBREAPER)", errno))
}

/// Makes /proc/PID/{exe,fd,mem,...} of this process unreachable for others of the same user.
pub fn forbid_inspection() -> Result<(), Error> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|errno| Error::new("prctl(PR_SET_DUMPABLE, 0)", errno))
}

/// Dies (SIGKILL) when the parent does.
pub fn die_with_parent() -> Result<(), Error> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|errno| Error::new("prctl(PR_SET_PDEATHSIG)", errno))
}

/// Gives every signal its default meaning, except that writing to a closed pipe goes on being an error and no death. For a process that clones programs:
/// what it ignores they would ignore too.
pub fn ignore_closed_pipes_only() {
    for number in 1..=64 {
        let meaning = if number == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: neither meaning installs code; numbers the kernel refuses (KILL, STOP, those kept by libc) are answered with EINVAL.
        unsafe { libc::signal(number, meaning) };
    }
}

/// What a program may expect to start with: no signal ignored, none blocked. For copies of a process that has called [`ignore_closed_pipes_only`].
pub fn reset_signals() {
    // SAFETY: SIG_DFL installs no code; the set is initialised by sigemptyset before sigprocmask reads it.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Blocks the given signals and returns a non-blocking handle that becomes readable when one of them arrives.
///
/// # Source
/// signalfd(2).
pub fn signals_as_file(numbers: &[i32]) -> Result<OwnedFd, Error> {
    // SAFETY: the set is initialised by sigemptyset before use; the new descriptor is ours alone, so OwnedFd may close it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for number in numbers {
            libc::sigaddset(&raw mut set, *number);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        let handle = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if handle < 0 { Err(last_error("signalfd()")) } else { Ok(OwnedFd::from_raw_fd(handle)) }
    }
}

/// Reads the number of one signal that arrived at a handle of [`signals_as_file`]; `None` when there is none.
pub fn next_signal(handle: BorrowedFd<'_>) -> Option<i32> {
    let mut record = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(handle, &mut record) {
        // ssi_signo is the first field (u32).
        Ok(length) if length >= 4 => Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]])),
        _ => None,
    }
}

/// Takes a new anonymous session keyring, so that keys of the caller's session stay out of reach.
///
/// # Source
/// keyctl(2), KEYCTL_JOIN_SESSION_KEYRING.
pub fn new_session_keyring() -> Result<(), Error> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is handed over.
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    if answer >= 0 { Ok(()) } else { Err(last_error("keyctl(JOIN_SESSION_KEYRING)")) }
}

/// Closes every handle from 3 on except `kept`: what a copied process does first, so that it holds open nothing of the process it was copied from.
///
/// Only for a copy that never returns into code owning the others (their numbers mean nothing afterwards), or for the start of main.
///
/// # Source
/// close_range(2), kernel 5.9.
pub fn close_all_but(_one_thread: SingleThreaded, kept: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let mut numbers: Vec<u32> = kept.iter().map(|handle| handle.as_raw_fd() as u32).filter(|number| *number > 2).collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers.into_iter().chain([u32::MAX]) {
        if number > first {
            // SAFETY: no other thread exists, and by the agreement above no value that owns one of these numbers is used or dropped again.
            let answer = unsafe { libc::syscall(libc::SYS_close_range, first, if number == u32::MAX { number } else { number - 1 }, 0) };
            if answer != 0 {
                return Err(last_error(format!("close_range({first})")));
            }
        }
        first = number.saturating_add(1);
    }
    Ok(())
}

/// Wraps a handle number inherited across exec (the agreed numbers of a parent that spawned us).
///
/// # Errors
/// `EBADF` when nothing is open there.
pub fn inherited_handle(number: RawFd) -> Result<OwnedFd, Error> {
    // SAFETY: F_GETFD reads flags only; an unused number answers EBADF.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(last_error(format!("fcntl({number}, F_GETFD)")));
    }
    // SAFETY: the number is open (asked above) and, by the agreement with our own spawner, meant for this one taker; taken once at the start of main.
    let handle = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&handle, rustix::io::FdFlags::CLOEXEC)
        .map_err(|errno| Error::new(format!("fcntl({number}, FD_CLOEXEC)"), errno))?;
    Ok(handle)
}

/// Puts `handle` under the numbers 0, 1 or 2, without close-on-exec.
pub fn install_standard(handle: BorrowedFd<'_>, number: RawFd) -> Result<(), Error> {
    debug_assert!((0..=2).contains(&number));
    if handle.as_raw_fd() == number {
        return rustix::io::fcntl_setfd(handle, rustix::io::FdFlags::empty())
            .map_err(|errno| Error::new(format!("fcntl({number}, F_SETFD)"), errno));
    }
    // SAFETY: 0, 1 and 2 are owned by no OwnedFd (std treats them as borrowed for ever); dup2 replaces what they name, which is what the caller wants.
    if unsafe { libc::dup2(handle.as_raw_fd(), number) } < 0 { Err(last_error(format!("dup2(.., {number})"))) } else { Ok(()) }
}

/// Leaves at once, without destructors or exit handlers: the only right end for a copied process.
pub fn leave_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes an integer and does not return; nothing of ours is needed after it.
    unsafe { libc::_exit(code) }
}

/// What errno says now, as the answer to `call`.
pub(crate) fn last_error(call: impl Into<String>) -> Error {
    Error::from_io(call, &std::io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn spawned_program_gets_exactly_the_handles_named() {
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
        let path = c"/bin/busybox";
        let arguments = [c"sh".to_owned(), c"-c".to_owned(), c"echo $WORD; cat <&- ; exit 7".to_owned()];
        let environment = [c"WORD=hello".to_owned()];
        let pid = spawn(&Spawn { path, arguments: &arguments, environment: &environment, handles: &[(theirs.as_fd(), 1)] }).expect("spawn");
        drop(theirs);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::fs::File::from(ours), &mut text).expect("read");
        assert_eq!(text, "hello\n");
        assert_eq!(reap_blocking(pid).expect("wait").map(Ended::code), Some(7));
        assert_eq!(reap_if_ended(pid).expect("second wait"), None);
    }

    #[test]
    fn spawn_of_nothing_says_which_file() {
        let error = spawn(&Spawn { path: c"/no/such", arguments: &[], environment: &[], handles: &[] }).expect_err("must fail");
        assert!(error.is_not_found() && error.call.contains("/no/such"), "{error}");
    }

    #[test]
    fn a_second_thread_refuses_the_token() {
        std::thread::scope(|scope| {
            let (send, receive) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || receive.recv());
            assert!(SingleThreaded::prove().is_err());
            drop(send);
        });
    }
}
