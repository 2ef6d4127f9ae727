//! The walk over a context: folders are shared out among threads, each lists one and stats what is in it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use shipway_sys::path::{FileKind, Root};

use super::ContextEntry;
use crate::Error;
use crate::ignore::{IgnoreFile, Verdict};
use crate::index::{compare_paths, is_within};
use crate::tree::join;

/// A folder to be listed.
struct Job {
    path: Vec<u8>,
    verdict: Verdict,
}

/// An entry, and whether it is here only because something below it may be.
type Found = (ContextEntry, bool);

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    /// Jobs taken and not finished.
    busy: usize,
    found: Vec<Found>,
    failed: Option<Error>,
}

struct Shared<'a> {
    root: &'a Root,
    ignore: &'a IgnoreFile,
    state: Mutex<State>,
    changed: Condvar,
}

pub(super) fn walk(root: &Root, ignore: &IgnoreFile, threads: usize) -> Result<Vec<ContextEntry>, Error> {
    let first = Job { path: Vec::new(), verdict: Verdict::default() };
    let state = State { jobs: vec![first], ..State::default() };
    let shared = Shared { root, ignore, state: Mutex::new(state), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| shared.work());
        }
        shared.work();
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(error),
        None => Ok(settle(state.found)),
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
                    state.found.extend(found);
                    state.jobs.extend(jobs);
                }
                Err(error) => state.failed = Some(error),
            }
            self.changed.notify_all();
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
            if is_dir {
                jobs.push(Job { path: path.clone(), verdict: verdict.clone() });
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
                link,
                rdev: seen.rdev,
            };
            found.push((entry, verdict.excluded));
        }
        Ok((found, jobs))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sorts, and drops folders that were left out and turned out to hold nothing that comes back.
fn settle(mut found: Vec<Found>) -> Vec<ContextEntry> {
    found.sort_unstable_by(|(a, _), (b, _)| compare_paths(&a.path, &b.path));
    let mut kept: Vec<ContextEntry> = Vec::with_capacity(found.len());
    for (entry, only_for_below) in found.into_iter().rev() {
        // Going backwards, the last one kept is the first that follows this folder.
        let holds = || kept.last().is_some_and(|next| is_within(&next.path, &entry.path));
        if !only_for_below || holds() {
            kept.push(entry);
        }
    }
    kept.reverse();
    kept
}
