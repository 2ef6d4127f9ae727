//! From files below open folders to a tar, as a person copies them out: `cp` and `export` of containers, `export` of volumes.
//!
//! What must stay true: every step goes from an open folder to one name in it and follows nothing, so whatever is swapped meanwhile leads nowhere;
//! a FIFO, socket or device is never opened; the body of a file has exactly the length its header says, or the archive breaks off with an error.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::OFlags;
use shipway_sys::copy::stretches_of_data;
use shipway_sys::path::{Dir, DirEntry, FileKind, Metadata, Time};
use shipway_sys::xattr;

use crate::Error;
use crate::error::show;
use crate::tar::{Entry, EntryKind, Segment, TarWriter};
use crate::whiteout;

/// Read and written at once.
const BUFFER: usize = 128 * 1024;

/// Filesystems that show the kernel, not files: their folders are packed empty.
const NOT_FILES: &[u64] = &[
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x27_e0eb,   // cgroup
    0x6367_7270, // cgroup2
    0x1980_0202, // mqueue
    0x1cd1,      // devpts
];

/// Folders within folders that are followed: each is a handle, and a container may nest them without end. Paths of the kernel's longest length,
/// one letter a folder, are as deep.
const DEEPEST: usize = 2048;

/// Packs what it is shown into one archive.
pub struct Packer<W: Write> {
    tar: TarWriter<W>,
    /// First name in the archive of inodes with several names.
    names: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    fidelity: Fidelity,
}

/// How much of a file the archive tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fidelity {
    /// As Docker's archives: whole seconds, holes filled with zeros, no access lists.
    Docker,
    /// As much as tar can: nanoseconds, holes, access lists.
    Full,
}

/// A folder being walked.
struct Level {
    dir: Dir,
    /// Its name in the archive, with a slash at the end unless empty.
    prefix: Vec<u8>,
    device: u64,
    left: std::vec::IntoIter<DirEntry>,
}

impl<W: Write> Packer<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Packer { tar: TarWriter::new(out), names: HashMap::new(), buffer: vec![0; BUFFER], fidelity: Fidelity::Docker }
    }

    /// From now on keeps what Docker's archives do not: nanoseconds, holes, access lists.
    pub fn be_faithful(&mut self) {
        self.fidelity = Fidelity::Full;
    }

    /// Packs `name` of the folder `dir`, whatever it is, under the name `shown`, a folder with all that is in it.
    ///
    /// # Errors
    /// `Sys` when it is not there; `Changed` when a file shrinks while it is read; `Write`.
    pub fn one(&mut self, dir: &Dir, name: &OsStr, shown: &[u8]) -> Result<(), Error> {
        let found = dir.stat(name)?;
        if found.kind == FileKind::Directory {
            return self.folder(dir.open_dir(name)?, shown);
        }
        self.leaf(dir, name, shown.to_vec(), &found)
    }

    /// Packs the folder `dir` with all that is in it under the name `shown`.
    pub fn folder(&mut self, dir: Dir, shown: &[u8]) -> Result<(), Error> {
        let found = shipway_sys::path::metadata(&dir)?;
        let prefix = if shown.ends_with(b"/") { shown.to_vec() } else { [shown, b"/"].concat() };
        self.header(&dir, prefix.clone(), &found)?;
        self.walk(dir, prefix, found.dev)
    }

    /// Packs what is in the folder `dir`, but not the folder itself.
    pub fn contents(&mut self, dir: Dir) -> Result<(), Error> {
        let device = shipway_sys::path::metadata(&dir)?.dev;
        self.walk(dir, Vec::new(), device)
    }

    /// Ends the archive and gives the output back, not flushed.
    pub fn finish(self) -> Result<W, Error> {
        Ok(self.tar.finish()?.0)
    }

    fn walk(&mut self, top: Dir, prefix: Vec<u8>, device: u64) -> Result<(), Error> {
        let left = top.entries()?.into_iter();
        let mut levels = vec![Level { dir: top, prefix, device, left }];
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.left.next() else {
                levels.pop();
                continue;
            };
            let shown = [level.prefix.as_slice(), entry.name.as_bytes()].concat();
            // Whatever goes away between the listing and the look is simply not there.
            let Some(found) = level.dir.stat_if_there(&entry.name)? else { continue };
            if found.kind != FileKind::Directory {
                self.leaf(&level.dir, &entry.name, shown, &found)?;
                continue;
            }
            let dir = match level.dir.open_dir(&entry.name) {
                Ok(dir) => dir,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            let found = shipway_sys::path::metadata(&dir)?;
            let prefix = [shown.as_slice(), b"/"].concat();
            self.header(&dir, prefix.clone(), &found)?;
            let is_dev = level.prefix.iter().all(|byte| matches!(byte, b'.' | b'/')) && entry.name == "dev";
            if found.dev != level.device && (is_dev || shows_the_kernel(&dir)) {
                continue;
            }
            if levels.len() >= DEEPEST {
                return Err(Error::refused(&prefix, "folders are nested too deep"));
            }
            let left = dir.entries()?.into_iter();
            levels.push(Level { dir, prefix, device: found.dev, left });
        }
        Ok(())
    }

    fn header(&mut self, dir: &Dir, shown: Vec<u8>, found: &Metadata) -> Result<(), Error> {
        let mut entry = self.entry(shown, EntryKind::Directory, found);
        entry.xattrs = self.attributes(dir)?;
        self.tar.start(&entry)
    }

    fn leaf(&mut self, dir: &Dir, name: &OsStr, shown: Vec<u8>, found: &Metadata) -> Result<(), Error> {
        let kind = match found.kind {
            FileKind::Regular => return self.file(dir, name, shown),
            FileKind::Symlink => EntryKind::Symlink,
            FileKind::CharDevice => EntryKind::CharDevice,
            FileKind::BlockDevice => EntryKind::BlockDevice,
            FileKind::Fifo => EntryKind::Fifo,
            // A socket is nothing without the process behind it, and tar has no form for it.
            FileKind::Socket | FileKind::Unknown | FileKind::Directory => return Ok(()),
        };
        let mut entry = self.entry(shown, kind, found);
        if kind == EntryKind::Symlink {
            entry.link = dir.read_link(name)?.as_bytes().to_vec();
        }
        if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
            entry.device = found.rdev;
        }
        self.tar.start(&entry)
    }

    fn file(&mut self, dir: &Dir, name: &OsStr, shown: Vec<u8>) -> Result<(), Error> {
        // Whatever takes the name's place meanwhile: it is not followed, a FIFO does not hold us, and the kind is checked.
        let mut file = match dir.open(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0) {
            Ok(file) => File::from(file),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let found = shipway_sys::path::metadata(&file)?;
        if found.kind != FileKind::Regular {
            return Err(Error::Changed { path: show(&shown) });
        }
        let inode = (found.dev, found.ino);
        if found.nlink > 1
            && let Some(first) = self.names.get(&inode)
        {
            let mut entry = self.entry(shown, EntryKind::Hardlink, &found);
            entry.link.clone_from(first);
            return self.tar.start(&entry);
        }
        let mut entry = self.entry(shown, EntryKind::Regular, &found);
        entry.size = found.size;
        entry.xattrs = self.attributes(&file)?;
        if found.nlink > 1 {
            self.names.insert(inode, entry.path.clone());
        }
        let has_holes = found.blocks.saturating_mul(512) < found.size;
        if self.fidelity == Fidelity::Full && has_holes {
            return self.sparse_file(&mut file, &entry);
        }
        self.tar.start(&entry)?;
        self.body(&mut file, found.size, &entry.path)
    }

    fn sparse_file(&mut self, file: &mut File, entry: &Entry) -> Result<(), Error> {
        let stretches = stretches_of_data(&*file, entry.size)?;
        let mut segments: Vec<Segment> =
            stretches.iter().map(|stretch| Segment { offset: stretch.start, length: stretch.end - stretch.start }).collect();
        // Without it GNU tar would end the file where its data ends.
        segments.push(Segment { offset: entry.size, length: 0 });
        self.tar.start_sparse(entry, &segments)?;
        for stretch in stretches {
            let failed = |error| shipway_sys::Error::from_io(format!("seek({:?})", show(&entry.path)), &error);
            file.seek(SeekFrom::Start(stretch.start)).map_err(failed)?;
            self.body(file, stretch.end - stretch.start, &entry.path)?;
        }
        Ok(())
    }

    /// The bytes that the file had when its header was written; what is appended meanwhile is left out.
    fn body(&mut self, file: &mut File, size: u64, shown: &[u8]) -> Result<(), Error> {
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            match file.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(Error::Changed { path: show(shown) }),
                Ok(count) => {
                    self.tar.write_all(&self.buffer[..count]).map_err(Error::Write)?;
                    left -= count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(shipway_sys::Error::from_io(format!("read({:?})", show(shown)), &error).into()),
            }
        }
        Ok(())
    }

    fn entry(&self, shown: Vec<u8>, kind: EntryKind, found: &Metadata) -> Entry {
        let mut entry = Entry::new(shown, kind);
        entry.mtime = match self.fidelity {
            Fidelity::Docker => Time { seconds: found.mtime.seconds, nanoseconds: 0 },
            Fidelity::Full => found.mtime,
        };
        (entry.mode, entry.uid, entry.gid) = (found.mode, found.uid, found.gid);
        entry
    }

    fn attributes(&self, fd: impl std::os::fd::AsFd) -> Result<std::collections::BTreeMap<Vec<u8>, Vec<u8>>, Error> {
        let mut kept = xattr::get_all(fd)?;
        // Labels of the host's security modules belong to the host, those of overlayfs to the mount.
        kept.retain(|name, _| {
            !whiteout::is_overlay_xattr(name)
                && (name.starts_with(b"user.")
                    || name == b"security.capability"
                    || self.fidelity == Fidelity::Full && name.starts_with(b"system.posix_acl_"))
        });
        Ok(kept)
    }
}

/// True for a folder of proc, sysfs and their like.
pub fn shows_the_kernel(dir: impl std::os::fd::AsFd) -> bool {
    // The type is a signed word on some architectures.
    #[allow(clippy::unnecessary_cast)]
    rustix::fs::fstatfs(dir).is_ok_and(|status| NOT_FILES.contains(&(status.f_type as u64 & 0xffff_ffff)))
}

#[cfg(test)]
mod tests {
    use shipway_sys::path::Root;

    use super::*;
    use crate::Limits;
    use crate::tar::TarReader;

    fn names(archive: &[u8]) -> Vec<String> {
        let mut tar = TarReader::new(archive, Limits::default());
        let mut found = Vec::new();
        while let Some(entry) = tar.next().unwrap() {
            let link = String::from_utf8_lossy(&entry.link).into_owned();
            let arrow = if link.is_empty() { String::new() } else { format!(" -> {link}") };
            found.push(format!("{:?} {}{arrow}", entry.kind, String::from_utf8_lossy(&entry.path)));
        }
        found
    }

    #[test]
    fn links_are_packed_as_links_and_second_names_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("d/a"), "12345").unwrap();
        std::fs::hard_link(at("d/a"), at("d/b")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("d/l")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let top = root.top().unwrap();
        let expected = ["Directory x/", "Regular x/a", "Hardlink x/b -> x/a", "Symlink x/l -> /etc/passwd"];
        let mut packer = Packer::new(Vec::new());
        packer.one(&top, OsStr::new("d"), b"x").unwrap();
        assert_eq!(names(&packer.finish().unwrap()), expected);

        let mut packer = Packer::new(Vec::new());
        packer.folder(root.open_dir(std::path::Path::new("d")).unwrap(), b".").unwrap();
        assert_eq!(names(&packer.finish().unwrap())[..2], ["Directory ./", "Regular ./a"]);

        let mut packer = Packer::new(Vec::new());
        packer.contents(top).unwrap();
        assert_eq!(names(&packer.finish().unwrap())[..2], ["Directory d/", "Regular d/a"]);
    }

    #[test]
    fn a_faithful_archive_keeps_holes_and_the_other_kind_fills_them() {
        const SIZE: u64 = 8 << 20;
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let long = "n".repeat(120);
        for name in ["holes", "empty", &long] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_len(SIZE).unwrap();
            if name != "empty" {
                std::os::unix::fs::FileExt::write_all_at(&file, b"middle", SIZE / 2).unwrap();
            }
        }
        let root = Root::open(folder.path()).unwrap();
        let mut packer = Packer::new(Vec::new());
        packer.be_faithful();
        packer.contents(root.top().unwrap()).unwrap();
        let archive = packer.finish().unwrap();
        assert!(archive.len() < 1 << 20, "{}", archive.len());
        let mut tar = TarReader::new(archive.as_slice(), Limits::default());
        while let Some(entry) = tar.next().unwrap() {
            let data = |segments: &[Segment]| segments.iter().map(|segment| segment.length).sum::<u64>();
            let is_empty = entry.path == b"empty";
            assert!(is_empty || entry.path == b"holes" || entry.path == long.as_bytes(), "{:?}", show(&entry.path));
            assert_eq!((entry.size, data(&entry.sparse) == 0), (SIZE, is_empty));
            let mut body = Vec::new();
            tar.read_to_end(&mut body).unwrap();
            let at = usize::try_from(SIZE / 2).unwrap();
            assert_eq!(body.get(at..at + 6), Some(if is_empty { &[0; 6] } else { b"middle".as_slice() }));
        }
        let mut packer = Packer::new(Vec::new());
        packer.contents(root.top().unwrap()).unwrap();
        assert!(packer.finish().unwrap().len() as u64 > 3 * SIZE);
    }
}
