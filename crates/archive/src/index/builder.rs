//! Makes an index out of entries that come sorted: in memory while they are few, through a file when they become many.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use shipway_sys::path::Dir;

use super::blocks::{BlockWriter, Record, read_at};
use super::digest::{Digester, Marks};
use super::entry::IndexEntry;
use super::file::{MAGIC, Totals, write_end};
use super::sequence::Sequence;
use super::{LayerIndex, OnceLock, Order};
use crate::Error;

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
    /// What went to a file, once it was too much for memory.
    spilled: Option<BlockWriter<File>>,
    order: Order,
    digester: Digester,
    content_size: u64,
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
        self.spilled.as_ref().map_or(0, BlockWriter::count) + self.waiting.len() as u64
    }

    /// The path of entry `number`, which was taken before.
    ///
    /// # Cost
    /// Reads a block of the file when the entry is there.
    pub(crate) fn path_of(&self, number: u64) -> Result<Vec<u8>, Error> {
        let gone = || super::blocks::corrupt("an entry refers to none");
        let written = self.spilled.as_ref().map_or(0, BlockWriter::count);
        let Some(spilled) = self.spilled.as_ref().filter(|_| number < written) else {
            let at = usize::try_from(number - written).map_err(|_| gone())?;
            return self.waiting.get(at).map(|entry| entry.path.clone()).ok_or_else(gone);
        };
        let places = spilled.places();
        let block = places.partition_point(|place| place.before <= number).saturating_sub(1);
        let entries: Vec<IndexEntry> = read_at(spilled.out(), places, block)?;
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
        let Some(spilled) = self.spilled else {
            let entries = Sequence::Held(Arc::new(self.waiting));
            return Ok(LayerIndex { entries, content_size: self.content_size, digest: OnceLock::from(digest) });
        };
        let totals = Totals { entries: spilled.count(), content_size: self.content_size, digest };
        let (mut file, places) = spilled.finish();
        write_end(&totals, &places, &mut file)?;
        Ok(LayerIndex::stored(file, places, &totals))
    }

    fn spill(&mut self) -> Result<(), Error> {
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => {
                let mut file = self.scratch.unnamed_file()?;
                file.write_all(MAGIC).map_err(Error::Write)?;
                none.insert(BlockWriter::new(file, MAGIC.len() as u64))
            }
        };
        spilled.write(&self.waiting)?;
        self.waiting.clear();
        self.weight = 0;
        Ok(())
    }
}
