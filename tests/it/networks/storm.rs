//! Random creations, starts, kills and removals with deaths of the daemon in between leave nothing behind.

use std::time::Duration;

use serde_json::{Value, json};
use shipway_testkit::{Daemon, eventually};

use super::daemon;

/// Operations in an ordinary run; `SHIPWAY_NETWORK_STORM=500` for the long one.
const OPERATIONS: u64 = 60;
/// One death of the daemon in so many operations.
const DEATHS: u64 = 20;

/// A small generator: the same seed is the same storm.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[allow(clippy::disallowed_methods)] // A test reads its own setting.
fn operations() -> u64 {
    std::env::var("SHIPWAY_NETWORK_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(OPERATIONS)
}

#[test]
fn after_a_storm_with_deaths_of_the_daemon_nothing_is_left() {
    let mut daemon = daemon();
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    eprintln!("seed {seed}");
    let mut dice = Dice(u64::from(seed));
    for network in ["one", "two"] {
        daemon.post("/networks/create", &json!({"Name": network})).fine();
    }
    for round in 0..operations() {
        let name = format!("c{}", dice.roll(6));
        let network = ["one", "two", "bridge"][usize::try_from(dice.roll(3)).unwrap()];
        let path = format!("/containers/{name}");
        // Refusals are part of the storm; only a dead daemon or a 500 is not.
        let answer = match dice.roll(6) {
            0 | 1 => {
                let port = (9000 + dice.roll(4)).to_string();
                let host =
                    json!({"NetworkMode": network, "PortBindings": {"80/tcp": [{"HostPort": port}]}, "AutoRemove": dice.roll(2) == 0});
                let body = json!({"Image": "box", "Cmd": ["sleep", "100"], "HostConfig": host, "ExposedPorts": {"80/tcp": {}}});
                let made = daemon.post(&format!("/containers/create?name={name}"), &body);
                if made.status == 201 { daemon.post(&format!("{path}/start"), &Value::Null) } else { made }
            }
            2 => daemon.post(&format!("{path}/kill"), &Value::Null),
            3 => daemon.delete(&format!("{path}?force=1")),
            4 => daemon.post(&format!("/networks/{network}/connect"), &json!({"Container": name})),
            _ => daemon.post(&format!("/networks/{network}/disconnect"), &json!({"Container": name})),
        };
        let taken = answer.status == 500 && answer.json()["message"].as_str().unwrap_or_default().contains("port is already allocated");
        assert!(answer.status < 500 || taken, "{}", answer.json());
        if round % DEATHS == DEATHS - 1 {
            if dice.roll(2) == 0 {
                daemon.restart();
            } else {
                daemon.restart_and_kill_after(Duration::from_millis(dice.roll(120)));
                daemon.restart();
            }
        }
    }
    daemon.remove_all_containers();
    for network in ["one", "two"] {
        eventually("a network without containers", 10, || (daemon.delete(&format!("/networks/{network}")).status == 204).then_some(()));
    }
    daemon.assert_nothing_left();
    assert_clean(&daemon);
}

/// No interface but loopback and the default bridge, and no rule for a port.
fn assert_clean(daemon: &Daemon) {
    eventually("no interface left", 20, || {
        let links = daemon.netns().run("ip -o link | grep -v ' lo:' | grep -v -- '-0:' | grep -vi shipway0 || true");
        links.trim().is_empty().then_some(())
    });
    let rules = daemon.netns().run("nft list ruleset");
    for port in 9000..9004 {
        assert!(!rules.contains(&format!(" {port} ")), "{rules}");
    }
    daemon.assert_sound();
}
