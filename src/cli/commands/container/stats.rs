//! `stats`: one reading, or a table redrawn for as long as it is watched.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::{Call, Client};
use crate::cli::exit::Outcome;
use crate::cli::human;
use crate::cli::listing::{Listing, Row, short_id};
use crate::cli::output;
use crate::cli::session::Session;
use serde_json::Value;

/// Display a live stream of container(s) resource usage statistics
#[derive(Debug, clap::Parser)]
pub(crate) struct Stats {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(hide = true)]
    containers: Vec<String>,
}

const TITLES: &[(&str, &str)] = &[
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

impl Verb for Stats {
    const NAMES: &'static [&'static str] = &["container stats", "stats"];
    const USAGE: &'static str = "[OPTIONS] [CONTAINER...]";
    const WORDS: Words = Words::AtLeast(0);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        let table = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}".to_owned();
        let listing = Listing { table, titles: TITLES, kind: "*container.statsContext" };
        loop {
            let began = tokio::time::Instant::now();
            let names = self.names(client).await?;
            let mut rows = Vec::new();
            // Without "one-shot" the daemon waits for a second reading, which is what makes a percentage; all containers are waited for at once.
            let readings = names.iter().map(|name| client.json::<Value>(Call::get(path(name, "/stats")).query("stream", "0")));
            for (name, reading) in names.iter().zip(futures_util::future::join_all(readings).await) {
                match reading {
                    Ok(stats) => rows.push(row(name, &stats, !self.no_trunc)),
                    // A container of the whole list may be gone by now; one that was named must be there.
                    Err(failure) if self.containers.is_empty() && failure.is_not_found() => {}
                    Err(failure) => return Err(failure),
                }
            }
            let text = listing.render(&self.format, &rows)?;
            if self.no_stream || !output::is_terminal() {
                output::text(&text)?;
            } else {
                output::text(&format!("\x1b[H\x1b[J{text}"))?;
            }
            if self.no_stream {
                return Ok(());
            }
            // Readings of what does not run come at once, and so does an empty list.
            tokio::time::sleep_until(began + std::time::Duration::from_secs(1)).await;
        }
    }
}

impl Stats {
    async fn names(&self, client: &Client) -> Outcome<Vec<String>> {
        if !self.containers.is_empty() {
            return Ok(self.containers.clone());
        }
        let found: Vec<super::list::Summary> = client.json(Call::get("/containers/json").flag("all", self.all)).await?;
        Ok(found.into_iter().map(|container| if self.no_trunc { container.id } else { short_id(&container.id) }).collect())
    }
}

fn row(container: &str, stats: &Value, truncate: bool) -> Row {
    let number = |pointer: &str| stats.pointer(pointer).and_then(Value::as_f64).unwrap_or_default();
    let text = |pointer: &str| stats.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let cpu = {
        let used = number("/cpu_stats/cpu_usage/total_usage") - number("/precpu_stats/cpu_usage/total_usage");
        let whole = number("/cpu_stats/system_cpu_usage") - number("/precpu_stats/system_cpu_usage");
        let cpus = number("/cpu_stats/online_cpus").max(1.0);
        if whole > 0.0 && used > 0.0 { used / whole * cpus * 100.0 } else { 0.0 }
    };
    // Page cache that can be given back at once is not what a person means by used memory.
    let cache = if stats.pointer("/memory_stats/stats/total_inactive_file").is_some() {
        number("/memory_stats/stats/total_inactive_file")
    } else {
        number("/memory_stats/stats/inactive_file")
    };
    let (usage, limit) = ((number("/memory_stats/usage") - cache).max(0.0), number("/memory_stats/limit"));
    let memory = if limit > 0.0 { usage / limit * 100.0 } else { 0.0 };
    let (mut received, mut sent) = (0.0, 0.0);
    for network in stats.get("networks").and_then(Value::as_object).into_iter().flat_map(|networks| networks.values()) {
        received += network.get("rx_bytes").and_then(Value::as_f64).unwrap_or_default();
        sent += network.get("tx_bytes").and_then(Value::as_f64).unwrap_or_default();
    }
    let (mut read, mut written) = (0.0, 0.0);
    for entry in stats.pointer("/blkio_stats/io_service_bytes_recursive").and_then(Value::as_array).into_iter().flatten() {
        let value = entry.get("value").and_then(Value::as_f64).unwrap_or_default();
        match entry.get("op").and_then(Value::as_str).unwrap_or_default().to_lowercase().as_str() {
            "read" => read += value,
            "write" => written += value,
            _ => {}
        }
    }
    let short = |bytes: f64| human::short_size(bytes as i64);
    Row::new()
        .with("Container", container)
        .with("ID", if truncate { short_id(text("/id")) } else { text("/id").to_owned() })
        .with("Name", text("/name").trim_start_matches('/'))
        .with("CPUPerc", format!("{cpu:.2}%"))
        .with("MemUsage", format!("{} / {}", human::binary_size(usage as i64), human::binary_size(limit as i64)))
        .with("MemPerc", format!("{memory:.2}%"))
        .with("NetIO", format!("{} / {}", short(received), short(sent)))
        .with("BlockIO", format!("{} / {}", short(read), short(written)))
        .with("PIDs", (number("/pids_stats/current") as u64).to_string())
}
