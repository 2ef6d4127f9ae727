//! One look at containers, folders, cgroups, processes and mounts. Reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shipway_model::ContainerId;

use crate::Engine;
use crate::containers::{Container, ContainerState};

/// Something that is not as the records say.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) kind: &'static str,
    pub(super) what: String,
    pub(super) place: String,
    pub(super) mend: Mend,
}

/// What would put it right.
#[derive(Debug, Clone)]
pub(super) enum Mend {
    /// Only the user can: removing the container.
    Nothing,
    /// Ask how this container ended.
    Container(ContainerId),
    /// Forget a writable layer.
    Layer(String),
    Folder(PathBuf),
    /// Kill what is in a cgroup and remove it.
    Group(String),
    Mount(PathBuf),
}

/// Everything wrong at this moment.
pub(super) fn look(engine: &Engine) -> Vec<Problem> {
    let containers: BTreeMap<ContainerId, Arc<Container>> =
        engine.inner.containers.all().into_iter().map(|container| (container.id, container)).collect();
    let mut problems = Vec::new();
    layers(engine, &containers, &mut problems);
    folders(engine, &containers, &mut problems);
    groups(engine, &containers, &mut problems);
    mounts(engine, &mut problems);
    problems
}

/// Every container has its writable layer, and every kept one has its container.
fn layers(engine: &Engine, containers: &BTreeMap<ContainerId, Arc<Container>>, problems: &mut Vec<Problem>) {
    let kept: BTreeSet<String> = engine.inner.store.list_active().into_iter().map(|kept| kept.id).collect();
    for (id, container) in containers {
        if !kept.contains(&id.to_string()) && is_at_rest(container) {
            let what = format!("the writable layer of container {} is missing", container.record().name);
            problems.push(Problem { kind: "snapshot", what, place: id.to_string(), mend: Mend::Nothing });
        }
    }
    for id in kept {
        if id.parse::<ContainerId>().is_ok_and(|id| containers.contains_key(&id)) {
            continue;
        }
        let what = "a writable layer that no container has".to_owned();
        problems.push(Problem { kind: "snapshot", what, place: id.clone(), mend: Mend::Layer(id) });
    }
}

/// Folders of containers, durable and of this boot, belong to containers.
fn folders(engine: &Engine, containers: &BTreeMap<ContainerId, Arc<Container>>, problems: &mut Vec<Problem>) {
    let config = &engine.inner.config;
    for parent in [config.data_root.join("containers"), config.exec_root.join("containers")] {
        for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.parse::<ContainerId>().is_ok_and(|id| containers.contains_key(&id)) {
                continue;
            }
            let (what, path) = ("a folder that no container has".to_owned(), entry.path());
            problems.push(Problem { kind: "folder", what, place: path.display().to_string(), mend: Mend::Folder(path) });
        }
    }
}

/// The cgroups are those of running containers, and a running container's process sits in its own.
fn groups(engine: &Engine, containers: &BTreeMap<ContainerId, Arc<Container>>, problems: &mut Vec<Problem>) {
    let groups = engine.inner.runtime.groups();
    for (name, processes) in &groups {
        let id = name.split('.').next().unwrap_or_default().parse::<ContainerId>().ok();
        let owner = id.and_then(|id| containers.get(&id));
        let whose = match owner {
            Some(container) if is_alive(container) || !is_at_rest(container) => continue,
            Some(container) => format!("container {}, which does not run", container.record().name),
            None => "no container".to_owned(),
        };
        let (kind, what) = match processes.len() {
            0 => ("cgroup", format!("an empty cgroup of {whose}")),
            count => ("process", format!("{count} processes of {whose}")),
        };
        problems.push(Problem { kind, what, place: name.clone(), mend: Mend::Group(name.clone()) });
    }
    for (id, container) in containers {
        let pid = match container.record().state {
            ContainerState::Running { pid, .. } | ContainerState::Paused { pid, .. } if is_at_rest(container) => pid,
            _ => continue,
        };
        let id = id.to_string();
        let sits = groups.iter().any(|(name, processes)| name.starts_with(&id) && processes.contains(&pid));
        if !sits {
            let what = format!("container {} is recorded as running, but its process {pid} is not there", container.record().name);
            problems.push(Problem { kind: "process", what, place: id, mend: Mend::Container(container.id) });
        }
    }
}

/// Nothing is mounted where layers and containers live: containers are mounted in namespaces of their own.
fn mounts(engine: &Engine, problems: &mut Vec<Problem>) {
    let config = &engine.inner.config;
    let ours = [
        config.data_root.join("layers"),
        config.data_root.join("active"),
        config.data_root.join("containers"),
        config.exec_root.join("containers"),
    ];
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for point in table.lines().filter_map(mount_point) {
        if ours.iter().any(|folder| point.starts_with(folder) && point != *folder) {
            let what = "a mount that nobody needs".to_owned();
            problems.push(Problem { kind: "mount", what, place: point.display().to_string(), mend: Mend::Mount(point) });
        }
    }
}

/// The fifth word of a line, its octal escapes undone (proc_pid_mountinfo(5)).
fn mount_point(line: &str) -> Option<PathBuf> {
    let word = line.split(' ').nth(4)?;
    let mut path = word.to_owned();
    for (escape, letter) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        path = path.replace(escape, letter);
    }
    Some(Path::new(&path).to_owned())
}

/// Whether no verb works on it at this moment.
fn is_at_rest(container: &Container) -> bool {
    container.turn.try_lock().is_ok()
}

fn is_alive(container: &Container) -> bool {
    matches!(container.record().state, ContainerState::Running { .. } | ContainerState::Paused { .. } | ContainerState::Restarting { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_blanks() {
        let line = r"36 35 98:0 /mnt1 /mnt\040two rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(mount_point(line), Some(PathBuf::from("/mnt two")));
        assert_eq!(mount_point(""), None);
    }
}
