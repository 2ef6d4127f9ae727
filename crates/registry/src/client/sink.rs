//! Where a download goes: a new file, hashed on the way, on a thread that may block.
//!
//! What must stay true: pieces wait in bounded memory when the disk is slower than the network; dropping a sink ends its thread's work.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use shipway_model::{Digest, Sha256Hasher};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Error;

/// Pieces on their way to the disk; with hyper's pieces of some hundred KiB at most, a few MiB.
const WAITING: usize = 16;

enum Order {
    Append(Bytes),
    StartOver,
}

/// A file being downloaded.
pub(super) struct Sink {
    path: PathBuf,
    orders: mpsc::Sender<Order>,
    writing: JoinHandle<io::Result<Digest>>,
}

impl Sink {
    /// Makes the file `path`, which must not exist, readable by its owner only.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        // Not on the other thread: a caller that stops waiting for us and deletes `path` must never see the file appear after that.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|source| Error::File { path: path.to_owned(), source })?;
        let (orders, receiver) = mpsc::channel(WAITING);
        let writing = tokio::task::spawn_blocking(move || write(file, receiver));
        Ok(Self { path: path.to_owned(), orders, writing })
    }

    pub(super) async fn append(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.order(Order::Append(bytes)).await
    }

    /// Forgets everything written.
    pub(super) async fn start_over(&mut self) -> Result<(), Error> {
        self.order(Order::StartOver).await
    }

    async fn order(&mut self, order: Order) -> Result<(), Error> {
        if self.orders.send(order).await.is_ok() {
            return Ok(());
        }
        // The writer ends before its time only with an error.
        match (&mut self.writing).await {
            Ok(Err(source)) => Err(Error::File { path: self.path.clone(), source }),
            Ok(Ok(_)) => Err(Error::Internal { what: "a download's writer ended early".to_owned() }),
            Err(error) => Err(Error::Internal { what: format!("a download's writer ended abnormally: {error}") }),
        }
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) -> Result<Digest, Error> {
        drop(self.orders);
        match self.writing.await {
            Ok(result) => result.map_err(|source| Error::File { path: self.path, source }),
            Err(error) => Err(Error::Internal { what: format!("a download's writer ended abnormally: {error}") }),
        }
    }
}

fn write(mut file: File, mut orders: mpsc::Receiver<Order>) -> io::Result<Digest> {
    let mut hasher = Sha256Hasher::new();
    while let Some(order) = orders.blocking_recv() {
        match order {
            Order::Append(bytes) => {
                file.write_all(&bytes)?;
                hasher.update(&bytes);
            }
            Order::StartOver => {
                file.set_len(0)?;
                file.rewind()?;
                hasher = Sha256Hasher::new();
            }
        }
    }
    Ok(hasher.finish())
}
