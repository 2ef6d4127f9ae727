//! `system df`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::commands::{container, image, volume};
use crate::cli::exit::Outcome;
use crate::cli::human;
use crate::cli::listing::{Listing, Row, short_id};
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;

/// Show disk usage
#[derive(Debug, clap::Parser)]
pub(crate) struct DiskUsage {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Show detailed information on space usage
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Usage {
    layers_size: i64,
    images: Option<Vec<image::list::Summary>>,
    containers: Option<Vec<container::list::Summary>>,
    volumes: Option<Vec<volume::list::Volume>>,
    build_cache: Option<Vec<CacheRecord>>,
    registry: Option<Registry>,
}

/// The registry that shares the engine's blobs.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Registry {
    blobs: usize,
    shared_blobs: usize,
    own_size: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CacheRecord {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Type")]
    kind: String,
    in_use: bool,
    shared: bool,
    size: i64,
    created_at: String,
    last_used_at: Option<String>,
    usage_count: i64,
}

const TITLES: &[(&str, &str)] =
    &[("Type", "TYPE"), ("TotalCount", "TOTAL"), ("Active", "ACTIVE"), ("Size", "SIZE"), ("Reclaimable", "RECLAIMABLE")];

const CACHE_TITLES: &[(&str, &str)] = &[
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
];

impl Verb for DiskUsage {
    const NAMES: &'static [&'static str] = &["system df"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let usage: Usage = session.client()?.json(Call::get("/system/df")).await?;
        if self.verbose {
            return verbose(&usage);
        }
        let table = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}".to_owned();
        Listing { table, titles: TITLES, kind: "*formatter.diskUsageContext" }.print(&self.format, &summary(&usage))
    }
}

/// The four lines: images, containers, volumes, build cache; and one for the registry beside the engine, where there is one. Active are its blobs that the
/// engine has too, its size is that of the others, and giving them back is its own business.
fn summary(usage: &Usage) -> Vec<Row> {
    let images = usage.images.as_deref().unwrap_or_default();
    let used: i64 =
        images.iter().filter(|image| image.containers != 0 && image.shared_size >= 0).map(|image| image.size - image.shared_size).sum();
    let active = images.iter().filter(|image| image.containers > 0).count();
    let containers = usage.containers.as_deref().unwrap_or_default();
    let container_size: i64 = containers.iter().map(|container| container.size_rw).sum();
    let stopped: i64 = containers.iter().filter(|container| !container.is_active()).map(|container| container.size_rw).sum();
    let volumes = usage.volumes.as_deref().unwrap_or_default();
    let volume_size = |wanted: &dyn Fn(i64) -> bool| -> i64 {
        let known =
            volumes.iter().filter_map(|volume| volume.usage_data.as_ref()).filter(|usage| usage.size >= 0 && wanted(usage.ref_count));
        known.map(|usage| usage.size).sum()
    };
    let cache = usage.build_cache.as_deref().unwrap_or_default();
    let cache_size: i64 = cache.iter().map(|record| record.size).sum();
    let in_use: i64 = cache.iter().filter(|record| record.in_use && !record.shared).map(|record| record.size).sum();
    let active_volumes = volumes.iter().filter(|volume| volume.usage_data.as_ref().is_some_and(|usage| usage.ref_count > 0)).count();
    let mut rows = vec![
        row("Images", images.len(), active, usage.layers_size, usage.layers_size - used, true),
        row(
            "Containers",
            containers.len(),
            containers.iter().filter(|container| container.is_active()).count(),
            container_size,
            stopped,
            true,
        ),
        row("Local Volumes", volumes.len(), active_volumes, volume_size(&|_| true), volume_size(&|count| count == 0), true),
        row("Build Cache", cache.len(), cache.iter().filter(|record| record.in_use).count(), cache_size, cache_size - in_use, false),
    ];
    rows.extend(usage.registry.as_ref().map(|own| row("Registry", own.blobs, own.shared_blobs, own.own_size, 0, false)));
    rows
}

fn row(kind: &str, total: usize, active: usize, size: i64, reclaimable: i64, percent: bool) -> Row {
    let mut free = human::size(reclaimable);
    if percent && size > 0 {
        free.push_str(&format!(" ({}%)", reclaimable.max(0) * 100 / size));
    }
    Row::new()
        .with("Type", kind)
        .with("TotalCount", total.to_string())
        .with("Active", active.to_string())
        .with("Size", human::size(size))
        .with("Reclaimable", free)
}

fn verbose(usage: &Usage) -> Outcome {
    output::line("Images space usage:\n")?;
    let table =
        "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}".to_owned();
    let images = usage.images.as_deref().unwrap_or_default();
    let rows: Vec<Row> =
        images.iter().flat_map(|image| image::list::names(image, false)).map(|named| image::list::row(&named, true)).collect();
    Listing { table, titles: image::list::TITLES, kind: "*formatter.imageContext" }.print("", &rows)?;

    output::line("\nContainers space usage:\n")?;
    let table = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}".to_owned();
    let containers = usage.containers.as_deref().unwrap_or_default();
    let rows: Vec<Row> = containers.iter().map(container::list::row_without_virtual_size).collect();
    Listing { table, titles: container::list::TITLES, kind: "*formatter.ContainerContext" }.print("", &rows)?;

    output::line("\nLocal Volumes space usage:\n")?;
    let rows: Vec<Row> = usage.volumes.iter().flatten().map(volume::list::row).collect();
    Listing { table: "{{.Name}}\t{{.Links}}\t{{.Size}}".to_owned(), titles: volume::list::TITLES, kind: "*formatter.volumeContext" }
        .print("", &rows)?;

    let cache = usage.build_cache.as_deref().unwrap_or_default();
    output::line(format!("\nBuild cache usage: {}\n", human::size(cache.iter().map(|record| record.size).sum())))?;
    let rows: Vec<Row> = cache.iter().map(cache_row).collect();
    let table = "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}".to_owned();
    Listing { table, titles: CACHE_TITLES, kind: "*formatter.buildCacheContext" }.print("", &rows)
}

fn cache_row(record: &CacheRecord) -> Row {
    let id = short_id(&record.id) + if record.in_use { "*" } else { "" };
    Row::new()
        .with("ID", id)
        .with("CacheType", record.kind.as_str())
        .with("Size", human::size(record.size))
        .with("CreatedSince", human::text_ago(&record.created_at))
        .with("LastUsedSince", record.last_used_at.as_deref().map(human::text_ago).unwrap_or_default())
        .with("UsageCount", record.usage_count.to_string())
        .with("Shared", record.shared.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_used_by_containers_are_not_reclaimable() {
        let usage: Usage = serde_json::from_str(
            r#"{"LayersSize":3000,"Images":[{"Size":1000,"SharedSize":0,"Containers":1},{"Size":2000,"SharedSize":0,"Containers":0}],"Containers":[{"SizeRw":5,"State":"exited"}]}"#,
        )
        .unwrap();
        let rows = summary(&usage);
        assert_eq!(rows[0].field("Reclaimable"), "2kB (66%)");
        assert_eq!(rows[1].field("Reclaimable"), "5B (100%)");
        assert_eq!(rows[3].field("Reclaimable"), "0B");
        assert_eq!(rows.len(), 4, "no registry, no word of one");
    }

    #[test]
    fn a_registry_beside_the_engine_counts_what_only_it_has() {
        let usage: Usage = serde_json::from_str(r#"{"Registry":{"Blobs":5,"SharedBlobs":3,"Size":900,"OwnSize":200}}"#).unwrap();
        let row = &summary(&usage)[4];
        assert_eq!(["Type", "TotalCount", "Active", "Size"].map(|name| row.field(name)), ["Registry", "5", "3", "200B"]);
    }
}
