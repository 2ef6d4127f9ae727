//! `search`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::credentials;
use crate::cli::exit::Outcome;
use crate::cli::filters;
use crate::cli::listing::{Listing, Row, ellipsis};
use crate::cli::session::Session;
use serde::Deserialize;

/// Search a registry for images
#[derive(Debug, clap::Parser)]
pub(crate) struct Search {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Pretty-print search using a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Max number of search results
    #[arg(long, value_name = "int")]
    limit: Option<u32>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(hide = true)]
    term: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Hit {
    name: String,
    description: String,
    star_count: i64,
    is_official: bool,
}

impl Verb for Search {
    const NAMES: &'static [&'static str] = &["search"];
    const USAGE: &'static str = "[OPTIONS] TERM";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        // The registry may stand before the term, as in a reference.
        let domain = self.term.split_once('/').map(|(host, _)| host).filter(|host| host.contains(['.', ':']) || *host == "localhost");
        let call = Call::get("/images/search")
            .header("x-registry-auth", credentials::header_for(session, domain.unwrap_or_default()).await?)
            .query("term", &self.term)
            .query_if("limit", self.limit.map(|limit| limit.to_string()))
            .query_if("filters", filters::query(&self.filter)?);
        let hits: Vec<Hit> = session.client()?.json(call).await?;
        let rows: Vec<Row> = hits.iter().map(|hit| row(hit, !self.no_trunc)).collect();
        let titles = &[("Name", "NAME"), ("Description", "DESCRIPTION"), ("StarCount", "STARS"), ("IsOfficial", "OFFICIAL")];
        let table = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}".to_owned();
        Listing { table, titles, kind: "*registry.searchContext" }.print(&self.format, &rows)
    }
}

fn row(hit: &Hit, truncate: bool) -> Row {
    let description = hit.description.replace(['\n', '\r'], " ");
    Row::new()
        .with("Name", hit.name.as_str())
        .with("Description", if truncate { ellipsis(&description, 45) } else { description })
        .with("StarCount", hit.star_count.to_string())
        .with("IsOfficial", if hit.is_official { "[OK]" } else { "" })
}
