//! `volume ls`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::filters;
use crate::cli::listing::{Listing, Row};
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;
use serde_json::{Map, Value};

/// List volumes
#[derive(Debug, clap::Parser)]
pub(crate) struct List {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

/// A volume as the API tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) driver: String,
    mountpoint: String,
    scope: String,
    labels: Option<Map<String, Value>>,
    pub(crate) usage_data: Option<Usage>,
}

/// Who uses a volume and how large it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Usage {
    pub(crate) size: i64,
    pub(crate) ref_count: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Volumes {
    volumes: Option<Vec<Volume>>,
    warnings: Option<Vec<String>>,
}

/// Titles of the fields.
pub(crate) const TITLES: &[(&str, &str)] = &[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Availability", "AVAILABILITY"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
];

impl Verb for List {
    const NAMES: &'static [&'static str] = &["volume ls", "volume list"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let found: Volumes = session.client()?.json(Call::get("/volumes").query_if("filters", filters::query(&self.filter)?)).await?;
        for warning in found.warnings.iter().flatten() {
            output::note(format!("WARNING: {warning}"));
        }
        let mut volumes = found.volumes.unwrap_or_default();
        volumes.sort_by(|left, right| left.name.cmp(&right.name));
        if self.quiet && self.format.is_empty() {
            return volumes.iter().try_for_each(|volume| output::line(&volume.name));
        }
        let rows: Vec<Row> = volumes.iter().map(row).collect();
        let format = if self.format.is_empty() { session.config()?.volumes_format.clone() } else { self.format };
        Listing { table: "{{.Driver}}\t{{.Name}}".to_owned(), titles: TITLES, kind: "*formatter.volumeContext" }.print(&format, &rows)
    }
}

/// One volume as a row.
pub(crate) fn row(volume: &Volume) -> Row {
    let usage = volume.usage_data.as_ref();
    let unknown = || "N/A".to_owned();
    Row::new()
        .with("Name", volume.name.as_str())
        .with("Driver", volume.driver.as_str())
        .with("Scope", volume.scope.as_str())
        .with("Availability", "N/A")
        .with("Group", "N/A")
        .with("Status", "N/A")
        .with("Mountpoint", volume.mountpoint.as_str())
        .with("Links", usage.map_or_else(unknown, |usage| usage.ref_count.to_string()))
        .with("Size", usage.filter(|usage| usage.size >= 0).map_or_else(unknown, |usage| crate::cli::human::size(usage.size)))
        .with_labels(volume.labels.as_ref())
}
