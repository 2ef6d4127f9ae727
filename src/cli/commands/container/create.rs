//! `create`, and the creation `run` shares: pulls a missing image, writes the cidfile, prints the daemon's warnings.

use super::flags::ContainerFlags;
use super::{api_socket, body};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::commands::image::pull;
use crate::cli::exit::{Failure, Outcome, USAGE};
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;
use std::io::Write as _;

/// Create a new container
#[derive(Debug, clap::Parser)]
pub(crate) struct Create {
    #[command(flatten)]
    flags: ContainerFlags,
    #[arg(hide = true)]
    image: String,
    #[arg(hide = true)]
    command: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

impl Verb for Create {
    const NAMES: &'static [&'static str] = &["container create", "create"];
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const WORDS: Words = Words::AtLeast(1);
    const OPTIONS_END_AT_FIRST_WORD: bool = true;

    async fn run(self, session: &Session) -> Outcome {
        let id = create(session, &self.flags, &self.image, &self.command, false).await?;
        output::line(id)
    }
}

/// Creates the container and answers its id. Every refusal has exit code 125.
pub(super) async fn create(session: &Session, flags: &ContainerFlags, image: &str, command: &[String], detached: bool) -> Outcome<String> {
    attempt(session, flags, image, command, detached)
        .await
        .map_err(|failure| if failure.code == 1 { failure.with_code(USAGE) } else { failure })
}

async fn attempt(session: &Session, flags: &ContainerFlags, image: &str, command: &[String], detached: bool) -> Outcome<String> {
    let mut body = body::create_body(session, flags, image, command, detached)?;
    if shipway_model::reference::image_id_prefix(image).is_none() {
        shipway_model::Reference::parse(image).map_err(|error| Failure::classified(&error))?;
    }
    let mut cidfile = open_cidfile(flags)?;
    let client = session.client()?;
    let settings = if flags.use_api_socket { api_socket::add(session, client, &mut body).await? } else { None };
    let platform = flags.platform.clone().or_else(|| session.variable("DOCKER_DEFAULT_PLATFORM"));
    if flags.pull == "always" {
        pull::pull_for_run(session, image, platform.as_deref(), flags.quiet).await?;
    }
    let call = || {
        Call::post("/containers/create").query_if("name", flags.name.as_ref()).query_if("platform", platform.as_ref()).json(body.clone())
    };
    let created: Created = match client.json(call()).await {
        Err(failure) if flags.pull == "missing" && is_missing_image(&failure) => {
            // Whoever asks for an image by a wrong name is told the right one before anything is fetched.
            output::note(format!("Unable to find image '{}' locally", pull::with_default_tag(image)));
            pull::pull_for_run(session, image, platform.as_deref(), flags.quiet).await.map_err(|mut pulled| {
                pulled.hints.extend(failure.hints.clone());
                pulled.hints.dedup();
                pulled
            })?;
            client.json(call()).await
        }
        other => other,
    }
    .map_err(|failure| super::explain::creation(failure, image))?;
    for warning in created.warnings.unwrap_or_default() {
        output::note(format!("WARNING: {warning}"));
    }
    if let Some(settings) = &settings {
        api_socket::hand_over(client, &created.id, settings).await?;
    }
    if let Some(file) = &mut cidfile {
        file.write_all(created.id.as_bytes())?;
    }
    Ok(created.id)
}

fn is_missing_image(failure: &Failure) -> bool {
    let is_about_it =
        |message: &str| message.to_lowercase().contains("no such image") || message.contains("does not match the specified platform");
    failure.is_not_found() && failure.daemon_message().is_some_and(is_about_it)
}

fn open_cidfile(flags: &ContainerFlags) -> Outcome<Option<std::fs::File>> {
    let Some(path) = &flags.cidfile else { return Ok(None) };
    std::fs::OpenOptions::new().write(true).create_new(true).open(path).map(Some).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            Failure::new(format!("container ID file found, make sure the other container isn't running or delete {path}"))
        } else {
            Failure::new(format!("failed to create the container ID file: {error}"))
        }
    })
}
