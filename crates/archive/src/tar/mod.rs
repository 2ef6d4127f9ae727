//! Tar as container layers use it: ustar with PAX, GNU names, numbers and sparse maps understood when reading.
//!
//! `header` is one block, `pax` the extended records, `overrides` what they change, `sparse` the maps of holes, `read` and `write` the streams.

pub mod header;
mod overrides;
pub mod pax;
pub mod read;
pub(crate) mod sparse;
pub mod write;

use std::collections::BTreeMap;

use shipway_sys::path::Time;

pub use read::TarReader;
pub use write::TarWriter;

/// Size of everything in tar.
pub const BLOCK: usize = 512;

/// Kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// A file with content.
    Regular,
    /// A further name of an earlier entry (`link`).
    Hardlink,
    /// A symlink with the text `link`.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A folder.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry of a tar, with everything that its header and extended headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as it stands in the archive; bytes, not always UTF-8, never empty and without NUL.
    pub path: Vec<u8>,
    /// The kind.
    pub kind: EntryKind,
    /// Logical size in bytes, holes included; 0 for all but regular files.
    pub size: u64,
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of content.
    pub mtime: Time,
    /// Target of a symlink or hard link, else empty.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Name of the owner; never used for anything.
    pub uname: Vec<u8>,
    /// Name of the group; never used for anything.
    pub gname: Vec<u8>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the data of a sparse file lies; empty for a file without holes.
    pub sparse: Vec<Segment>,
}

impl Entry {
    /// A plain entry of the superuser from 1970.
    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind) -> Entry {
        Entry {
            path: path.into(),
            kind,
            size: 0,
            mode: if kind == EntryKind::Directory { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            link: Vec::new(),
            device: (0, 0),
            uname: Vec::new(),
            gname: Vec::new(),
            xattrs: BTreeMap::new(),
            sparse: Vec::new(),
        }
    }
}

/// A stretch of data in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// How many bytes of padding follow `size` bytes of body.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
