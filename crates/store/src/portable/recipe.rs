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
//! another file has the same content; then the layer has no recipe. Nor has a layer that is mostly not files (see [`draft::ROOM`]).
//!
//! ```text
//! tap ----> draft ----> <folder>/recipe         in its final form, while the tar passes
//!             \-------> claims                  path and digest of every body, compared with the index of what was unpacked at the end
//! ```
//!
//! What must stay true: whatever the archive, its recipe costs some buffers and one encoder of memory (2 to 4 MiB), when it is made and when it is
//! read; what grows with the archive is on the disk. A recipe that is read is believed in nothing.

mod claims;
mod draft;
mod moved;
mod pieces;
mod tap;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io::{Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use shipway_sys::path::Root;

use crate::error::Doing as _;
use crate::{Error, Result};

pub(crate) use draft::Draft;
pub(crate) use tap::RecipeTap;

use pieces::{Piece, PieceReader, damaged};

/// Writes the tar of `size` bytes again: `recipe` is the recipe file, `root` the layer's folder.
///
/// # Errors
/// `Corrupt` when the recipe breaks off, is none, or tells of more bytes than the tar had; the caller compares the digest.
pub(crate) fn replay(recipe: &Path, size: u64, root: &Root, out: &mut dyn Write) -> Result<()> {
    let mut pieces = PieceReader::open(recipe)?;
    let mut left = size;
    while let Some(piece) = pieces.next()? {
        left = left.checked_sub(piece.length()).ok_or_else(damaged)?;
        match piece {
            Piece::Raw(length) => pieces.copy_raw(length, out)?,
            Piece::File { path, size } => copy_file(root, &path, size, out)?,
        }
    }
    Ok(())
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
