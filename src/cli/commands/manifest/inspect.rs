//! `manifest inspect`.

use super::{fetch, named, store};
use crate::cli::catalog::{Verb, Words};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;
use serde_json::Value;

/// Display an image manifest, or manifest list
#[derive(Debug, clap::Parser)]
pub(crate) struct Inspect {
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Output additional info including layers and platform
    #[arg(short, long)]
    verbose: bool,
    #[arg(hide = true)]
    names: Vec<String>,
}

impl Verb for Inspect {
    const NAMES: &'static [&'static str] = &["manifest inspect"];
    const USAGE: &'static str = "[OPTIONS] [MANIFEST_LIST] MANIFEST";
    const WORDS: Words = Words::Between(1, 2);

    async fn run(self, session: &Session) -> Outcome {
        let (list, manifest) = match &self.names[..] {
            [list, manifest] => (Some(named(list)?), named(manifest)?),
            [manifest] => (None, named(manifest)?),
            _ => return Err(Failure::usage("a manifest needs a name")),
        };
        if let Some(name) = list {
            let found = store::read(session, &name)?.and_then(|list| list.position(&manifest).map(|at| list.entries[at].clone()));
            let Some(entry) = found else {
                return Err(Failure::new(format!("No such manifest: {}", manifest.with_default_tag().familiar())));
            };
            let (_, raw) = fetch(session, &named(&entry.reference)?).await?;
            return self.show(&entry.reference, &serde_json::json!(entry.descriptor), &raw);
        }
        if let Some(list) = store::read(session, &manifest)? {
            return output::line(tabbed(&parse(&list.document()?)?)?);
        }
        let (descriptor, raw) = fetch(session, &manifest).await?;
        self.show(&manifest.with_default_tag().canonical(), &serde_json::json!(descriptor), &raw)
    }
}

impl Inspect {
    fn show(&self, reference: &str, descriptor: &Value, raw: &str) -> Outcome {
        let document = parse(raw)?;
        if !self.verbose {
            return output::line(tabbed(&document)?);
        }
        let key = if document.get("manifests").is_some() { "ManifestList" } else { "SchemaV2Manifest" };
        output::line(tabbed(&serde_json::json!({ "Ref": reference, "Descriptor": descriptor, key: document }))?)
    }
}

fn parse(raw: &str) -> Outcome<Value> {
    serde_json::from_str(raw).map_err(|error| Failure::new(format!("the manifest is no JSON: {error}")))
}

/// Docker's indent.
fn tabbed(document: &Value) -> Outcome<String> {
    let mut text = Vec::new();
    let mut pretty = serde_json::Serializer::with_formatter(&mut text, serde_json::ser::PrettyFormatter::with_indent(b"\t"));
    serde::Serialize::serialize(document, &mut pretty).map_err(|error| Failure::new(error.to_string()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
