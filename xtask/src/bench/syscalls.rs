//! Counts of the calls that cost a disk or a mount table their time, taken with strace during one extra run that is not timed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::guard;
use super::stage::Stage;

const SYNCS: [&str; 4] = ["fsync", "fdatasync", "syncfs", "sync"];
const MOUNTS: [&str; 5] = ["mount", "fsmount", "move_mount", "open_tree", "mount_setattr"];
const UNMOUNTS: [&str; 1] = ["umount2"];

/// strace needs a moment to stop every thread of a daemon.
const ATTACHING: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Calls by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(pub(super) BTreeMap<String, u64>);

impl Counts {
    pub(super) fn syncs(&self) -> u64 {
        self.sum(&SYNCS)
    }

    pub(super) fn mounts(&self) -> u64 {
        self.sum(&MOUNTS)
    }

    pub(super) fn unmounts(&self) -> u64 {
        self.sum(&UNMOUNTS)
    }

    fn sum(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|name| self.0.get(*name)).sum()
    }
}

/// Counts while `action` runs, in the daemon and every process it has started or that names the stage's folder.
pub(super) fn count(stage: &Stage, daemon: u32, action: impl FnOnce() -> Result<(), String>) -> Result<Counts, String> {
    let mut ids = guard::naming(&stage.folder);
    ids.retain(|id| is_below(*id, daemon) || has_program_of(*id, daemon));
    ids.extend(descendants(daemon));
    let table = stage.log();
    let tracer = attach(stage, &ids, &table)?;
    let result = action();
    finish(tracer)?;
    result?;
    let text = std::fs::read_to_string(&table).map_err(|error| format!("strace left no table: {error}"))?;
    Ok(parse(&text))
}

fn attach(stage: &Stage, ids: &BTreeSet<u32>, table: &Path) -> Result<Child, String> {
    let names = [&SYNCS[..], &MOUNTS, &UNMOUNTS].concat().join(",");
    let messages = stage.log();
    let file = std::fs::File::create(&messages).map_err(|error| format!("cannot create {}: {error}", messages.display()))?;
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-e", &format!("trace={names}"), "-o"]).arg(table).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    for id in ids {
        command.args(["-p", &id.to_string()]);
    }
    let tracer = command.spawn().map_err(|error| format!("cannot run strace: {error}"))?;
    let begun = Instant::now();
    while begun.elapsed() < ATTACHING {
        let text = std::fs::read_to_string(&messages).unwrap_or_default();
        // One line for every process, whether it could be attached or had ended already.
        if text.lines().filter(|line| line.contains("attach")).count() >= ids.len() {
            break;
        }
        std::thread::sleep(POLL);
    }
    Ok(tracer)
}

/// An interrupt makes strace let go of everybody and write its table.
fn finish(mut tracer: Child) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot stop strace: {error}");
    Command::new("kill").args(["-s", "INT", &tracer.id().to_string()]).status().map_err(failed)?;
    tracer.wait().map(drop).map_err(failed)
}

/// Reads strace's summary: the name stands last, the number of calls fourth.
fn parse(table: &str) -> Counts {
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let counts = rows.filter_map(|row| Some((*row.last()?, row.get(3)?.parse().ok()?))).filter(|(name, _)| *name != "total");
    Counts(counts.map(|(name, count)| (name.to_owned(), count)).collect())
}

/// All processes below this one, and itself.
fn descendants(id: u32) -> BTreeSet<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|other| is_below(*other, id)).collect()
}

fn is_below(id: u32, ancestor: u32) -> bool {
    let mut current = Some(id);
    while let Some(id) = current {
        if id == ancestor {
            return true;
        }
        current = parent(id);
    }
    false
}

fn parent(id: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Monitors outlive their parent but run the same program.
fn has_program_of(id: u32, daemon: u32) -> bool {
    let program = |id: u32| std::fs::read_link(format!("/proc/{id}/exe")).ok();
    program(id).is_some() && program(id) == program(daemon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     62.00    0.001200         100        12         1 mount\n \
                     38.00    0.000700         350         2           fdatasync\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.001900         135        14         1 total\n";
        let counts = parse(table);
        assert_eq!((counts.syncs(), counts.mounts(), counts.unmounts(), counts.0.len()), (2, 12, 0, 2));
    }

    #[test]
    fn a_child_is_below_its_parent() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        assert!(descendants(std::process::id()).contains(&child.id()));
        assert!(!descendants(child.id()).contains(&std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
