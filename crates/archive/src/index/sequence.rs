//! Sorted records wherever they are, and a place among them.

use std::ops::Deref;
use std::sync::Arc;

use super::blocks::{Blocks, Record};
use super::entry::compare_paths;
use crate::Error;

/// Records sorted by path.
#[derive(Debug)]
pub(crate) enum Sequence<R> {
    /// All of them in memory.
    Held(Arc<Vec<R>>),
    /// In a file.
    Stored(Blocks<R>),
}

impl<R: Record> Sequence<R> {
    /// How many.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Sequence::Held(records) => records.len() as u64,
            Sequence::Stored(blocks) => blocks.count(),
        }
    }

    /// Bytes of memory they take, roughly.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Sequence::Held(records) => records.iter().map(Record::weight).sum(),
            Sequence::Stored(blocks) => blocks.weight(),
        }
    }

    /// The record at `path`.
    ///
    /// # Errors
    /// Of reading the file.
    pub(crate) fn find(&self, path: &[u8]) -> Result<Option<Found<R>>, Error> {
        if self.count() == 0 {
            return Ok(None);
        }
        let block = self.block(self.block_of(path))?;
        let found = block.binary_search_by(|record| compare_paths(record.path(), path));
        Ok(found.ok().map(|at| Found { block, at }))
    }

    /// A place before the first.
    pub(crate) fn cursor(&self) -> Cursor<'_, R> {
        Cursor { records: self, number: 0, block: None, at: 0 }
    }

    fn blocks(&self) -> usize {
        match self {
            Sequence::Held(_) => 1,
            Sequence::Stored(blocks) => blocks.places().len(),
        }
    }

    fn block_of(&self, path: &[u8]) -> usize {
        match self {
            Sequence::Held(_) => 0,
            Sequence::Stored(blocks) => blocks.number_of(path),
        }
    }

    fn block(&self, number: usize) -> Result<Arc<Vec<R>>, Error> {
        match self {
            Sequence::Held(records) => Ok(Arc::clone(records)),
            Sequence::Stored(blocks) => blocks.get(number),
        }
    }
}

/// A record, with the part of the sequence it stands in.
#[derive(Debug)]
pub(crate) struct Found<R> {
    block: Arc<Vec<R>>,
    /// Less than the records of the block.
    at: usize,
}

impl<R> Clone for Found<R> {
    fn clone(&self) -> Self {
        Found { block: Arc::clone(&self.block), at: self.at }
    }
}

impl<R> Deref for Found<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.block[self.at]
    }
}

/// A place among sorted records. It only goes forward.
#[derive(Debug)]
pub(crate) struct Cursor<'a, R> {
    records: &'a Sequence<R>,
    number: usize,
    block: Option<Arc<Vec<R>>>,
    at: usize,
}

impl<R> Clone for Cursor<'_, R> {
    fn clone(&self) -> Self {
        Cursor { records: self.records, number: self.number, block: self.block.clone(), at: self.at }
    }
}

impl<R: Record> Cursor<'_, R> {
    /// The record here; none behind the last.
    pub(crate) fn here(&mut self) -> Result<Option<Found<R>>, Error> {
        loop {
            let block = match self.block.take() {
                Some(block) => block,
                None if self.number >= self.records.blocks() => return Ok(None),
                None => self.records.block(self.number)?,
            };
            if self.at < block.len() {
                let block = Arc::clone(self.block.insert(block));
                return Ok(Some(Found { block, at: self.at }));
            }
            self.number += 1;
            self.at = 0;
        }
    }

    /// Goes on by one.
    pub(crate) fn step(&mut self) {
        self.at += 1;
    }

    /// Goes on to the first record at or behind `path`.
    pub(crate) fn skip_to(&mut self, path: &[u8]) -> Result<(), Error> {
        let before = |record: &R| compare_paths(record.path(), path).is_lt();
        if let Some(block) = &self.block
            && block.last().is_some_and(|last| !before(last))
        {
            self.at += block.get(self.at..).unwrap_or_default().partition_point(before);
            return Ok(());
        }
        let number = self.records.block_of(path);
        if number >= self.records.blocks() {
            return Ok(());
        }
        let block = self.records.block(number)?;
        self.at = block.partition_point(before);
        (self.number, self.block) = (number, Some(block));
        Ok(())
    }
}
