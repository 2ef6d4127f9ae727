//! The mounts of a configuration: their options, and detached mounts of what can be made outside.
//!
//! What must stay true: an option that no table here knows belongs to the filesystem, which refuses what it does not know; a bind takes its source by
//! path once and is a handle from then on.
//!
//! Source: OCI runtime-spec, config.md, "Linux mount options"; mount_setattr(2) for the bits.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use shipway_sys::mount::attribute::{NO_ATIME, NO_DEVICES, NO_EXEC, NO_SETUID, READ_ONLY};
use shipway_sys::mount::{DetachedMount, MountBuilder, Propagation};

use super::config::Mount;
use super::error::Error;
use crate::error::LaunchError;
use crate::message::{Fill, FreshKind, FreshMount, MountPart, MountWhat};

/// MOUNT_ATTR_* that `sys::mount` has no name for.
const STRICT_ATIME: u64 = 0x20;
const ATIME_MASK: u64 = 0x70;
const NO_DIRECTORY_ATIME: u64 = 0x80;
const NO_SYMLINKS: u64 = 0x20_0000;

/// Options read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// Bits to set and to clear on the mount itself.
    set: u64,
    clear: u64,
    /// The same on those below.
    set_below: u64,
    clear_below: u64,
    /// A bind; true with everything mounted below the source.
    bind: Option<bool>,
    /// How mounts travel; true for those below as well.
    propagation: Option<(Propagation, bool)>,
    /// Fill a fresh tmpfs with what stands at its place.
    copy_up: bool,
    /// The filesystem's own.
    data: Vec<(String, Option<String>)>,
}

/// Bits by the word that sets them (first) and the one that clears them.
const SWITCHES: [(&str, &str, u64); 7] = [
    ("ro", "rw", READ_ONLY),
    ("nosuid", "suid", NO_SETUID),
    ("nodev", "dev", NO_DEVICES),
    ("noexec", "exec", NO_EXEC),
    ("noatime", "atime", NO_ATIME),
    ("nodiratime", "diratime", NO_DIRECTORY_ATIME),
    ("nosymfollow", "symfollow", NO_SYMLINKS),
];

impl Options {
    pub(super) fn read(words: &[String]) -> Result<Self, Error> {
        let mut options = Self::default();
        for word in words {
            options.take(word)?;
        }
        Ok(options)
    }

    fn take(&mut self, word: &str) -> Result<(), Error> {
        if self.take_switch(word, false) || word.strip_prefix('r').is_some_and(|rest| self.take_switch(rest, true)) {
            return Ok(());
        }
        match word {
            "defaults" | "async" | "loud" | "nomand" | "nolazytime" | "nodirsync" => {}
            "tmpcopyup" => self.copy_up = true,
            "bind" => self.bind = self.bind.or(Some(false)),
            "rbind" => self.bind = Some(true),
            "relatime" | "nostrictatime" => self.clear |= ATIME_MASK,
            "strictatime" | "norelatime" => {
                self.clear |= ATIME_MASK;
                self.set |= STRICT_ATIME;
            }
            "private" => self.propagation = Some((Propagation::Private, false)),
            "rprivate" => self.propagation = Some((Propagation::Private, true)),
            "slave" => self.propagation = Some((Propagation::Slave, false)),
            "rslave" => self.propagation = Some((Propagation::Slave, true)),
            "shared" => self.propagation = Some((Propagation::Shared, false)),
            "rshared" => self.propagation = Some((Propagation::Shared, true)),
            "remount" | "idmap" | "ridmap" | "unbindable" | "runbindable" => {
                return Err(Error::unsupported(format!("the mount option \"{word}\"")));
            }
            _ => self.data.push(match word.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (word.to_owned(), None),
            }),
        }
        Ok(())
    }

    fn take_switch(&mut self, word: &str, below: bool) -> bool {
        for (on, off, bit) in SWITCHES {
            // Access times are one field of three bits: a new value replaces the old one.
            let cleared = if bit == NO_ATIME { ATIME_MASK } else { bit };
            let (set, clear) = if below { (&mut self.set_below, &mut self.clear_below) } else { (&mut self.set, &mut self.clear) };
            if word == on {
                *set |= bit;
                *clear |= cleared & !bit;
                return true;
            }
            if word == off {
                *set &= !bit;
                *clear |= cleared;
                return true;
            }
        }
        false
    }

    /// Applies what was said about the mount to one that exists.
    fn change(&self, mount: &DetachedMount) -> Result<(), shipway_sys::Error> {
        if self.set_below | self.clear_below != 0 {
            mount.change(self.set_below, self.clear_below & !self.set_below | time_bits(self.set_below), None, true)?;
        }
        if self.set | self.clear != 0 {
            mount.change(self.set, self.clear & !self.set | time_bits(self.set), None, false)?;
        }
        let (propagation, recursive) = self.propagation.unwrap_or((Propagation::Private, true));
        mount.change(0, 0, Some(propagation), recursive)
    }
}

/// The kernel wants the whole field of access times cleared where one of its values is set.
fn time_bits(set: u64) -> u64 {
    if set & ATIME_MASK == 0 { 0 } else { ATIME_MASK }
}

/// A mount of the configuration as the init takes it; `keep` stores a handle and answers its index.
pub(super) fn prepare(mount: &Mount, bundle: &Path, keep: &mut dyn FnMut(OwnedFd) -> usize) -> Result<MountPart, Error> {
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Err(Error::unsupported("mounts[].uidMappings"));
    }
    let options = Options::read(&mount.options)?;
    // Relative destinations are an old habit that the spec still tolerates.
    let target = format!("/{}", mount.destination.trim_start_matches('/'));
    let told = |error: shipway_sys::Error| LaunchError::Mount { text: format!("\"{}\" to \"{target}\": {error}", mount.source) };
    if mount.kind == "bind" || options.bind.is_some() {
        let (copy, is_folder) = bind(&bundle.join(&mount.source), &options).map_err(told)?;
        return Ok(MountPart { target, what: MountWhat::Handle(keep(copy.into_handle())), is_folder, fill: Fill::Nothing });
    }
    if options.copy_up && mount.kind != "tmpfs" {
        return Err(Error::unsupported("the mount option \"tmpcopyup\" on anything but a tmpfs"));
    }
    let fresh = match mount.kind.as_str() {
        "proc" => FreshKind::Proc,
        "sysfs" => FreshKind::Sysfs,
        "mqueue" => FreshKind::Queues,
        "devpts" => FreshKind::Terminals,
        "cgroup" | "cgroup2" => FreshKind::Cgroups,
        _ => {
            let built = build(mount, &options).map_err(told)?;
            let has_mode = options.data.iter().any(|(key, _)| key == "mode");
            let fill = match mount.kind.as_str() {
                "tmpfs" if options.copy_up => Fill::Content,
                "tmpfs" if !has_mode => Fill::Mode,
                _ => Fill::Nothing,
            };
            return Ok(MountPart { target, what: MountWhat::Handle(keep(built.into_handle())), is_folder: true, fill });
        }
    };
    // Every devpts is an instance of its own since Linux 4.7.
    let own = options.data.iter().filter(|(key, _)| key != "newinstance").cloned().collect();
    Ok(MountPart {
        target,
        what: MountWhat::Fresh(FreshMount { kind: fresh, attributes: options.set, options: own }),
        is_folder: true,
        fill: Fill::Nothing,
    })
}

fn bind(source: &Path, options: &Options) -> Result<(DetachedMount, bool), shipway_sys::Error> {
    let handle = rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| shipway_sys::Error::new(format!("open({source:?})"), errno))?;
    let status = rustix::fs::fstat(&handle).map_err(|errno| shipway_sys::Error::new(format!("stat({source:?})"), errno))?;
    let copy = DetachedMount::copy_of_handle(handle.as_fd(), options.bind.unwrap_or(false))?;
    options.change(&copy)?;
    Ok((copy, FileType::from_raw_mode(status.st_mode) == FileType::Directory))
}

fn build(mount: &Mount, options: &Options) -> Result<DetachedMount, shipway_sys::Error> {
    let mut builder = MountBuilder::new(&mount.kind)?;
    if !mount.source.is_empty() {
        builder = builder.option("source", &mount.source)?;
    }
    for (key, value) in &options.data {
        builder = match value {
            Some(value) => builder.option(key, value)?,
            None => builder.flag(key)?,
        };
    }
    let mounted = builder.mount(options.set)?;
    if let Some((propagation, recursive)) = options.propagation {
        mounted.change(0, 0, Some(propagation), recursive)?;
    }
    Ok(mounted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Options {
        let words: Vec<String> = text.split(',').map(str::to_owned).collect();
        Options::read(&words).expect("options")
    }

    #[test]
    fn words_become_bits() {
        assert_eq!(read("nosuid,noexec,ro").set, NO_SETUID | NO_EXEC | READ_ONLY);
        assert_eq!(read("ro,rw"), Options { clear: READ_ONLY, ..Options::default() });
        assert_eq!(read("rbind,ro").bind, Some(true));
        assert_eq!(read("bind,rro").set_below, READ_ONLY);
        assert_eq!(read("rslave").propagation, Some((Propagation::Slave, true)));
        assert_eq!(read("strictatime").set, STRICT_ATIME);
        assert_eq!(read("size=64k,mode=755").data, [("size".into(), Some("64k".into())), ("mode".into(), Some("755".into()))]);
        // "relatime" begins with an r, but is no recursive "elatime".
        assert_eq!(read("relatime"), Options { clear: ATIME_MASK, ..Options::default() });
        assert!(Options::read(&["idmap".to_owned()]).is_err());
    }
}
