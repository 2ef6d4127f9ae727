//! What an unpacking has placed so far, by path: in memory while it is little, in sorted runs on the disk when it becomes much.
//!
//! What must stay true: of two notes for one path the later one counts, and with what replaced something nothing counts that was below it before; the
//! memory taken has a bound, however many entries an archive has.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::{BuildHasher as _, RandomState};

use shipway_sys::path::{Dir, Time};

use crate::Error;
use crate::index::{Blocks, IndexEntry, PathKey, Reader, Record, Sequence, compare_paths, is_within, number, write_run};

/// Memory for notes before they go to the disk, roughly.
const HELD: usize = 8 << 20;

/// What was placed at a path.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    pub(super) entry: IndexEntry,
    /// Number of the inode, for one with several names.
    pub(super) inode: Option<u32>,
    /// The time of a folder. Set at the end, because making things in a folder changes its time.
    pub(super) mtime: Option<Time>,
    /// Nothing of what was noted before below this path is there any more.
    pub(super) replaces: bool,
}

impl Noted {
    pub(super) fn new(entry: IndexEntry) -> Self {
        Self { entry, inode: None, mtime: None, replaces: false }
    }

    fn at(mut self, path: Vec<u8>) -> Self {
        self.entry.path = path;
        self
    }
}

impl Record for Noted {
    fn path(&self) -> &[u8] {
        &self.entry.path
    }

    fn weight(&self) -> usize {
        self.entry.weight() + size_of::<Self>() - size_of::<IndexEntry>()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.entry.encode(out);
        number(out, self.inode.map_or(0, |inode| u64::from(inode) + 1));
        out.push(self.replaces.into());
        out.push(self.mtime.is_some().into());
        if let Some(time) = self.mtime {
            number(out, time.seconds.cast_unsigned());
            number(out, time.nanoseconds.into());
        }
    }

    fn decode(path: Vec<u8>, reader: &mut Reader<'_>) -> Option<Self> {
        let entry = IndexEntry::decode(path, reader)?;
        let inode = reader.number()?.checked_sub(1).and_then(|inode| u32::try_from(inode).ok());
        let (replaces, timed) = (reader.flag()?, reader.flag()?);
        let mtime = if timed { Some(Time { seconds: reader.number()?.cast_signed(), nanoseconds: reader.small()? }) } else { None };
        Some(Noted { entry, inode, mtime, replaces })
    }
}

/// The notes.
pub(super) struct Notes {
    scratch: Dir,
    /// Notes of late; their entries have no path, which is the key.
    fresh: BTreeMap<PathKey, Noted>,
    weight: usize,
    /// Older ones, the oldest first.
    runs: Vec<Run>,
    /// What comes to this path next takes the place of what was there.
    cleared: Option<Vec<u8>>,
    hashing: RandomState,
}

struct Run {
    records: Sequence<Noted>,
    filter: Filter,
}

impl Notes {
    /// Many notes go to unnamed files in the folder `scratch`.
    pub(super) fn new(scratch: &Dir) -> Result<Self, Error> {
        Ok(Self {
            scratch: scratch.try_clone()?,
            fresh: BTreeMap::new(),
            weight: 0,
            runs: Vec::new(),
            cleared: None,
            hashing: RandomState::new(),
        })
    }

    /// Notes what stands at a path now.
    pub(super) fn put(&mut self, mut noted: Noted) -> Result<(), Error> {
        let path = std::mem::take(&mut noted.entry.path);
        noted.replaces |= self.cleared.take_if(|cleared| *cleared == path).is_some();
        self.weight += noted.weight() + path.len();
        match self.fresh.entry(PathKey(path)) {
            Entry::Occupied(mut former) => {
                noted.replaces |= former.get().replaces;
                self.weight = self.weight.saturating_sub(former.get().weight() + former.key().0.len());
                former.insert(noted);
            }
            Entry::Vacant(place) => {
                place.insert(noted);
            }
        }
        if self.weight > HELD { self.spill() } else { Ok(()) }
    }

    /// The note for `path`, which is on the disk: what was noted below something replaced since may still be found.
    ///
    /// # Cost
    /// Reads a block or two of the disk when it is an old one.
    pub(super) fn get(&self, path: &[u8]) -> Result<Option<Noted>, Error> {
        if let Some(noted) = self.fresh.get(&PathKey(path.to_vec())) {
            return Ok(Some(noted.clone().at(path.to_vec())));
        }
        let hash = self.hashing.hash_one(path);
        for run in self.runs.iter().rev().filter(|run| run.filter.may_have(hash)) {
            if let Some(noted) = run.records.find(path)? {
                return Ok(Some(Noted::clone(&noted)));
            }
        }
        Ok(None)
    }

    /// Forgets `path` and all below it. Something else must be put to this path next.
    pub(super) fn clear(&mut self, path: &[u8]) {
        let key = PathKey(path.to_vec());
        let gone: Vec<PathKey> =
            self.fresh.range(key..).map(|(path, _)| path).take_while(|found| is_within(&found.0, path)).cloned().collect();
        for path in gone {
            if let Some(noted) = self.fresh.remove(&path) {
                self.weight = self.weight.saturating_sub(noted.weight() + path.0.len());
            }
        }
        if !self.runs.is_empty() {
            self.cleared = Some(path.to_vec());
        }
    }

    /// Takes all notes out.
    pub(super) fn take(&mut self) -> Result<Notes, Error> {
        let empty = Notes::new(&self.scratch)?;
        Ok(std::mem::replace(self, empty))
    }

    /// Gives every note that counts, in the order of an index.
    pub(super) fn in_order(self, mut each: impl FnMut(Noted) -> Result<(), Error>) -> Result<(), Error> {
        let mut fresh = self.fresh.into_iter().map(|(path, noted)| noted.at(path.0));
        if self.runs.is_empty() {
            return fresh.try_for_each(each);
        }
        let newest = self.runs.len();
        let mut cursors: Vec<_> = self.runs.iter().map(|run| run.records.cursor()).collect();
        let mut next = |age: usize| -> Result<Option<Head>, Error> {
            if age == newest {
                return Ok(fresh.next().map(|noted| Head { noted, age }));
            }
            let here = cursors[age].here()?.map(|noted| Head { noted: Noted::clone(&noted), age });
            cursors[age].step();
            Ok(here)
        };
        let mut heads = BinaryHeap::new();
        for age in 0..=newest {
            heads.extend(next(age)?);
        }
        let mut hides: Vec<(Vec<u8>, usize)> = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        while let Some(Head { noted, age }) = heads.pop() {
            heads.extend(next(age)?);
            let path = &noted.entry.path;
            hides.retain(|(above, _)| is_within(path, above));
            if hides.iter().any(|(_, since)| *since > age) {
                continue;
            }
            // What is no folder has nothing below it, whatever stood there before.
            if noted.replaces || !noted.entry.is_dir() {
                hides.push((path.clone(), age));
            }
            if last.as_ref() == Some(path) {
                continue;
            }
            last = Some(path.clone());
            each(noted)?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), Error> {
        let mut filter = Filter::of(self.fresh.len());
        self.fresh.keys().for_each(|path| filter.add(self.hashing.hash_one(path.0.as_slice())));
        let records = std::mem::take(&mut self.fresh).into_iter().map(|(path, noted)| noted.at(path.0));
        let blocks: Blocks<Noted> = write_run(self.scratch.unnamed_file()?, records)?;
        self.runs.push(Run { records: Sequence::Stored(blocks), filter });
        self.weight = 0;
        Ok(())
    }
}

/// The next note of the notes of one age; the greatest is the first path, of that the latest.
struct Head {
    noted: Noted,
    age: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        compare_paths(&other.noted.entry.path, &self.noted.entry.path).then(self.age.cmp(&other.age))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

/// Says which paths a run certainly does not have (a Bloom filter): one in a hundred others has to be looked for in vain.
struct Filter {
    words: Vec<u64>,
}

impl Filter {
    /// Bits for each path, and how many of them it sets.
    const BITS: usize = 10;
    const SET: u64 = 6;

    fn of(paths: usize) -> Self {
        Self { words: vec![0; (paths * Self::BITS).div_ceil(64).max(1)] }
    }

    fn add(&mut self, hash: u64) {
        for (word, bit) in self.places(hash) {
            self.words[word] |= bit;
        }
    }

    fn may_have(&self, hash: u64) -> bool {
        self.places(hash).all(|(word, bit)| self.words[word] & bit != 0)
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = self.words.len() as u64 * 64;
        // One good hash is as good as six of them when its halves are combined.
        let (one, other) = (hash >> 32, hash | 1);
        (0..Self::SET).map(move |number| {
            let place = one.wrapping_add(number.wrapping_mul(other)) % bits;
            ((place / 64) as usize, 1 << (place % 64))
        })
    }
}

#[cfg(test)]
mod tests;
