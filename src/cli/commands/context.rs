//! `context`: the ways to daemons this machine knows.

use crate::cli::catalog::{Verb, Words};
use crate::cli::exit::{FAILED, Failure, Outcome};
use crate::cli::inspect;
use crate::cli::listing::{Listing, Row};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::template::Template;
use serde_json::{Value, json};

/// List contexts
#[derive(Debug, clap::Parser)]
pub(crate) struct List {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Only show context names
    #[arg(short, long)]
    quiet: bool,
}

/// Set the current docker context
#[derive(Debug, clap::Parser)]
pub(crate) struct Use {
    #[arg(hide = true)]
    context: String,
}

/// Print the name of the current context
#[derive(Debug, clap::Parser)]
pub(crate) struct Show {}

/// Display detailed information on one or more contexts
#[derive(Debug, clap::Parser)]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    #[arg(hide = true)]
    contexts: Vec<String>,
}

impl Verb for List {
    const NAMES: &'static [&'static str] = &["context ls", "context list"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let current = session.context_name()?;
        let mut contexts = vec![("default".to_owned(), "Current DOCKER_HOST based configuration".to_owned(), default_host(session))];
        contexts.extend(session.contexts().list().into_iter().map(|context| (context.name, context.description, context.host)));
        if self.quiet {
            return contexts.iter().try_for_each(|(name, _, _)| output::line(name));
        }
        let table = "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}".to_owned();
        let titles =
            &[("Name", "NAME"), ("Description", "DESCRIPTION"), ("DockerEndpoint", "DOCKER ENDPOINT"), ("Error", "ERROR"), ("Current", "")];
        let rows: Vec<Row> = contexts
            .into_iter()
            .map(|(name, description, host)| {
                let is_current = name == current;
                Row::new()
                    .with("Name", name)
                    .with("Current", is_current)
                    .with("Description", description)
                    .with("DockerEndpoint", host)
                    .with("Error", "")
            })
            .collect();
        Listing { table, titles, kind: "*formatter.clientContextContext" }.print(&self.format, &rows)?;
        if session.globals.context.is_none()
            && let Some(name) = ["SHIPWAY_HOST", "DOCKER_HOST"].into_iter().find(|name| session.variable(name).is_some())
        {
            output::note(format!(
                "Warning: {name} environment variable overrides the active context. To use a context, either set the global --context flag, or unset {name} environment variable."
            ));
        }
        Ok(())
    }
}

fn default_host(session: &Session) -> String {
    let environment = session.variable("SHIPWAY_HOST").or_else(|| session.variable("DOCKER_HOST"));
    environment.unwrap_or_else(|| crate::cli::session::default_host().to_string())
}

impl Verb for Use {
    const NAMES: &'static [&'static str] = &["context use"];
    const USAGE: &'static str = "CONTEXT";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let contexts = session.contexts();
        if self.context != "default" {
            contexts.get(&self.context)?;
        }
        contexts.make_current(&self.context)?;
        output::line(&self.context)?;
        output::note(format!("Current context is now \"{}\"", self.context));
        Ok(())
    }
}

impl Verb for Show {
    const NAMES: &'static [&'static str] = &["context show"];
    const USAGE: &'static str = "";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        output::line(session.context_name()?)
    }
}

impl Verb for Inspect {
    const NAMES: &'static [&'static str] = &["context inspect"];
    const USAGE: &'static str = "[OPTIONS] [CONTEXT] [CONTEXT...]";
    const WORDS: Words = Words::AtLeast(0);

    async fn run(self, session: &Session) -> Outcome {
        let names = if self.contexts.is_empty() { vec![session.context_name()?] } else { self.contexts.clone() };
        let mut documents = Vec::new();
        let mut failed = false;
        for name in &names {
            match document(session, name) {
                Ok(document) => documents.push(document),
                Err(failure) => {
                    output::failure(&failure);
                    failed = true;
                }
            }
        }
        match self.format.as_deref() {
            None | Some("" | "json") => output::line(inspect::pretty(
                &documents.iter().map(|document| crate::cli::template::json_text(document, true)).collect::<Vec<_>>(),
            ))?,
            Some(format) => {
                let template = Template::parse(format)?;
                documents.iter().try_for_each(|document| output::line(template.render_object(document)?))?;
            }
        }
        if failed { Err(Failure::ended(FAILED)) } else { Ok(()) }
    }
}

fn document(session: &Session, name: &str) -> Outcome<Value> {
    if name == "default" {
        return Ok(
            json!({"Name": "default", "Metadata": {}, "Endpoints": {"docker": {"Host": default_host(session), "SkipTLSVerify": false}},
            "TLSMaterial": {}, "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"}}),
        );
    }
    let context = session.contexts().get(name)?;
    let mut document = context.document;
    if let Some(fields) = document.as_object_mut() {
        fields.insert("TLSMaterial".to_owned(), json!({}));
        fields.insert("Storage".to_owned(), json!({"MetadataPath": context.folder, "TLSPath": ""}));
    }
    Ok(document)
}
