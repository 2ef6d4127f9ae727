//! What the words of `build` mean: which context, which Dockerfile. Mistakes people make here are answered here (M-25, M-27).

use crate::cli::exit::{Failure, Outcome};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Bytes looked at to tell a tar from a Dockerfile.
const MAGIC: usize = 512;
/// No Dockerfile is longer than this.
const LONGEST_DOCKERFILE: u64 = 16 << 20;

/// Context and Dockerfile of one build.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) context: Context,
    pub(super) dockerfile: Dockerfile,
}

/// Where files come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// A folder here, absolute.
    Folder(PathBuf),
    /// A tar on standard input, of which these bytes have been read.
    Tar(Vec<u8>),
    /// Nowhere: the Dockerfile came on standard input.
    None,
    /// A place the daemon fetches from.
    Remote(String),
}

/// Where the Dockerfile is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dockerfile {
    /// In the context, by its path relative to it.
    InContext(String),
    /// Read already.
    Text { name: String, text: String, ignore: Option<String> },
}

impl Plan {
    /// Works out `PATH | URL | -` and `--file`.
    ///
    /// # Errors
    /// Docker's texts, with what was probably meant.
    pub(super) fn of(path: &str, file: Option<&str>) -> Outcome<Self> {
        if path == "-" {
            return from_standard_input(file);
        }
        if is_remote(path) {
            let dockerfile = match file {
                Some("-") => standard_input_dockerfile()?,
                other => Dockerfile::InContext(other.unwrap_or("Dockerfile").to_owned()),
            };
            return Ok(Self { context: Context::Remote(path.to_owned()), dockerfile });
        }
        let folder = folder(path)?;
        let dockerfile = match file {
            Some("-") => standard_input_dockerfile()?,
            Some(file) => named_dockerfile(&folder, file)?,
            None => default_dockerfile(&folder)?,
        };
        Ok(Self { context: Context::Folder(folder), dockerfile })
    }
}

fn is_remote(path: &str) -> bool {
    ["http://", "https://", "git://", "git@", "ssh://", "github.com/"].iter().any(|prefix| path.starts_with(prefix))
}

fn folder(path: &str) -> Outcome<PathBuf> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing_folder(path)),
        Err(error) => return Err(Failure::new(format!("unable to prepare context: {path}: {error}"))),
    };
    if !metadata.is_dir() {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        let failure = Failure::new(format!("unable to prepare context: context must be a directory: {}", absolute.display()));
        let parent = Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let text = std::fs::read(path).unwrap_or_default();
        if looks_like_archive(&text) {
            return Err(failure.hint(format!("a tar is given on standard input: shipway build - < {path}")));
        }
        return Err(failure.hint(format!(
            "the argument is the context directory; the Dockerfile is named with -f: shipway build -f {path} {}",
            parent.display()
        )));
    }
    std::fs::canonicalize(path).map_err(|error| Failure::new(format!("unable to prepare context: {path}: {error}")))
}

fn missing_folder(path: &str) -> Failure {
    let failure = Failure::new(format!("unable to prepare context: path \"{path}\" not found"));
    let whole = Path::new(path);
    let parent = whole.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let neighbours = names_in(parent, true);
    match crate::cli::nearest::near(&name, neighbours.iter().map(String::as_str)) {
        Some(near) => failure.hint(format!("did you mean {}?", parent.join(near).display())),
        None => failure,
    }
}

fn default_dockerfile(folder: &Path) -> Outcome<Dockerfile> {
    // A lower-case name is what some people write; docker's classic builder takes it when the usual one is not there.
    for name in ["Dockerfile", "dockerfile"] {
        if folder.join(name).is_file() {
            return Ok(Dockerfile::InContext(name.to_owned()));
        }
    }
    Err(missing_dockerfile(folder, &folder.join("Dockerfile")))
}

fn missing_dockerfile(folder: &Path, path: &Path) -> Failure {
    let failure = Failure::new(format!(
        "unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {}: no such file or directory",
        path.display()
    ));
    let wanted = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = names_in(path.parent().unwrap_or(folder), false);
    let near = crate::cli::nearest::near(&wanted, names.iter().map(String::as_str)).or_else(|| {
        names
            .iter()
            .map(String::as_str)
            .find(|name| name.to_lowercase().contains("dockerfile") || name.eq_ignore_ascii_case("containerfile"))
    });
    match near {
        Some(near) => failure.hint(format!("there is {near}: shipway build -f {} ...", path.with_file_name(near).display())),
        None if names.is_empty() => failure.hint(format!("{} is empty", folder.display())),
        None => failure.hint(format!("{} has no Dockerfile; is it the right directory?", folder.display())),
    }
}

fn names_in(folder: &Path, folders: bool) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let wanted = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir() == folders));
    let mut names: Vec<String> = wanted.take(10_000).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// `-f FILE`: relative to where we are, as docker reads it, else to the context.
fn named_dockerfile(folder: &Path, file: &str) -> Outcome<Dockerfile> {
    let here = PathBuf::from(file);
    let found = if here.is_file() { here } else { folder.join(file) };
    let Ok(whole) = std::fs::canonicalize(&found) else { return Err(missing_dockerfile(folder, &found)) };
    if whole.is_dir() {
        return Err(Failure::new(format!("\"{file}\" is a directory, not a Dockerfile"))
            .hint(format!("shipway build -f {}/Dockerfile ...", file.trim_end_matches('/'))));
    }
    if let Ok(relative) = whole.strip_prefix(folder) {
        return Ok(Dockerfile::InContext(relative.to_string_lossy().into_owned()));
    }
    let text = read_text(&whole)?;
    let ignore = std::fs::read_to_string(format!("{}.dockerignore", whole.display())).ok();
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Dockerfile::Text { name, text, ignore })
}

fn read_text(path: &Path) -> Outcome<String> {
    let cannot = |error: std::io::Error| Failure::new(format!("cannot read \"{}\": {error}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path).map_err(cannot)?.take(LONGEST_DOCKERFILE).read_to_string(&mut text).map_err(cannot)?;
    Ok(text)
}

fn standard_input_dockerfile() -> Outcome<Dockerfile> {
    let mut text = String::new();
    std::io::stdin().lock().take(LONGEST_DOCKERFILE).read_to_string(&mut text)?;
    Ok(Dockerfile::Text { name: "Dockerfile".to_owned(), text, ignore: None })
}

fn from_standard_input(file: Option<&str>) -> Outcome<Plan> {
    if file == Some("-") {
        return Err(Failure::usage("invalid argument: can't use stdin for both build context and dockerfile"));
    }
    let mut start = vec![0; MAGIC];
    let mut filled = 0;
    let mut input = std::io::stdin().lock();
    while filled < MAGIC {
        match input.read(&mut start[filled..])? {
            0 => break,
            length => filled += length,
        }
    }
    start.truncate(filled);
    if start.is_empty() {
        return Err(Failure::new("the context on standard input is empty").hint("give a Dockerfile or a tar: shipway build - < Dockerfile"));
    }
    if looks_like_archive(&start) {
        return Ok(Plan { context: Context::Tar(start), dockerfile: Dockerfile::InContext(file.unwrap_or("Dockerfile").to_owned()) });
    }
    let mut bytes = start;
    input.take(LONGEST_DOCKERFILE).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Plan { context: Context::None, dockerfile: Dockerfile::Text { name: "Dockerfile".to_owned(), text, ignore: None } })
}

/// True for the beginning of a tar, compressed or not.
fn looks_like_archive(start: &[u8]) -> bool {
    if shipway_archive::compress::detect(start) != shipway_archive::compress::Format::Plain {
        return true;
    }
    start.get(257..262) == Some(b"ustar".as_slice()) || (start.len() >= MAGIC && old_tar_checksum(start))
}

/// Tars older than "ustar" are known by the checksum of their first block.
fn old_tar_checksum(block: &[u8]) -> bool {
    let field = String::from_utf8_lossy(&block[148..156]);
    let Ok(wanted) = u64::from_str_radix(field.trim_matches(['\0', ' ']), 8) else { return false };
    let sum: u64 = block[..MAGIC].iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum();
    sum == wanted
}
