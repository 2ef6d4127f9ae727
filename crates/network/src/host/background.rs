//! The two threads of a `Host`: one deletes what is left of endpoints, one puts the firewall back when somebody takes it away.
//!
//! What must stay true: both end with the last copy of the `Host`; neither holds a lock while it waits.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use shipway_sys::Error;
use shipway_sys::netlink::nft::Watcher;
use shipway_sys::netlink::{Family, Request, Socket};

use super::{Inner, lock};
use crate::naming::InterfaceName;

/// An exited container's links go with its namespace, in batches, without our help; only what is still there after this long is deleted one by one.
const GRACE: Duration = Duration::from_millis(500);
/// Somebody who changes our table does so in several steps; the answer waits for them. Far below the promised second.
const SETTLE: Duration = Duration::from_millis(50);
/// Between two repairs, lest two programs fight at full speed.
const BETWEEN_REPAIRS: Duration = Duration::from_millis(200);

/// Handles on the threads.
#[derive(Debug)]
pub(super) struct Threads {
    forget: Mutex<Option<Sender<InterfaceName>>>,
    stop: OwnedFd,
}

impl Threads {
    pub(super) fn forget(&self, host_end: InterfaceName) {
        if let Some(sender) = lock(&self.forget).as_ref() {
            // The receiver lives as long as this sender.
            let _ = sender.send(host_end);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Failing leaves a sleeping thread in a process that is about to end.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        lock(&self.forget).take();
    }
}

/// Starts both, in the calling thread's network namespace.
pub(super) fn start(inner: &Arc<Inner>) -> Result<Threads, Error> {
    let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| Error::new("eventfd()", errno))?;
    let stop_watching = stop.try_clone().map_err(|error| Error::from_io("dup(eventfd)", &error))?;
    let watcher = Watcher::open()?;
    let links = Socket::open(Family::Route)?;
    let (sender, receiver) = mpsc::channel();
    let weak = Arc::downgrade(inner);
    spawn("net-firewall", move || watch(&weak, &watcher, &stop_watching))?;
    spawn("net-endpoints", move || {
        let mut waiting: Vec<(Instant, InterfaceName)> = Vec::new();
        loop {
            let until = waiting.first().map_or(Duration::from_secs(3600), |(due, _)| due.saturating_duration_since(Instant::now()));
            match receiver.recv_timeout(until) {
                Ok(name) => waiting.push((Instant::now() + GRACE, name)),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    let due: Vec<InterfaceName> = waiting.extract_if(.., |(due, _)| *due <= now).map(|(_, name)| name).collect();
                    due.iter().for_each(|name| delete(&links, name));
                }
            }
        }
    })?;
    Ok(Threads { forget: Mutex::new(Some(sender)), stop })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let made = std::thread::Builder::new().name(name.to_owned()).stack_size(256 << 10).spawn(work);
    made.map(drop).map_err(|error| Error::from_io(format!("start thread {name}"), &error))
}

fn delete(links: &Socket, name: &InterfaceName) {
    // Looking first spares the writers' lock of the kernel in the usual case.
    if let Ok(None) = links.link(name.as_str()) {
        return;
    }
    let mut request = Request::new();
    request.delete_link_named(name.as_str());
    match links.perform(request) {
        Err(error) if error.errno != Errno::NODEV => tracing::warn!(%error, interface = %name, "an interface stays behind"),
        _ => {}
    }
}

fn watch(inner: &Weak<Inner>, watcher: &Watcher, stop: &OwnedFd) {
    loop {
        let mut ready = [PollFd::new(watcher, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return tracing::error!(%errno, "the firewall is not watched any more"),
        }
        if !ready[1].revents().is_empty() {
            return;
        }
        if ready[0].revents().is_empty() {
            continue;
        }
        let Some(mut news) = read(inner, watcher) else { continue };
        wait_until_settled(inner, watcher, &mut news);
        let Some(inner) = inner.upgrade() else { return };
        match news {
            News::OurTable { author } => restore(&inner, &author),
            News::Others => follow(&inner),
        }
        drop(inner);
        if stopped_within(stop, BETWEEN_REPAIRS) {
            return;
        }
    }
}

/// What somebody else changed.
enum News {
    OurTable { author: String },
    Others,
}

/// Reads news; nothing when all of it is our own doing.
fn read(inner: &Weak<Inner>, watcher: &Watcher) -> Option<News> {
    let inner = inner.upgrade()?;
    match watcher.changes() {
        Ok(changes) => {
            // Our own changes bear our socket's number.
            let (own, table) = (lock(&inner.rules).socket.port(), inner.naming.table());
            let copies = format!("{table}.");
            let foreign: Vec<_> = changes.iter().filter(|change| change.port != own && !change.table.is_empty()).collect();
            if foreign.iter().any(|change| change.table == table || change.table.starts_with(&copies)) {
                let program = changes.iter().map(|change| change.program.as_str()).find(|program| !program.is_empty());
                return Some(News::OurTable { author: program.unwrap_or("another program").to_owned() });
            }
            let others = foreign.iter().any(|change| !change.table.starts_with("shipway"));
            others.then_some(News::Others)
        }
        Err(error) if error.errno == Errno::NOBUFS => Some(News::OurTable { author: "a flood of changes".to_owned() }),
        Err(error) => {
            tracing::warn!(%error, "cannot read news of the firewall");
            None
        }
    }
}

/// Reads on until it is quiet.
fn wait_until_settled(inner: &Weak<Inner>, watcher: &Watcher, news: &mut News) {
    let end = Instant::now() + 4 * SETTLE;
    while Instant::now() < end && readable(watcher, SETTLE) {
        if let Some(more @ News::OurTable { .. }) = read(inner, watcher) {
            *news = more;
        }
    }
}

/// The host's own rules changed: published ports follow.
fn follow(inner: &Inner) {
    let mut rules = lock(&inner.rules);
    if rules.installed
        && let Err(error) = rules.copy_hosts_rules(&inner.naming)
    {
        tracing::error!(%error, "published ports do not follow the host's own firewall");
    }
}

fn restore(inner: &Inner, author: &str) {
    let mut rules = lock(&inner.rules);
    if !rules.installed {
        return;
    }
    match rules.replace(&inner.naming) {
        Ok(()) => tracing::warn!(table = inner.naming.table(), author, "somebody changed this daemon's firewall table; it is back"),
        Err(error) => tracing::error!(%error, "cannot put the firewall back"),
    }
}

fn stopped_within(stop: &OwnedFd, time: Duration) -> bool {
    readable(stop, time)
}

fn readable(handle: &impl AsFd, time: Duration) -> bool {
    let time = rustix::event::Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos().into() };
    let mut ready = [PollFd::new(handle, PollFlags::IN)];
    matches!(poll(&mut ready, Some(&time)), Ok(count) if count > 0)
}
