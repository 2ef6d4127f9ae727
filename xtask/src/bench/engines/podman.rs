//! Podman, which has no daemon: storage, state and temporary files are moved by flags and environment.
//!
//! It uses runc, because crun refuses a mixed version 1 and 2 control group tree, and low limits, because raising them needs CAP_SYS_RESOURCE.

use std::path::{Path, PathBuf};

use super::{BuildRequest, Engine, installed};
use crate::bench::invocation::Invocation;
use crate::bench::stage::Stage;

pub(super) const NAME: &str = "podman";
const PROGRAM: &str = "/usr/bin/podman";
pub(super) const LIMITS: [&str; 4] = ["--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1024:4096"];

/// What podman and buildah have in common: a store of their own on a file system of its own.
pub(super) struct Containers {
    program: PathBuf,
    data_root: PathBuf,
    run: PathBuf,
    home: PathBuf,
    /// Where containers go.
    control_group: String,
    /// Where build steps go: they take the group itself, and one with children refuses the rules about devices.
    pub(super) build_group: String,
}

impl Containers {
    pub(super) fn prepare(stage: &mut Stage, name: &str, program: &str) -> Result<Self, String> {
        installed(Path::new(program))?;
        let data_root = stage.file_system(name)?;
        let temporary = data_root.join("tmp");
        std::fs::create_dir(&temporary).map_err(|error| format!("cannot create {}: {error}", temporary.display()))?;
        Ok(Self {
            program: program.into(),
            data_root,
            run: stage.subfolder(&format!("{name}-run"))?,
            home: stage.subfolder(&format!("{name}-home"))?,
            control_group: format!("/{}", stage.control_group),
            build_group: format!("/{}/{name}-build", stage.control_group),
        })
    }

    pub(super) fn client(&self) -> Invocation {
        Invocation::new(&self.program)
            .arg("--root")
            .path(&self.data_root.join("storage"))
            .arg("--runroot")
            .path(&self.run)
            .args(["--storage-driver", "overlay"])
            .env("HOME", &self.home)
            .env("TMPDIR", self.data_root.join("tmp"))
    }

    pub(super) fn data_root(&self) -> &Path {
        &self.data_root
    }

    pub(super) fn run_root(&self) -> &Path {
        &self.run
    }
}

pub(super) struct Podman(Containers);

pub(super) fn start(stage: &mut Stage) -> Result<Podman, String> {
    Containers::prepare(stage, NAME, PROGRAM).map(Podman)
}

impl Podman {
    fn client(&self) -> Invocation {
        let call = self.0.client().args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        call.arg("--tmpdir").path(&self.0.run_root().join("libpod"))
    }

    fn run_flags(&self) -> Vec<&str> {
        let mut flags = vec!["--network", "none", "--log-driver", "k8s-file", "--cgroup-parent", &self.0.control_group];
        flags.extend(LIMITS);
        flags
    }
}

impl Engine for Podman {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Invocation {
        self.client().args(["version", "--format", "{{.Client.Version}}"])
    }

    fn data_root(&self) -> &Path {
        self.0.data_root()
    }

    fn daemon(&self) -> Option<u32> {
        None
    }

    fn import(&self, tar: &Path, image: &str) -> Vec<Invocation> {
        vec![self.client().arg("import").path(tar).arg(image)]
    }

    fn build(&self, request: BuildRequest<'_>) -> Option<Invocation> {
        let call = self.client().args(["build", "--network", "none", "--cgroup-parent", &self.0.build_group]).args(LIMITS);
        let call = call.args(["--tag", request.image]);
        let call = if request.no_cache { call.arg("--no-cache") } else { call };
        Some(call.path(request.context))
    }

    fn image_id(&self, image: &str) -> Option<Invocation> {
        Some(self.client().args(["image", "inspect", "--format", "{{.Id}}", image]))
    }

    fn run(&self, image: &str, command: &[&str]) -> Option<Invocation> {
        Some(self.client().args(["run", "--rm"]).args(self.run_flags()).arg(image).args(command))
    }

    fn start_container(&self, image: &str, name: &str, command: &[&str]) -> Option<Invocation> {
        Some(self.client().args(["run", "--detach", "--name", name]).args(self.run_flags()).arg(image).args(command))
    }

    fn exec(&self, container: &str, command: &[&str]) -> Option<Invocation> {
        Some(self.client().args(["exec", container]).args(command))
    }

    fn remove_container(&self, container: &str) -> Option<Invocation> {
        Some(self.client().args(["rm", "--force", "--time", "0", container]))
    }

    fn pull(&self, image: &str) -> Option<Invocation> {
        Some(self.client().args(["pull", "--tls-verify=false", image]))
    }

    fn push(&self, image: &str) -> Option<Invocation> {
        Some(self.client().args(["push", "--tls-verify=false", image]))
    }

    fn tag(&self, image: &str, name: &str) -> Option<Invocation> {
        Some(self.client().args(["tag", image, name]))
    }

    fn forget(&self, image: &str) -> Vec<Invocation> {
        vec![self.client().args(["image", "rm", "--force", image]), self.client().args(["image", "prune", "--force"])]
    }
}
