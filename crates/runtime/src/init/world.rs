//! The world of a first process: its namespaces, an empty root, and the standard mounts standing ready beside it.
//!
//! ```text
//! /root          where the container's root will be attached
//! /world/proc    procfs of our pid namespace, masked          /world/sys   sysfs of our network namespace, cgroups below
//! /world/dev     nodes, pts, shm, mqueue                      /files       generated files
//! /kernel        the same procfs, unmasked
//! ```
//!
//! The folders stand on the seat's [`super::Ground`]. What must stay true: everything here is made by us on fresh filesystems, so no name in it can be an
//! image's trick; masks come from our own null device (S-107); kernel settings are written through our own procfs (S-109); no mount is let go while it
//! hangs nowhere, and none is taken down alone, because each of these costs a grace period of the whole kernel (0.1 to 1 ms): they all go with the one
//! old root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use shipway_sys::mount::attribute::{NO_DEVICES, NO_EXEC, NO_SETUID, READ_ONLY};
use shipway_sys::mount::{DetachedMount, MountBuilder};
use shipway_sys::{Error, mount, namespace};

use super::at;
use super::mask::{self, Covers};
use crate::message::{Failure, Step, World};
use crate::spec::DEFAULT_SHM_SIZE;

/// What stands ready.
pub(crate) struct Standing {
    /// Our empty root.
    pub(super) top: OwnedFd,
    pub(super) proc: DetachedMount,
    pub(super) dev: DetachedMount,
    pub(super) sys: DetachedMount,
    /// Root of the devpts instance.
    pub(crate) devpts: OwnedFd,
    pub(super) shm: Option<OwnedFd>,
    /// The unmasked procfs.
    kernel: DetachedMount,
    /// The cgroup hierarchies to show.
    cgroups: Vec<Vec<String>>,
}

impl Standing {
    /// Our null device, by handle.
    pub(super) fn null(&self) -> Result<OwnedFd, Error> {
        open(self.dev.as_fd(), "null", OFlags::PATH)
    }

    /// Sets `net.ipv4.ip_forward` and the like.
    pub(super) fn set_kernel(&self, key: &str, value: &str) -> Result<(), Error> {
        set_kernel(&self.kernel, key, value)
    }

    /// What the kernel tells about this process (proc_pid_stat(5)); nothing when it cannot be read.
    pub(super) fn own_stat(&self) -> String {
        read(&self.kernel, "self/stat").unwrap_or_default()
    }

    /// Sets how readily this process is killed when memory runs out, as far as permitted.
    pub(super) fn set_oom_badness(&self, badness: i32) {
        // Lowering below the inherited value needs CAP_SYS_RESOURCE (R12: degraded, never a failure).
        let _ = write(&self.kernel, "self/oom_score_adj", &badness.to_string());
    }
}

/// Builds the world.
pub(super) fn build(world: &World, joins: Vec<OwnedFd>) -> Result<Standing, Failure> {
    for (handle, kind) in joins.iter().zip(&world.joins) {
        // The pid namespace was entered by the seat, before the clone.
        if *kind != namespace::PID {
            namespace::enter(handle.as_fd(), *kind).map_err(at(Step::Join))?;
        }
    }
    if world.fresh & namespace::NETWORK != 0 && !world.kept {
        namespace::bring_loopback_up().map_err(at(Step::World))?;
    }
    furnish(world).map_err(at(Step::World))
}

fn furnish(world: &World) -> Result<Standing, Error> {
    let top = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| Error::new("open(\"/\")", errno))?;
    let proc = MountBuilder::new("proc")?.mount(NO_SETUID | NO_DEVICES | NO_EXEC)?;
    let kernel = DetachedMount::copy_of_handle(proc.as_fd(), false)?;
    proc.attach(open(top.as_fd(), "world/proc", OFlags::PATH)?.as_fd())?;
    kernel.attach(open(top.as_fd(), "kernel", OFlags::PATH)?.as_fd())?;
    let (dev, devpts, shm) = furnish_dev(world, top.as_fd())?;
    let stands = world.kept && is_untouched(&kernel)?;
    let sys = if stands {
        // With what is mounted below it and hidden in it.
        DetachedMount::from_handle(open(top.as_fd(), "world/sys", OFlags::PATH)?)
    } else {
        if world.kept {
            namespace::leave(namespace::NETWORK)?;
            namespace::bring_loopback_up()?;
        }
        furnish_sys(world, top.as_fd())?
    };
    if !world.privileged {
        let mut covers = Covers::new(open(dev.as_fd(), "null", OFlags::PATH)?);
        let standard = [("/proc/", &proc), ("/sys/", &sys)];
        for (prefix, mount) in standard.into_iter().take(if stands { 1 } else { 2 }) {
            covers.hide(mount.as_fd(), below(&world.masked, prefix))?;
            mask::protect(mount.as_fd(), below(&world.readonly, prefix))?;
        }
    }
    if world.fresh & namespace::NETWORK != 0 && !world.bare {
        // Docker's two kindnesses to unprivileged programs; the namespace is ours alone.
        for (key, value) in [("net.ipv4.ping_group_range", "0 2147483647"), ("net.ipv4.ip_unprivileged_port_start", "0")] {
            let _ = set_kernel(&kernel, key, value);
        }
    }
    Ok(Standing { top, proc, dev, sys, devpts, shm, kernel, cgroups: world.cgroups.clone() })
}

/// A memory filesystem for generated files, in place.
pub(super) fn files(standing: &Standing) -> Result<OwnedFd, Error> {
    let shelf = MountBuilder::new("tmpfs")?.option("mode", "0755")?.option("source", "shipway")?.mount(NO_SETUID | NO_DEVICES)?;
    shelf.attach(open(standing.top.as_fd(), "files", OFlags::PATH)?.as_fd())?;
    Ok(shelf.into_handle())
}

fn furnish_dev(world: &World, top: BorrowedFd<'_>) -> Result<(DetachedMount, OwnedFd, Option<OwnedFd>), Error> {
    let dev = MountBuilder::new("tmpfs")?.option("mode", "0755")?.option("size", "65536k")?.mount(NO_SETUID)?;
    dev.attach(open(top, "world/dev", OFlags::PATH)?.as_fd())?;
    for (name, major, minor) in [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)] {
        mount::make_device(dev.as_fd(), name, FileType::CharacterDevice, 0o666, rustix::fs::makedev(major, minor))?;
    }
    let links = [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")];
    for (name, target) in links.into_iter().chain([("ptmx", "pts/ptmx"), ("core", "/proc/kcore")]) {
        rustix::fs::symlinkat(target, dev.as_fd(), name).map_err(|errno| Error::new(format!("symlink(/dev/{name})"), errno))?;
    }
    make_folder(dev.as_fd(), "pts")?;
    let pts = MountBuilder::new("devpts")?.option("mode", "0620")?.option("ptmxmode", "0666")?.option("gid", "5")?;
    let pts = pts.mount(NO_SETUID | NO_EXEC)?;
    pts.attach(open(dev.as_fd(), "pts", OFlags::PATH)?.as_fd())?;
    let mut shm = None;
    if world.own_ipc {
        make_folder(dev.as_fd(), "shm")?;
        let mounted = MountBuilder::new("tmpfs")?.option("mode", "1777")?.option("size", DEFAULT_SHM_SIZE.to_string())?;
        let mounted = mounted.option("source", "shm")?.mount(NO_SETUID | NO_DEVICES | NO_EXEC)?;
        mounted.attach(open(dev.as_fd(), "shm", OFlags::PATH)?.as_fd())?;
        shm = Some(mounted.into_handle());
    }
    if world.queues {
        make_folder(dev.as_fd(), "mqueue")?;
        let queues = MountBuilder::new("mqueue")?.mount(NO_SETUID | NO_DEVICES | NO_EXEC)?;
        queues.attach(open(dev.as_fd(), "mqueue", OFlags::PATH)?.as_fd())?;
    }
    Ok((dev, pts.into_handle(), shm))
}

/// The folders of this process's own groups, one mount per hierarchy on a shelf, or the one of version 2. Seen from a cgroup namespace of its own
/// these are the roots; otherwise nothing of the host's other groups is shown.
pub(super) fn own_cgroups(standing: &Standing, attributes: u64) -> Result<DetachedMount, Error> {
    let text = read(&standing.kernel, "self/cgroup")?;
    let own = |controllers: &[String]| {
        let named = |line: &&str| line.split(':').nth(1).is_some_and(|names| names.split(',').eq(controllers.iter().map(String::as_str)));
        let line = text.lines().find(|line| controllers.is_empty() && line.starts_with("0::") || named(line));
        let line = line.or_else(|| text.lines().find(|line| line.split(':').nth(1).is_some_and(|names| shares_one(names, controllers))));
        line.and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or("/").trim_start_matches('/').to_owned()
    };
    if let [only] = standing.cgroups.as_slice()
        && only.is_empty()
    {
        return below_own(MountBuilder::new("cgroup2")?.option("source", "cgroup")?.mount(attributes)?, &own(&[]), attributes);
    }
    let shelf = MountBuilder::new("tmpfs")?.option("mode", "0755")?.mount(NO_SETUID | NO_DEVICES | NO_EXEC)?;
    // Attached for a moment, because only an attached mount can carry others; the copy taken below is what is used.
    let place = open(standing.top.as_fd(), "files", OFlags::PATH)?;
    shelf.attach(place.as_fd())?;
    for controllers in &standing.cgroups {
        let hierarchy = place_on_shelf(shelf.as_fd(), controllers)?;
        let mounted = below_own(hierarchy.mount(attributes)?, &own(controllers), attributes)?;
        mounted.attach(open(shelf.as_fd(), &controllers.join(","), OFlags::PATH)?.as_fd())?;
    }
    shelf.change(attributes, 0, None, false)?;
    let copy = DetachedMount::copy_of_handle(shelf.as_fd(), true)?;
    drop(place);
    mount::detach(Path::new("/files"))?;
    Ok(copy)
}

fn shares_one(names: &str, controllers: &[String]) -> bool {
    names.split(',').any(|name| controllers.iter().any(|controller| controller == name))
}

/// The folder `own` of a hierarchy as a mount of its own.
fn below_own(hierarchy: DetachedMount, own: &str, attributes: u64) -> Result<DetachedMount, Error> {
    // A path that leads above the namespace's root has no name here.
    if own.is_empty() || own.starts_with("..") {
        return Ok(hierarchy);
    }
    let copy = DetachedMount::copy_of(hierarchy.as_fd(), Path::new(own), false)?;
    copy.change(attributes, 0, None, false)?;
    Ok(copy)
}

/// A folder (and short names) for a hierarchy, and the filesystem still to be mounted there.
fn place_on_shelf(shelf: BorrowedFd<'_>, controllers: &[String]) -> Result<MountBuilder, Error> {
    let name = controllers.join(",");
    make_folder(shelf, &name)?;
    let mut hierarchy = MountBuilder::new("cgroup")?.option("source", "cgroup")?;
    for controller in controllers {
        hierarchy = hierarchy.flag(controller)?;
        if controllers.len() > 1 {
            rustix::fs::symlinkat(&*name, shelf, &**controller).map_err(|errno| Error::new(format!("symlink({controller})"), errno))?;
        }
    }
    Ok(hierarchy)
}

/// Whether nothing in this process's network tells that somebody was here before: no socket, not even one that waits for its end, and no interface
/// but the loopback.
fn is_untouched(kernel: &DetachedMount) -> Result<bool, Error> {
    let sockets = read(kernel, "self/net/sockstat")?;
    let quiet = sockets.lines().any(|line| line == "sockets: used 0")
        && sockets.lines().any(|line| line.starts_with("TCP:") && line.contains(" tw 0 "));
    // Two lines of heading.
    Ok(quiet && read(kernel, "self/net/dev")?.lines().count() == 3)
}

pub(super) fn furnish_sys(world: &World, top: BorrowedFd<'_>) -> Result<DetachedMount, Error> {
    let unless_privileged = if world.privileged { 0 } else { READ_ONLY };
    let sys = match MountBuilder::new("sysfs")?.mount(NO_SETUID | NO_DEVICES | NO_EXEC | unless_privileged) {
        // Where sysfs cannot be had an empty folder stands for it.
        Err(error) if error.errno == Errno::NODEV => MountBuilder::new("tmpfs")?.mount(NO_SETUID | NO_DEVICES | NO_EXEC | READ_ONLY)?,
        other => other?,
    };
    sys.attach(open(top, "world/sys", OFlags::PATH)?.as_fd())?;
    let Ok(place) = open(sys.as_fd(), "fs/cgroup", OFlags::PATH) else { return Ok(sys) };
    let strict = NO_SETUID | NO_DEVICES | NO_EXEC | unless_privileged;
    if let [only] = world.cgroups.as_slice()
        && only.is_empty()
    {
        MountBuilder::new("cgroup2")?.option("source", "cgroup")?.mount(strict)?.attach(place.as_fd())?;
        return Ok(sys);
    }
    let shelf = MountBuilder::new("tmpfs")?.option("mode", "0755")?.mount(NO_SETUID | NO_DEVICES | NO_EXEC)?;
    shelf.attach(place.as_fd())?;
    for controllers in &world.cgroups {
        let hierarchy = place_on_shelf(shelf.as_fd(), controllers)?;
        hierarchy.mount(strict)?.attach(open(shelf.as_fd(), &controllers.join(","), OFlags::PATH)?.as_fd())?;
    }
    shelf.change(unless_privileged, 0, None, false)?;
    Ok(sys)
}

pub(super) fn below<'a>(paths: &'a [String], prefix: &'a str) -> impl Iterator<Item = &'a Path> {
    paths.iter().filter_map(move |path| path.strip_prefix(prefix)).map(Path::new)
}

/// Opens a name in a folder that only we have ever written to.
pub(super) fn open(folder: BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<OwnedFd, Error> {
    rustix::fs::openat(folder, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
        .map_err(|errno| Error::new(format!("open({name:?} of our world)"), errno))
}

pub(super) fn make_folder(folder: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
    let told = |errno| Error::new(format!("mkdir({name:?} of our world)"), errno);
    rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755)).map_err(told)?;
    rustix::fs::chmodat(folder, name, Mode::from_raw_mode(0o755), AtFlags::empty()).map_err(told)
}

fn set_kernel(kernel: &DetachedMount, key: &str, value: &str) -> Result<(), Error> {
    write(kernel, &format!("sys/{}", key.replace('.', "/")), value)
}

fn read(kernel: &DetachedMount, path: &str) -> Result<String, Error> {
    let told = |errno| Error::new(format!("read(/proc/{path})"), errno);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let file = rustix::fs::openat2(kernel.as_fd(), path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(told)?;
    Ok(String::from_utf8_lossy(&shipway_sys::fd::read_all_limited(&file, 64 << 10)?).into_owned())
}

fn write(kernel: &DetachedMount, path: &str, value: &str) -> Result<(), Error> {
    let told = |errno| Error::new(format!("write(/proc/{path}, {value:?})"), errno);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let file = rustix::fs::openat2(kernel.as_fd(), path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(told)?;
    rustix::io::write(&file, value.as_bytes()).map_err(told)?;
    Ok(())
}
