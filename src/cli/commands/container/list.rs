//! `ps`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::filters;
use crate::cli::human;
use crate::cli::listing::{Listing, Row, ellipsis, short_id};
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Filters the API knows (C-06).
const FILTERS: [&str; 16] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "driver",
];

/// List containers
#[derive(Debug, clap::Parser)]
pub(crate) struct List {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "int", default_value_t = -1, allow_negative_numbers = true)]
    last: i64,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

/// A container as the list endpoint tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Summary {
    pub(crate) id: String,
    names: Option<Vec<String>>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    command: String,
    created: i64,
    ports: Option<Vec<PortSummary>>,
    labels: Option<Map<String, Value>>,
    state: String,
    status: String,
    pub(crate) size_rw: i64,
    size_root_fs: i64,
    mounts: Option<Vec<MountSummary>>,
    network_settings: Option<NetworkSummary>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct PortSummary {
    #[serde(rename = "IP")]
    ip: String,
    private_port: u16,
    public_port: u16,
    #[serde(rename = "Type")]
    protocol: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct MountSummary {
    name: String,
    source: String,
    driver: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NetworkSummary {
    networks: Option<Map<String, Value>>,
}

impl Verb for List {
    const NAMES: &'static [&'static str] = &["container ls", "container list", "container ps", "ps"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let limit = if self.latest { 1 } else { self.last };
        let format = if self.format.is_empty() && !self.quiet { session.config()?.ps_format.clone() } else { self.format.clone() };
        let wants_size = self.size || format.contains(".Size");
        let call = Call::get("/containers/json")
            .flag("all", self.all || limit > 0)
            .query_if("limit", (limit > 0).then(|| limit.to_string()))
            .flag("size", wants_size)
            .query_if("filters", filters::query(&self.filter)?);
        let found: Vec<Summary> = session.client()?.json(call).await.map_err(|failure| filters::explain(failure, &FILTERS))?;
        if self.quiet && format.is_empty() {
            for container in &found {
                output::line(if self.no_trunc { container.id.clone() } else { short_id(&container.id) })?;
            }
            return Ok(());
        }
        let rows: Vec<Row> = found.iter().map(|container| row(container, !self.no_trunc)).collect();
        listing(self.size).print(&format, &rows)
    }
}

impl Summary {
    /// True while it holds processes, so that its changes are in use.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.state.as_str(), "running" | "paused" | "restarting")
    }
}

/// The list's shape; `docker system df -v` has one of its own.
pub(crate) fn listing(with_size: bool) -> Listing {
    let mut table = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}".to_owned();
    if with_size {
        table.push_str("\t{{.Size}}");
    }
    Listing { table, titles: TITLES, kind: "*formatter.ContainerContext" }
}

/// Titles of the fields.
pub(crate) const TITLES: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("HealthStatus", "HEALTH STATUS"),
];

/// As [`row`], with the size of the container's own changes alone, as `system df -v` shows it.
pub(crate) fn row_without_virtual_size(container: &Summary) -> Row {
    row(container, true).with("Size", human::size(container.size_rw))
}

/// One container as a row.
pub(crate) fn row(container: &Summary, truncate: bool) -> Row {
    let command = if truncate { ellipsis(&container.command, 20) } else { container.command.clone() };
    let mounts = container.mounts.as_deref().unwrap_or_default();
    let mount_names: Vec<String> = mounts
        .iter()
        .map(|mount| if mount.name.is_empty() { &mount.source } else { &mount.name })
        .map(|name| if truncate { ellipsis(name, 15) } else { name.clone() })
        .collect();
    let mut size = human::short_size(container.size_rw);
    if container.size_root_fs > 0 {
        size = format!("{size} (virtual {})", human::short_size(container.size_root_fs));
    }
    let networks = container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    Row::new()
        .with("ID", if truncate { short_id(&container.id) } else { container.id.clone() })
        .with("Names", names(container.names.as_deref().unwrap_or_default(), truncate))
        .with("Image", image(container, truncate))
        .with("Command", go_quote(&command))
        .with("CreatedAt", human::local(container.created))
        .with("RunningFor", human::ago(container.created))
        .with("Ports", ports(container.ports.as_deref().unwrap_or_default()))
        .with("State", container.state.as_str())
        .with("Status", container.status.as_str())
        .with("Size", size)
        .with("Mounts", mount_names.join(","))
        .with("LocalVolumes", mounts.iter().filter(|mount| mount.driver == "local").count().to_string())
        .with("Networks", networks.map(|networks| networks.keys().cloned().collect::<Vec<_>>().join(",")).unwrap_or_default())
        .with("Platform", Value::Null)
        .with("HealthStatus", health(&container.status))
        .with_labels(container.labels.as_ref())
}

/// The health that a status ends with: `Up 2 minutes (healthy)`.
fn health(status: &str) -> &'static str {
    match status.rsplit_once('(').map(|(_, rest)| rest.trim_end_matches(')')) {
        Some("healthy") => "healthy",
        Some("unhealthy") => "unhealthy",
        Some("health: starting") => "starting",
        _ => "none",
    }
}

/// Names without the leading slash; names through links (`/web/db`) are left out when truncating, as docker does.
fn names(names: &[String], truncate: bool) -> String {
    let bare = names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    bare.filter(|name| !truncate || !name.contains('/')).collect::<Vec<_>>().join(",")
}

fn image(container: &Summary, truncate: bool) -> String {
    if container.image.is_empty() {
        return "<no image>".to_owned();
    }
    if !truncate {
        return container.image.clone();
    }
    let short = short_id(&container.image_id);
    if short == short_id(&container.image) {
        return short;
    }
    container.image.split('@').next().unwrap_or_default().to_owned()
}

/// Go's `strconv.Quote`.
fn go_quote(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            letter if letter.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`, with neighbouring ports joined: `7000-7003/tcp`.
fn ports(ports: &[PortSummary]) -> String {
    let mut sorted: Vec<&PortSummary> = ports.iter().collect();
    sorted.sort_by(|left, right| {
        (left.private_port, &left.ip, left.public_port, &left.protocol).cmp(&(
            right.private_port,
            &right.ip,
            right.public_port,
            &right.protocol,
        ))
    });
    let mut groups: Vec<(String, u16, u16)> = Vec::new();
    let mut finished = Vec::new();
    let mut mapped = Vec::new();
    for port in sorted {
        if !port.ip.is_empty() && port.public_port != port.private_port {
            let address = if port.ip.contains(':') { format!("[{}]", port.ip) } else { port.ip.clone() };
            mapped.push(format!("{address}:{}->{}/{}", port.public_port, port.private_port, port.protocol));
            continue;
        }
        let key = if port.ip.is_empty() { port.protocol.clone() } else { format!("{}/{}", port.ip, port.protocol) };
        match groups.iter_mut().find(|(known, _, _)| *known == key) {
            None => groups.push((key, port.private_port, port.private_port)),
            Some(group) if group.2.checked_add(1) == Some(port.private_port) => group.2 = port.private_port,
            Some(group) => {
                finished.push(port_group(group));
                (group.1, group.2) = (port.private_port, port.private_port);
            }
        }
    }
    finished.extend(groups.iter().map(port_group));
    finished.extend(mapped);
    finished.join(", ")
}

fn port_group((key, first, last): &(String, u16, u16)) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    match key.rsplit_once('/') {
        Some((ip, protocol)) => {
            let address = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            format!("{address}:{range}->{range}/{protocol}")
        }
        None => format!("{range}/{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private_port: u16, public_port: u16) -> PortSummary {
        PortSummary { ip: ip.to_owned(), private_port, public_port, protocol: "tcp".to_owned() }
    }

    #[test]
    fn ports_are_joined_as_docker_joins_them() {
        let table = [
            (vec![port("", 80, 0)], "80/tcp"),
            (vec![port("0.0.0.0", 80, 8080), port("::", 80, 8080)], "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
            (vec![port("", 82, 0), port("", 80, 0), port("", 81, 0), port("", 90, 0)], "80-82/tcp, 90/tcp"),
            (vec![port("1.2.3.4", 80, 80), port("1.2.3.4", 81, 81)], "1.2.3.4:80-81->80-81/tcp"),
        ];
        for (given, expected) in table {
            assert_eq!(ports(&given), expected);
        }
    }

    #[test]
    fn health_is_read_from_the_status() {
        for (status, expected) in [
            ("Up 2 minutes (healthy)", "healthy"),
            ("Up 1 second (health: starting)", "starting"),
            ("Up 2 minutes (unhealthy)", "unhealthy"),
            ("Exited (1) 2 hours ago", "none"),
            ("Up 3 hours (Paused)", "none"),
        ] {
            assert_eq!(health(status), expected, "{status}");
        }
    }

    #[test]
    fn a_row_reads_as_docker_prints_it() {
        let links = ["/web".to_owned(), "/db/web".to_owned()];
        assert_eq!((names(&links, true).as_str(), names(&links, false).as_str()), ("web", "web,db/web"));
        let text = r#"{"Id":"cdb53a20144fdec6d04753cbddf8d22882dc68f5be5df2a89c1a7513fc2d796f","Names":["/web","/db/web"],"Image":"busybox@sha256:aa",
            "ImageID":"sha256:bb","Command":"sh -c 'exit 7' and more","Created":1,"Ports":[],"SizeRw":5,"SizeRootFs":1982382,"Labels":{"b":"2","a":"1"},
            "State":"exited","Status":"Exited (7)","NetworkSettings":{"Networks":{"none":{}}},"Mounts":[{"Name":"0123456789abcdefgh","Driver":"local"}]}"#;
        let summary: Summary = serde_json::from_str(text).unwrap();
        let row = row(&summary, true);
        let table = [
            ("ID", "cdb53a20144f"),
            ("Names", "web"),
            ("Image", "busybox"),
            ("Command", "\"sh -c 'exit 7' and …\""),
            ("Size", "5B (virtual 1.98MB)"),
            ("Labels", "a=1,b=2"),
            ("Networks", "none"),
            ("Mounts", "0123456789abcd…"),
            ("LocalVolumes", "1"),
            ("HealthStatus", "none"),
        ];
        for (field, expected) in table {
            assert_eq!(row.field(field), expected, "{field}");
        }
    }
}
