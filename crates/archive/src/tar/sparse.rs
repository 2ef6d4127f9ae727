//! The maps of sparse files: old GNU slots, PAX 0.0, 0.1 and 1.0.
//!
//! What must stay true: segments come in order, do not overlap and end within the logical size, or the archive fails.
//!
//! Source: GNU tar manual, "Storing Sparse Files".

use super::header::{text, unsigned};
use super::{Segment, pax};
use crate::{Error, Limits};

/// Reads slots of 24 bytes until the first empty one; tells whether that one was met.
pub(crate) fn read_slots(slots: &[u8], into: &mut Vec<Segment>) -> Result<(), String> {
    for slot in slots.chunks_exact(24) {
        if text(slot).is_empty() {
            break;
        }
        into.push(Segment { offset: unsigned(&slot[..12], "sparse offset")?, length: unsigned(&slot[12..], "sparse length")? });
    }
    Ok(())
}

/// Reads `offset,length,offset,length…` (PAX 0.1) or the same numbers collected from single records (PAX 0.0).
pub(crate) fn read_numbers<'a>(mut numbers: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    while let Some(offset) = numbers.next() {
        let parse = |text: Option<&[u8]>| text.and_then(pax::decimal).ok_or_else(|| "the sparse map is malformed".to_owned());
        segments.push(Segment { offset: parse(Some(offset))?, length: parse(numbers.next())? });
    }
    Ok(segments)
}

/// Checks a map against the logical size and the bytes stored, and drops empty segments.
pub(crate) fn check(segments: Vec<Segment>, size: u64, stored: u64, limits: &Limits) -> Result<Result<Vec<Segment>, String>, Error> {
    if segments.len() as u64 > limits.sparse_segments {
        return Err(Error::Limit { what: "segments in a sparse file", limit: limits.sparse_segments });
    }
    let (mut end, mut sum) = (0u64, 0u64);
    for segment in &segments {
        let Some(after) = segment.offset.checked_add(segment.length) else { return Ok(Err("the sparse map overflows".to_owned())) };
        if segment.offset < end || after > size {
            return Ok(Err("the sparse map is out of order or beyond the file".to_owned()));
        }
        end = after;
        sum += segment.length;
    }
    if sum != stored {
        return Ok(Err("the sparse map does not fit the stored bytes".to_owned()));
    }
    Ok(Ok(segments.into_iter().filter(|segment| segment.length > 0).collect()))
}
