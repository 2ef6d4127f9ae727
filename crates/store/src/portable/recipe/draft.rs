//! A recipe in the making: written while the tar passes, checked against the unpacked files in the end.

use std::path::{Path, PathBuf};

use shipway_archive::index::{ContentDigest, LayerIndex};

use super::claims::{Claim, Claims};
use super::moved::Moved;
use super::pieces::{Piece, PieceReader, PieceWriter, damaged};
use crate::error::Doing as _;
use crate::layers::TarSource;
use crate::{Error, Result};

/// Name of the recipe in the folder of its layer.
const NAME: &str = "recipe";

/// How large a recipe may be on the disk, compressed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// As much as this is fine for any layer.
    pub(super) always: u64,
    /// Beyond it, one byte for so many bytes of the tar that have passed.
    pub(super) share: u64,
    /// But never more.
    pub(super) most: u64,
}

/// A header of 512 bytes takes 25 to 60 bytes of a recipe, so an eighth of the tar is more than headers and paths ever take, and the five million files that
/// an archive may have fit into the whole. What exceeds it is an archive whose bytes are mostly not files (noise behind its end, large sparse files): the
/// machine would keep them twice.
pub(super) const ROOM: Room = Room { always: 24 << 20, share: 8, most: 512 << 20 };

/// A recipe in the making.
pub(crate) struct Draft {
    path: PathBuf,
    room: Room,
    /// None once there is to be no recipe.
    open: Option<Open>,
    /// What went wrong with the disk.
    trouble: Option<std::io::Error>,
    passed: u64,
}

struct Open {
    out: PieceWriter,
    claims: Claims,
}

impl Draft {
    /// Starts a recipe in `folder`, that of a layer being taken in.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        Self::with_room(folder, ROOM)
    }

    pub(super) fn with_room(folder: &Path, room: Room) -> Result<Self> {
        let path = folder.join(NAME);
        let open = Some(Open { out: PieceWriter::create(&path)?, claims: Claims::new(folder.to_owned()) });
        Ok(Self { path, room, open, trouble: None, passed: 0 })
    }

    /// Whether there is still something to note.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// So many bytes of the tar have passed and are noted.
    pub(super) fn pass(&mut self, count: usize) {
        self.passed += count as u64;
        if self.open.as_ref().is_some_and(|open| open.out.written() > self.allowed()) {
            self.give_up();
        }
    }

    /// Notes bytes as they stand.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.attempt(|open| open.out.raw(bytes));
        }
    }

    /// Notes that here comes the body of `path`.
    pub(super) fn file(&mut self, path: &[u8], size: u64, content: &ContentDigest) {
        self.attempt(|open| {
            open.out.file(path, size)?;
            open.claims.add(path, content)
        });
    }

    /// Checks every body against the index of what was unpacked. `Lost` when one of them is nowhere any more or the recipe became too large; the file is
    /// gone then.
    ///
    /// # Errors
    /// Of the disk, also those that were met on the way.
    ///
    /// # Cost
    /// That of [`Moved::find`]; if a body has to be taken from elsewhere, the recipe is written a second time.
    pub(crate) fn settle(mut self, index: &LayerIndex) -> Result<TarSource> {
        let doing = |path: &Path| format!("write recipe {path:?}");
        let moved = match self.open.take() {
            Some(Open { out, mut claims }) => {
                let size = out.finish().doing(|| doing(&self.path))?;
                if size > self.allowed() { None } else { Moved::find(&mut claims, index)?.map(|moved| (moved, claims)) }
            }
            None => None,
        };
        if moved.is_none() {
            self.give_up();
        }
        if let Some(error) = self.trouble {
            return Err(Error::io(doing(&self.path), &error));
        }
        let Some((moved, mut claims)) = moved else { return Ok(TarSource::Lost) };
        if !moved.is_empty() {
            rewrite(&self.path, &mut claims, &moved)?;
        }
        Ok(TarSource::Recipe)
    }

    #[cfg(test)]
    pub(super) fn has_spilled(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.claims.is_spilled())
    }

    fn allowed(&self) -> u64 {
        self.room.always.saturating_add(self.passed / self.room.share).min(self.room.most)
    }

    fn attempt(&mut self, write: impl FnOnce(&mut Open) -> std::io::Result<()>) {
        let Some(open) = &mut self.open else { return };
        if let Err(error) = write(open) {
            self.trouble = Some(error);
            self.give_up();
        }
    }

    /// There will be no recipe: gives the disk back what it took so far.
    fn give_up(&mut self) {
        self.open = None;
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => self.trouble = self.trouble.take().or(Some(error)),
            _ => {}
        }
    }
}

/// Writes the recipe once more, with other files for what has moved.
fn rewrite(path: &Path, claims: &mut Claims, moved: &Moved) -> Result<()> {
    let doing = || format!("write recipe {path:?} once more");
    let mut former = PieceReader::open(path)?;
    std::fs::remove_file(path).doing(doing)?;
    let mut out = PieceWriter::create(path)?;
    let (mut claim, mut all) = (Claim::default(), claims.read().doing(doing)?);
    while let Some(piece) = former.next()? {
        match piece {
            Piece::Raw(length) => out.raw_from(length, &mut former)?,
            // There is one claim for each of them, in the same order.
            Piece::File { size, .. } if all.next(&mut claim).doing(doing)? => out.file(moved.place(&claim), size).doing(doing)?,
            Piece::File { .. } => return Err(damaged()),
        }
    }
    out.finish().doing(doing)?;
    Ok(())
}
