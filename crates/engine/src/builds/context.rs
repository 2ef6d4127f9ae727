//! The files to build from: checked and opened in place, or unpacked from what was sent.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use shipway_archive::compress;
use shipway_build::BuildContext;
use shipway_dockerfile::SourceText;
use shipway_store::Store;
use shipway_sys::path::Root;

use super::{BuildSource, DockerfileSource, context_indexes};
use crate::blocking::ChannelReader;
use crate::{Engine, Error, Result, blocking};

/// A Dockerfile larger than this is none.
const DOCKERFILE_LIMIT: usize = 16 << 20;
/// What is read of a stream to tell an archive from a bare Dockerfile: one tar header.
const HEADER: usize = 512;

/// Everything a build reads.
pub(super) struct Prepared {
    pub(super) dockerfile: SourceText,
    pub(super) ignore: Option<String>,
    pub(super) context: BuildContext,
}

/// An unpacked context; its folder goes when the build has ended.
struct Unpacked {
    store: Store,
    path: PathBuf,
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Err(error) = self.store.throw_away(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot delete an unpacked build context; boot will");
        }
    }
}

impl Engine {
    /// Opens or unpacks the context and reads the Dockerfile.
    pub(super) async fn prepare_context(&self, source: BuildSource, dockerfile: DockerfileSource) -> Result<Prepared> {
        let engine = self.clone();
        blocking::files(move || match source {
            BuildSource::Folder { path, device, inode } => engine.open_folder(&path, device, inode, dockerfile),
            BuildSource::Stream(reader) => engine.unpack_stream(reader, dockerfile),
            BuildSource::Nothing => without_context(dockerfile),
        })
        .await
    }

    fn open_folder(&self, path: &Path, device: u64, inode: u64, dockerfile: DockerfileSource) -> Result<Prepared> {
        let elsewhere = || Error::Conflict {
            reason: format!("the daemon does not see the folder {} as the client does", path.display()),
            hint: Some("send the context as an archive".to_owned()),
        };
        let root = Root::open(path).map_err(|error| {
            if error.is_not_found() { elsewhere() } else { Error::Sys { doing: format!("open {}", path.display()), source: error } }
        })?;
        let metadata = rustix::fs::fstat(root.as_fd()).map_err(|errno| Error::Sys {
            doing: "look at the build context".to_owned(),
            source: shipway_sys::Error::new("fstat", errno),
        })?;
        if metadata.st_dev != device || metadata.st_ino != inode {
            return Err(elsewhere());
        }
        let (dockerfile, ignore) = read_dockerfile(&root, dockerfile, &path.display().to_string())?;
        let index_file = self.context_index(path, device, inode);
        context_indexes::touch(&index_file);
        Ok(Prepared { dockerfile, ignore, context: BuildContext::Folder { root, path: path.to_owned(), index_file } })
    }

    /// Where the digests of this folder's files are remembered.
    fn context_index(&self, path: &Path, device: u64, inode: u64) -> PathBuf {
        let key = format!("{}\0{device}\0{inode}", path.display());
        let name = shipway_model::Digest::sha256_of(key.as_bytes()).short();
        self.contexts_dir().join(name)
    }

    fn unpack_stream(&self, mut reader: ChannelReader, dockerfile: DockerfileSource) -> Result<Prepared> {
        let mut start = vec![0; HEADER];
        let read = read_up_to(&mut reader, &mut start).map_err(Error::io("read the build context"))?;
        start.truncate(read);
        if !looks_like_archive(&start) {
            return self.bare_dockerfile(start, reader);
        }
        let store = self.inner.store.clone();
        let path = store.scratch_path();
        std::fs::create_dir_all(&path).map_err(Error::io(format!("create {}", path.display())))?;
        let keep = Unpacked { store, path: path.clone() };
        let root = Root::open(&path).map_err(Error::sys("open the unpacked build context"))?;
        unpack(start, reader, &root).map_err(|error| Error::InvalidWithHint {
            reason: format!("cannot unpack the build context: {error}"),
            hint: "send a tar archive, plain or compressed with gzip, bzip2, xz or zstd".to_owned(),
        })?;
        let (dockerfile, ignore) = read_dockerfile(&root, dockerfile, "the build context")?;
        if let Some(ignore) = &ignore {
            leave_out_control_files(&root, ignore, &dockerfile.name)?;
        }
        Ok(Prepared { dockerfile, ignore, context: BuildContext::Unpacked { root, path, keep: Box::new(keep) } })
    }

    /// A body that is no archive is a Dockerfile without a context (`docker build - < Dockerfile` of old clients).
    fn bare_dockerfile(&self, mut start: Vec<u8>, reader: ChannelReader) -> Result<Prepared> {
        reader.take(DOCKERFILE_LIMIT as u64).read_to_end(&mut start).map_err(Error::io("read the Dockerfile"))?;
        if start.is_empty() {
            return Err(Error::invalid("the Dockerfile cannot be empty"));
        }
        without_context(DockerfileSource::Inline { name: "Dockerfile".to_owned(), text: text_of(start)?, ignore: None })
    }
}

/// Unpacks an archive, whatever it is compressed with. `start` is what was read of it already.
fn unpack(start: Vec<u8>, reader: ChannelReader, root: &Root) -> std::result::Result<(), shipway_archive::Error> {
    let options = shipway_archive::unpack::Options::default();
    let (_, plain) = compress::decoder(Cursor::new(start).chain(reader), &options.limits)?;
    shipway_archive::unpack::unpack_plain(plain, root, &options)?;
    Ok(())
}

/// Clients always send the Dockerfile and the ignore file, because the daemon reads them; COPY gets them only if they are not ignored.
fn leave_out_control_files(root: &Root, ignore: &str, dockerfile: &str) -> Result<()> {
    // A pattern that is none is told by the build.
    let Ok(ignore) = shipway_archive::ignore::IgnoreFile::parse(ignore.as_bytes()) else { return Ok(()) };
    for name in [dockerfile, ".dockerignore"] {
        let path = shipway_archive::ignore::clean(name.as_bytes());
        if ignore.judge_alone(&path).excluded {
            root.remove_tree(Path::new(name)).map_err(Error::sys("leave a file out of the build context"))?;
        }
    }
    Ok(())
}

fn without_context(dockerfile: DockerfileSource) -> Result<Prepared> {
    match dockerfile {
        DockerfileSource::Inline { name, text, .. } => {
            Ok(Prepared { dockerfile: SourceText::new(name, text), ignore: None, context: BuildContext::None })
        }
        DockerfileSource::Path(path) => Err(Error::invalid(format!("there is no build context to take {path} from"))),
    }
}

/// The Dockerfile and the ignore file in force: the one named after the Dockerfile, else the context's own.
fn read_dockerfile(root: &Root, dockerfile: DockerfileSource, shown: &str) -> Result<(SourceText, Option<String>)> {
    let ignore_of =
        |path: &str| root.read_limited(Path::new(path), DOCKERFILE_LIMIT).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match dockerfile {
        DockerfileSource::Inline { name, text, ignore } => Ok((SourceText::new(name, text), ignore.or_else(|| ignore_of(".dockerignore")))),
        DockerfileSource::Path(path) => {
            let path = if path.is_empty() { "Dockerfile".to_owned() } else { path };
            let read = root.read_limited(Path::new(&path), DOCKERFILE_LIMIT);
            let bytes = read.or_else(|error| {
                if error.is_not_found() && path == "Dockerfile" {
                    root.read_limited(Path::new("dockerfile"), DOCKERFILE_LIMIT)
                } else {
                    Err(error)
                }
            });
            let bytes = bytes.map_err(|error| missing_dockerfile(root, &path, shown, &error))?;
            let ignore = ignore_of(&format!("{path}.dockerignore")).or_else(|| ignore_of(".dockerignore"));
            Ok((SourceText::new(path, text_of(bytes)?), ignore))
        }
    }
}

/// dockerd's words, and the Dockerfiles that are there.
fn missing_dockerfile(root: &Root, path: &str, shown: &str, error: &shipway_sys::Error) -> Error {
    if !error.is_not_found() {
        return Error::invalid(format!("Cannot read the specified Dockerfile {path}: {error}"));
    }
    let entries = root.read_dir(Path::new(".")).unwrap_or_default();
    let mut names: Vec<String> = entries
        .iter()
        .map(|entry| entry.name.to_string_lossy().into_owned())
        .filter(|name| name.to_lowercase().contains("dockerfile") && !name.ends_with(".dockerignore"))
        .collect();
    names.sort();
    let hint = match names.first() {
        Some(_) if names.iter().any(|name| name == path) => {
            format!(
                "{path} is a symlink that leads nowhere or out of {shown}; name what it leads to: shipway build -f \"$(readlink -f {path})\" ."
            )
        }
        Some(first) => format!("{shown} has {}; use: shipway build -f {first} .", names.join(", ")),
        None => format!("{shown} has no Dockerfile; name it with -f, or pass the folder it is in"),
    };
    Error::InvalidWithHint { reason: format!("Cannot locate specified Dockerfile: {path}"), hint }
}

fn text_of(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes)
        .map_err(|error| Error::invalid(format!("the Dockerfile is not UTF-8 text (byte {})", error.utf8_error().valid_up_to())))
}

/// True for a tar header or the first bytes of a compression this version reads.
fn looks_like_archive(start: &[u8]) -> bool {
    let is_tar = start.len() == HEADER && (&start[257..262] == b"ustar" || checksum_holds(start));
    is_tar || compress::detect(start) != compress::Format::Plain
}

/// The checksum of a tar header without magic (tar(5), "old-style").
fn checksum_holds(header: &[u8]) -> bool {
    let stored = std::str::from_utf8(&header[148..156]).ok().map(|text| text.trim_matches(['\0', ' ']).to_owned());
    let Some(stored) = stored.and_then(|text| u32::from_str_radix(&text, 8).ok()) else { return false };
    let sum: u32 = header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
    sum == stored
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_is_no_archive() {
        assert!(!looks_like_archive(b"FROM busybox\n"));
        assert!(!looks_like_archive(&[b'#'; 512]));
        assert!(looks_like_archive(&[0x1f, 0x8b, 8, 0, 0, 0]));
        let mut header = vec![0; 512];
        header[257..262].copy_from_slice(b"ustar");
        assert!(looks_like_archive(&header));
    }
}
