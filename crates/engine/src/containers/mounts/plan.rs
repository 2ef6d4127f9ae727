//! At creation: which volumes, images and folders the mounts mean, in dockerd's order: those of other containers, those asked for, those of the image.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use shipway_model::mount::clean_target;
use shipway_model::{Classified, LayerId, MountForm, MountKind, MountSpec, VolumeName};
use shipway_store::{AtTarget, Seed, Tree, VolumeWish};

use super::ContainerMount;
use crate::containers::spec::{CreateSpec, HostOptions};
use crate::containers::{ContainerRecord, ResolvedProcess};
use crate::volumes::ANONYMOUS;
use crate::{Engine, Error, Result};

/// The mounts of a container to be, and the volumes that must exist before it does.
pub(in crate::containers) struct Plan {
    /// The outermost first: a mount below another one comes after it.
    pub(in crate::containers) mounts: Vec<ContainerMount>,
    pub(in crate::containers) wishes: Vec<VolumeWish>,
}

impl Plan {
    /// The volumes it speaks of.
    pub(in crate::containers) fn volume_names(&self) -> BTreeSet<VolumeName> {
        self.wishes.iter().map(|wish| wish.name.clone()).collect()
    }
}

impl Engine {
    /// Works the mounts out. Nothing is made.
    ///
    /// # Errors
    /// `Invalid` in dockerd's words for a mount that cannot be; `NoSuchContainer` and `NoSuchImage` for what is named and not there.
    pub(in crate::containers) fn plan_mounts(&self, spec: &CreateSpec, process: &ResolvedProcess, layers: &[LayerId]) -> Result<Plan> {
        let mut planner = Planner { engine: self, host: &spec.host, layers, tree: None, mounts: Vec::new(), wishes: Vec::new() };
        for text in &spec.host.volumes_from {
            planner.of_container(text)?;
        }
        for mount in &spec.host.mounts {
            planner.asked(mount)?;
        }
        for target in &process.volumes {
            planner.of_image(target)?;
        }
        let mut mounts = planner.mounts;
        mounts.sort_by_key(|mount| mount.spec.target.split('/').count());
        Ok(Plan { mounts, wishes: planner.wishes })
    }
}

struct Planner<'a> {
    engine: &'a Engine,
    host: &'a HostOptions,
    layers: &'a [LayerId],
    /// The image, once somebody asked.
    tree: Option<Tree>,
    mounts: Vec<ContainerMount>,
    wishes: Vec<VolumeWish>,
}

impl Planner<'_> {
    /// `--volumes-from CONTAINER[:ro|rw]`.
    fn of_container(&mut self, text: &str) -> Result<()> {
        let (name, mode) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(Error::invalid("volumes-from specification cannot be an empty string"));
        }
        let mut read_only = false;
        for word in mode.split(',').filter(|word| !word.is_empty()) {
            match word {
                "ro" => read_only = true,
                "rw" | "z" | "Z" => {}
                _ => {
                    let hint = "of another container's mounts only ro or rw can be chosen".to_owned();
                    return Err(Error::InvalidWithHint { reason: format!("invalid mode: {mode}"), hint });
                }
            }
        }
        // Not as a missing thing: clients take that for a missing image.
        let other = self.engine.container(name).map_err(|error| asked_wrongly(&error))?;
        let other: ContainerRecord = other.record();
        for mount in other.mounts {
            // Memory of another container cannot be shared.
            if mount.spec.kind == MountKind::Tmpfs {
                continue;
            }
            let mut mount = mount;
            mount.spec.read_only |= read_only;
            mount.spec.volume_no_copy = true;
            self.wish(&mount, None)?;
            self.put(mount);
        }
        Ok(())
    }

    /// `-v`, `--mount` and `--tmpfs`.
    fn asked(&mut self, spec: &MountSpec) -> Result<()> {
        let mut mount = ContainerMount { spec: spec.clone(), volume: None, anonymous: false, image: None };
        match spec.kind {
            MountKind::Bind => check_bind(spec)?,
            MountKind::Tmpfs => {}
            MountKind::Image => {
                check_subpath(spec.image_subpath.as_deref(), "image")?;
                let name = spec.source.as_deref().unwrap_or_default();
                let id = self.engine.resolve_image(name).map_err(|error| asked_wrongly(&error))?;
                let image = self.engine.inner.store.images().get(&id);
                let image = image.ok_or_else(|| Error::NoSuchImage { name: name.to_owned(), nearest: Vec::new() })?;
                mount.image = Some((image.id, image.layers.clone()));
            }
            MountKind::Volume => {
                check_subpath(spec.volume_subpath.as_deref(), "volume")?;
                mount.anonymous = spec.source.is_none();
                mount.volume = Some(match &spec.source {
                    Some(name) => crate::volumes::parse_name(name)?,
                    None => crate::volumes::made_up_name(),
                });
                let seed = match self.at_target(&spec.target, spec.volume_no_copy || spec.volume_subpath.is_some())? {
                    AtTarget::Folder(seed) => Some(seed),
                    // The start says that a folder cannot cover a file.
                    AtTarget::Nothing | AtTarget::Other => None,
                };
                self.wish(&mount, seed)?;
            }
        }
        self.put(mount);
        Ok(())
    }

    /// `VOLUME` of the image, and `-v /path`. What is mounted there already is enough.
    fn of_image(&mut self, target: &str) -> Result<()> {
        let target = clean_target(target).map_err(|error| Error::invalid(error.to_string()))?;
        if self.mounts.iter().any(|mount| mount.spec.target == target) {
            return Ok(());
        }
        let seed = match self.at_target(&target, false)? {
            AtTarget::Folder(seed) => Some(seed),
            AtTarget::Nothing => None,
            AtTarget::Other => {
                return Err(Error::InvalidWithHint {
                    reason: format!("cannot mount volume over existing file, file exists {target}"),
                    hint: format!("to put a file of the host there: -v /path/on/host:{target}"),
                });
            }
        };
        let spec = MountSpec { form: MountForm::Short, ..MountSpec::new(MountKind::Volume, None, target) };
        let mount = ContainerMount { spec, volume: Some(crate::volumes::made_up_name()), anonymous: true, image: None };
        self.wish(&mount, seed)?;
        self.put(mount);
        Ok(())
    }

    /// Later mounts take the place of those of other containers.
    fn put(&mut self, mount: ContainerMount) {
        self.mounts.retain(|known| known.spec.target != mount.spec.target);
        self.mounts.push(mount);
    }

    /// What the image has at a mount point.
    fn at_target(&mut self, target: &str, skip: bool) -> Result<AtTarget> {
        if skip {
            return Ok(AtTarget::Nothing);
        }
        if self.tree.is_none() {
            self.tree = Some(self.engine.inner.store.tree(self.layers)?);
        }
        match &self.tree {
            Some(tree) => Ok(Seed::at(tree, target)?),
            None => Ok(AtTarget::Nothing),
        }
    }

    /// Notes that the volume of `mount` must exist. The first mount of a volume decides what fills it.
    fn wish(&mut self, mount: &ContainerMount, seed: Option<Seed>) -> Result<()> {
        let Some(name) = &mount.volume else { return Ok(()) };
        if let Some(known) = self.wishes.iter_mut().find(|wish| wish.name == *name) {
            known.seed = known.seed.take().or(seed);
            return Ok(());
        }
        let spec = &mount.spec;
        let mut labels = spec.volume_labels.clone();
        if mount.anonymous {
            labels.entry(ANONYMOUS.to_owned()).or_default();
        }
        self.wishes.push(VolumeWish {
            name: name.clone(),
            driver: spec.volume_driver.clone().unwrap_or_else(|| self.host.volume_driver.clone()),
            options: spec.volume_driver_options.clone(),
            labels,
            seed,
        });
        Ok(())
    }
}

/// The same words as a mistake of the request.
fn asked_wrongly(error: &Error) -> Error {
    match error.hint() {
        Some(hint) => Error::InvalidWithHint { reason: error.to_string(), hint },
        None => Error::invalid(error.to_string()),
    }
}

/// A bind's source must be absolute, and there already unless it may be made.
fn check_bind(spec: &MountSpec) -> Result<()> {
    let source = spec.source.as_deref().unwrap_or_default();
    if !source.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{source}' mount path must be absolute")));
    }
    if !spec.create_source && !Path::new(source).exists() {
        return Err(Error::InvalidWithHint {
            reason: format!("invalid mount config for type \"bind\": bind source path does not exist: {source}"),
            hint: format!("create it first: mkdir -p {source}"),
        });
    }
    Ok(())
}

/// A subpath stays inside by its text; that it also does by its links is the affair of the walk at the start.
fn check_subpath(subpath: Option<&str>, kind: &str) -> Result<()> {
    let Some(subpath) = subpath else { return Ok(()) };
    let inside = !subpath.is_empty()
        && !subpath.contains('\0')
        && Path::new(subpath).components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    if inside {
        return Ok(());
    }
    Err(Error::InvalidWithHint {
        reason: format!("invalid mount config for type \"{kind}\": subpath must be a relative path within the {kind}"),
        hint: format!("write it without a slash in front and without \"..\": {}", subpath.trim_start_matches(['/', '.'])),
    })
}

/// The wishes' refusal as the request's.
pub(in crate::containers) fn refused(error: shipway_store::Error, names: &BTreeSet<VolumeName>) -> Error {
    match names.first() {
        Some(name)
            if matches!(
                error.kind(),
                shipway_model::ErrorKind::NotFound | shipway_model::ErrorKind::Invalid | shipway_model::ErrorKind::Conflict
            ) =>
        {
            crate::volumes::refused(name, error)
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subpath_stays_inside() {
        for good in ["a", "a/b", "./a"] {
            assert!(check_subpath(Some(good), "volume").is_ok(), "{good}");
        }
        for bad in ["", "/a", "..", "a/../../b", "a\0b"] {
            let error = check_subpath(Some(bad), "volume").unwrap_err();
            assert!(error.to_string().ends_with("subpath must be a relative path within the volume"), "{bad}");
        }
    }
}
