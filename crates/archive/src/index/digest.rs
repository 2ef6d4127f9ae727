//! Merkle digests over index entries.
//!
//! Every field is preceded by its length or has a fixed one, so no two different entries feed the same bytes. Names are hashed by the folder, not by
//! the entry: a file has the same digest wherever it lies, which is what a `COPY` wants to know.

use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};

use super::{ContentDigest, IndexEntry, Node};

/// What these digests are told apart from all others by; derived once, because deriving costs as much as an entry.
static CONTEXT: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context("shipway 2026 tree entry v1"));

/// Digest of an entry that is not a folder.
pub(crate) fn leaf(entry: &IndexEntry) -> ContentDigest {
    finish(header(entry, false))
}

/// Digest of a folder, `children` being name and digest of each thing in it, sorted by name.
pub(crate) fn folder<'a>(entry: &IndexEntry, children: impl Iterator<Item = (&'a [u8], ContentDigest)>) -> ContentDigest {
    folder_of(header(entry, false), children)
}

fn folder_of<'a>(mut hasher: blake3::Hasher, children: impl Iterator<Item = (&'a [u8], ContentDigest)>) -> ContentDigest {
    for (name, digest) in children {
        text(&mut hasher, name);
        hasher.update(&digest);
    }
    finish(hasher)
}

/// Digests of all entries of a layer, marks included. `entries` are sorted as `LayerIndex` has them.
pub(super) fn all(entries: &[IndexEntry]) -> Vec<ContentDigest> {
    let mut digests = vec![[0; 32]; entries.len()];
    // Going backwards, everything in a folder is done before the folder; its children wait here, last name first.
    let mut waiting: Vec<usize> = Vec::new();
    for at in (0..entries.len()).rev() {
        let entry = &entries[at];
        if !entry.is_dir() {
            digests[at] = finish(header(entry, true));
            waiting.push(at);
            continue;
        }
        let mut children = Vec::new();
        while let Some(child) = waiting.last().copied().filter(|child| super::is_within(&entries[*child].path, &entry.path)) {
            waiting.pop();
            children.push((entries[child].name(), digests[child]));
        }
        digests[at] = folder_of(header(entry, true), children.into_iter());
        waiting.push(at);
    }
    digests
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

fn finish(hasher: blake3::Hasher) -> ContentDigest {
    *hasher.finalize().as_bytes()
}
