//! The root, the further mounts and the generated files, as detached mounts.
//!
//! What must stay true: nothing is attached anywhere yet; a source that is not there fails here, before a process exists.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use shipway_sys::mount::{DetachedMount, MountBuilder, attribute};
use shipway_sys::overlay::Overlay;
use shipway_sys::path::Root;
use shipway_sys::{Error, users};

use super::{Handles, world};
use crate::error::LaunchError;
use crate::message::{FilePart, Fill, MountPart, MountWhat};
use crate::spec::{Access, BindSource, ContainerSpec, FileSource, Mount, Namespace, Propagation, RootFs, ShownIds};

/// The root as a detached mount.
pub(crate) fn mount_root(root: &RootFs, stubs: &Path) -> Result<OwnedFd, LaunchError> {
    if let Some(plain) = &root.plain {
        let handle = rustix::fs::open(plain, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::new(format!("open({plain:?})"), errno))?;
        let copy = DetachedMount::copy_of_handle(handle.as_fd(), true)?;
        copy.change(0, 0, Some(Propagation::Private), true)?;
        return Ok(copy.into_handle());
    }
    // The lowest layer holds nothing but mount points, so that none has to be made in the container's own changes.
    let mut lowers = root.lowers.clone();
    lowers.push(stubs.to_path_buf());
    let upper = root.upper.as_ref().map(|(upper, work)| (upper.as_path(), work.as_path()));
    if let Some((_, work)) = upper.filter(|_| root.volatile) {
        forget_mark(work);
    }
    Ok(Overlay { lowers: &lowers, upper, volatile: root.volatile }.mount(0)?.into_handle())
}

/// Takes away the mark by which the kernel refuses a work folder that was mounted volatile before: it cannot know whether the machine crashed meanwhile, and
/// whoever mounts it so again has said that this does not matter. Without a mark this does nothing.
fn forget_mark(work: &Path) {
    let remove = |name: &str, flags| rustix::fs::unlinkat(rustix::fs::CWD, work.join(name), flags);
    if remove("work/incompat/volatile/dirty", AtFlags::empty()).is_ok() {
        for name in ["work/incompat/volatile", "work/incompat"] {
            // What cannot be removed is for the mount to complain about.
            let _ = remove(name, AtFlags::REMOVEDIR);
        }
    }
}

pub(super) fn prepare_mount(mount: Mount, handles: &mut Handles) -> Result<MountPart, LaunchError> {
    match mount {
        Mount::Bind { source, target, access, propagation, propagates_below, recursive, ids } => {
            let told = |error: Error| LaunchError::Mount { text: format!("\"{target}\": {error}") };
            let handle = match source {
                BindSource::Fd(handle) => handle,
                BindSource::Path(path) => rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|errno| told(Error::new(format!("open({path:?})"), errno)))?,
            };
            let is_folder = is_folder(&handle).map_err(told)?;
            let copy = DetachedMount::copy_of_handle(handle.as_fd(), recursive).map_err(told)?;
            copy.change(0, 0, Some(propagation), recursive && propagates_below).map_err(told)?;
            match access {
                Access::Full => {}
                Access::ReadOnly => copy.change(attribute::READ_ONLY, 0, None, recursive).map_err(told)?,
                Access::ReadOnlyTop => copy.change(attribute::READ_ONLY, 0, None, false).map_err(told)?,
            }
            if let Some(ids) = ids {
                map_ids(&copy, &ids, recursive).map_err(|error| LaunchError::Mount { text: format!("\"{target}\": {error}") })?;
            }
            Ok(MountPart { what: MountWhat::Handle(handles.add(copy.into_handle())), target, is_folder, fill: Fill::Nothing })
        }
        Mount::Layers { lowers, target, subpath } => {
            let mounted =
                mount_layers(&lowers, subpath.as_deref()).map_err(|error| LaunchError::Mount { text: format!("\"{target}\": {error}") })?;
            let handle = mounted.into_handle();
            let is_folder = is_folder(&handle).map_err(|error| LaunchError::Mount { text: format!("\"{target}\": {error}") })?;
            Ok(MountPart { what: MountWhat::Handle(handles.add(handle)), target, is_folder, fill: Fill::Nothing })
        }
        Mount::Tmpfs { target, options } => {
            let mounted = mount_tmpfs(&options).map_err(|error| LaunchError::Mount { text: format!("tmpfs to \"{target}\": {error}") })?;
            let has_mode = options.iter().flat_map(|option| option.split(',')).any(|option| option.starts_with("mode="));
            let fill = if has_mode { Fill::Nothing } else { Fill::Mode };
            Ok(MountPart { what: MountWhat::Handle(handles.add(mounted.into_handle())), target, is_folder: true, fill })
        }
    }
}

/// A mount that somebody else than a launch attaches.
pub(crate) struct ReadyMount {
    pub(crate) mount: DetachedMount,
    pub(crate) target: String,
    pub(crate) is_folder: bool,
}

/// Opens and mounts one without attaching it.
pub(crate) fn make_ready(mount: Mount) -> Result<ReadyMount, LaunchError> {
    let mut handles = Handles(Vec::new());
    let MountPart { target, is_folder, .. } = prepare_mount(mount, &mut handles)?;
    let handle = handles.0.pop().ok_or_else(|| LaunchError::Mount { text: format!("\"{target}\": nothing was mounted") })?;
    Ok(ReadyMount { mount: DetachedMount::from_handle(handle), target, is_folder })
}

/// A stack of layers for reading. A single one is mounted as it is: overlayfs wants two.
fn mount_layers(lowers: &[std::path::PathBuf], subpath: Option<&str>) -> Result<DetachedMount, Error> {
    let whole = match lowers {
        [] => MountBuilder::new("tmpfs")?.mount(attribute::READ_ONLY)?,
        [single] => {
            let handle = rustix::fs::open(single, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| Error::new(format!("open({single:?})"), errno))?;
            DetachedMount::copy_of_handle(handle.as_fd(), false)?
        }
        several => Overlay { lowers: several, upper: None, volatile: false }.mount(attribute::READ_ONLY)?,
    };
    whole.change(attribute::READ_ONLY, 0, Some(Propagation::Private), false)?;
    let Some(subpath) = subpath else { return Ok(whole) };
    let root = Root::from_fd(whole.into_handle(), "the image");
    let part = root.open_file(Path::new(subpath), OFlags::PATH, Mode::empty())?;
    let copy = DetachedMount::copy_of_handle(part.as_fd(), false)?;
    copy.change(attribute::READ_ONLY, 0, Some(Propagation::Private), false)?;
    Ok(copy)
}

/// Shows the source's ids as others. Most filesystems can; the error of one that cannot says so.
fn map_ids(copy: &DetachedMount, ids: &ShownIds, recursive: bool) -> Result<(), Error> {
    let (users, groups) = (users::swap_in(ids.user.0, ids.user.1), users::swap_in(ids.group.0, ids.group.1));
    copy.map_ids(users::namespace_mapping(&users, &groups)?.as_fd(), recursive).map_err(|error| match error.errno {
        rustix::io::Errno::INVAL => error.with_detail("this filesystem cannot map owners (idmap)"),
        _ => error,
    })
}

pub(super) fn mount_tmpfs(options: &[String]) -> Result<DetachedMount, Error> {
    let mut builder = MountBuilder::new("tmpfs")?.option("source", "tmpfs")?;
    let mut attributes = attribute::NO_SETUID | attribute::NO_DEVICES | attribute::NO_EXEC;
    for option in options.iter().flat_map(|option| option.split(',')).filter(|option| !option.is_empty()) {
        match option {
            "ro" => attributes |= attribute::READ_ONLY,
            "rw" => attributes &= !attribute::READ_ONLY,
            "nosuid" => attributes |= attribute::NO_SETUID,
            "suid" => attributes &= !attribute::NO_SETUID,
            "nodev" => attributes |= attribute::NO_DEVICES,
            "dev" => attributes &= !attribute::NO_DEVICES,
            "noexec" => attributes |= attribute::NO_EXEC,
            "exec" => attributes &= !attribute::NO_EXEC,
            "noatime" => attributes |= attribute::NO_ATIME,
            // Propagation of a fresh filesystem that only this container sees changes nothing.
            "relatime" | "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => {}
            _ => {
                builder = match option.split_once('=') {
                    Some((key, value)) => builder.option(key, value)?,
                    None => builder.flag(option)?,
                }
            }
        }
    }
    builder.mount(attributes)
}

pub(super) fn is_folder(handle: &OwnedFd) -> Result<bool, Error> {
    let status = rustix::fs::fstat(handle).map_err(|errno| Error::new("fstat(mount source)", errno))?;
    Ok(rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::Directory)
}

/// The /dev/shm that comes with an IPC namespace of somebody else's.
pub(super) fn shared_memory(ipc: &Namespace, handles: &mut Handles) -> Result<Option<MountPart>, LaunchError> {
    const PLACE: &str = "/dev/shm";
    match ipc {
        Namespace::Private | Namespace::Path(_) => Ok(None),
        // A host without one has nothing to share.
        Namespace::Host if !Path::new(PLACE).is_dir() => Ok(None),
        Namespace::Host => prepare_mount(Mount::bind(PLACE, PLACE, false), handles).map(Some),
        Namespace::Container(pid) => {
            let told = |error: Error| LaunchError::Mount { text: format!("\"{PLACE}\" of process {pid}: {error}") };
            let space = world::namespace_of(*pid, "mnt")?;
            let copy = shipway_sys::mount::memory_of_namespace(space, PLACE.into()).map_err(told)?;
            copy.change(0, 0, Some(Propagation::Private), false).map_err(told)?;
            let what = MountWhat::Handle(handles.add(copy.into_handle()));
            Ok(Some(MountPart { target: PLACE.to_owned(), what, is_folder: true, fill: Fill::Nothing }))
        }
    }
}

/// Files of the host become binds, generated texts travel in the message.
pub(super) fn prepare_files(
    spec: &ContainerSpec,
    mounts: &mut Vec<MountPart>,
    handles: &mut Handles,
) -> Result<Vec<FilePart>, LaunchError> {
    let mut files = Vec::new();
    for file in &spec.files {
        match &file.source {
            FileSource::Content(content) => {
                files.push(FilePart { target: file.target.clone(), content: content.clone(), read_only: file.read_only });
            }
            FileSource::Path(path) => mounts.push(prepare_mount(Mount::bind(path, file.target.clone(), file.read_only), handles)?),
        }
    }
    Ok(files)
}
