//! `version`.

use super::BUILD;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::template::{Template, json_text};
use serde_json::{Value, json};

/// Show the Shipway version information
#[derive(Debug, clap::Parser)]
pub(crate) struct Version {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "string", default_value = "")]
    format: String,
}

impl Verb for Version {
    const NAMES: &'static [&'static str] = &["version"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let context = session.context_name()?;
        let (server, failure) = match session.client()?.json::<Value>(Call::get("/version")).await {
            Ok(server) => (server, None),
            Err(failure) => (Value::Null, Some(failure)),
        };
        let api = server.get("ApiVersion").and_then(Value::as_str).unwrap_or("unknown").to_owned();
        let client = json!({"Version": env!("CARGO_PKG_VERSION"), "ApiVersion": api, "DefaultAPIVersion": api, "GitCommit": BUILD, "GoVersion": "",
            "Os": std::env::consts::OS, "Arch": architecture(), "BuildTime": "", "Context": context});
        match self.format.as_str() {
            "" => output::text(&text(&client, &server))?,
            "json" => output::line(json_text(&json!({"Client": client, "Server": server}), false))?,
            format => output::line(Template::parse(format)?.render_object(&json!({"Client": client, "Server": server}))?)?,
        }
        failure.map_or(Ok(()), |failure: Failure| Err(failure))
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Docker's two blocks, values in column 20.
fn text(client: &Value, server: &Value) -> String {
    let of = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut out = String::from("Client:\n");
    let mut line = |indent: &str, key: &str, value: &str| {
        out.push_str(format!("{:<20}{value}", format!("{indent}{key}:")).trim_end());
        out.push('\n');
    };
    line(" ", "Version", &of(client, "Version"));
    line(" ", "API version", &of(client, "ApiVersion"));
    line(" ", "Git commit", &of(client, "GitCommit"));
    line(" ", "OS/Arch", &format!("{}/{}", of(client, "Os"), of(client, "Arch")));
    line(" ", "Context", &of(client, "Context"));
    if server.is_null() {
        return out;
    }
    let platform = server.pointer("/Platform/Name").and_then(Value::as_str).unwrap_or_default();
    out.push_str(format!("\nServer: {platform}").trim_end());
    out.push('\n');
    let components = server.get("Components").and_then(Value::as_array).cloned().unwrap_or_default();
    for component in &components {
        out.push_str(&component_text(component));
    }
    out
}

fn component_text(component: &Value) -> String {
    let name = component.get("Name").and_then(Value::as_str).unwrap_or_default();
    let detail = |key: &str| component.get("Details").and_then(|details| details.get(key)).and_then(Value::as_str);
    let mut out = format!(" {name}:\n");
    let mut line = |key: &str, value: &str| out.push_str(&format!("{:<20}{value}\n", format!("  {key}:")));
    line("Version", component.get("Version").and_then(Value::as_str).unwrap_or_default());
    if name != "Engine" {
        let mut keys: Vec<&String> =
            component.get("Details").and_then(Value::as_object).into_iter().flat_map(|details| details.keys()).collect();
        keys.sort();
        for key in keys {
            line(key, detail(key).unwrap_or_default());
        }
        return out;
    }
    if let Some(api) = detail("ApiVersion") {
        let least = detail("MinAPIVersion").map(|least| format!(" (minimum version {least})")).unwrap_or_default();
        line("API version", &format!("{api}{least}"));
    }
    for (key, title) in [("GoVersion", "Go version"), ("GitCommit", "Git commit"), ("BuildTime", "Built")] {
        if let Some(value) = detail(key).filter(|value| !value.is_empty()) {
            line(title, value);
        }
    }
    if let (Some(os), Some(architecture)) = (detail("Os"), detail("Arch")) {
        line("OS/Arch", &format!("{os}/{architecture}"));
    }
    if let Some(experimental) = detail("Experimental") {
        line("Experimental", experimental);
    }
    out
}
