//! The first use of a volume: an empty one gets what the image has at its mount point.
//!
//! What must stay true: the copy is made whole in `volumes/<name>/fill` and synced before the transaction that promises it; that transaction holds an
//! intent, and from then on the pieces are moved into `_data` one by one, as often as it takes. A crash before it leaves an empty volume, one after
//! it is finished by the next start; nobody ever sees half of a file. Links are copied, never followed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::RenameFlags;
use rustix::io::Errno;
use shipway_archive::index::{EntryRef, IndexEntry, Node, is_within};
use shipway_archive::tree::Last;
use shipway_sys::durable::fault;
use shipway_sys::path::{Dir, FileKind, Metadata, Root, metadata, set_mode, set_owner, set_times};
use shipway_sys::{copy, xattr};

use crate::error::Doing as _;
use crate::tree::Tree;
use crate::{Error, Result};

/// How many folders are kept open while copying.
const OPEN_FOLDERS: usize = 128;

/// What an empty volume is filled with: a folder of an image.
#[derive(Debug, Clone)]
pub struct Seed {
    tree: Tree,
    folder: Vec<u8>,
}

/// What an image has at a mount point.
#[derive(Debug, Clone)]
pub enum AtTarget {
    /// Nothing.
    Nothing,
    /// A folder, with which a volume can be filled.
    Folder(Seed),
    /// Something that is no folder.
    Other,
}

impl Seed {
    /// Looks `target` up in `tree`, symlinks followed inside it (S-120).
    ///
    /// # Errors
    /// When the index of a layer cannot be read.
    pub fn at(tree: &Tree, target: &str) -> Result<AtTarget> {
        let folder = match tree.resolve(target.trim_start_matches('/').as_bytes(), Last::Follow) {
            Ok(folder) => folder,
            Err(shipway_archive::Error::NotFound { .. }) => return Ok(AtTarget::Nothing),
            Err(error) => return Err(error.into()),
        };
        Ok(match tree.lookup(&folder)? {
            Some(entry) if entry.is_dir() => AtTarget::Folder(Self { tree: tree.clone(), folder }),
            Some(_) => AtTarget::Other,
            None => AtTarget::Nothing,
        })
    }

    /// Copies everything into the new folder `stage`.
    pub(super) fn copy_to(&self, stage: &Path) -> Result<()> {
        let doing = || format!("copy /{} of the image into a volume", String::from_utf8_lossy(&self.folder));
        let stage = Root::open(stage).doing(doing)?;
        let mut copier = Copier { tree: &self.tree, skip: self.folder.len(), stage, open: HashMap::new(), inodes: HashMap::new() };
        // A folder's time changes with every name in it: it is set when the folder is left.
        let mut folders: Vec<EntryRef> = Vec::new();
        for entry in self.tree.walk(&self.folder)? {
            let entry = entry?;
            while let Some(left) = folders.pop_if(|folder| !is_within(&entry.path, &folder.path)) {
                copier.finish_folder(&left).map_err(|error| in_copy(error, &doing()))?;
            }
            if entry.path.len() > self.folder.len() {
                copier.put(&entry).map_err(|error| in_copy(error, &doing()))?;
            }
            if entry.is_dir() {
                folders.push(entry);
            }
        }
        while let Some(left) = folders.pop() {
            copier.finish_folder(&left).map_err(|error| in_copy(error, &doing()))?;
        }
        Ok(())
    }
}

fn in_copy(error: Error, doing: &str) -> Error {
    match error {
        Error::Sys { source, .. } if source.is_no_space() => Error::NoSpace { needed: None },
        Error::Sys { source, .. } => Error::Sys { doing: doing.to_owned(), source },
        other => other,
    }
}

struct Copier<'a> {
    tree: &'a Tree,
    /// Length of the source folder's path.
    skip: usize,
    stage: Root,
    /// Some of the folders made, by their path below the stage.
    open: HashMap<Vec<u8>, Rc<Dir>>,
    /// Files with several names: layer and first path, to the place of the copy.
    inodes: HashMap<(usize, Vec<u8>), Vec<u8>>,
}

impl Copier<'_> {
    fn inside<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        let rest = &path[self.skip.min(path.len())..];
        rest.strip_prefix(b"/").unwrap_or(rest)
    }

    fn put(&mut self, entry: &IndexEntry) -> Result<()> {
        let place = self.inside(&entry.path).to_vec();
        let name = OsStr::from_bytes(entry.name());
        let parent = &place[..place.len().saturating_sub(entry.name().len() + 1)];
        let folder = self.folder(parent)?;
        let made = |errno: shipway_sys::Error| Error::Sys { doing: String::new(), source: errno };
        match &entry.node {
            Node::Whiteout => Ok(()),
            Node::Directory { .. } => {
                folder.create_dir(name, 0o700, None).map_err(made)?;
                Ok(())
            }
            Node::File { size, hardlink, .. } => {
                let first = hardlink.as_ref().unwrap_or(&entry.path).clone();
                let inode = (self.tree.origin(&entry.path)?.unwrap_or_default(), first);
                if let Some(copied) = self.inodes.get(&inode) {
                    let (old_parent, old_name) = split(copied);
                    let (old_parent, old_name) = (old_parent.to_vec(), old_name.to_vec());
                    let old = self.folder(&old_parent)?;
                    return folder.create_hardlink(name, &old, OsStr::from_bytes(&old_name)).map_err(made);
                }
                let (source, found) = self.source(entry)?;
                let target = folder.create_file(name, 0o600).map_err(made)?;
                copy::copy_file(&source, &target, *size).map_err(made)?;
                dress(&target, entry, &found)?;
                self.inodes.insert(inode, place);
                Ok(())
            }
            Node::Symlink { target } => {
                folder.create_symlink(name, OsStr::from_bytes(target)).map_err(made)?;
                self.dress_new(&folder, name, entry)
            }
            Node::CharDevice(major, minor) => {
                folder.create_node(name, FileKind::CharDevice, 0o600, (*major, *minor)).map_err(made)?;
                self.dress_new(&folder, name, entry)
            }
            Node::BlockDevice(major, minor) => {
                folder.create_node(name, FileKind::BlockDevice, 0o600, (*major, *minor)).map_err(made)?;
                self.dress_new(&folder, name, entry)
            }
            Node::Fifo => {
                folder.create_node(name, FileKind::Fifo, 0o600, (0, 0)).map_err(made)?;
                self.dress_new(&folder, name, entry)
            }
        }
    }

    fn dress_new(&self, folder: &Dir, name: &OsStr, entry: &IndexEntry) -> Result<()> {
        let handle = folder.handle(name).doing(String::new)?;
        dress(&handle, entry, &self.looks(entry)?)
    }

    fn finish_folder(&mut self, entry: &IndexEntry) -> Result<()> {
        let place = self.inside(&entry.path).to_vec();
        let looks = self.looks(entry)?;
        dress(&*self.folder(&place)?, entry, &looks)
    }

    /// A folder of the copy, by its path in it.
    fn folder(&mut self, place: &[u8]) -> Result<Rc<Dir>> {
        if let Some(open) = self.open.get(place) {
            return Ok(Rc::clone(open));
        }
        if self.open.len() >= OPEN_FOLDERS {
            self.open.clear();
        }
        let path = if place.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(place)) };
        let dir = Rc::new(self.stage.open_dir(path).doing(String::new)?);
        self.open.insert(place.to_vec(), Rc::clone(&dir));
        Ok(dir)
    }

    fn source(&self, entry: &IndexEntry) -> Result<(std::fs::File, Metadata)> {
        let path = Path::new(OsStr::from_bytes(&entry.path));
        let file = self.tree.layer_root(path)?.open_regular(path).doing(String::new)?;
        let found = metadata(&file).doing(String::new)?;
        Ok((file, found))
    }

    /// The inode in its layer; the index does not know times.
    fn looks(&self, entry: &IndexEntry) -> Result<Metadata> {
        let path = Path::new(OsStr::from_bytes(&entry.path));
        let root = self.tree.layer_root(path)?;
        if entry.path.is_empty() { metadata(root.as_fd()).doing(String::new) } else { root.lstat(path).doing(String::new) }
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Owner first, because changing it takes set-id bits and capabilities away.
fn dress(made: impl AsFd, entry: &IndexEntry, found: &Metadata) -> Result<()> {
    let made = made.as_fd();
    set_owner(made, entry.uid, entry.gid).doing(String::new)?;
    if !matches!(entry.node, Node::Symlink { .. }) {
        set_mode(made, entry.mode).doing(String::new)?;
    }
    for (key, value) in &entry.xattrs {
        match xattr::set(made, key, value) {
            // An attribute the volume's filesystem does not take is no reason to refuse the volume.
            Err(error) if matches!(error.errno, Errno::OPNOTSUPP | Errno::PERM) => {}
            other => other.doing(String::new)?,
        }
    }
    set_times(made, found.mtime).doing(String::new)
}

/// True when a folder has no names in it.
pub(super) fn is_empty(data: &Path) -> Result<bool> {
    let entries = Root::open(data).and_then(|root| root.top()).and_then(Dir::into_entries).doing(|| format!("read folder {data:?}"))?;
    Ok(entries.is_empty())
}

/// Moves everything from `stage` into `data` and gives `data` the looks of `stage`. Safe to repeat; nothing happens when there is no stage.
/// What somebody put into the volume meanwhile stays.
pub(super) fn move_in(stage: &Path, data: &Path) -> Result<()> {
    let doing = || format!("fill the volume at {data:?}");
    let from = match Root::open(stage).and_then(|root| root.top()) {
        Err(error) if error.is_not_found() => return Ok(()),
        other => other.doing(doing)?,
    };
    let to = Root::open(data).and_then(|root| root.top()).doing(doing)?;
    for entry in from.entries().doing(doing)? {
        match from.rename(&entry.name, &to, &entry.name, RenameFlags::NOREPLACE) {
            Ok(()) => fault::point("store.volume.moved"),
            Err(error) if error.errno == Errno::EXIST => {}
            Err(error) => return Err(error).doing(doing),
        }
    }
    let looks = metadata(&from).doing(doing)?;
    set_owner(&to, looks.uid, looks.gid).doing(doing)?;
    set_mode(&to, looks.mode).doing(doing)?;
    for (key, value) in xattr::get_all(&from).doing(doing)? {
        // Those of the filesystem itself (ACLs it derives) may be refused; the copy took the others when it was made.
        let _ = xattr::set(&to, &key, &value);
    }
    set_times(&to, looks.mtime).doing(doing)
}

/// Where a volume's first content is put together.
pub(super) fn stage_of(volume: &Path) -> PathBuf {
    volume.join("fill")
}
