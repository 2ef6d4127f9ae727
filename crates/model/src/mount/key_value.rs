//! `--mount type=bind,source=…,target=…`: comma-separated fields with CSV quoting.

use super::{IdMap, MountError, MountKind, MountSpec, Propagation, ReadOnlyReach, clean_target, tmpfs};
use crate::suggest;

const KEYS: [&str; 22] = [
    "type",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "consistency",
    "idmap",
    "bind-propagation",
    "bind-recursive",
    "bind-nonrecursive",
    "bind-create-src",
    "volume-subpath",
    "volume-nocopy",
    "volume-label",
    "volume-driver",
    "volume-opt",
    "image-subpath",
    "tmpfs-size",
    "tmpfs-mode",
];

/// Keys that alone mean "true".
const FLAGS: [&str; 6] = ["readonly", "ro", "idmap", "volume-nocopy", "bind-nonrecursive", "bind-create-src"];

/// Reads a `--mount` text. Without `type` it is a volume. A source starting with "." must be made absolute afterwards, by whoever knows the
/// current folder.
///
/// # Errors
/// In Docker's words; `hint()` names the nearest key.
pub fn parse_mount_flag(text: &str) -> Result<MountSpec, MountError> {
    let mut reading = Reading::default();
    for field in split_fields(text)? {
        reading.field(&field)?;
    }
    reading.finish()
}

/// A mount being read, with what decides whether its options fit together.
#[derive(Default)]
struct Reading {
    mount: MountSpec,
    bind_options: bool,
    volume_options: bool,
    image_options: bool,
    tmpfs_options: bool,
}

impl Reading {
    fn field(&mut self, field: &str) -> Result<(), MountError> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), value),
            None if FLAGS.contains(&field.to_ascii_lowercase().as_str()) => (field.to_ascii_lowercase(), "true"),
            None => return Err(MountError::NoPair { field: field.to_owned() }),
        };
        let mount = &mut self.mount;
        match key.split_once('-').map(|(kind, _)| kind) {
            Some("bind") => self.bind_options = true,
            Some("volume") => self.volume_options = true,
            Some("image") => self.image_options = true,
            Some("tmpfs") => self.tmpfs_options = true,
            _ => {}
        }
        match key.as_str() {
            "type" => mount.kind = value.parse()?,
            "source" | "src" => mount.source = Some(value.to_owned()).filter(|source| !source.is_empty()),
            "target" | "dst" | "destination" => mount.target = value.to_owned(),
            "readonly" | "ro" => mount.read_only = boolean(&key, value)?,
            // For file sharing of virtual machines; Linux has always ignored it.
            "consistency" => {}
            // Ours, and podman's.
            "idmap" if matches!(value, "true" | "false") => mount.idmap = (value == "true").then_some(IdMap::SourceOwner),
            "idmap" => mount.idmap = Some(field.to_ascii_lowercase().parse()?),
            "bind-propagation" => mount.propagation = value.parse()?,
            "bind-recursive" => recursion(mount, value)?,
            "bind-nonrecursive" => mount.recursive = !boolean(&key, value)?,
            "bind-create-src" => mount.create_source = boolean(&key, value)?,
            "volume-subpath" => mount.volume_subpath = Some(value.to_owned()),
            "volume-nocopy" => mount.volume_no_copy = boolean(&key, value)?,
            "volume-label" => _ = mount.volume_labels.insert(pair(value).0, pair(value).1),
            "volume-driver" => mount.volume_driver = Some(value.to_owned()),
            "volume-opt" => _ = mount.volume_driver_options.insert(pair(value).0, pair(value).1),
            "image-subpath" => mount.image_subpath = Some(value.to_owned()),
            "tmpfs-size" => mount.tmpfs_size = Some(tmpfs::size(&key, value)?),
            "tmpfs-mode" => mount.tmpfs_mode = Some(tmpfs::mode(&key, value)?),
            _ => return Err(MountError::Key { nearest: suggest::nearest(&key, KEYS, 3), key, field: field.to_owned() }),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<MountSpec, MountError> {
        let kind = self.mount.kind;
        let foreign = [
            (self.volume_options, MountKind::Volume),
            (self.bind_options, MountKind::Bind),
            (self.image_options, MountKind::Image),
            (self.tmpfs_options, MountKind::Tmpfs),
        ];
        if let Some((_, options)) = foreign.into_iter().find(|(given, options)| *given && *options != kind) {
            return Err(MountError::Mixed { options: options.name(), kind });
        }
        if self.mount.target.is_empty() {
            return Err(MountError::NoTarget);
        }
        self.mount.target = clean_target(&self.mount.target)?;
        match (kind, &self.mount.source) {
            (MountKind::Bind | MountKind::Image, None) => return Err(MountError::NoSource { kind }),
            (MountKind::Tmpfs, Some(_)) => return Err(MountError::TmpfsSource),
            _ => {}
        }
        if self.mount.read_only_reach == ReadOnlyReach::Everything {
            if !self.mount.read_only {
                return Err(MountError::ReadOnlyNeeds { needed: "readonly" });
            }
            if self.mount.propagation != Propagation::RecursivePrivate {
                return Err(MountError::ReadOnlyNeeds { needed: "bind-propagation=rprivate" });
            }
        }
        // An image is never written through a mount.
        self.mount.read_only |= kind == MountKind::Image;
        Ok(self.mount)
    }
}

fn recursion(mount: &mut MountSpec, value: &str) -> Result<(), MountError> {
    (mount.recursive, mount.read_only_reach) = match value {
        "enabled" => (true, ReadOnlyReach::BestEffort),
        "disabled" => (false, ReadOnlyReach::BestEffort),
        "writable" => (true, ReadOnlyReach::TopOnly),
        "readonly" => (true, ReadOnlyReach::Everything),
        _ => {
            let expected = Some("\"enabled\", \"disabled\", \"writable\", or \"readonly\"");
            return Err(MountError::Value { key: "bind-recursive".to_owned(), value: value.to_owned(), expected });
        }
    };
    Ok(())
}

fn boolean(key: &str, value: &str) -> Result<bool, MountError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(MountError::Value { key: key.to_owned(), value: value.to_owned(), expected: Some("true or false") }),
    }
}

fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

/// The fields of one line of CSV, as `--mount` and `--network` have them. A field in quotes may hold commas, and a quote written twice.
///
/// # Errors
/// `Quote` for one that stands inside of a field, or is never closed.
pub fn split_fields(text: &str) -> Result<Vec<String>, MountError> {
    let mut fields = vec![String::new()];
    let mut letters = text.char_indices().peekable();
    let mut at_start = true;
    while let Some((position, letter)) = letters.next() {
        let field = fields.last_mut().expect("the list starts with one field and only grows");
        match letter {
            ',' => {
                fields.push(String::new());
                at_start = true;
                continue;
            }
            '"' if at_start => loop {
                match letters.next() {
                    Some((_, '"')) if letters.peek().is_some_and(|(_, next)| *next == '"') => {
                        letters.next();
                        field.push('"');
                    }
                    Some((_, '"')) if letters.peek().is_none_or(|(_, next)| *next == ',') => break,
                    Some((position, '"')) => return Err(MountError::Quote { position }),
                    Some((_, letter)) => field.push(letter),
                    None => return Err(MountError::Quote { position }),
                }
            },
            '"' => return Err(MountError::Quote { position }),
            letter => field.push(letter),
        }
        at_start = false;
    }
    Ok(fields)
}
