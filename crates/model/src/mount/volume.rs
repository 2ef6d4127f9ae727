//! `-v [source:]target[:options]`.

use super::{IdMap, MountError, MountForm, MountKind, MountSpec, Propagation, clean_target};

/// Reads a `-v` text. A source that is an absolute path is a bind whose folder is made when missing; a name is a volume; no source is an
/// anonymous volume. A source starting with "." must have been made absolute before, by whoever knows the current folder.
///
/// # Errors
/// In Docker's words. The options `z` and `Z` (SELinux) are accepted and change nothing; `U` and `idmap` are ours (and podman's).
pub fn parse_volume_flag(text: &str) -> Result<MountSpec, MountError> {
    let invalid = || MountError::Volume { text: text.to_owned() };
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => (None, target, ""),
        // "/data:ro" is a mistake: a target alone takes no options.
        [_, second] if !second.is_empty() && Modes::parse(second).is_ok() => return Err(invalid()),
        [source, target] => (Some(source), target, ""),
        [source, target, mode] => (Some(source), target, mode),
        _ => return Err(invalid()),
    };
    if target.is_empty() || source == Some("") {
        return Err(invalid());
    }
    let modes = Modes::parse(mode)?;
    let is_path = source.is_some_and(|source| source.starts_with('/'));
    if let Some(name) = source.filter(|_| !is_path) {
        check_volume_name(name)?;
    }
    let kind = if is_path { MountKind::Bind } else { MountKind::Volume };
    // Propagation says something about binds only, copying about volumes only.
    if is_path && modes.no_copy {
        return Err(MountError::Mode { mode: mode.to_owned() });
    }
    if !is_path && modes.propagation.is_some() {
        return Err(MountError::VolumePropagation);
    }
    let mut mount = MountSpec::new(kind, source.map(str::to_owned), clean_target(target)?);
    mount.read_only = modes.read_only;
    mount.create_source = is_path;
    mount.propagation = modes.propagation.unwrap_or_default();
    mount.volume_no_copy = modes.no_copy;
    mount.idmap = modes.idmap;
    mount.change_owner = modes.change_owner;
    mount.form = MountForm::Short;
    mode.clone_into(&mut mount.mode);
    Ok(mount)
}

fn check_volume_name(name: &str) -> Result<(), MountError> {
    if name.len() < 2 {
        return Err(MountError::ShortVolumeName { name: name.to_owned() });
    }
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let good = name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(inner);
    if good { Ok(()) } else { Err(MountError::VolumeName { name: name.to_owned() }) }
}

/// The third part of a `-v`.
#[derive(Default)]
struct Modes {
    read_only: bool,
    no_copy: bool,
    propagation: Option<Propagation>,
    idmap: Option<IdMap>,
    change_owner: bool,
}

impl Modes {
    /// Each kind of option at most once.
    fn parse(text: &str) -> Result<Self, MountError> {
        let mut modes = Self::default();
        if text.is_empty() {
            return Ok(modes);
        }
        let (mut access, mut copy, mut label) = (0, 0, 0);
        for word in text.split(',') {
            match word {
                "ro" | "rw" => (access, modes.read_only) = (access + 1, word == "ro"),
                "nocopy" => (copy, modes.no_copy) = (copy + 1, true),
                "z" | "Z" => label += 1,
                "U" => modes.change_owner = true,
                word if modes.idmap.is_none() && (word == "idmap" || word.starts_with("idmap=")) => modes.idmap = Some(word.parse()?),
                // For file sharing of virtual machines; Linux has always ignored them.
                "consistent" | "cached" | "delegated" | "default" => {}
                other => match other.parse() {
                    Ok(propagation) if modes.propagation.is_none() => modes.propagation = Some(propagation),
                    _ => return Err(MountError::Mode { mode: text.to_owned() }),
                },
            }
        }
        if access > 1 || copy > 1 || label > 1 { Err(MountError::Mode { mode: text.to_owned() }) } else { Ok(modes) }
    }
}
