//! Recipes: how the exact bytes of somebody else's layer tar come back from the unpacked folder.
//!
//! No two programs write the same tar for the same files, and an image names its layers by the digest of the tar. So while a tar is unpacked, a tap
//! notes everything in it that is not the body of a regular file (headers, padding, what follows the end), and for each body which file has it:
//!
//! ```text
//! "SWRECIPE" 01              then, compressed with zstd as one frame:
//! 00 length:u64 bytes        these bytes as they stand
//! 01 length:u64 path         the content of the file `path` of the layer (its length stands in `size:u64` after the path)
//! ...
//! ```
//!
//! Numbers are little-endian. Bodies of sparse files are noted as they stand. When one path has two bodies the first is gone after unpacking, unless
//! another file has the same content; then the layer has no recipe. Nor has a layer that is mostly not files (see [`MOST`]): notes are kept in memory,
//! compressed, and a hostile archive could be nothing but notes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use shipway_archive::index::{IndexEntry, LayerIndex, Node};
use shipway_archive::tar::BLOCK;
use shipway_archive::tar::header::Header;
use shipway_archive::tar::pax;
use shipway_archive::{Limits, compress};
use shipway_sys::path::Root;

use crate::error::Doing as _;
use crate::{Error, Result};

const MAGIC: &[u8; 9] = b"SWRECIPE\x01";
const RAW: u8 = 0;
const FILE: u8 = 1;
/// Bodies of extended headers are parsed up to this size; the reader behind us refuses larger ones.
const EXTENSION_LIMIT: u64 = 1 << 20;
/// Headers are mostly zeros and repetitions; a higher level gains nothing.
const LEVEL: i32 = 3;
/// Notes are compressed for the time of unpacking in pieces of this size.
const CHUNK: usize = 256 << 10;
/// By the quickest way there is.
const QUICK: i32 = 1;
/// Compressed bytes of notes that are kept. Half a million headers take some 20 MiB.
const MOST: usize = 24 << 20;

/// A reader that passes everything on and notes what a recipe needs.
pub(crate) struct RecipeTap<R> {
    inner: R,
    pieces: Vec<Piece>,
    /// What was noted last, and how much of it has its piece.
    raw: Vec<u8>,
    told: usize,
    notes: Notes,
    state: State,
    extension: Extension,
}

enum State {
    /// Collecting a header block; its bytes so far are the last of `raw`.
    Header(usize),
    /// Inside something that is noted as it stands, so many bytes to go; when `keep`, a copy goes to the extension.
    Plain { left: u64, keep: Option<u8>, start: usize },
    /// Inside the body of a file.
    Body { left: u64, padding: u64, path: Vec<u8>, size: u64, hasher: Box<blake3::Hasher> },
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

enum Piece {
    /// So many bytes of the notes.
    Raw(u64),
    File {
        path: Vec<u8>,
        size: u64,
        content: [u8; 32],
    },
}

/// Bytes noted as they stand, compressed.
#[derive(Default)]
struct Notes {
    chunks: Vec<Vec<u8>>,
    packed: usize,
    /// They became too many, or could not be compressed.
    lost: bool,
}

/// What a tap noted, not yet checked against the unpacked files.
pub(crate) struct Draft {
    pieces: Vec<Piece>,
    notes: Notes,
}

/// A recipe whose files are all there.
pub(crate) struct Recipe {
    pieces: Vec<Piece>,
    notes: Notes,
}

impl Notes {
    fn add(&mut self, bytes: &[u8]) {
        if self.lost {
            return;
        }
        let packed = compress::zstd_encoder(Vec::new(), QUICK).map_err(std::io::Error::other).and_then(|mut encoder| {
            encoder.write_all(bytes)?;
            encoder.finish()
        });
        match packed {
            Ok(packed) if self.packed + packed.len() <= MOST => {
                self.packed += packed.len();
                self.chunks.push(packed);
            }
            _ => *self = Self { lost: true, ..Self::default() },
        }
    }

    /// All of them, in order.
    fn read(&self) -> impl Read + '_ {
        Unpacked { chunks: self.chunks.iter(), current: std::io::Cursor::new(Vec::new()) }
    }
}

/// The notes, chunk by chunk.
struct Unpacked<'a> {
    chunks: std::slice::Iter<'a, Vec<u8>>,
    current: std::io::Cursor<Vec<u8>>,
}

impl Read for Unpacked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(chunk) = self.chunks.next() else { return Ok(0) };
            let mut plain = Vec::with_capacity(CHUNK);
            compress::decoder(chunk.as_slice(), &Limits::default()).map_err(std::io::Error::other)?.1.read_to_end(&mut plain)?;
            self.current = std::io::Cursor::new(plain);
        }
    }
}

impl<R: Read> RecipeTap<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            pieces: Vec::new(),
            raw: Vec::new(),
            told: 0,
            notes: Notes::default(),
            state: State::Header(0),
            extension: Extension::default(),
        }
    }

    /// Ends the taking of notes.
    pub(crate) fn finish(mut self) -> Draft {
        // A body that broke off has been reported by the unpacker; the draft is then thrown away.
        self.pack();
        Draft { pieces: self.pieces, notes: self.notes }
    }

    /// Says that what was noted since the last piece comes here.
    fn flush_raw(&mut self) {
        let noted = (self.raw.len() - self.told) as u64;
        self.told = self.raw.len();
        match self.pieces.last_mut() {
            _ if noted == 0 => {}
            Some(Piece::Raw(length)) => *length += noted,
            _ => self.pieces.push(Piece::Raw(noted)),
        }
    }

    /// Compresses what was noted last. Never between the beginning of an extended header and its end, which are looked at as they stand.
    fn pack(&mut self) {
        self.flush_raw();
        if !self.raw.is_empty() {
            self.notes.add(&self.raw);
            self.raw.clear();
            self.told = 0;
        }
        if self.notes.lost {
            self.pieces = Vec::new();
        }
    }

    fn note(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let state = std::mem::replace(&mut self.state, State::Lost);
            let (state, used) = self.step(state, bytes);
            self.state = state;
            bytes = &bytes[used..];
            let may_pack = matches!(self.state, State::Header(0) | State::Plain { keep: None, .. } | State::Body { .. } | State::Lost);
            if self.raw.len() >= CHUNK && may_pack {
                self.pack();
            }
        }
    }

    /// Takes as much of `bytes` as belongs to the current part.
    fn step(&mut self, state: State, bytes: &[u8]) -> (State, usize) {
        match state {
            State::Lost => {
                self.raw.extend_from_slice(bytes);
                (State::Lost, bytes.len())
            }
            State::Header(filled) => {
                let used = bytes.len().min(BLOCK - filled);
                self.raw.extend_from_slice(&bytes[..used]);
                if filled + used < BLOCK { (State::Header(filled + used), used) } else { (self.after_header(), used) }
            }
            State::Plain { left, keep, start } => {
                let used = shorter(bytes, left);
                self.raw.extend_from_slice(&bytes[..used]);
                let left = left - used as u64;
                if left > 0 {
                    return (State::Plain { left, keep, start }, used);
                }
                if let Some(flag) = keep {
                    self.take_extension(flag, start);
                }
                (State::Header(0), used)
            }
            State::Body { left, padding, path, size, mut hasher } => {
                let used = shorter(bytes, left);
                hasher.update(&bytes[..used]);
                let left = left - used as u64;
                if left > 0 {
                    return (State::Body { left, padding, path, size, hasher }, used);
                }
                self.flush_raw();
                if !self.notes.lost {
                    self.pieces.push(Piece::File { path, size, content: *hasher.finalize().as_bytes() });
                }
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
        State::Body { left: size, padding: size.wrapping_neg() % BLOCK as u64, path, size, hasher: Box::default() }
    }

    fn plain(&self, size: u64, keep: Option<u8>) -> State {
        let left = size + size.wrapping_neg() % BLOCK as u64;
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

impl Draft {
    /// Checks every body against the index of what was unpacked; `None` when one of them is nowhere any more.
    pub(crate) fn resolve(self, index: &LayerIndex) -> Result<Option<Recipe>> {
        if self.notes.lost {
            return Ok(None);
        }
        let mut by_content: Option<HashMap<[u8; 32], Vec<u8>>> = None;
        let mut pieces = self.pieces;
        for piece in &mut pieces {
            let Piece::File { path, content, .. } = piece else { continue };
            let found = index.lookup(path)?;
            if matches!(found.as_deref(), Some(IndexEntry { node: Node::File { content: found, .. }, .. }) if *found == *content) {
                continue;
            }
            // Of use for archives only that name a file twice: what the former one was may still be somewhere else.
            let paths = match &by_content {
                Some(paths) => paths,
                None => by_content.insert(contents(index)?),
            };
            let Some(elsewhere) = paths.get(content) else { return Ok(None) };
            path.clone_from(elsewhere);
        }
        Ok(Some(Recipe { pieces, notes: self.notes }))
    }
}

fn contents(index: &LayerIndex) -> Result<HashMap<[u8; 32], Vec<u8>>> {
    let mut paths = HashMap::new();
    for entry in index {
        let entry = entry?;
        if let Node::File { content, .. } = entry.node {
            paths.entry(content).or_insert_with(|| entry.path.clone());
        }
    }
    Ok(paths)
}

impl Recipe {
    /// The recipe as it stands on disk.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let encoder = compress::zstd_encoder(MAGIC.to_vec(), LEVEL)?;
        // Many pieces are some bytes long: the encoder is asked for larger ones.
        let mut out = std::io::BufWriter::with_capacity(CHUNK, encoder);
        self.write(&mut out).doing(|| "compress recipe".to_owned())?;
        let encoder = out.into_inner().map_err(std::io::IntoInnerError::into_error).doing(|| "compress recipe".to_owned())?;
        encoder.finish().doing(|| "compress recipe".to_owned())
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut notes = self.notes.read();
        for piece in &self.pieces {
            match piece {
                Piece::Raw(length) => {
                    out.write_all(&[RAW])?;
                    out.write_all(&length.to_le_bytes())?;
                    std::io::copy(&mut (&mut notes).take(*length), out)?;
                }
                Piece::File { path, size, .. } => {
                    out.write_all(&[FILE])?;
                    out.write_all(&(path.len() as u64).to_le_bytes())?;
                    out.write_all(path)?;
                    out.write_all(&size.to_le_bytes())?;
                }
            }
        }
        Ok(())
    }
}

/// Writes the tar again: `recipe` are the bytes of the recipe file, `root` the layer's folder.
pub(crate) fn replay(recipe: &[u8], root: &Root, out: &mut dyn Write) -> Result<()> {
    let damaged = || Error::corrupt("recipe of a layer", "it breaks off or is not one");
    let packed = recipe.strip_prefix(MAGIC.as_slice()).ok_or_else(damaged)?;
    let mut plain = compress::decoder(packed, &Limits::default())?.1;
    let mut tag = [0];
    loop {
        match plain.read(&mut tag).doing(|| "read recipe".to_owned())? {
            0 => return Ok(()),
            _ if tag[0] == RAW => {
                let length = read_number(&mut plain)?;
                let copied = std::io::copy(&mut (&mut plain).take(length), out).doing(|| "write layer tar".to_owned())?;
                if copied != length {
                    return Err(damaged());
                }
            }
            _ if tag[0] == FILE => {
                let length = read_number(&mut plain)?;
                let mut path = Vec::new();
                (&mut plain).take(length.min(1 << 16)).read_to_end(&mut path).doing(|| "read recipe".to_owned())?;
                let size = read_number(&mut plain)?;
                copy_file(root, &path, size, out)?;
            }
            _ => return Err(damaged()),
        }
    }
}

fn copy_file(root: &Root, path: &[u8], size: u64, out: &mut dyn Write) -> Result<()> {
    let path = Path::new(OsStr::from_bytes(path));
    let file = root.open_regular(path).doing(|| format!("open {path:?} of a layer"))?;
    let copied = std::io::copy(&mut file.take(size), out).doing(|| "write layer tar".to_owned())?;
    if copied != size {
        return Err(Error::corrupt(format!("file {path:?} of a layer"), format!("it has {copied} bytes instead of {size}")));
    }
    Ok(())
}

fn read_number(plain: &mut impl Read) -> Result<u64> {
    let mut bytes = [0; 8];
    plain.read_exact(&mut bytes).doing(|| "read recipe".to_owned())?;
    Ok(u64::from_le_bytes(bytes))
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
