//! Control groups of either version behind one face.
//!
//! A [`Tree`] is our corner of the host's hierarchies; a [`Group`] is one named folder in each of them. What must stay true: a limit that the host's
//! controllers cannot give is reported by name, never silently dropped; removing is repeatable.

mod devices;
mod v1;
mod v2;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::Error;
use crate::probe::{CgroupLayout, CgroupMode};

pub use devices::{Device, DeviceKind, default_devices};

/// How long the removal of a group waits for its last process to be gone from the kernel's books.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(2);

/// What a group may use; `None` leaves what is there. Negative numbers mean "no limit" where the kernel has such a thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory and swap together.
    pub memory_and_swap: Option<i64>,
    /// Bytes kept from reclaim while others have more.
    pub memory_reservation: Option<i64>,
    /// 0-100.
    pub swappiness: Option<u64>,
    /// Weight among siblings, 1024 being normal (version 1's scale).
    pub cpu_shares: Option<u64>,
    /// Microseconds of CPU time per period.
    pub cpu_quota: Option<i64>,
    /// Length of a period in microseconds.
    pub cpu_period: Option<u64>,
    /// Which processors, e.g. "0-2,4".
    pub cpus: Option<String>,
    /// Which memory nodes.
    pub memory_nodes: Option<String>,
    /// How many threads.
    pub pids: Option<i64>,
    /// Weight of block input and output, 10-1000.
    pub block_weight: Option<u16>,
    /// Length of a period of real-time processes in microseconds (version 1 only).
    pub realtime_period: Option<u64>,
    /// Microseconds of a period that real-time processes may run (version 1 only); not more than the group above has.
    pub realtime_runtime: Option<i64>,
    /// Leave the processes hanging instead of killing one when memory runs out (version 1 only).
    pub oom_kill_disable: Option<bool>,
}

/// What of a block device is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Throttled {
    ReadBytes,
    WriteBytes,
    ReadOperations,
    WriteOperations,
    /// Its share among siblings, 10-1000, instead of so many a second.
    Weight,
}

/// A bound on what a group may do with one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Throttle {
    /// Its major and minor number.
    pub device: (u32, u32),
    pub what: Throttled,
    /// So many a second.
    pub rate: u64,
}

/// What a group has used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of CPU time: all, in the kernel, for the program.
    pub cpu_total: u64,
    /// Nanoseconds in the kernel.
    pub cpu_system: u64,
    /// Nanoseconds in user mode.
    pub cpu_user: u64,
    /// Nanoseconds per processor; empty on version 2.
    pub cpu_each: Vec<u64>,
    /// Elapsed periods, periods throttled, nanoseconds throttled.
    pub throttling: (u64, u64, u64),
    /// Bytes of memory now.
    pub memory: u64,
    /// Most bytes ever (0 where not counted).
    pub memory_peak: u64,
    /// Bytes allowed; the kernel's huge number or `u64::MAX` mean no limit.
    pub memory_limit: u64,
    /// Times an allocation met the limit.
    pub memory_failures: u64,
    /// memory.stat, line by line.
    pub memory_details: Vec<(String, u64)>,
    /// Threads now.
    pub pids: u64,
    /// Threads allowed, `None` for any number.
    pub pids_limit: Option<u64>,
    /// Per device and operation: (major, minor, operation, bytes, operations).
    pub block: Vec<BlockUsage>,
    /// Processes killed because memory ran out.
    pub oom_kills: u64,
}

/// Input and output of one device in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockUsage {
    /// Device number.
    pub major: u64,
    /// Device number.
    pub minor: u64,
    /// "Read" or "Write".
    pub operation: String,
    /// Bytes moved.
    pub bytes: u64,
    /// Requests made.
    pub operations: u64,
}

/// Our corner of the hierarchies.
#[derive(Debug, Clone)]
pub struct Tree {
    version: Version,
    /// Our folder in each hierarchy used, without doubles.
    roots: Vec<Root>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

#[derive(Debug, Clone)]
struct Root {
    controllers: Vec<String>,
    folder: PathBuf,
}

impl Tree {
    /// Makes (or finds) the folder `name` at the top of every hierarchy that matters: memory, cpu, cpuacct, cpuset, pids, devices, freezer, blkio.
    ///
    /// # Errors
    /// `ENODEV` when no control groups are mounted.
    pub fn open(layout: &CgroupLayout, name: &str) -> Result<Self, Error> {
        match layout.mode() {
            CgroupMode::Unified => {
                let top = layout.v2.clone().ok_or_else(|| Error::new("find cgroup2 mount", Errno::NODEV))?;
                Self::open_version_2(&top, name)
            }
            CgroupMode::Hybrid | CgroupMode::Legacy => Self::open_version_1(layout, name),
            CgroupMode::Absent => Err(Error::new("find cgroup mounts", Errno::NODEV)),
        }
    }

    /// The same for a path of several folders, `a/b/c`, each of which is made.
    pub fn open_path(layout: &CgroupLayout, path: &Path) -> Result<Self, Error> {
        let mut whole = PathBuf::new();
        for part in path {
            whole.push(part);
            Self::open(layout, &whole.to_string_lossy())?;
        }
        Self::open(layout, &path.to_string_lossy())
    }

    fn open_version_1(layout: &CgroupLayout, name: &str) -> Result<Self, Error> {
        let mut roots: Vec<Root> = Vec::new();
        for controller in v1::CONTROLLERS {
            let Some(top) = layout.v1.get(*controller) else { continue };
            let folder = top.join(name);
            match roots.iter_mut().find(|root| root.folder == folder) {
                Some(root) => root.controllers.push((*controller).to_owned()),
                None => roots.push(Root { controllers: vec![(*controller).to_owned()], folder }),
            }
        }
        if roots.is_empty() {
            return Err(Error::new("find cgroup mounts", Errno::NODEV));
        }
        let tree = Self { version: Version::One, roots };
        for root in &tree.roots {
            tree.create_folder(root, &root.folder)?;
        }
        Ok(tree)
    }

    fn open_version_2(top: &Path, name: &str) -> Result<Self, Error> {
        let folder = top.join(name);
        make_folder(&folder)?;
        v2::delegate_controllers(top);
        v2::delegate_controllers(&folder);
        Ok(Self { version: Version::Two, roots: vec![Root { controllers: v2::controllers_of(&folder), folder }] })
    }

    /// True when groups can be renamed and processes must be moved in (version 1); false when they are born inside (version 2).
    pub fn is_version_1(&self) -> bool {
        self.version == Version::One
    }

    /// Where the hierarchies of this tree are mounted and which controllers each has, for showing them inside a sandbox.
    pub fn hierarchies(&self) -> Vec<Vec<String>> {
        self.roots.iter().map(|root| root.controllers.clone()).collect()
    }

    /// Makes the group `name`.
    ///
    /// # Cost
    /// 40-80 us per hierarchy of version 1.
    pub fn create(&self, name: &str) -> Result<Group, Error> {
        let group = self.group(name);
        for (root, folder) in group.folders() {
            self.create_folder(root, &folder)?;
        }
        Ok(group)
    }

    /// Names the group `name` without touching it; it may not exist.
    pub fn group(&self, name: &str) -> Group {
        Group { tree: self.clone(), name: name.to_owned() }
    }

    fn create_folder(&self, root: &Root, folder: &Path) -> Result<(), Error> {
        make_folder(folder)?;
        if self.version == Version::One && root.controllers.iter().any(|name| name == "cpuset") {
            v1::inherit_cpuset(folder)?;
        }
        Ok(())
    }

    /// The names of all groups in this tree.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for root in &self.roots {
            let Ok(entries) = fs::read_dir(&root.folder) else { continue };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    names.insert(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        names
    }

    /// Removes the tree's own folders if no group is left; otherwise leaves them.
    pub fn remove_if_empty(&self) {
        for root in &self.roots {
            // A group still there answers EBUSY, which is the point of asking.
            let _ = fs::remove_dir(&root.folder);
        }
    }
}

/// One named folder in every hierarchy of a [`Tree`].
#[derive(Debug, Clone)]
pub struct Group {
    tree: Tree,
    name: String,
}

impl Group {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn folders(&self) -> impl Iterator<Item = (&Root, PathBuf)> {
        self.tree.roots.iter().map(|root| (root, root.folder.join(&self.name)))
    }

    /// Its folder in the hierarchy of `controller` (any, on version 2).
    pub fn folder(&self, controller: &str) -> Option<PathBuf> {
        let wanted = |root: &&Root| self.tree.version == Version::Two || root.controllers.iter().any(|name| name == controller);
        self.tree.roots.iter().find(wanted).map(|root| root.folder.join(&self.name))
    }

    /// Moves `pid` in.
    ///
    /// # Cost
    /// 5-15 ms when the machine is quiet: the kernel waits for an RCU grace period, once per hierarchy. Keep it off every path someone waits on.
    pub fn add(&self, pid: Pid) -> Result<(), Error> {
        let text = pid.as_raw_pid().to_string();
        for (_, folder) in self.folders() {
            write_file(&folder.join("cgroup.procs"), &text)?;
        }
        Ok(())
    }

    /// The folder as a handle for CLONE_INTO_CGROUP; `None` on version 1.
    pub fn handle(&self) -> Result<Option<OwnedFd>, Error> {
        if self.tree.version == Version::One {
            return Ok(None);
        }
        let folder = self.tree.roots[0].folder.join(&self.name);
        rustix::fs::open(
            &folder,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map(Some)
        .map_err(|errno| Error::new(format!("open({folder:?})"), errno))
    }

    /// Gives the group another name. Version 2 cannot: there the group keeps the old one, which is no error.
    pub fn rename(&mut self, name: &str) -> Result<(), Error> {
        if self.tree.version == Version::Two {
            return Ok(());
        }
        for (root, folder) in self.folders() {
            let target = root.folder.join(name);
            fs::rename(&folder, &target).map_err(|error| Error::from_io(format!("rename({folder:?}, {target:?})"), &error))?;
        }
        self.name = name.to_owned();
        Ok(())
    }

    /// Sets limits. Lowering below the present use may be refused by the kernel.
    ///
    /// # Errors
    /// `ENODEV` naming the limit whose controller this host does not have.
    pub fn limit(&self, limits: &Limits) -> Result<(), Error> {
        match self.tree.version {
            Version::One => v1::limit(self, limits),
            Version::Two => v2::limit(self, limits),
        }
    }

    /// Bounds the use of block devices. Writes through the page cache are counted by version 2 only.
    ///
    /// # Errors
    /// `ENODEV` without the controller, or for numbers that are no disk's (a part of a disk is none).
    pub fn throttle(&self, throttles: &[Throttle]) -> Result<(), Error> {
        if throttles.is_empty() {
            return Ok(());
        }
        let controller = match self.tree.version {
            Version::One => "blkio",
            Version::Two => "",
        };
        let folder = self.folder(controller).ok_or_else(|| Error::new("bound a block device", Errno::NODEV))?;
        for Throttle { device: (major, minor), what, rate } in throttles {
            let (old, new) = match what {
                Throttled::Weight => {
                    let (file, weight) = match self.tree.version {
                        Version::One => (v1::weight_file(&folder, "_device"), *rate),
                        Version::Two => ("io.weight".to_owned(), v2::weight_of_blocks(*rate)),
                    };
                    write_file(&folder.join(file), &format!("{major}:{minor} {weight}"))?;
                    continue;
                }
                Throttled::ReadBytes => ("read_bps", "rbps"),
                Throttled::WriteBytes => ("write_bps", "wbps"),
                Throttled::ReadOperations => ("read_iops", "riops"),
                Throttled::WriteOperations => ("write_iops", "wiops"),
            };
            match self.tree.version {
                Version::One => write_file(&folder.join(format!("blkio.throttle.{old}_device")), &format!("{major}:{minor} {rate}"))?,
                Version::Two => write_file(&folder.join("io.max"), &format!("{major}:{minor} {new}={rate}"))?,
            }
        }
        Ok(())
    }

    /// Denies all devices but these.
    pub fn allow_devices(&self, devices: &[Device]) -> Result<(), Error> {
        match self.tree.version {
            Version::One => v1::allow_devices(self, devices),
            Version::Two => devices::attach_program(&self.tree.roots[0].folder.join(&self.name), devices),
        }
    }

    /// Lets the group use more devices beside those it has (version 1), or says the whole list anew (version 2).
    pub fn allow_more_devices(&self, all: &[Device], more: &[Device]) -> Result<(), Error> {
        match self.tree.version {
            Version::One => v1::allow_more_devices(self, more),
            Version::Two => self.allow_devices(all),
        }
    }

    /// A file that tells how many processes were killed for memory; reading it at offset 0 gives [`parse_oom_kills`] its text. Stays valid across
    /// a rename. `None` without a memory controller.
    pub fn oom_counter(&self) -> Option<OwnedFd> {
        let name = if self.tree.version == Version::One { "memory.oom_control" } else { "memory.events" };
        fs::File::open(self.folder("memory")?.join(name)).ok().map(OwnedFd::from)
    }

    /// The processes inside, by their numbers in our pid namespace.
    pub fn processes(&self) -> Vec<Pid> {
        let Some(folder) = ["pids", "freezer", "memory", "cpu"].iter().find_map(|name| self.folder(name)) else { return Vec::new() };
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
    }

    /// Stops every process where it is.
    pub fn freeze(&self) -> Result<(), Error> {
        match self.tree.version {
            Version::One => v1::freeze(self, true),
            Version::Two => v2::freeze(self, true),
        }
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        match self.tree.version {
            Version::One => v1::freeze(self, false),
            Version::Two => v2::freeze(self, false),
        }
    }

    /// Kills every process inside except `spared`, until none is left or two seconds have passed.
    pub fn kill_all(&self, spared: Option<Pid>) {
        let end = Instant::now() + REMOVAL_PATIENCE;
        // A frozen process of version 1 dies only when thawed.
        let _ = self.thaw();
        loop {
            let victims: Vec<Pid> = self.processes().into_iter().filter(|pid| Some(*pid) != spared).collect();
            if victims.is_empty() || Instant::now() > end {
                return;
            }
            for pid in victims {
                // One that is gone already is what we want.
                let _ = crate::process::send_signal(pid, libc::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Removes the group, waiting a moment for processes that are just dying. A group that is not there is removed.
    pub fn remove(&self) -> Result<(), Error> {
        let mut first = None;
        for (_, folder) in self.folders() {
            if let Err(error) = remove_folder(&folder) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// What has been used.
    pub fn usage(&self) -> Usage {
        match self.tree.version {
            Version::One => v1::usage(self),
            Version::Two => v2::usage(self),
        }
    }
}

/// The number of kills in the text of [`Group::oom_counter`].
pub fn parse_oom_kills(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    match fs::create_dir(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::from_io(format!("mkdir({folder:?})"), &error)),
    }
}

fn remove_folder(folder: &Path) -> Result<(), Error> {
    let end = Instant::now() + REMOVAL_PATIENCE;
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => {
                // Groups made inside by the sandboxed programs go first.
                if let Ok(entries) = fs::read_dir(folder) {
                    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                        let _ = fs::remove_dir(entry.path());
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(Error::from_io(format!("rmdir({folder:?})"), &error)),
        }
    }
}

/// Writes a control file, which must exist.
fn write_file(path: &Path, text: &str) -> Result<(), Error> {
    let told = |error: std::io::Error| Error::from_io(format!("write({path:?}, {text:?})"), &error);
    fs::OpenOptions::new().write(true).open(path).map_err(told)?.write_all(text.as_bytes()).map_err(told)
}

fn read_number(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.trim().parse().ok()
}

/// `key value` lines.
fn read_pairs(path: &Path) -> Vec<(String, u64)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?)))
        .collect()
}

fn pair(pairs: &[(String, u64)], key: &str) -> u64 {
    pairs.iter().find(|(name, _)| name == key).map_or(0, |(_, value)| *value)
}

#[cfg(test)]
mod tests;
