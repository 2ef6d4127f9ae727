//! "This is gone": as names in a tar, and as inodes in an overlay upper folder.
//!
//! In a tar `.wh.NAME` removes NAME of the layers below, `.wh..wh..opq` hides all that the layers below have in its folder, and other names that start
//! with `.wh..wh.` are bookkeeping of AUFS. In an upper folder a character device 0:0 removes, and `trusted.overlay.opaque` = `y` hides.
//!
//! What must stay true: nobody but us makes the second form, so a tar that brings a device 0:0 or an overlay attribute is refused.
//!
//! Source: OCI image-spec 1.1 layer.md, "Whiteouts"; kernel overlayfs.rst, "whiteouts and opaque directories".

use shipway_sys::path::{Dir, FileKind, Metadata};
use std::ffi::OsStr;

use crate::Error;

/// Prefix of a whiteout in a tar.
pub const PREFIX: &[u8] = b".wh.";
/// Name of an opaque mark in a tar.
pub const OPAQUE: &[u8] = b".wh..wh..opq";
/// Attribute of an opaque folder in an upper folder.
pub const OPAQUE_XATTR: &[u8] = b"trusted.overlay.opaque";
/// Prefixes of the attributes by which overlayfs is steered.
const OVERLAY_XATTRS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// What a name in a layer tar means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark<'a> {
    /// An ordinary name.
    None,
    /// Removes this name.
    Whiteout(&'a [u8]),
    /// Hides what is below in the same folder.
    Opaque,
    /// AUFS bookkeeping, to be skipped.
    Aufs,
    /// Looks like a whiteout of `.`, `..` or nothing.
    Invalid,
}

/// Tells what the last component `name` means.
pub fn mark(name: &[u8]) -> Mark<'_> {
    match name.strip_prefix(PREFIX) {
        None => Mark::None,
        Some(_) if name == OPAQUE => Mark::Opaque,
        Some(b"" | b"." | b"..") => Mark::Invalid,
        Some(rest) if rest.starts_with(PREFIX) => Mark::Aufs,
        Some(rest) => Mark::Whiteout(rest),
    }
}

/// True for attributes that steer overlayfs.
pub fn is_overlay_xattr(name: &[u8]) -> bool {
    OVERLAY_XATTRS.iter().any(|prefix| name.starts_with(prefix))
}

/// True for a whiteout in an upper folder.
pub fn is_overlay_whiteout(found: &Metadata) -> bool {
    found.kind == FileKind::CharDevice && found.rdev == (0, 0)
}

/// Makes a whiteout in an upper folder.
pub fn make_overlay_whiteout(folder: &Dir, name: &OsStr) -> Result<(), Error> {
    Ok(folder.create_node(name, FileKind::CharDevice, 0, (0, 0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        for (name, expected) in [
            (&b"a"[..], Mark::None),
            (b".wh", Mark::None),
            (b".wh.a", Mark::Whiteout(b"a")),
            (b".wh..a", Mark::Whiteout(b".a")),
            (b".wh..wh..opq", Mark::Opaque),
            (b".wh..wh.plnk", Mark::Aufs),
            (b".wh..wh.aufs", Mark::Aufs),
            (b".wh.", Mark::Invalid),
            (b".wh..", Mark::Invalid),
            (b".wh...", Mark::Invalid),
            (b".wh....", Mark::Whiteout(b"...")),
        ] {
            assert_eq!(mark(name), expected, "{:?}", String::from_utf8_lossy(name));
        }
    }
}
