//! The engines side by side: one trait that says in commands what every engine can be asked, and the roster of those that are here.

mod buildah;
mod docker;
mod podman;
mod shipway;
mod skopeo;

use std::path::Path;

use super::invocation::Invocation;
use super::options::{Options, is_chosen};
use super::stage::Stage;
use super::workloads::Inputs;

/// The column that the others are compared with.
pub(super) const OURS: &str = shipway::NAME;

/// Sockets must answer within so many tries, 50 ms apart.
const TRIES: u32 = 600;

/// What to build, and whether steps done before may be used.
#[derive(Clone, Copy, Debug)]
pub(super) struct BuildRequest<'a> {
    pub(super) context: &'a Path,
    pub(super) image: &'a str,
    pub(super) no_cache: bool,
}

/// What an engine is measured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Everything,
    Builds,
    /// Pulls and pushes.
    Shipping,
}

/// One column of the table: an engine that is running, asked through its own command line.
///
/// `None` means that the engine has no such command. Containers and build steps have no network but in the cases about networks, because not every
/// engine here has one.
pub(super) trait Engine {
    /// The column's head.
    fn name(&self) -> &'static str;
    /// The version as the engine prints it, in one line.
    fn version(&self) -> Invocation;
    /// Where its file system is mounted.
    fn data_root(&self) -> &Path;
    /// The daemon's process, when there is one.
    fn daemon(&self) -> Option<u32>;
    /// Makes an image from the tar of a root file system.
    fn import(&self, tar: &Path, image: &str) -> Vec<Invocation>;
    fn build(&self, request: BuildRequest<'_>) -> Option<Invocation>;
    /// Prints the id of an image.
    fn image_id(&self, image: &str) -> Option<Invocation>;
    /// Cases about anything else leave this column empty.
    fn scope(&self) -> Scope {
        Scope::Everything
    }
    /// Runs a command in a new container of an image and removes the container.
    fn run(&self, image: &str, command: &[&str]) -> Option<Invocation>;
    fn start_container(&self, image: &str, name: &str, command: &[&str]) -> Option<Invocation>;
    fn exec(&self, container: &str, command: &[&str]) -> Option<Invocation>;
    fn remove_container(&self, container: &str) -> Option<Invocation>;
    /// The engine's command line, where it has bridges and published ports here.
    fn networked_client(&self) -> Option<Invocation> {
        None
    }
    /// Pulls an image from a registry without TLS.
    fn pull(&self, _image: &str) -> Option<Invocation> {
        None
    }
    /// Pushes it to one.
    fn push(&self, _image: &str) -> Option<Invocation> {
        None
    }
    fn tag(&self, _image: &str, _name: &str) -> Option<Invocation> {
        None
    }
    /// Removes an image and everything a builder keeps for later, so that the disk is as before.
    fn forget(&self, image: &str) -> Vec<Invocation>;
}

/// The engines that run, and why others do not.
pub(super) struct Roster {
    pub(super) present: Vec<Box<dyn Engine>>,
    /// Name and version line of each engine that is present.
    pub(super) versions: Vec<(&'static str, String)>,
    pub(super) absent: Vec<(&'static str, String)>,
}

impl Roster {
    /// Starts every chosen engine; one that is missing or does not start gets a reason instead of a column of numbers.
    pub(super) fn gather(options: &Options, stage: &mut Stage) -> Self {
        let mut roster = Self { present: Vec::new(), versions: Vec::new(), absent: Vec::new() };
        if is_chosen(&options.engines, shipway::NAME) {
            roster.admit(stage, shipway::NAME, |stage| {
                shipway::start(options, stage).map(|engine| vec![Box::new(engine) as Box<dyn Engine>])
            });
        }
        let builders: Vec<docker::Builder> = [docker::Builder::Classic, docker::Builder::BuildKit]
            .into_iter()
            .filter(|builder| is_chosen(&options.engines, builder.name()))
            .collect();
        if !builders.is_empty() {
            roster.admit(stage, "docker", |stage| docker::start(options, stage, &builders));
        }
        if is_chosen(&options.engines, podman::NAME) {
            roster.admit(stage, podman::NAME, |stage| podman::start(stage).map(|engine| vec![Box::new(engine) as Box<dyn Engine>]));
        }
        if is_chosen(&options.engines, buildah::NAME) {
            roster.admit(stage, buildah::NAME, |stage| buildah::start(stage).map(|engine| vec![Box::new(engine) as Box<dyn Engine>]));
        }
        if is_chosen(&options.engines, skopeo::NAME) {
            roster.admit(stage, skopeo::NAME, |stage| skopeo::start(stage).map(|engine| vec![Box::new(engine) as Box<dyn Engine>]));
        }
        roster
    }

    /// Gives every engine the base images; one that cannot take them is sent away.
    pub(super) fn import(&mut self, inputs: &Inputs, stage: &Stage) {
        let absent = &mut self.absent;
        self.present.retain(|engine| {
            if engine.scope() == Scope::Shipping {
                return true;
            }
            let mut calls = inputs.bases.iter().flat_map(|(image, tar)| engine.import(tar, image));
            match calls.try_for_each(|call| call.timed(&stage.log()).map(drop)) {
                Ok(()) => true,
                Err(reason) => {
                    absent.push((engine.name(), reason));
                    false
                }
            }
        });
    }

    fn admit(&mut self, stage: &mut Stage, name: &'static str, start: impl FnOnce(&mut Stage) -> Result<Vec<Box<dyn Engine>>, String>) {
        let started = start(stage).and_then(|engines| {
            let versions = engines.iter().map(|engine| Ok((engine.name(), engine.version().output(&stage.log())?)));
            Ok((versions.collect::<Result<Vec<_>, String>>()?, engines))
        });
        match started {
            Ok((versions, engines)) => {
                self.versions.extend(versions);
                self.present.extend(engines);
            }
            Err(reason) => {
                println!("{name}: left out: {reason}");
                self.absent.push((name, reason));
            }
        }
    }
}

/// Refuses a program that is not there, in words for the table.
fn installed(program: &Path) -> Result<(), String> {
    if program.is_file() { Ok(()) } else { Err(format!("{} is not installed", program.display())) }
}

/// Waits until a daemon answers.
fn wait_until_answered(stage: &Stage, daemon: &str, question: &Invocation) -> Result<(), String> {
    let mut answer = Ok(());
    for _ in 0..TRIES {
        answer = question.timed(&stage.log()).map(drop);
        if answer.is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    answer.map_err(|reason| format!("{daemon} does not answer: {reason}; it said: {}", stage.last_words(daemon)))
}
