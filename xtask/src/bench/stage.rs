//! The stage: a folder in memory, one fresh ext4 for the inputs and one per engine, and the daemons that are running on it.
//!
//! What must stay true: everything is told to the guard before it is put up; every engine's file system is made the same way, journal and
//! all, on a sparse file on the same disk (the root ext4 of a development machine has no journal and is slow at re-creating files).

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Child;

use super::guard::{self, Guard, Undo};
use super::invocation::Invocation;
use super::options::Options;

/// What a run has put up.
pub(super) struct Stage {
    guard: Guard,
    /// Unique to this run; in memory. Sockets, logs and other things of the moment lie below it.
    pub(super) folder: PathBuf,
    /// Control group below which every container of every engine is put.
    pub(super) control_group: String,
    images: PathBuf,
    size_gib: u64,
    /// Kept so that they are reaped when we end; the guard stops them.
    daemons: Vec<Child>,
    log_number: RefCell<u64>,
}

impl Stage {
    pub(super) fn set_up(options: &Options) -> Result<Self, String> {
        let name = format!("shipway-bench-{}", std::process::id());
        let folder = Path::new("/run").join(&name);
        let images = options.disk.join(&name);
        let outer = options.outer_namespace.clone().unwrap_or_default();
        if guard::mount_namespace("self").is_none_or(|ours| ours == outer) {
            return Err("no mount namespace of our own; start the bench without its hidden flags".to_owned());
        }
        let mut guard = Guard::start()?;
        for folder in [&images, &folder] {
            guard.note(&Undo::Folder(folder.clone()))?;
            std::fs::create_dir(folder).map_err(|error| format!("cannot create {} (are you root?): {error}", folder.display()))?;
        }
        let mut stage = Self {
            guard,
            folder: folder.clone(),
            control_group: name.clone(),
            images,
            size_gib: options.size_gib,
            daemons: Vec::new(),
            log_number: RefCell::new(0),
        };
        stage.mount_memory(&folder)?;
        // Podman keeps locks and a cache of blobs in places that no flag moves; only we see what lies over them.
        for place in ["/dev/shm", "/var/lib/containers"] {
            if Path::new(place).is_dir() && !options.paths().iter().any(|path| path.starts_with(place)) {
                stage.mount_memory(Path::new(place))?;
            }
        }
        stage.guard.note(&Undo::Strays { folder, control_group: name, outer })?;
        Ok(stage)
    }

    /// A folder below the stage that exists.
    pub(super) fn subfolder(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(path)
    }

    /// A fresh ext4 of the kind that everyone gets, mounted at `name` below the stage.
    pub(super) fn file_system(&mut self, name: &str) -> Result<PathBuf, String> {
        let image = self.images.join(format!("{name}.img"));
        let target = self.subfolder(name)?;
        let log = self.log();
        Invocation::new("truncate").arg("--size").arg(format!("{}G", self.size_gib)).path(&image).output(&log)?;
        Invocation::new("mkfs.ext4").args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).path(&image).output(&log)?;
        self.guard.note(&Undo::Mount(target.clone()))?;
        Invocation::new("mount").args(["-o", "loop"]).path(&image).path(&target).output(&log)?;
        Ok(target)
    }

    /// Starts a daemon that the guard will stop; its output goes to a file named after it.
    pub(super) fn start_daemon(&mut self, name: &str, invocation: &Invocation) -> Result<u32, String> {
        use std::os::unix::process::CommandExt;
        let failed = |error: std::io::Error| format!("cannot start {name}: {error}");
        let log = std::fs::File::create(self.daemon_log(name)).map_err(failed)?;
        let mut command = invocation.command();
        // In a group of its own: ctrl-C is for us, and the guard stops the daemon in order.
        command.process_group(0).stdout(log.try_clone().map_err(failed)?).stderr(log);
        let child = command.spawn().map_err(failed)?;
        let id = child.id();
        let started = guard::start_time(id).ok_or_else(|| format!("{name} ended at once"))?;
        self.guard.note(&Undo::Process { id, started })?;
        self.daemons.push(child);
        Ok(id)
    }

    /// What a daemon has printed, its last lines.
    pub(super) fn last_words(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.daemon_log(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    fn daemon_log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// A fresh name for a command's output. Files in memory; a bench makes some hundreds.
    pub(super) fn log(&self) -> PathBuf {
        let mut number = self.log_number.borrow_mut();
        *number += 1;
        self.folder.join(format!("command-{number}.log"))
    }

    /// Writes out what the last command left dirty on this file system, so that the next one does not pay for it.
    pub(super) fn settle(&self, path: &Path) -> Result<(), String> {
        Invocation::new("sync").arg("--file-system").path(path).output(&self.log()).map(drop)
    }

    pub(super) fn take_down(mut self) -> Result<(), String> {
        self.guard.dismiss()
    }

    fn mount_memory(&mut self, target: &Path) -> Result<(), String> {
        self.guard.note(&Undo::Mount(target.to_owned()))?;
        Invocation::new("mount")
            .args(["-t", "tmpfs", "-o", "mode=0755", "tmpfs"])
            .path(target)
            .output(&self.images.join("mount.log"))
            .map(drop)
    }
}
