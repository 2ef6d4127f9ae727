//! Making things stay: write, sync, rename, sync the folder; one group-committed `syncfs` for many callers; fault points for crash tests.
//!
//! What must stay true: a name appears only after the bytes under it are on disk; a failed sync is never retried as if nothing had happened
//! (the kernel reports a lost page once and then forgets it), so a broken `Barrier` stays broken until the store is opened again.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::{Error, fd};

static FILE_SYNCS: AtomicU64 = AtomicU64::new(0);
static FILESYSTEM_SYNCS: AtomicU64 = AtomicU64::new(0);
static TEMPORARY_NAMES: AtomicU64 = AtomicU64::new(0);

/// How often this process has asked the kernel to make things durable, since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Calls of fsync(2) and fdatasync(2), files and folders together.
    pub fsync: u64,
    /// Calls of syncfs(2).
    pub syncfs: u64,
}

/// The counters of now; a fully cached build must leave them where they were.
pub fn counters() -> Counters {
    Counters { fsync: FILE_SYNCS.load(Ordering::Relaxed), syncfs: FILESYSTEM_SYNCS.load(Ordering::Relaxed) }
}

/// Writes `bytes` under `name` in `folder` so that after a power cut either the former content or all of `bytes` is there.
///
/// # Errors
/// As open(2), write(2), fsync(2), rename(2); on failure the temporary file is removed and `name` is as before.
///
/// # Cost
/// Two fsyncs.
pub fn write_file(folder: impl AsFd, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let folder = folder.as_fd();
    let temporary = format!(".{name}.{}-{}.tmp", std::process::id(), TEMPORARY_NAMES.fetch_add(1, Ordering::Relaxed));
    let written = write_and_rename(folder, &temporary, name, bytes);
    if written.is_err() {
        // Whatever failed is already being reported; a leftover temporary file is only rubbish for the next sweep.
        let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
    }
    written?;
    fault::point("durable.before-folder-sync");
    sync_dir(folder)
}

fn write_and_rename(folder: BorrowedFd<'_>, temporary: &str, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(folder, temporary, flags, Mode::from(0o600)).map_err(|e| failed("open", folder, temporary, e))?;
    fault::point("durable.before-write");
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("write", folder, temporary, errno)),
        }
    }
    fault::point("durable.before-sync");
    sync_file(&file)?;
    fault::point("durable.before-rename");
    rustix::fs::renameat(folder, temporary, folder, name).map_err(|e| failed("rename", folder, name, e))
}

/// Moves a name from one folder to another, replacing what had the new name, and makes both folders durable.
///
/// The content must be durable already (`sync_file`, `syncfs` or a `Barrier`).
pub fn rename(from: impl AsFd, old: &str, to: impl AsFd, new: &str) -> Result<(), Error> {
    rename_with(from.as_fd(), old, to.as_fd(), new, RenameFlags::empty())
}

/// Like [`rename`], but fails with `EEXIST` when the new name is taken.
pub fn rename_new(from: impl AsFd, old: &str, to: impl AsFd, new: &str) -> Result<(), Error> {
    rename_with(from.as_fd(), old, to.as_fd(), new, RenameFlags::NOREPLACE)
}

fn rename_with(from: BorrowedFd<'_>, old: &str, to: BorrowedFd<'_>, new: &str, flags: RenameFlags) -> Result<(), Error> {
    fault::point("durable.before-rename");
    rustix::fs::renameat_with(from, old, to, new, flags)
        .map_err(|e| Error::new(format!("rename({:?} in {:?} to {:?} in {:?})", old, fd::describe(from), new, fd::describe(to)), e))?;
    fault::point("durable.before-folder-sync");
    sync_dir(to)?;
    let same = match (rustix::fs::fstat(from), rustix::fs::fstat(to)) {
        (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
        _ => false,
    };
    if same { Ok(()) } else { sync_dir(from) }
}

/// Makes the bytes and the size of a file durable.
pub fn sync_file(file: impl AsFd) -> Result<(), Error> {
    FILE_SYNCS.fetch_add(1, Ordering::Relaxed);
    rustix::fs::fsync(file.as_fd()).map_err(|e| Error::new(format!("fsync({:?})", fd::describe(file.as_fd())), e))
}

/// Makes the names in a folder durable. The handle must not be an `O_PATH` one.
pub fn sync_dir(folder: impl AsFd) -> Result<(), Error> {
    sync_file(folder)
}

/// Makes everything written so far to the filesystem of `any` durable.
///
/// # Cost
/// Everybody's dirty pages of that filesystem; 55 ms for 2000 small files here against 1.29 s for one fsync each.
pub fn syncfs(any: impl AsFd) -> Result<(), Error> {
    FILESYSTEM_SYNCS.fetch_add(1, Ordering::Relaxed);
    rustix::fs::syncfs(any.as_fd()).map_err(|e| Error::new(format!("syncfs({:?})", fd::describe(any.as_fd())), e))
}

/// Has the whole filesystem that `any` lives on written now, for a later sync to be short.
///
/// # Durability
/// None: `any` must be an open file of the caller's own that nobody else syncs by, so that an error reported here is reported to the others too
/// (since Linux 5.8 each open file hears of an error once). That is why it is not counted.
pub fn write_all_early(any: impl AsFd) -> Result<(), Error> {
    rustix::fs::syncfs(any.as_fd()).map_err(|e| Error::new(format!("syncfs({:?})", fd::describe(any.as_fd())), e))
}

/// Asks the kernel to begin writing the pages of `file` to the disk now, and does not wait until they are there.
///
/// # Durability
/// None: it only makes a later sync shorter. That is why it is not counted.
///
/// # Cost
/// The time to hand the pages to the disk's queue; when that is full, the time until it no longer is.
///
/// # Source
/// sync_file_range(2), `SYNC_FILE_RANGE_WRITE`.
pub fn start_writing(file: impl AsFd) -> Result<(), Error> {
    let file = file.as_fd();
    // SAFETY: the descriptor is borrowed for the whole call and the other arguments are plain numbers; the call touches no memory of ours.
    let answer = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    if answer == 0 {
        return Ok(());
    }
    Err(Error::from_io(format!("sync_file_range({:?})", fd::describe(file)), &std::io::Error::last_os_error()))
}

/// One `syncfs` shared by all who wait for one at the same time.
///
/// A caller that comes while a sync runs cannot know whether its bytes are in it, so it waits for the next one; all who come meanwhile share that next one.
#[derive(Debug)]
pub struct Barrier {
    filesystem: OwnedFd,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    next: Option<Arc<Round>>,
    /// The error that ended all trust in this filesystem.
    broken: Option<Error>,
}

/// One sync and its outcome.
#[derive(Debug, Default)]
struct Round {
    outcome: OnceLock<Result<(), Error>>,
}

impl Barrier {
    /// A barrier for the filesystem that `any` lives on.
    pub fn new(any: impl AsFd) -> Result<Self, Error> {
        let filesystem =
            rustix::io::fcntl_dupfd_cloexec(any.as_fd(), 3).map_err(|e| Error::new(format!("dup({:?})", fd::describe(any.as_fd())), e))?;
        Ok(Self { filesystem, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Returns when everything this thread wrote before the call is on disk.
    ///
    /// # Errors
    /// What syncfs(2) said. After anything but a full disk the barrier repeats that error for ever, see the head of this file.
    pub fn wait(&self) -> Result<(), Error> {
        let mut state = self.lock();
        if let Some(error) = &state.broken {
            return Err(error.clone());
        }
        let mine = Arc::clone(state.next.get_or_insert_default());
        loop {
            if let Some(outcome) = mine.outcome.get() {
                return outcome.clone();
            }
            if !state.running {
                return self.lead(state, &mine);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Runs the sync of `round`, which is the one everybody not yet served waits for.
    fn lead(&self, mut state: MutexGuard<'_, State>, round: &Round) -> Result<(), Error> {
        state.running = true;
        state.next = None;
        drop(state);
        let outcome = syncfs(&self.filesystem);
        let mut state = self.lock();
        state.running = false;
        if let Err(error) = &outcome
            && !error.is_no_space()
        {
            state.broken = Some(error.clone());
        }
        let outcome = round.outcome.get_or_init(|| outcome).clone();
        self.changed.notify_all();
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(call: &str, folder: BorrowedFd<'_>, name: &str, errno: Errno) -> Error {
    Error::new(format!("{call}({name:?} in {:?})", fd::describe(folder)), errno)
}

/// Places where a crash test lets the process die. Compiled always, so that what is tested is what runs; unarmed, one costs a load and a compare.
pub mod fault {
    use super::{AtomicU64, OnceLock, Ordering};

    /// Environment variable `SHIPWAY_FAULT=name:N`: the process kills itself at the N-th pass of point `name`, counted from 1.
    const VARIABLE: &str = "SHIPWAY_FAULT";

    struct Armed {
        name: String,
        pass: u64,
        seen: AtomicU64,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    /// Passes the point `name`; does not return when this is the armed one at its armed pass.
    pub fn point(name: &str) {
        let Some(armed) = ARMED.get_or_init(read_environment) else { return };
        if armed.name == name && armed.seen.fetch_add(1, Ordering::Relaxed) + 1 == armed.pass {
            die();
        }
    }

    /// Crash tests arm any personality of the binary, before it has read any configuration; hence the environment.
    #[expect(clippy::disallowed_methods, reason = "a test switch must work in every process, also where no configuration exists")]
    fn read_environment() -> Option<Armed> {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, pass) = text.rsplit_once(':')?;
        Some(Armed { name: name.to_owned(), pass: pass.parse().ok()?, seen: AtomicU64::new(0) })
    }

    /// SIGKILL rather than abort: no handler, no destructor, no flush may run, as in a power cut.
    fn die() -> ! {
        loop {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn scratch(name: &str) -> (std::path::PathBuf, OwnedFd) {
        let path = std::path::PathBuf::from(format!("/dev/shm/shipway-durable-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("mkdir");
        let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("open");
        (path, fd)
    }

    #[test]
    fn a_written_file_replaces_the_former_one_and_leaves_no_temporary() {
        let (path, folder) = scratch("write");
        write_file(&folder, "state", b"one").expect("write");
        write_file(&folder, "state", b"two").expect("write");
        let names: Vec<_> = std::fs::read_dir(&path).expect("list").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(names, ["state"]);
        assert_eq!(std::fs::read(path.join("state")).expect("read"), b"two");
        std::fs::remove_dir_all(path).expect("clean");
    }

    #[test]
    fn writing_can_be_started_on_files_only() {
        let (path, folder) = scratch("start");
        write_file(&folder, "bytes", &[7; 10_000]).expect("write");
        start_writing(std::fs::File::open(path.join("bytes")).expect("open")).expect("start");
        let (pipe, _end) = rustix::pipe::pipe().expect("pipe");
        assert_eq!(start_writing(pipe).expect_err("a pipe has no pages").errno, Errno::SPIPE);
        std::fs::remove_dir_all(path).expect("clean");
    }

    #[test]
    fn rename_new_keeps_what_is_there() {
        let (path, folder) = scratch("rename");
        write_file(&folder, "a", b"a").expect("write");
        write_file(&folder, "b", b"b").expect("write");
        assert_eq!(rename_new(&folder, "a", &folder, "b").expect_err("taken").errno, Errno::EXIST);
        rename(&folder, "a", &folder, "b").expect("replace");
        assert_eq!(std::fs::read(path.join("b")).expect("read"), b"a");
        std::fs::remove_dir_all(path).expect("clean");
    }

    #[test]
    fn concurrent_waiters_share_rounds() {
        let (path, folder) = scratch("barrier");
        let barrier = Barrier::new(&folder).expect("barrier");
        let before = counters().syncfs;
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| (0..20).for_each(|_| barrier.wait().expect("sync")));
            }
        });
        let rounds = counters().syncfs - before;
        assert!((20..=320).contains(&rounds), "{rounds} rounds");
        std::fs::remove_dir_all(path).expect("clean");
    }

    #[test]
    fn a_waiter_that_comes_during_a_sync_gets_the_next_one() {
        let (path, folder) = scratch("next");
        let barrier = Barrier::new(&folder).expect("barrier");
        barrier.lock().running = true;
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| barrier.wait())).collect();
            while barrier.lock().next.as_ref().is_none_or(|round| Arc::strong_count(round) < 5) {
                std::thread::yield_now();
            }
            assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
            let before = counters().syncfs;
            barrier.lock().running = false;
            barrier.changed.notify_all();
            waiters.into_iter().for_each(|waiter| waiter.join().expect("thread").expect("sync"));
            assert!(counters().syncfs > before);
        });
        std::fs::remove_dir_all(path).expect("clean");
    }

    #[test]
    fn a_broken_barrier_stays_broken() {
        let (path, folder) = scratch("broken");
        let barrier = Barrier::new(&folder).expect("barrier");
        barrier.lock().broken = Some(Error::new("syncfs", Errno::IO));
        assert_eq!(barrier.wait().expect_err("broken").errno, Errno::IO);
        std::fs::remove_dir_all(path).expect("clean");
    }

    #[test]
    fn dying_inside_a_durable_write_leaves_the_former_file_or_the_new_one() {
        let name = "durable::tests::dying_inside_a_durable_write_leaves_the_former_file_or_the_new_one";
        if let Some(place) = std::env::var_os("SHIPWAY_DURABLE_PLACE") {
            let folder = rustix::fs::open(&place, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("open");
            write_file(&folder, "state", b"new").expect("write");
            rename(&folder, "other", &folder, "renamed").expect("rename");
            return;
        }
        let (path, folder) = scratch("dying");
        let points = [
            ("durable.before-write:1", "old", true),
            ("durable.before-sync:1", "old", true),
            ("durable.before-rename:1", "old", true),
            ("durable.before-folder-sync:1", "new", true),
            ("durable.before-rename:2", "new", true),
            ("durable.before-folder-sync:2", "new", false),
        ];
        for (fault, content, other_stays) in points {
            let _ = std::fs::remove_file(path.join("renamed"));
            write_file(&folder, "state", b"old").expect("write");
            write_file(&folder, "other", b"whole").expect("write");
            let status = std::process::Command::new(std::env::current_exe().expect("exe"))
                .args(["--exact", name])
                .env("SHIPWAY_FAULT", fault)
                .env("SHIPWAY_DURABLE_PLACE", &path)
                .output()
                .expect("run")
                .status;
            assert_eq!(status.signal(), Some(9), "{fault} is reached");
            assert_eq!(std::fs::read(path.join("state")).expect("read"), content.as_bytes(), "{fault}");
            assert_eq!((path.join("other").exists(), path.join("renamed").exists()), (other_stays, !other_stays), "{fault}");
        }
        std::fs::remove_dir_all(path).expect("clean");
    }

    #[test]
    fn an_armed_fault_point_kills_at_its_pass() {
        if std::env::var_os("SHIPWAY_FAULT").is_some() {
            fault::point("here");
            fault::point("elsewhere");
            fault::point("here");
            return;
        }
        let program = std::env::current_exe().expect("exe");
        let run = |fault: &str| {
            std::process::Command::new(&program)
                .args(["--exact", "durable::tests::an_armed_fault_point_kills_at_its_pass"])
                .env("SHIPWAY_FAULT", fault)
                .output()
                .expect("run")
                .status
        };
        assert_eq!(run("here:2").signal(), Some(9));
        assert!(run("here:3").success());
    }
}
