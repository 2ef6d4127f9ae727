//! Buildah, which only builds. It keeps intermediate layers only when asked to, and we ask, as a cache is what is being compared.

use std::path::Path;

use super::podman::{Containers, LIMITS};
use super::{BuildRequest, Engine, Scope};
use crate::bench::invocation::Invocation;
use crate::bench::stage::Stage;

pub(super) const NAME: &str = "buildah";
const PROGRAM: &str = "/usr/bin/buildah";
/// Name of the working container that an image is imported through.
const IMPORTER: &str = "bench-importer";

pub(super) struct Buildah(Containers);

pub(super) fn start(stage: &mut Stage) -> Result<Buildah, String> {
    Containers::prepare(stage, NAME, PROGRAM).map(Buildah)
}

impl Buildah {
    fn client(&self) -> Invocation {
        self.0.client()
    }
}

impl Engine for Buildah {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Invocation {
        self.client().arg("--version")
    }

    fn data_root(&self) -> &Path {
        self.0.data_root()
    }

    fn daemon(&self) -> Option<u32> {
        None
    }

    fn import(&self, tar: &Path, image: &str) -> Vec<Invocation> {
        vec![
            self.client().args(["from", "--name", IMPORTER, "scratch"]),
            self.client().args(["add", IMPORTER]).path(tar).arg("/"),
            self.client().args(["commit", "--rm", IMPORTER, image]),
        ]
    }

    fn build(&self, request: BuildRequest<'_>) -> Option<Invocation> {
        let call = self.client().args(["bud", "--layers", "--runtime", "runc", "--network", "none"]);
        let call = call.args(["--cgroup-parent", &self.0.build_group]).args(LIMITS).args(["--tag", request.image]);
        let call = if request.no_cache { call.arg("--no-cache") } else { call };
        Some(call.path(request.context))
    }

    fn image_id(&self, image: &str) -> Option<Invocation> {
        Some(self.client().args(["inspect", "--type", "image", "--format", "{{.FromImageID}}", image]))
    }

    fn scope(&self) -> Scope {
        Scope::Builds
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

    fn forget(&self, image: &str) -> Vec<Invocation> {
        vec![self.client().args(["rmi", "--force", image]), self.client().args(["rmi", "--prune", "--force"])]
    }
}
