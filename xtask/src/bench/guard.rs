//! The guard: a second process that takes the stage down, whatever way the bench ends.
//!
//! It reads from a pipe what was put up, one line each, and undoes it when the pipe closes, processes first and the rest in reverse order: at the ordinary end, after a
//! failure, on ctrl-C, and when the bench is killed. There is no other clean-up, so the path that is needed most rarely is the one that runs
//! every time. What must stay true: a process is ended by its id *and* its start time, so that a reused id never hits a stranger.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// The hidden word that turns this program into the guard.
pub(super) const FLAG: &str = "--guard";

/// A daemon gets so long to stop its containers and unmount what it mounted.
const GRACE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// One thing that was put up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undo {
    /// A process we started, with field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    Process {
        id: u32,
        started: u64,
    },
    /// Processes whose command line names this folder, all in our mount namespace, and all in the control group of the same name.
    /// `outer` is the machine's mount namespace, which must not be ours for that.
    Strays {
        folder: PathBuf,
        control_group: String,
        outer: String,
    },
    Mount(PathBuf),
    /// A folder with nothing but plain files in it.
    Folder(PathBuf),
}

impl Undo {
    fn line(&self) -> String {
        match self {
            Self::Process { id, started } => format!("process {id} {started}"),
            Self::Strays { folder, control_group, outer } => format!("strays {control_group} {outer} {}", folder.display()),
            Self::Mount(path) => format!("mount {}", path.display()),
            Self::Folder(path) => format!("folder {}", path.display()),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        Some(match kind {
            "process" => {
                let (id, started) = rest.split_once(' ')?;
                Self::Process { id: id.parse().ok()?, started: started.parse().ok()? }
            }
            "strays" => {
                let (control_group, rest) = rest.split_once(' ')?;
                let (outer, folder) = rest.split_once(' ')?;
                Self::Strays { folder: folder.into(), control_group: control_group.to_owned(), outer: outer.to_owned() }
            }
            "mount" => Self::Mount(rest.into()),
            "folder" => Self::Folder(rest.into()),
            _ => return None,
        })
    }
}

/// The bench's end of the pipe.
pub(super) struct Guard {
    process: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts the guard in a process group of its own, where no ctrl-C reaches it.
    pub(super) fn start() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        let mut process = Command::new(program)
            .args(["bench", FLAG])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start the guard: {error}"))?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// Tells the guard what is about to be put up; say it before doing it, because undoing what is not there is harmless.
    pub(super) fn note(&mut self, undo: &Undo) -> Result<(), String> {
        let pipe = self.pipe.as_mut().ok_or("the guard has been dismissed")?;
        writeln!(pipe, "{}", undo.line()).map_err(|error| format!("the guard has died: {error}"))
    }

    /// Has everything taken down and waits for it.
    pub(super) fn dismiss(&mut self) -> Result<(), String> {
        drop(self.pipe.take());
        let status = self.process.wait().map_err(|error| format!("cannot wait for the guard: {error}"))?;
        if status.success() { Ok(()) } else { Err("the stage was not taken down completely (see above)".to_owned()) }
    }
}

impl Drop for Guard {
    /// After a failure: the guard has said on the terminal what it could not do, and the failure itself is the better message.
    fn drop(&mut self) {
        let _ = self.dismiss();
    }
}

/// The start time of a process in clock ticks since boot; `None` when it is gone or waits to be reaped.
pub(super) fn start_time(id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name of the program may contain spaces and brackets; the fields count from behind the last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The guard itself: collects lines until the bench is gone, then undoes them.
pub(super) fn run() -> Result<(), String> {
    let mut undos: Vec<Undo> = std::io::stdin().lock().lines().map_while(Result::ok).filter_map(|line| Undo::parse(&line)).collect();
    undos.reverse();
    // A stable order: whoever may still hold a mount goes before the mounts.
    undos.sort_by_key(|undo| match undo {
        Undo::Process { .. } => 0,
        Undo::Strays { .. } => 1,
        Undo::Mount(_) | Undo::Folder(_) => 2,
    });
    let failures: Vec<String> = undos.iter().filter_map(|undo| take_down(undo).err()).collect();
    for failure in &failures {
        eprintln!("guard: {failure}");
    }
    if failures.is_empty() { Ok(()) } else { Err(format!("{} things are left behind", failures.len())) }
}

fn take_down(undo: &Undo) -> Result<(), String> {
    match undo {
        Undo::Process { id, started } => end_process(*id, *started),
        Undo::Strays { folder, control_group, outer } => end_strays(folder, control_group, outer),
        Undo::Mount(path) => unmount(path),
        Undo::Folder(path) => remove_folder(path),
    }
}

/// Asks a process to end; after the grace it is killed.
fn end_process(id: u32, started: u64) -> Result<(), String> {
    signal("TERM", id, started);
    if is_gone_within(id, started, GRACE) {
        return Ok(());
    }
    signal("KILL", id, started);
    if is_gone_within(id, started, GRACE) { Ok(()) } else { Err(format!("process {id} does not end")) }
}

fn signal(name: &str, id: u32, started: u64) {
    if start_time(id) == Some(started) {
        // A failure shows as a process that does not end.
        let _ = Command::new("kill").args(["-s", name, &id.to_string()]).stderr(Stdio::null()).status();
    }
}

fn is_gone_within(id: u32, started: u64, limit: Duration) -> bool {
    let begun = Instant::now();
    while start_time(id) == Some(started) {
        if begun.elapsed() > limit {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// Kills what the daemons left running (shims, monitors, containers), then removes the control groups.
fn end_strays(folder: &Path, control_group: &str, outer: &str) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let strays = strays(folder, control_group, outer);
        if strays.is_empty() {
            break;
        }
        if begun.elapsed() > GRACE {
            return Err(format!("processes do not end: {strays:?}"));
        }
        for (id, started) in strays {
            signal("KILL", id, started);
        }
        std::thread::sleep(POLL);
    }
    control_groups(control_group).iter().try_for_each(|group| remove_control_group(group))
}

fn strays(folder: &Path, control_group: &str, outer: &str) -> BTreeSet<(u32, u64)> {
    let mut ids: BTreeSet<u32> = naming(folder);
    ids.extend(in_our_namespace(outer));
    for group in control_groups(control_group) {
        members(&group, &mut ids);
    }
    ids.remove(&std::process::id());
    // The bench itself waits for us, unless it is gone and somebody else has become our parent.
    ids.remove(&std::os::unix::process::parent_id());
    ids.into_iter().filter_map(|id| Some((id, start_time(id)?))).collect()
}

/// Everybody in the mount namespace made for this run: helpers that name no folder and sit in no control group of ours.
fn in_our_namespace(outer: &str) -> BTreeSet<u32> {
    match mount_namespace("self") {
        Some(ours) if ours != outer => processes().filter(|id| mount_namespace(&id.to_string()).as_ref() == Some(&ours)).collect(),
        _ => BTreeSet::new(),
    }
}

/// A process's mount namespace, `mnt:[inode]`; `None` when we may not know it.
pub(super) fn mount_namespace(process: &str) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

fn processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Processes with the folder, whose name is unique to this run, in their command line.
pub(super) fn naming(folder: &Path) -> BTreeSet<u32> {
    let folder = folder.as_os_str().as_encoded_bytes();
    processes()
        .filter(|id| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.windows(folder.len()).any(|window| window == folder)
        })
        .collect()
}

/// The control group in every hierarchy that has it, version 1 or 2.
fn control_groups(name: &str) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    hierarchies.chain([top.to_owned()]).map(|hierarchy| hierarchy.join(name)).filter(|group| group.is_dir()).collect()
}

fn below(group: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn members(group: &Path, ids: &mut BTreeSet<u32>) {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    ids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for child in below(group) {
        members(&child, ids);
    }
}

fn remove_control_group(group: &Path) -> Result<(), String> {
    for child in below(group) {
        remove_control_group(&child)?;
    }
    let begun = Instant::now();
    // The last process leaves its group a moment after it is reaped.
    while let Err(error) = std::fs::remove_dir(group) {
        if error.kind() == std::io::ErrorKind::NotFound {
            break;
        }
        if begun.elapsed() > GRACE {
            return Err(format!("cannot remove {}: {error}", group.display()));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Unmounts the path with everything below it; its loop device goes with it (autoclear).
fn unmount(path: &Path) -> Result<(), String> {
    if !is_mounted(path) {
        return Ok(());
    }
    let begun = Instant::now();
    loop {
        let output = Command::new("umount").arg("--recursive").arg(path).output().map_err(|error| format!("cannot run umount: {error}"))?;
        if output.status.success() || !is_mounted(path) {
            return Ok(());
        }
        if begun.elapsed() > GRACE {
            return Err(format!("cannot unmount {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim()));
        }
        std::thread::sleep(POLL * 10);
    }
}

fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|target| Path::new(target) == path))
}

/// Removes plain files and the folder; never walks down, because a mount that stayed would be emptied.
fn remove_folder(path: &Path) -> Result<(), String> {
    if is_mounted(path) {
        return Err(format!("{} is still mounted", path.display()));
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        std::fs::remove_file(entry.path()).map_err(|error| format!("cannot remove {}: {error}", entry.path().display()))?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("cannot remove {}: {error}", path.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_reads_back() {
        for undo in [
            Undo::Process { id: 7, started: 99 },
            Undo::Strays { folder: "/run/a b".into(), control_group: "bench-7".to_owned(), outer: "mnt:[1]".to_owned() },
            Undo::Mount("/run/a b/data".into()),
            Undo::Folder("/var/tmp/bench".into()),
        ] {
            assert_eq!(Undo::parse(&undo.line()), Some(undo));
        }
        assert_eq!(Undo::parse("process seven 1"), None);
    }

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
        let started = start_time(sleeper.id()).unwrap();
        signal("KILL", sleeper.id(), started + 1);
        assert_eq!(start_time(sleeper.id()), Some(started));
        end_process(sleeper.id(), started).unwrap();
        assert_eq!(start_time(sleeper.id()), None);
        sleeper.wait().unwrap();
    }
}
