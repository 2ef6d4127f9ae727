//! From a configuration to what a launch needs.
//!
//! What must stay true: everything that can be refused is refused here, before a process or a cgroup exists.
//!
//! Source: OCI runtime-spec, config-linux.md; "Default Devices" and "Default Symlinks" of runtime-linux.md.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use shipway_sys::mount::{DetachedMount, Propagation};
use shipway_sys::{Error as SysError, cgroup, namespace};

use super::capabilities::Sets;
use super::config::{Config, Device, Linux, Process};
use super::error::Error;
use super::resources::{DeviceAccess, devices_of, limits_of};
use super::{mounts, program};
use crate::message::{DevicePart, InitPart, World};
use crate::pool::Shared;
use crate::spec::DEFAULT_SHM_SIZE;

/// Every program of a container without a monitor gets these.
pub(super) struct Plan {
    pub(super) world: World,
    pub(super) joins: Vec<OwnedFd>,
    pub(super) init: InitPart,
    pub(super) handles: Vec<OwnedFd>,
    pub(super) limits: cgroup::Limits,
    pub(super) devices: DeviceAccess,
    pub(super) rootfs: PathBuf,
    /// What will not be as asked, though nothing is refused.
    pub(super) warnings: Vec<String>,
}

/// Reads the whole configuration.
pub(super) fn plan(shared: &Shared, config: &Config, bundle: &Path) -> Result<Plan, Error> {
    refuse_unsupported(config)?;
    let linux = &config.linux;
    let process = config.process.as_ref().ok_or_else(|| Error::usage("config.json has no process"))?;
    let root = config.root.as_ref().ok_or_else(|| Error::usage("config.json has no root"))?;
    let (world, joins) = world_of(shared, linux)?;
    check_sysctls(config, &world)?;
    let rootfs = std::path::absolute(bundle.join(&root.path)).map_err(|error| Error::file("find", &root.path, &error))?;
    let mut handles = vec![open_root(&rootfs, &linux.rootfs_propagation)?];
    let mut keep = |handle: OwnedFd| {
        handles.push(handle);
        handles.len() - 1
    };
    let mounts = config.mounts.iter().map(|mount| mounts::prepare(mount, bundle, &mut keep)).collect::<Result<_, _>>()?;
    let (sets, warnings) = Sets::of(process.capabilities.as_ref());
    let mut program = program::program_of(process, sets)?;
    program.make_cwd = true;
    let seccomp = program::seccomp_of(linux.seccomp.as_ref())?;
    program.seccomp = shared.filters.handle(&seccomp, sets.bounding)?.map(&mut keep);
    let is_own = |kind: u64| world.fresh & kind != 0 || world.joins.contains(&kind);
    if !config.hostname.is_empty() && !is_own(namespace::UTS) {
        return Err(Error::usage("a hostname needs a uts namespace"));
    }
    // A bound /dev is the host's business: nothing is made in it.
    let own_dev = !config.mounts.iter().any(|mount| mount.destination.trim_end_matches('/') == "/dev" && is_bind(mount));
    let devices = if own_dev { nodes(&linux.devices)? } else { Vec::new() };
    let init = InitPart {
        root: 0,
        standard_mounts: false,
        mounts,
        files: Vec::new(),
        devices,
        links: if own_dev { links() } else { Vec::new() },
        masked: linux.masked_paths.clone(),
        readonly: linux.readonly_paths.clone(),
        read_only_root: root.readonly,
        hostname: Some(config.hostname.clone()).filter(|name| !name.is_empty()),
        domainname: Some(config.domainname.clone()).filter(|name| !name.is_empty()),
        sysctls: linux.sysctl.clone(),
        shm_size: DEFAULT_SHM_SIZE,
        reaper: false,
        gate: None,
        program,
    };
    let limits = limits_of(&linux.resources)?;
    let devices = devices_of(&linux.resources.devices)?;
    Ok(Plan { world, joins, init, handles, limits, devices, rootfs, warnings })
}

fn is_bind(mount: &super::config::Mount) -> bool {
    mount.kind == "bind" || mount.options.iter().any(|option| option == "bind" || option == "rbind")
}

fn refuse_unsupported(config: &Config) -> Result<(), Error> {
    let (linux, hooks) = (&config.linux, &config.hooks);
    let asked = [
        (!linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty(), "linux.uidMappings"),
        (!linux.mount_label.is_empty(), "linux.mountLabel"),
        (linux.intel_rdt.is_some(), "linux.intelRdt"),
        (linux.personality.is_some(), "linux.personality"),
        (linux.time_offsets.is_some(), "linux.timeOffsets"),
        (!hooks.create_container.is_empty(), "a createContainer hook"),
        (!hooks.start_container.is_empty(), "a startContainer hook"),
    ];
    asked.iter().find(|(asked, _)| *asked).map_or(Ok(()), |(_, what)| Err(Error::unsupported(*what)))
}

/// Namespaces listed without a path are fresh, those with one are entered, those not listed are the caller's.
fn world_of(shared: &Shared, linux: &Linux) -> Result<(World, Vec<OwnedFd>), Error> {
    let mut world = World {
        fresh: 0,
        joins: Vec::new(),
        privileged: false,
        masked: Vec::new(),
        readonly: Vec::new(),
        cgroups: crate::pool::cgroup_view(&shared.tree),
        own_ipc: false,
        queues: false,
        bare: true,
        kept: false,
    };
    let mut handles = Vec::new();
    for wish in &linux.namespaces {
        let kind = match wish.kind.as_str() {
            "mount" => namespace::MOUNT,
            "pid" => namespace::PID,
            "network" => namespace::NETWORK,
            "ipc" => namespace::IPC,
            "uts" => namespace::UTS,
            "cgroup" => namespace::CGROUP,
            "user" | "time" => return Err(Error::unsupported(format!("a {} namespace", wish.kind))),
            other => return Err(Error::usage(format!("there is no namespace \"{other}\""))),
        };
        if world.fresh & kind != 0 || world.joins.contains(&kind) {
            return Err(Error::usage(format!("the {} namespace is listed twice", wish.kind)));
        }
        if wish.path.as_os_str().is_empty() {
            world.fresh |= kind;
        } else if kind == namespace::MOUNT {
            return Err(Error::unsupported("a mount namespace by path"));
        } else {
            let handle = rustix::fs::open(&wish.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            handles.push(handle.map_err(|errno| SysError::new(format!("open({:?})", wish.path), errno))?);
            world.joins.push(kind);
        }
    }
    if world.fresh & namespace::MOUNT == 0 {
        return Err(Error::unsupported("a container without a mount namespace of its own"));
    }
    Ok((world, handles))
}

/// A setting must belong to a namespace that is not the host's.
fn check_sysctls(config: &Config, world: &World) -> Result<(), Error> {
    let is_own = |kind: u64| world.fresh & kind != 0 || world.joins.contains(&kind);
    for key in config.linux.sysctl.keys() {
        let ipc = ["kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shm", "fs.mqueue."];
        let allowed = match key.as_str() {
            name if name.starts_with("net.") || name.starts_with("net/") => is_own(namespace::NETWORK),
            name if ipc.iter().any(|prefix| name.starts_with(prefix)) => is_own(namespace::IPC),
            "kernel.domainname" => is_own(namespace::UTS) && config.domainname.is_empty(),
            _ => false,
        };
        if !allowed || key.contains("..") {
            return Err(Error::usage(format!("sysctl \"{key}\" is not in a separate kernel namespace")));
        }
    }
    Ok(())
}

/// The root as a detached mount. Not recursive in its propagation alone: mounts below come along.
fn open_root(path: &Path, propagation: &str) -> Result<OwnedFd, Error> {
    let propagation = match propagation {
        "" | "private" | "rprivate" => Propagation::Private,
        "slave" | "rslave" => Propagation::Slave,
        "shared" | "rshared" => Propagation::Shared,
        other => return Err(Error::unsupported(format!("linux.rootfsPropagation \"{other}\""))),
    };
    let handle = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SysError::new(format!("open({path:?})"), errno))?;
    let copy = DetachedMount::copy_of_handle(handle.as_fd(), true)?;
    copy.change(0, 0, Some(propagation), true)?;
    Ok(copy.into_handle())
}

/// The default devices and those asked for.
fn nodes(wanted: &[Device]) -> Result<Vec<DevicePart>, Error> {
    let defaults = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
    let default = |(name, major, minor)| DevicePart {
        path: format!("/dev/{name}"),
        block: false,
        number: rustix::fs::makedev(major, minor),
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let mut parts = Vec::new();
    for device in wanted {
        let block = match device.kind.as_str() {
            "b" => true,
            "c" | "u" => false,
            other => return Err(Error::unsupported(format!("a device of type \"{other}\""))),
        };
        let (Ok(major), Ok(minor)) = (u32::try_from(device.major), u32::try_from(device.minor)) else {
            return Err(Error::usage(format!("device \"{}\" has no valid number", device.path)));
        };
        let mode = device.file_mode.unwrap_or(0o666) & 0o777;
        parts.push(DevicePart {
            path: device.path.clone(),
            block,
            number: rustix::fs::makedev(major, minor),
            mode,
            uid: device.uid,
            gid: device.gid,
        });
    }
    parts.extend(defaults.into_iter().map(default));
    Ok(parts)
}

fn links() -> Vec<(String, String)> {
    let fixed = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ];
    fixed.iter().map(|(place, text)| ((*place).to_owned(), (*text).to_owned())).collect()
}

/// The size a configuration wants for its terminal.
pub(super) fn terminal_size(process: &Process) -> (u16, u16) {
    process.console_size.as_ref().map_or((0, 0), |size| (size.height, size.width))
}
