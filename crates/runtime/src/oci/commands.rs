//! The commands that look, signal and take away.
//!
//! What must stay true: `delete` without --force never ends a running program; `state` of a container whose process is gone says "stopped".

use rustix::process::Pid;
use shipway_model::Signal;
use shipway_sys::cgroup::Group;
use shipway_sys::process;

use super::arguments::{Flag, parse};
use super::create::destroy;
use super::error::Error;
use super::store::{Container, Status, Store};
use super::{Global, say};

pub(super) const HELP: &str = "usage: shipway oci [--root DIR] [--log FILE] [--log-format text|json] COMMAND

An OCI runtime; flags and exit codes are runc's.

  create [-b BUNDLE] [--console-socket S] [--pid-file F] ID    make a container, up to its gate
  start ID                                                     let its program run
  run [-d] [--keep] [-b BUNDLE] ID                             both, and wait for the end
  state ID                                                     tell its state as JSON
  kill [--all] ID [SIGNAL]                                     send a signal (TERM)
  delete [--force] ID                                          take it away
  exec [-t] [-d] [-e K=V] [-u UID[:GID]] ID COMMAND...         run one more program in it
  list [-q] [-f json|table]                                    tell them all
  ps [-f json|table] ID                                        tell its processes
  pause ID, resume ID, update [flags] ID                       stop it where it is, let it go on, limit it
  spec [-b BUNDLE]                                             write a config.json to begin with
  features                                                     tell what is supported
";

/// `oci state`.
pub(super) fn state(global: &Global, words: &[String]) -> Result<u8, Error> {
    let parsed = parse(words, &[])?;
    let [id] = parsed.words(1, "state <container-id>")?;
    let container = Store::new(global).load(id)?;
    let state = container.state(container.status());
    say(&format!("{state:#}\n"))?;
    Ok(0)
}

/// `oci kill`.
pub(super) fn kill(global: &Global, words: &[String]) -> Result<u8, Error> {
    let parsed = parse(words, &[Flag::short_switch("all", 'a')])?;
    let [id] = parsed.words(2, "kill [--all] <container-id> [signal]")?;
    let name = parsed.rest.get(1).map_or("SIGTERM", String::as_str);
    let signal: Signal = name.parse().map_err(|_| Error::usage(format!("unknown signal \"{name}\"")))?;
    let container = Store::new(global).load(id)?;
    let group = container.group()?;
    if parsed.has("all") {
        for pid in group.processes() {
            // One that has just ended needs no signal.
            let _ = process::send_signal(pid, signal.number());
        }
    } else {
        let (pid, _kept_alive) = container.process()?;
        process::send_signal(pid, signal.number())?;
    }
    if signal == Signal::KILL {
        // A frozen process of cgroup version 1 dies only when thawed; elsewhere there is nothing to thaw.
        let _ = group.thaw();
    }
    Ok(0)
}

/// `oci delete`.
pub(super) fn delete(global: &Global, words: &[String]) -> Result<u8, Error> {
    let parsed = parse(words, &[Flag::short_switch("force", 'f')])?;
    let [id] = parsed.words(1, "delete [--force] <container-id>")?;
    let force = parsed.has("force");
    let store = Store::new(global);
    let container = match store.load(id) {
        Ok(container) => container,
        Err(Error::NotFound { .. }) if force => {
            // A create that was killed before it wrote anything leaves its claim.
            let _ = std::fs::remove_dir_all(store.folder(id)?);
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    match container.status() {
        Status::Stopped | Status::Created => {}
        _ if force => {}
        status => {
            return Err(Error::WrongState { verb: "delete", id: id.to_owned(), wanted: "stopped", status: status.name() });
        }
    }
    destroy(global, &container)?;
    Ok(0)
}

/// `oci list`.
pub(super) fn list(global: &Global, words: &[String]) -> Result<u8, Error> {
    let parsed = parse(words, &[Flag::short_switch("quiet", 'q'), Flag::short_value("format", 'f')])?;
    let containers = Store::new(global).all();
    let text = match parsed.text("format").unwrap_or("table") {
        _ if parsed.has("quiet") => containers.iter().map(|container| format!("{}\n", container.record.id)).collect(),
        "table" => table(&list_rows(&containers)),
        "json" if containers.is_empty() => "null".to_owned(),
        "json" => serde_json::Value::from_iter(containers.iter().map(|container| container.state(container.status()))).to_string(),
        other => return Err(Error::usage(format!("invalid format option \"{other}\""))),
    };
    say(&text)?;
    Ok(0)
}

fn list_rows(containers: &[Container]) -> Vec<Vec<String>> {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned).to_vec();
    let row = |container: &Container| {
        let (status, record) = (container.status(), &container.record);
        let pid = if status == Status::Stopped { 0 } else { record.pid };
        let owner = if record.owner == 0 { "root".to_owned() } else { format!("#{}", record.owner) };
        vec![
            record.id.clone(),
            pid.to_string(),
            status.name().to_owned(),
            record.bundle.display().to_string(),
            record.created.clone(),
            owner,
        ]
    };
    std::iter::once(head).chain(containers.iter().map(row)).collect()
}

/// Columns as wide as their widest word, three spaces between them.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|word| word.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, word) in row.iter().enumerate() {
            line.push_str(&format!("{word:<width$}   ", width = width(column)));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `oci ps`.
pub(super) fn ps(global: &Global, words: &[String]) -> Result<u8, Error> {
    let parsed = parse(words, &[Flag::short_value("format", 'f')])?;
    // Further words are options of ps(1) for runc; ours is a fixed table.
    let [id] = parsed.words(usize::MAX, "ps [--format json|table] <container-id>")?;
    let pids = Store::new(global).load(id)?.group()?.processes();
    let text = match parsed.text("format").unwrap_or("table") {
        "json" => serde_json::Value::from_iter(pids.iter().map(|pid| pid.as_raw_pid())).to_string(),
        "table" => {
            let head = ["UID", "PID", "PPID", "CMD"].map(str::to_owned).to_vec();
            table(&std::iter::once(head).chain(pids.into_iter().filter_map(process_row)).collect::<Vec<_>>())
        }
        other => return Err(Error::usage(format!("invalid format option \"{other}\""))),
    };
    say(&text)?;
    Ok(0)
}

/// `None` for a process that has ended meanwhile.
fn process_row(pid: Pid) -> Option<Vec<String>> {
    let number = pid.as_raw_pid();
    let status = std::fs::read_to_string(format!("/proc/{number}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()).map(str::to_owned);
    let command = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let command = if command.trim().is_empty() { format!("[{}]", field("Name:")?) } else { command.trim().to_owned() };
    Some(vec![field("Uid:")?, number.to_string(), field("PPid:")?, command])
}

/// `oci pause`.
pub(super) fn pause(global: &Global, words: &[String]) -> Result<u8, Error> {
    let freeze = |container: &Container, group: &Group| match container.status() {
        Status::Running | Status::Created => Ok(group.freeze()?),
        Status::Paused => Ok(()),
        _ => Err(Error::NotRunning),
    };
    with_group(global, words, "pause <container-id>", freeze)
}

/// `oci resume`.
pub(super) fn resume(global: &Global, words: &[String]) -> Result<u8, Error> {
    let thaw = |container: &Container, group: &Group| match container.status() {
        Status::Paused | Status::Created => Ok(group.thaw()?),
        _ => Err(Error::refused("container not paused")),
    };
    with_group(global, words, "resume <container-id>", thaw)
}

fn with_group(
    global: &Global,
    words: &[String],
    usage: &str,
    work: impl FnOnce(&Container, &Group) -> Result<(), Error>,
) -> Result<u8, Error> {
    let parsed = parse(words, &[])?;
    let [id] = parsed.words(1, usage)?;
    let container = Store::new(global).load(id)?;
    let group = container.group()?;
    work(&container, &group).map(|()| 0)
}
