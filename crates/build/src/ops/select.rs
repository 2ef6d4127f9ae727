//! What a COPY takes: paths and patterns looked up in a source tree, symlinks resolved inside it, with digests for the key.
//!
//! What must stay true: nothing outside the source tree is ever reached; the digests cover everything that decides the result except times; the order is
//! that of the sources and, within a pattern, of the bytes of the names.
//!
//! # Source
//! Dockerfile reference, COPY; fsutil `copy.go` for what a match brings: a folder brings what is in it, a file itself; a match that is a symlink is
//! followed, symlinks inside a folder are copied as they are.

use std::path::Path;

use shipway_archive::glob::Pattern;
use shipway_archive::ignore::{IgnoreFile, Verdict};
use shipway_model::ErrorKind;
use shipway_sys::path::FileKind;

use crate::key::TakenEntry;
use crate::ops::OpFailure;
use crate::ops::writer::Xattrs;

/// Something in a source tree.
#[derive(Debug, Clone)]
pub(crate) struct SourceNode {
    pub(crate) kind: FileKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) device: (u32, u32),
    /// Text of a symlink.
    pub(crate) target: Vec<u8>,
    pub(crate) xattrs: Xattrs,
    /// BLAKE3 of a file's bytes.
    pub(crate) content: Option<[u8; 32]>,
}

impl SourceNode {
    /// A folder of root's that anyone may list, with nothing special about it: the root of a context, or of a tree without layers.
    pub(crate) fn plain_folder() -> Self {
        Self {
            kind: FileKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            device: (0, 0),
            target: Vec::new(),
            xattrs: std::collections::BTreeMap::new(),
            content: None,
        }
    }
}

/// A tree to copy from. Paths are relative bytes without `.` and `..`, empty for the root; nothing is followed.
pub(crate) trait SourceTree {
    /// What is at `path`, whose folders are no symlinks.
    fn node(&self, path: &[u8]) -> Result<Option<SourceNode>, OpFailure>;
    /// The names in the folder `path`, sorted.
    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, OpFailure>;
    /// One digest for everything below the folder `path`, where the tree has one at hand.
    fn digest_below(&self, path: &[u8]) -> Result<Option<[u8; 32]>, OpFailure>;
}

/// One thing a source brings.
#[derive(Debug, Clone)]
pub(crate) struct Match {
    /// As it was found: its last name is the name the copy gets.
    pub(crate) written: Vec<u8>,
    /// Where it is, symlinks resolved.
    pub(crate) real: Vec<u8>,
    pub(crate) is_folder: bool,
}

/// How many symlinks one path may lead through.
const SYMLINKS: usize = 40;

/// Finds what `pattern` brings. An empty list means that nothing is there.
///
/// # Errors
/// A pattern that is none, too many symlinks.
pub(crate) fn find(tree: &dyn SourceTree, pattern: &str) -> Result<Vec<Match>, OpFailure> {
    let parts: Vec<&[u8]> = pattern.as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let parts = fold_dots(&parts);
    let mut patterns = Vec::with_capacity(parts.len());
    for part in &parts {
        let parsed = Pattern::parse(part)
            .map_err(|_| OpFailure::finding("E-COPY-PATTERN", ErrorKind::Invalid, format!("\"{pattern}\" is not a valid pattern")))?;
        patterns.push((*part, parsed));
    }
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    for (part, pattern) in &patterns {
        let mut next = Vec::new();
        for folder in found {
            if pattern.is_literal() {
                next.push(join(&folder, &unescaped(part)));
                continue;
            }
            let Some((real, node)) = resolve(tree, &folder)? else { continue };
            if node.kind != FileKind::Directory {
                continue;
            }
            next.extend(tree.names(&real)?.into_iter().filter(|name| pattern.matches(name)).map(|name| join(&folder, &name)));
        }
        found = next;
    }
    let mut matches = Vec::new();
    for written in found {
        if let Some((real, node)) = resolve(tree, &written)? {
            matches.push(Match { written, real, is_folder: node.kind == FileKind::Directory });
        }
    }
    Ok(matches)
}

/// Walks `path` inside the tree, following symlinks, the last one too. None when it leads nowhere.
pub(crate) fn resolve(tree: &dyn SourceTree, path: &[u8]) -> Result<Option<(Vec<u8>, SourceNode)>, OpFailure> {
    let mut todo: Vec<Vec<u8>> = split(path);
    let mut done: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == b".." {
            done.truncate(parent(&done).len());
            continue;
        }
        let here = join(&done, &name);
        let Some(node) = tree.node(&here)? else { return Ok(None) };
        if node.kind != FileKind::Symlink {
            if !todo.is_empty() && node.kind != FileKind::Directory {
                return Ok(None);
            }
            done = here;
            continue;
        }
        links += 1;
        if links > SYMLINKS {
            let message = format!("\"{}\" leads through too many symlinks", String::from_utf8_lossy(path));
            return Err(OpFailure::finding("E-COPY-LOOP", ErrorKind::Invalid, message));
        }
        if node.target.first() == Some(&b'/') {
            done.clear();
        }
        todo.extend(split(&node.target));
    }
    let Some(node) = tree.node(&done)? else { return Ok(None) };
    Ok(Some((done, node)))
}

/// Which paths below a source are left out.
pub(crate) struct Excludes(IgnoreFile);

impl Excludes {
    pub(crate) fn new(patterns: &[String]) -> Result<Self, OpFailure> {
        let parsed = IgnoreFile::from_patterns(patterns.iter().map(String::as_bytes));
        parsed.map(Self).map_err(|error| OpFailure::finding("E-COPY-PATTERN", ErrorKind::Invalid, error.to_string()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a single file with this name is left out.
    pub(crate) fn excludes(&self, name: &[u8]) -> bool {
        !self.is_empty() && self.0.judge_alone(name).excluded
    }
}

/// Is shown a name relative to where the walk began, the path in the tree, and what is there.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8], &SourceNode) -> Result<(), OpFailure> + 'a;

/// Calls `visit` for everything below the folder `root` that is not left out, folders before what is in them, with the name relative to `root`.
///
/// A folder that is left out is still visited when something in it is not.
pub(crate) fn walk(tree: &dyn SourceTree, root: &[u8], excludes: &Excludes, visit: &mut Visit<'_>) -> Result<(), OpFailure> {
    walk_below(tree, root, b"", excludes, &Verdict::default(), &mut Vec::new(), visit)
}

/// A folder that is left out itself, waiting for something in it that is not.
type Waiting = Vec<(Vec<u8>, Vec<u8>, SourceNode)>;

fn walk_below(
    tree: &dyn SourceTree,
    folder: &[u8],
    relative: &[u8],
    excludes: &Excludes,
    verdict: &Verdict,
    waiting: &mut Waiting,
    visit: &mut Visit<'_>,
) -> Result<(), OpFailure> {
    for name in tree.names(folder)? {
        let (path, below) = (join(folder, &name), join(relative, &name));
        let Some(node) = tree.node(&path)? else { continue };
        let judged = if excludes.is_empty() { Verdict::default() } else { excludes.0.judge(&below, verdict) };
        if !judged.excluded {
            for (name, path, node) in waiting.drain(..) {
                visit(&name, &path, &node)?;
            }
            visit(&below, &path, &node)?;
        }
        if node.kind != FileKind::Directory || excludes.0.may_skip_dir(&below, &judged) {
            continue;
        }
        let depth = waiting.len();
        if judged.excluded {
            waiting.push((below.clone(), path.clone(), node));
        }
        walk_below(tree, &path, &below, excludes, &judged, waiting, visit)?;
        waiting.truncate(depth);
    }
    Ok(())
}

/// The entries of a match, for the key.
pub(crate) fn taken(tree: &dyn SourceTree, found: &Match, name: &[u8], excludes: &Excludes) -> Result<Vec<TakenEntry>, OpFailure> {
    if !found.is_folder {
        let Some(node) = tree.node(&found.real)? else { return Ok(Vec::new()) };
        return Ok(vec![TakenEntry { name: name.to_vec(), digest: leaf(&node) }]);
    }
    let folder_name = if name.is_empty() { b"/".to_vec() } else { join(name, b"/") };
    if excludes.is_empty()
        && let Some(digest) = tree.digest_below(&found.real)?
    {
        return Ok(vec![TakenEntry { name: folder_name, digest }]);
    }
    let mut entries = vec![TakenEntry { name: folder_name, digest: [0; 32] }];
    walk(tree, &found.real, excludes, &mut |relative, _, node| {
        entries.push(TakenEntry { name: join(name, relative), digest: leaf(node) });
        Ok(())
    })?;
    Ok(entries)
}

/// Digest of one thing, whatever is below it: everything but its name and its times.
pub(crate) fn leaf(node: &SourceNode) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"shipway.leaf.v1\0");
    hasher.update(&[kind_letter(node.kind)]);
    for number in [node.mode, node.uid, node.gid, node.device.0, node.device.1] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&(node.target.len() as u64).to_le_bytes());
    hasher.update(&node.target);
    hasher.update(&(node.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &node.xattrs {
        for bytes in [name, value] {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
    }
    if let Some(content) = &node.content {
        hasher.update(content);
    }
    hasher.finalize().into()
}

fn kind_letter(kind: FileKind) -> u8 {
    match kind {
        FileKind::Regular => b'f',
        FileKind::Directory => b'd',
        FileKind::Symlink => b'l',
        FileKind::CharDevice => b'c',
        FileKind::BlockDevice => b'b',
        FileKind::Fifo => b'p',
        FileKind::Socket => b's',
        FileKind::Unknown => b'?',
    }
}

/// True when `pattern`, taken as text, leads above the top.
pub(crate) fn leads_outside(pattern: &str) -> bool {
    let mut depth = 0_i64;
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

fn fold_dots<'a>(parts: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut folded: Vec<&[u8]> = Vec::new();
    for part in parts {
        if *part == b".." {
            folded.pop();
        } else {
            folded.push(part);
        }
    }
    folded
}

/// A pattern without wildcards as the name it means.
fn unescaped(part: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(part.len());
    let mut escaped = false;
    for byte in part {
        if *byte == b'\\' && !escaped {
            escaped = true;
        } else {
            name.push(*byte);
            escaped = false;
        }
    }
    name
}

/// The names of a path, last first, for walking.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.rsplit(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec).collect()
}

/// `folder/name`; the name alone at the top.
pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// The folder of a path; empty at the top.
pub(crate) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |slash| &path[..slash])
}

/// The last name of a path.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(&[])
}

/// Bytes as a path.
pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
#[path = "select/tests.rs"]
mod tests;
