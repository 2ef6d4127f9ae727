//! At each start: the mounts as the hands take them. Sources are opened here, once; from then on they are handles.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use shipway_model::{IdMap, MountKind, MountSpec, Propagation, ReadOnlyReach};
use shipway_runtime::{Access, BindSource, Mount, ShownIds, UserIds};
use shipway_sys::path::{Root, metadata};

use super::{ContainerMount, owner};
use crate::containers::ContainerRecord;
use crate::{Engine, Error, Result};

impl Engine {
    /// The mounts of a container that is about to start as `user`. Blocks; the caller holds the turns of its volumes.
    ///
    /// # Errors
    /// `Invalid` in dockerd's words when a source is not there or cannot be mounted so.
    pub(in crate::containers) fn mounts_of(&self, record: &ContainerRecord, user: &UserIds) -> Result<Vec<Mount>> {
        record.mounts.iter().map(|mount| self.mount_of(mount, user)).collect()
    }

    /// The mounts of a container that does not run, for somebody who looks into its files: nothing is made, given to anybody or seen by anybody else.
    /// What is in memory only is left out, and so is what is not there. Blocks; the caller holds the turns of its volumes.
    ///
    /// # Errors
    /// As [`Engine::mounts_of`].
    pub(in crate::containers) fn mounts_seen(&self, record: &ContainerRecord) -> Result<Vec<Mount>> {
        let user = match record.mounts.iter().any(|mount| mount.spec.idmap.is_some()) {
            true => self.accounts_of(record)?.resolve(&record.process.user, &record.spec.host.group_add)?.ids,
            false => UserIds::default(),
        };
        record.mounts.iter().filter_map(|mount| self.mount_seen(mount, &user).transpose()).collect()
    }

    fn mount_seen(&self, mount: &ContainerMount, user: &UserIds) -> Result<Option<Mount>> {
        let quiet = MountSpec { change_owner: false, propagation: Propagation::RecursivePrivate, ..mount.spec.clone() };
        let handle = match (quiet.kind, &mount.volume) {
            (MountKind::Tmpfs, _) => return Ok(None),
            (MountKind::Bind, _) => {
                rustix::fs::open(quiet.source.as_deref().unwrap_or_default(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
            }
            (MountKind::Volume, Some(name)) => {
                let root = self.inner.store.volumes().open(name)?;
                beneath(&root, quiet.volume_subpath.as_deref(), &format!("volume {name}")).ok()
            }
            (MountKind::Image | MountKind::Volume, _) => return self.mount_of(mount, user).map(Some),
        };
        handle.map(|handle| bind(&quiet, handle, user)).transpose()
    }

    fn mount_of(&self, mount: &ContainerMount, user: &UserIds) -> Result<Mount> {
        let spec = &mount.spec;
        match (spec.kind, &mount.volume, &mount.image) {
            (MountKind::Volume, Some(name), _) => {
                let root = self.inner.store.volumes().open(name)?;
                let handle = beneath(&root, spec.volume_subpath.as_deref(), &format!("volume {name}"))?;
                bind(spec, handle, user)
            }
            (MountKind::Image, _, Some((_, layers))) => Ok(Mount::Layers {
                lowers: self.inner.store.mount_of(layers),
                target: spec.target.clone(),
                subpath: spec.image_subpath.clone(),
            }),
            (MountKind::Tmpfs, ..) => Ok(tmpfs(spec)),
            (MountKind::Bind, ..) => {
                let handle = open_source(spec)?;
                check_propagation(spec, &handle)?;
                bind(spec, handle, user)
            }
            (MountKind::Volume | MountKind::Image, ..) => Err(Error::internal("a mount was recorded without what it mounts")),
        }
    }
}

/// A handle on `subpath` inside `root`, links followed inside it only.
fn beneath(root: &Root, subpath: Option<&str>, what: &str) -> Result<OwnedFd> {
    let path = subpath.unwrap_or(".");
    root.open_file(Path::new(path), OFlags::PATH, Mode::empty()).map_err(|error| Error::InvalidWithHint {
        reason: format!("cannot access path \"{path}\" of {what}: {}", words_of(&error)),
        hint: "a subpath must exist before it is mounted".to_owned(),
    })
}

fn words_of(error: &shipway_sys::Error) -> String {
    let text = std::io::Error::from_raw_os_error(error.errno.raw_os_error()).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Opens the source of a bind. A missing one is made for `-v` and refused for `--mount`, as with dockerd.
fn open_source(spec: &MountSpec) -> Result<OwnedFd> {
    let source = spec.source.as_deref().unwrap_or_default();
    let open = || rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let opened = match open() {
        Err(rustix::io::Errno::NOENT) if spec.create_source => {
            std::fs::create_dir_all(source)
                .map_err(Error::io(format!("error while creating mount source path '{source}': mkdir {source}")))?;
            open()
        }
        other => other,
    };
    opened.map_err(|errno| match errno {
        rustix::io::Errno::NOENT => Error::InvalidWithHint {
            reason: format!("invalid mount config for type \"bind\": bind source path does not exist: {source}"),
            hint: format!("create it first: mkdir -p {source}"),
        },
        _ => Error::invalid(format!(
            "error mounting \"{source}\" to \"{}\": {}",
            spec.target,
            words_of(&shipway_sys::Error::new(String::new(), errno))
        )),
    })
}

/// Mounts can only travel where the source's own mount lets them: dockerd refuses the rest, and so do we.
fn check_propagation(spec: &MountSpec, source: &OwnedFd) -> Result<()> {
    let (shared, slave) = match spec.propagation {
        Propagation::Shared | Propagation::RecursiveShared => (true, false),
        Propagation::Slave | Propagation::RecursiveSlave => (true, true),
        Propagation::Private | Propagation::RecursivePrivate => return Ok(()),
    };
    let found = shipway_sys::mount::mounted_at(source.as_fd()).map_err(Error::sys("look at the source of a mount"))?;
    match found {
        Some(at) if !(shared && at.shared || slave && at.slave) => Err(Error::InvalidWithHint {
            reason: format!(
                "path {} is mounted on {} but it is not a shared{} mount",
                spec.source.as_deref().unwrap_or_default(),
                at.point.display(),
                if slave { " or slave" } else { "" }
            ),
            hint: format!("make it one: mount --make-rshared {}", at.point.display()),
        }),
        _ => Ok(()),
    }
}

fn bind(spec: &MountSpec, source: OwnedFd, user: &UserIds) -> Result<Mount> {
    if spec.change_owner {
        owner::give(&source, spec.source.as_deref().unwrap_or_default(), user)?;
    }
    let ids = spec.idmap.map(|wanted| shown_ids(wanted, &source, user)).transpose()?.flatten();
    let propagation = match spec.propagation {
        Propagation::Private | Propagation::RecursivePrivate => shipway_runtime::Propagation::Private,
        Propagation::Slave | Propagation::RecursiveSlave => shipway_runtime::Propagation::Slave,
        Propagation::Shared | Propagation::RecursiveShared => shipway_runtime::Propagation::Shared,
    };
    let access = match (spec.read_only, spec.read_only_reach) {
        (false, _) => Access::Full,
        (true, ReadOnlyReach::TopOnly) => Access::ReadOnlyTop,
        (true, ReadOnlyReach::BestEffort | ReadOnlyReach::Everything) => Access::ReadOnly,
    };
    Ok(Mount::Bind {
        source: BindSource::Fd(source),
        target: spec.target.clone(),
        access,
        propagation,
        propagates_below: spec.propagation.is_recursive(),
        // The folder of a volume is what was made for it, not what somebody mounted below it.
        recursive: spec.recursive,
        ids,
    })
}

/// Whose files look like the container's user's; nothing when they are its own already.
fn shown_ids(wanted: IdMap, source: &OwnedFd, user: &UserIds) -> Result<Option<ShownIds>> {
    let (uid, gid) = match wanted {
        IdMap::SourceOwner => {
            let found = metadata(source).map_err(Error::sys("look at the source of a mount"))?;
            (found.uid, found.gid)
        }
        IdMap::Ids { uid, gid } => (uid, gid),
    };
    let same = (uid, gid) == (user.uid, user.gid);
    Ok((!same).then_some(ShownIds { user: (uid, user.uid), group: (gid, user.gid) }))
}

fn tmpfs(spec: &MountSpec) -> Mount {
    let mut options = spec.tmpfs_options.clone();
    options.extend(spec.tmpfs_size.map(|size| format!("size={size}")));
    options.extend(spec.tmpfs_mode.map(|mode| format!("mode={mode:o}")));
    if spec.read_only {
        options.push("ro".to_owned());
    }
    Mount::Tmpfs { target: spec.target.clone(), options }
}
