//! The one thread that writes, and group commit.
//!
//! Everything that waits in the queue when the thread comes round goes into one transaction: `BEGIN IMMEDIATE`, then for each job
//! `SAVEPOINT`, its closure, `RELEASE` (or `ROLLBACK TO` when it failed or panicked), then one `COMMIT`. With `synchronous=FULL` the commit syncs the
//! log; with `NORMAL` it does not, and the frames ride along with the next commit that does. Answers go out after the commit.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, ThreadId};

use rusqlite::Connection;
use shipway_sys::durable::fault;

use crate::reserve::Reserve;
use crate::txn::WriteTxn;
use crate::{Error, Result};

/// Jobs in one transaction at most, so that a flood cannot keep the first caller waiting.
const GROUP_LIMIT: usize = 256;
/// Log length, in pages of 4 KiB, after which a durable commit folds it into the file.
const CHECKPOINT_PAGES: i64 = 2000;

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Durable,
    Lazy,
}

/// Whether a job may share its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    Grouped,
    Alone,
}

/// The caller's side of the writer thread.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Mutex<Option<Sender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: ThreadId,
    degraded: Arc<Mutex<Option<String>>>,
}

trait Job: Send {
    fn durability(&self) -> Durability;
    fn company(&self) -> Company;
    /// Runs the closure; true when its savepoint is to be kept.
    fn run(&mut self, txn: &mut WriteTxn<'_>) -> bool;
    /// Answers the caller, with the closure's result when its changes were committed (or it had failed by itself).
    fn answer(self: Box<Self>, commit: Result<()>);
}

type Panicked = Box<dyn Any + Send>;
type Answer<T, E> = std::result::Result<Result<T, E>, Panicked>;

struct Task<F, T, E> {
    closure: Option<F>,
    outcome: Option<Answer<T, E>>,
    reply: SyncSender<Answer<T, E>>,
    durability: Durability,
    company: Company,
}

impl<F, T, E> Job for Task<F, T, E>
where
    F: FnOnce(&mut WriteTxn<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn company(&self) -> Company {
        self.company
    }

    fn run(&mut self, txn: &mut WriteTxn<'_>) -> bool {
        let Some(closure) = self.closure.take() else { return false };
        let outcome = catch_unwind(AssertUnwindSafe(|| closure(txn)));
        let keep = matches!(outcome, Ok(Ok(_)));
        self.outcome = Some(outcome);
        keep
    }

    fn answer(mut self: Box<Self>, commit: Result<()>) {
        let answer = match (self.outcome.take(), commit) {
            (Some(Ok(Ok(value))), Ok(())) => Ok(Ok(value)),
            (Some(Ok(Ok(_))) | None, Err(error)) => Ok(Err(E::from(error))),
            (Some(failed), _) => failed,
            (None, Ok(())) => Ok(Err(E::from(Error::Closed))),
        };
        // A caller that is gone needs no answer.
        drop(self.reply.send(answer));
    }
}

/// Starts the writer thread over `connection`.
pub(crate) fn start(connection: Connection, path: &Path) -> Result<Writer> {
    let (sender, receiver) = channel();
    let degraded = Arc::new(Mutex::new(None));
    let mut side = WriterSide {
        connection,
        degraded: Arc::clone(&degraded),
        reserve: Reserve::open(path),
        synchronous: Durability::Durable,
        held_back: None,
    };
    let thread = std::thread::Builder::new()
        .name("state-writer".to_owned())
        .spawn(move || side.serve(&receiver))
        .map_err(|error| shipway_sys::Error::from_io("clone(thread \"state-writer\")", &error))?;
    let thread_id = thread.thread().id();
    Ok(Writer { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), thread_id, degraded })
}

impl Writer {
    pub(crate) fn submit<T, E>(
        &self,
        closure: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E> + Send + 'static,
        durability: Durability,
        company: Company,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        if std::thread::current().id() == self.thread_id {
            return Err(Error::Nested.into());
        }
        if let Some(cause) = self.degraded() {
            return Err(Error::Degraded { cause }.into());
        }
        let (reply, answer) = sync_channel(1);
        let task = Task { closure: Some(closure), outcome: None, reply, durability, company };
        {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(queue) = queue.as_ref() else { return Err(Error::Closed.into()) };
            if queue.send(Box::new(task)).is_err() {
                return Err(Error::Closed.into());
            }
        }
        match answer.recv() {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(Error::Closed.into()),
        }
    }

    pub(crate) fn degraded(&self) -> Option<String> {
        self.degraded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn degrade(&self, cause: String) {
        self.degraded.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
    }

    /// Closes the queue and waits for the thread to finish what is in it.
    pub(crate) fn stop(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle may be dropped by a callback on the writer thread itself, which cannot wait for its own end.
        if let Some(thread) = thread
            && std::thread::current().id() != self.thread_id
        {
            drop(thread.join());
        }
    }
}

/// The thread's side.
struct WriterSide {
    connection: Connection,
    degraded: Arc<Mutex<Option<String>>>,
    reserve: Reserve,
    synchronous: Durability,
    held_back: Option<Box<dyn Job>>,
}

type AfterCommit = Vec<Box<dyn FnOnce() + Send>>;

impl WriterSide {
    fn serve(&mut self, queue: &Receiver<Box<dyn Job>>) {
        while let Some(mut group) = self.next_group(queue) {
            let cause = self.degraded.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let committed = match cause {
                Some(cause) => Err(Error::Degraded { cause }),
                None => self.commit_group(&mut group),
            };
            let durable = group.iter().any(|job| job.durability() == Durability::Durable);
            for job in group {
                job.answer(committed.clone());
            }
            if durable && committed.is_ok() {
                self.tidy();
            }
        }
        // The log is folded so that the next start has nothing to recover; failing is harmless, the log then stays.
        drop(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    }

    /// Waits for a job and takes what else is waiting; `None` when every handle is gone.
    fn next_group(&mut self, queue: &Receiver<Box<dyn Job>>) -> Option<Vec<Box<dyn Job>>> {
        let first = match self.held_back.take() {
            Some(job) => job,
            None => queue.recv().ok()?,
        };
        let mut group = vec![first];
        if group.iter().any(|job| job.company() == Company::Alone) {
            return Some(group);
        }
        while group.len() < GROUP_LIMIT
            && let Ok(job) = queue.try_recv()
        {
            if job.company() == Company::Alone {
                self.held_back = Some(job);
                break;
            }
            group.push(job);
        }
        Some(group)
    }

    fn commit_group(&mut self, group: &mut [Box<dyn Job>]) -> Result<()> {
        let durable = group.iter().any(|job| job.durability() == Durability::Durable);
        self.set_synchronous(if durable { Durability::Durable } else { Durability::Lazy })?;
        // SQLite rolls back what it cannot commit, and closures run only once, so room is made before, not after.
        self.reserve.make_room();
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let after_commit = match self.run_jobs(group) {
            Ok(callbacks) => callbacks,
            Err(error) => {
                self.roll_back();
                return Err(error);
            }
        };
        fault::point("state.commit.before");
        if let Err(error) = self.connection.execute_batch("COMMIT").map_err(Error::from) {
            self.roll_back();
            if error.is_disk_failure() {
                tracing::error!(%error, "the database met an I/O error while committing; it is read-only from now on");
                self.degraded.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
            }
            return Err(error);
        }
        fault::point("state.commit.after");
        for callback in after_commit {
            if catch_unwind(AssertUnwindSafe(callback)).is_err() {
                tracing::error!("a callback after a commit panicked");
            }
        }
        Ok(())
    }

    fn run_jobs(&self, group: &mut [Box<dyn Job>]) -> Result<AfterCommit> {
        let mut after_commit = Vec::new();
        for job in group {
            self.connection.execute_batch("SAVEPOINT job")?;
            let mut txn = WriteTxn::new(&self.connection);
            if job.run(&mut txn) {
                self.connection.execute_batch("RELEASE job")?;
                after_commit.append(&mut txn.take_after_commit());
            } else {
                self.connection.execute_batch("ROLLBACK TO job; RELEASE job")?;
            }
        }
        Ok(after_commit)
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    fn set_synchronous(&mut self, wanted: Durability) -> Result<()> {
        if self.synchronous != wanted {
            self.connection.pragma_update(None, "synchronous", if wanted == Durability::Durable { "FULL" } else { "NORMAL" })?;
            self.synchronous = wanted;
        }
        Ok(())
    }

    /// After the answers are out: folds a long log into the file and takes the reserve back. Failing only means trying again later.
    fn tidy(&mut self) {
        if self.reserve.is_short() {
            self.reserve.refill();
        }
        let pages: i64 = self.connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).unwrap_or(0);
        if pages >= CHECKPOINT_PAGES
            && let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        {
            tracing::warn!(%error, "the log of the database could not be folded into the file");
        }
    }
}
