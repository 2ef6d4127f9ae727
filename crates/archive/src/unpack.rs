//! From a tar to files below a root handle.
//!
//! `unpack_layer` makes the upper folder of an overlay out of a layer: whiteouts become devices 0:0 and opaque attributes, folders the layer does not
//! mention take owner and mode from the layers below. `unpack_plain` merges a tar into any tree, as `ADD archive.tar /` and an uploaded context do.
//!
//! What must stay true: every step of every path is taken by handle with `O_NOFOLLOW`, symlinks are resolved by us inside the root, whatever is in
//! the archive or changes meanwhile; what is there is removed, never written through; devices 0:0 and overlay attributes from outside are refused.

mod filler;
mod link;
mod metadata;
mod names;
mod noted;
mod place;
mod walk;

use std::fs::File;
use std::io::Read;

use shipway_sys::path::Root;

use crate::index::{IndexEntry, LayerIndex};
use crate::tar::{EntryKind, TarReader};
use crate::{Error, Limits};

/// The layers under the one being unpacked.
pub trait Lower {
    /// What is seen at `path` (clean, relative), no symlink followed.
    fn lookup(&self, path: &[u8]) -> Result<Option<IndexEntry>, Error>;
    /// Opens the file at `path` for reading; none when it is not there.
    fn open(&self, path: &[u8]) -> Result<Option<File>, Error>;
}

/// No layers under it.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLower;

impl Lower for NoLower {
    fn lookup(&self, _path: &[u8]) -> Result<Option<IndexEntry>, Error> {
        Ok(None)
    }

    fn open(&self, _path: &[u8]) -> Result<Option<File>, Error> {
        Ok(None)
    }
}

/// What names like `.wh.x` mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// They remove things of lower layers; written as overlayfs wants it.
    Overlay,
    /// Nothing: they are names.
    Plain,
}

/// Who owns what is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Whom the archive says.
    FromArchive,
    /// This user and group, whatever the archive says (`ADD --chown`, or an unprivileged caller's own).
    Fixed(u32, u32),
}

/// What becomes of a folder in the way of a file, and the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherKind {
    /// It gives way.
    Replaced,
    /// The archive is refused there.
    Refused,
}

/// How to unpack.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Owners.
    pub ownership: Ownership,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Options { ownership: Ownership::FromArchive, limits: Limits::default() }
    }
}

/// What was unpacked.
#[derive(Debug)]
pub struct UnpackSummary {
    /// Logical bytes of all files written.
    pub bytes: u64,
    /// Entries read from the archive.
    pub entries: u64,
    /// Attributes that this filesystem or our rights did not take (e.g. `security.selinux`).
    pub skipped_xattrs: u64,
}

/// Unpacks a layer (uncompressed; see [`crate::compress::decoder`]) into `root`, an empty folder that is to be the upper folder of an overlay.
///
/// The stream is read to its very end, so a hasher below sees all of it. Beside the summary comes the index of what is in the folder then.
///
/// # Errors
/// Those of [`TarReader`]; `Refused` for what is never done; `Sys`. The folder is then half filled and to be thrown away.
///
/// # Cost
/// Four system calls per file (open, write, times, close); about 2 s for 50,000 files on ext4, 0.6 s in memory. Some 20 MiB of memory at most, however
/// many entries there are; what is more goes to unnamed files in `root`.
///
/// # Source
/// OCI image-spec 1.1 layer.md. A whiteout never affects entries of its own layer, whatever the order.
pub fn unpack_layer(reader: impl Read, root: &Root, lower: &dyn Lower, options: &Options) -> Result<(UnpackSummary, LayerIndex), Error> {
    let mut placing = place::Placing::new(root, lower, options.ownership, Whiteouts::Overlay)?;
    place_all(reader, &mut placing, options)?;
    placing.finish_layer()
}

/// Unpacks a tar into the tree below `root`; of what is there folders are kept and filled, everything else in the way is replaced.
///
/// An entry for the root itself is ignored, as Docker does. Owner and mode of folders that the archive does not mention are 0:0 and 0755.
///
/// # Errors
/// As [`unpack_layer`].
pub fn unpack_plain(reader: impl Read, root: &Root, options: &Options) -> Result<UnpackSummary, Error> {
    let mut placing = place::Placing::new(root, &NoLower, options.ownership, Whiteouts::Plain)?;
    place_all(reader, &mut placing, options)?;
    placing.finish()
}

/// As [`unpack_plain`], but an entry for the root itself gives it its owner, mode, attributes and time: what was packed whole comes back whole.
///
/// # Errors
/// As [`unpack_layer`].
pub fn unpack_whole(reader: impl Read, root: &Root, options: &Options) -> Result<UnpackSummary, Error> {
    let mut placing = place::Placing::new(root, &NoLower, options.ownership, Whiteouts::Plain)?;
    placing.top = place::Top::AtTheEnd(None);
    place_all(reader, &mut placing, options)?;
    placing.finish()
}

/// Unpacks a tar into the folder `base` (clean, as it is seen from `root`) of a running or stopped container: symlinks on the way of an entry lead
/// where a process in the container would be led. An entry for the archive's own top gives `base` its owner, mode and time.
///
/// # Errors
/// As [`unpack_layer`]; `Refused` in Docker's words where `other_kind` says so.
pub fn unpack_beneath(
    reader: impl Read,
    root: &Root,
    base: &[u8],
    other_kind: OtherKind,
    options: &Options,
) -> Result<UnpackSummary, Error> {
    let mut tar = TarReader::new(reader, options.limits);
    let mut placing = place::Placing::new(root, &NoLower, options.ownership, Whiteouts::Plain)?;
    placing.other_kind = other_kind;
    while let Some(mut entry) = tar.next()? {
        beneath(&mut entry.path, base);
        if entry.kind == EntryKind::Hardlink {
            beneath(&mut entry.link, base);
        }
        placing.place(&entry, &mut tar)?;
    }
    tar.drain()?;
    placing.finish()
}

/// Puts `base` before a name whose own dots were taken out, so that they cannot lead out of it.
fn beneath(name: &mut Vec<u8>, base: &[u8]) {
    let mut whole = base.to_vec();
    if let Some((parent, last)) = place::clean(name) {
        for part in [parent, last] {
            if !part.is_empty() {
                whole.push(b'/');
                whole.extend(part);
            }
        }
    }
    // The archive's top in the container's top: "." means the root, which is left alone.
    *name = if whole.is_empty() { b".".to_vec() } else { whole };
}

fn place_all(reader: impl Read, placing: &mut place::Placing<'_>, options: &Options) -> Result<(), Error> {
    let mut tar = TarReader::new(reader, options.limits);
    while let Some(entry) = tar.next()? {
        placing.place(&entry, &mut tar)?;
    }
    tar.drain()
}
