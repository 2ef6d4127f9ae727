//! The options of the driver `local`: `type`, `device` and `o`, as mount(8) takes them.
//!
//! What must stay true: the filesystem is mounted over `_data` while a container uses the volume and by handle; options are data for the kernel and are
//! never put into a command.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use shipway_sys::mount::attribute::{NO_ATIME, NO_DEVICES, NO_EXEC, NO_FOLDER_ATIME, NO_SETUID, READ_ONLY};
use shipway_sys::mount::{self, DetachedMount, MountBuilder, Propagation};

use crate::error::Doing as _;
use crate::{Error, Result};

/// Refuses options that the driver does not know or that need others, in dockerd's words.
pub(super) fn check(options: &BTreeMap<String, String>) -> Result<()> {
    let refuse = |reason: String| Err(Error::Option { reason });
    if let Some(unknown) = options.keys().find(|key| !["type", "o", "device", "size"].contains(&key.as_str())) {
        return refuse(format!("invalid option: \"{unknown}\""));
    }
    if options.contains_key("size") {
        return refuse("quota size requested but no quota support".to_owned());
    }
    for (given, needed) in [("device", "type"), ("type", "device"), ("o", "device"), ("o", "type")] {
        if options.contains_key(given) && !options.contains_key(needed) {
            return refuse(format!("missing required option: \"{needed}\""));
        }
    }
    Ok(())
}

/// True when something is to be mounted.
pub(super) fn has_device(options: &BTreeMap<String, String>) -> bool {
    options.get("device").is_some_and(|device| !device.is_empty())
}

/// Whether something is mounted over `data`.
pub(super) fn is_mounted(data: &Path) -> Result<bool> {
    let found =
        rustix::fs::statx(rustix::fs::CWD, data, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE).doing(|| format!("statx({data:?})"))?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Mounts what `options` say over `data`.
pub(super) fn mount(options: &BTreeMap<String, String>, data: &Path) -> Result<()> {
    let option = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let (kind, device, mut words) = (option("type"), option("device"), Words::read(option("o")));
    if matches!(kind, "nfs" | "nfs4" | "cifs" | "smb3") {
        words.look_up_server()?;
    }
    let mounted = match words.bind {
        Some(recursive) => bind(device, recursive, &words),
        None => fresh(kind, device, &words),
    };
    let attached = mounted.and_then(|mounted| {
        let place = rustix::fs::open(data, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| shipway_sys::Error::new(format!("open({data:?})"), errno))?;
        mounted.attach(place.as_fd())
    });
    attached.map_err(|error| Error::Mount {
        text: format!(
            "error while mounting volume '{data}': failed to mount local volume: mount {device}:{data}{}{}: {}",
            if words.flags() == 0 { String::new() } else { format!(", flags: {:#x}", words.flags()) },
            if words.data.is_empty() { String::new() } else { format!(", data: {}", words.data.join(",")) },
            words_of(error.errno),
            data = data.display(),
        ),
        detail: error.detail,
    })
}

/// Takes the mount over `data` away.
pub(super) fn unmount(data: &Path) -> Result<()> {
    while is_mounted(data)? {
        mount::detach(data).doing(|| format!("unmount volume {data:?}"))?;
    }
    Ok(())
}

fn bind(device: &str, recursive: bool, words: &Words) -> Result<DetachedMount, shipway_sys::Error> {
    let source = rustix::fs::open(device, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| shipway_sys::Error::new(format!("open({device:?})"), errno))?;
    let copy = DetachedMount::copy_of_handle(source.as_fd(), recursive)?;
    copy.change(words.set, 0, Some(Propagation::Private), recursive)?;
    Ok(copy)
}

fn fresh(kind: &str, device: &str, words: &Words) -> Result<DetachedMount, shipway_sys::Error> {
    let mut builder = MountBuilder::new(kind)?.option("source", device)?;
    for word in &words.data {
        builder = match word.split_once('=') {
            Some((key, value)) => builder.option(key, value)?,
            None => builder.flag(word)?,
        };
    }
    // Read-only is also the filesystem's own affair: a disk is then not even replayed.
    if words.set & READ_ONLY != 0 {
        builder = builder.flag("ro")?;
    }
    builder.mount(words.set)
}

/// The words of `o`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    /// Attributes of the mount.
    set: u64,
    /// A bind; true with everything mounted below.
    bind: Option<bool>,
    /// For the filesystem.
    data: Vec<String>,
}

impl Words {
    fn read(text: &str) -> Self {
        let mut words = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (bits, on) = match word {
                "bind" | "rbind" => {
                    words.bind = Some(word == "rbind");
                    continue;
                }
                "ro" | "rw" => (READ_ONLY, word == "ro"),
                "nosuid" | "suid" => (NO_SETUID, word == "nosuid"),
                "nodev" | "dev" => (NO_DEVICES, word == "nodev"),
                "noexec" | "exec" => (NO_EXEC, word == "noexec"),
                "noatime" | "atime" => (NO_ATIME, word == "noatime"),
                "nodiratime" | "diratime" => (NO_FOLDER_ATIME, word == "nodiratime"),
                "defaults" | "relatime" | "norelatime" => continue,
                other => {
                    words.data.push(other.to_owned());
                    continue;
                }
            };
            words.set = if on { words.set | bits } else { words.set & !bits };
        }
        words
    }

    /// The kernel takes the address of a server, not its name (mount.nfs would have looked it up). It is looked up at each mount: servers move.
    fn look_up_server(&mut self) -> Result<()> {
        for word in &mut self.data {
            let Some(server) = word.strip_prefix("addr=").filter(|server| server.parse::<IpAddr>().is_err()) else { continue };
            let told = |why: String| Error::Mount {
                text: format!("error resolving passed in network volume address: lookup {server}: {why}"),
                detail: String::new(),
            };
            let found = (server, 0).to_socket_addrs().map_err(|error| told(error.to_string()))?.next();
            let address = found.ok_or_else(|| told("no such host".to_owned()))?.ip();
            *word = format!("addr={address}");
        }
        Ok(())
    }

    /// The flags mount(2) would have been given, for the message.
    fn flags(&self) -> u64 {
        const TABLE: [(u64, u64); 6] =
            [(READ_ONLY, 1), (NO_SETUID, 2), (NO_DEVICES, 4), (NO_EXEC, 8), (NO_ATIME, 0x400), (NO_FOLDER_ATIME, 0x800)];
        let plain: u64 = TABLE.iter().filter(|(ours, _)| self.set & ours != 0).map(|(_, theirs)| theirs).sum();
        plain
            | match self.bind {
                Some(true) => 0x5000,
                Some(false) => 0x1000,
                None => 0,
            }
    }
}

/// What the kernel answered, as Go writes it.
fn words_of(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: Option<&str>) {
        assert_eq!(super::check(&options(pairs)).err().map(|error| error.to_string()).as_deref(), expected);
    }

    #[test]
    fn options_are_refused_in_dockerds_words() {
        check(&[], None);
        check(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")], None);
        check(&[("foo", "bar")], Some("invalid option: \"foo\""));
        check(&[("type", "tmpfs")], Some("missing required option: \"device\""));
        check(&[("device", "/x")], Some("missing required option: \"type\""));
        check(&[("o", "bind")], Some("missing required option: \"device\""));
        check(&[("size", "10m")], Some("quota size requested but no quota support"));
    }

    #[test]
    fn words_are_told_apart() {
        let words = Words::read("rbind,ro,nosuid,suid,noexec,defaults,,size=1m,uid=1000");
        assert_eq!(words.bind, Some(true));
        assert_eq!(words.set, READ_ONLY | NO_EXEC);
        assert_eq!(words.data, ["size=1m", "uid=1000"]);
        assert_eq!(words.flags(), 0x5009);
        assert_eq!(Words::read("addr=1.2.3.4,rw").data, ["addr=1.2.3.4"]);
    }

    #[test]
    fn a_server_is_known_by_its_address() {
        let looked_up = |text: &str| {
            let mut words = Words::read(text);
            words.look_up_server().map(|()| words.data.join(",")).map_err(|error| error.to_string())
        };
        assert_eq!(looked_up("addr=10.1.2.3,vers=4").unwrap(), "addr=10.1.2.3,vers=4");
        assert!(["addr=127.0.0.1,soft", "addr=::1,soft"].contains(&looked_up("addr=localhost,soft").unwrap().as_str()));
        let words = "error resolving passed in network volume address: lookup no such name: ";
        assert!(looked_up("addr=no such name").unwrap_err().contains(words));
    }
}
