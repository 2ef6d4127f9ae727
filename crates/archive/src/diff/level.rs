//! One folder of the tree being scanned, seen through every folder the layer lies in.
//!
//! What must stay true: names come sorted, each once, from the uppermost folder that has it.

use std::ffi::OsString;

use shipway_sys::path::{Dir, DirEntry, FileKind};

use crate::Error;

/// A folder in one of the trees, which are numbered from the uppermost.
pub(super) struct Part {
    pub(super) tree: usize,
    pub(super) dir: Dir,
}

/// A folder being walked.
pub(super) struct Level {
    /// The same folder in each tree that has it, uppermost first.
    pub(super) parts: Vec<Part>,
    pub(super) path: Vec<u8>,
    pub(super) left: std::vec::IntoIter<Merged>,
}

/// A name in it.
pub(super) struct Merged {
    pub(super) name: OsString,
    pub(super) kind: FileKind,
    /// The part it is seen from.
    pub(super) at: usize,
    /// Whether a tree further down has the name too.
    pub(super) covers: bool,
}

impl Level {
    pub(super) fn of(mut parts: Vec<Part>, path: Vec<u8>) -> Result<Self, Error> {
        let mut all: Vec<Merged> = Vec::new();
        for (at, part) in parts.iter_mut().enumerate() {
            let found = part.dir.first_entries()?;
            all = if at == 0 {
                let new = |DirEntry { name, kind, .. }| Merged { name, kind, at, covers: false };
                found.into_iter().map(new).collect()
            } else {
                merge(all, found, at)
            };
        }
        Ok(Self { parts, path, left: all.into_iter() })
    }

    /// Opens the folder `entry` in every tree that shows through there.
    pub(super) fn open(&self, entry: &Merged) -> Result<Vec<Part>, Error> {
        let below = |part: &Part| part.dir.open_dir(&entry.name).map(|dir| Part { tree: part.tree, dir });
        let mut parts = vec![below(&self.parts[entry.at])?];
        if entry.covers {
            for part in &self.parts[entry.at + 1..] {
                match part.dir.stat_if_there(&entry.name)? {
                    Some(found) if found.kind == FileKind::Directory => parts.push(below(part)?),
                    Some(_) => break,
                    None => {}
                }
            }
        }
        Ok(parts)
    }
}

/// Two sorted listings as one; `below` is that of part `at`.
fn merge(above: Vec<Merged>, below: Vec<DirEntry>, at: usize) -> Vec<Merged> {
    let mut merged = Vec::with_capacity(above.len().max(below.len()));
    let (mut above, mut below) = (above.into_iter().peekable(), below.into_iter().peekable());
    loop {
        let order = match (above.peek(), below.peek()) {
            (Some(one), Some(other)) => one.name.cmp(&other.name),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return merged,
        };
        match order {
            std::cmp::Ordering::Less => merged.extend(above.next()),
            std::cmp::Ordering::Greater => {
                let new = |DirEntry { name, kind, .. }| Merged { name, kind, at, covers: false };
                merged.extend(below.next().map(new));
            }
            std::cmp::Ordering::Equal => {
                below.next();
                merged.extend(above.next().map(|entry| Merged { covers: true, ..entry }));
            }
        }
    }
}
