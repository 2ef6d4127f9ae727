//! Our own engine, asked through its own command line like everybody else.

use std::path::{Path, PathBuf};

use super::{BuildRequest, Engine, installed, wait_until_answered};
use crate::bench::invocation::Invocation;
use crate::bench::options::Options;
use crate::bench::stage::Stage;
use crate::bench::traffic;

pub(super) const NAME: &str = "shipway";

pub(super) struct Shipway {
    program: PathBuf,
    socket: String,
    home: PathBuf,
    data_root: PathBuf,
    daemon: u32,
}

/// Starts our daemon.
pub(super) fn start(options: &Options, stage: &mut Stage) -> Result<Shipway, String> {
    installed(&options.shipway)?;
    let data_root = stage.file_system("shipway")?;
    let run = stage.subfolder("shipway-run")?;
    let home = stage.subfolder("shipway-home")?;
    // A copy, because somebody may build a new one during a long run.
    let program = home.join("shipway");
    std::fs::copy(&options.shipway, &program).map_err(|error| format!("cannot copy {}: {error}", options.shipway.display()))?;
    let config = home.join("daemon.json");
    std::fs::write(&config, "{}").map_err(|error| format!("cannot write {}: {error}", config.display()))?;
    let socket = format!("unix://{}", run.join("shipway.sock").display());
    let invocation = Invocation::new(&program)
        .arg("daemon")
        .arg("--config-file")
        .path(&config)
        .arg("--data-root")
        .path(&data_root.join("data"))
        .arg("--exec-root")
        .path(&run.join("exec"))
        .args(["--host", &socket, "--cgroup-parent"])
        .arg(format!("/{}", stage.control_group))
        .env("HOME", &home)
        .env("TMPDIR", &data_root);
    let daemon = stage.start_daemon("shipway-daemon", &traffic::in_own_network(&invocation))?;
    let engine = Shipway { program, socket, home, data_root, daemon };
    wait_until_answered(stage, "shipway-daemon", &engine.version())?;
    Ok(engine)
}

impl Shipway {
    fn client(&self) -> Invocation {
        Invocation::new(&self.program).args(["--host", &self.socket]).env("HOME", &self.home)
    }
}

impl Engine for Shipway {
    fn name(&self) -> &'static str {
        NAME
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
        let call = self.client().args(["build", "--network", "none", "--progress=plain", "--tag", request.image]);
        let call = if request.no_cache { call.arg("--no-cache") } else { call };
        Some(call.path(request.context))
    }

    fn image_id(&self, image: &str) -> Option<Invocation> {
        Some(self.client().args(["image", "inspect", "--format", "{{.Id}}", image]))
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
        Some(self.client())
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
        vec![
            self.client().args(["image", "rm", "--force", image]),
            self.client().args(["image", "prune", "--force"]),
            self.client().args(["builder", "prune", "--all", "--force"]),
        ]
    }
}
