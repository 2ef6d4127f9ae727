//! Entries as bytes; drawn at the head of `index.rs`.

use std::collections::BTreeMap;

use super::blocks::Record;
use super::entry::{IndexEntry, Node};

impl Record for IndexEntry {
    fn path(&self) -> &[u8] {
        &self.path
    }

    fn weight(&self) -> usize {
        /// What the allocator adds to an allocation.
        const BLOCK: usize = 16;
        let node = match &self.node {
            Node::File { hardlink: Some(other), .. } | Node::Symlink { target: other } => other.len() + BLOCK,
            _ => 0,
        };
        let xattrs: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len() + 8 * BLOCK).sum();
        size_of::<Self>() + self.path.len() + BLOCK + node + xattrs
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.node {
            Node::Whiteout => 0,
            Node::Directory { .. } => 1,
            Node::File { .. } => 2,
            Node::Symlink { .. } => 3,
            Node::CharDevice(..) => 4,
            Node::BlockDevice(..) => 5,
            Node::Fifo => 6,
        });
        for value in [self.mode, self.uid, self.gid] {
            number(out, value.into());
        }
        number(out, self.xattrs.len() as u64);
        for (name, value) in &self.xattrs {
            bytes(out, name);
            bytes(out, value);
        }
        match &self.node {
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

    fn decode(path: Vec<u8>, reader: &mut Reader<'_>) -> Option<Self> {
        let kind = reader.byte()?;
        let (mode, uid, gid) = (reader.small()?, reader.small()?, reader.small()?);
        let mut xattrs = BTreeMap::new();
        for _ in 0..reader.number()? {
            xattrs.insert(reader.bytes()?.to_vec(), reader.bytes()?.to_vec());
        }
        let node = match kind {
            0 => Node::Whiteout,
            1 => Node::Directory { opaque: reader.flag()? },
            2 => Node::File {
                size: reader.number()?,
                content: reader.take(32)?.try_into().ok()?,
                hardlink: Some(reader.bytes()?.to_vec()).filter(|path| !path.is_empty()),
            },
            3 => Node::Symlink { target: reader.bytes()?.to_vec() },
            4 => Node::CharDevice(reader.small()?, reader.small()?),
            5 => Node::BlockDevice(reader.small()?, reader.small()?),
            6 => Node::Fifo,
            _ => return None,
        };
        (mode <= 0o7777).then_some(IndexEntry { path, node, mode, uid, gid, xattrs })
    }
}

/// Reads numbers and texts; everything is none when they are not there whole.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
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

    pub(crate) fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }
}

/// A number, seven bits to a byte, the lowest first.
pub(crate) fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A text behind its length.
pub(crate) fn bytes(out: &mut Vec<u8>, text: &[u8]) {
    number(out, text.len() as u64);
    out.extend_from_slice(text);
}
