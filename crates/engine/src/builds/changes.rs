//! `--change` of import and commit: Dockerfile instructions that only change settings, applied to an image's defaults.

use shipway_dockerfile::{SourceText, parse};
use shipway_model::ContainerDefaults;

use crate::{Error, Result};

/// Settings that may be changed this way, as dockerd lists them.
const ALLOWED: &[&str] = &["CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR", "HEALTHCHECK", "SHELL"];

/// The defaults that `changes` make of nothing.
///
/// # Errors
/// `Invalid` for an instruction that is wrong or would need a build.
pub(crate) fn apply(changes: &[String]) -> Result<ContainerDefaults> {
    if changes.is_empty() {
        return Ok(ContainerDefaults::default());
    }
    for change in changes {
        let keyword = change.split_whitespace().next().unwrap_or_default().to_uppercase();
        if !ALLOWED.contains(&keyword.as_str()) {
            return Err(Error::InvalidWithHint { reason: format!("{keyword} is not a valid change command"), hint: format!("use one of {}", ALLOWED.join(", ")) });
        }
    }
    let source = SourceText::new("--change".to_owned(), format!("FROM scratch\n{}\n", changes.join("\n")));
    let parsed = parse(&source);
    if let Some(error) = parsed.diagnostics.iter().find(|diagnostic| diagnostic.is_error()) {
        return Err(Error::invalid(error.message.clone()));
    }
    shipway_build::apply_settings(&parsed.dockerfile, ContainerDefaults::default()).map_err(|error| Error::invalid(error.to_string()))
}
