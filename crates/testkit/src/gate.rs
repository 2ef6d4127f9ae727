//! A door in front of a registry: it passes bytes both ways and counts them, and on command it shuts at a certain place of a conversation.
//!
//! What must stay true: what was passed before the door shut arrives; what comes after is held until the door opens again, and then lost with its
//! connection, as on a network that broke.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where a conversation stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// After so many bytes to the registry, counted from now.
    After(u64),
    /// Before a request whose head has this in it.
    Before(String),
    /// After such a request, before its answer.
    BeforeAnswerTo(String),
}

/// Open until it is told to stop somewhere.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: String,
    stop: Mutex<Option<Stop>>,
    held: AtomicBool,
    /// Bytes to the registry, and from it.
    sent: AtomicU64,
    received: AtomicU64,
    closed: AtomicBool,
    /// Raised at every opening: whoever waits since before gives up.
    openings: AtomicU64,
}

impl Gate {
    /// A door on loopback before `registry`, a `host:port`.
    pub fn before(registry: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            registry: registry.to_owned(),
            stop: Mutex::default(),
            held: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            openings: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        let accept = move || {
            for client in listener.incoming().flatten() {
                if accepting.closed.load(Ordering::Acquire) {
                    return;
                }
                let Ok(registry) = TcpStream::connect(&accepting.registry) else { continue };
                let answers = Arc::new(AtomicBool::new(false));
                for upward in [true, false] {
                    let (shared, answers) = (Arc::clone(&accepting), Arc::clone(&answers));
                    let (client, registry) = (client.try_clone().expect("a handle"), registry.try_clone().expect("a handle"));
                    let pass = move || {
                        let (from, into) = if upward { (&client, &registry) } else { (&registry, &client) };
                        shared.pass(upward, from, into, &answers);
                        // Either side may have gone already.
                        let _ = (from.shutdown(Shutdown::Both), into.shutdown(Shutdown::Both));
                    };
                    std::thread::Builder::new().name("gate".to_owned()).spawn(pass).expect("a thread");
                }
            }
        };
        std::thread::Builder::new().name("gate-accept".to_owned()).spawn(accept).expect("a thread");
        Self { address, shared }
    }

    /// The registry's name for who comes through the door.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Stops the next conversation that gets to `stop`.
    pub fn stop(&self, stop: Stop) {
        let from_now = match stop {
            Stop::After(bytes) => Stop::After(self.sent() + bytes),
            other => other,
        };
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(from_now);
    }

    /// Waits until a conversation was stopped.
    pub fn wait(&self) {
        crate::eventually("the place where the door shuts", 60, || self.shared.held.load(Ordering::Acquire).then_some(()));
    }

    /// Opens the door again; what was held is lost.
    pub fn open(&self) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.shared.openings.fetch_add(1, Ordering::AcqRel);
        self.shared.held.store(false, Ordering::Release);
    }

    /// Bytes that went to the registry.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Bytes that came from it.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.open();
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    /// Passes bytes on until one side ends or the door shuts.
    fn pass(&self, upward: bool, mut from: &TcpStream, mut into: &TcpStream, answers: &AtomicBool) {
        let counter = if upward { &self.sent } else { &self.received };
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let most = if upward { self.most(&buffer[..count], answers) } else { Some(count).filter(|_| !answers.load(Ordering::Acquire)) };
            let passed = most.unwrap_or_default();
            if into.write_all(&buffer[..passed]).is_err() {
                return;
            }
            counter.fetch_add(passed as u64, Ordering::Relaxed);
            if most != Some(count) {
                return self.hold();
            }
        }
    }

    /// How much of a piece may go to the registry; none when the door shuts before it.
    fn most(&self, piece: &[u8], answers: &AtomicBool) -> Option<usize> {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let holds = |text: &str| piece.windows(text.len()).any(|word| word == text.as_bytes());
        match stop {
            Some(Stop::After(limit)) => {
                let room = limit.saturating_sub(self.sent.load(Ordering::Relaxed));
                Some(piece.len().min(usize::try_from(room).unwrap_or(usize::MAX)))
            }
            Some(Stop::Before(text)) if holds(&text) => None,
            Some(Stop::BeforeAnswerTo(text)) if holds(&text) => {
                answers.store(true, Ordering::Release);
                Some(piece.len())
            }
            _ => Some(piece.len()),
        }
    }

    fn hold(&self) {
        let since = self.openings.load(Ordering::Acquire);
        self.held.store(true, Ordering::Release);
        while self.openings.load(Ordering::Acquire) == since {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
