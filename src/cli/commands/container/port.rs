//! `port`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::cli::session::Session;
use serde_json::Value;

/// List port mappings or a specific mapping for the container
#[derive(Debug, clap::Parser)]
pub(crate) struct Port {
    #[arg(hide = true)]
    container: String,
    #[arg(hide = true)]
    port: Option<String>,
}

impl Verb for Port {
    const NAMES: &'static [&'static str] = &["container port", "port"];
    const USAGE: &'static str = "CONTAINER [PRIVATE_PORT[/PROTO]]";
    const WORDS: Words = Words::Between(1, 2);

    async fn run(self, session: &Session) -> Outcome {
        let container: Value = session.client()?.json(Call::get(path(&self.container, "/json"))).await?;
        let wanted = self.port.as_ref().map(|port| if port.contains('/') { port.clone() } else { format!("{port}/tcp") });
        let mut lines = Vec::new();
        for (port, bindings) in container.pointer("/NetworkSettings/Ports").and_then(Value::as_object).into_iter().flatten() {
            if wanted.as_ref().is_some_and(|wanted| wanted != port) {
                continue;
            }
            for binding in bindings.as_array().into_iter().flatten() {
                let text = |name: &str| binding.get(name).and_then(Value::as_str).unwrap_or_default();
                let ip = if text("HostIp").contains(':') { format!("[{}]", text("HostIp")) } else { text("HostIp").to_owned() };
                let number: u32 = port.split('/').next().and_then(|number| number.parse().ok()).unwrap_or_default();
                let prefix = if wanted.is_some() { String::new() } else { format!("{port} -> ") };
                lines.push((number, format!("{prefix}{ip}:{}", text("HostPort"))));
            }
        }
        if let (true, Some(wanted)) = (lines.is_empty(), &wanted) {
            return Err(Failure::new(format!("no public port '{wanted}' published for {}", self.container)));
        }
        lines.sort();
        lines.iter().try_for_each(|(_, line)| output::line(line))
    }
}
