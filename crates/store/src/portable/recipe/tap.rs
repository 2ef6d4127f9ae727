//! The tap: a reader that passes a tar on and tells its bodies from everything else.
//!
//! It reads the archive as `archive::tar` does, but believes itself wrong wherever anything is odd: from there on everything is noted as it stands.
//! What is decided wrongly here makes a recipe that its check refuses, never a wrong tar.

use std::io::Read;

use shipway_archive::tar::BLOCK;
use shipway_archive::tar::header::Header;
use shipway_archive::tar::pax;

use super::draft::Draft;

/// Bodies of extended headers are parsed up to this size; the reader behind us refuses larger ones.
const EXTENSION_LIMIT: u64 = 1 << 20;
/// Bytes noted as they stand are handed on when there are so many, or a body comes.
const CHUNK: usize = 64 << 10;

/// A reader that passes everything on and notes what a recipe needs.
pub(crate) struct RecipeTap<R> {
    inner: R,
    draft: Draft,
    /// What is to be noted as it stands and has not been handed on yet.
    raw: Vec<u8>,
    state: State,
    extension: Extension,
    /// Of the current body; one for all of them, since it is large.
    hasher: Box<blake3::Hasher>,
}

enum State {
    /// Collecting a header block; its bytes so far are the last of `raw`.
    Header(usize),
    /// Inside something that is noted as it stands, so many bytes to go; when `keep`, it is looked at in the end, from `start` of `raw` on.
    Plain { left: u64, keep: Option<u8>, start: usize },
    /// Inside the body of a file.
    Body { left: u64, padding: u64, path: Vec<u8>, size: u64 },
    /// After bytes that are no header: everything is noted as it stands.
    Lost,
}

/// What extended headers said about the entry that follows.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl<R: Read> RecipeTap<R> {
    /// Passes `inner` on and notes in `draft` what a recipe needs.
    pub(crate) fn new(inner: R, draft: Draft) -> Self {
        Self { inner, draft, raw: Vec::new(), state: State::Header(0), extension: Extension::default(), hasher: Box::default() }
    }

    /// Ends the taking of notes. A body that broke off has been reported by the unpacker; the draft is then thrown away.
    pub(crate) fn finish(mut self) -> Draft {
        self.hand_on();
        self.draft
    }

    fn hand_on(&mut self) {
        self.draft.raw(&self.raw);
        self.raw.clear();
        // After a long extended header.
        self.raw.shrink_to(2 * CHUNK);
    }

    /// Notes bytes that nobody will look at again.
    fn note_plain(&mut self, bytes: &[u8]) {
        if bytes.len() < CHUNK {
            self.raw.extend_from_slice(bytes);
        } else {
            self.hand_on();
            self.draft.raw(bytes);
        }
    }

    fn note(&mut self, mut bytes: &[u8]) {
        let count = bytes.len();
        while !bytes.is_empty() {
            let state = std::mem::replace(&mut self.state, State::Lost);
            let (state, used) = self.step(state, bytes);
            self.state = state;
            bytes = &bytes[used..];
            // Never between the beginning of an extended header and its end, which are looked at as they stand.
            let may_hand_on = matches!(self.state, State::Header(0) | State::Plain { keep: None, .. } | State::Body { .. } | State::Lost);
            if self.raw.len() >= CHUNK && may_hand_on {
                self.hand_on();
            }
        }
        self.draft.pass(count);
    }

    /// Takes as much of `bytes` as belongs to the current part.
    fn step(&mut self, state: State, bytes: &[u8]) -> (State, usize) {
        match state {
            State::Lost => {
                self.note_plain(bytes);
                (State::Lost, bytes.len())
            }
            State::Header(filled) => {
                let used = bytes.len().min(BLOCK - filled);
                self.raw.extend_from_slice(&bytes[..used]);
                if filled + used < BLOCK { (State::Header(filled + used), used) } else { (self.after_header(), used) }
            }
            State::Plain { left, keep, start } => {
                let used = shorter(bytes, left);
                match keep {
                    Some(_) => self.raw.extend_from_slice(&bytes[..used]),
                    None => self.note_plain(&bytes[..used]),
                }
                let left = left - used as u64;
                if left > 0 {
                    return (State::Plain { left, keep, start }, used);
                }
                if let Some(flag) = keep {
                    self.take_extension(flag, start);
                }
                (State::Header(0), used)
            }
            State::Body { left, padding, path, size } => {
                let used = shorter(bytes, left);
                if self.draft.is_open() {
                    self.hasher.update(&bytes[..used]);
                }
                let left = left - used as u64;
                if left > 0 {
                    return (State::Body { left, padding, path, size }, used);
                }
                self.hand_on();
                self.draft.file(&path, size, self.hasher.finalize().as_bytes());
                self.hasher.reset();
                let next = if padding > 0 { State::Plain { left: padding, keep: None, start: 0 } } else { State::Header(0) };
                (next, used)
            }
        }
    }

    /// Decides from a full header block, which is the end of `raw`, what follows it.
    fn after_header(&mut self) -> State {
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.raw[self.raw.len() - BLOCK..]);
        if block.iter().all(|byte| *byte == 0) {
            return State::Header(0);
        }
        let Ok(header) = Header::new(&block) else { return State::Lost };
        let Ok(mut size) = header.size() else { return State::Lost };
        let flag = header.typeflag();
        if matches!(flag, b'x' | b'X' | b'L' | b'K' | b'g') {
            return self.plain(size, Some(flag));
        }
        let extension = std::mem::take(&mut self.extension);
        if let Some(stated) = extension.size {
            size = stated;
        }
        let regular = matches!(flag, b'0' | 0 | b'7') && !extension.sparse;
        let bodiless = matches!(flag, b'1'..=b'6');
        if bodiless {
            size = 0;
        }
        if !regular {
            return if flag == b'S' || extension.sparse { self.sparse(&block, flag, size) } else { self.plain(size, None) };
        }
        if size == 0 {
            return State::Header(0);
        }
        let path = clean(&extension.path.unwrap_or_else(|| header.path()));
        State::Body { left: size, padding: size.wrapping_neg() % BLOCK as u64, path, size }
    }

    fn plain(&self, size: u64, keep: Option<u8>) -> State {
        // No tar has so much; whoever says so is refused by the reader behind us.
        let Some(left) = size.checked_add(size.wrapping_neg() % BLOCK as u64) else { return State::Lost };
        if left == 0 {
            return State::Header(0);
        }
        let keep = keep.filter(|_| size <= EXTENSION_LIMIT);
        State::Plain { left, keep, start: self.raw.len() }
    }

    /// Old GNU sparse headers are followed by blocks that continue the map before the body comes; those have no checksum, so the rest of the archive
    /// is noted as it stands. PAX sparse files have their map in the body.
    fn sparse(&self, block: &[u8; BLOCK], flag: u8, size: u64) -> State {
        if flag == b'S' && block[482] != 0 { State::Lost } else { self.plain(size, None) }
    }

    fn take_extension(&mut self, flag: u8, start: usize) {
        let body = &self.raw[start..];
        let header = &self.raw[start - BLOCK..start];
        let size = <&[u8; BLOCK]>::try_from(header).ok().and_then(|block| Header::new(block).ok()?.size().ok()).unwrap_or(0);
        let body = &body[..body.len().min(usize::try_from(size).unwrap_or(usize::MAX))];
        match flag {
            b'L' => self.extension.path = Some(body.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()),
            b'x' | b'X' => {
                for (key, value) in pax::records(body).unwrap_or_default() {
                    match key {
                        b"path" => self.extension.path = Some(value.to_vec()),
                        b"size" => self.extension.size = pax::decimal(value),
                        key if key.starts_with(b"GNU.sparse.") => self.extension.sparse = true,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

impl<R: Read> Read for RecipeTap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.note(&buffer[..count]);
        Ok(count)
    }
}

fn shorter(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

/// The path as the index has it: no leading slash, no `.`, no empty parts.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}
