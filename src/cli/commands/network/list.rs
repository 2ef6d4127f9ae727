//! `network ls`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::filters;
use crate::cli::human;
use crate::cli::listing::{Listing, Row, short_id};
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;
use serde_json::{Map, Value};

/// List networks
#[derive(Debug, clap::Parser)]
pub(crate) struct List {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Network {
    id: String,
    name: String,
    driver: String,
    scope: String,
    created: String,
    internal: bool,
    #[serde(rename = "EnableIPv4")]
    ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    ipv6: bool,
    labels: Option<Map<String, Value>>,
}

const TITLES: &[(&str, &str)] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

impl Verb for List {
    const NAMES: &'static [&'static str] = &["network ls", "network list"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let mut found: Vec<Network> =
            session.client()?.json(Call::get("/networks").query_if("filters", filters::query(&self.filter)?)).await?;
        found.sort_by(|left, right| left.name.cmp(&right.name));
        if self.quiet && self.format.is_empty() {
            return found
                .iter()
                .try_for_each(|network| output::line(if self.no_trunc { network.id.clone() } else { short_id(&network.id) }));
        }
        let rows: Vec<Row> = found
            .iter()
            .map(|network| {
                Row::new()
                    .with("ID", if self.no_trunc { network.id.clone() } else { short_id(&network.id) })
                    .with("Name", network.name.as_str())
                    .with("Driver", network.driver.as_str())
                    .with("Scope", network.scope.as_str())
                    .with("IPv4", network.ipv4.to_string())
                    .with("IPv6", network.ipv6.to_string())
                    .with("Internal", network.internal.to_string())
                    .with("CreatedAt", human::go_time(&network.created))
                    .with_labels(network.labels.as_ref())
            })
            .collect();
        let table = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}".to_owned();
        let format = if self.format.is_empty() { session.config()?.networks_format.clone() } else { self.format };
        Listing { table, titles: TITLES, kind: "*network.networkContext" }.print(&format, &rows)
    }
}
