//! `-v`, `--mount` and `--tmpfs`: checked by the model, sent as the API wants them.

use super::*;
use shipway_model::mount::{IdMap, MountKind, Propagation, ReadOnlyReach};

/// Binds, and the anonymous volumes, of `-v`.
pub(super) fn volumes(given: &[String]) -> Outcome<(Vec<String>, Value)> {
    let mut binds = Vec::new();
    let mut anonymous = Map::new();
    for text in given {
        let absolute = with_absolute_source(text);
        let spec = parse_volume_flag(&absolute)
            .map_err(|error| Failure { hints: error.hint().into_iter().collect(), ..Failure::usage(error.to_string()) })?;
        match (&spec.source, spec.idmap) {
            (None, _) => drop(anonymous.insert(spec.target, json!({}))),
            (Some(source), Some(IdMap::SourceOwner)) if caller().is_some() => {
                let mode: Vec<String> = spec
                    .mode
                    .split(',')
                    .map(|word| if word == "idmap" { whose(IdMap::SourceOwner).to_string() } else { word.to_owned() })
                    .collect();
                binds.push(format!("{source}:{}:{}", spec.target, mode.join(",")));
            }
            (Some(_), _) => binds.push(absolute),
        }
    }
    Ok((binds, Value::Object(anonymous)))
}

/// Who types this, unless it is root: root has no files of its own to show, so the owner of the source is meant.
fn caller() -> Option<IdMap> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    (uid != 0).then_some(IdMap::Ids { uid, gid })
}

/// A bare `idmap` means the files of who types it.
fn whose(wanted: IdMap) -> IdMap {
    if wanted == IdMap::SourceOwner { caller().unwrap_or(wanted) } else { wanted }
}

/// `./src:/app` means the folder here, wherever the daemon lives.
fn with_absolute_source(text: &str) -> String {
    if !text.starts_with('.') && !text.starts_with('~') {
        return text.to_owned();
    }
    let Some((source, rest)) = text.split_once(':') else { return text.to_owned() };
    match std::path::absolute(source) {
        Ok(path) => format!("{}:{rest}", clean(&path)),
        Err(_) => text.to_owned(),
    }
}

/// The path without `.` and `..`, by text, as Go's `filepath.Abs` does it.
fn clean(path: &std::path::Path) -> String {
    use std::path::Component;
    let mut out = std::path::PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out.to_string_lossy().into_owned()
}

/// `--tmpfs` as an object of target and options.
pub(super) fn tmpfs(given: &[String]) -> Outcome<Value> {
    let mut object = Map::new();
    for text in given {
        parse_tmpfs_flag(text).map_err(|error| Failure::argument(text, "--tmpfs", &error))?;
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        object.insert(target.to_owned(), Value::from(options));
    }
    Ok(Value::Object(object))
}

/// `--mount` as the API's Mount object.
pub(super) fn mount_json(text: &str) -> Outcome<Value> {
    let spec = parse_mount_flag(text).map_err(|error| Failure::argument(text, "--mount", &error))?;
    let mut mount = Map::new();
    mount.insert("Type".to_owned(), Value::from(spec.kind.name()));
    if let Some(source) = &spec.source {
        let source = if spec.kind == MountKind::Bind && source.starts_with('.') {
            with_absolute_source(&format!("{source}:")).trim_end_matches(':').to_owned()
        } else {
            source.clone()
        };
        mount.insert("Source".to_owned(), Value::from(source));
    }
    mount.insert("Target".to_owned(), Value::from(spec.target.as_str()));
    if spec.read_only {
        mount.insert("ReadOnly".to_owned(), Value::from(true));
    }
    match spec.kind {
        MountKind::Bind => {
            let mut options = Map::new();
            if spec.propagation != Propagation::default() {
                options.insert("Propagation".to_owned(), Value::from(spec.propagation.to_string()));
            }
            if !spec.recursive {
                options.insert("NonRecursive".to_owned(), Value::from(true));
            }
            match spec.read_only_reach {
                ReadOnlyReach::TopOnly => drop(options.insert("ReadOnlyNonRecursive".to_owned(), Value::from(true))),
                ReadOnlyReach::Everything => drop(options.insert("ReadOnlyForceRecursive".to_owned(), Value::from(true))),
                ReadOnlyReach::BestEffort => {}
            }
            if let Some(wanted) = spec.idmap {
                options.insert("IdMap".to_owned(), Value::from(whose(wanted).to_string()));
            }
            if spec.create_source {
                options.insert("CreateMountpoint".to_owned(), Value::from(true));
            }
            if !options.is_empty() {
                mount.insert("BindOptions".to_owned(), Value::Object(options));
            }
        }
        MountKind::Volume => {
            let mut options = Map::new();
            if spec.volume_no_copy {
                options.insert("NoCopy".to_owned(), Value::from(true));
            }
            if !spec.volume_labels.is_empty() {
                options.insert("Labels".to_owned(), json!(spec.volume_labels));
            }
            if let Some(subpath) = &spec.volume_subpath {
                options.insert("Subpath".to_owned(), Value::from(subpath.as_str()));
            }
            if spec.volume_driver.is_some() || !spec.volume_driver_options.is_empty() {
                options.insert("DriverConfig".to_owned(), json!({"Name": spec.volume_driver, "Options": spec.volume_driver_options}));
            }
            if !options.is_empty() {
                mount.insert("VolumeOptions".to_owned(), Value::Object(options));
            }
        }
        MountKind::Tmpfs => {
            let mut options = Map::new();
            if let Some(size) = spec.tmpfs_size {
                options.insert("SizeBytes".to_owned(), Value::from(size));
            }
            if let Some(mode) = spec.tmpfs_mode {
                options.insert("Mode".to_owned(), Value::from(mode));
            }
            if !options.is_empty() {
                mount.insert("TmpfsOptions".to_owned(), Value::Object(options));
            }
        }
        MountKind::Image => {
            if let Some(subpath) = &spec.image_subpath {
                mount.insert("ImageOptions".to_owned(), json!({"Subpath": subpath}));
            }
        }
    }
    Ok(Value::Object(mount))
}
