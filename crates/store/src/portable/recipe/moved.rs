//! Bodies that are not under their path any more, because the archive named it twice or reached it through a symlink: another file with the same
//! content is as good.

use std::collections::HashMap;

use shipway_archive::index::{ContentDigest, IndexEntry, LayerIndex, Node};

use super::claims::{Claim, Claims};
use crate::Result;
use crate::error::Doing as _;

/// Contents looked for elsewhere, and bytes of the paths where they are found: together some 2 MiB. Archives that name files twice do so with a few.
pub(super) const MOST: usize = 8192;
const MOST_PATH_BYTES: usize = 1 << 20;
/// Bytes of the longest path that can be opened in one call: `PATH_MAX` without its NUL.
pub(super) const LONGEST_PATH: usize = 4095;

/// Where contents are that are not where they were claimed to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moved(HashMap<ContentDigest, Vec<u8>>);

impl Moved {
    /// Compares all claims with what was unpacked; none when a content is nowhere, or too many are not in their place.
    ///
    /// # Cost
    /// One look-up for every claim; one pass over the index if one of them does not hold.
    pub(super) fn find(claims: &mut Claims, index: &LayerIndex) -> Result<Option<Self>> {
        let mut found: HashMap<ContentDigest, Vec<u8>> = HashMap::new();
        let (mut claim, mut all) = (Claim::default(), claims.read().doing(reading)?);
        while all.next(&mut claim).doing(reading)? {
            if !holds(&claim, index)? {
                found.insert(claim.content, Vec::new());
                if found.len() > MOST {
                    return Ok(None);
                }
            }
        }
        let (mut missing, mut bytes) = (found.len(), 0);
        if missing == 0 {
            return Ok(Some(Self::default()));
        }
        for entry in index {
            let entry = entry?;
            let Node::File { content, .. } = &entry.node else { continue };
            // The root is no file, so an empty path says that none was found yet.
            let Some(path) = found.get_mut(content).filter(|path| path.is_empty() && entry.path.len() <= LONGEST_PATH) else { continue };
            path.clone_from(&entry.path);
            bytes += path.len();
            missing -= 1;
            if missing == 0 || bytes > MOST_PATH_BYTES {
                break;
            }
        }
        Ok((missing == 0 && bytes <= MOST_PATH_BYTES).then_some(Self(found)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A file with what was claimed.
    pub(super) fn place<'a>(&'a self, claim: &'a Claim) -> &'a [u8] {
        self.0.get(&claim.content).unwrap_or(&claim.path)
    }
}

fn holds(claim: &Claim, index: &LayerIndex) -> Result<bool> {
    let found = index.lookup(&claim.path)?;
    let is_it = |entry: &IndexEntry| matches!(entry.node, Node::File { content, .. } if content == claim.content);
    Ok(claim.path.len() <= LONGEST_PATH && found.is_some_and(|entry| is_it(&entry)))
}

fn reading() -> String {
    "read claims of a layer".to_owned()
}
