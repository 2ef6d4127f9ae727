//! `--tmpfs target[:options]`.

use super::{MountError, MountForm, MountKind, MountSpec, clean_target};
use crate::bytes::ByteSize;

/// Options the kernel's tmpfs and mount flags know, without those that have a field of their own.
const OPTIONS: [&str; 24] = [
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "defaults",
    "ro",
    "size",
    "mode",
];

/// Options with a value, passed on as written.
const VALUED: [&str; 7] = ["uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge", "size"];

/// Reads a `--tmpfs` text such as "/run:rw,noexec,size=64m,mode=1777".
///
/// # Errors
/// When the target is not absolute or an option is unknown.
pub fn parse_tmpfs_flag(text: &str) -> Result<MountSpec, MountError> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = MountSpec { form: MountForm::Tmpfs, ..MountSpec::new(MountKind::Tmpfs, None, clean_target(target)?) };
    parse_tmpfs_options(options, &mut mount)?;
    Ok(mount)
}

/// Reads the options of a tmpfs, joined by commas, into `mount`.
fn parse_tmpfs_options(options: &str, mount: &mut MountSpec) -> Result<(), MountError> {
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let unknown = || MountError::TmpfsOption {
            option: option.to_owned(),
            nearest: crate::suggest::nearest(option.split('=').next().unwrap_or_default(), OPTIONS.into_iter().chain(VALUED), 2),
        };
        match option.split_once('=') {
            // A share of memory is the kernel's to work out.
            Some(("size", value)) if value.strip_suffix('%').is_some_and(|share| share.parse::<u8>().is_ok()) => {
                mount.tmpfs_options.push(option.to_owned());
            }
            Some(("size", value)) => mount.tmpfs_size = Some(size("size", value)?),
            Some(("mode", value)) => mount.tmpfs_mode = Some(mode("mode", value)?),
            Some((key, value)) if VALUED.contains(&key) && !value.is_empty() => mount.tmpfs_options.push(option.to_owned()),
            Some(_) => return Err(unknown()),
            None => match option {
                "ro" => mount.read_only = true,
                "rw" => mount.read_only = false,
                "defaults" => {}
                "size" | "mode" => return Err(unknown()),
                flag if OPTIONS.contains(&flag) => mount.tmpfs_options.push(flag.to_owned()),
                _ => return Err(unknown()),
            },
        }
    }
    Ok(())
}

pub(super) fn size(key: &str, value: &str) -> Result<u64, MountError> {
    let size = value.parse::<ByteSize>().map(|size| size.0);
    size.map_err(|_| MountError::Value { key: key.to_owned(), value: value.to_owned(), expected: Some("a size like 64m") })
}

pub(super) fn mode(key: &str, value: &str) -> Result<u32, MountError> {
    let digits = !value.is_empty() && value.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = if digits { u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777) } else { None };
    mode.ok_or_else(|| MountError::Value { key: key.to_owned(), value: value.to_owned(), expected: Some("an octal mode like 1777") })
}
