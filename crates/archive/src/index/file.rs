//! The file of an index, drawn at the head of `index.rs`: written whole from memory or block by block, and opened again.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use shipway_sys::copy;

use super::blocks::{BlockWriter, Blocks, Place, corrupt, decode, read_block};
use super::codec::{Reader, bytes, number};
use super::entry::{ContentDigest, IndexEntry};
use super::sequence::Sequence;
use super::{LayerIndex, OnceLock};
use crate::Error;

pub(super) const MAGIC: &[u8; 5] = b"SWLX\x02";
/// Of the first form: number of entries, all of them as one block, checksum of all before it. No longer written.
const FIRST_MAGIC: &[u8; 5] = b"SWLX\x01";
const CHECKSUM: usize = 32;
const CUT_OFF: &str = "it is cut off or of another version";
/// Length of the table and checksum.
const FOOTER: usize = 8 + CHECKSUM;
/// Files up to this size are held in memory, some three times as large: twenty thousand entries.
const HELD: u64 = 3 << 19;

/// What a table says of all entries together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) entries: u64,
    pub(super) content_size: u64,
    pub(super) digest: ContentDigest,
}

impl LayerIndex {
    /// Writes the file form to `file`, which is empty and stands at its beginning, and gives its length.
    ///
    /// # Errors
    /// `Write`; of reading where the index lies in another file.
    pub fn write_to(&self, file: &File) -> Result<u64, Error> {
        let blocks = match &self.entries {
            Sequence::Stored(blocks) => blocks,
            Sequence::Held(entries) => {
                let bytes = encode(entries, self.content_size, self.digest()?)?;
                let mut file = file;
                file.write_all(&bytes).map_err(Error::Write)?;
                return Ok(bytes.len() as u64);
            }
        };
        let length = shipway_sys::path::metadata(blocks.file())?.size;
        copy::copy_file(blocks.file(), file, length)?;
        Ok(length)
    }

    /// Opens what [`LayerIndex::write_to`] wrote. A small one is read at once, of a large one only the table; all else when it is asked for.
    ///
    /// # Errors
    /// `Corrupt` for anything but the whole of it, as far as it is read; `Read`.
    pub fn open(file: File) -> Result<LayerIndex, Error> {
        let length = shipway_sys::path::metadata(&file)?.size;
        let mut magic = [0; MAGIC.len()];
        if length >= magic.len() as u64 {
            file.read_exact_at(&mut magic, 0).map_err(Error::Read)?;
        }
        match &magic {
            MAGIC => {}
            FIRST_MAGIC => return Self::from_first_form(&file, length),
            _ => return Err(corrupt(CUT_OFF)),
        }
        let (totals, places) = read_table(&file, length)?;
        let entries = if length <= HELD {
            return Self::from_small(&file, &totals, &places);
        } else {
            Sequence::Stored(Blocks::new(file, places, totals.entries))
        };
        Ok(LayerIndex { entries, content_size: totals.content_size, digest: OnceLock::from(totals.digest) })
    }

    /// Reads all of it and compares it with what it says of itself.
    ///
    /// # Errors
    /// `Corrupt` where the two differ; as [`LayerIndex::open`].
    pub fn verify(&self) -> Result<(), Error> {
        let mut order = super::Order::default();
        let (mut count, mut content_size) = (0, 0u64);
        for entry in self {
            let entry = entry?;
            order.check(&entry)?;
            count += 1;
            content_size = content_size.saturating_add(entry.content_size());
        }
        order.finish()?;
        let digest = self.digest_at(b"")?.unwrap_or_default();
        if (count, content_size, digest) != (self.len(), self.content_size, self.digest()?) {
            return Err(corrupt("its entries are not those that its table tells of"));
        }
        Ok(())
    }

    fn from_first_form(file: &File, length: u64) -> Result<LayerIndex, Error> {
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| corrupt("it is too long"))?];
        file.read_exact_at(&mut bytes, 0).map_err(Error::Read)?;
        let (content, checksum) = bytes.split_at_checked(bytes.len().saturating_sub(CHECKSUM)).unwrap_or_default();
        if blake3::hash(content).as_bytes() != checksum {
            return Err(corrupt("the checksum does not match"));
        }
        let mut reader = Reader(content.strip_prefix(FIRST_MAGIC).unwrap_or_default());
        let count = reader.number();
        let entries = decode(reader.0, usize::MAX).filter(|entries: &Vec<IndexEntry>| count == Some(entries.len() as u64));
        Self::from_sorted(entries.ok_or_else(|| corrupt("the entries are malformed"))?)
    }

    fn from_small(file: &File, totals: &Totals, places: &[Place]) -> Result<LayerIndex, Error> {
        let end = places.last().map_or(MAGIC.len() as u64, |place| place.offset + u64::from(place.length));
        let mut bytes = vec![0; usize::try_from(end).map_err(|_| corrupt("it is too long"))?];
        file.read_exact_at(&mut bytes, 0).map_err(Error::Read)?;
        let mut entries: Vec<IndexEntry> = Vec::new();
        for (number, place) in places.iter().enumerate() {
            let start = usize::try_from(place.offset).unwrap_or(usize::MAX);
            let block = bytes.get(start..).and_then(|rest| rest.get(..place.length as usize)).ok_or_else(|| corrupt("it is cut off"))?;
            entries.append(&mut read_block(block, place, places.get(number + 1).map(|place| &*place.first))?);
        }
        let index = LayerIndex { digest: OnceLock::from(totals.digest), ..Self::from_sorted(entries)? };
        if (index.len(), index.content_size) != (totals.entries, totals.content_size) {
            return Err(corrupt("its entries are not those that its table tells of"));
        }
        Ok(index)
    }

    /// An index whose file was just written.
    pub(super) fn stored(file: File, places: Vec<Place>, totals: &Totals) -> LayerIndex {
        let entries = Sequence::Stored(Blocks::new(file, places, totals.entries));
        LayerIndex { entries, content_size: totals.content_size, digest: OnceLock::from(totals.digest) }
    }
}

fn encode(entries: &Arc<Vec<IndexEntry>>, content_size: u64, digest: ContentDigest) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(entries.len() * 80 + 256);
    out.extend_from_slice(MAGIC);
    let mut writer = BlockWriter::new(out, MAGIC.len() as u64);
    writer.write(entries)?;
    let totals = Totals { entries: writer.count(), content_size, digest };
    let (mut out, places) = writer.finish();
    write_end(&totals, &places, &mut out)?;
    Ok(out)
}

/// Writes table and footer.
pub(super) fn write_end(totals: &Totals, places: &[Place], out: &mut impl Write) -> Result<(), Error> {
    let mut table = Vec::with_capacity(places.len() * 100 + 64);
    number(&mut table, totals.entries);
    number(&mut table, totals.content_size);
    table.extend_from_slice(&totals.digest);
    for (at, place) in places.iter().enumerate() {
        let behind = places.get(at + 1).map_or(totals.entries, |next| next.before);
        bytes(&mut table, &place.first);
        number(&mut table, place.length.into());
        number(&mut table, behind - place.before);
        table.extend_from_slice(&place.checksum);
    }
    let length = table.len() as u64;
    table.extend_from_slice(&length.to_le_bytes());
    let checksum = blake3::hash(&table);
    table.extend_from_slice(checksum.as_bytes());
    out.write_all(&table).map_err(Error::Write)
}

fn read_table(file: &File, length: u64) -> Result<(Totals, Vec<Place>), Error> {
    let cut_off = || corrupt(CUT_OFF);
    let mut footer = [0; FOOTER];
    let footer_at = length.checked_sub((MAGIC.len() + FOOTER) as u64).ok_or_else(cut_off)? + MAGIC.len() as u64;
    file.read_exact_at(&mut footer, footer_at).map_err(Error::Read)?;
    let (table_length, checksum) = footer.split_at(8);
    let table_length = table_length.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let table_at = footer_at.checked_sub(table_length).filter(|at| *at >= MAGIC.len() as u64).ok_or_else(cut_off)?;
    let mut table = vec![0; usize::try_from(footer_at - table_at).map_err(|_| cut_off())? + 8];
    file.read_exact_at(&mut table, table_at).map_err(Error::Read)?;
    if blake3::hash(&table).as_bytes() != checksum {
        return Err(corrupt("the checksum does not match"));
    }
    table.truncate(table.len() - 8);
    let (totals, places) = parse_table(&table).ok_or_else(|| corrupt("the table is malformed"))?;
    let end = places.last().map_or(MAGIC.len() as u64, |place| place.offset + u64::from(place.length));
    if end != table_at {
        return Err(corrupt("the table is malformed"));
    }
    Ok((totals, places))
}

fn parse_table(table: &[u8]) -> Option<(Totals, Vec<Place>)> {
    let mut reader = Reader(table);
    let entries = reader.number()?;
    let totals = Totals { entries, content_size: reader.number()?, digest: reader.take(32)?.try_into().ok()? };
    let (mut places, mut offset, mut before): (Vec<Place>, u64, u64) = (Vec::new(), MAGIC.len() as u64, 0);
    while !reader.is_empty() {
        let first: Box<[u8]> = reader.bytes()?.into();
        let (length, count) = (reader.small()?, reader.number()?);
        let ordered = places.last().is_none_or(|former| super::compare_paths(&former.first, &first).is_lt());
        if !ordered || count == 0 {
            return None;
        }
        places.push(Place { first, offset, length, before, checksum: reader.take(32)?.try_into().ok()? });
        offset = offset.checked_add(length.into())?;
        before = before.checked_add(count)?;
    }
    // The root is there, so there is a block.
    (before == entries && !places.is_empty()).then_some((totals, places))
}
