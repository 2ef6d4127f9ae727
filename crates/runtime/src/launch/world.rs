//! Which namespaces a container has and which it shares.
//!
//! What must stay true: a namespace is opened here, once, and is a handle from then on.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use shipway_sys::{Error, namespace};

use crate::error::LaunchError;
use crate::message::World;
use crate::pool::{Shared, cgroup_view, default_world};
use crate::spec::{ContainerSpec, Namespace, NetNs};

/// Which namespaces are fresh, which are entered, and what the standard mounts look like.
pub(super) fn world_of(shared: &Shared, spec: &mut ContainerSpec) -> Result<(World, Vec<OwnedFd>), LaunchError> {
    let mut world = default_world(&shared.tree);
    let mut joins = Vec::new();
    let mut join = |world: &mut World, kind: u64, handle: Option<OwnedFd>| {
        world.fresh &= !kind;
        if let Some(handle) = handle {
            world.joins.push(kind);
            joins.push(handle);
        }
    };
    match std::mem::take(&mut spec.namespaces.net) {
        NetNs::Private => {}
        NetNs::Host => join(&mut world, namespace::NETWORK, None),
        NetNs::Path(path) => join(&mut world, namespace::NETWORK, Some(open_read(&path)?)),
        NetNs::Fd(handle) => join(&mut world, namespace::NETWORK, Some(handle)),
        NetNs::Container(pid) => join(&mut world, namespace::NETWORK, Some(namespace_of(pid, "net")?)),
    }
    let others = [
        (namespace::PID, &spec.namespaces.pid, "pid"),
        (namespace::IPC, &spec.namespaces.ipc, "ipc"),
        (namespace::UTS, &spec.namespaces.uts, "uts"),
        (namespace::CGROUP, &spec.namespaces.cgroup, "cgroup"),
    ];
    for (kind, wish, name) in others {
        match wish {
            Namespace::Private => {}
            Namespace::Host => join(&mut world, kind, None),
            Namespace::Path(path) => join(&mut world, kind, Some(open_read(path)?)),
            Namespace::Container(pid) => join(&mut world, kind, Some(namespace_of(*pid, name)?)),
        }
    }
    world.own_ipc = spec.namespaces.ipc == Namespace::Private && spec.shm_size != 0;
    world.privileged = spec.privileged;
    world.cgroups = cgroup_view(&shared.tree);
    world.masked = spec.masked_paths.clone();
    world.readonly = spec.readonly_paths.clone();
    Ok((world, joins))
}

pub(super) fn namespace_of(pid: i32, name: &str) -> Result<OwnedFd, LaunchError> {
    let pid = Pid::from_raw(pid).ok_or(LaunchError::NotRunning)?;
    Ok(namespace::of_process(pid, name)?)
}

pub(super) fn open_read(path: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| Error::new(format!("open({path:?})"), errno))
}
