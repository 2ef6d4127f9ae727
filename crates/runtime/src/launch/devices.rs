//! Devices of the host that a container gets, as nodes and as rules.
//!
//! What must stay true: a node is made only for what is a device on the host; a rule allows no more than was asked.

use std::ffi::OsStr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use shipway_sys::cgroup::{Device as Rule, DeviceKind};

use crate::error::LaunchError;
use crate::message::DevicePart;
use crate::spec::{ContainerSpec, Device};

pub(super) fn prepare_devices(spec: &ContainerSpec) -> Result<(Vec<DevicePart>, Vec<Rule>), LaunchError> {
    let mut parts = Vec::new();
    let mut rules = Vec::new();
    for device in &spec.devices {
        add_device(device, &mut parts, &mut rules)?;
    }
    if spec.privileged {
        add_host_devices(Path::new("/dev"), &mut parts);
    }
    Ok((parts, rules))
}

pub(super) fn add_device(device: &Device, parts: &mut Vec<DevicePart>, rules: &mut Vec<Rule>) -> Result<(), LaunchError> {
    let path = &device.host_path;
    let told = |text: String| LaunchError::Step { step: "gather device information", errno: 0, text };
    let found = std::fs::metadata(path).map_err(|error| told(format!("{path:?}: {error}")))?;
    if found.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| told(format!("{path:?}: {error}")))?;
        for entry in entries.flatten() {
            let inner = Device {
                host_path: entry.path(),
                container_path: format!("{}/{}", device.container_path, entry.file_name().to_string_lossy()),
                permissions: device.permissions.clone(),
            };
            // A folder of devices may hold links and pipes as well.
            if std::fs::metadata(entry.path()).is_ok_and(|found| found.is_dir() || is_device(&found)) {
                add_device(&inner, parts, rules)?;
            }
        }
        return Ok(());
    }
    if !is_device(&found) {
        return Err(told(format!("{path:?} is not a device node")));
    }
    let part = device_part(device.container_path.clone(), &found);
    let right = |letter: char| device.permissions.contains(letter);
    rules.push(Rule {
        kind: if part.block { DeviceKind::Block } else { DeviceKind::Character },
        major: Some(rustix::fs::major(part.number)),
        minor: Some(rustix::fs::minor(part.number)),
        read: right('r'),
        write: right('w'),
        make: right('m'),
    });
    parts.push(part);
    Ok(())
}

pub(super) fn is_device(found: &std::fs::Metadata) -> bool {
    found.file_type().is_char_device() || found.file_type().is_block_device()
}

pub(super) fn device_part(path: String, found: &std::fs::Metadata) -> DevicePart {
    let block = found.file_type().is_block_device();
    DevicePart { path, block, number: found.rdev(), mode: found.mode() & 0o777, uid: found.uid(), gid: found.gid() }
}

/// Every device node of the host, without those of terminals and shared memory, which a container has of its own.
pub(super) fn add_host_devices(folder: &Path, parts: &mut Vec<DevicePart>) {
    let own = ["pts", "shm", "fd", "mqueue", "console"];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if own.iter().any(|name| path.file_name() == Some(OsStr::new(name))) {
            continue;
        }
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        if found.is_dir() {
            add_host_devices(&path, parts);
        } else if is_device(&found) {
            parts.push(device_part(path.to_string_lossy().into_owned(), &found));
        }
    }
}
