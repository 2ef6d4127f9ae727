//! `logs`: reading a container's log, over its rotations and packed files, and following it.
//!
//! The monitor appends; this only reads, so a stuck reader holds nobody back. What must stay true: memory is bounded by what a client asked for with
//! `tail`, never by the log; a rotation while we read loses and doubles nothing that still exists; lines torn by a crash are skipped.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
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
/// First step of the search for the beginning of the last lines.
const STEP_BACK: u64 = 64 << 10;

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
    /// What its driver adds to every line.
    pub attributes: BTreeMap<String, String>,
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
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    time: Timestamp,
}

impl Engine {
    /// The output of the container `name` so far, and on when asked.
    ///
    /// # Errors
    /// `LogsNotKept` when its log driver keeps nothing.
    pub async fn logs(&self, name: &str, options: LogOptions) -> Result<LogStream> {
        let container = self.container(name)?;
        let record = container.record();
        let Some(path) = self.log_file(&record) else {
            return Err(Error::LogsNotKept { hint: format!("container {} was created with --log-driver none", record.name) });
        };
        let (sender, lines) = mpsc::channel(BACKLOG);
        let follows = options.follow;
        let read = move || {
            let reader = Reader { path, options, sender, container };
            if let Err(error) = reader.run() {
                tracing::warn!(%error, "cannot read a log");
            }
        };
        if follows {
            // A follower stays as long as its container: threads that others wait for are not its to keep.
            let thread = std::thread::Builder::new().name("shipway-logs".to_owned()).spawn(read);
            thread.map_err(Error::io("start a thread that follows a log"))?;
        } else {
            tokio::task::spawn_blocking(read);
        }
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

/// One file of a log.
enum Generation {
    Plain(BufReader<File>),
    Packed(Box<BufReader<MultiGzDecoder<File>>>),
}

impl Generation {
    /// One line with its newline; `false` at the end or before half a line, which is read again when it is whole.
    fn next_line(&mut self, text: &mut Vec<u8>) -> std::io::Result<bool> {
        text.clear();
        match self {
            Self::Plain(reader) => {
                if reader.read_until(b'\n', text)? != 0 && text.last() != Some(&b'\n') {
                    reader.seek_relative(-i64::try_from(text.len()).unwrap_or(0))?;
                    return Ok(false);
                }
            }
            Self::Packed(reader) => {
                // A damaged end costs what comes after it, as with any other torn line.
                if reader.read_until(b'\n', text).is_err() {
                    return Ok(false);
                }
            }
        }
        Ok(text.last() == Some(&b'\n'))
    }
}

/// The client left.
struct Gone;

impl Reader {
    fn run(self) -> std::io::Result<()> {
        let generations = generations(&self.path);
        let current = match self.options.tail {
            None => self.pass_all(generations)?,
            Some(count) => self.pass_tail(generations, count)?,
        };
        match current {
            Ok(current) if self.options.follow => self.follow(current),
            _ => Ok(()),
        }
    }

    /// Passes everything on, the oldest first; what is left of the newest file is for following.
    fn pass_all(&self, generations: Vec<Generation>) -> std::io::Result<std::result::Result<Option<BufReader<File>>, Gone>> {
        let mut current = None;
        for mut generation in generations {
            if self.pass(&mut generation, None)?.is_err() {
                return Ok(Err(Gone));
            }
            current = newest(generation);
        }
        Ok(Ok(current))
    }

    /// Passes on the last `count` lines, looking no further back than needed.
    fn pass_tail(&self, generations: Vec<Generation>, count: usize) -> std::io::Result<std::result::Result<Option<BufReader<File>>, Gone>> {
        let mut kept: VecDeque<LogLine> = VecDeque::new();
        let mut current = None;
        for (age, mut generation) in generations.into_iter().rev().enumerate() {
            let wanted = count - kept.len();
            if wanted == 0 && age > 0 {
                break;
            }
            if let Generation::Plain(reader) = &mut generation
                && self.options.since.is_none()
                && self.options.until.is_none()
                && self.options.stdout
                && self.options.stderr
            {
                seek_to_last(reader, wanted)?;
            }
            let mut last = VecDeque::new();
            let mut text = Vec::new();
            while generation.next_line(&mut text)? {
                if let Some(line) = self.wanted(&text) {
                    last.push_back(line);
                    if last.len() > wanted {
                        last.pop_front();
                    }
                }
            }
            last.append(&mut kept);
            kept = last;
            if age == 0 {
                current = newest(generation);
            }
        }
        for line in kept {
            if self.sender.blocking_send(line).is_err() {
                return Ok(Err(Gone));
            }
        }
        Ok(Ok(current))
    }

    fn wanted(&self, text: &[u8]) -> Option<LogLine> {
        let stored: Stored = serde_json::from_slice(text).ok()?;
        let stream = if stored.stream == "stderr" { StreamKind::Stderr } else { StreamKind::Stdout };
        let kept = if stream == StreamKind::Stderr { self.options.stderr } else { self.options.stdout }
            && self.options.since.is_none_or(|since| stored.time >= since)
            && self.options.until.is_none_or(|until| stored.time <= until);
        kept.then(|| LogLine { at: stored.time, stream, attributes: stored.attrs, bytes: Bytes::from(stored.log.into_bytes()) })
    }

    /// Passes on what `generation` still has, later than `after`; the time of the last line.
    fn pass(&self, generation: &mut Generation, after: Option<Timestamp>) -> std::io::Result<std::result::Result<Option<Timestamp>, Gone>> {
        let mut last = after;
        let mut text = Vec::new();
        while generation.next_line(&mut text)? {
            if let Some(line) = self.wanted(&text).filter(|line| after.is_none_or(|after| line.at > after)) {
                last = Some(line.at);
                if self.sender.blocking_send(line).is_err() {
                    return Ok(Err(Gone));
                }
            }
        }
        Ok(Ok(last))
    }

    /// Sends what comes until the container has ended and everything was read.
    fn follow(&self, current: Option<BufReader<File>>) -> std::io::Result<()> {
        let mut current = current.map(Generation::Plain);
        let mut last = None;
        loop {
            let ended = !super::wait::is_going_on(&self.container);
            if current.is_none() {
                current = open(&self.path).map(|file| Generation::Plain(BufReader::new(file)));
            }
            if let Some(generation) = &mut current {
                match self.pass(generation, None)? {
                    Ok(passed) => last = passed.or(last),
                    Err(Gone) => return Ok(()),
                }
                if was_rotated(generation, &self.path) {
                    // What was written between the last look and the rotation is still in the old file.
                    match self.pass(generation, None)? {
                        Ok(passed) => last = passed.or(last),
                        Err(Gone) => return Ok(()),
                    }
                    current = match self.catch_up(generation, &mut last)? {
                        Ok(next) => next,
                        Err(Gone) => return Ok(()),
                    };
                    continue;
                }
            }
            if ended || self.sender.is_closed() || self.options.until.is_some_and(|until| crate::clock::now() > until) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }

    /// After a rotation: whatever came into being since the file we have read, and the newest file.
    fn catch_up(&self, read: &Generation, last: &mut Option<Timestamp>) -> std::io::Result<std::result::Result<Option<Generation>, Gone>> {
        let ours = inode(read);
        let mut later = generations(&self.path);
        // Once packed it is another file; then the time of its last line says what is later.
        let after = match later.iter().position(|generation| ours.is_some() && inode(generation) == ours) {
            Some(index) => {
                later.drain(..=index);
                None
            }
            None => *last,
        };
        let mut current = None;
        for mut generation in later {
            match self.pass(&mut generation, after)? {
                Ok(passed) => *last = passed.or(*last),
                Err(Gone) => return Ok(Err(Gone)),
            }
            current = Some(generation);
        }
        Ok(Ok(current.filter(|generation| matches!(generation, Generation::Plain(_)))))
    }
}

/// The file that is written to, when `generation` is it.
fn newest(generation: Generation) -> Option<BufReader<File>> {
    match generation {
        Generation::Plain(reader) => Some(reader),
        Generation::Packed(_) => None,
    }
}

fn open(path: &Path) -> Option<File> {
    File::open(path).ok()
}

fn inode(generation: &Generation) -> Option<u64> {
    match generation {
        Generation::Plain(reader) => reader.get_ref().metadata().ok().map(|found| found.ino()),
        Generation::Packed(_) => None,
    }
}

/// The files of a log, the oldest first: `x.log.2.gz`, `x.log.1`, `x.log`. Opened from the newest on, so that a rotation meanwhile shows one twice (and
/// that is noticed) rather than not at all.
fn generations(path: &Path) -> Vec<Generation> {
    let mut found: Vec<Generation> = open(path).map(|file| Generation::Plain(BufReader::new(file))).into_iter().collect();
    for number in 1.. {
        let named = |ending: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}{ending}"));
            open(Path::new(&name))
        };
        // Twice: it may be packed between the two looks.
        let Some(next) = named("")
            .map(|file| Generation::Plain(BufReader::new(file)))
            .or_else(|| named(".gz").map(|file| Generation::Packed(Box::new(BufReader::new(MultiGzDecoder::new(file))))))
        else {
            break;
        };
        if found.iter().all(|known| inode(known).is_none() || inode(known) != inode(&next)) {
            found.push(next);
        }
    }
    found.reverse();
    found
}

/// Moves to a place with at least `count` whole lines behind it, or to the beginning.
fn seek_to_last(reader: &mut BufReader<File>, count: usize) -> std::io::Result<()> {
    let length = reader.get_ref().metadata()?.len();
    let mut step = STEP_BACK;
    loop {
        let start = length.saturating_sub(step);
        reader.seek(SeekFrom::Start(start))?;
        let mut lines = 0;
        let mut piece = [0; 16 << 10];
        loop {
            let read = reader.read(&mut piece)?;
            lines += piece[..read].iter().filter(|byte| **byte == b'\n').count();
            if read == 0 {
                break;
            }
        }
        // One more than wanted: the first newline ends a line whose beginning lies before.
        if start == 0 || lines > count {
            reader.seek(SeekFrom::Start(start))?;
            if start != 0 {
                reader.skip_until(b'\n')?;
            }
            return Ok(());
        }
        step = step.saturating_mul(4);
    }
}

/// True when `path` names another file than the one read, or the same one cut short.
fn was_rotated(read: &mut Generation, path: &Path) -> bool {
    let Generation::Plain(reader) = read else { return true };
    let (Ok(ours), Ok(named)) = (reader.get_ref().metadata(), std::fs::metadata(path)) else { return false };
    let position = reader.stream_position().unwrap_or(0);
    ours.ino() != named.ino() || named.size() < position
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_last_lines_are_found_from_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = File::create(&path).unwrap();
        for number in 0..20_000 {
            writeln!(file, "line {number:05}").unwrap();
        }
        for (count, expected) in [(0, 0), (1, 1), (5, 5), (19_999, 19_999), (20_000, 20_000), (90_000, 20_000)] {
            let mut reader = BufReader::new(File::open(&path).unwrap());
            seek_to_last(&mut reader, count).unwrap();
            let rest: Vec<String> = reader.lines().map(std::result::Result::unwrap).collect();
            assert!(rest.len() >= expected && rest.len() <= expected + 40_000, "{count}: {}", rest.len());
            assert!(rest.iter().all(|line| line.len() == 10), "whole lines only");
            assert!(count == 0 || rest.last().unwrap() == "line 19999");
        }
    }

    #[test]
    fn files_are_found_from_the_oldest_to_the_newest_packed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for (name, text) in [("log", "d\n"), ("log.1", "c\n"), ("log.3", "a\n")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut packer = flate2::write::GzEncoder::new(File::create(folder.path().join("log.2.gz")).unwrap(), flate2::Compression::fast());
        packer.write_all(b"b\n").unwrap();
        packer.finish().unwrap();
        let mut said = Vec::new();
        for mut generation in generations(&path) {
            let mut text = Vec::new();
            while generation.next_line(&mut text).unwrap() {
                said.extend_from_slice(&text);
            }
        }
        assert_eq!(said, b"a\nb\nc\nd\n");
    }
}
