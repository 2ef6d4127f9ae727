//! `manifest inspect`.

use super::create::entry;
use super::{fetch, named, store};
use crate::cli::catalog::{Verb, Words};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use shipway_model::{Descriptor, Index, MediaType};

/// Docker's indent.
const TAB: &[u8] = b"\t";

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
            return self.show(&entry.shown, &entry.descriptor, &raw);
        }
        if let Some(list) = store::read(session, &manifest)? {
            return if self.verbose { self.each(session, list.entries).await } else { output::line(list.document()?) };
        }
        let name = manifest.with_default_tag();
        let (descriptor, raw) = fetch(session, &name).await?;
        if !descriptor.media_type.is_index() {
            let descriptor = if self.verbose { entry(session, &name).await?.descriptor } else { descriptor };
            return self.show(&name.canonical(), &descriptor, &raw);
        }
        if !self.verbose {
            // As it stands, byte by byte: its digest can be told from it.
            return output::line(raw);
        }
        let index: Index =
            serde_json::from_str(&raw).map_err(|error| Failure::new(format!("the manifest list cannot be read: {error}")))?;
        let pinned = |descriptor: Descriptor| {
            let reference = name.clone().without_tag_and_digest().with_digest(descriptor.digest).canonical();
            store::Entry { shown: format!("{}@{}", name.canonical(), descriptor.digest), reference, descriptor }
        };
        self.each(session, index.manifests.into_iter().map(pinned).collect()).await
    }
}

impl Inspect {
    fn show(&self, shown: &str, descriptor: &Descriptor, raw: &str) -> Outcome {
        let document = if self.verbose { detailed(shown, descriptor, raw)? } else { parse(raw)? };
        output::line(store::indented(&document, TAB)?)
    }

    /// Every manifest of a list, in full.
    async fn each(&self, session: &Session, entries: Vec<store::Entry>) -> Outcome {
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            let (_, raw) = fetch(session, &named(&entry.reference)?).await?;
            all.push(detailed(&entry.shown, &entry.descriptor, &raw)?);
        }
        output::line(store::indented(&Value::Array(all), TAB)?)
    }
}

/// Docker's form of a manifest and all that is known of it.
fn detailed(shown: &str, descriptor: &Descriptor, raw: &str) -> Outcome<Value> {
    let key = match descriptor.media_type {
        MediaType::OciManifest => "OCIManifest",
        _ => "SchemaV2Manifest",
    };
    let about = store::described(descriptor, &["mediaType", "digest", "size"]);
    Ok(serde_json::json!({ "Ref": shown, "Descriptor": about, "Raw": STANDARD.encode(raw), key: parse(raw)? }))
}

fn parse(raw: &str) -> Outcome<Value> {
    serde_json::from_str(raw).map_err(|error| Failure::new(format!("the manifest is no JSON: {error}")))
}
