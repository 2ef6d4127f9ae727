//! Skopeo, which copies images and runs nothing: into a folder, as they come, without unpacking a layer.

use std::path::{Path, PathBuf};

use super::{BuildRequest, Engine, Scope, installed};
use crate::bench::invocation::Invocation;
use crate::bench::stage::Stage;

pub(super) const NAME: &str = "skopeo";
const PROGRAM: &str = "/usr/bin/skopeo";

pub(super) struct Skopeo {
    data_root: PathBuf,
    home: PathBuf,
}

pub(super) fn start(stage: &mut Stage) -> Result<Skopeo, String> {
    installed(Path::new(PROGRAM))?;
    let skopeo = Skopeo { data_root: stage.file_system(NAME)?, home: stage.subfolder("skopeo-home")? };
    let temporary = skopeo.temporary();
    std::fs::create_dir(&temporary).map_err(|error| format!("cannot create {}: {error}", temporary.display()))?;
    Ok(skopeo)
}

impl Skopeo {
    fn client(&self) -> Invocation {
        Invocation::new(PROGRAM).env("HOME", &self.home).env("TMPDIR", self.temporary())
    }

    fn temporary(&self) -> PathBuf {
        self.data_root.join("tmp")
    }

    fn copy(&self) -> PathBuf {
        self.data_root.join("copy")
    }
}

impl Engine for Skopeo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Invocation {
        self.client().arg("--version")
    }

    fn data_root(&self) -> &Path {
        &self.data_root
    }

    fn daemon(&self) -> Option<u32> {
        None
    }

    fn import(&self, _tar: &Path, _image: &str) -> Vec<Invocation> {
        Vec::new()
    }

    fn build(&self, _request: BuildRequest<'_>) -> Option<Invocation> {
        None
    }

    fn image_id(&self, _image: &str) -> Option<Invocation> {
        None
    }

    fn scope(&self) -> Scope {
        Scope::Shipping
    }

    fn run(&self, _image: &str, _command: &[&str]) -> Option<Invocation> {
        None
    }

    fn start_container(&self, _image: &str, _name: &str, _command: &[&str]) -> Option<Invocation> {
        None
    }

    fn exec(&self, _container: &str, _command: &[&str]) -> Option<Invocation> {
        None
    }

    fn remove_container(&self, _container: &str) -> Option<Invocation> {
        None
    }

    fn pull(&self, image: &str) -> Option<Invocation> {
        let from = format!("docker://{image}");
        Some(self.client().args(["copy", "--quiet", "--src-tls-verify=false", &from, &format!("dir:{}", self.copy().display())]))
    }

    fn forget(&self, _image: &str) -> Vec<Invocation> {
        vec![Invocation::new("rm").args(["-rf"]).path(&self.copy())]
    }
}
