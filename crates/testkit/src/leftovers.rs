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

/// Kills and removes what a fixture called `name` left; for failed tests, since the others leave nothing.
pub(crate) fn sweep(name: &str) {
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
