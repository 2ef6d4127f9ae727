//! Docker: one private dockerd, whose two builders are two columns.
//!
//! In a network namespace of its own, so that its bridge and firewall rules touch nothing of the machine's network.

use std::path::{Path, PathBuf};

use super::{BuildRequest, Engine, Scope, installed, wait_until_answered};
use crate::bench::invocation::Invocation;
use crate::bench::options::Options;
use crate::bench::stage::Stage;
use crate::bench::traffic;

/// Which of dockerd's builders answers `docker build`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builder {
    Classic,
    BuildKit,
}

impl Builder {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Classic => "docker",
            Self::BuildKit => "docker BuildKit",
        }
    }
}

struct Docker {
    client: PathBuf,
    builder: Builder,
    socket: String,
    /// Home and configuration folder of the client, empty.
    home: PathBuf,
    data_root: PathBuf,
    daemon: u32,
}

/// Starts the daemon and gives one engine per builder.
pub(super) fn start(options: &Options, stage: &mut Stage, builders: &[Builder]) -> Result<Vec<Box<dyn Engine>>, String> {
    installed(&options.docker)?;
    installed(&options.dockerd)?;
    let data_root = stage.file_system("docker")?;
    let run = stage.subfolder("docker-run")?;
    let home = stage.subfolder("docker-home")?;
    let config = home.join("daemon.json");
    std::fs::write(&config, "{}").map_err(|error| format!("cannot write {}: {error}", config.display()))?;
    let socket = format!("unix://{}", run.join("docker.sock").display());
    let invocation = Invocation::new(&options.dockerd)
        .arg("--config-file")
        .path(&config)
        .arg("--data-root")
        .path(&data_root)
        .arg("--exec-root")
        .path(&run.join("exec"))
        .arg("--pidfile")
        .path(&run.join("docker.pid"))
        .args(["--host", &socket, "--storage-driver", "overlay2"])
        .arg("--cgroup-parent")
        .arg(format!("/{}", stage.control_group))
        .env("HOME", &home)
        .env("TMPDIR", &data_root);
    let daemon = stage.start_daemon("dockerd", &traffic::in_own_network(&invocation))?;
    let engine = |builder| Docker {
        client: options.docker.clone(),
        builder,
        socket: socket.clone(),
        home: home.clone(),
        data_root: data_root.clone(),
        daemon,
    };
    wait_until_answered(stage, "dockerd", &engine(Builder::Classic).version())?;
    Ok(builders.iter().map(|builder| Box::new(engine(*builder)) as Box<dyn Engine>).collect())
}

impl Docker {
    fn client(&self) -> Invocation {
        let buildkit = if self.builder == Builder::BuildKit { "1" } else { "0" };
        Invocation::new(&self.client).args(["--host", &self.socket]).env("HOME", &self.home).env("DOCKER_BUILDKIT", buildkit)
    }
}

impl Engine for Docker {
    fn name(&self) -> &'static str {
        self.builder.name()
    }

    fn version(&self) -> Invocation {
        self.client().args(["version", "--format", "client {{.Client.Version}}, server {{.Server.Version}}"])
    }

    fn data_root(&self) -> &Path {
        &self.data_root
    }

    fn daemon(&self) -> Option<u32> {
        Some(self.daemon)
    }

    fn import(&self, tar: &Path, image: &str) -> Vec<Invocation> {
        vec![self.client().arg("import").path(tar).arg(image)]
    }

    fn build(&self, request: BuildRequest<'_>) -> Option<Invocation> {
        let call = self.client().args(["build", "--network", "none", "--tag", request.image]);
        let call = if self.builder == Builder::BuildKit { call.arg("--progress=plain") } else { call };
        let call = if request.no_cache { call.arg("--no-cache") } else { call };
        Some(call.path(request.context))
    }

    fn image_id(&self, image: &str) -> Option<Invocation> {
        Some(self.client().args(["image", "inspect", "--format", "{{.Id}}", image]))
    }

    /// Containers and registries are the daemon's, whichever builder made their image: once is enough.
    fn scope(&self) -> Scope {
        if self.builder == Builder::BuildKit { Scope::Builds } else { Scope::Everything }
    }

    fn run(&self, image: &str, command: &[&str]) -> Option<Invocation> {
        Some(self.client().args(["run", "--rm", "--network", "none", image]).args(command))
    }

    fn start_container(&self, image: &str, name: &str, command: &[&str]) -> Option<Invocation> {
        Some(self.client().args(["run", "--detach", "--network", "none", "--name", name, image]).args(command))
    }

    fn exec(&self, container: &str, command: &[&str]) -> Option<Invocation> {
        Some(self.client().args(["exec", container]).args(command))
    }

    fn remove_container(&self, container: &str) -> Option<Invocation> {
        Some(self.client().args(["rm", "--force", container]))
    }

    fn networked_client(&self) -> Option<Invocation> {
        (self.builder == Builder::Classic).then(|| self.client())
    }

    fn pull(&self, image: &str) -> Option<Invocation> {
        Some(self.client().args(["pull", image]))
    }

    fn push(&self, image: &str) -> Option<Invocation> {
        Some(self.client().args(["push", image]))
    }

    fn tag(&self, image: &str, name: &str) -> Option<Invocation> {
        Some(self.client().args(["tag", image, name]))
    }

    fn forget(&self, image: &str) -> Vec<Invocation> {
        let mut calls = vec![self.client().args(["image", "rm", "--force", image]), self.client().args(["image", "prune", "--force"])];
        if self.builder == Builder::BuildKit {
            calls.push(self.client().args(["builder", "prune", "--all", "--force"]));
        }
        calls
    }
}
