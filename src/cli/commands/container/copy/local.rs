//! The side of `cp` that is here: tars of what is named, and tars laid out where docker would put them.
//!
//! What must stay true: nothing is written through a symlink that came out of the tar, and nothing above the place chosen.

use crate::cli::client::Answer;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::tree_tar::TreeTar;
use crate::cli::upload::{self, Chunks};
use shipway_archive::Limits;
use shipway_archive::ignore::{IgnoreFile, Verdict};
use shipway_archive::tar::read::Chunk;
use shipway_archive::tar::{Entry, EntryKind, TarReader, TarWriter};
use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

/// What is copied into a container.
pub(super) struct Source {
    path: PathBuf,
    is_folder: bool,
    contents_only: bool,
    follow: bool,
}

impl Source {
    /// Looks at the source.
    pub(super) fn open(text: &str, follow: bool) -> Outcome<Self> {
        let path = PathBuf::from(text);
        let looked = if follow || text.ends_with('/') { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let shown = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        let metadata = looked.map_err(|_| Failure::new(format!("lstat {}: no such file or directory", shown.display())))?;
        let contents_only = text.ends_with("/.") || text == ".";
        if !metadata.is_dir() && (text.ends_with('/') || contents_only) {
            return Err(Failure::new(format!("\"{text}\" is not a directory")));
        }
        Ok(Self { path, is_folder: metadata.is_dir(), contents_only, follow })
    }

    pub(super) fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// The folder in the container to unpack in, and the name the source gets there (none: its contents only).
    pub(super) fn destination(&self, to: &str, target_is_folder: bool) -> Outcome<(String, Option<String>)> {
        let own_name =
            fs::canonicalize(&self.path).ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())).unwrap_or_default();
        let own_name = self.path.file_name().map_or(own_name, |name| name.to_string_lossy().into_owned());
        if target_is_folder {
            return Ok((to.to_owned(), (!self.contents_only).then_some(own_name)));
        }
        let bare = to.trim_end_matches('/');
        if to.ends_with('/') && !self.is_folder {
            return Err(Failure::new("no such directory"));
        }
        let (folder, name) = bare.rsplit_once('/').unwrap_or((".", bare));
        Ok((if folder.is_empty() { "/".to_owned() } else { folder.to_owned() }, Some(name.to_owned())))
    }

    /// The tar of it.
    ///
    /// Owners are the files' own also without `-a`, as with docker's client, whatever its documentation says.
    pub(super) fn tar(self, name: Option<String>) -> Chunks {
        upload::made_by("tar-writer", move |out| {
            let mut writer = TarWriter::new(&mut *out);
            let ignore = IgnoreFile::default();
            let mut tree = TreeTar { writer: &mut writer, ignore: &ignore, always: &[], keep_owner: true, linked: HashMap::new() };
            let prefix = name.unwrap_or_default();
            if !prefix.is_empty() {
                if self.follow { tree.followed(&self.path, prefix.as_bytes())? } else { tree.one(&self.path, prefix.as_bytes())? }
            }
            if self.is_folder {
                tree.folder(&self.path, prefix.as_bytes(), &Verdict::default())?;
            }
            writer.finish().map(drop).map_err(io::Error::other)
        })
    }
}

/// Where files from a container go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    folder: PathBuf,
    /// Replaces the first part of every name; none drops it (contents only).
    rename: Option<PathBuf>,
}

impl Place {
    /// Chooses by docker's rules.
    pub(super) fn choose(target: &Path, name: &str, source_is_folder: bool, contents_only: bool) -> Outcome<Self> {
        let text = target.as_os_str().as_bytes();
        if target.is_dir() {
            let rename = if contents_only { None } else { Some(PathBuf::from(name)) };
            return Ok(Self { folder: target.to_path_buf(), rename });
        }
        if target.exists() && source_is_folder {
            return Err(Failure::new("cannot copy directory"));
        }
        if text.ends_with(b"/") && !source_is_folder {
            return Err(Failure::new("no such directory"));
        }
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        if !folder.is_dir() {
            let shown = std::path::absolute(&folder).unwrap_or_else(|_| folder.clone());
            return Err(Failure::new(format!("invalid output path: directory \"{}\" does not exist", shown.display())));
        }
        Ok(Self { folder, rename: Some(PathBuf::from(target.file_name().unwrap_or_default())) })
    }

    /// The path for an entry; none for the top folder itself when only contents are wanted.
    fn path(&self, name: &[u8]) -> Outcome<Option<PathBuf>> {
        let name = PathBuf::from(std::ffi::OsString::from_vec(name.to_vec()));
        let mut parts = Vec::new();
        for component in name.components() {
            match component {
                Component::Normal(part) => parts.push(part.to_owned()),
                Component::CurDir | Component::RootDir => {}
                _ => return Err(Failure::new(format!("refusing a path with \"..\" in the archive: \"{}\"", name.display()))),
            }
        }
        // The first part is what was asked for; of `/etc/.` it is a dot, of `/` a slash, and neither was kept above.
        let was_named = !matches!(name.components().next(), Some(Component::CurDir | Component::RootDir));
        let rest: PathBuf = parts.iter().skip(usize::from(was_named)).collect();
        Ok(match &self.rename {
            Some(rename) if rest.as_os_str().is_empty() => Some(rename.clone()),
            Some(rename) => Some(rename.join(rest)),
            None if rest.as_os_str().is_empty() => None,
            None => Some(rest),
        })
    }
}

/// Lays an answer's tar out; answers the bytes of its files.
pub(super) async fn unpack(answer: Answer, place: Place, keep_owner: bool) -> Outcome<u64> {
    upload::read_on_thread(answer, move |body| {
        let mut reader = TarReader::new(body, Limits::default());
        let mut bytes = 0;
        let mut times = Vec::new();
        let cannot = |error: shipway_archive::Error| Failure::new(format!("cannot read the archive: {error}"));
        while let Some(entry) = reader.next().map_err(cannot)? {
            let Some(relative) = place.path(&entry.path)? else { continue };
            refuse_links_on_the_way(&place.folder, &relative)?;
            let target = place.folder.join(&relative);
            let link = if entry.kind == EntryKind::Hardlink { place.path(&entry.link)? } else { None };
            lay_out(&mut reader, &entry, &target, link.map(|link| place.folder.join(link)))
                .map_err(|error| Failure::new(format!("cannot write \"{}\": {error}", target.display())))?;
            if keep_owner && entry.kind != EntryKind::Hardlink {
                std::os::unix::fs::lchown(&target, Some(entry.uid), Some(entry.gid))
                    .map_err(|error| Failure::new(format!("cannot give \"{}\" its owner: {error}", target.display())))?;
            }
            bytes += entry.size;
            if matches!(entry.kind, EntryKind::Regular | EntryKind::Directory) {
                times.push((target, entry.mtime));
            }
        }
        // Last and from the bottom: what is made in a folder changes its time.
        for (target, time) in times.into_iter().rev() {
            let file = fs::File::open(&target);
            let set = file.and_then(|file| shipway_sys::path::set_times(&file, time).map_err(io::Error::other));
            // A file that its owner may not read keeps the time of the copy.
            if let Err(error) = set
                && error.kind() != io::ErrorKind::PermissionDenied
            {
                return Err(Failure::new(format!("cannot set the time of \"{}\": {error}", target.display())));
            }
        }
        Ok(bytes)
    })
    .await
}

fn refuse_links_on_the_way(folder: &Path, relative: &Path) -> Outcome {
    let mut walked = folder.to_path_buf();
    for part in relative.parent().into_iter().flat_map(Path::components) {
        walked.push(part);
        if fs::symlink_metadata(&walked).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(Failure::new(format!("refusing to write through the link \"{}\"", walked.display())));
        }
    }
    Ok(())
}

fn lay_out<R: io::Read>(reader: &mut TarReader<R>, entry: &Entry, target: &Path, link: Option<PathBuf>) -> io::Result<()> {
    let gone = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    match entry.kind {
        EntryKind::Directory => {
            match fs::create_dir(target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::symlink_metadata(target)?.is_dir() => {}
                other => other?,
            }
            fs::set_permissions(target, fs::Permissions::from_mode(entry.mode & 0o7777))
        }
        EntryKind::Regular => {
            gone(target)?;
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
            let mut buffer = vec![0; 128 << 10];
            let mut length = 0;
            loop {
                match reader.next_chunk(&mut buffer).map_err(io::Error::other)? {
                    Chunk::Data(count) => {
                        file.write_all(&buffer[..count])?;
                        length += count as u64;
                    }
                    Chunk::Hole(count) => {
                        io::Seek::seek(&mut file, io::SeekFrom::Current(i64::try_from(count).map_err(io::Error::other)?))?;
                        length += count;
                    }
                    Chunk::End => break,
                }
            }
            file.set_len(length)?;
            file.set_permissions(fs::Permissions::from_mode(entry.mode & 0o7777))
        }
        EntryKind::Symlink => {
            gone(target)?;
            std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&entry.link), target)
        }
        EntryKind::Hardlink => {
            gone(target)?;
            fs::hard_link(link.ok_or(io::ErrorKind::InvalidData)?, target)
        }
        EntryKind::Fifo | EntryKind::CharDevice | EntryKind::BlockDevice => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_go_where_docker_puts_them() {
        let place = |rename: Option<&str>| Place { folder: "/t".into(), rename: rename.map(PathBuf::from) };
        let table = [
            (Some("new"), "etc/hosts", Some("new/hosts")),
            (Some("new"), "etc/", Some("new")),
            (None, "etc/", None),
            (None, "etc/hosts", Some("hosts")),
            (None, "./hosts", Some("hosts")),
            (None, "./", None),
            (Some("new"), "./a/b", Some("new/a/b")),
            (Some("new"), "/bin/sh", Some("new/bin/sh")),
        ];
        for (rename, name, expected) in table {
            assert_eq!(place(rename).path(name.as_bytes()).unwrap(), expected.map(PathBuf::from), "{rename:?} {name}");
        }
        assert!(place(None).path(b"a/../../b").is_err());
    }
}
