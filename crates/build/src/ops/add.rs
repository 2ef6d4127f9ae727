//! What ADD does beyond COPY: downloads, and archives that are unpacked.
//!
//! What must stay true: an archive is recognised by its bytes, not its name; entries are placed like files of a COPY, by handle and inside the tree, so
//! that neither `..` nor symlinks of the archive or the image lead out of it; an archive's owner, mode and times are kept unless a flag says otherwise.
//!
//! # Source
//! Dockerfile reference, ADD. Archives keep their owners; downloads are 0600, owned by root, with the time the server says.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shipway_archive::Limits;
use shipway_archive::compress::{Format, decoder, detect};
use shipway_archive::tar::read::Chunk;
use shipway_archive::tar::{Entry, EntryKind, TarReader};
use shipway_model::{Classified, ErrorKind};
use shipway_sys::path::{FileKind, Time, clean_inside};

use crate::ops::copy::Copier;
use crate::ops::select::as_path;
use crate::ops::writer::{Content, Looks, Xattrs};
use crate::ops::{OpFailure, OpFinding};
use crate::ports::Fetched;
use crate::solver::Around;

/// The largest file ADD downloads.
const DOWNLOAD_LIMIT: u64 = 16 << 30;

/// A downloaded file. It is deleted with this value.
pub(crate) struct Download {
    path: PathBuf,
    fetched: Fetched,
}

impl Drop for Download {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

impl Download {
    /// What the key says about it: its bytes. The time the server tells is a time like that of any file, so it does not count.
    pub(crate) fn digest(&self) -> [u8; 32] {
        blake3::hash(self.fetched.digest.to_string().as_bytes()).into()
    }
}

/// Deletes the target of a download that did not come to its end.
struct Partial(Option<PathBuf>);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            remove(path);
        }
    }
}

/// A leftover is swept when the store is opened next, so failing to delete is only worth a note.
fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(%error, ?path, "a downloaded file stays until the next start");
    }
}

/// Downloads `url`, checking `checksum` where one is given. Dropping the future stops it.
pub(crate) async fn download(around: &Arc<Around>, url: &str, checksum: Option<&str>) -> Result<Download, OpFailure> {
    let mut partial = Partial(Some(around.store.scratch_path()));
    let into = partial.0.clone().unwrap_or_default();
    let fetched = around.ports.fetcher.fetch(url, &into, DOWNLOAD_LIMIT).await.map_err(|error| {
        let mut finding = OpFinding::new("E-ADD-DOWNLOAD", error.kind(), error.to_string());
        finding.hint = error.hint();
        OpFailure::from(finding)
    })?;
    match checksum {
        Some(wanted) if wanted != fetched.digest.to_string() => {
            let message = format!("the file at \"{}\" has the digest {}, not {wanted}", fetched.shown, fetched.digest);
            Err(OpFinding::new("E-ADD-CHECKSUM", ErrorKind::Corrupt, message)
                .docker(format!("digest mismatch {}: {wanted}", fetched.digest))
                .into())
        }
        _ => {
            partial.0 = None;
            Ok(Download { path: into, fetched })
        }
    }
}

/// Puts a downloaded file into the layer.
pub(crate) fn put_download(copier: &mut Copier<'_, '_>, url: &str, download: &Download) -> Result<(), OpFailure> {
    let file = File::open(&download.path).map_err(OpFailure::io("open the downloaded file"))?;
    let name = match &download.fetched.file_name {
        Some(name) if is_plain_name(name) => name.clone(),
        _ => name_in(url),
    };
    if copier.op.unpack == Some(true) && is_archive(&file)? {
        return unpack(copier, file, name.as_bytes());
    }
    if name.is_empty() && copier.op.destination.ends_with('/') {
        let message = format!("\"{}\" has no file name, so the destination must be one", download.fetched.shown);
        return Err(OpFailure::finding("E-ADD-NAME", ErrorKind::Invalid, message));
    }
    let path = copier.place_of_file(name.as_bytes())?;
    let mtime = download.fetched.last_modified.map_or(copier.new.mtime, |moment| {
        let nanoseconds = moment.nanoseconds();
        Time {
            seconds: nanoseconds.div_euclid(1_000_000_000),
            nanoseconds: u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or_default(),
        }
    });
    let (uid, gid) = copier.owner.unwrap_or_default();
    let looks = Looks { mode: copier.mode(0o600, false), uid, gid, mtime, xattrs: Xattrs::new() };
    copier.writer.put_file(&path, &Content::File { file: &file, size: download.fetched.size }, &looks)
}

/// The last name of an address' path.
fn name_in(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    match path.split_once('/') {
        Some((_, path)) => path.rsplit('/').next().filter(|name| is_plain_name(name)).unwrap_or_default().to_owned(),
        None => String::new(),
    }
}

fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// Whether a file is a tar, perhaps compressed. Its offset is at the start afterwards.
pub(crate) fn is_archive(file: &File) -> Result<bool, OpFailure> {
    let mut start = [0; 512];
    let mut filled = 0;
    while filled < start.len() {
        match file.read_at(&mut start[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(OpFailure::io("read a file")(error)),
        }
    }
    // A tar has at least one whole block; whatever is compressed must be looked into.
    if detect(&start[..filled]) == Format::Plain && (filled < start.len() || !has_tar_checksum(&start)) {
        return Ok(false);
    }
    let mut handle = file;
    handle.seek(SeekFrom::Start(0)).map_err(OpFailure::io("read a file"))?;
    let limits = Limits::default();
    let found = decoder(file, &limits).ok().and_then(|(_, reader)| TarReader::new(reader, limits).next().ok()).flatten().is_some();
    handle.seek(SeekFrom::Start(0)).map_err(OpFailure::io("read a file"))?;
    Ok(found)
}

/// Whether a block is a tar header: its checksum field holds the sum of all bytes with that field blank.
fn has_tar_checksum(block: &[u8; 512]) -> bool {
    let text = String::from_utf8_lossy(&block[148..156]).into_owned();
    let Ok(told) = u32::from_str_radix(text.trim_matches(['\0', ' ']), 8) else { return false };
    let sum: u32 =
        block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(*byte) }).sum();
    sum == told
}

/// Unpacks an archive into the destination.
pub(crate) fn unpack(copier: &mut Copier<'_, '_>, file: File, name: &[u8]) -> Result<(), OpFailure> {
    let shown = String::from_utf8_lossy(name).into_owned();
    let broken = |error: shipway_archive::Error| {
        let message = format!("cannot unpack \"{shown}\": {error}");
        OpFailure::from(OpFinding::new("E-ADD-ARCHIVE", error.kind(), message))
    };
    let folder = copier.destination_folder()?;
    let limits = Limits::default();
    let (_, reader) = decoder(file, &limits).map_err(broken)?;
    let mut tar = TarReader::new(reader, limits);
    let mut unpacker = Unpacker { folder, archive: shown.clone(), real: HashMap::new() };
    copier.writer.replacing(true);
    while let Some(entry) = tar.next().map_err(broken)? {
        if copier.cancel.is_cancelled() {
            return Err(OpFailure::Cancelled);
        }
        unpacker.entry(copier, &entry, &mut tar, &broken)?;
    }
    copier.writer.replacing(copier.op.link);
    Ok(())
}

struct Unpacker {
    folder: PathBuf,
    /// The archive's name, as it is told.
    archive: String,
    /// Folders of the archive and where they really are, symlinks of the image and the archive followed.
    real: HashMap<PathBuf, PathBuf>,
}

impl Unpacker {
    fn entry<R: Read>(
        &mut self,
        copier: &mut Copier<'_, '_>,
        entry: &Entry,
        tar: &mut TarReader<R>,
        broken: &dyn Fn(shipway_archive::Error) -> OpFailure,
    ) -> Result<(), OpFailure> {
        let inside = clean_inside(as_path(&entry.path));
        // An entry for the folder itself changes nothing, as Docker has it.
        if inside.as_os_str().is_empty() {
            return Ok(());
        }
        let path = self.place(copier, &inside)?;
        let (uid, gid) = copier.owner.unwrap_or((entry.uid, entry.gid));
        let mode = copier.mode(entry.mode, entry.kind == EntryKind::Directory);
        let xattrs = entry.xattrs.iter().filter(|(name, _)| is_harmless(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
        let looks = Looks { mode, uid, gid, mtime: entry.mtime, xattrs };
        match entry.kind {
            EntryKind::Directory => {
                self.real.clear();
                copier.writer.put_folder(&path, &looks)
            }
            EntryKind::Symlink => {
                self.real.clear();
                copier.writer.put_symlink(&path, OsStr::from_bytes(&entry.link), &looks)
            }
            EntryKind::Regular => copier.writer.put_stream(&path, &looks, &mut |file| write_body(tar, file, broken)),
            EntryKind::Hardlink => {
                let target = clean_inside(as_path(&entry.link));
                let first = self.place(copier, &target)?;
                if copier.writer.brought(&first)?.is_none() {
                    return Err(dangling(&self.archive, &inside, &target));
                }
                copier.writer.put_hardlink(&path, &first)
            }
            EntryKind::CharDevice => copier.writer.put_node(&path, FileKind::CharDevice, entry.device, &looks),
            EntryKind::BlockDevice => copier.writer.put_node(&path, FileKind::BlockDevice, entry.device, &looks),
            EntryKind::Fifo => copier.writer.put_node(&path, FileKind::Fifo, (0, 0), &looks),
        }
    }

    /// Where an entry goes: its folder with symlinks followed, its own name as it is.
    fn place(&mut self, copier: &Copier<'_, '_>, inside: &Path) -> Result<PathBuf, OpFailure> {
        let parent = inside.parent().unwrap_or(Path::new(""));
        let name = inside.file_name().unwrap_or_default();
        if let Some(real) = self.real.get(parent) {
            return Ok(real.join(name));
        }
        let real = copier.writer.resolve(&self.folder.join(parent), true)?;
        self.real.insert(parent.to_owned(), real.clone());
        Ok(real.join(name))
    }
}

/// A hard link to something that the archive did not bring: files of the image do not count, because a layer cannot link to another one's.
fn dangling(archive: &str, link: &Path, target: &Path) -> OpFailure {
    let (link, target) = (link.display(), target.display());
    let message =
        format!("cannot unpack \"{archive}\": \"{link}\" is a hard link to \"{target}\", which does not come before it in the archive");
    OpFinding::new("E-ADD-ARCHIVE", ErrorKind::Invalid, message)
        .hint("pack both names into one archive, the file before its link")
        .docker(format!("Error processing tar file: link /{target} /{link}: no such file or directory"))
        .into()
}

/// Attributes an archive may set: none that steer overlayfs or another machine's security labels.
fn is_harmless(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

fn write_body<R: Read>(tar: &mut TarReader<R>, file: &File, broken: &dyn Fn(shipway_archive::Error) -> OpFailure) -> Result<(), OpFailure> {
    let mut buffer = vec![0; 128 * 1024];
    let mut length = 0_u64;
    let mut handle = file;
    loop {
        match tar.next_chunk(&mut buffer).map_err(broken)? {
            Chunk::Data(count) => {
                handle.write_all(&buffer[..count]).map_err(OpFailure::io("write an unpacked file"))?;
                length += count as u64;
            }
            Chunk::Hole(count) => {
                length += count;
                handle.seek(SeekFrom::Start(length)).map_err(OpFailure::io("write an unpacked file"))?;
                file.set_len(length).map_err(OpFailure::io("write an unpacked file"))?;
            }
            Chunk::End => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_download_is_the_last_of_its_path() {
        for (url, name) in [
            ("https://example.com/a/b.tar.gz?x=/y", "b.tar.gz"),
            ("http://example.com", ""),
            ("http://example.com/", ""),
            ("http://example.com/a/..", ""),
        ] {
            assert_eq!(name_in(url), name, "{url}");
        }
    }
}
