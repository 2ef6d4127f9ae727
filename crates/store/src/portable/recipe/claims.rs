//! Claims: which content each body of the tar had when it passed, to be compared with what stands under its path in the end.
//!
//! The first half megabyte is kept in memory, which is all of most layers; the rest lies in a file without a name in the folder being filled. Claims never
//! outlive the taking in of their layer.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, Write as _};
use std::path::PathBuf;

use shipway_archive::index::ContentDigest;
use shipway_sys::path::Root;

/// Bytes kept in memory.
pub(super) const HELD: usize = 512 << 10;
/// Read at once.
const BUFFER: usize = 64 << 10;

/// All claims of a tar, in its order: `length:u32 path content(32)` each.
pub(super) struct Claims {
    folder: PathBuf,
    held: Vec<u8>,
    spilled: Option<File>,
}

/// One of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) path: Vec<u8>,
    pub(super) content: ContentDigest,
}

/// All of them once more.
pub(super) struct ClaimReader<'a> {
    from: Box<dyn BufRead + 'a>,
}

impl Claims {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, held: Vec::new(), spilled: None }
    }

    pub(super) fn add(&mut self, path: &[u8], content: &ContentDigest) -> std::io::Result<()> {
        if self.held.len() + 4 + path.len() + content.len() > HELD {
            self.spill()?;
        }
        let length = u32::try_from(path.len()).map_err(std::io::Error::other)?;
        self.held.extend_from_slice(&length.to_le_bytes());
        self.held.extend_from_slice(path);
        self.held.extend_from_slice(content);
        Ok(())
    }

    fn spill(&mut self) -> std::io::Result<()> {
        let file = match &mut self.spilled {
            Some(file) => file,
            None => {
                let folder = Root::open(&self.folder).and_then(|root| root.top())?;
                self.spilled.insert(folder.unnamed_file()?)
            }
        };
        file.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }

    pub(super) fn read(&mut self) -> std::io::Result<ClaimReader<'_>> {
        let held = self.held.as_slice();
        let from: Box<dyn BufRead + '_> = match &mut self.spilled {
            Some(file) => {
                file.rewind()?;
                Box::new(BufReader::with_capacity(BUFFER, file).chain(held))
            }
            None => Box::new(held),
        };
        Ok(ClaimReader { from })
    }

    #[cfg(test)]
    pub(super) fn is_spilled(&self) -> bool {
        self.spilled.is_some()
    }
}

impl ClaimReader<'_> {
    /// Reads the next one into `claim`; false at the end.
    pub(super) fn next(&mut self, claim: &mut Claim) -> std::io::Result<bool> {
        if self.from.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let mut length = [0; 4];
        self.from.read_exact(&mut length)?;
        claim.path.resize(u32::from_le_bytes(length) as usize, 0);
        self.from.read_exact(&mut claim.path)?;
        self.from.read_exact(&mut claim.content)?;
        Ok(true)
    }
}
