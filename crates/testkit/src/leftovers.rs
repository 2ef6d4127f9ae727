//! What a daemon has left on the machine: cgroups, mounts, processes, folders. Seen from outside, not by asking it.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use crate::{Daemon, eventually};

impl Daemon {
    /// Everything on the machine that belongs to a container or build of this daemon. Parked monitors are none of that.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found: Vec<String> =
            groups(self.name()).into_iter().filter(|group| !is_parked(group)).map(|group| format!("cgroup {}", group.display())).collect();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let disk = format!(" {} ", self.data_root().parent().unwrap_or(Path::new("/")).display());
        found.extend(mounts.lines().filter(|line| line.contains(self.name()) && !line.contains(&disk)).map(|line| format!("mount {line}")));
        found.extend(self.boxed_processes().into_iter().map(|(pid, program)| format!("process {pid} {program}")));
        for folder in [self.data_root().join("active"), self.data_root().join("containers"), self.exec_root().join("containers")] {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            found.extend(entries.map(|entry| format!("folder {}", entry.path().display())));
        }
        found
    }

    /// Waits until nothing is left, for things go behind the answer.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let mut left = Vec::new();
        for _ in 0..500 {
            left = self.leftovers();
            if left.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("left behind: {left:#?}");
    }

    /// Processes in cgroups of ours, or in mount namespaces with mounts of ours; without the daemon and what is parked.
    fn boxed_processes(&self) -> Vec<(i32, String)> {
        let host = std::fs::read_link("/proc/self/ns/mnt").expect("ns");
        let mut found = Vec::new();
        for pid in pids() {
            let folder = PathBuf::from(format!("/proc/{pid}"));
            let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            let groups = read("cgroup");
            let mine = groups.lines().filter(|line| line.contains(&format!("/{}", self.name())));
            let grouped = mine.clone().any(|line| !line.contains("/pool-"));
            let parked = !grouped && mine.count() > 0;
            let mounted =
                !parked && std::fs::read_link(folder.join("ns/mnt")).is_ok_and(|ns| ns != host) && read("mountinfo").contains(self.name());
            let is_zombie = read("stat").rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
            if (grouped || mounted) && !is_zombie {
                found.push((pid, read("cmdline").replace('\0', " ")));
            }
        }
        found
    }
}

impl Daemon {
    /// What a reboot does: everything of ours is killed, the kernel forgets our cgroups, and data of this boot is gone.
    pub fn reboot(&mut self) {
        self.kill_9();
        sweep(self.name());
        // A mount namespace goes with its last process, behind the process's own end.
        eventually("the end of all boxes", 20, || self.boxed_processes().is_empty().then_some(()));
        if self.exec_root().exists() {
            std::fs::remove_dir_all(self.exec_root()).expect("exec root");
        }
    }
}

/// How fixtures are called, here and in the crates' own tests: folders in /dev/shm, and cgroups of the same name.
const PREFIXES: &[&str] = &["shipway-it-", "shipway-engine-it-"];
/// A test is ended after four minutes; what is older than this has nobody to clean it up.
const ABANDONED: std::time::Duration = std::time::Duration::from_secs(20 * 60);

/// Once per test process: removes what tests that were killed left on the machine.
pub fn sweep_abandoned() {
    static DONE: std::sync::Once = std::sync::Once::new();
    DONE.call_once(|| {
        for name in abandoned() {
            for pid in pids() {
                let is_its_daemon = std::fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == name.as_bytes()));
                if is_its_daemon && let Some(pid) = Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
            sweep(&name);
            unmount_below(&Path::new("/dev/shm").join(&name));
            let _ = std::fs::remove_dir_all(Path::new("/dev/shm").join(&name));
        }
    });
}

/// Names of fixtures whose folder is gone, or has not been touched for long.
fn abandoned() -> Vec<String> {
    let names_in = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let hierarchies = names_in(PathBuf::from("/sys/fs/cgroup")).map(|name| Path::new("/sys/fs/cgroup").join(name));
    let mut names: Vec<String> = hierarchies
        .chain([PathBuf::from("/dev/shm"), PathBuf::from("/sys/fs/cgroup")])
        .flat_map(names_in)
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    names.sort();
    names.dedup();
    // A cgroup that a test names as the parent of its containers is called after the test's fixture.
    let fixture = |name: &str| Path::new("/dev/shm").join(name.trim_end_matches("-parent"));
    names.retain(|name| match std::fs::metadata(fixture(name)).and_then(|folder| folder.modified()) {
        Ok(modified) => modified.elapsed().is_ok_and(|age| age > ABANDONED),
        Err(_) => true,
    });
    names
}

/// Takes away every mount below `folder`: what is mounted there keeps the folder from being deleted.
pub(crate) fn unmount_below(folder: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| Path::new(point).starts_with(folder));
    // The deepest first.
    for point in points.collect::<Vec<_>>().into_iter().rev() {
        let _ = std::process::Command::new("umount").arg("-l").arg(point).output();
    }
}

/// Kills and removes what a fixture called `name` left; for failed tests, since the others leave nothing.
pub fn sweep(name: &str) {
    for round in 0..200 {
        let left = groups(name);
        if left.is_empty() {
            break;
        }
        for group in left.iter().rev() {
            for pid in members(group) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            let _ = std::fs::remove_dir(group);
        }
        for top in tops(name) {
            let _ = std::fs::remove_dir(top);
        }
        if round > 2 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    for top in tops(name) {
        let _ = std::fs::remove_dir(top);
    }
}

/// Every folder below our folder in every hierarchy, parents first.
fn groups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for top in tops(name) {
        let mut waiting = vec![top];
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    found.push(entry.path());
                    waiting.push(entry.path());
                }
            }
        }
    }
    found
}

/// Our folder in every hierarchy that has one.
fn tops(name: &str) -> Vec<PathBuf> {
    let mut tops: Vec<PathBuf> =
        std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path().join(name)).collect();
    tops.push(Path::new("/sys/fs/cgroup").join(name));
    tops.retain(|top| top.is_dir());
    tops
}

fn is_parked(group: &Path) -> bool {
    group.components().any(|part| part.as_os_str().to_string_lossy().starts_with("pool-"))
}

fn members(group: &Path) -> Vec<Pid> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw).collect()
}

fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
}

/// True when a process has gone or is only waiting to be buried.
pub(crate) fn is_gone(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

impl Daemon {
    /// Waits until the process `pid` of the host is gone.
    #[track_caller]
    pub fn assert_process_gone(&self, pid: i64) {
        eventually("the end of a process", 10, || is_gone(pid).then_some(()));
    }
}
