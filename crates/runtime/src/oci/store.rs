//! What is known of the containers: one folder each, below --root.
//!
//! What must stay true: a folder is claimed by making it, so an id belongs to one `create`; a record is complete or absent; whether a process is still
//! the container's is told by its number *and* the moment it started.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use shipway_sys::cgroup::{Group, Tree};
use shipway_sys::probe::Probe;
use shipway_sys::process;

use super::Global;
use super::config;
use super::error::Error;
use crate::message::to_json;

const RECORD: &str = "container.json";
const CONFIG: &str = "config.json";
/// The gate; gone once the program was let through.
pub(super) const GATE: &str = "gate.sock";

/// The record of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) oci_version: String,
    pub(super) id: String,
    /// First process, 0 while it is being made.
    pub(super) pid: i32,
    /// When it started, in clock ticks since boot.
    pub(super) pid_started: u64,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    /// RFC 3339.
    pub(super) created: String,
    pub(super) annotations: BTreeMap<String, String>,
    /// Folder of its group in every hierarchy, without a leading slash; may be empty.
    pub(super) cgroup_parent: String,
    pub(super) cgroup_name: String,
    pub(super) owner: u32,
}

/// The states of the spec, and runc's "paused".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// The folders.
pub(super) struct Store {
    root: PathBuf,
}

/// One container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) folder: PathBuf,
    pub(super) record: Record,
}

impl Store {
    pub(super) fn new(global: &Global) -> Self {
        Self { root: global.root.clone() }
    }

    /// The folder of an id.
    pub(super) fn folder(&self, id: &str) -> Result<PathBuf, Error> {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "_+-.".contains(letter);
        if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.chars().all(fits) {
            return Err(Error::BadId { id: id.to_owned() });
        }
        Ok(self.root.join(id))
    }

    /// Claims an id.
    pub(super) fn claim(&self, id: &str) -> Result<PathBuf, Error> {
        let folder = self.folder(id)?;
        let told = |error: &std::io::Error| Error::file("mkdir", &folder, error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root).map_err(|error| told(&error))?;
        match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::Exists { id: id.to_owned() }),
            Err(error) => Err(told(&error)),
        }
    }

    pub(super) fn load(&self, id: &str) -> Result<Container, Error> {
        let folder = self.folder(id)?;
        let path = folder.join(RECORD);
        if !path.exists() {
            return Err(Error::NotFound { id: id.to_owned() });
        }
        Ok(Container { record: config::read(&path)?, folder })
    }

    /// All of them, by id; a folder without a record is one that is just being made.
    pub(super) fn all(&self) -> Vec<Container> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut found: Vec<Container> = entries.filter_map(|entry| self.load(entry.file_name().to_str()?).ok()).collect();
        found.sort_by(|one, other| one.record.id.cmp(&other.record.id));
        found
    }
}

impl Container {
    /// Writes the record, beside and renamed.
    pub(super) fn save(&self) -> Result<(), Error> {
        let path = self.folder.join(RECORD);
        let draft = self.folder.join("container.json.new");
        let told = |error: std::io::Error| Error::file("write", &path, &error);
        std::fs::write(&draft, to_json(&self.record)).map_err(told)?;
        std::fs::rename(&draft, &path).map_err(told)
    }

    /// Keeps a copy of the configuration, which the bundle's owner may change meanwhile.
    pub(super) fn keep_config(&self) -> Result<(), Error> {
        let source = self.record.bundle.join(CONFIG);
        std::fs::copy(&source, self.folder.join(CONFIG)).map(drop).map_err(|error| Error::file("copy", &source, &error))
    }

    pub(super) fn config(&self) -> Result<config::Config, Error> {
        config::read(&self.folder.join(CONFIG))
    }

    pub(super) fn status(&self) -> Status {
        if self.record.pid == 0 {
            return Status::Creating;
        }
        if !self.process_lives() {
            return Status::Stopped;
        }
        if self.folder.join(GATE).exists() {
            return Status::Created;
        }
        if self.group().is_ok_and(|group| is_frozen(&group)) { Status::Paused } else { Status::Running }
    }

    fn process_lives(&self) -> bool {
        started_at(self.record.pid).is_some_and(|(state, started)| !matches!(state, 'Z' | 'X') && started == self.record.pid_started)
    }

    /// The first process by handle, if it is still the one of the record.
    pub(super) fn process(&self) -> Result<(Pid, OwnedFd), Error> {
        let pid = Pid::from_raw(self.record.pid).ok_or(Error::NotRunning)?;
        let handle = process::open_pidfd(pid).map_err(|_| Error::NotRunning)?;
        // Looked at after opening: the handle cannot come to mean another process any more.
        if self.process_lives() { Ok((pid, handle)) } else { Err(Error::NotRunning) }
    }

    pub(super) fn group(&self) -> Result<Group, Error> {
        Ok(tree(&self.record.cgroup_parent)?.group(&self.record.cgroup_name))
    }

    /// What `state` prints and hooks read.
    pub(super) fn state(&self, status: Status) -> serde_json::Value {
        let record = &self.record;
        let pid = if status == Status::Stopped { 0 } else { record.pid };
        let mut state = serde_json::json!({
            "ociVersion": record.oci_version,
            "id": record.id,
            "pid": pid,
            "status": status.name(),
            "bundle": record.bundle,
            "rootfs": record.rootfs,
            "created": record.created,
        });
        if !record.annotations.is_empty() {
            state["annotations"] = serde_json::json!(record.annotations);
        }
        state["owner"] = "".into();
        state
    }

    /// Forgets it.
    pub(super) fn forget(&self) -> Result<(), Error> {
        std::fs::remove_dir_all(&self.folder).map_err(|error| Error::file("remove", &self.folder, &error))
    }
}

/// Our corner of the hierarchies at `parent`, whose folders are made, each with what its own parent has.
pub(super) fn tree(parent: &str) -> Result<Tree, Error> {
    Ok(Tree::open_path(&Probe::get().cgroup, Path::new(parent))?)
}

/// Where the group of a container goes: parent and name. Without a wish it stands at the top under the container's id, as runc's does; systemd's
/// `slice:prefix:name` means the folder that systemd would make.
pub(super) fn cgroup_place(wish: &str, id: &str) -> Result<(String, String), Error> {
    let parts: Vec<&str> = wish.split(':').collect();
    let path = match parts.as_slice() {
        [""] => id.to_owned(),
        [slice, prefix, name] if !wish.contains('/') => {
            let slice = if slice.is_empty() { "system.slice" } else { slice };
            let name = if prefix.is_empty() { (*name).to_owned() } else { format!("{prefix}-{name}") };
            format!("{slice}/{name}{}", if name.ends_with(".slice") { "" } else { ".scope" })
        }
        _ => wish.to_owned(),
    };
    let path = shipway_sys::path::clean_inside(Path::new(&path));
    let name = path.file_name().ok_or_else(|| Error::usage(format!("linux.cgroupsPath \"{wish}\" names no cgroup")))?;
    let parent = path.parent().unwrap_or(Path::new(""));
    Ok((parent.to_string_lossy().into_owned(), name.to_string_lossy().into_owned()))
}

fn is_frozen(group: &Group) -> bool {
    let Some(folder) = group.folder("freezer") else { return false };
    let says = |file: &str, word: &str| std::fs::read_to_string(folder.join(file)).is_ok_and(|text| text.trim() == word);
    says("freezer.state", "FROZEN") || says("cgroup.freeze", "1")
}

/// State letter and start of a process, from proc_pid_stat(5).
pub(super) fn started_at(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}
