//! What first processes are born on: the seat's own, nearly empty, mount namespace.
//!
//! A first process is cloned with a copy of these mounts, so neither are the host's mounts copied for it nor has it to take them down. What must stay
//! true: what stands here was made by us, and nobody but us has ever been able to write in it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use shipway_sys::mount::attribute::{NO_DEVICES, NO_SETUID};
use shipway_sys::mount::{self, MountBuilder};
use shipway_sys::{Error, namespace};

use super::world::make_folder;

/// Leaves the host's tree for an empty one with the folders of a world. What is cloned from here on sees nothing else.
pub(crate) fn clear_the_ground() -> Result<(), Error> {
    namespace::leave(namespace::MOUNT)?;
    mount::isolate_from_host()?;
    let top = enter_empty_root()?;
    for name in ["root", "world", "world/proc", "world/dev", "world/sys", "files", "kernel"] {
        make_folder(top.as_fd(), name)?;
    }
    Ok(())
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
