//! The Container Device Interface: what vendors write down about their devices, read from JSON and YAML files of the host.
//!
//! Only the administrator of the host writes these files; a container names devices in them and nothing else. What must stay true: a specification
//! that asks for what we do not do (hooks) is refused by name, never half applied; unreadable files cost their own devices only.
//!
//! Source: CNCF tag-runtime, container-device-interface SPEC.md 0.8.

mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use shipway_runtime::{Access, BindSource, ContainerSpec, Device, Mount, Propagation};

use crate::{Error, Result};

/// Largest specification that is read.
const LONGEST: u64 = 4 << 20;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Specification {
    kind: String,
    devices: Vec<Described>,
    container_edits: Edits,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Described {
    name: String,
    container_edits: Edits,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Bind>,
    hooks: Vec<Value>,
    additional_gids: Vec<u32>,
    intel_rdt: Option<Value>,
    net_devices: Vec<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    path: String,
    host_path: String,
    permissions: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Bind {
    host_path: PathBuf,
    container_path: String,
    options: Vec<String>,
}

/// Everything described on this host.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// By full name, `vendor.com/class=name`: the edits of its file and its own.
    devices: BTreeMap<String, (Edits, Edits)>,
}

impl Registry {
    /// Reads the files in `folders`; later folders win.
    pub(super) fn read(folders: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for folder in folders {
            let mut files: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            files.sort();
            for path in files {
                match path.extension().and_then(|ending| ending.to_str()).map(|ending| specification(&path, ending)) {
                    Some(Ok(Some(found))) => registry.add(found),
                    Some(Err(error)) => tracing::warn!(%error, path = %path.display(), "a CDI specification cannot be read"),
                    Some(Ok(None)) | None => {}
                }
            }
        }
        registry
    }

    fn add(&mut self, found: Specification) {
        for device in found.devices {
            let name = format!("{}={}", found.kind, device.name);
            self.devices.insert(name, (found.container_edits.clone(), device.container_edits));
        }
    }

    pub(super) fn has_kind(&self, kind: &str) -> bool {
        !self.names(kind).is_empty()
    }

    /// Full names of all devices of a kind.
    pub(super) fn names(&self, kind: &str) -> Vec<String> {
        self.devices.keys().filter(|name| name.strip_prefix(kind).is_some_and(|rest| rest.starts_with('='))).cloned().collect()
    }

    /// Gives the named devices to a container.
    ///
    /// # Errors
    /// `Invalid` for names that no file describes; `NotSupportedYet` for a device that needs hooks.
    pub(super) fn give(&self, names: &[String], spec: &mut ContainerSpec) -> Result<()> {
        let unknown: Vec<&str> = names.iter().filter(|name| !self.devices.contains_key(*name)).map(String::as_str).collect();
        if !unknown.is_empty() {
            return Err(Error::InvalidWithHint {
                reason: format!("CDI device injection failed: unresolvable CDI devices {}", unknown.join(", ")),
                hint: match self.devices.keys().next() {
                    Some(known) => format!("this host describes {} devices, {known} among them", self.devices.len()),
                    None => "no CDI specification is in /etc/cdi or /var/run/cdi".to_owned(),
                },
            });
        }
        let mut applied: Vec<*const Edits> = Vec::new();
        for (shared, own) in names.iter().filter_map(|name| self.devices.get(name)) {
            for edits in [shared, own] {
                if !applied.contains(&std::ptr::from_ref(edits)) {
                    applied.push(edits);
                    apply(edits, spec)?;
                }
            }
        }
        Ok(())
    }
}

/// What a file describes; nothing when its name says that it is no specification.
fn specification(path: &Path, ending: &str) -> std::result::Result<Option<Specification>, String> {
    if !matches!(ending, "json" | "yaml") {
        return Ok(None);
    }
    let told = |error: std::io::Error| error.to_string();
    let found = std::fs::metadata(path).map_err(told)?;
    if !found.is_file() || found.len() > LONGEST {
        return Err(format!("it is no file of at most {LONGEST} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(told)?;
    let value = if ending == "json" { serde_json::from_str(&text).map_err(|error| error.to_string())? } else { yaml::read(&text)? };
    serde_json::from_value(without_nulls(value)).map(Some).map_err(|error| error.to_string())
}

/// In Go, whose form this is, null and nothing are the same.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, without_nulls(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn apply(edits: &Edits, spec: &mut ContainerSpec) -> Result<()> {
    for (there, what) in
        [(!edits.hooks.is_empty(), "hooks"), (edits.intel_rdt.is_some(), "intelRdt"), (!edits.net_devices.is_empty(), "netDevices")]
    {
        if there {
            return Err(Error::NotSupportedYet { what: format!("a CDI device with {what}") });
        }
    }
    for entry in &edits.env {
        let name = entry.split('=').next().unwrap_or_default();
        spec.process.env.retain(|known| known.split('=').next() != Some(name));
        spec.process.env.push(entry.clone());
    }
    for node in &edits.device_nodes {
        spec.devices.push(Device {
            host_path: if node.host_path.is_empty() { &node.path } else { &node.host_path }.into(),
            container_path: node.path.clone(),
            permissions: if node.permissions.is_empty() { "rwm".to_owned() } else { node.permissions.clone() },
        });
    }
    for bind in &edits.mounts {
        // One file's mounts come with each of its devices.
        let there = spec.mounts.iter().any(|mount| matches!(mount, Mount::Bind { target, .. } if *target == bind.container_path));
        if !there {
            spec.mounts.push(Mount::Bind {
                source: BindSource::Path(bind.host_path.clone()),
                target: bind.container_path.clone(),
                access: if bind.options.iter().any(|option| option == "ro") { Access::ReadOnly } else { Access::Full },
                propagation: Propagation::Private,
                propagates_below: true,
                recursive: true,
                ids: None,
            });
        }
    }
    let groups = &mut spec.process.user.additional;
    groups.extend(edits.additional_gids.iter().filter(|gid| **gid != 0));
    Ok(())
}
