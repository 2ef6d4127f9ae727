//! `--use-api-socket`: the engine's own socket in a container, and beside it what its user has to show to registries, as docker 28 does it.
//!
//! What must stay true: secrets go into a file of the container, readable by its root alone; never into the container's settings, which `inspect` shows.
//! A container that was to have them and could not be given them does not stay behind.

use super::path;
use crate::cli::client::{Call, Client};
use crate::cli::connect::Host;
use crate::cli::credentials;
use crate::cli::exit::{Failure, Outcome, USAGE};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::upload;
use serde_json::{Value, json};
use shipway_archive::tar::{Entry, EntryKind, TarWriter};
use shipway_model::Secret;
use std::io;

/// Where programs look for the socket when nobody tells them.
const SOCKET: &str = "/var/run/docker.sock";
/// The folder of the settings in the container, without the first slash.
const FOLDER: &str = "run/secrets/docker";
/// Tells clients that the folder is elsewhere.
const VARIABLE: &str = "DOCKER_CONFIG";

/// Adds the socket to the body of a creation, and answers the settings that are to be put into the container. None where nobody logged in anywhere, and where
/// the container is told of other settings.
///
/// # Errors
/// A daemon that is not at a socket of this machine.
pub(super) async fn add(session: &Session, client: &Client, body: &mut Value) -> Outcome<Option<Secret>> {
    let Host::Unix(socket) = client.host() else {
        let words = format!("flag --use-api-socket can only be used with unix sockets: docker endpoint {} incompatible", client.host());
        return Err(Failure::usage(words));
    };
    let socket = std::path::absolute(socket)?;
    let mount = json!({"Type": "bind", "Source": socket.to_string_lossy(), "Target": SOCKET, "BindOptions": {}});
    push(&mut body["HostConfig"]["Mounts"], mount);
    let names_settings = |entry: &Value| entry.as_str().is_some_and(|entry| entry.split('=').next() == Some(VARIABLE));
    if body["Env"].as_array().is_some_and(|entries| entries.iter().any(names_settings)) {
        return Ok(None);
    }
    let settings = credentials::settings_for_another(session).await?;
    if settings.is_some() {
        push(&mut body["Env"], json!(format!("{VARIABLE}=/{FOLDER}")));
    }
    Ok(settings)
}

/// Puts the settings into a container that was just created; it goes when that fails.
pub(super) async fn hand_over(client: &Client, id: &str, settings: &Secret) -> Outcome {
    let text = settings.expose().as_bytes().to_vec();
    let chunks = upload::made_by("tar-writer", move |out| {
        let mut entry = Entry::new(format!("{FOLDER}/config.json"), EntryKind::Regular);
        entry.mode = 0o600;
        let mut tar = TarWriter::new(&mut *out);
        tar.append(&entry, &text).and_then(|()| tar.finish()).map(drop).map_err(io::Error::other)
    });
    let call = Call::put(path(id, "/archive")).query("path", "/").query("noOverwriteDirNonDir", "true");
    let Err(failure) = client.done(call.stream("application/x-tar", chunks)).await else { return Ok(()) };
    if let Err(error) = client.done(Call::delete(path(id, "")).query("force", "1").query("v", "1")).await {
        output::note(format!("WARNING: the container {id} stays behind without its credentials: {error}"));
    }
    Err(Failure::new(format!("injecting docker config.json into container failed: {failure}"))
        .with_code(USAGE)
        .hint("with -e DOCKER_CONFIG=FOLDER the container gets the socket alone"))
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        _ => *list = Value::Array(vec![item]),
    }
}
