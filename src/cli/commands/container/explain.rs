//! What the daemon's refusals mean for the person who typed: an image where a container was meant (M-19), nothing to run (M-34).
//!
//! The daemon's own hint wins; these are for daemons that give none. Nothing here changes a message.

use super::path;
use crate::cli::client::{Call, path_escape};
use crate::cli::exit::Failure;
use crate::cli::human;
use crate::cli::session::Session;
use serde_json::Value;

/// A refused creation.
pub(super) fn creation(failure: Failure, image: &str) -> Failure {
    let message = failure.daemon_message().unwrap_or_default().to_lowercase();
    if !failure.hints.is_empty() {
        return failure;
    }
    if message.contains("no command specified") {
        return failure.hint(format!("image {image} has neither CMD nor ENTRYPOINT; give one: shipway run {image} <command>"));
    }
    if message.contains("is already in use by container") {
        let name = message.split('"').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        return failure.hint(format!("remove it first: shipway rm -f {name}")).hint("or replace it: shipway run --replace ...");
    }
    failure
}

/// A refused start.
pub(super) fn start(failure: Failure) -> Failure {
    let message = failure.daemon_message().unwrap_or_default();
    if !failure.hints.is_empty() {
        return failure;
    }
    if message.contains("port is already allocated") || message.contains("address already in use") {
        return failure.hint("see who has it: shipway ps --filter publish=PORT");
    }
    failure
}

/// A refused exec: names of images and stopped containers are explained by asking the daemon what they are.
pub(super) async fn exec(session: &Session, failure: Failure, name: &str, terminal: bool) -> Failure {
    let Ok(client) = session.client() else { return failure };
    if !failure.hints.is_empty() {
        return failure;
    }
    let flags = if terminal { "-it " } else { "" };
    if failure.is_conflict() {
        let Ok(container) = client.json::<Value>(Call::get(path(name, "/json"))).await else { return failure };
        if container.pointer("/State/Paused") == Some(&Value::Bool(true)) {
            return failure.hint(format!("let it go on: shipway unpause {name}"));
        }
        return failure.hint(describe_stopped(&container)).hint(format!("start it again: shipway start {name}"));
    }
    if !failure.is_not_found() {
        return failure;
    }
    let Ok(image) = client.json::<Value>(Call::get(format!("/images/{}/json", path_escape(name)))).await else {
        return nearest_container(session, failure, name).await;
    };
    let filters = serde_json::json!({"ancestor": {name: true}}).to_string();
    let made: Vec<Value> = client.json(Call::get("/containers/json").query("all", "1").query("filters", filters)).await.unwrap_or_default();
    let mut failure = failure.hint(format!("{name} is an image"));
    if let Some(container) = made.first() {
        let label = container.pointer("/Names/0").and_then(Value::as_str).unwrap_or_default().trim_start_matches('/').to_owned();
        if container.get("State").and_then(Value::as_str) == Some("running") {
            return failure.hint(format!("container {label} was made from it and runs: shipway exec {flags}{label} ..."));
        }
        if container.get("State").and_then(Value::as_str) == Some("created") {
            failure = failure.hint(format!("container {label} was made from it but never started"));
            return failure.hint(format!("for a shell: shipway run {}", shell_of(&image, name, terminal)));
        }
        let status = container.get("Status").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        let command = container.get("Command").and_then(Value::as_str).unwrap_or_default();
        failure = failure.hint(format!("container {label} was made from it, but: {status} - \"{command}\" finished"));
    }
    failure.hint(format!("for a shell: shipway run {}", shell_of(&image, name, terminal)))
}

/// What follows `run` for a shell in the image.
fn shell_of(image: &Value, name: &str, terminal: bool) -> String {
    let flags = if terminal { "-it" } else { "-i" };
    if image.pointer("/Config/Entrypoint/0").is_some() { format!("{flags} --entrypoint sh {name}") } else { format!("{flags} {name} sh") }
}

async fn nearest_container(session: &Session, failure: Failure, name: &str) -> Failure {
    let Ok(client) = session.client() else { return failure };
    let all: Vec<Value> = client.json(Call::get("/containers/json").query("all", "1")).await.unwrap_or_default();
    let names: Vec<&str> =
        all.iter().filter_map(|container| container.pointer("/Names/0")?.as_str()).map(|name| name.trim_start_matches('/')).collect();
    match crate::cli::nearest::near(name, names) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure,
    }
}

/// `web exited (0) 3 seconds ago: "cat /build.txt" finished`.
fn describe_stopped(container: &Value) -> String {
    let text = |pointer: &str| container.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let name = text("/Name").trim_start_matches('/');
    let arguments: Vec<&str> = container.get("Args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let command = [text("/Path"), &arguments.join(" ")].join(" ");
    match text("/State/Status") {
        "exited" => {
            let code = container.pointer("/State/ExitCode").and_then(Value::as_i64).unwrap_or_default();
            format!("{name} exited ({code}) {}: \"{}\" finished", human::text_ago(text("/State/FinishedAt")), command.trim())
        }
        "created" => format!("{name} was created but never started"),
        other => format!("{name} is {other}"),
    }
}
