//! `events`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::filters;
use crate::cli::human;
use crate::cli::json_stream::for_each;
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::template::{Template, json_text};
use serde_json::Value;

/// Get real time events from the server
#[derive(Debug, clap::Parser)]
pub(crate) struct Events {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output: 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Show all events created since timestamp
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "string")]
    until: Option<String>,
}

impl Verb for Events {
    const NAMES: &'static [&'static str] = &["system events", "events"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let template = match self.format.as_str() {
            "" | "json" => None,
            format => Some(Template::parse(format)?),
        };
        let call = Call::get("/events")
            .query_if("since", self.since.as_deref().map(human::moment).transpose()?)
            .query_if("until", self.until.as_deref().map(human::moment).transpose()?)
            .query_if("filters", filters::query(&self.filter)?);
        let answer = session.client()?.send(call).await?;
        for_each(answer, |event| match &template {
            Some(template) => output::line(template.render_object(&event)?),
            None if self.format == "json" => output::line(json_text(&event, true)),
            None => output::line(line(&event)),
        })
        .await
    }
}

/// `TIME TYPE ACTION ID (key=value, ...)`.
fn line(event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| event.get(name).and_then(Value::as_i64).unwrap_or_default();
    let time = match (number("timeNano"), number("time")) {
        (0, 0) => String::new(),
        (0, seconds) => format!("{} ", human::local_seconds(seconds)),
        (nanoseconds, _) => format!("{} ", human::local_nanoseconds(nanoseconds)),
    };
    let mut attributes: Vec<String> = event
        .pointer("/Actor/Attributes")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    attributes.sort();
    let mut line = format!("{time}{} {} {}", text("/Type"), text("/Action"), text("/Actor/ID"));
    if !attributes.is_empty() {
        line.push_str(&format!(" ({})", attributes.join(", ")));
    }
    line
}
