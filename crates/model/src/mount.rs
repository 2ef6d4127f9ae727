//! Mounts of a container: what a person asked for with `-v`, `--mount` or `--tmpfs`, or a client with JSON.
//!
//! What must stay true: a parsed target is absolute, clean and not "/". Whether a source exists is not known here.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kind::{Classified, ErrorKind};
use crate::serialize_as_text;

mod key_value;
#[cfg(test)]
mod tests;
mod tmpfs;
mod volume;

pub use key_value::{parse_mount_flag, split_fields};
pub use tmpfs::parse_tmpfs_flag;
pub use volume::parse_volume_flag;

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum MountKind {
    /// A file or folder of the host.
    Bind,
    /// A volume, by name or anonymous.
    #[default]
    Volume,
    /// Memory.
    Tmpfs,
    /// The files of an image, read-only.
    Image,
}

/// How mounts made on one side later show up on the other, as in mount_namespaces(7). Only for binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Propagation {
    #[default]
    RecursivePrivate,
    Private,
    RecursiveShared,
    Shared,
    RecursiveSlave,
    Slave,
}

/// How far below a bind "read-only" reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadOnlyReach {
    /// All mounts below too where the kernel can do it (5.12), else the top alone.
    #[default]
    BestEffort,
    /// The top alone: `bind-recursive=writable`.
    TopOnly,
    /// All mounts below too, or fail: `bind-recursive=readonly`.
    Everything,
}

/// In which of Docker's words a mount was asked for. It decides what inspect says of it, never what is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountForm {
    /// `--mount`.
    #[default]
    Long,
    /// `-v`.
    Short,
    /// `--tmpfs`.
    Tmpfs,
}

/// Whose files of a bind are to look like the container's own: exactly this owner and the container's user are made one (idmapped mount).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum IdMap {
    /// The owner and group of the source itself.
    SourceOwner,
    /// These ids of the host.
    Ids { uid: u32, gid: u32 },
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct MountSpec {
    pub kind: MountKind,
    /// The host's path of a bind, the name of a volume (`None`: anonymous), the reference of an image. A tmpfs has none.
    pub source: Option<String>,
    /// Where it appears in the container: absolute and clean.
    pub target: String,
    pub read_only: bool,
    /// How far `read_only` reaches into mounts below a bind.
    pub read_only_reach: ReadOnlyReach,
    /// Make the folder `source` of a bind when it is missing, as `-v` does and `--mount` does not.
    pub create_source: bool,
    /// Bring the mounts below a bind's source along.
    pub recursive: bool,
    pub propagation: Propagation,
    /// Show the files of one host user as the container's user (`idmap`), whoever that is on the disk.
    pub idmap: Option<IdMap>,
    /// Give everything below the source to the container's user when it starts (`U`).
    pub change_owner: bool,
    /// How it was asked for.
    pub form: MountForm,
    /// The third part of a `-v`, as typed.
    pub mode: String,
    /// Bytes; the kernel's default (half the memory) when `None`.
    pub tmpfs_size: Option<u64>,
    /// Permission bits of the tmpfs' top folder.
    pub tmpfs_mode: Option<u32>,
    /// Further options of a tmpfs as the kernel takes them: "noexec", "uid=1000".
    pub tmpfs_options: Vec<String>,
    /// Do not fill an empty volume with what the image has at the target.
    pub volume_no_copy: bool,
    /// A folder inside the volume, mounted in the place of all of it.
    pub volume_subpath: Option<String>,
    /// Labels of a volume that is made for this mount.
    pub volume_labels: BTreeMap<String, String>,
    /// Driver of a volume that is made for this mount.
    pub volume_driver: Option<String>,
    /// Options for the driver.
    pub volume_driver_options: BTreeMap<String, String>,
    /// A folder inside the image, mounted in the place of all of it.
    pub image_subpath: Option<String>,
}

impl MountSpec {
    /// A mount with everything as Docker has it unless told.
    pub fn new(kind: MountKind, source: Option<String>, target: impl Into<String>) -> Self {
        Self { kind, source, target: target.into(), ..Self::default() }
    }
}

impl Default for MountSpec {
    fn default() -> Self {
        Self {
            kind: MountKind::default(),
            source: None,
            target: String::new(),
            read_only: false,
            read_only_reach: ReadOnlyReach::default(),
            create_source: false,
            recursive: true,
            propagation: Propagation::default(),
            idmap: None,
            change_owner: false,
            form: MountForm::default(),
            mode: String::new(),
            tmpfs_size: None,
            tmpfs_mode: None,
            tmpfs_options: Vec::new(),
            volume_no_copy: false,
            volume_subpath: None,
            volume_labels: BTreeMap::new(),
            volume_driver: None,
            volume_driver_options: BTreeMap::new(),
            image_subpath: None,
        }
    }
}

/// Why a text describes no mount. The words are those clients match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    #[error("invalid volume specification: '{text}'")]
    Volume { text: String },
    #[error("invalid mode: {mode}")]
    Mode { mode: String },
    #[error(
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    VolumeName { name: String },
    #[error("volume name is too short, names should be at least two alphanumeric characters")]
    ShortVolumeName { name: String },
    #[error("invalid mount path: '{target}' mount path must be absolute")]
    RelativeTarget { target: String },
    #[error("invalid specification: destination can't be '/'")]
    RootTarget,
    #[error("target is required")]
    NoTarget,
    #[error("invalid mount config for type \"{kind}\": field Source must not be empty")]
    NoSource { kind: MountKind },
    #[error("invalid mount config for type \"tmpfs\": field Source must not be specified")]
    TmpfsSource,
    #[error("invalid field '{field}' must be a key=value pair")]
    NoPair { field: String },
    #[error("invalid value for {key}: {value}")]
    Value { key: String, value: String, expected: Option<&'static str> },
    #[error("unexpected key '{key}' in '{field}'")]
    Key { key: String, field: String, nearest: Option<&'static str> },
    #[error("cannot mix '{options}-*' options with mount type '{kind}'")]
    Mixed { options: &'static str, kind: MountKind },
    #[error("option 'bind-recursive=readonly' requires '{needed}' to be specified in conjunction")]
    ReadOnlyNeeds { needed: &'static str },
    #[error("invalid mount type: {text}")]
    Kind { text: String, nearest: Option<&'static str> },
    #[error("invalid propagation: {text}")]
    Propagation { text: String },
    #[error("invalid mount option: a quote is out of place at position {position}")]
    Quote { position: usize },
    #[error("field BindOptions must not be specified")]
    VolumePropagation,
    #[error("invalid id mapping: {text}")]
    IdMap { text: String },
    #[error("invalid tmpfs option [{option:?}]")]
    TmpfsOption { option: String, nearest: Option<&'static str> },
}

impl Classified for MountError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Volume { .. } => {
                Some("a volume is given as [source:]target[:options], e.g. ./src:/app:ro or cache:/var/cache".to_owned())
            }
            Self::Mode { .. } => {
                Some("options of -v are ro, rw, nocopy, z, Z, U, idmap and a propagation such as rslave, joined by commas".to_owned())
            }
            Self::VolumeName { name } if name.contains('/') => Some(format!("for a folder below the current one write \"$PWD/{name}\"")),
            Self::RelativeTarget { target } => Some(format!("write \"/{}\"", target.trim_start_matches("./"))),
            Self::Value { expected, .. } => expected.map(|expected| format!("{expected} is expected")),
            Self::Key { nearest, .. } | Self::Kind { nearest, .. } | Self::TmpfsOption { nearest, .. } => {
                nearest.map(|known| format!("did you mean \"{known}\"?"))
            }
            Self::NoTarget => Some("say where it appears in the container: target=/path".to_owned()),
            Self::IdMap { .. } => {
                Some("idmap shows the files of the source's owner as the container's user; idmap=UID-GID those of another".to_owned())
            }
            Self::Propagation { .. } => Some("one of private, rprivate, shared, rshared, slave, rslave".to_owned()),
            _ => None,
        }
    }
}

impl MountKind {
    const ALL: [(&'static str, Self); 4] = [("bind", Self::Bind), ("volume", Self::Volume), ("tmpfs", Self::Tmpfs), ("image", Self::Image)];

    /// The word for it in `--mount type=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Image => "image",
        }
    }
}

impl fmt::Display for MountKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for MountKind {
    type Err = MountError;

    fn from_str(text: &str) -> Result<Self, MountError> {
        let known = Self::ALL.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        known.map(|(_, kind)| kind).ok_or_else(|| MountError::Kind {
            text: text.to_owned(),
            nearest: crate::suggest::nearest(text, Self::ALL.map(|(name, _)| name), 2),
        })
    }
}

impl fmt::Display for IdMap {
    /// The word for it in `-v`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceOwner => formatter.write_str("idmap"),
            Self::Ids { uid, gid } => write!(formatter, "idmap={uid}-{gid}"),
        }
    }
}

impl FromStr for IdMap {
    type Err = MountError;

    /// Reads "idmap" or "idmap=UID-GID".
    fn from_str(text: &str) -> Result<Self, MountError> {
        let wrong = || MountError::IdMap { text: text.to_owned() };
        let ids = match text {
            "idmap" => return Ok(Self::SourceOwner),
            other => other.strip_prefix("idmap=").ok_or_else(wrong)?,
        };
        let (uid, gid) = ids.split_once('-').ok_or_else(wrong)?;
        // The last id means "nobody" to the kernel.
        let id = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX).ok_or_else(wrong);
        Ok(Self::Ids { uid: id(uid)?, gid: id(gid)? })
    }
}

impl Propagation {
    const ALL: [Self; 6] = [Self::RecursivePrivate, Self::Private, Self::RecursiveShared, Self::Shared, Self::RecursiveSlave, Self::Slave];

    /// The word mount(8) has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RecursivePrivate => "rprivate",
            Self::Private => "private",
            Self::RecursiveShared => "rshared",
            Self::Shared => "shared",
            Self::RecursiveSlave => "rslave",
            Self::Slave => "slave",
        }
    }

    /// Whether it is meant for the mounts below as well.
    pub fn is_recursive(self) -> bool {
        matches!(self, Self::RecursivePrivate | Self::RecursiveShared | Self::RecursiveSlave)
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Propagation {
    type Err = MountError;

    fn from_str(text: &str) -> Result<Self, MountError> {
        Self::ALL.into_iter().find(|known| known.name() == text).ok_or_else(|| MountError::Propagation { text: text.to_owned() })
    }
}

serialize_as_text!(MountKind, "bind, volume, tmpfs or image");
serialize_as_text!(Propagation, "a mount propagation like rprivate");

/// The clean form of a target: no doubled slash, no "." and no "..", no slash at the end.
///
/// # Errors
/// When it is not absolute, is the root, or holds a zero byte.
pub fn clean_target(target: &str) -> Result<String, MountError> {
    if !target.starts_with('/') || target.contains('\0') {
        return Err(MountError::RelativeTarget { target: target.to_owned() });
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            name => parts.push(name),
        }
    }
    if parts.is_empty() { Err(MountError::RootTarget) } else { Ok(format!("/{}", parts.join("/"))) }
}
