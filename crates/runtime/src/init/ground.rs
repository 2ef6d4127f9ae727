//! What first processes are born on: the seat's own, nearly empty, mount namespace, and what of a world outlives it.
//!
//! A first process is cloned with a copy of these mounts, so neither are the host's mounts copied for it nor has it to take them down. Build steps come
//! one after the other from one seat and differ from each other in nothing that the network and the cgroups show; so the seat keeps these namespaces
//! and the mounts of them ([`World::kept`]). What must stay true: what stands here was made by us, nobody but us has ever been able to write in it, and no
//! program of a container is ever in the seat's namespaces otherwise than through a world.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use shipway_sys::mount::attribute::{NO_DEVICES, NO_SETUID};
use shipway_sys::mount::{self, MountBuilder};
use shipway_sys::{Error, namespace};

use super::mask::{self, Covers};
use super::world::{below, furnish_sys, make_folder, open};
use crate::message::World;

/// The seat's ground.
pub(crate) struct Ground {
    top: OwnedFd,
    /// The world whose network and cgroups are kept here.
    kept: Option<World>,
}

impl Ground {
    /// Leaves the host's tree for an empty one with the folders of a world. What is cloned from here on sees nothing else.
    pub(crate) fn clear() -> Result<Self, Error> {
        namespace::leave(namespace::MOUNT)?;
        mount::isolate_from_host()?;
        let top = enter_empty_root()?;
        for name in ["root", "world", "world/proc", "world/dev", "world/sys", "files", "kernel"] {
            make_folder(top.as_fd(), name)?;
        }
        Ok(Self { top, kept: None })
    }

    /// Makes ready for a clone into `world`; returns the `CLONE_NEW*` bits for it.
    pub(crate) fn prepare(&mut self, world: &World) -> Result<u64, Error> {
        if !world.kept {
            return Ok(world.fresh);
        }
        if self.kept.as_ref() != Some(world) {
            self.settle(world)?;
            self.kept = Some(world.clone());
        }
        Ok(world.fresh & !(namespace::NETWORK | namespace::CGROUP))
    }

    /// Takes namespaces for `world` and those that follow, and puts up what shows them.
    fn settle(&self, world: &World) -> Result<(), Error> {
        namespace::leave(namespace::NETWORK | namespace::CGROUP)?;
        namespace::bring_loopback_up()?;
        let sys = furnish_sys(world, self.top.as_fd())?;
        mount::make_device(self.top.as_fd(), "null", FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 3)).or_else(|error| {
            // From an earlier world.
            if error.errno == rustix::io::Errno::EXIST { Ok(()) } else { Err(error) }
        })?;
        Covers::new(open(self.top.as_fd(), "null", OFlags::PATH)?).hide(sys.as_fd(), below(&world.masked, "/sys/"))?;
        mask::protect(sys.as_fd(), below(&world.readonly, "/sys/"))
    }
}

/// Replaces the host's whole tree, as far as this process can see, by an empty memory filesystem.
fn enter_empty_root() -> Result<OwnedFd, Error> {
    let top = MountBuilder::new("tmpfs")?.option("mode", "0755")?.option("source", "shipway")?.mount(NO_SETUID | NO_DEVICES)?;
    // pivot_root wants the new root attached somewhere; any folder does, and this one exists wherever Linux runs.
    let somewhere =
        rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| Error::new("open(\"/proc\")", errno))?;
    top.attach(somewhere.as_fd())?;
    mount::pivot_into(top.as_fd())?;
    Ok(top.into_handle())
}
