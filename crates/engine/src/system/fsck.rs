//! `system fsck`: is what is on disk, and what is in the kernel, what the records say?
//!
//! The store checks itself (`shipway_store`); this adds what only the engine knows: containers beside their writable layers, folders, cgroups,
//! processes and mounts (security.md section 8), and looks through the registry's folder. What must stay true: things come and go behind the answers of other requests, so only what stays
//! through several looks is a finding; a container that a verb is working on is never looked at, and never repaired under its hands.

mod kernel;

use std::path::Path;
use std::time::Duration;

use shipway_registry::server::{EngineFolder, FolderProblem, StorageError};
use shipway_store::FsckOptions;

use crate::{Engine, Result, blocking};

use kernel::{Mend, Problem};

/// How often, and how far apart, something is looked at before it is called wrong.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What was checked and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub layers: usize,
    pub blobs: usize,
    pub images: usize,
    pub containers: usize,
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing, in one word: `layer`, `cgroup`.
    pub kind: String,
    /// What is wrong, in words.
    pub what: String,
    /// Which thing: an id, a digest, a name, a path.
    pub place: String,
    /// True when it was repaired.
    pub fixed: bool,
}

impl Report {
    /// True when nothing is wrong, or all of it was repaired.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.fixed)
    }
}

impl Engine {
    /// Checks every invariant of the store and of what runs, and mends what can be mended when asked.
    ///
    /// # Errors
    /// Only when checking itself is impossible; what is wrong is in the report.
    ///
    /// # Cost
    /// `strict` reads and hashes every stored byte. Half a second more when something seems wrong in the kernel.
    pub async fn fsck(&self, options: FsckOptions) -> Result<Report> {
        // The kernel first: a mount in the way would make the store believe that bytes are gone.
        let mut findings = Vec::new();
        for problem in self.lasting_problems().await? {
            let fixed = options.repair && self.mend(&problem).await;
            findings.push(Finding { kind: problem.kind.to_owned(), what: problem.what, place: problem.place, fixed });
        }
        let store = self.inner.store.clone();
        let stored = blocking::files(move || Ok(store.fsck(options)?)).await?;
        for finding in stored.findings {
            let kind = format!("{:?}", finding.kind).to_ascii_lowercase();
            // The same thing may have been named already.
            if !findings.iter().any(|known: &Finding| known.kind == kind && known.place == finding.place) {
                findings.push(Finding { kind, what: finding.what, place: finding.place, fixed: finding.fixed });
            }
        }
        let store = self.inner.store.clone();
        let registry = blocking::files(move || Ok(registry_problems(store.root(), options))).await?;
        findings.extend(registry);
        let containers = self.inner.containers.all().len();
        Ok(Report { layers: stored.layers, blobs: stored.blobs, images: stored.images, containers, findings })
    }

    /// What is wrong at every look.
    async fn lasting_problems(&self) -> Result<Vec<Problem>> {
        let mut lasting = self.problems().await?;
        for _ in 1..LOOKS {
            if lasting.is_empty() {
                break;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
            let again = self.problems().await?;
            lasting.retain(|problem| again.iter().any(|other| (other.kind, &other.place) == (problem.kind, &problem.place)));
        }
        Ok(lasting)
    }

    async fn problems(&self) -> Result<Vec<Problem>> {
        let engine = self.clone();
        blocking::files(move || Ok(kernel::look(&engine))).await
    }

    /// True when it is as it should be now.
    async fn mend(&self, problem: &Problem) -> bool {
        let mended = match &problem.mend {
            Mend::Nothing => return false,
            Mend::Container(id) => return self.look_for_its_end(*id).await,
            Mend::Layer(id) => {
                let (store, id) = (self.inner.store.clone(), id.clone());
                blocking::files(move || Ok(store.remove_active(&id).map(drop)?)).await
            }
            Mend::Folder(path) => {
                let path = path.clone();
                blocking::files(move || std::fs::remove_dir_all(&path).map_err(crate::Error::io(format!("remove {}", path.display()))))
                    .await
            }
            Mend::Group(name) => {
                let (engine, name) = (self.clone(), name.clone());
                blocking::files(move || engine.inner.runtime.end_group(&name).map_err(crate::Error::sys(format!("remove cgroup {name}"))))
                    .await
            }
            Mend::Mount(path) => {
                let path = path.clone();
                blocking::files(move || shipway_sys::mount::detach(&path).map_err(crate::Error::sys(format!("unmount {}", path.display()))))
                    .await
            }
        };
        if let Err(error) = &mended {
            tracing::warn!(place = problem.place, %error, "cannot repair what fsck found");
        }
        mended.is_ok()
    }

    /// A container said to run whose process is gone: its monitor, or what it left, tells how it ended.
    async fn look_for_its_end(&self, id: shipway_model::ContainerId) -> bool {
        let Some(container) = self.inner.containers.all().into_iter().find(|container| container.id == id) else { return true };
        let Ok(_turn) = container.turn.try_lock() else { return false };
        self.adopt(&container).await;
        true
    }
}

/// What is wrong in the folder of the registry that shares the store's blobs. Mended, it lacks what was damaged, and whoever pushes that again puts it right.
fn registry_problems(root: &Path, options: FsckOptions) -> Vec<Finding> {
    let finding = |place, what, fixed| Finding { kind: "registry".to_owned(), what, place, fixed };
    let look = || -> std::result::Result<Vec<Finding>, StorageError> {
        let Some(folder) = EngineFolder::of(root)? else { return Ok(Vec::new()) };
        let mended = |problem: &FolderProblem| {
            let mended = folder.repair(problem);
            if let Err(error) = &mended {
                tracing::warn!(place = problem.place, %error, "cannot repair what fsck found");
            }
            mended.is_ok()
        };
        let problems = folder.check(options.strict)?.into_iter();
        Ok(problems.map(|problem| finding(problem.place.clone(), problem.what.clone(), options.repair && mended(&problem))).collect())
    };
    look().unwrap_or_else(|error| vec![finding("registry".to_owned(), error.to_string(), false)])
}
