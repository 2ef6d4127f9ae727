//! Putting single things at their place in the new layer: files, further names, symlinks, nodes.
//!
//! What must stay true: a name that is taken is made free first, never written through; owner before mode, because changing the owner takes set-id bits.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use rustix::io::Errno;
use shipway_model::ErrorKind;
use shipway_sys::path::{Dir, FileKind, set_mode, set_owner, set_times};
use shipway_sys::{copy, xattr};

use super::{Looks, TreeWriter, caller};
use crate::ops::OpFailure;

/// Where the bytes of a new file come from.
pub(crate) enum Content<'a> {
    /// Another name for an inode that looks exactly as wanted; falls back to copying where linking is not possible.
    Link { folder: &'a Dir, name: &'a OsStr },
    /// The first bytes of an open file.
    File { file: &'a File, size: u64 },
    /// These bytes.
    Bytes(&'a [u8]),
}

impl TreeWriter<'_> {
    /// Puts a file at `path` (its folder without symlinks), replacing a file or symlink.
    ///
    /// # Errors
    /// A folder in the way, unless clashes replace.
    pub(crate) fn put_file(&mut self, path: &Path, content: &Content<'_>, looks: &Looks) -> Result<(), OpFailure> {
        let (parent, name) = self.place(path)?;
        let doing = || format!("write \"/{}\"", path.display());
        if let Content::Link { folder, name: old } = content {
            match parent.create_hardlink(name, folder, old) {
                Ok(()) => return Ok(()),
                Err(error) if error.errno == Errno::EXIST => {
                    self.make_way_for(&parent, name, path)?;
                    if parent.create_hardlink(name, folder, old).is_ok() {
                        return Ok(());
                    }
                }
                // Too many links, another filesystem, a kernel that protects links: the bytes are copied instead.
                Err(error) if matches!(error.errno, Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(OpFailure::sys(doing())(error)),
            }
            let (file, found) = folder.open_regular(old).map_err(OpFailure::sys(doing()))?;
            return self.put_file(path, &Content::File { file: &file, size: found.size }, looks);
        }
        let file = self.create(&parent, name, path)?;
        match content {
            Content::File { file: source, size } => {
                copy::copy_file(source, &file, *size).map_err(OpFailure::sys(doing()))?;
            }
            Content::Bytes(bytes) => std::io::Write::write_all(&mut &file, bytes).map_err(OpFailure::io(doing()))?,
            Content::Link { .. } => {}
        }
        finish_file(&file, looks, path)
    }

    fn create(&mut self, parent: &Dir, name: &OsStr, path: &Path) -> Result<File, OpFailure> {
        match parent.create_file(name, 0o600) {
            Err(error) if error.errno == Errno::EXIST => {
                self.make_way_for(parent, name, path)?;
                parent.create_file(name, 0o600)
            }
            other => other,
        }
        .map_err(OpFailure::sys(format!("write \"/{}\"", path.display())))
    }

    /// Puts a file whose bytes `fill` writes.
    pub(crate) fn put_stream(
        &mut self,
        path: &Path,
        looks: &Looks,
        fill: &mut dyn FnMut(&File) -> Result<(), OpFailure>,
    ) -> Result<(), OpFailure> {
        let (parent, name) = self.place(path)?;
        let file = self.create(&parent, name, path)?;
        fill(&file)?;
        finish_file(&file, looks, path)
    }

    /// Puts one more name of a file this writer put before.
    pub(crate) fn put_hardlink(&mut self, path: &Path, first: &Path) -> Result<(), OpFailure> {
        let (parent, name) = self.place(path)?;
        let old = first.file_name().unwrap_or_default();
        let folder = self.folder(first.parent().unwrap_or(Path::new("")))?;
        if path == first {
            return Ok(());
        }
        let doing = || format!("link \"/{}\"", path.display());
        match parent.create_hardlink(name, &folder, old) {
            Err(error) if error.errno == Errno::EXIST => {
                self.make_way_for(&parent, name, path)?;
                parent.create_hardlink(name, &folder, old)
            }
            other => other,
        }
        .map_err(OpFailure::sys(doing()))
    }

    /// Leaves `path` to a file that is there without being written, after the checks of writing it.
    pub(crate) fn keep(&mut self, path: &Path) -> Result<(), OpFailure> {
        self.place(path).map(drop)
    }

    /// Hides what a folder under this one has at `path`.
    pub(crate) fn hide(&mut self, path: &Path) -> Result<(), OpFailure> {
        let (parent, name) = self.place(path)?;
        let doing = || format!("hide \"/{}\"", path.display());
        parent.create_node(name, FileKind::CharDevice, 0, (0, 0)).map_err(OpFailure::sys(doing()))
    }

    /// Puts a symlink.
    pub(crate) fn put_symlink(&mut self, path: &Path, target: &OsStr, looks: &Looks) -> Result<(), OpFailure> {
        let (parent, name) = self.place(path)?;
        let doing = || format!("make symlink \"/{}\"", path.display());
        match parent.create_symlink(name, target) {
            Err(error) if error.errno == Errno::EXIST => {
                self.make_way_for(&parent, name, path)?;
                parent.create_symlink(name, target)
            }
            other => other,
        }
        .map_err(OpFailure::sys(doing()))?;
        let handle = parent.handle(name).map_err(OpFailure::sys(doing()))?;
        if (looks.uid, looks.gid) != caller() {
            set_owner(&handle, looks.uid, looks.gid).map_err(OpFailure::sys(doing()))?;
        }
        set_times(&handle, looks.mtime).map_err(OpFailure::sys(doing()))
    }

    /// Puts a device, FIFO or socket. It is made, never opened.
    ///
    /// # Errors
    /// The character device 0:0, which overlayfs reads as "deleted".
    pub(crate) fn put_node(&mut self, path: &Path, kind: FileKind, device: (u32, u32), looks: &Looks) -> Result<(), OpFailure> {
        if kind == FileKind::CharDevice && device == (0, 0) {
            let message = format!("\"/{}\" is a character device 0:0, which would hide a file instead of being one", path.display());
            return Err(OpFailure::finding("E-COPY-DEVICE", ErrorKind::Invalid, message));
        }
        let (parent, name) = self.place(path)?;
        let doing = || format!("make {kind} \"/{}\"", path.display());
        match parent.create_node(name, kind, looks.mode, device) {
            Err(error) if error.errno == Errno::EXIST => {
                self.make_way_for(&parent, name, path)?;
                parent.create_node(name, kind, looks.mode, device)
            }
            other => other,
        }
        .map_err(OpFailure::sys(doing()))?;
        let handle = parent.handle(name).map_err(OpFailure::sys(doing()))?;
        if (looks.uid, looks.gid) != caller() {
            set_owner(&handle, looks.uid, looks.gid).map_err(OpFailure::sys(doing()))?;
        }
        set_mode(&handle, looks.mode).map_err(OpFailure::sys(doing()))?;
        set_times(&handle, looks.mtime).map_err(OpFailure::sys(doing()))
    }
}

/// Gives a file just written its looks. The owner comes first: changing it takes set-id bits and capabilities away.
fn finish_file(file: &File, looks: &Looks, path: &Path) -> Result<(), OpFailure> {
    let doing = || format!("write \"/{}\"", path.display());
    let foreign = (looks.uid, looks.gid) != caller();
    if foreign {
        set_owner(file, looks.uid, looks.gid).map_err(OpFailure::sys(doing()))?;
    }
    if foreign || looks.mode != 0o600 {
        set_mode(file, looks.mode).map_err(OpFailure::sys(doing()))?;
    }
    for (key, value) in &looks.xattrs {
        xattr::set(file, key, value).map_err(OpFailure::sys(doing()))?;
    }
    set_times(file, looks.mtime).map_err(OpFailure::sys(doing()))
}
