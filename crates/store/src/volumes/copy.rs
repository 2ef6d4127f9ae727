//! A folder copied whole into another: clones of volumes.
//!
//! What must stay true: every step goes from an open folder to one name in it and follows nothing, so that whatever a container swaps meanwhile leads
//! nowhere (S-217); blocks are shared where the filesystem can.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::io::Errno;
use shipway_sys::Error;
use shipway_sys::copy::copy_file;
use shipway_sys::path::{Dir, DirEntry, FileKind, Metadata, Root, metadata, set_mode, set_owner, set_times};
use shipway_sys::xattr;

/// Deeper trees are refused: each level is two handles.
const DEEPEST: usize = 256;

/// A folder being copied.
struct Level {
    from: Dir,
    to: Dir,
    /// Of `to`, below the copy's root.
    path: PathBuf,
    left: std::vec::IntoIter<DirEntry>,
}

/// Copies everything in `from` into the empty folder `into`, with owners, modes, times, attributes, links and holes, those of the folder included.
/// Sockets are left out: they mean nothing without the process behind them. What goes away meanwhile is not copied.
pub(super) fn copy_tree(from: Dir, into: &Root) -> Result<(), Error> {
    // Where inodes with several names were copied to.
    let mut inodes: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let left = from.entries()?.into_iter();
    let mut levels = vec![Level { from, to: into.top()?, path: PathBuf::new(), left }];
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return Ok(()) };
        let Some(entry) = level.left.next() else {
            dress(&level.to, &level.from, &metadata(&level.from)?)?;
            levels.pop();
            continue;
        };
        let Some(found) = level.from.stat_if_there(&entry.name)? else { continue };
        match found.kind {
            FileKind::Directory => {
                let from = level.from.open_dir(&entry.name)?;
                let to = level.to.create_dir(&entry.name, 0o700, None)?;
                if depth >= DEEPEST {
                    return Err(Error::new("copy", Errno::NAMETOOLONG).with_detail("folders are nested too deep"));
                }
                let left = from.entries()?.into_iter();
                let path = level.path.join(&entry.name);
                levels.push(Level { from, to, path, left });
            }
            FileKind::Regular => {
                if let Some(copied) = inodes.get(&(found.dev, found.ino)) {
                    let (folder, name) = into.resolve_parent(copied)?;
                    level.to.create_hardlink(&entry.name, &folder, &name)?;
                    continue;
                }
                let (source, found) = match level.from.open_regular(&entry.name) {
                    Err(error) if error.is_not_found() => continue,
                    other => other?,
                };
                let target = level.to.create_file(&entry.name, 0o600)?;
                copy_file(&source, &target, found.size)?;
                dress(&target, &source, &found)?;
                if found.nlink > 1 {
                    inodes.insert((found.dev, found.ino), level.path.join(&entry.name));
                }
            }
            FileKind::Symlink => {
                level.to.create_symlink(&entry.name, &level.from.read_link(&entry.name)?)?;
                dress(&level.to.handle(&entry.name)?, &level.from.handle(&entry.name)?, &found)?;
            }
            FileKind::CharDevice | FileKind::BlockDevice | FileKind::Fifo => {
                level.to.create_node(&entry.name, found.kind, 0o600, found.rdev)?;
                dress(&level.to.handle(&entry.name)?, &level.from.handle(&entry.name)?, &found)?;
            }
            FileKind::Socket | FileKind::Unknown => {}
        }
    }
}

/// Owner first, because changing it takes set-id bits and capabilities away.
fn dress(made: impl AsFd, source: impl AsFd, found: &Metadata) -> Result<(), Error> {
    let made = made.as_fd();
    set_owner(made, found.uid, found.gid)?;
    if found.kind != FileKind::Symlink {
        set_mode(made, found.mode)?;
    }
    for (key, value) in xattr::get_all(source)? {
        match xattr::set(made, &key, &value) {
            Err(error) if matches!(error.errno, Errno::OPNOTSUPP | Errno::PERM) => {}
            other => other?,
        }
    }
    set_times(made, found.mtime)
}
