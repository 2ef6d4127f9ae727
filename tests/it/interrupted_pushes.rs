//! `kill -9` at every stage of a push: the registry never has a manifest with holes, and what went up whole is not sent again.
//!
//! A door stands between daemon and registry. It shuts where the daemon is to die, and counts the bytes.

use serde_json::{Value, json};
use shipway_testkit::{Daemon, Gate, OwnRegistry, Stop, Tar, noise};

use crate::BINARY;

/// Of the layer that is more than programs; it hardly compresses.
const SIZE: usize = 6 << 20;

/// Where the daemon dies, and what the registry has then.
struct Stage {
    what: &'static str,
    stop: Option<Stop>,
    /// The layer was sent whole.
    sent: bool,
    /// The tag is there.
    tagged: bool,
}

fn stages() -> [Stage; 5] {
    let manifest = "PUT /v2/team/app/manifests/".to_owned();
    [
        Stage {
            what: "before anything is sent",
            stop: Some(Stop::Before("POST /v2/team/app/blobs/uploads/".to_owned())),
            sent: false,
            tagged: false,
        },
        Stage { what: "in the middle of a layer", stop: Some(Stop::After(SIZE as u64 / 2)), sent: false, tagged: false },
        Stage { what: "before the manifest", stop: Some(Stop::Before(manifest.clone())), sent: true, tagged: false },
        Stage { what: "before the registry's last answer", stop: Some(Stop::BeforeAnswerTo(manifest)), sent: true, tagged: true },
        Stage { what: "just after the answer", stop: None, sent: true, tagged: true },
    ]
}

#[test]
fn killed_at_any_stage_of_a_push_the_next_one_goes_on() {
    for stage in stages() {
        let registry = OwnRegistry::start(BINARY, &[]);
        let gate = Gate::before(registry.host());
        let mut daemon = Daemon::start(BINARY);
        let name = format!("{}/team/app:1", gate.host());
        daemon.import("filler", &Tar::new().file("noise", noise(3, SIZE)).finish());
        daemon.build(&format!("t={name}"), &Tar::new().file("Dockerfile", "FROM filler\nLABEL a=b\n").finish()).unwrap();
        let path = format!("/images/{}/team/app/push?tag=1", gate.host());
        let push = |daemon: &Daemon| daemon.call("POST", &path, &Value::Null).fine().text();

        match stage.stop {
            None => {
                let told = push(&daemon);
                assert!(told.contains("digest: sha256:"), "{told}");
            }
            Some(stop) => {
                gate.stop(stop);
                let (socket, path) = (daemon.socket(), path.clone());
                let client = std::thread::Builder::new().spawn(move || shipway_testkit::call(&socket, "POST", &path, "", b"")).unwrap();
                gate.wait();
                if stage.sent && !stage.tagged {
                    // Everything before the manifest was answered.
                    assert!(gate.sent() > SIZE as u64, "{}", gate.sent());
                }
                daemon.kill_9();
                drop(client.join());
                gate.open();
            }
        }
        daemon.kill_9();
        daemon.restart();
        daemon.assert_sound();
        assert_eq!(daemon.get("/images/json").as_array().map(Vec::len), Some(2), "{}", stage.what);
        let tagged = daemon.call("GET", &format!("/distribution/{name}/json"), &json!(null));
        assert_eq!(tagged.is_fine(), stage.tagged, "{}: {}", stage.what, tagged.text());

        let before = gate.sent();
        let told = push(&daemon);
        assert!(told.contains("digest: sha256:"), "{}: {told}", stage.what);
        let again = gate.sent() - before;
        assert_eq!(again < 64 << 10, stage.sent, "{}: {again} bytes were sent again: {told}", stage.what);
        assert_eq!(told.contains("Layer already exists"), stage.sent, "{}: {told}", stage.what);

        // Another machine gets all of it.
        let other = Daemon::start(BINARY);
        other.post(&format!("/images/create?fromImage={}/team/app&tag=1", gate.host()), &Value::Null).fine();
        assert_eq!(other.get("/images/json").as_array().map(Vec::len), Some(1));
        other.assert_sound();
        daemon.assert_nothing_left();
    }
}
