//! Merkle digests over index entries.
//!
//! Every field is preceded by its length or has a fixed one, so no two different entries feed the same bytes. Names are hashed by the folder, not by
//! the entry: a file has the same digest wherever it lies, which is what a `COPY` wants to know.

use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};

use super::entry::{ContentDigest, IndexEntry, Node, parent};

/// What these digests are told apart from all others by; derived once, because deriving costs as much as an entry.
static CONTEXT: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context("shipway 2026 tree entry v1"));

/// Whether the marks that mean something in a stack of layers only, opaque folders, are part of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// Of a layer.
    Count,
    /// Of a tree, however many layers it is spread over.
    Ignored,
}

/// Takes a folder and all below it, in the order of an index, and gives the digest of the folder.
///
/// # Cost
/// Two KiB for each folder on the way to the entry taken last.
pub(crate) struct Digester {
    marks: Marks,
    open: Vec<Folder>,
    whole: Option<ContentDigest>,
}

/// A folder of which something may still come.
struct Folder {
    path: Vec<u8>,
    hasher: blake3::Hasher,
}

impl Digester {
    pub(crate) fn new(marks: Marks) -> Self {
        Self { marks, open: Vec::new(), whole: None }
    }

    /// Takes the next entry.
    pub(crate) fn take(&mut self, entry: &IndexEntry) {
        let folder = parent(&entry.path);
        while self.open.last().is_some_and(|open| open.path != folder) {
            self.close();
        }
        let hasher = header(entry, self.marks == Marks::Count);
        if entry.is_dir() {
            self.open.push(Folder { path: entry.path.clone(), hasher });
        } else {
            self.told(entry.name(), finish(&hasher));
        }
    }

    /// The digest of the first entry that was taken; none without one.
    pub(crate) fn finish(mut self) -> Option<ContentDigest> {
        while !self.open.is_empty() {
            self.close();
        }
        self.whole
    }

    fn close(&mut self) {
        if let Some(Folder { path, hasher }) = self.open.pop() {
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            self.told(name, finish(&hasher));
        }
    }

    fn told(&mut self, name: &[u8], digest: ContentDigest) {
        match self.open.last_mut() {
            Some(Folder { hasher, .. }) => {
                text(hasher, name);
                hasher.update(&digest);
            }
            None => self.whole = Some(digest),
        }
    }
}

/// Feeds everything but names; `marks` says whether an opaque folder differs from a plain one.
fn header(entry: &IndexEntry, marks: bool) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_from_context_key(&CONTEXT);
    let kind = match &entry.node {
        Node::Whiteout => 0,
        Node::Directory { opaque } => 1 | u8::from(*opaque && marks) << 7,
        Node::File { .. } => 2,
        Node::Symlink { .. } => 3,
        Node::CharDevice(..) => 4,
        Node::BlockDevice(..) => 5,
        Node::Fifo => 6,
    };
    hasher.update(&[kind]);
    for number in [entry.mode, entry.uid, entry.gid] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&(entry.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &entry.xattrs {
        text(&mut hasher, name);
        text(&mut hasher, value);
    }
    match &entry.node {
        Node::File { size, content, .. } => {
            hasher.update(&size.to_le_bytes());
            hasher.update(content);
        }
        Node::Symlink { target } => text(&mut hasher, target),
        Node::CharDevice(major, minor) | Node::BlockDevice(major, minor) => {
            hasher.update(&major.to_le_bytes());
            hasher.update(&minor.to_le_bytes());
        }
        Node::Whiteout | Node::Directory { .. } | Node::Fifo => {}
    }
    hasher
}

fn text(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn finish(hasher: &blake3::Hasher) -> ContentDigest {
    *hasher.finalize().as_bytes()
}
