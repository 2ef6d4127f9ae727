//! `cp` and `export`: files out of and into a container, running or not.
//!
//! Docker's path rules: the name of what is copied out is not followed when it is a symlink, unless a slash or `/.` stands behind it; everything
//! before it is followed inside the container. The folder that an archive is unpacked in is followed to its end.
//! What must stay true: every look goes through a handle on the container's root; programs and libraries of the container are never run or loaded.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use shipway_archive::pack::shows_the_kernel;
use shipway_archive::unpack::{Options, OtherKind, Ownership, unpack_beneath};
use shipway_archive::{Limits, compress};
use shipway_model::Timestamp;
use shipway_sys::path::{Dir, FileKind, Metadata, Root, clean_inside};
use tokio::sync::mpsc;

use super::Container;
use super::roots::{OpenRoot, Wanted};
use crate::archives::pack_on_thread;
use crate::blocking::{self, ChannelReader};
use crate::{Engine, Error, Result};

/// As many symlinks as the kernel follows in one path.
const SYMLINKS_FOLLOWED: usize = 40;

/// What stands at a path of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of the path as asked for.
    pub name: String,
    pub size: u64,
    pub kind: FileKind,
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u32,
    pub mtime: Timestamp,
    /// Where a symlink leads, as a path of the container; nothing need be there.
    pub link_target: String,
}

/// How an archive is unpacked in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtractOptions {
    /// What becomes of a folder in the way of a file, and the other way round.
    pub other_kind: OtherKindInTheWay,
    pub owner: ExtractedOwner,
}

/// What becomes of a folder in the way of a file, and the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherKindInTheWay {
    Replaced,
    Refused,
}

/// Who owns what is copied in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtractedOwner {
    /// Whom the archive says.
    Archive,
    /// The user that the container runs as; whom the archive says when it names none.
    ContainerUser,
}

/// A path taken apart.
struct Asked {
    /// Before the last name; followed.
    folder: PathBuf,
    /// None when a folder itself is meant: `/`, `x/`, `x/.`.
    name: Option<OsString>,
    /// The last part as typed.
    shown: String,
    /// The path as typed, absolute.
    path: String,
}

impl Engine {
    /// What stands at `path` of the container `name`.
    ///
    /// # Errors
    /// `NoSuchPath`; `Invalid` for an empty path.
    pub async fn stat_in_container(&self, name: &str, path: &str) -> Result<PathStat> {
        let asked = ask(path)?;
        let container = self.container(name)?;
        let open = self.open_tree(&container, Wanted::Everything).await?;
        let shown = name.to_owned();
        blocking::files(move || stat(open.root(), &asked).map_err(|error| told(error, &shown, &asked.path))).await
    }

    /// The archive of what stands at `path` of the container `name`, a folder with all that is in it. Errors after the first byte end the stream.
    ///
    /// # Errors
    /// As [`Engine::stat_in_container`].
    pub async fn archive_of_container(&self, name: &str, path: &str) -> Result<(PathStat, mpsc::Receiver<io::Result<Bytes>>)> {
        let asked = ask(path)?;
        let container = self.container(name)?;
        let open = self.open_tree(&container, Wanted::Everything).await?;
        let shown = name.to_owned();
        let (stat, start) = blocking::files(move || {
            let found = stat(open.root(), &asked).and_then(|stat| Ok((stat, start_of(open, &asked)?)));
            found.map_err(|error| told(error, &shown, &asked.path))
        })
        .await?;
        let (writer, receiver) = blocking::stream_out();
        pack_on_thread(writer, move |packer| match start {
            Start::Folder { dir, shown, open: _open } => packer.folder(dir, shown.as_bytes()),
            Start::Name { dir, name, shown, open: _open } => packer.one(&dir, &name, shown.as_bytes()),
        });
        self.publish_container(&container, "archive-path", BTreeMap::new());
        Ok((stat, receiver))
    }

    /// The archive of the container's whole tree without what is mounted in it.
    pub async fn export_container(&self, name: &str) -> Result<mpsc::Receiver<io::Result<Bytes>>> {
        let container = self.container(name)?;
        let open = self.open_tree(&container, Wanted::Bare).await?;
        let (open, top) = blocking::files(move || {
            let top = open.root().top().map_err(Error::sys("open the container's root"))?;
            Ok((open, top))
        })
        .await?;
        let (writer, receiver) = blocking::stream_out();
        pack_on_thread(writer, move |packer| {
            let packed = packer.contents(top);
            drop(open);
            packed
        });
        self.publish_container(&container, "export", BTreeMap::new());
        Ok(receiver)
    }

    /// Unpacks an archive, compressed or not, in the folder `path` of the container `name`.
    ///
    /// # Errors
    /// `NoSuchPath` when the folder is not there; `Invalid` when it is none, or the archive is broken; `ReadOnly` where nothing can be written.
    /// What was unpacked before stays.
    pub async fn extract_in_container(&self, name: &str, path: &str, reader: ChannelReader, options: ExtractOptions) -> Result<()> {
        let asked = ask(path)?;
        let container = self.container(name)?;
        let open = self.open_tree(&container, Wanted::Everything).await?;
        let ownership = self.ownership(&container, options.owner).await?;
        let other_kind = match options.other_kind {
            OtherKindInTheWay::Replaced => OtherKind::Replaced,
            OtherKindInTheWay::Refused => OtherKind::Refused,
        };
        let is_read_only = container.record().spec.host.read_only_root;
        let shown = name.to_owned();
        blocking::files(move || {
            let missing = |error: shipway_sys::Error| told(error, &shown, &asked.path);
            let base = canonical(open.root(), Path::new(&asked.path)).map_err(missing)?;
            let dir = match open.root().open_dir(&base) {
                Ok(dir) => dir,
                Err(error) if error.errno == rustix::io::Errno::NOTDIR => {
                    return Err(Error::invalid("extraction point is not a directory"));
                }
                Err(error) => return Err(told(error, &shown, &asked.path)),
            };
            refuse_read_only(&dir, is_read_only)?;
            drop(dir);
            let (_, tar) = compress::decoder(reader, &Limits::default()).map_err(bad_archive)?;
            let options = Options { ownership, limits: Limits::default() };
            unpack_beneath(tar, open.root(), base.as_os_str().as_bytes(), other_kind, &options).map_err(bad_archive)?;
            Ok(())
        })
        .await?;
        self.publish_container(&container, "extract-to-dir", BTreeMap::new());
        Ok(())
    }

    async fn ownership(&self, container: &Arc<Container>, owner: ExtractedOwner) -> Result<Ownership> {
        let record = container.record();
        if owner == ExtractedOwner::Archive || record.process.user.is_empty() {
            return Ok(Ownership::FromArchive);
        }
        let engine = self.clone();
        blocking::files(move || {
            let ids = engine.accounts_of(&record)?.resolve(&record.process.user, &[])?.ids;
            Ok(Ownership::Fixed(ids.uid, ids.gid))
        })
        .await
    }
}

/// Where packing starts, and what keeps it reachable.
enum Start {
    Folder { dir: Dir, shown: String, open: Arc<OpenRoot> },
    Name { dir: Dir, name: OsString, shown: String, open: Arc<OpenRoot> },
}

fn start_of(open: Arc<OpenRoot>, asked: &Asked) -> std::result::Result<Start, shipway_sys::Error> {
    let dir = open.root().open_dir(&asked.folder)?;
    if shows_the_kernel(&dir) {
        // As if it were not there: dockerd does not see it either, and its files have no size.
        return Err(shipway_sys::Error::new("copy from a filesystem of the kernel", rustix::io::Errno::NOENT));
    }
    let shown = asked.shown.clone();
    Ok(match &asked.name {
        Some(name) => Start::Name { dir, name: name.clone(), shown, open },
        None => Start::Folder { dir, shown, open },
    })
}

/// Takes a path apart by Docker's rules: relative ones begin at `/`; a slash, `/.` or `/..` behind it mean the folder.
fn ask(path: &str) -> Result<Asked> {
    if path.is_empty() {
        return Err(Error::invalid("bad parameter: 'path' cannot be empty"));
    }
    if path.contains('\0') {
        return Err(Error::invalid("bad parameter: 'path' cannot contain a null byte"));
    }
    let absolute = format!("/{}", path.trim_start_matches('/'));
    let clean = PathBuf::from("/").join(clean_inside(Path::new(&absolute)));
    let last = absolute.rsplit('/').next().unwrap_or_default();
    let own_name = clean.file_name().map(OsStr::to_os_string);
    let shown = match last {
        "." => ".".to_owned(),
        _ => own_name.as_ref().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned()),
    };
    let means_folder = own_name.is_none() || matches!(last, "" | "." | "..");
    let (folder, name) = match own_name {
        Some(name) if !means_folder => (clean.parent().unwrap_or(Path::new("/")).to_path_buf(), Some(name)),
        _ => (clean.clone(), None),
    };
    Ok(Asked { folder, name, shown, path: absolute })
}

fn stat(root: &Root, asked: &Asked) -> std::result::Result<PathStat, shipway_sys::Error> {
    let dir = root.open_dir(&asked.folder)?;
    let found: Metadata = match &asked.name {
        Some(name) => dir.stat(name)?,
        None => shipway_sys::path::metadata(&dir)?,
    };
    let link_target = match (&asked.name, found.kind) {
        (Some(_), FileKind::Symlink) => Path::new("/").join(canonical(root, Path::new(&asked.path))?).display().to_string(),
        _ => String::new(),
    };
    Ok(PathStat {
        name: asked.shown.clone(),
        size: found.size,
        kind: found.kind,
        mode: found.mode,
        mtime: Timestamp::from_unix(found.mtime.seconds, found.mtime.nanoseconds),
        link_target,
    })
}

/// Where `path` leads, as a clean path below the root, all symlinks followed. What is missing is kept as it is written: the answer is told to people
/// and walked again by handle, never trusted.
fn canonical(root: &Root, path: &Path) -> std::result::Result<PathBuf, shipway_sys::Error> {
    let mut left: std::collections::VecDeque<OsString> = parts(path);
    let (mut at, mut followed) = (PathBuf::new(), 0);
    while let Some(part) = left.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match root.lstat(&next) {
            Ok(found) if found.kind == FileKind::Symlink => {
                followed += 1;
                if followed > SYMLINKS_FOLLOWED {
                    return Err(shipway_sys::Error::new(format!("follow {path:?}"), rustix::io::Errno::LOOP));
                }
                let target = root.read_link(&next)?;
                if target.is_absolute() {
                    at.clear();
                }
                for part in parts(&target).into_iter().rev() {
                    left.push_front(part);
                }
            }
            Ok(_) => at = next,
            Err(error) if error.is_not_found() => at = next,
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

fn parts(path: &Path) -> std::collections::VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_os_string()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// dockerd's words for what cannot be found.
fn told(error: shipway_sys::Error, container: &str, path: &str) -> Error {
    if error.errno == rustix::io::Errno::NOTDIR && path.ends_with('/') {
        return Error::invalid(format!("{path} is not a directory"));
    }
    if error.is_not_found() || error.errno == rustix::io::Errno::LOOP {
        return Error::NoSuchPath { path: path.to_owned(), container: container.to_owned() };
    }
    Error::Sys { doing: format!("cannot look at {path} in container {container}"), source: error }
}

/// Refuses what the kernel would refuse entry by entry, in Docker's words.
fn refuse_read_only(dir: &Dir, root_is_read_only: bool) -> Result<()> {
    let status = rustix::fs::fstatvfs(dir).map_err(|errno| Error::internal(format!("statvfs: {errno}")))?;
    if !status.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let what = if root_is_read_only { "container rootfs is marked read-only" } else { "mounted volume is marked read-only" };
    Err(Error::ReadOnly { reason: what.to_owned() })
}

fn bad_archive(error: shipway_archive::Error) -> Error {
    match error {
        shipway_archive::Error::Sys(source) => Error::Sys { doing: "Error processing tar file".to_owned(), source },
        shipway_archive::Error::OtherKind { problem } => Error::invalid(problem),
        other => Error::invalid(format!("Error processing tar file: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, folder: &str, name: Option<&str>, shown: &str) {
        let asked = ask(path).unwrap();
        assert_eq!(
            (asked.folder.as_path(), asked.name.as_deref(), asked.shown.as_str()),
            (Path::new(folder), name.map(OsStr::new), shown),
            "{path}"
        );
    }

    #[test]
    fn paths_are_taken_apart_as_docker_takes_them() {
        check("/etc", "/", Some("etc"), "etc");
        check("/etc/", "/etc", None, "etc");
        check("/etc/.", "/etc", None, ".");
        check("/", "/", None, "/");
        check("/.", "/", None, ".");
        check(".", "/", None, ".");
        check("etc/one", "/etc", Some("one"), "one");
        check("/../etc/one", "/etc", Some("one"), "one");
        check("/a/b/..", "/a", None, "a");
        assert!(ask("").is_err() && ask("/a\0b").is_err());
    }

    #[test]
    fn links_are_followed_inside_the_root_and_what_is_missing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("etc/sub")).unwrap();
        std::os::unix::fs::symlink("/etc", at("lnk")).unwrap();
        std::os::unix::fs::symlink("../../../nowhere/x", at("etc/up")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        for (path, expected) in [("/lnk/sub", "etc/sub"), ("/lnk/up", "nowhere/x"), ("/../..", ""), ("/no/such", "no/such")] {
            assert_eq!(canonical(&root, Path::new(path)).unwrap(), Path::new(expected), "{path}");
        }
        assert!(canonical(&root, Path::new("/loop")).is_err());
    }
}
