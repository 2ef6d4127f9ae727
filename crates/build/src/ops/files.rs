//! The bytes and times behind the trees a COPY reads from.
//!
//! What must stay true: nothing but regular files is ever opened; a file of the context is never linked into a layer, because its owner may write to it
//! later; a file of a layer may be, because layers never change.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use shipway_sys::path::{Dir, Root, Time};

use crate::context::ContextFiles;
use crate::ops::OpFailure;
use crate::ops::layer::View;
use crate::ops::select::{self, SourceTree, as_path, base_name};

/// The bytes and times behind a source tree.
pub(crate) trait SourceFiles {
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

/// Files of the build context, which the user may change at any time.
pub(crate) struct FromContext<'a> {
    context: &'a ContextFiles,
    opener: Opener,
}

impl<'a> FromContext<'a> {
    pub(crate) fn new(context: &'a ContextFiles) -> Result<Self, OpFailure> {
        Ok(Self { context, opener: Opener::new(context.root()?) })
    }
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

/// Files of layers, which never change.
pub(crate) struct FromTree<'a> {
    view: &'a View,
    /// Open folders by layer folder.
    folders: HashMap<PathBuf, Opener>,
}

impl<'a> FromTree<'a> {
    pub(crate) fn new(view: &'a View) -> Self {
        Self { view, folders: HashMap::new() }
    }

    fn place(&mut self, path: &[u8]) -> Result<Arc<Dir>, OpFailure> {
        let layer = self.view.folder_holding(path)?.ok_or_else(|| gone(path))?;
        if !self.folders.contains_key(layer) {
            let root = Root::open(layer).map_err(OpFailure::sys("open a layer"))?;
            self.folders.insert(layer.to_owned(), Opener::new(root));
        }
        match self.folders.get_mut(layer) {
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

/// Opens folders of one tree, keeping the last one open: files come folder by folder.
pub(crate) struct Opener {
    root: Root,
    last: Option<(Vec<u8>, Arc<Dir>)>,
}

impl Opener {
    pub(crate) fn new(root: Root) -> Self {
        Self { root, last: None }
    }

    /// The open folder that `path` is in.
    fn folder(&mut self, path: &[u8]) -> Result<Arc<Dir>, OpFailure> {
        self.open(select::parent(path)).map_err(OpFailure::sys("open a folder to copy from"))
    }

    /// The folder `path`, open.
    pub(crate) fn open(&mut self, path: &[u8]) -> Result<Arc<Dir>, shipway_sys::Error> {
        if let Some((known, dir)) = &self.last
            && known == path
        {
            return Ok(dir.clone());
        }
        let dir = Arc::new(self.root.open_dir(as_path(path))?);
        self.last = Some((path.to_vec(), dir.clone()));
        Ok(dir)
    }
}

/// Something that was found and then was not there.
pub(crate) fn gone(path: &[u8]) -> OpFailure {
    OpFailure::internal(format!("\"{}\" was there a moment ago", String::from_utf8_lossy(path)))
}
