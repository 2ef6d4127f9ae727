//! `--change` of import and commit: Dockerfile instructions that only change settings, applied to an image's defaults.

use std::collections::BTreeMap;
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
        self.apply_changes_to(&[], changes).await
    }

    /// The same with variables that the changes may use; they are not part of the answer unless a change names them.
    pub(crate) async fn apply_changes_to(&self, env: &[String], changes: &[String]) -> Result<ContainerDefaults> {
        if changes.is_empty() {
            return Ok(ContainerDefaults::default());
        }
        for change in changes {
            let keyword = keyword_of(change);
            if !ALLOWED.contains(&keyword.as_str()) {
                let hint = format!("use one of {}", ALLOWED.join(", "));
                let keyword = keyword.to_lowercase();
                return Err(Error::InvalidWithHint { reason: format!("{keyword} is not a valid change command"), hint });
            }
        }
        // A WORKDIR after a USER is made for that user, whom nobody knows on `scratch`; only the settings are wanted, so users come last.
        let (users, others): (Vec<&String>, Vec<&String>) = changes.iter().partition(|change| keyword_of(change) == "USER");
        let lines: String = others.into_iter().chain(users).map(|change| format!("{change}\n")).collect();
        let request = BuildRequest {
            id: BuildId::from_random(clock::random()),
            dockerfile: SourceText::new("--change", format!("FROM scratch\n{}{lines}", as_instructions(env))),
            ignore: None,
            context: BuildContext::None,
            options: BuildOptions::default(),
        };
        let outcome = shipway_build::build(
            request,
            self.inner.store.clone(),
            self.build_ports(BTreeMap::new()),
            Arc::new(|_| {}),
            CancellationToken::new(),
        )
        .await?;
        let config = ImageConfig::parse(&outcome.config_bytes).map_err(|error| Error::internal(error.to_string()))?;
        let mut defaults = config.config;
        defaults.env.retain(|entry| !env.contains(entry));
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

fn keyword_of(change: &str) -> String {
    change.split_whitespace().next().unwrap_or_default().to_uppercase()
}

/// Variables as `ENV` lines that mean exactly them.
fn as_instructions(env: &[String]) -> String {
    let mut lines = String::new();
    for (name, value) in env.iter().filter_map(|entry| entry.split_once('=')) {
        // A name that is none, or a value of several lines, cannot be written in a Dockerfile; no change can use it then.
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if plain && !value.contains(['\n', '\r', '\0']) {
            let escaped: String =
                value.chars().flat_map(|letter| ['"', '\\', '$'].contains(&letter).then_some('\\').into_iter().chain([letter])).collect();
            lines.push_str(&format!("ENV {name}=\"{escaped}\"\n"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #[test]
    fn variables_cannot_leave_their_line() {
        let env = ["A=1 2".to_owned(), "B=\"$x\\".to_owned(), "C=a\nRUN evil".to_owned(), "D E=1".to_owned(), "bare".to_owned()];
        assert_eq!(super::as_instructions(&env), "ENV A=\"1 2\"\nENV B=\"\\\"\\$x\\\\\"\n");
    }
}
