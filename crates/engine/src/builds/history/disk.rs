//! Builds on disk: written by a thread per build that did work, read by whoever asks, the oldest forgotten.
//!
//! ```text
//! builds/<id>/record.json     how it went
//! builds/<id>/events.jsonl    its event log, one object a line; a line torn by a crash ends it
//! ```

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use shipway_build::ProgressEvent;

use super::{BuildRecord, Tail};
use crate::{Error, Result};

/// Builds remembered; older ones are forgotten.
const KEPT: usize = 200;

/// Work for the writing thread.
pub(super) enum Note {
    Event(Box<ProgressEvent>),
    /// How it ended; the tail is dropped when that is written.
    Record(Box<BuildRecord>, Tail),
}

/// Starts the thread that writes down one build. It ends when the sender is dropped.
pub(super) fn begin(folder: PathBuf, first: BuildRecord) -> mpsc::Sender<Note> {
    let (notes, receiver) = mpsc::channel();
    let spawned = std::thread::Builder::new().name("build-history".to_owned()).spawn(move || {
        if let Err(error) = write_down(&folder, &first, &receiver) {
            tracing::warn!(build = %first.id, %error, "cannot keep the log of a build");
        }
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "cannot keep the log of a build");
    }
    notes
}

fn write_down(folder: &Path, first: &BuildRecord, notes: &mpsc::Receiver<Note>) -> std::io::Result<()> {
    // Not what is above them: a data root that is gone stays gone.
    for level in folder.parent().into_iter().chain([folder]) {
        match std::fs::create_dir(level) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    write_record(folder, first)?;
    let mut events = BufWriter::new(File::create(folder.join("events.jsonl"))?);
    loop {
        // Whoever looks at a running build sees it up to its last pause.
        let note = match notes.try_recv() {
            Ok(note) => note,
            Err(_) => {
                events.flush()?;
                let Ok(note) = notes.recv() else { break };
                note
            }
        };
        match note {
            Note::Event(event) => {
                serde_json::to_writer(&mut events, &event)?;
                events.write_all(b"\n")?;
            }
            Note::Record(record, tail) => {
                events.flush()?;
                write_record(folder, &record)?;
                drop(tail);
            }
        }
    }
    folder.parent().map_or(Ok(()), forget_old)
}

fn write_record(folder: &Path, record: &BuildRecord) -> std::io::Result<()> {
    std::fs::write(folder.join("record.json"), serde_json::to_vec(record)?)
}

/// Deletes the oldest builds beyond what is kept.
fn forget_old(builds: &Path) -> std::io::Result<()> {
    let mut folders = Vec::new();
    let entries = std::fs::read_dir(builds)?.collect::<std::io::Result<Vec<_>>>()?;
    if entries.len() <= KEPT {
        return Ok(());
    }
    for entry in entries {
        folders.push((entry.metadata()?.modified()?, entry.path()));
    }
    folders.sort();
    let surplus = folders.len().saturating_sub(KEPT);
    for (_, folder) in &folders[..surplus] {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// The records of all builds on disk; one that cannot be read is left out.
pub(super) fn records(builds: &Path) -> Result<Vec<BuildRecord>> {
    let entries = match std::fs::read_dir(builds) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Io { doing: format!("read {}", builds.display()), source }),
    };
    let read = |path: PathBuf| serde_json::from_slice::<BuildRecord>(&std::fs::read(path.join("record.json")).ok()?).ok();
    Ok(entries.filter_map(|entry| read(entry.ok()?.path())).collect())
}

/// The events of the build in `folder`.
pub(super) fn events(folder: &Path) -> Result<Vec<ProgressEvent>> {
    let path = folder.join("events.jsonl");
    let file = File::open(&path).map_err(Error::io(format!("open {}", path.display())))?;
    let lines = BufReader::new(file).lines().map_while(std::result::Result::ok);
    Ok(lines.map_while(|line| serde_json::from_str(&line).ok()).collect())
}
