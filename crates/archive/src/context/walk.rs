//! The walk over a context: folders are shared out among threads, each lists one and stats what is in it.
//!
//! What must stay true: a listing is sorted by names, so putting the listings together folder by folder gives the order of a `LayerIndex`; nothing is
//! sorted as a whole.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use shipway_sys::path::{FileKind, Root};

use super::ContextEntry;
use crate::Error;
use crate::ignore::{IgnoreFile, Verdict};
use crate::index::is_within;
use crate::tree::join;

/// A folder to be listed, by its number.
struct Job {
    number: usize,
    path: Vec<u8>,
    verdict: Verdict,
}

/// Something in a folder.
struct Found {
    entry: ContextEntry,
    /// It is here only because something below it may be.
    only_for_below: bool,
    /// The number of the folder it is.
    folder: Option<usize>,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    /// Jobs taken and not finished.
    busy: usize,
    /// What was found in each folder, by its number.
    found: Vec<Vec<Found>>,
    failed: Option<Error>,
}

struct Shared<'a> {
    root: &'a Root,
    ignore: &'a IgnoreFile,
    state: Mutex<State>,
    changed: Condvar,
    /// How many folders have a number.
    folders: AtomicUsize,
}

pub(super) fn walk(root: &Root, ignore: &IgnoreFile, threads: usize) -> Result<Vec<ContextEntry>, Error> {
    let first = Job { number: 0, path: Vec::new(), verdict: Verdict::default() };
    let state = State { jobs: vec![first], ..State::default() };
    let shared = Shared { root, ignore, state: Mutex::new(state), changed: Condvar::new(), folders: AtomicUsize::new(1) };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| shared.work());
        }
        shared.work();
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(error),
        None => Ok(settle(together(state.found))),
    }
}

impl Shared<'_> {
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return;
            }
            let Some(job) = state.jobs.pop() else {
                if state.busy == 0 {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.busy += 1;
            drop(state);
            let outcome = self.list(&job);
            state = self.lock();
            state.busy -= 1;
            match outcome {
                Ok((found, jobs)) => {
                    if state.found.len() <= job.number {
                        state.found.resize_with(job.number + 1, Vec::new);
                    }
                    state.found[job.number] = found;
                    state.jobs.extend(jobs);
                }
                Err(error) => state.failed = Some(error),
            }
            if !state.jobs.is_empty() || state.busy == 0 || state.failed.is_some() {
                self.changed.notify_all();
            }
        }
    }

    fn list(&self, job: &Job) -> Result<(Vec<Found>, Vec<Job>), Error> {
        let (mut found, mut jobs) = (Vec::new(), Vec::new());
        let mut dir = match self.root.open_dir(Path::new(OsStr::from_bytes(&job.path))) {
            Ok(dir) => dir,
            Err(error) if error.is_not_found() && !job.path.is_empty() => return Ok((found, jobs)),
            Err(error) => return Err(error.into()),
        };
        for listed in dir.first_entries()? {
            let path = join(&job.path, listed.name.as_bytes());
            let verdict = if self.ignore.is_empty() { Verdict::default() } else { self.ignore.judge(&path, &job.verdict) };
            let may_hold_more = matches!(listed.kind, FileKind::Directory | FileKind::Unknown);
            if verdict.excluded && (!may_hold_more || self.ignore.may_skip_dir(&path, &verdict)) {
                continue;
            }
            let Some(seen) = dir.stat_if_there(&listed.name)? else { continue };
            let is_dir = seen.kind == FileKind::Directory;
            if verdict.excluded && !is_dir {
                continue;
            }
            let link = match seen.kind {
                FileKind::Symlink => match dir.read_link(&listed.name) {
                    Ok(text) => text.as_bytes().to_vec(),
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error.into()),
                },
                // A socket means nothing to a build; Docker leaves it out as well.
                FileKind::Socket => continue,
                _ => Vec::new(),
            };
            let folder = is_dir.then(|| self.folders.fetch_add(1, Ordering::Relaxed));
            if let Some(number) = folder {
                jobs.push(Job { number, path: path.clone(), verdict: verdict.clone() });
            }
            let entry = ContextEntry {
                path,
                kind: seen.kind,
                mode: seen.mode,
                size: if seen.kind == FileKind::Regular { seen.size } else { 0 },
                mtime: seen.mtime,
                ctime: seen.ctime,
                dev: seen.dev,
                ino: seen.ino,
                nlink: seen.nlink,
                link,
                rdev: seen.rdev,
            };
            found.push(Found { entry, only_for_below: verdict.excluded, folder });
        }
        Ok((found, jobs))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the listings in order, each folder's behind the folder itself.
fn together(mut folders: Vec<Vec<Found>>) -> Vec<Found> {
    let mut listing = |number: usize| folders.get_mut(number).map(std::mem::take).unwrap_or_default().into_iter();
    let mut all = Vec::new();
    let mut open = vec![listing(0)];
    while let Some(level) = open.last_mut() {
        let Some(found) = level.next() else {
            open.pop();
            continue;
        };
        let folder = found.folder;
        all.push(found);
        open.extend(folder.map(&mut listing));
    }
    all
}

/// Drops folders that were left out and turned out to hold nothing that comes back.
fn settle(found: Vec<Found>) -> Vec<ContextEntry> {
    if !found.iter().any(|found| found.only_for_below) {
        return found.into_iter().map(|found| found.entry).collect();
    }
    let mut kept: Vec<ContextEntry> = Vec::with_capacity(found.len());
    for Found { entry, only_for_below, .. } in found.into_iter().rev() {
        // Going backwards, the last one kept is the first that follows this folder.
        let holds = || kept.last().is_some_and(|next| is_within(&next.path, &entry.path));
        if !only_for_below || holds() {
            kept.push(entry);
        }
    }
    kept.reverse();
    kept
}
