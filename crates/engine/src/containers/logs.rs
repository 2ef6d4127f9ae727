//! `logs`: reading a container's json-file log, over its rotations, and following it.
//!
//! The monitor appends; this only reads, so a stuck reader holds nobody back. Lines torn by a crash are skipped.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use shipway_model::Timestamp;
use shipway_runtime::StreamKind;
use tokio::sync::mpsc;

use super::Container;
use crate::{Engine, Error, Result};

/// Lines that wait for a slow reader.
const BACKLOG: usize = 256;
/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(50);

/// What to read.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools)]
pub struct LogOptions {
    pub stdout: bool,
    pub stderr: bool,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Only so many of the last lines.
    pub tail: Option<usize>,
    /// Go on with what comes until the container ends.
    pub follow: bool,
}

/// One line of output.
#[derive(Debug, Clone)]
pub struct LogLine {
    pub at: Timestamp,
    pub stream: StreamKind,
    /// With its newline, when it had one.
    pub bytes: Bytes,
}

/// Lines as they are read.
pub struct LogStream {
    pub tty: bool,
    pub lines: mpsc::Receiver<LogLine>,
}

/// A line as the file holds it.
#[derive(Deserialize)]
struct Stored {
    log: String,
    stream: String,
    time: Timestamp,
}

impl Engine {
    /// The output of the container `name` so far, and on when asked.
    ///
    /// # Errors
    /// `Invalid` when its log driver keeps nothing.
    pub async fn logs(&self, name: &str, options: LogOptions) -> Result<LogStream> {
        let container = self.container(name)?;
        let record = container.record();
        if record.spec.host.log.driver == "none" {
            return Err(Error::InvalidWithHint {
                reason: "configured logging driver does not support reading".to_owned(),
                hint: format!("container {} was created with --log-driver none", record.name),
            });
        }
        let (sender, lines) = mpsc::channel(BACKLOG);
        let path = self.log_path(record.id);
        tokio::task::spawn_blocking(move || {
            let reader = Reader { path, options, sender, container };
            if let Err(error) = reader.run() {
                tracing::warn!(%error, "cannot read a log");
            }
        });
        Ok(LogStream { tty: record.spec.tty, lines })
    }
}

/// Reads one log for one client.
struct Reader {
    path: PathBuf,
    options: LogOptions,
    sender: mpsc::Sender<LogLine>,
    container: Arc<Container>,
}

/// The client left.
struct Gone;

impl Reader {
    fn run(self) -> std::io::Result<()> {
        let mut current = None;
        let mut past = Vec::new();
        for file in rotations(&self.path) {
            let mut reader = BufReader::new(file);
            self.read_past(&mut reader, &mut past)?;
            current = Some(reader);
        }
        let skipped = self.options.tail.map_or(0, |tail| past.len().saturating_sub(tail));
        for line in past.into_iter().skip(skipped) {
            if self.sender.blocking_send(line).is_err() {
                return Ok(());
            }
        }
        if self.options.follow { self.follow(current) } else { Ok(()) }
    }

    /// Gathers the wanted lines of one file; with `tail`, no more than needed stay in memory.
    fn read_past(&self, reader: &mut BufReader<File>, past: &mut Vec<LogLine>) -> std::io::Result<()> {
        let mut text = Vec::new();
        loop {
            text.clear();
            if reader.read_until(b'\n', &mut text)? == 0 {
                return Ok(());
            }
            if text.last() != Some(&b'\n') {
                // Half a line: the monitor is writing it now. Read it again when following.
                reader.seek_relative(-i64::try_from(text.len()).unwrap_or(0))?;
                return Ok(());
            }
            if let Some(line) = self.wanted(&text) {
                past.push(line);
                if self.options.tail.is_some_and(|tail| past.len() > 2 * tail + 1024) {
                    let tail = self.options.tail.unwrap_or(0);
                    past.drain(..past.len() - tail);
                }
            }
        }
    }

    fn wanted(&self, text: &[u8]) -> Option<LogLine> {
        let stored: Stored = serde_json::from_slice(text).ok()?;
        let stream = if stored.stream == "stderr" { StreamKind::Stderr } else { StreamKind::Stdout };
        let kept = if stream == StreamKind::Stderr { self.options.stderr } else { self.options.stdout }
            && self.options.since.is_none_or(|since| stored.time >= since)
            && self.options.until.is_none_or(|until| stored.time <= until);
        kept.then(|| LogLine { at: stored.time, stream, bytes: Bytes::from(stored.log.into_bytes()) })
    }

    /// Sends what comes until the container has ended and everything was read.
    fn follow(&self, mut current: Option<BufReader<File>>) -> std::io::Result<()> {
        loop {
            let ended = !super::wait::is_going_on(&self.container);
            if current.is_none() {
                current = open(&self.path).map(BufReader::new);
            }
            if let Some(reader) = &mut current {
                if self.drain(reader)?.is_err() {
                    return Ok(());
                }
                if was_rotated(reader.get_ref(), &self.path) {
                    // What was written between the last look and the rotation is still in the old file.
                    if self.drain(reader)?.is_err() {
                        return Ok(());
                    }
                    current = None;
                    continue;
                }
            }
            if ended || self.sender.is_closed() || self.options.until.is_some_and(|until| crate::clock::now() > until) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }

    fn drain(&self, reader: &mut BufReader<File>) -> std::io::Result<std::result::Result<(), Gone>> {
        let mut lines = Vec::new();
        self.read_past(reader, &mut lines)?;
        for line in lines {
            if self.sender.blocking_send(line).is_err() {
                return Ok(Err(Gone));
            }
        }
        Ok(Ok(()))
    }
}

fn open(path: &Path) -> Option<File> {
    File::open(path).ok()
}

/// The files of a log, the oldest first: `x.log.2`, `x.log.1`, `x.log`.
fn rotations(path: &Path) -> Vec<File> {
    let mut files = Vec::new();
    for number in 1.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        match open(Path::new(&name)) {
            Some(file) => files.push(file),
            None => break,
        }
    }
    files.reverse();
    files.extend(open(path));
    files
}

/// True when `path` names another file than `file` now, or the same one cut short.
fn was_rotated(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(named)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    let mut file = file;
    let position = file.stream_position().unwrap_or(0);
    ours.ino() != named.ino() || named.size() < position
}
