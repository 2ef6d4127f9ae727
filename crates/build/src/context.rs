//! The build context during a build: looked at once, hashed where a step asks, and searched when something is missing.
//!
//! What must stay true: the folder is listed once per build, before anything runs; a file's content is learned before a key uses it and checked again
//! when it is copied; a file that changed between the two is an error, not a wrong result.

mod missing;

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use shipway_archive::context::{ContextEntry, ContextIndex, ContextScan};
use shipway_archive::ignore::IgnoreFile;
use shipway_archive::index::{IndexEntry, LayerIndex, Node};
use shipway_model::ErrorKind;
use shipway_sys::path::{Metadata, Root, Time};

use crate::errors::BuildError;
use crate::graph::{CopyOp, CopySource};
use crate::ops::select::{self, Match, SourceNode, SourceTree};
use crate::ops::{OpFailure, OpFinding};
use crate::request::BuildContext;

/// The files COPY and ADD may take.
pub(crate) struct ContextFiles {
    scan: ContextScan,
    /// What steps take, with contents.
    learned: OnceLock<LayerIndex>,
    path: PathBuf,
    /// Where digests are remembered between builds, for a folder that stays.
    index_file: Option<PathBuf>,
    /// Deletes a received context when the last user of it is done. Only ever dropped.
    _keep: Option<Box<dyn Any + Send + Sync>>,
}

impl ContextFiles {
    /// Looks at the context. None when there is none.
    ///
    /// # Errors
    /// A folder that cannot be read, an ignore file with a pattern that is none.
    ///
    /// # Cost
    /// One listing per folder and one stat per name; blocks.
    pub(crate) fn look(context: BuildContext, ignore: Option<&str>) -> Result<Option<Self>, BuildError> {
        let (root, path, index_file, keep) = match context {
            BuildContext::None => return Ok(None),
            BuildContext::Folder { root, path, index_file } => (root, path, Some(index_file), None),
            BuildContext::Unpacked { root, path, keep } => (root, path, None, Some(keep)),
        };
        let shown = path.display().to_string();
        let failed = |error: shipway_archive::Error| BuildError::Context { path: shown.clone(), message: error.to_string() };
        let ignore = IgnoreFile::parse(ignore.unwrap_or_default().as_bytes()).map_err(failed)?;
        // A client that sent the files left out what is to be left out; what stands in an archive all the same was meant, as Docker has it.
        let look = if index_file.is_some() { ContextScan::new } else { ContextScan::whole };
        let scan = look(root, ignore).map_err(failed)?;
        Ok(Some(Self { scan, learned: OnceLock::new(), path, index_file, _keep: keep }))
    }

    /// What the same instruction in another project is told apart by.
    pub(crate) fn origin(&self) -> String {
        self.path.display().to_string()
    }

    /// The folder.
    pub(crate) fn root(&self) -> Result<Root, OpFailure> {
        self.scan.root().try_clone().map_err(OpFailure::sys("open the build context"))
    }

    /// What a pattern of COPY brings.
    pub(crate) fn find(&self, pattern: &str) -> Result<Vec<Match>, OpFailure> {
        if select::leads_outside(pattern) { Ok(Vec::new()) } else { select::find(self, pattern) }
    }

    /// Learns the content of everything these steps take and tells how many bytes that is.
    ///
    /// # Errors
    /// A file that changes meanwhile, or cannot be read.
    ///
    /// # Cost
    /// Reads what is not remembered, on several threads; blocks.
    pub(crate) fn learn(&self, copies: &[CopyOp]) -> Result<u64, OpFailure> {
        let mut paths: Vec<Vec<u8>> = Vec::new();
        for source in copies.iter().flat_map(|copy| &copy.sources) {
            if let CopySource::Context { pattern } = source {
                paths.extend(self.find(pattern)?.into_iter().map(|found| found.real));
            }
        }
        paths.sort_unstable();
        paths.dedup();
        let mut known = self.load_index();
        let learned = self.scan.select(&paths, &mut known).map_err(reading)?;
        self.save_index(&known);
        let bytes = learned.content_size();
        // Set once: there is one context vertex in a graph.
        let _ = self.learned.set(learned);
        Ok(bytes)
    }

    fn load_index(&self) -> ContextIndex {
        match self.index_place() {
            Some((folder, name)) => ContextIndex::load(&folder, name),
            None => ContextIndex::default(),
        }
    }

    fn save_index(&self, known: &ContextIndex) {
        if known.is_unchanged() {
            return;
        }
        if let Some(folder) = self.index_file.as_ref().and_then(|file| file.parent())
            && let Err(error) = std::fs::create_dir_all(folder)
        {
            tracing::warn!(%error, ?folder, "cannot make the folder for the digests of build contexts");
        }
        if let Some((folder, name)) = self.index_place()
            && let Err(error) = known.save(&self.scan, &folder, name)
        {
            // Only costs hashing the files again.
            tracing::warn!(%error, file = ?self.index_file, "cannot remember the digests of the build context");
        }
    }

    fn index_place(&self) -> Option<(shipway_sys::path::Dir, &std::ffi::OsStr)> {
        let file = self.index_file.as_ref()?;
        let folder = Root::open(file.parent()?).and_then(|root| root.top()).ok()?;
        Some((folder, file.file_name()?))
    }

    /// When the thing at `path` was last changed.
    pub(crate) fn time(&self, path: &[u8]) -> Time {
        self.entry(path).map(|entry| entry.mtime).unwrap_or_default()
    }

    /// The inode of the thing at `path`, if it has several names.
    pub(crate) fn shared_inode(&self, path: &[u8]) -> Option<(u64, u64)> {
        self.entry(path).filter(|entry| entry.nlink > 1).map(|entry| (entry.dev, entry.ino))
    }

    /// Makes sure that an open file is the one that was looked at, unchanged.
    pub(crate) fn expect(&self, path: &[u8], found: &Metadata) -> Result<(), OpFailure> {
        let same = self
            .entry(path)
            .is_some_and(|entry| (entry.dev, entry.ino, entry.size, entry.mtime) == (found.dev, found.ino, found.size, found.mtime));
        if same { Ok(()) } else { Err(reading(shipway_archive::Error::Changed { path: String::from_utf8_lossy(path).into_owned() })) }
    }

    fn entry(&self, path: &[u8]) -> Option<&ContextEntry> {
        self.scan.lookup(path)
    }

    fn host_path(&self) -> &Path {
        &self.path
    }
}

impl SourceTree for ContextFiles {
    fn node(&self, path: &[u8]) -> Result<Option<SourceNode>, OpFailure> {
        if path.is_empty() {
            return Ok(Some(SourceNode::plain_folder()));
        }
        let Some(entry) = self.entry(path) else { return Ok(None) };
        let learned = self.learned.get().map(|learned| learned.lookup(path)).transpose().map_err(reading)?.flatten();
        let content = match learned.as_deref() {
            Some(IndexEntry { node: Node::File { content, .. }, .. }) => Some(*content),
            _ => None,
        };
        Ok(Some(SourceNode {
            kind: entry.kind,
            mode: entry.mode,
            size: entry.size,
            device: entry.rdev,
            target: entry.link.clone(),
            content,
            // Whoever owns the files on this machine means nothing in an image.
            ..SourceNode::plain_folder()
        }))
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, OpFailure> {
        self.scan.names().names(path).map_err(reading)
    }

    fn digest_below(&self, path: &[u8]) -> Result<Option<[u8; 32]>, OpFailure> {
        self.learned.get().map(|learned| learned.digest_at(path)).transpose().map(Option::flatten).map_err(reading)
    }
}

/// A failure of reading the context.
fn reading(error: shipway_archive::Error) -> OpFailure {
    use shipway_model::Classified as _;
    let kind = if matches!(error, shipway_archive::Error::Changed { .. }) { ErrorKind::Conflict } else { error.kind() };
    let mut finding = OpFinding::new("E-CONTEXT", kind, format!("cannot read the build context: {error}"));
    finding.hint = error.hint();
    finding.into()
}
