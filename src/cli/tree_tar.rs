//! A file or folder here as a tar: build contexts and `cp` into containers.
//!
//! What must stay true: entries come in the order of their names, so that the same folder gives the same tar; what is left out is not even read;
//! sockets are skipped, as docker does.

use shipway_archive::ignore::{IgnoreFile, Verdict};
use shipway_archive::tar::{Entry, EntryKind, TarWriter};
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// What goes into the tar.
pub(crate) struct TreeTar<'a, W: Write> {
    pub(crate) writer: &'a mut TarWriter<W>,
    /// Paths left out.
    pub(crate) ignore: &'a IgnoreFile,
    /// Paths that go in although they are left out: the Dockerfile and the ignore file, which the daemon reads itself.
    pub(crate) always: &'a [Vec<u8>],
    /// Keep owners; otherwise everything is root's.
    pub(crate) keep_owner: bool,
    /// First names of files with several.
    pub(crate) linked: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> TreeTar<'_, W> {
    /// Adds everything below `folder`, named from `prefix` (empty at the top).
    pub(crate) fn folder(&mut self, folder: &Path, prefix: &[u8], verdict: &Verdict) -> io::Result<()> {
        let mut children: Vec<fs::DirEntry> = fs::read_dir(folder).map_err(|error| at(folder, error))?.collect::<Result<_, _>>()?;
        children.sort_by_key(fs::DirEntry::file_name);
        for child in children {
            let name = child.file_name();
            let path = if prefix.is_empty() { name.as_bytes().to_vec() } else { [prefix, b"/", name.as_bytes()].concat() };
            let judged = self.ignore.judge(&path, verdict);
            let wanted = !judged.excluded || self.always.contains(&path);
            let whole = child.path();
            if child.file_type()?.is_dir() {
                if self.ignore.may_skip_dir(&path, &judged)
                    && !self.always.iter().any(|kept| kept.starts_with(&[path.as_slice(), b"/"].concat()))
                {
                    continue;
                }
                if wanted {
                    self.one(&whole, &path)?;
                }
                self.folder(&whole, &path, &judged)?;
            } else if wanted {
                self.one(&whole, &path)?;
            }
        }
        Ok(())
    }

    /// Adds one file, link or folder (without what is below it) under the name `path`.
    pub(crate) fn one(&mut self, whole: &Path, path: &[u8]) -> io::Result<()> {
        let metadata = fs::symlink_metadata(whole).map_err(|error| at(whole, error))?;
        self.described(whole, path, &metadata)
    }

    /// As `one`, following a link at the end.
    pub(crate) fn followed(&mut self, whole: &Path, path: &[u8]) -> io::Result<()> {
        let metadata = fs::metadata(whole).map_err(|error| at(whole, error))?;
        self.described(whole, path, &metadata)
    }

    fn described(&mut self, whole: &Path, path: &[u8], metadata: &Metadata) -> io::Result<()> {
        let Some(kind) = kind(metadata) else { return Ok(()) };
        let mut entry = Entry::new(path, kind);
        entry.mode = metadata.mode() & 0o7777;
        entry.mtime.seconds = metadata.mtime();
        if self.keep_owner {
            (entry.uid, entry.gid) = (metadata.uid(), metadata.gid());
        }
        match kind {
            EntryKind::Directory => entry.path.push(b'/'),
            EntryKind::Symlink => entry.link = fs::read_link(whole).map_err(|error| at(whole, error))?.as_os_str().as_bytes().to_vec(),
            EntryKind::Regular if metadata.nlink() > 1 => {
                if let Some(first) = self.linked.get(&(metadata.dev(), metadata.ino())) {
                    entry.kind = EntryKind::Hardlink;
                    entry.link.clone_from(first);
                } else {
                    self.linked.insert((metadata.dev(), metadata.ino()), path.to_vec());
                }
            }
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                entry.device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            }
            _ => {}
        }
        if entry.kind != EntryKind::Regular {
            return self.writer.start(&entry).map_err(io::Error::other);
        }
        let mut file = fs::File::open(whole).map_err(|error| at(whole, error))?;
        entry.size = metadata.len();
        self.writer.start(&entry).map_err(io::Error::other)?;
        // A file that grows while it is read gives what it had; one that shrinks is an error of the writer's.
        io::copy(&mut io::Read::take(&mut file, entry.size), self.writer)?;
        Ok(())
    }
}

fn kind(metadata: &Metadata) -> Option<EntryKind> {
    let kind = metadata.file_type();
    Some(match () {
        () if kind.is_file() => EntryKind::Regular,
        () if kind.is_dir() => EntryKind::Directory,
        () if kind.is_symlink() => EntryKind::Symlink,
        () if kind.is_fifo() => EntryKind::Fifo,
        () if kind.is_char_device() => EntryKind::CharDevice,
        () if kind.is_block_device() => EntryKind::BlockDevice,
        () => return None,
    })
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
