//! A stack of layer indexes seen as the one tree that overlayfs shows of them, without mounting anything.
//!
//! What must stay true: the upper layer wins; a whiteout, an opaque folder or anything that is no folder hides what lies below it in lower layers.
//! Symlinks are resolved as a process with this tree as its `/` would.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Error;
use crate::error::show;
use crate::glob::Pattern;
use crate::index::{self, ContentDigest, Digester, EntryRef, LayerIndex, Marks, Node};

/// As many symlinks as the kernel follows in one path.
const SYMLINKS_FOLLOWED: usize = 40;

/// The view of a stack of layers.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Lowest first.
    layers: Vec<Arc<LayerIndex>>,
}

/// What becomes of a symlink as last component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// It is followed, as stat(2) does.
    Follow,
    /// It is meant itself, as lstat(2) does.
    Keep,
}

impl Tree {
    /// Stacks `layers`, the lowest first.
    pub fn new(layers: Vec<Arc<LayerIndex>>) -> Tree {
        Tree { layers }
    }

    /// The entry at `path`, clean and relative, no symlink followed.
    ///
    /// # Errors
    /// When a large index cannot be read from its file; as all that looks into the tree.
    ///
    /// # Cost
    /// A few binary searches per layer.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<EntryRef>, Error> {
        Ok(self.find(path)?.map(|(_, entry)| entry))
    }

    /// Number of the layer (0 the lowest) that `path` is seen from.
    pub fn origin(&self, path: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.find(path)?.map(|(layer, _)| layer))
    }

    fn find(&self, path: &[u8]) -> Result<Option<(usize, EntryRef)>, Error> {
        for (number, layer) in self.layers.iter().enumerate().rev() {
            match layer.lookup(path)? {
                Some(entry) if entry.node == Node::Whiteout => return Ok(None),
                Some(entry) => return Ok(Some((number, entry))),
                None if hides(layer, path)? => return Ok(None),
                None => {}
            }
        }
        Ok(None)
    }

    /// What stands in the folder `path`, sorted by name; nothing if it is no folder.
    pub fn children(&self, path: &[u8]) -> Result<Children<'_>, Error> {
        let mut layers = Vec::new();
        for layer in self.layers.iter().rev() {
            let here = layer.lookup(path)?;
            if here.as_ref().is_some_and(|entry| !entry.is_dir()) {
                break;
            }
            let mut children = layer.children(path)?;
            if let Some(next) = children.next().transpose()? {
                layers.push((next, children));
            }
            if here.is_some_and(|entry| entry.node == Node::Directory { opaque: true }) || hides(layer, path)? {
                break;
            }
        }
        Ok(Children { layers })
    }

    /// Names in the folder `path`, sorted.
    pub fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        self.children(path)?.map(|entry| entry.map(|entry| entry.name().to_vec())).collect()
    }

    /// All that is seen at and below `path`, folders before what is in them.
    pub fn walk(&self, path: &[u8]) -> Result<Walk<'_>, Error> {
        Ok(Walk { tree: self, top: self.lookup(path)?, folders: Vec::new(), over: false })
    }

    /// Follows symlinks and dots of `path` and gives the clean path of what is really meant.
    ///
    /// # Errors
    /// `NotFound` when a component is missing, is no folder, or symlinks go round in circles.
    pub fn resolve(&self, path: &[u8], last: Last) -> Result<Vec<u8>, Error> {
        let missing = || Error::NotFound { path: show(path) };
        let mut left: VecDeque<Vec<u8>> = components(path);
        let (mut at, mut followed) = (Vec::new(), 0);
        while let Some(name) = left.pop_front() {
            if name == b".." {
                at.truncate(index::parent(&at).len());
                continue;
            }
            let next = join(&at, &name);
            let entry = self.lookup(&next)?.ok_or_else(missing)?;
            match &entry.node {
                Node::Symlink { target } if !left.is_empty() || last == Last::Follow => {
                    followed += 1;
                    if followed > SYMLINKS_FOLLOWED {
                        return Err(missing());
                    }
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    for name in components(target).into_iter().rev() {
                        left.push_front(name);
                    }
                }
                Node::Directory { .. } => at = next,
                _ if left.is_empty() => at = next,
                _ => return Err(missing()),
            }
        }
        Ok(at)
    }

    /// The paths that a pattern of `COPY` means, sorted. Symlinks are followed in the part before the first wildcard only, as BuildKit does.
    ///
    /// # Errors
    /// `Pattern`. Nothing found is an empty answer; a pattern without wildcards gives its path if that is there.
    pub fn glob(&self, pattern: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        expand(pattern, &TreeNames(self))
    }

    /// Digest of what stands at `path`, of a folder with all below it; the same for the same content however many layers it is spread over.
    ///
    /// # Cost
    /// Visits everything below `path` once.
    pub fn digest(&self, path: &[u8]) -> Result<Option<ContentDigest>, Error> {
        let mut digester = Digester::new(Marks::Ignored);
        for entry in self.walk(path)? {
            digester.take(&*entry?);
        }
        Ok(digester.finish())
    }
}

/// What stands in a folder of a stack of layers.
#[derive(Debug)]
pub struct Children<'a> {
    /// What comes next of each layer that shows through, the uppermost first, and what follows.
    layers: Vec<(EntryRef, index::Children<'a>)>,
}

impl Children<'_> {
    fn go_on(&mut self) -> Result<Option<EntryRef>, Error> {
        loop {
            // Of equal names the first one counts, which is that of the uppermost layer.
            let least = |one: &EntryRef, other: &EntryRef| one.name().cmp(other.name());
            let Some(next) = self.layers.iter().map(|(next, _)| next).min_by(|one, other| least(one, other)).cloned() else {
                return Ok(None);
            };
            let mut at = 0;
            while let Some((here, following)) = self.layers.get_mut(at) {
                if here.name() != next.name() {
                    at += 1;
                } else if let Some(follower) = following.next().transpose()? {
                    *here = follower;
                    at += 1;
                } else {
                    self.layers.remove(at);
                }
            }
            if next.node != Node::Whiteout {
                return Ok(Some(next));
            }
        }
    }
}

impl Iterator for Children<'_> {
    type Item = Result<EntryRef, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.go_on();
        if next.is_err() {
            self.layers.clear();
        }
        next.transpose()
    }
}

/// All that is seen at and below a path.
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    top: Option<EntryRef>,
    /// The folders that are open, each in the one before.
    folders: Vec<Children<'a>>,
    over: bool,
}

impl Walk<'_> {
    fn go_on(&mut self) -> Result<Option<EntryRef>, Error> {
        let mut next = self.top.take();
        while next.is_none() {
            let Some(folder) = self.folders.last_mut() else { return Ok(None) };
            next = folder.next().transpose()?;
            if next.is_none() {
                self.folders.pop();
            }
        }
        if let Some(folder) = next.as_ref().filter(|entry| entry.is_dir()) {
            self.folders.push(self.tree.children(&folder.path)?);
        }
        Ok(next)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<EntryRef, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.go_on();
        self.over = next.is_err();
        next.transpose()
    }
}

/// Whether `layer` hides `path`, which it does not have itself, from the layers below.
fn hides(layer: &LayerIndex, path: &[u8]) -> Result<bool, Error> {
    let mut end = path.len();
    while end > 0 {
        end = path[..end].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        if let Some(entry) = layer.lookup(&path[..end])? {
            return Ok(entry.node != Node::Directory { opaque: false });
        }
    }
    Ok(false)
}

/// Something whose names a pattern can be held against.
pub(crate) trait Names {
    /// Names in a folder, and whether each is a folder.
    fn names(&self, folder: &[u8]) -> Result<Vec<(Vec<u8>, bool)>, Error>;
    /// The real path of one without wildcards, if it is there.
    fn locate(&self, path: &[u8], last: Last) -> Option<Vec<u8>>;
}

struct TreeNames<'a>(&'a Tree);

impl Names for TreeNames<'_> {
    fn names(&self, folder: &[u8]) -> Result<Vec<(Vec<u8>, bool)>, Error> {
        self.0.children(folder)?.map(|entry| entry.map(|entry| (entry.name().to_vec(), entry.is_dir()))).collect()
    }

    fn locate(&self, path: &[u8], last: Last) -> Option<Vec<u8>> {
        self.0.resolve(path, last).ok()
    }
}

/// See [`Tree::glob`].
pub(crate) fn expand(pattern: &[u8], names: &dyn Names) -> Result<Vec<Vec<u8>>, Error> {
    let whole = Pattern::parse(pattern)?;
    let cleaned = crate::ignore::clean(&[b"/", pattern].concat());
    let parts: Vec<&[u8]> = cleaned.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    let wild = if whole.is_literal() {
        parts.len()
    } else {
        parts.iter().position(|part| part.iter().any(|b| b"*?[".contains(b))).unwrap_or(parts.len())
    };
    let plain: Vec<Vec<u8>> = parts[..wild].iter().map(|part| unescape(part)).collect();
    // What a wildcard is looked for in must be a folder, so a symlink to one is followed; a path that stands alone means the symlink.
    let last = if wild == parts.len() { Last::Keep } else { Last::Follow };
    let Some(start) = names.locate(&plain.join(&b'/'), last) else { return Ok(Vec::new()) };
    let mut found = vec![start];
    for (number, part) in parts.iter().enumerate().skip(wild) {
        let matcher = Pattern::parse(part)?;
        let last = number + 1 == parts.len();
        let mut next = Vec::new();
        for folder in found {
            for (name, is_dir) in names.names(&folder)? {
                if (last || is_dir) && matcher.matches(&name) {
                    next.push(join(&folder, &name));
                }
            }
        }
        found = next;
    }
    found.sort_unstable_by(|a, b| index::compare_paths(a, b));
    Ok(found)
}

/// Takes the backslashes of a part without wildcards away.
fn unescape(part: &[u8]) -> Vec<u8> {
    let mut bytes = part.iter();
    let mut plain = Vec::with_capacity(part.len());
    while let Some(byte) = bytes.next() {
        plain.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    plain
}

pub(crate) fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec).collect()
}

pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, name].join(&b'/') }
}

#[cfg(test)]
mod tests;
