//! COPY and ADD of files: what is taken, and writing it into a new layer without mounting anything.
//!
//! What must stay true: the result depends on the key's parts only, times aside; a file that changed since its content was learned is an error, never a
//! wrong cache record; a file that looks the same as one in an existing layer becomes a further name of it instead of a copy.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shipway_model::ErrorKind;
use shipway_store::Lease;
use shipway_sys::path::{Dir, FileKind, Root, Time};
use tokio_util::sync::CancellationToken;

use crate::context::ContextFiles;
use crate::graph::{CopyOp, CopySource, VertexIndex};
use crate::key::TakenEntry;
use crate::ops::former::Former;
use crate::ops::layer::View;
use crate::ops::select::{self, Excludes, Match, SourceNode, SourceTree, as_path, base_name};
use crate::ops::writer::{Clash, Content, Looks, TreeWriter, Xattrs};
use crate::ops::{Made, OpFailure, OpFinding, Stack, add, chmod, layer, missing, owner};
use crate::solver::{Around, Controls, Inputs};

/// What a COPY takes.
pub(crate) struct Selection {
    sources: Vec<Selected>,
}

/// What one source of a COPY brings.
struct Selected {
    origin: SelectedFrom,
    matches: Vec<Match>,
    taken: Vec<TakenEntry>,
}

/// Where it is.
#[derive(Clone)]
enum SelectedFrom {
    Context,
    Tree(Stack),
    Inline { name: String, content: String },
    Url { url: String },
}

impl Selection {
    /// The entries for the key, per source.
    pub(crate) fn taken(&self) -> Vec<Vec<TakenEntry>> {
        self.sources.iter().map(|source| source.taken.clone()).collect()
    }
}

/// Looks up what the sources bring.
///
/// # Errors
/// A source that brings nothing, with what is there instead.
pub(crate) async fn select(around: &Arc<Around>, op: &CopyOp, inputs: &Inputs) -> Result<Selection, OpFailure> {
    let mut trees: Vec<(Option<VertexIndex>, Stack)> = Vec::new();
    for source in &op.sources {
        if let CopySource::Tree { vertex, .. } = source {
            trees.push((*vertex, inputs.tree(*vertex)?));
        }
    }
    let excludes = Excludes::new(&op.exclude)?;
    let mut sources = Vec::new();
    for source in &op.sources {
        sources.push(match source {
            CopySource::Context { pattern } => {
                let context = around.context.as_ref().ok_or_else(|| OpFailure::internal("there is no build context"))?;
                let matches = context.find(pattern)?;
                if matches.is_empty() && !is_wildcard(pattern) {
                    return Err(context.missing(pattern).into());
                }
                chosen(op, SelectedFrom::Context, context.as_ref(), matches, pattern, &excludes)?
            }
            CopySource::Tree { vertex, pattern } => {
                let stack = trees.iter().find(|(known, _)| known == vertex).map(|(_, stack)| stack.clone()).unwrap_or_else(Stack::empty);
                let view = View::of(&around.store, &stack)?;
                let matches = select::find(&view, pattern)?;
                if matches.is_empty() && !is_wildcard(pattern) {
                    let origins = crate::solver::origins(around, inputs, *vertex);
                    return Err(missing::in_tree(&around.store, &view, pattern, &stack, &origins).into());
                }
                chosen(op, SelectedFrom::Tree(stack), &view, matches, pattern, &excludes)?
            }
            CopySource::Inline { name, content } => {
                let digest = blake3::hash(content.as_bytes()).into();
                let taken = vec![TakenEntry { name: name.clone().into_bytes(), digest }];
                Selected { origin: SelectedFrom::Inline { name: name.clone(), content: content.clone() }, matches: Vec::new(), taken }
            }
            // Without a checksum the address is all that is known before downloading: the key says so, as Docker's classic builder has it.
            CopySource::Url { url } => Selected { origin: SelectedFrom::Url { url: url.clone() }, matches: Vec::new(), taken: Vec::new() },
        });
    }
    Ok(Selection { sources })
}

fn chosen(
    op: &CopyOp,
    origin: SelectedFrom,
    tree: &dyn SourceTree,
    matches: Vec<Match>,
    pattern: &str,
    excludes: &Excludes,
) -> Result<Selected, OpFailure> {
    let mut taken = Vec::new();
    for found in &matches {
        let name = if op.parents { below_pivot(pattern, &found.written) } else if found.is_folder { Vec::new() } else { base_name(&found.written).to_vec() };
        if !found.is_folder && excludes.excludes(base_name(&found.written)) {
            continue;
        }
        taken.extend(select::taken(tree, found, &name, excludes)?);
    }
    Ok(Selected { origin, matches, taken })
}

/// The path of a match that `--parents` keeps: what stands after the `./` of the pattern, or all of it.
fn below_pivot(pattern: &str, written: &[u8]) -> Vec<u8> {
    let pivot = match pattern.find("/./") {
        Some(at) => pattern[..at].split('/').filter(|part| !part.is_empty() && *part != ".").count(),
        None => 0,
    };
    let parts: Vec<&[u8]> = written.split(|byte| *byte == b'/').collect();
    parts.get(pivot..).unwrap_or_default().join(&b'/')
}

fn is_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

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
    let snapshot = {
        let (around, below, lease) = (around.clone(), below.clone(), lease.clone());
        flights.blocking(move || layer::prepare(&around.store, &below, &lease)).await?
    };
    let mut downloads = HashMap::new();
    for (number, source) in selection.sources.iter().enumerate() {
        if let SelectedFrom::Url { url } = &source.origin {
            // The work folder of a snapshot is unused as long as nothing is mounted, and goes when the layer is committed.
            let into = snapshot.work.join(format!("download-{number}"));
            downloads.insert(url.clone(), add::download(around, url, into, op.checksum.as_deref(), &controls.cancel).await?);
        }
    }
    let (around, op, below, lease, cancel) = (around.clone(), op.clone(), below.clone(), lease.clone(), controls.cancel.clone());
    flights
        .blocking(move || {
            let view = View::of(&around.store, &below)?;
            let read = |path: &Path| view.read_small(path);
            let owner = op.owner.as_deref().map(|owner| owner::resolve(owner, &read)).transpose()?;
            let (uid, gid) = owner.unwrap_or_default();
            let looks = Looks { mode: 0o755, uid, gid, mtime: layer::time_of_new_things(&around), xattrs: Xattrs::new() };
            let clash = if op.link { Clash::Replace } else { Clash::Refuse };
            let mut writer = TreeWriter::new(layer::root(&snapshot)?, &view, clash, looks.clone());
            let former = Former::of(&around.store, &weak);
            let mut copier = Copier {
                op: &op,
                writer: &mut writer,
                owner,
                former: former.as_ref(),
                cancel: &cancel,
                excludes: Excludes::new(&op.exclude)?,
                hardlinks: HashMap::new(),
                new: looks,
            };
            for (source, pattern) in selection.sources.iter().zip(patterns(&op)) {
                copier.source(&around, source, pattern, &downloads)?;
            }
            writer.finish()?;
            layer::commit(&around, snapshot, &lease)
        })
        .await
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
    former: Option<&'w Former>,
    pub(crate) cancel: &'w CancellationToken,
    excludes: Excludes,
    /// The first new name of each source inode that has several.
    hardlinks: HashMap<(u64, u64), PathBuf>,
    /// Looks of things made from nothing.
    pub(crate) new: Looks,
}

/// Opens files of one source tree, keeping the last folder open.
pub(crate) struct Opener {
    root: Root,
    last: Option<(Vec<u8>, Arc<Dir>)>,
}

impl Opener {
    pub(crate) fn new(root: Root) -> Self {
        Self { root, last: None }
    }

    /// The open folder of `path`.
    pub(crate) fn folder(&mut self, path: &[u8]) -> Result<Arc<Dir>, OpFailure> {
        let parent = select::parent(path);
        if let Some((known, dir)) = &self.last
            && known == parent
        {
            return Ok(dir.clone());
        }
        let dir = Arc::new(self.root.open_dir(as_path(parent)).map_err(OpFailure::sys("open a folder to copy from"))?);
        self.last = Some((parent.to_vec(), dir.clone()));
        Ok(dir)
    }
}

impl Copier<'_, '_> {
    fn source(
        &mut self,
        around: &Arc<Around>,
        source: &Selected,
        pattern: &str,
        downloads: &HashMap<String, add::Download>,
    ) -> Result<(), OpFailure> {
        match &source.origin {
            SelectedFrom::Inline { name, content } => {
                let mut looks = Looks { mode: 0o644, ..self.new.clone() };
                looks.mode = self.mode(0o644, false);
                let path = self.place_of_file(name.as_bytes())?;
                self.writer.put_file(&path, &Content::Bytes(content.as_bytes()), &looks)
            }
            SelectedFrom::Url { url } => {
                let download = downloads.get(url).ok_or_else(|| OpFailure::internal("a download is missing"))?;
                add::put_download(self, url, download)
            }
            SelectedFrom::Context => {
                let context = around.context.clone().ok_or_else(|| OpFailure::internal("there is no build context"))?;
                let mut files = FromContext { opener: Opener::new(context.root()?), context: &context };
                self.matches(&mut files, source, pattern)
            }
            SelectedFrom::Tree(stack) => {
                let view = View::of(&around.store, stack)?;
                let mut files = FromTree { view: &view, folders: HashMap::new() };
                self.matches(&mut files, source, pattern)
            }
        }
    }

    fn matches(&mut self, files: &mut dyn SourceFiles, source: &Selected, pattern: &str) -> Result<(), OpFailure> {
        for found in &source.matches {
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
        let node = files.tree().node(&found.real)?.ok_or_else(|| gone(&found.real))?;
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
        let node = files.tree().node(&found.real)?.ok_or_else(|| gone(&found.real))?;
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
        for (relative, path, node) in &todo {
            self.entry(files, path, node, &folder.join(as_path(relative)))?;
        }
        Ok(())
    }

    /// Puts one thing of a source at `path`.
    fn entry(&mut self, files: &mut dyn SourceFiles, source: &[u8], node: &SourceNode, path: &Path) -> Result<(), OpFailure> {
        if self.cancel.is_cancelled() {
            return Err(OpFailure::Cancelled);
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

    fn regular(&mut self, files: &mut dyn SourceFiles, source: &[u8], node: &SourceNode, path: &Path, mut looks: Looks) -> Result<(), OpFailure> {
        let inode = files.shared_inode(source)?;
        if let Some(first) = inode.and_then(|inode| self.hardlinks.get(&inode)).cloned() {
            return self.writer.put_hardlink(path, &first);
        }
        if let Some(inode) = inode {
            self.hardlinks.insert(inode, path.to_owned());
        }
        let unchanged = (looks.mode, looks.uid, looks.gid) == (node.mode, node.uid, node.gid);
        if unchanged && let Some(folder) = files.linkable(source)? {
            let name = OsStr::from_bytes(base_name(source)).to_owned();
            return self.writer.put_file(path, &Content::Link { folder: &folder, name: &name }, &looks);
        }
        looks.mtime = files.time(source)?;
        if let (Some(former), Some(content)) = (self.former, &node.content)
            && let Some(folder) = former.same(path, content, node.size, &looks)?
        {
            let name = path.file_name().unwrap_or_default();
            return self.writer.put_file(path, &Content::Link { folder: &folder, name }, &looks);
        }
        let (file, size) = files.open(source)?;
        self.writer.put_file(path, &Content::File { file: &file, size }, &looks)?;
        files.still_the_same(source, &file)
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

/// The bytes and times behind a source tree.
trait SourceFiles {
    fn tree(&self) -> &dyn SourceTree;
    /// Opens a regular file and tells its size; nothing else is ever opened.
    fn open(&mut self, path: &[u8]) -> Result<(std::fs::File, u64), OpFailure>;
    /// When `path` itself was last changed.
    fn time(&mut self, path: &[u8]) -> Result<Time, OpFailure>;
    /// The inode of a file that has several names.
    fn shared_inode(&mut self, path: &[u8]) -> Result<Option<(u64, u64)>, OpFailure>;
    /// The folder of a file that may get a further name instead of being copied.
    fn linkable(&mut self, path: &[u8]) -> Result<Option<Arc<Dir>>, OpFailure>;
    /// Makes sure that a file just copied is the one whose content was learned.
    fn still_the_same(&mut self, path: &[u8], file: &std::fs::File) -> Result<(), OpFailure>;
}

struct FromContext<'a> {
    context: &'a ContextFiles,
    opener: Opener,
}

impl SourceFiles for FromContext<'_> {
    fn tree(&self) -> &dyn SourceTree {
        self.context
    }

    fn open(&mut self, path: &[u8]) -> Result<(std::fs::File, u64), OpFailure> {
        let folder = self.opener.folder(path)?;
        let name = OsStr::from_bytes(base_name(path));
        let (file, found) = folder.open_regular(name).map_err(OpFailure::sys("open a file of the build context"))?;
        self.context.expect(path, &found)?;
        Ok((file, found.size))
    }

    fn time(&mut self, path: &[u8]) -> Result<Time, OpFailure> {
        Ok(self.context.time(path))
    }

    fn shared_inode(&mut self, path: &[u8]) -> Result<Option<(u64, u64)>, OpFailure> {
        Ok(self.context.shared_inode(path))
    }

    fn linkable(&mut self, _path: &[u8]) -> Result<Option<Arc<Dir>>, OpFailure> {
        // The user may write into the file later; a layer must not change with it.
        Ok(None)
    }

    fn still_the_same(&mut self, path: &[u8], file: &std::fs::File) -> Result<(), OpFailure> {
        let found = shipway_sys::path::metadata(file).map_err(OpFailure::sys("look at a file of the build context"))?;
        self.context.expect(path, &found)
    }
}

struct FromTree<'a> {
    view: &'a View,
    /// Open folders by layer folder.
    folders: HashMap<PathBuf, Opener>,
}

impl FromTree<'_> {
    fn place(&mut self, path: &[u8]) -> Result<Arc<Dir>, OpFailure> {
        let layer = self.view.folder_holding(path).ok_or_else(|| gone(path))?;
        if !self.folders.contains_key(&layer) {
            let root = Root::open(&layer).map_err(OpFailure::sys("open a layer"))?;
            self.folders.insert(layer.clone(), Opener::new(root));
        }
        match self.folders.get_mut(&layer) {
            Some(opener) => opener.folder(path),
            None => Err(gone(path)),
        }
    }
}

impl SourceFiles for FromTree<'_> {
    fn tree(&self) -> &dyn SourceTree {
        self.view
    }

    fn open(&mut self, path: &[u8]) -> Result<(std::fs::File, u64), OpFailure> {
        let folder = self.place(path)?;
        let (file, found) = folder.open_regular(OsStr::from_bytes(base_name(path))).map_err(OpFailure::sys("open a file of a layer"))?;
        Ok((file, found.size))
    }

    fn time(&mut self, path: &[u8]) -> Result<Time, OpFailure> {
        if path.is_empty() {
            return Ok(Time::default());
        }
        let found = self.place(path)?.stat(OsStr::from_bytes(base_name(path))).map_err(OpFailure::sys("look at a file of a layer"))?;
        Ok(found.mtime)
    }

    fn shared_inode(&mut self, _path: &[u8]) -> Result<Option<(u64, u64)>, OpFailure> {
        // Linking keeps shared inodes shared; only a changed owner or mode copies them, each by itself.
        Ok(None)
    }

    fn linkable(&mut self, path: &[u8]) -> Result<Option<Arc<Dir>>, OpFailure> {
        self.place(path).map(Some)
    }

    fn still_the_same(&mut self, _path: &[u8], _file: &std::fs::File) -> Result<(), OpFailure> {
        Ok(())
    }
}

fn gone(path: &[u8]) -> OpFailure {
    OpFailure::internal(format!("\"{}\" was there a moment ago", String::from_utf8_lossy(path)))
}

fn not_a_folder(destination: &str) -> OpFailure {
    OpFinding::new("E-COPY-NOT-A-FOLDER", ErrorKind::Invalid, format!("the destination \"{destination}\" exists in the image and is not a folder"))
        .hint("give another destination, or remove the file with RUN rm first")
        .docker(format!("cannot copy to non-directory: {}", destination.trim_end_matches('/')))
        .into()
}
