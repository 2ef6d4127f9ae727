//! The file form of the index; drawn at the head of `index.rs`.

use std::collections::BTreeMap;

use super::{IndexEntry, Node};
use crate::Error;

const MAGIC: &[u8; 5] = b"SWLX\x01";
const CHECKSUM: usize = 32;

pub(super) fn encode(entries: &[IndexEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 80 + 64);
    out.extend_from_slice(MAGIC);
    number(&mut out, entries.len() as u64);
    let mut before: &[u8] = b"";
    for entry in entries {
        let shared = entry.path.iter().zip(before).take_while(|(a, b)| a == b).count();
        number(&mut out, shared as u64);
        bytes(&mut out, &entry.path[shared..]);
        before = &entry.path;
        encode_entry(&mut out, entry);
    }
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    out
}

fn encode_entry(out: &mut Vec<u8>, entry: &IndexEntry) {
    out.push(match entry.node {
        Node::Whiteout => 0,
        Node::Directory { .. } => 1,
        Node::File { .. } => 2,
        Node::Symlink { .. } => 3,
        Node::CharDevice(..) => 4,
        Node::BlockDevice(..) => 5,
        Node::Fifo => 6,
    });
    for value in [entry.mode, entry.uid, entry.gid] {
        number(out, value.into());
    }
    number(out, entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        bytes(out, name);
        bytes(out, value);
    }
    match &entry.node {
        Node::Whiteout | Node::Fifo => {}
        Node::Directory { opaque } => out.push((*opaque).into()),
        Node::File { size, content, hardlink } => {
            number(out, *size);
            out.extend_from_slice(content);
            bytes(out, hardlink.as_deref().unwrap_or(b""));
        }
        Node::Symlink { target } => bytes(out, target),
        Node::CharDevice(major, minor) | Node::BlockDevice(major, minor) => {
            number(out, (*major).into());
            number(out, (*minor).into());
        }
    }
}

pub(super) fn decode(file: &[u8]) -> Result<Vec<IndexEntry>, Error> {
    let corrupt = |problem: &str| Error::Corrupt { what: "layer index", problem: problem.to_owned() };
    if file.len() < MAGIC.len() + CHECKSUM || !file.starts_with(MAGIC) {
        return Err(corrupt("it is cut off or of another version"));
    }
    let (content, checksum) = file.split_at(file.len() - CHECKSUM);
    if blake3::hash(content).as_bytes() != checksum {
        return Err(corrupt("the checksum does not match"));
    }
    // A right checksum does not make a right file: whoever can write the disk can compute one.
    let mut reader = Reader(&content[MAGIC.len()..]);
    reader.entries().filter(|_| reader.0.is_empty()).ok_or_else(|| corrupt("the entries are malformed"))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn entries(&mut self) -> Option<Vec<IndexEntry>> {
        let count = self.number()?;
        // An entry takes at least seven bytes, so the count cannot make us reserve more than the file explains.
        if count > self.0.len() as u64 / 7 {
            return None;
        }
        let mut entries: Vec<IndexEntry> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let shared = usize::try_from(self.number()?).ok()?;
            let before = entries.last().map_or(&b""[..], |entry| &entry.path);
            let path = [before.get(..shared)?, self.bytes()?].concat();
            entries.push(self.entry(path)?);
        }
        Some(entries)
    }

    fn entry(&mut self, path: Vec<u8>) -> Option<IndexEntry> {
        let kind = self.byte()?;
        let (mode, uid, gid) = (self.small()?, self.small()?, self.small()?);
        let mut xattrs = BTreeMap::new();
        for _ in 0..self.number()? {
            xattrs.insert(self.bytes()?.to_vec(), self.bytes()?.to_vec());
        }
        let node = match kind {
            0 => Node::Whiteout,
            1 => Node::Directory {
                opaque: match self.byte()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                },
            },
            2 => Node::File {
                size: self.number()?,
                content: self.take(32)?.try_into().ok()?,
                hardlink: Some(self.bytes()?.to_vec()).filter(|path| !path.is_empty()),
            },
            3 => Node::Symlink { target: self.bytes()?.to_vec() },
            4 => Node::CharDevice(self.small()?, self.small()?),
            5 => Node::BlockDevice(self.small()?, self.small()?),
            6 => Node::Fifo,
            _ => return None,
        };
        (mode <= 0o7777).then_some(IndexEntry { path, node, mode, uid, gid, xattrs })
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte has room for one bit only.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, text: &[u8]) {
    number(out, text.len() as u64);
    out.extend_from_slice(text);
}
