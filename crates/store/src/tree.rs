//! The merged view of a stack of layers without mounting it: what is where from the indexes, bytes through the right layer's folder.

use std::ffi::OsStr;
use std::fs::File;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use shipway_archive::index::IndexEntry;
use shipway_archive::tree::{self as view, Last};
use shipway_archive::unpack::Lower;
use shipway_model::LayerId;
use shipway_sys::path::Root;

use crate::error::Doing as _;
use crate::open::Store;
use crate::{Error, Result};

/// A stack of layers as one tree. Dereferences to the view of `archive`, which answers lookups, lists, patterns and digests from the indexes alone.
///
/// It does not keep its layers from being collected; whoever holds a tree holds a lease too.
#[derive(Clone)]
pub struct Tree {
    view: Arc<view::Tree>,
    /// Lowest first, as the view counts them.
    layers: Arc<[Place]>,
}

/// Where one layer of the stack is.
struct Place {
    id: LayerId,
    /// Uppermost first.
    folders: Vec<PathBuf>,
    roots: OnceLock<Vec<Root>>,
}

impl Store {
    /// The merged view of `layers`, bottom first. Their indexes are opened, their files are not.
    pub fn tree(&self, layers: &[LayerId]) -> Result<Tree> {
        let indexes = layers.iter().map(|layer| self.layer_index(layer)).collect::<Result<Vec<_>>>()?;
        let places: Vec<Place> =
            layers.iter().map(|layer| Place { id: *layer, folders: self.folders_of(layer), roots: OnceLock::new() }).collect();
        Ok(Tree { view: Arc::new(view::Tree::new(indexes)), layers: places.into() })
    }
}

impl Tree {
    /// Opens the regular file at `path`, symlinks followed inside the tree.
    ///
    /// # Errors
    /// `NotFound` when nothing is there; `Sys` when it is no regular file.
    pub fn open(&self, path: &Path) -> Result<File> {
        let clean = self.view.resolve(path.as_os_str().as_bytes(), Last::Follow).map_err(|error| match error {
            shipway_archive::Error::NotFound { .. } => Error::not_found("file", path.display()),
            other => other.into(),
        })?;
        self.open_at(&clean)
    }

    /// The layer that `path` (clean and relative, no symlink followed) is seen from, and where it lies on the disk; for hard-linking it elsewhere.
    pub fn layer_path(&self, path: &Path) -> Result<Option<(LayerId, PathBuf)>> {
        let Some(place) = self.place(path)? else { return Ok(None) };
        Ok(Some((place.id, place.folders[place.holding(path)?].join(path))))
    }

    /// A handle on the folder of the layer that `path` is seen from, beneath which `path` names the same thing.
    pub fn layer_root(&self, path: &Path) -> Result<&Root> {
        let place = self.place(path)?.ok_or_else(|| Error::not_found("file", path.display()))?;
        Ok(&place.roots()?[place.holding(path)?])
    }

    /// The folder beneath which `path` (clean and relative, no symlink followed) lies.
    pub fn folder_holding(&self, path: &Path) -> Result<Option<&Path>> {
        let Some(place) = self.place(path)? else { return Ok(None) };
        Ok(Some(&place.folders[place.holding(path)?]))
    }

    /// The layers, bottom first.
    pub fn layers(&self) -> Vec<LayerId> {
        self.layers.iter().map(|place| place.id).collect()
    }

    fn place(&self, path: &Path) -> Result<Option<&Place>> {
        Ok(self.view.origin(path.as_os_str().as_bytes())?.map(|number| &self.layers[number]))
    }

    fn open_at(&self, clean: &[u8]) -> Result<File> {
        let path = Path::new(OsStr::from_bytes(clean));
        self.layer_root(path)?.open_regular(path).doing(|| format!("open {path:?} of a layer"))
    }
}

impl Place {
    fn roots(&self) -> Result<&[Root]> {
        if let Some(roots) = self.roots.get() {
            return Ok(roots);
        }
        let open = |folder: &PathBuf| Root::open(folder).doing(|| format!("open {folder:?}"));
        let roots = self.folders.iter().map(open).collect::<Result<Vec<_>>>()?;
        Ok(self.roots.get_or_init(|| roots))
    }

    /// Which of the folders has `path`, which the index of the layer has.
    fn holding(&self, path: &Path) -> Result<usize> {
        let last = self.folders.len() - 1;
        if last == 0 {
            return Ok(0);
        }
        let roots = self.roots()?;
        Ok((0..last).find(|at| roots[*at].lstat(path).is_ok()).unwrap_or(last))
    }
}

impl Deref for Tree {
    type Target = view::Tree;

    fn deref(&self) -> &view::Tree {
        &self.view
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tree").field("layers", &self.layers()).finish_non_exhaustive()
    }
}

/// What the unpacker asks about the layers below the one it unpacks.
impl Lower for Tree {
    fn lookup(&self, path: &[u8]) -> Result<Option<IndexEntry>, shipway_archive::Error> {
        Ok(self.view.lookup(path)?.as_deref().cloned())
    }

    fn open(&self, path: &[u8]) -> Result<Option<File>, shipway_archive::Error> {
        if self.view.lookup(path)?.is_none() {
            return Ok(None);
        }
        match self.open_at(path) {
            Ok(file) => Ok(Some(file)),
            Err(Error::Sys { source, .. }) => Err(source.into()),
            Err(_) => Ok(None),
        }
    }
}
