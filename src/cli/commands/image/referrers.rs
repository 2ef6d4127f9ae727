//! `image referrers`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::{Call, path_escape};
use crate::cli::credentials;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::human;
use crate::cli::listing::{Listing, Row, short_id};
use crate::cli::output;
use crate::cli::session::Session;
use serde_json::{Map, Value};
use shipway_model::Reference;
use shipway_wire::registries::ReferrerItem;

/// List what speaks of an image at its registry: signatures, attestations, lists of parts
#[derive(Debug, clap::Parser)]
pub(crate) struct Referrers {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show digests
    #[arg(short, long)]
    quiet: bool,
    #[arg(hide = true)]
    image: String,
}

const TITLES: &[(&str, &str)] = &[
    ("Digest", "DIGEST"),
    ("Type", "TYPE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("Held", "HELD"),
    ("Subject", "SUBJECT"),
    ("MediaType", "MEDIA TYPE"),
    ("Annotations", "ANNOTATIONS"),
];

impl Verb for Referrers {
    const NAMES: &'static [&'static str] = &["image referrers"];
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG|@DIGEST]";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let reference = Reference::parse(&self.image).map_err(|error| Failure::classified(&error))?;
        let path = format!("/shipway/referrers/{}", path_escape(&reference.clone().with_default_tag().canonical()));
        let call = Call::get(path).header("x-registry-auth", credentials::header_for(session, reference.domain()).await?);
        let items: Vec<ReferrerItem> = session.client()?.json(call).await?;
        if self.quiet && self.format.is_empty() {
            return items.iter().try_for_each(|item| output::line(&item.digest));
        }
        let rows: Vec<Row> = items.iter().map(|item| self.row(item)).collect();
        let table = "{{.Digest}}\t{{.Type}}\t{{.Size}}\t{{.Tag}}\t{{.Held}}".to_owned();
        Listing { table, titles: TITLES, kind: "*image.referrersContext" }.print(&self.format, &rows)
    }
}

impl Referrers {
    fn row(&self, item: &ReferrerItem) -> Row {
        let short = |digest: &str| if self.no_trunc { digest.to_owned() } else { short_id(digest) };
        let tag = match item.tag.rsplit_once('.') {
            // The tag of one image differs from that of the next by the digest, which says nothing to a reader.
            Some((_, ending)) if !self.no_trunc => format!(".{ending}"),
            _ => item.tag.clone(),
        };
        let annotations: Map<String, Value> =
            item.annotations.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        Row::new()
            .with("Digest", short(&item.digest))
            .with("Type", item.artifact_type.as_str())
            .with("Size", human::size(i64::try_from(item.size).unwrap_or(i64::MAX)))
            .with("Tag", tag)
            .with("Held", if item.held { "yes" } else { "no" })
            .with("Subject", short(&item.subject))
            .with("MediaType", item.media_type.as_str())
            .with("Annotations", Value::Object(annotations))
    }
}
