//! Work in progress, shared by all builds of this process: a result that two builds want at the same time is made once.
//!
//! What must stay true: for one key there is at most one flight; between the last look into the cache and the start of a flight nobody else can land the
//! same result (both happen under one lock, and a flight records its result before it leaves the table); a flight nobody waits for any more is told
//! to stop at once and leaves the table, so that a newcomer starts afresh.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::ops::{Made, OpFailure};
use crate::ports::LogSink;
use crate::progress::LogStream;

/// The work in progress of all builds that share it. Clones are the same table.
#[derive(Clone, Default)]
pub struct Flights {
    inner: Arc<Inner>,
}

struct Inner {
    live: Mutex<HashMap<[u8; 32], Arc<Flight>>>,
    /// How many processes of RUN steps run at once.
    processes: Semaphore,
    /// How many threads copy, hash or commit at once.
    files: Semaphore,
}

impl Default for Inner {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        // Steps often wait for a network, and one that hangs must not stop other builds: several per core. File work waits for the disk part of its
        // time, so a few more than cores keep it busy.
        Self { live: Mutex::default(), processes: Semaphore::new((cores * 4).max(8)), files: Semaphore::new(cores + 2) }
    }
}

/// One piece of work in progress.
struct Flight {
    /// How many builds wait for it; changed under the table's lock only.
    interest: Mutex<usize>,
    cancel: CancellationToken,
    log: Arc<LogFan>,
    landed: watch::Receiver<Option<Result<Made, OpFailure>>>,
}

/// What a flight's work is given.
pub(crate) struct Controls {
    /// Fires when nobody waits any more.
    pub(crate) cancel: CancellationToken,
    /// Reaches everybody who waits, newcomers too.
    pub(crate) log: LogSink,
}

/// What a build waits for, once it is there.
pub(crate) enum Landing {
    /// Another build had just recorded the result.
    Known(Made),
    /// This flight made it.
    Made(Made),
}

impl Flights {
    /// Waits for the result named `key`: takes it from `lookup` when it is known by now, joins the flight that is making it, or starts one with `work`.
    ///
    /// `started` is called when the result is not known, before the first log line. Dropping the future gives up the interest; the last one to do so
    /// cancels the work.
    pub(crate) async fn join(
        &self,
        key: [u8; 32],
        log: LogSink,
        lookup: impl FnOnce() -> Option<Made>,
        started: impl FnOnce(),
        work: impl FnOnce(Controls) -> BoxFuture<'static, Result<Made, OpFailure>>,
    ) -> Result<Landing, OpFailure> {
        let (interest, start) = {
            let mut live = self.table();
            match live.get(&key) {
                Some(flight) => {
                    *lock(&flight.interest) += 1;
                    (Interest { flights: self.clone(), key, flight: flight.clone(), listener: 0 }, None)
                }
                None => {
                    if let Some(known) = lookup() {
                        return Ok(Landing::Known(known));
                    }
                    let (sender, landed) = watch::channel(None);
                    let flight =
                        Arc::new(Flight { interest: Mutex::new(1), cancel: CancellationToken::new(), log: Arc::default(), landed });
                    live.insert(key, flight.clone());
                    (Interest { flights: self.clone(), key, flight, listener: 0 }, Some(sender))
                }
            }
        };
        let mut interest = interest;
        started();
        interest.listener = interest.flight.log.listen(log);
        if let Some(sender) = start {
            self.launch(key, &interest.flight, sender, work);
        }
        let mut landed = interest.flight.landed.clone();
        let result = match landed.wait_for(Option::is_some).await {
            Ok(result) => result.clone(),
            // The task ended without a word: it panicked.
            Err(_) => None,
        };
        result.unwrap_or_else(|| Err(OpFailure::internal("a step ended abnormally; the log has the reason"))).map(Landing::Made)
    }

    fn launch(
        &self,
        key: [u8; 32],
        flight: &Arc<Flight>,
        sender: watch::Sender<Option<Result<Made, OpFailure>>>,
        work: impl FnOnce(Controls) -> BoxFuture<'static, Result<Made, OpFailure>>,
    ) {
        let fan = flight.log.clone();
        let log: LogSink = Arc::new(move |stream, bytes| fan.write(stream, bytes));
        let work = work(Controls { cancel: flight.cancel.clone(), log });
        let departure = Departure { flights: self.clone(), key, flight: flight.clone() };
        // The owner of this task is the flight: its waiters get the result through the channel, and the last one to leave cancels it.
        tokio::spawn(async move {
            let departure = departure;
            let result = work.await;
            // Leave the table first: whoever finds no flight finds the recorded result.
            drop(departure);
            sender.send_replace(Some(result));
        });
    }

    /// Waits for a turn to run a process.
    pub(crate) async fn process_turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.inner.processes.acquire().await.ok()
    }

    /// Runs file or hashing work on a thread where it may block, a bounded number at a time.
    ///
    /// Once begun the work runs to its end even when nobody waits; long work looks at a cancellation token by itself.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, OpFailure> + Send + 'static,
    ) -> Result<T, OpFailure> {
        let _turn = self.inner.files.acquire().await.map_err(|_| OpFailure::Cancelled)?;
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(OpFailure::internal(format!("a file task ended abnormally: {error}"))),
        }
    }

    /// How many pieces of work are in progress.
    pub fn in_progress(&self) -> usize {
        self.table().len()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Flight>>> {
        lock(&self.inner.live)
    }

    /// Takes exactly this flight out of the table; a newer one under the same key stays.
    fn remove(live: &mut HashMap<[u8; 32], Arc<Flight>>, key: &[u8; 32], flight: &Arc<Flight>) {
        if live.get(key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            live.remove(key);
        }
    }
}

/// A lock whose holder panicked still guards consistent data here: every change is a single statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a flight out of the table when its work is over, also when that panicked.
struct Departure {
    flights: Flights,
    key: [u8; 32],
    flight: Arc<Flight>,
}

impl Drop for Departure {
    fn drop(&mut self) {
        Flights::remove(&mut self.flights.table(), &self.key, &self.flight);
    }
}

/// One build's wish to see a flight land.
struct Interest {
    flights: Flights,
    key: [u8; 32],
    flight: Arc<Flight>,
    listener: u64,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.flight.log.leave(self.listener);
        let mut live = self.flights.table();
        let mut interest = lock(&self.flight.interest);
        *interest -= 1;
        if *interest == 0 {
            Flights::remove(&mut live, &self.key, &self.flight);
            self.flight.cancel.cancel();
        }
    }
}

/// How much output is kept for builds that join later.
const REPLAY_BYTES: usize = 1 << 20;

/// Passes output on to all who listen, and replays it to those who come later.
#[derive(Default)]
struct LogFan {
    state: Mutex<FanState>,
}

#[derive(Default)]
struct FanState {
    history: VecDeque<(LogStream, Bytes)>,
    history_bytes: usize,
    listeners: Vec<(u64, LogSink)>,
    next: u64,
}

impl LogFan {
    fn listen(&self, sink: LogSink) -> u64 {
        let mut state = lock(&self.state);
        for (stream, bytes) in &state.history {
            sink(*stream, bytes.clone());
        }
        state.next += 1;
        let id = state.next;
        state.listeners.push((id, sink));
        id
    }

    fn leave(&self, id: u64) {
        lock(&self.state).listeners.retain(|(listener, _)| *listener != id);
    }

    fn write(&self, stream: LogStream, bytes: Bytes) {
        let mut state = lock(&self.state);
        for (_, sink) in &state.listeners {
            sink(stream, bytes.clone());
        }
        state.history_bytes += bytes.len();
        state.history.push_back((stream, bytes));
        while state.history_bytes > REPLAY_BYTES {
            let Some((_, oldest)) = state.history.pop_front() else { break };
            state.history_bytes -= oldest.len();
        }
    }
}

#[cfg(test)]
#[path = "flights_tests.rs"]
mod tests;
