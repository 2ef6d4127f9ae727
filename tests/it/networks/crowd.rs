//! Many containers at once on two networks: they start, answer by name, cost little while idle, and go without a trace.

use std::path::Path;

use serde_json::{Value, json};
use shipway_testkit::{Daemon, eventually};

use super::daemon;

/// Containers in an ordinary run; `SHIPWAY_CROWD=1000` for the long one. A bridge has 1024 ports (Linux, `BR_MAX_PORTS`).
const CONTAINERS: usize = 40;
/// Clients that start and remove at the same time.
const CLIENTS: usize = 8;
/// Most memory that an idle container may hold beside its own processes, KiB.
const MEMORY: u64 = 2048;

#[allow(clippy::disallowed_methods)] // A test reads its own setting.
fn containers() -> usize {
    std::env::var("SHIPWAY_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(CONTAINERS)
}

fn network(at: usize) -> &'static str {
    ["one", "two"][at % 2]
}

/// Does `work` for every number below `count`, several at once.
fn side_by_side(count: usize, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let work = &work;
            scope.spawn(move || (client..count).step_by(CLIENTS).for_each(work));
        }
    });
}

#[test]
fn a_crowd_starts_answers_costs_little_and_goes() {
    let count = containers();
    let daemon = daemon();
    for network in ["one", "two"] {
        daemon.post("/networks/create", &json!({"Name": network})).fine();
    }
    side_by_side(count, |at| {
        let body = json!({
            "Image": "box", "Hostname": format!("host{at}"), "HostConfig": {"NetworkMode": network(at)},
            "Cmd": ["sh", "-c", "hostname > /name; exec httpd -f -p 80 -h /"],
        });
        daemon.post(&format!("/containers/create?name=c{at}"), &body).fine();
        daemon.post(&format!("/containers/c{at}/start"), &Value::Null).fine();
    });
    for at in 0..2 {
        // Its server may need a moment more than its start.
        let ask = r"n=0; until printf 'GET /name HTTP/1.0\r\n\r\n' | nc -w 10 c$i 80 | grep ^host; do n=$((n+1)); [ $n -lt 100 ] || break; sleep 0.1; done";
        let names = format!("for i in $(seq {at} 2 {}); do {ask}; done", count - 1);
        let said = daemon.run(&json!({"Image": "box", "Cmd": ["sh", "-c", names], "HostConfig": {"NetworkMode": network(at)}}));
        let expected: Vec<String> = (at..count).step_by(2).map(|at| format!("host{at}")).collect();
        assert_eq!(said.stdout.lines().collect::<Vec<_>>(), expected, "{}", said.stderr);
    }
    let each = memory_of_monitors(&daemon) / u64::try_from(count).unwrap();
    eprintln!("{count} containers: {each} KiB for each beside its own processes");
    assert!(each < MEMORY, "{each} KiB");
    side_by_side(count, |at| {
        daemon.delete(&format!("/containers/c{at}?force=1")).fine();
    });
    for network in ["one", "two"] {
        daemon.delete(&format!("/networks/{network}")).fine();
    }
    daemon.assert_nothing_left();
    eventually("no interface left", 60, || {
        let links = daemon.netns().run("ip -o link | grep -v ' lo:' | grep -v -- '-0:' | grep -vi shipway0 || true");
        links.trim().is_empty().then_some(())
    });
    daemon.assert_sound();
}

/// KiB of the daemon's monitors and their seats together; a page that several share counts in parts (`Pss`, proc_pid_smaps(5)).
fn memory_of_monitors(daemon: &Daemon) -> u64 {
    let monitors = children(daemon.pid());
    let processes = monitors.iter().flat_map(|monitor| children(*monitor).into_iter().chain([*monitor]));
    processes.filter(|pid| is_monitor(*pid)).filter_map(memory).sum()
}

fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    // The name, in brackets, may have anything in it; then come the state and the parent.
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    line.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A monitor, or its seat, which is its clone.
fn is_monitor(pid: u32) -> bool {
    std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).is_ok_and(|line| line.starts_with(b"shipway-monitor"))
}

fn memory(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
}
