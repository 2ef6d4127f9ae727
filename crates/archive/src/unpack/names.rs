//! From what was placed to the index of a layer: of an inode with several names the first one in the order of an index is the file, the others say so.

use shipway_sys::path::Dir;

use super::noted::Noted;
use crate::Error;
use crate::index::{IndexBuilder, LayerIndex, Node};

/// An inode that no name of has come yet.
const NONE: u32 = u32::MAX;

/// Takes what was placed, in the order of an index.
pub(super) struct Names<'a> {
    builder: IndexBuilder<'a>,
    /// Number of the entry that is the first name, by inode.
    first: Vec<u32>,
}

impl<'a> Names<'a> {
    /// `inodes` have several names.
    pub(super) fn new(scratch: &'a Dir, inodes: u32) -> Self {
        Self { builder: IndexBuilder::new(scratch), first: vec![NONE; inodes as usize] }
    }

    pub(super) fn take(&mut self, noted: Noted) -> Result<(), Error> {
        let Noted { mut entry, inode, .. } = noted;
        if let (Some(inode), Node::File { hardlink, .. }) = (inode, &mut entry.node)
            && let Some(first) = self.first.get_mut(inode as usize)
        {
            if *first == NONE {
                // Archives have fewer entries than this by their limits.
                *first = u32::try_from(self.builder.count()).unwrap_or(NONE);
            } else {
                *hardlink = Some(self.builder.path_of((*first).into())?);
            }
        }
        self.builder.push(entry)
    }

    pub(super) fn finish(self) -> Result<LayerIndex, Error> {
        self.builder.finish()
    }
}
