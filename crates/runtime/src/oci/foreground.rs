//! `oci run`, and waiting for a process as its nearest subreaper.
//!
//! What must stay true: our exit code is the program's; the user's terminal is as it was before, however we leave.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::termios::{OptionalActions, Termios};
use shipway_sys::{Error as SysError, process, socket};

use super::arguments::parse;
use super::config::Config;
use super::create::{CREATE_FLAGS, bundle_of, destroy, detached_stdio, make, refuse_unsupported, start, write_pid_file};
use super::error::Error;
use super::launch::Stdio;
use super::{Global, plan};

/// Signals that a user or service manager sends us and means for the program: HUP, INT, QUIT, USR1, USR2, TERM, CONT, TSTP, TTIN, TTOU, and the window's.
const FORWARDED: [i32; 11] = [1, 2, 3, 10, 12, 15, 18, 20, 21, 22, WINDOW];
const WINDOW: i32 = 28;

/// `oci run`.
pub(super) fn run(global: &Global, words: &[String]) -> Result<u8, Error> {
    let parsed = parse(words, CREATE_FLAGS)?;
    let [id] = parsed.words(1, "run [flags] <container-id>")?;
    refuse_unsupported(&parsed)?;
    let bundle = bundle_of(&parsed)?;
    let config = Config::of_bundle(&bundle)?;
    let detach = parsed.has("detach");
    let (stdio, waiting) = if detach {
        (detached_stdio(&parsed, &config)?, None)
    } else {
        if parsed.text("console-socket").is_some_and(|path| !path.is_empty()) {
            return Err(Error::usage("cannot use console socket if runtime will not detach or allocate tty"));
        }
        become_parent()?;
        let process = config.process.as_ref();
        own_stdio(process.is_some_and(|process| process.terminal), process.map_or((0, 0), plan::terminal_size))?
    };
    let container = make(global, id, &bundle, &config, stdio)?;
    let started = write_pid_file(&parsed, container.record.pid).and_then(|()| start(global, &container));
    if let Err(error) = started {
        destroy(global, &container)?;
        return Err(error);
    }
    if detach {
        return Ok(0);
    }
    let code = wait(container.record.pid, waiting)?;
    if !parsed.has("keep") {
        destroy(global, &container)?;
    }
    Ok(code)
}

/// From now on what our helpers leave behind is ours to wait for.
pub(super) fn become_parent() -> Result<(), Error> {
    Ok(process::become_subreaper()?)
}

/// Standard handles of a process we wait for, and where the controlling end of its terminal will arrive.
pub(super) fn own_stdio(terminal: bool, size: (u16, u16)) -> Result<(Stdio, Option<OwnedFd>), Error> {
    if !terminal {
        return Ok((Stdio::Inherited, None));
    }
    let (ours, theirs) = socket::stream_pair()?;
    Ok((Stdio::Console { socket: theirs, size }, Some(ours)))
}

/// Waits for a process that was started with [`own_stdio`], passing signals and the terminal on. Returns its exit code.
pub(super) fn wait(pid: i32, console: Option<OwnedFd>) -> Result<u8, Error> {
    let pid = Pid::from_raw(pid).ok_or(Error::NotRunning)?;
    let signals = process::signals_as_file(&FORWARDED)?;
    let proxy = console.map(|console| Proxy::open(console.as_fd())).transpose()?;
    // It may have ended already; then it waits for us as a zombie, whose handle is readable.
    let end = process::open_pidfd(pid)?;
    pass_on(pid, &end, &signals, proxy.as_ref())?;
    if let Some(proxy) = &proxy {
        proxy.copy_last_words();
    }
    drop(proxy);
    let ended = process::reap_blocking(pid)?;
    while let Ok(Some(_)) = process::reap_any() {}
    // Hooks that follow inherit our signal mask.
    process::reset_signals();
    Ok(ended.map_or(255, |ended| u8::try_from(ended.code()).unwrap_or(255)))
}

fn pass_on(pid: Pid, end: &OwnedFd, signals: &OwnedFd, proxy: Option<&Proxy>) -> Result<(), Error> {
    let mut input_is_open = true;
    loop {
        let mut handles = vec![PollFd::new(end, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        if let Some(proxy) = proxy {
            handles.push(PollFd::new(&proxy.master, PollFlags::IN));
            if input_is_open {
                handles.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
            }
        }
        match poll(&mut handles, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("poll()", errno).into()),
        }
        let speaks: Vec<bool> = handles.iter().map(|handle| !handle.revents().is_empty()).collect();
        if speaks[1] {
            while let Some(number) = process::next_signal(signals.as_fd()) {
                match proxy {
                    Some(proxy) if number == WINDOW => proxy.take_size(),
                    // Gone already: the next turn sees it.
                    _ => drop(process::send_signal(pid, number)),
                }
            }
        }
        if let Some(proxy) = proxy {
            if speaks[2] && !proxy.copy_output() && !speaks[0] {
                // The last user of the terminal is about to end, and its handle tells; or it has merely closed its terminal, and we must not spin.
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            if speaks.get(3).copied().unwrap_or(false) {
                input_is_open = proxy.copy_input();
            }
        }
        if speaks[0] {
            return Ok(());
        }
    }
}

/// Pieces copied from a terminal whose program has ended: more than it can hold at once.
const LAST_WORDS: usize = 64;

/// Our terminal and the program's, one shown in the other.
struct Proxy {
    master: OwnedFd,
    before: Option<Termios>,
}

impl Proxy {
    fn open(console: BorrowedFd<'_>) -> Result<Self, Error> {
        let (_, master) = socket::receive_handle(console)?;
        let before = rustix::termios::tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)
                .map_err(|errno| SysError::new("tcsetattr(0)", errno))?;
        }
        let proxy = Self { master, before };
        proxy.take_size();
        Ok(proxy)
    }

    /// The size of our terminal for the program's.
    fn take_size(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
            // A terminal that is closing keeps its old size.
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// Shows what is there; false at the end.
    fn copy_output(&self) -> bool {
        let mut waiting = [PollFd::new(&self.master, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if !matches!(poll(&mut waiting, Some(&now)), Ok(1..)) {
            return false;
        }
        let mut bytes = [0; 16 << 10];
        match rustix::io::read(&self.master, &mut bytes) {
            Ok(length) if length > 0 => write_all(rustix::stdio::stdout(), &bytes[..length]),
            Err(Errno::INTR | Errno::AGAIN) => true,
            _ => false,
        }
    }

    /// Passes input on; false when there will be no more.
    /// Copies what is there when the program has ended, and no more than that: what it left behind may go on writing for ever.
    fn copy_last_words(&self) {
        for _ in 0..LAST_WORDS {
            if !self.copy_output() {
                return;
            }
        }
    }

    fn copy_input(&self) -> bool {
        let mut bytes = [0; 16 << 10];
        match rustix::io::read(rustix::stdio::stdin(), &mut bytes) {
            Ok(length) if length > 0 => write_all(self.master.as_fd(), &bytes[..length]),
            Err(Errno::INTR | Errno::AGAIN) => true,
            _ => {
                // What a terminal sends for "no more input".
                write_all(self.master.as_fd(), &[4]);
                false
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}
