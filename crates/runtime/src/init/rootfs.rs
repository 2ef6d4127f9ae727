//! Putting the root together out of handles, and moving into it.
//!
//! What must stay true: every target is found by a walk that stays inside the root (openat2) and is then used by handle, so a name swapped by another
//! container a moment later leads nowhere (S-102, S-106, S-110); /proc, /dev and /sys are never attached over a symlink (S-104).

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use shipway_sys::mount::attribute::READ_ONLY;
use shipway_sys::mount::{DetachedMount, MountBuilder};
use shipway_sys::path::{FileKind, Root, clean_inside, metadata, set_mode};
use shipway_sys::{Error, mount};

use super::mask::{self, Covers};
use super::world::{Standing, open};
use super::{at, copy_up, world};
use crate::message::{DevicePart, Failure, FilePart, Fill, FreshKind, FreshMount, InitPart, MountPart, MountWhat, Step};

/// Assembles the root and pivots into it. Returns the mount points that had to be made in it.
pub(super) fn assemble(
    part: &InitPart,
    handles: &[OwnedFd],
    standing: &Standing,
    terminal: Option<BorrowedFd<'_>>,
) -> Result<Vec<String>, Failure> {
    let handle = |index: usize| handles.get(index).ok_or_else(|| Failure::said(Step::Protocol, format!("handle {index} is missing")));
    let mut created = Vec::new();
    let root = attach_root(handle(part.root)?, standing).map_err(at(Step::Root))?;
    if part.standard_mounts {
        for (path, mount) in [("/proc", &standing.proc), ("/dev", &standing.dev), ("/sys", &standing.sys)] {
            attach_standard(&root, path, mount, &mut created).map_err(at(Step::Mount))?;
        }
    }
    for wanted in &part.mounts {
        match &wanted.what {
            MountWhat::Handle(index) => attach_wanted(&root, wanted, handle(*index)?, &mut created),
            MountWhat::Fresh(fresh) => attach_fresh(&root, &wanted.target, fresh, standing, &mut created),
        }
        .map_err(|error| mount_failure(&wanted.target, error))?;
    }
    if !part.files.is_empty() {
        let shelf = world::files(standing).map_err(at(Step::File))?;
        for (number, file) in part.files.iter().enumerate() {
            attach_file(&root, number, file, &shelf, &mut created).map_err(at(Step::File))?;
        }
    }
    for device in &part.devices {
        make_device(&root, device).map_err(at(Step::Device))?;
    }
    for (place, text) in &part.links {
        make_link(&root, place, text).map_err(at(Step::Device))?;
    }
    hide_the_rest(part, &root, standing).map_err(at(Step::Mount))?;
    if let Some(terminal) = terminal {
        attach_console(&root, terminal).map_err(at(Step::Terminal))?;
    }
    if part.program.make_cwd {
        // What stands there and is no folder is told when the program tries to enter it.
        let _ = root.create_dir_all(Path::new(&part.program.cwd), 0o755, Some((0, 0)));
    }
    if part.read_only_root {
        mount::change_attributes(root.as_fd(), READ_ONLY, 0, None, false).map_err(at(Step::Root))?;
    }
    mount::pivot_into(root.as_fd()).map_err(at(Step::Pivot))?;
    Ok(created)
}

/// runc's question, which people search for.
const MISMATCH: &str =
    "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type";

fn mount_failure(target: &str, error: Error) -> Failure {
    Failure { step: Step::Mount, errno: error.errno.raw_os_error(), text: format!("to rootfs at \"{target}\": {error}") }
}

fn attach_root(handle: &OwnedFd, standing: &Standing) -> Result<Root, Error> {
    mount::move_mount(handle.as_fd(), open(standing.top.as_fd(), "root", OFlags::PATH)?.as_fd())?;
    let copy = rustix::io::fcntl_dupfd_cloexec(handle, 3).map_err(|errno| Error::new("dup(root)", errno))?;
    Ok(Root::from_fd(copy, "/"))
}

fn attach_standard(root: &Root, path: &str, mount: &DetachedMount, created: &mut Vec<String>) -> Result<(), Error> {
    let path = Path::new(path);
    match root.lstat(path) {
        Ok(found) if found.kind == FileKind::Directory => {}
        Ok(found) => {
            return Err(Error::new(format!("mount {path:?}"), rustix::io::Errno::NOTDIR)
                .with_detail(format!("it is a {} in the image", found.kind)));
        }
        Err(error) if error.is_not_found() => {
            root.create_dir_all(path, 0o755, Some((0, 0)))?;
            created.push(path.display().to_string());
        }
        Err(error) => return Err(error),
    }
    mount.attach(root.open_file(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?.as_fd())
}

fn attach_wanted(root: &Root, wanted: &MountPart, handle: &OwnedFd, created: &mut Vec<String>) -> Result<(), Error> {
    let made_before = created.len();
    let target = find_or_make(root, &wanted.target, wanted.is_folder, created)?;
    refuse_inside_proc(&target, &wanted.target)?;
    let found = metadata(&target)?;
    if wanted.is_folder != (found.kind == FileKind::Directory) {
        // The kernel says only that the argument is invalid.
        return Err(Error::new(format!("mount over a {}", found.kind), rustix::io::Errno::NOTDIR).with_detail(MISMATCH));
    }
    match wanted.fill {
        Fill::Content => copy_up::fill(handle, &target)?,
        // A folder made for the mount says nothing.
        Fill::Mode if created.len() == made_before => set_mode(handle, found.mode)?,
        Fill::Mode | Fill::Nothing => {}
    }
    mount::move_mount(handle.as_fd(), target.as_fd())
}

/// Makes a filesystem that shows our own namespaces and attaches it.
fn attach_fresh(root: &Root, target: &str, fresh: &FreshMount, standing: &Standing, created: &mut Vec<String>) -> Result<(), Error> {
    let build = |kind: &str| -> Result<DetachedMount, Error> {
        let mut builder = MountBuilder::new(kind)?;
        for (key, value) in &fresh.options {
            builder = match value {
                Some(value) => builder.option(key, value)?,
                None => builder.flag(key)?,
            };
        }
        builder.mount(fresh.attributes)
    };
    let mounted = match fresh.kind {
        // These two must be what they are called, wherever the image's links lead (S-104).
        FreshKind::Proc => return attach_standard(root, target, &build("proc")?, created),
        FreshKind::Sysfs => return attach_standard(root, target, &build("sysfs")?, created),
        FreshKind::Queues => build("mqueue")?,
        FreshKind::Terminals => {
            let copy = DetachedMount::copy_of_handle(standing.devpts.as_fd(), false)?;
            for (key, value) in fresh.options.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
                mount::reconfigure(copy.as_fd(), key, value)?;
            }
            copy.change(fresh.attributes, 0, None, false)?;
            copy
        }
        FreshKind::Cgroups => world::own_cgroups(standing, fresh.attributes)?,
    };
    let place = find_or_make(root, target, true, created)?;
    refuse_inside_proc(&place, target)?;
    mounted.attach(place.as_fd())
}

/// A symlink, unless something stands there.
fn make_link(root: &Root, place: &str, text: &str) -> Result<(), Error> {
    let clean = clean_inside(Path::new(place));
    if let Some(parent) = clean.parent() {
        root.create_dir_all(parent, 0o755, Some((0, 0)))?;
    }
    let (folder, name) = root.resolve_parent(&clean)?;
    match rustix::fs::symlinkat(text, folder.as_fd(), name.as_os_str()) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::new(format!("symlink({place:?})"), errno)),
    }
}

/// A mount inside procfs could cover what the masks and the kernel's own files say (S-104).
fn refuse_inside_proc(target: &OwnedFd, name: &str) -> Result<(), Error> {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    let status = rustix::fs::fstatfs(target).map_err(|errno| Error::new(format!("statfs({name:?})"), errno))?;
    if status.f_type as u64 == PROC_SUPER_MAGIC {
        return Err(
            Error::new(format!("mount to {name:?}"), rustix::io::Errno::PERM).with_detail("cannot be mounted because it is inside /proc")
        );
    }
    Ok(())
}

fn find_or_make(root: &Root, path: &str, folder: bool, created: &mut Vec<String>) -> Result<OwnedFd, Error> {
    let clean = clean_inside(Path::new(path));
    match root.open_file(&clean, OFlags::PATH, Mode::empty()) {
        Err(error) if error.is_not_found() => {}
        other => return other,
    }
    if folder {
        let made = root.create_dir_all(&clean, 0o755, Some((0, 0)))?;
        drop(made);
    } else {
        if let Some(parent) = clean.parent() {
            root.create_dir_all(parent, 0o755, Some((0, 0)))?;
        }
        root.open_file(&clean, OFlags::CREATE | OFlags::WRONLY | OFlags::EXCL, Mode::from_raw_mode(0o755))?;
    }
    created.push(format!("/{}", clean.display()));
    root.open_file(&clean, OFlags::PATH, Mode::empty())
}

fn attach_file(root: &Root, number: usize, file: &FilePart, shelf: &OwnedFd, created: &mut Vec<String>) -> Result<(), Error> {
    let name = number.to_string();
    let told = |errno| Error::new(format!("write({:?})", file.target), errno);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let made = rustix::fs::openat(shelf, &*name, flags, Mode::from_raw_mode(0o644)).map_err(told)?;
    let mut made = std::fs::File::from(made);
    made.write_all(&file.content).map_err(|error| Error::from_io(format!("write({:?})", file.target), &error))?;
    let copy = DetachedMount::copy_of_handle(made.as_fd(), false)?;
    if file.read_only {
        copy.change(READ_ONLY, 0, None, false)?;
    }
    let target = find_or_make(root, &file.target, false, created)?;
    refuse_inside_proc(&target, &file.target)?;
    copy.attach(target.as_fd())
}

fn make_device(root: &Root, device: &DevicePart) -> Result<(), Error> {
    let clean = clean_inside(Path::new(&device.path));
    if let Some(parent) = clean.parent() {
        root.create_dir_all(parent, 0o755, Some((0, 0)))?;
    }
    let (folder, name) = root.resolve_parent(&clean)?;
    let kind = if device.block { FileType::BlockDevice } else { FileType::CharacterDevice };
    let name = name.to_string_lossy();
    match mount::make_device(folder.as_fd(), &name, kind, device.mode, device.number) {
        // One of the standard nodes, asked for once more.
        Err(error) if error.errno == rustix::io::Errno::EXIST => return Ok(()),
        other => other?,
    }
    let owner = (rustix::fs::Uid::from_raw(device.uid), rustix::fs::Gid::from_raw(device.gid));
    rustix::fs::chownat(folder.as_fd(), &*name, Some(owner.0), Some(owner.1), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| Error::new(format!("chown({:?})", device.path), errno))
}

/// Paths outside /proc and /sys, which the world could not hide because they are the image's.
fn hide_the_rest(part: &InitPart, root: &Root, standing: &Standing) -> Result<(), Error> {
    let elsewhere = |path: &&String| !part.standard_mounts || !path.starts_with("/proc/") && !path.starts_with("/sys/");
    let mut covers = Covers::new(standing.null()?);
    covers.hide(root.as_fd(), part.masked.iter().filter(elsewhere).map(Path::new))?;
    mask::protect(root.as_fd(), part.readonly.iter().filter(elsewhere).map(Path::new))
}

/// /dev/console is the terminal itself, bound by handle (S-108).
fn attach_console(root: &Root, terminal: BorrowedFd<'_>) -> Result<(), Error> {
    let target = root.open_file(Path::new("/dev/console"), OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW, Mode::from_raw_mode(0o600))?;
    DetachedMount::copy_of_handle(terminal, false)?.attach(target.as_fd())
}
