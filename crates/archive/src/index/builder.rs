//! Makes an index out of entries that come sorted: in memory while they are few, through a file when they become many.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use shipway_sys::path::Dir;

use super::blocks::{Place, Record, next_block, read_at, write_block};
use super::digest::{Digester, Marks};
use super::entry::IndexEntry;
use super::file::{MAGIC, Totals, write_end};
use super::sequence::Sequence;
use super::{LayerIndex, OnceLock, Order};
use crate::Error;
use crate::scratch;

/// Memory for entries before they go to a file: some thirty thousand.
const HELD: usize = 6 << 20;
/// The same once there is a file; they are then written block by block.
const WAITING: usize = 256 << 10;

/// An index in the making.
pub(crate) struct IndexBuilder<'a> {
    scratch: &'a Dir,
    /// Entries that are in no file yet.
    waiting: Vec<IndexEntry>,
    weight: usize,
    spilled: Option<Spilled>,
    order: Order,
    digester: Digester,
    content_size: u64,
}

/// What is in the file.
struct Spilled {
    file: File,
    places: Vec<Place>,
    offset: u64,
    entries: u64,
}

impl<'a> IndexBuilder<'a> {
    /// Many entries go to an unnamed file in the folder `scratch`.
    pub(crate) fn new(scratch: &'a Dir) -> Self {
        Self {
            scratch,
            waiting: Vec::new(),
            weight: 0,
            spilled: None,
            order: Order::default(),
            digester: Digester::new(Marks::Count),
            content_size: 0,
        }
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// `Corrupt` for one that cannot come here; `Write`.
    pub(crate) fn push(&mut self, entry: IndexEntry) -> Result<(), Error> {
        self.order.check(&entry)?;
        self.digester.take(&entry);
        self.content_size = self.content_size.saturating_add(entry.content_size());
        self.weight += entry.weight();
        self.waiting.push(entry);
        if self.weight > if self.spilled.is_some() { WAITING } else { HELD } {
            self.spill()?;
        }
        Ok(())
    }

    /// Entries taken so far.
    pub(crate) fn count(&self) -> u64 {
        self.spilled.as_ref().map_or(0, |spilled| spilled.entries) + self.waiting.len() as u64
    }

    /// The path of entry `number`, which was taken before.
    ///
    /// # Cost
    /// Reads a block of the file when the entry is there.
    pub(crate) fn path_of(&self, number: u64) -> Result<Vec<u8>, Error> {
        let (written, places) = self.spilled.as_ref().map_or((0, &[][..]), |spilled| (spilled.entries, &spilled.places));
        let gone = || super::blocks::corrupt("an entry refers to none");
        if number >= written {
            let at = usize::try_from(number - written).map_err(|_| gone())?;
            return self.waiting.get(at).map(|entry| entry.path.clone()).ok_or_else(gone);
        }
        let block = places.partition_point(|place| place.before <= number).saturating_sub(1);
        let Some(spilled) = &self.spilled else { return Err(gone()) };
        let entries: Vec<IndexEntry> = read_at(&spilled.file, places, block)?;
        let at = usize::try_from(number - places[block].before).map_err(|_| gone())?;
        entries.into_iter().nth(at).map(|entry| entry.path).ok_or_else(gone)
    }

    /// The index of all that was taken.
    ///
    /// # Errors
    /// `Corrupt` without a root; `Write`.
    pub(crate) fn finish(mut self) -> Result<LayerIndex, Error> {
        self.order.finish()?;
        if self.spilled.is_some() {
            self.spill()?;
        }
        let digest = self.digester.finish().unwrap_or_default();
        let Some(mut spilled) = self.spilled else {
            let entries = Sequence::Held(Arc::new(self.waiting));
            return Ok(LayerIndex { entries, content_size: self.content_size, digest: OnceLock::from(digest) });
        };
        let totals = Totals { entries: spilled.entries, content_size: self.content_size, digest };
        write_end(&totals, &spilled.places, &mut spilled.file)?;
        Ok(LayerIndex::stored(spilled.file, spilled.places, &totals))
    }

    fn spill(&mut self) -> Result<(), Error> {
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => {
                let mut file = scratch::file(self.scratch)?;
                file.write_all(MAGIC).map_err(Error::Write)?;
                none.insert(Spilled { file, places: Vec::new(), offset: MAGIC.len() as u64, entries: 0 })
            }
        };
        spilled.write(&self.waiting)?;
        self.waiting.clear();
        self.weight = 0;
        Ok(())
    }
}

impl Spilled {
    fn write(&mut self, mut entries: &[IndexEntry]) -> Result<(), Error> {
        while !entries.is_empty() {
            let (next, rest) = entries.split_at(next_block(entries));
            let place = write_block(next, self.offset, self.entries, &mut self.file)?;
            self.offset += place.as_ref().map_or(0, |place| u64::from(place.length));
            self.entries += next.len() as u64;
            self.places.extend(place);
            entries = rest;
        }
        Ok(())
    }
}
