//! COPY and ADD of files: what is taken, and writing it into a new layer without mounting anything.
//!
//! What must stay true: the result depends on the key's parts only, times aside; a file that changed since its content was learned is an error, never a
//! wrong cache record; a file that looks the same as one in an existing layer becomes a further name of it instead of a copy, or is not written at all when
//! the new layer can be a patch of that one.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shipway_model::ErrorKind;
use shipway_store::Lease;
use shipway_sys::path::{FileKind, Time};
use tokio_util::sync::CancellationToken;

use crate::graph::{CopyOp, CopySource};
use crate::ops::files::{self, FromContext, FromTree, SourceFiles};
use crate::ops::former::{Former, Patch};
use crate::ops::layer::View;
use crate::ops::select::{self, Excludes, Match, SourceNode, as_path, base_name};
use crate::ops::selection::{Selected, SelectedFrom, Selection, below_pivot};
use crate::ops::writer::{Clash, Content, Looks, TreeWriter, Xattrs};
use crate::ops::{Made, OpFailure, OpFinding, Stack, add, chmod, layer, owner};
use crate::solver::{Around, Controls};

/// Makes the layer of a COPY or ADD.
pub(crate) async fn make(
    around: &Arc<Around>,
    op: &CopyOp,
    selection: Arc<Selection>,
    below: &Stack,
    lease: &Lease,
    controls: &Controls,
    weak: [u8; 32],
) -> Result<Made, OpFailure> {
    let flights = around.ports.flights.clone();
    let mut downloads: HashMap<String, Arc<add::Download>> = HashMap::new();
    for source in &selection.sources {
        if let SelectedFrom::Url { url, download } = &source.origin {
            let download = match download {
                Some(download) => download.clone(),
                None => tokio::select! {
                    biased;
                    () = controls.cancel.cancelled() => return Err(OpFailure::Cancelled),
                    download = add::download(around, url, op.checksum.as_deref()) => Arc::new(download?),
                },
            };
            downloads.insert(url.clone(), download);
        }
    }
    let (around, op, below, lease, cancel) = (around.clone(), op.clone(), below.clone(), lease.clone(), controls.cancel.clone());
    flights
        .blocking(move || {
            let view = View::of(&around.store, &below)?;
            let former = Former::of(&around.store, &weak, &lease);
            let former = former.as_ref();
            let filling = Filling { around: &around, op: &op, below: &below, lease: &lease, cancel: &cancel, view: &view, former };
            if former.is_some()
                && selection.is_one_folder()
                && !op.parents
                && let Some(made) = filling.fill(&selection, &downloads, true)?
            {
                return Ok(made);
            }
            filling.fill(&selection, &downloads, false)?.ok_or_else(|| OpFailure::internal("a copy without a patch wanted to be one"))
        })
        .await
}

/// What filling the layer of a copy needs.
struct Filling<'a> {
    around: &'a Arc<Around>,
    op: &'a CopyOp,
    below: &'a Stack,
    lease: &'a Lease,
    cancel: &'a CancellationToken,
    view: &'a View,
    former: Option<&'a Former>,
}

impl Filling<'_> {
    /// Copies into a new layer; `may_patch` allows to write the difference to the former one only. None when that turned out not to be possible.
    fn fill(
        &self,
        selection: &Selection,
        downloads: &HashMap<String, Arc<add::Download>>,
        may_patch: bool,
    ) -> Result<Option<Made>, OpFailure> {
        let (around, op, view) = (self.around, self.op, self.view);
        let snapshot = layer::prepare(&around.store, self.below, self.lease)?;
        let read = |path: &Path| view.read_small(path);
        let owner = op.owner.as_deref().map(|owner| owner::resolve(owner, &read)).transpose()?;
        let (uid, gid) = owner.unwrap_or_default();
        let looks = Looks { mode: 0o755, uid, gid, mtime: layer::time_of_new_things(around), xattrs: Xattrs::new() };
        let clash = if op.link { Clash::Replace } else { Clash::Refuse };
        let mut writer = TreeWriter::new(layer::root(&snapshot)?, view, clash, looks.clone());
        let mut copier = Copier {
            op,
            writer: &mut writer,
            owner,
            former: self.former,
            may_patch,
            patch: None,
            cancel: self.cancel,
            excludes: Excludes::new(&op.exclude)?,
            hardlinks: HashMap::new(),
            linked: HashSet::new(),
            is_alone: selection.sources.iter().map(|source| source.matches.len()).sum::<usize>() < 2,
            new: looks,
        };
        for (source, pattern) in selection.sources.iter().zip(patterns(op)) {
            copier.source(around, source, pattern, downloads)?;
        }
        let patch = copier.patch.take();
        if let Some(patch) = &patch
            && !patch.hide_the_rest(&mut writer, view)?
        {
            return Ok(None);
        }
        writer.finish()?;
        layer::commit(around, snapshot, patch.map(|patch| patch.base()), self.lease).map(Some)
    }
}

fn patterns(op: &CopyOp) -> impl Iterator<Item = &str> {
    op.sources.iter().map(|source| match source {
        CopySource::Context { pattern } | CopySource::Tree { pattern, .. } => pattern.as_str(),
        CopySource::Inline { .. } | CopySource::Url { .. } => "",
    })
}

/// Puts sources into the new layer.
pub(crate) struct Copier<'w, 'v> {
    pub(crate) op: &'w CopyOp,
    pub(crate) writer: &'w mut TreeWriter<'v>,
    /// The owner `--chown` says.
    pub(crate) owner: Option<(u32, u32)>,
    former: Option<&'v Former>,
    /// Whether the layer may be a patch of the former one.
    may_patch: bool,
    patch: Option<Patch<'v>>,
    pub(crate) cancel: &'w CancellationToken,
    excludes: Excludes,
    /// The first new name of each source inode that has several, within one match.
    hardlinks: HashMap<(u64, u64), PathBuf>,
    /// Files of a layer that this copy gave a further name, as long as another match may bring them again: two files must not become one.
    linked: HashSet<Vec<u8>>,
    /// Whether there is one match only.
    is_alone: bool,
    /// Looks of things made from nothing.
    pub(crate) new: Looks,
}

impl Copier<'_, '_> {
    fn source(
        &mut self,
        around: &Arc<Around>,
        source: &Selected,
        pattern: &str,
        downloads: &HashMap<String, Arc<add::Download>>,
    ) -> Result<(), OpFailure> {
        match &source.origin {
            SelectedFrom::Inline { name, content } => {
                let mut looks = Looks { mode: 0o644, ..self.new.clone() };
                looks.mode = self.mode(0o644, false);
                let path = self.place_of_file(name.as_bytes())?;
                self.writer.put_file(&path, &Content::Bytes(content.as_bytes()), &looks)
            }
            SelectedFrom::Url { url, .. } => {
                let download = downloads.get(url).ok_or_else(|| OpFailure::internal("a download is missing"))?;
                add::put_download(self, url, download)
            }
            SelectedFrom::Context => {
                let context = around.context.clone().ok_or_else(|| OpFailure::internal("there is no build context"))?;
                let mut files = FromContext::new(&context)?;
                self.matches(&mut files, source, pattern)
            }
            SelectedFrom::Tree(stack) => {
                let view = View::of(&around.store, stack)?;
                let mut files = FromTree::new(&view);
                self.matches(&mut files, source, pattern)
            }
        }
    }

    fn matches(&mut self, files: &mut dyn SourceFiles, source: &Selected, pattern: &str) -> Result<(), OpFailure> {
        for found in &source.matches {
            // Names that were asked for one by one are files of their own, also where they are one inode in the source.
            self.hardlinks.clear();
            if self.op.parents {
                self.with_parents(files, found, pattern)?;
            } else if found.is_folder {
                let folder = self.destination_folder()?;
                self.below(files, &found.real, &folder)?;
            } else if !self.excludes.excludes(base_name(&found.written)) {
                self.file(files, found)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, files: &mut dyn SourceFiles, found: &Match) -> Result<(), OpFailure> {
        let node = files.tree().node(&found.real)?.ok_or_else(|| files::gone(&found.real))?;
        if self.op.add && self.op.unpack != Some(false) && node.kind == FileKind::Regular {
            let (file, _) = files.open(&found.real)?;
            if add::is_archive(&file)? {
                return add::unpack(self, file, &found.written);
            }
        }
        let path = self.place_of_file(base_name(&found.written))?;
        self.entry(files, &found.real, &node, &path)
    }

    /// `--parents`: the match keeps its folders, made to look like those of the source where they are new.
    fn with_parents(&mut self, files: &mut dyn SourceFiles, found: &Match, pattern: &str) -> Result<(), OpFailure> {
        let kept = below_pivot(pattern, &found.written);
        let folder = self.destination_folder()?;
        let skipped = found.written.len() - kept.len();
        let mut end = 0;
        while let Some(slash) = kept[end..].iter().position(|byte| *byte == b'/') {
            end += slash;
            let path = folder.join(as_path(&kept[..end]));
            if self.writer.at(&path)?.is_none_or(|node| node.kind != FileKind::Directory) {
                let source = &found.written[..skipped + end];
                if let Some((real, node)) = select::resolve(files.tree(), source)? {
                    self.entry(files, &real, &node, &path)?;
                }
            }
            end += 1;
        }
        let path = folder.join(as_path(&kept));
        let node = files.tree().node(&found.real)?.ok_or_else(|| files::gone(&found.real))?;
        if found.is_folder {
            if !kept.is_empty() {
                self.entry(files, &found.real, &node, &path)?;
            }
            return self.below(files, &found.real, &path);
        }
        self.entry(files, &found.real, &node, &path)
    }

    /// Copies what is below a folder of the source.
    fn below(&mut self, files: &mut dyn SourceFiles, root: &[u8], folder: &Path) -> Result<(), OpFailure> {
        let excludes = std::mem::replace(&mut self.excludes, Excludes::new(&[])?);
        let mut todo: Vec<(Vec<u8>, Vec<u8>, SourceNode)> = Vec::new();
        let walked = select::walk(files.tree(), root, &excludes, &mut |relative, path, node| {
            todo.push((relative.to_vec(), path.to_vec(), node.clone()));
            Ok(())
        });
        self.excludes = excludes;
        walked?;
        let todo: Vec<(PathBuf, Vec<u8>, SourceNode)> =
            todo.into_iter().map(|(relative, path, node)| (folder.join(as_path(&relative)), path, node)).collect();
        if self.may_patch
            && let Some(former) = self.former
        {
            let files = todo.iter().filter_map(|(to, _, node)| Some((to.as_path(), node.content?)));
            self.patch = Patch::promising(former, &files.collect::<Vec<_>>());
        }
        for (to, path, node) in &todo {
            self.entry(files, path, node, to)?;
            if self.patch.as_ref().is_some_and(|patch| patch.given_up) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Puts one thing of a source at `path`.
    fn entry(&mut self, files: &mut dyn SourceFiles, source: &[u8], node: &SourceNode, path: &Path) -> Result<(), OpFailure> {
        if self.cancel.is_cancelled() {
            return Err(OpFailure::Cancelled);
        }
        if let Some(patch) = &mut self.patch {
            patch.brings(path);
        }
        let (uid, gid) = self.owner.unwrap_or((node.uid, node.gid));
        let is_folder = node.kind == FileKind::Directory;
        let mode = if node.kind == FileKind::Symlink { node.mode } else { self.mode(node.mode, is_folder) };
        let mut looks = Looks { mode, uid, gid, mtime: Time::default(), xattrs: node.xattrs.clone() };
        if node.kind == FileKind::Regular {
            return self.regular(files, source, node, path, looks);
        }
        looks.mtime = files.time(source)?;
        match node.kind {
            FileKind::Directory => self.writer.put_folder(path, &looks),
            FileKind::Symlink => self.writer.put_symlink(path, OsStr::from_bytes(&node.target), &looks),
            kind => self.writer.put_node(path, kind, node.device, &looks),
        }
    }

    fn regular(
        &mut self,
        files: &mut dyn SourceFiles,
        source: &[u8],
        node: &SourceNode,
        path: &Path,
        mut looks: Looks,
    ) -> Result<(), OpFailure> {
        let inode = files.shared_inode(source)?;
        if let Some(patch) = &mut self.patch {
            // Names of one inode would have to be in one folder.
            patch.given_up |= inode.is_some();
            if let Some(content) = &node.content {
                looks.mtime = files.time(source)?;
                if patch.has(path, content, node.size, &looks) {
                    return self.writer.keep(path);
                }
            }
        }
        if let Some(first) = inode.and_then(|inode| self.hardlinks.get(&inode)).cloned() {
            return self.writer.put_hardlink(path, &first);
        }
        if let Some(inode) = inode {
            self.hardlinks.insert(inode, path.to_owned());
        }
        let unchanged = (looks.mode, looks.uid, looks.gid) == (node.mode, node.uid, node.gid);
        if unchanged
            && self.may_link(source)
            && let Some(folder) = files.linkable(source)?
        {
            let name = OsStr::from_bytes(base_name(source)).to_owned();
            return self.writer.put_file(path, &Content::Link { folder: &folder, name: &name }, &looks);
        }
        looks.mtime = files.time(source)?;
        if let (Some(former), Some(content)) = (self.former, &node.content)
            && let Some(folder) = former.same(path, content, node.size, &looks)
        {
            let name = path.file_name().unwrap_or_default();
            return self.writer.put_file(path, &Content::Link { folder: &folder, name }, &looks);
        }
        let (file, size) = files.open(source)?;
        self.writer.put_file(path, &Content::File { file: &file, size }, &looks)?;
        files.still_the_same(source, &file)
    }

    /// Whether a file of a layer may get its next name in this one. The second name of the same file would tie the two together.
    fn may_link(&mut self, source: &[u8]) -> bool {
        self.is_alone || self.linked.insert(source.to_vec())
    }

    /// The destination as a folder, made when it is not there.
    pub(crate) fn destination_folder(&mut self) -> Result<PathBuf, OpFailure> {
        let path = self.resolved_destination()?;
        match self.writer.at(&path)? {
            Some(node) if node.kind != FileKind::Directory && !self.op.link => Err(not_a_folder(&self.op.destination)),
            _ => {
                self.writer.folder(&path)?;
                Ok(path)
            }
        }
    }

    /// Where a single file called `name` goes: into the destination when that is a folder, or in its place.
    pub(crate) fn place_of_file(&mut self, name: &[u8]) -> Result<PathBuf, OpFailure> {
        let path = self.resolved_destination()?;
        let is_folder = match self.writer.at(&path)? {
            Some(node) => node.kind == FileKind::Directory,
            None => false,
        };
        if is_folder || self.op.destination.ends_with('/') {
            return Ok(self.destination_folder()?.join(as_path(name)));
        }
        Ok(path)
    }

    fn resolved_destination(&self) -> Result<PathBuf, OpFailure> {
        let path = Path::new(self.op.destination.trim_matches('/'));
        // `--link` stands for a layer of its own that knows nothing of the tree below, so nothing of it is followed.
        if self.op.link { Ok(shipway_sys::path::clean_inside(path)) } else { self.writer.resolve(path, true) }
    }

    /// The mode after `--chmod`.
    pub(crate) fn mode(&self, mode: u32, is_folder: bool) -> u32 {
        self.op.mode.as_ref().map_or(mode, |change| chmod::apply(change, mode, is_folder))
    }
}

fn not_a_folder(destination: &str) -> OpFailure {
    OpFinding::new(
        "E-COPY-NOT-A-FOLDER",
        ErrorKind::Invalid,
        format!("the destination \"{destination}\" exists in the image and is not a folder"),
    )
    .hint("give another destination, or remove the file with RUN rm first")
    .docker(format!("cannot copy to non-directory: {}", destination.trim_end_matches('/')))
    .into()
}
