//! Sorted records in a file, some hundred to a block, found through a table in memory: as many as one likes for little memory.
//!
//! ```text
//! block  = record*                                            the records of one block weigh some `WEIGHT` bytes in memory
//! record = shared(number: bytes of the path equal to the former record's in the block) rest(bytes) what the record says of itself
//! ```
//! What must stay true: records come in the order of their paths, each path once; a block is believed only when its bytes have the digest that the
//! table says, and its paths lie where the table says.

use std::cmp::Ordering;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::codec::{Reader, bytes, number};
use super::entry::{ContentDigest, compare_paths};
use crate::Error;

/// Memory that the records of one block take, where not a single one takes more: reading one to find something in it costs some 30 µs.
const WEIGHT: usize = 48 << 10;

/// No block of ours takes more; what pretends to is not believed.
const MOST_WEIGHT: usize = 16 << 20;

/// Blocks kept decoded.
const KEPT: usize = 32;

/// Something with a path.
pub(crate) trait Record: Sized {
    /// Its path.
    fn path(&self) -> &[u8];
    /// Bytes of memory it takes, roughly.
    fn weight(&self) -> usize;
    /// Writes all but the path.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads what `encode` wrote; none for anything else.
    fn decode(path: Vec<u8>, reader: &mut Reader<'_>) -> Option<Self>;
}

/// Where a block is and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Path of its first record.
    pub(super) first: Box<[u8]>,
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// Bytes of it.
    pub(super) length: u32,
    /// Records before it.
    pub(super) before: u64,
    /// BLAKE3 of its bytes.
    pub(super) checksum: ContentDigest,
}

/// How many of `records` make the next block; none only of none.
pub(super) fn next_block<R: Record>(records: &[R]) -> usize {
    let mut weight = 0;
    let fits = |record: &&R| {
        weight += record.weight();
        weight <= WEIGHT
    };
    records.iter().take_while(fits).count().max(usize::from(!records.is_empty()))
}

/// Writes sorted records block by block.
pub(super) struct BlockWriter<W> {
    out: W,
    offset: u64,
    count: u64,
    places: Vec<Place>,
}

impl<W: Write> BlockWriter<W> {
    /// Writes to `out`, whose first `offset` bytes are there.
    pub(super) fn new(out: W, offset: u64) -> Self {
        Self { out, offset, count: 0, places: Vec::new() }
    }

    /// Writes the next records.
    ///
    /// # Errors
    /// `Write`; `Corrupt` for a record that is too long.
    pub(super) fn write<R: Record>(&mut self, mut records: &[R]) -> Result<(), Error> {
        while !records.is_empty() {
            let (next, rest) = records.split_at(next_block(records));
            self.write_block(next)?;
            records = rest;
        }
        Ok(())
    }

    fn write_block<R: Record>(&mut self, records: &[R]) -> Result<(), Error> {
        let mut block = Vec::with_capacity(records.len() * 80);
        let mut former: &[u8] = b"";
        for record in records {
            let path = record.path();
            let shared = path.iter().zip(former).take_while(|(a, b)| a == b).count();
            number(&mut block, shared as u64);
            bytes(&mut block, &path[shared..]);
            record.encode(&mut block);
            former = path;
        }
        self.out.write_all(&block).map_err(Error::Write)?;
        let length = u32::try_from(block.len()).map_err(|_| corrupt("a block is too long"))?;
        let first = records.first().map(Record::path).unwrap_or_default().into();
        self.places.push(Place { first, offset: self.offset, length, before: self.count, checksum: *blake3::hash(&block).as_bytes() });
        self.offset += u64::from(length);
        self.count += records.len() as u64;
        Ok(())
    }

    /// Records written so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Where they are.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Where they went to.
    pub(super) fn out(&self) -> &W {
        &self.out
    }

    /// What was written to, and where the blocks are in it.
    pub(super) fn finish(self) -> (W, Vec<Place>) {
        (self.out, self.places)
    }
}

/// Writes sorted records to `file`, which is empty.
///
/// # Errors
/// `Write`; `Corrupt` for a record that is too long.
pub(crate) fn write_run<R: Record>(file: File, records: impl Iterator<Item = R>) -> Result<Blocks<R>, Error> {
    let mut writer = BlockWriter::new(file, 0);
    let (mut waiting, mut weight): (Vec<R>, usize) = (Vec::new(), 0);
    for record in records {
        weight += record.weight();
        if weight > WEIGHT {
            writer.write(&waiting)?;
            waiting.clear();
            weight = record.weight();
        }
        waiting.push(record);
    }
    writer.write(&waiting)?;
    let count = writer.count();
    let (file, places) = writer.finish();
    Ok(Blocks::new(file, places, count))
}

/// Reads the records of the block at `place`, behind which the path `next` begins another.
pub(super) fn read_block<R: Record>(block: &[u8], place: &Place, next: Option<&[u8]>) -> Result<Vec<R>, Error> {
    if blake3::hash(block).as_bytes() != &place.checksum {
        return Err(corrupt("the checksum does not match"));
    }
    // A right checksum does not make a right file: whoever can write the disk can compute one.
    let records: Vec<R> = decode(block, MOST_WEIGHT).ok_or_else(|| corrupt("the entries are malformed"))?;
    let ordered = records.windows(2).all(|pair| compare_paths(pair[0].path(), pair[1].path()) == Ordering::Less);
    let first = records.first().map(Record::path);
    let last = records.last().map(Record::path);
    let behind = last.is_some_and(|last| next.is_none_or(|next| compare_paths(last, next) == Ordering::Less));
    if !ordered || first != Some(&*place.first) || !behind {
        return Err(corrupt("the entries are out of order"));
    }
    Ok(records)
}

/// Records that follow each other and together take no more than `most` bytes of memory, if they are more than one.
pub(super) fn decode<R: Record>(block: &[u8], most: usize) -> Option<Vec<R>> {
    let mut reader = Reader(block);
    let (mut records, mut weight): (Vec<R>, usize) = (Vec::new(), 0);
    while !reader.is_empty() {
        let shared = usize::try_from(reader.number()?).ok()?;
        let before = records.last().map_or(&b""[..], |record| record.path());
        let path = [before.get(..shared)?, reader.bytes()?].concat();
        let record = R::decode(path, &mut reader)?;
        weight += record.weight();
        if weight > most && !records.is_empty() {
            return None;
        }
        records.push(record);
    }
    Some(records)
}

pub(super) fn corrupt(problem: &str) -> Error {
    Error::Corrupt { what: "layer index", problem: problem.to_owned() }
}

/// Sorted records in a file.
#[derive(Debug)]
pub(crate) struct Blocks<R> {
    file: File,
    places: Vec<Place>,
    count: u64,
    /// Blocks looked at last, the latest first.
    kept: Mutex<Vec<(usize, Arc<Vec<R>>)>>,
}

impl<R: Record> Blocks<R> {
    /// The blocks at `places`, which are in order; `count` records together.
    pub(super) fn new(file: File, places: Vec<Place>, count: u64) -> Self {
        Self { file, places, count, kept: Mutex::default() }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Records in all.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of memory for the table, and for as many blocks as are ever kept.
    pub(super) fn weight(&self) -> usize {
        let table: usize = self.places.iter().map(|place| size_of::<Place>() + place.first.len()).sum();
        table + KEPT.min(self.places.len()) * WEIGHT
    }

    /// The block that would have `path`.
    pub(super) fn number_of(&self, path: &[u8]) -> usize {
        self.places.partition_point(|place| compare_paths(&place.first, path) != Ordering::Greater).saturating_sub(1)
    }

    /// Block `number`, which is there.
    pub(super) fn get(&self, number: usize) -> Result<Arc<Vec<R>>, Error> {
        if let Some(block) = self.known(number) {
            return Ok(block);
        }
        // Read without the lock: two may read the same block, and nobody waits for a disk.
        let block = Arc::new(read_at(&self.file, &self.places, number)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT - 1);
        kept.insert(0, (number, Arc::clone(&block)));
        Ok(block)
    }

    fn known(&self, number: usize) -> Option<Arc<Vec<R>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| *known == number)?;
        kept[..=at].rotate_right(1);
        kept.first().map(|(_, block)| Arc::clone(block))
    }
}

/// Reads block `number` of `file`.
pub(super) fn read_at<R: Record>(file: &File, places: &[Place], number: usize) -> Result<Vec<R>, Error> {
    let place = places.get(number).ok_or_else(|| corrupt("there is no such block"))?;
    let mut block = vec![0; place.length as usize];
    file.read_exact_at(&mut block, place.offset).map_err(Error::Read)?;
    read_block(&block, place, places.get(number + 1).map(|place| &*place.first))
}
