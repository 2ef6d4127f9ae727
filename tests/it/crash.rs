//! Contract C1: what was acknowledged survives `kill -9` of the daemon at any moment, and what was not is there whole or not at all.
//!
//! `world.rs` keeps the client's side of the story, the list of what was acknowledged, and holds the daemon to it after each restart.
//! Rounds: 12, or `SHIPWAY_CRASH_ROUNDS`. A failed run repeats with the `SHIPWAY_CRASH_SEED` it prints, as far as timing allows.

pub(crate) mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::json;
use shipway_testkit::{Daemon, Setup};

use crate::BINARY;
use world::{Kind, World};

/// Rounds of an ordinary run.
const ROUNDS: u64 = 12;

#[expect(clippy::disallowed_methods, reason = "a switch of this test, for who runs it by hand")]
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// xorshift64: enough to choose an operation and a moment.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

#[test]
fn killed_at_random_moments_nothing_acknowledged_is_lost() {
    let rounds = setting("SHIPWAY_CRASH_ROUNDS", ROUNDS);
    let seed = setting("SHIPWAY_CRASH_SEED", u64::from(std::process::id()) << 20 | 0x5eed);
    eprintln!("{rounds} rounds with SHIPWAY_CRASH_SEED={seed}");
    let mut random = Random(seed);
    let mut daemon = Daemon::start(BINARY);
    let mut world = World::begin(&daemon);
    let mut typical: BTreeMap<Kind, Duration> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    let mut acknowledged = 0;
    for round in 0..rounds {
        let op = world.choose(&mut |limit| random.below(limit));
        let usual = typical.get(&op.kind()).copied().unwrap_or(Duration::from_millis(60));
        let moment = Duration::from_micros(random.below(u64::try_from(usual.as_micros()).unwrap() * 13 / 10));
        let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
        let (done, took) = std::thread::scope(|scope| {
            let (world, daemon, op) = (&mut world, &daemon, &op);
            let client = scope.spawn(move || {
                let begun = Instant::now();
                (world.perform(daemon, op).is_ok(), begun.elapsed())
            });
            std::thread::sleep(moment);
            rustix::process::kill_process(pid, Signal::KILL).unwrap();
            client.join().unwrap()
        });
        if done {
            acknowledged += 1;
            typical.insert(op.kind(), took);
        } else {
            // Never seen whole yet: look a little later next time.
            typical.entry(op.kind()).and_modify(|usual| *usual = (*usual * 11 / 10).min(Duration::from_secs(3))).or_insert(usual * 2);
        }
        daemon.kill_9();
        if random.below(4) == 0 {
            daemon.restart_and_kill_after(Duration::from_micros(random.below(40_000)));
        }
        slowest = slowest.max(daemon.restart());
        world.context = format!("round {round}, seed {seed}: {op:?} killed after {moment:?}, acknowledged: {done}");
        world.check(&daemon);
        if !done {
            world.repeat(&daemon, &op);
            world.check(&daemon);
        }
    }
    eprintln!("{acknowledged} of {rounds} were acknowledged before the kill; slowest restart {slowest:?}");
    world.end(&daemon);
}

/// Points of volumes, which these lives do not touch, and of blobs and downloads, which only pulled images have; `shipping.rs` dies at those.
const OUT_OF_REACH: &[&str] = &[
    "store.volume.created",
    "store.volume.staged",
    "store.volume.moved",
    "store.volume.removed",
    "store.blob.written",
    "store.blob.renamed",
    "store.download.appended",
    "store.download.complete",
    "store.download.renamed",
];

/// Every fault point in the sources whose name begins with one of `prefixes`.
fn fault_points(prefixes: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crates")];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.extend(text.split("fault::point(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    found.sort();
    found.dedup();
    found.retain(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)) && !OUT_OF_REACH.contains(&name.as_str()));
    found
}

/// One daemon that dies again and again: at each of `points`, at each of its first passes, in the middle of a life of all operations.
///
/// The points of `sys::durable`'s own helpers are no part of such a life; its own test dies at each of them.
fn die_at(prefixes: &[&str]) {
    let points = fault_points(prefixes);
    assert!(!points.is_empty());
    let mut daemon = Setup::new(BINARY).start();
    let mut world = World::begin(&daemon);
    let mut never = Vec::new();
    for point in &points {
        for pass in [1, 2, 5] {
            if never.contains(point) {
                break;
            }
            daemon.restart_with_fault(point, pass);
            let mut fatal = None;
            for op in world.script() {
                if !daemon.is_alive() || world.perform(&daemon, &op).is_err() {
                    fatal = Some(op);
                    break;
                }
            }
            match &fatal {
                Some(_) => {
                    let status = daemon.wait_for_death(10);
                    assert_eq!(
                        std::os::unix::process::ExitStatusExt::signal(&status),
                        Some(9),
                        "{point}:{pass}: {status}\n{}",
                        daemon.log()
                    );
                }
                None if pass == 1 => never.push(point.clone()),
                None => {}
            }
            daemon.restart();
            world.context = format!("SHIPWAY_FAULT={point}:{pass}, in {fatal:?}");
            world.check(&daemon);
            if let Some(op) = fatal {
                world.repeat(&daemon, &op);
                world.check(&daemon);
            }
        }
    }
    assert!(never.is_empty(), "never reached: {never:?}");
    world.end(&daemon);
}

#[test]
fn dying_while_a_layer_is_made_loses_nothing() {
    die_at(&["store.commit.", "store.unpack.", "store.blob."]);
}

#[test]
fn dying_while_publishing_loses_nothing() {
    die_at(&["store.publish.", "store.collect."]);
}

#[test]
fn dying_while_a_transaction_is_written_loses_nothing() {
    die_at(&["state."]);
}

/// What follows a container's end is still going on when its removal is acknowledged: here, that eight filesystems are taken away.
#[test]
fn a_removal_is_not_undone_by_what_the_end_still_has_to_write() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let volumes: Vec<String> = (0..8).map(|number| format!("memory{number}")).collect();
    for name in &volumes {
        let options = json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"});
        daemon.post("/volumes/create", &json!({"Name": name, "DriverOpts": options})).fine();
    }
    let binds: Vec<String> = volumes.iter().map(|name| format!("{name}:/{name}")).collect();
    for _ in 0..3 {
        let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"], "HostConfig": {"Binds": binds}}));
        daemon.delete(&format!("/containers/{id}?force=1")).fine();
        // The late write is on its way; give it the time to do its harm.
        std::thread::sleep(Duration::from_millis(200));
        daemon.kill_9();
        daemon.restart();
        assert_eq!(daemon.get("/containers/json?all=1"), json!([]));
    }
    daemon.assert_nothing_left();
}
