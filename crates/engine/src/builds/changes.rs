//! `--change` of import and commit: Dockerfile instructions that only change settings, applied to an image's defaults.

use std::sync::Arc;

use shipway_build::{BuildContext, BuildOptions, BuildRequest};
use shipway_dockerfile::SourceText;
use shipway_model::{BuildId, ContainerDefaults, ImageConfig};
use tokio_util::sync::CancellationToken;

use crate::{Engine, Error, Result, clock};

/// Settings that may be changed this way, as dockerd lists them.
const ALLOWED: &[&str] =
    &["CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR", "HEALTHCHECK", "SHELL"];

impl Engine {
    /// The defaults that `changes` make of nothing. They are built like any Dockerfile, on `scratch`: there is one way to read an instruction.
    ///
    /// # Errors
    /// `Invalid` for an instruction that would need a build; `Build` for one that is wrong.
    pub(crate) async fn apply_changes(&self, changes: &[String]) -> Result<ContainerDefaults> {
        if changes.is_empty() {
            return Ok(ContainerDefaults::default());
        }
        for change in changes {
            let keyword = change.split_whitespace().next().unwrap_or_default().to_uppercase();
            if !ALLOWED.contains(&keyword.as_str()) {
                let hint = format!("use one of {}", ALLOWED.join(", "));
                let keyword = keyword.to_lowercase();
                return Err(Error::InvalidWithHint { reason: format!("{keyword} is not a valid change command"), hint });
            }
        }
        let request = BuildRequest {
            id: BuildId::from_random(clock::random()),
            dockerfile: SourceText::new("--change", format!("FROM scratch\n{}\n", changes.join("\n"))),
            ignore: None,
            context: BuildContext::None,
            options: BuildOptions::default(),
        };
        let outcome =
            shipway_build::build(request, self.inner.store.clone(), self.build_ports(), Arc::new(|_| {}), CancellationToken::new()).await?;
        let config = ImageConfig::parse(&outcome.config_bytes).map_err(|error| Error::internal(error.to_string()))?;
        let mut defaults = config.config;
        // What building on `scratch` adds by itself was not asked for.
        let says = |word: &str| changes.iter().any(|change| change.to_uppercase().contains(word));
        if !says("PATH") {
            defaults.env.retain(|entry| !entry.starts_with("PATH="));
        }
        if !says("WORKDIR") {
            defaults.working_dir.clear();
        }
        Ok(defaults)
    }
}
