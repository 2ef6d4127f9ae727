//! `kill -9` and power cuts at every stage of a pull: nothing half of it shows, what came whole is not fetched again, what broke off is gone on with.
//!
//! The registry is scripted: it stops in the middle of the answer where the daemon is to die, and remembers what it was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use shipway_testkit::{Asked, BadRegistry, Daemon, Delivery, Disk, Reply, SampleImage, Setup, Tar, busybox_tar, eventually, noise, sha256};

use crate::BINARY;

/// Of the two layers that are more than programs.
const SIZE: usize = 3 << 20;
/// Where the second one breaks off.
const HALF: usize = 2 << 20;

/// Where the daemon dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The token server does not answer.
    Token,
    /// The manifest stops in the middle.
    Manifest,
    /// The config does not come.
    Config,
    /// The first layer is here, the second stops in the middle.
    MidLayer,
    /// Two layers are here, the third does not come.
    BetweenLayers,
    /// All bytes are here; the daemon dies by itself at this point.
    Point(&'static str),
    /// The answer has just been read.
    Answered,
}

const STAGES: [Stage; 9] = [
    Stage::Token,
    Stage::Manifest,
    Stage::Config,
    Stage::MidLayer,
    Stage::BetweenLayers,
    Stage::Point("store.unpack.unpacked"),
    Stage::Point("store.download.renamed"),
    Stage::Point("store.publish.synced"),
    Stage::Answered,
];

/// A registry with one image, and a daemon that is to die.
struct Scene {
    image: SampleImage,
    registry: BadRegistry,
    /// Set once the script got to where the daemon is to die.
    stopped: Arc<AtomicBool>,
    /// The script is honest from now on.
    honest: Arc<AtomicBool>,
}

impl Scene {
    fn set(stage: Stage) -> Self {
        let layer = |name: &str, seed| Tar::new().file(name, noise(seed, SIZE)).finish();
        let image = SampleImage::of(&[busybox_tar().finish(), layer("one", 1), layer("two", 2)]);
        let (stopped, honest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (script, flag, well) = (image.clone(), Arc::clone(&stopped), Arc::clone(&honest));
        let registry = BadRegistry::plain(move |asked, _| {
            let reply = answer(&script, asked);
            if well.load(Ordering::Acquire) || asked.method != "GET" {
                return reply;
            }
            let path = asked.path();
            let stop = match stage {
                Stage::Token => path.ends_with("/token").then_some(0),
                Stage::Manifest => (path.contains("/manifests/") && reply.status == 200).then_some(100),
                Stage::Config => path.ends_with(&script.config).then_some(0),
                Stage::MidLayer => path.ends_with(&script.layers[1]).then_some(HALF),
                Stage::BetweenLayers => path.ends_with(&script.layers[2]).then_some(0),
                Stage::Point(_) | Stage::Answered => None,
            };
            let Some(bytes) = stop else { return reply };
            flag.store(true, Ordering::Release);
            reply.by(Delivery::Hanging(bytes))
        });
        Self { image, registry, stopped, honest }
    }

    fn name(&self) -> String {
        format!("{}/team/app:1", self.registry.domain())
    }

    fn create(&self) -> String {
        format!("/images/create?fromImage={}/team/app&tag=1", self.registry.domain())
    }

    /// How often a document was asked for, since request number `from`.
    fn fetches(&self, from: usize, digest: &str) -> Vec<Asked> {
        self.registry.asked().into_iter().skip(from).filter(|asked| asked.method == "GET" && asked.path().ends_with(digest)).collect()
    }

    /// Layers that must be on disk, whole, before the daemon dies.
    fn whole(&self, stage: Stage) -> &[String] {
        match stage {
            Stage::Token | Stage::Manifest | Stage::Config => &[],
            Stage::MidLayer => &self.image.layers[..1],
            Stage::BetweenLayers => &self.image.layers[..2],
            // The first layer gets there first.
            Stage::Point(point) if point.contains(".download.") || point.contains(".unpack.") => &self.image.layers[..1],
            Stage::Point(_) | Stage::Answered => &self.image.layers,
        }
    }

    /// Pulls until the stage is reached, and lets `end` end the daemon.
    fn die(&self, daemon: &mut Daemon, stage: Stage, end: impl FnOnce(&mut Daemon)) {
        if let Stage::Point(point) = stage {
            daemon.restart_with_fault(point, 1);
            drop(daemon.try_call("POST", &self.create(), &Value::Null));
            daemon.wait_for_death(30);
            return end(daemon);
        }
        let socket = daemon.socket();
        let path = self.create();
        let client = std::thread::Builder::new().spawn(move || shipway_testkit::call(&socket, "POST", &path, "", b"")).unwrap();
        if stage == Stage::Answered {
            let answer = client.join().unwrap().unwrap().fine();
            assert!(answer.text().contains("Downloaded newer image"), "{}", answer.text());
            return end(daemon);
        }
        eventually("the stage", 30, || self.stopped.load(Ordering::Acquire).then_some(()));
        let blob = |digest: &str| daemon.data_root().join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        for digest in self.whole(stage) {
            eventually("a whole layer", 30, || blob(digest).exists().then_some(()));
        }
        if stage == Stage::MidLayer {
            let partial = daemon.data_root().join("partial").join(self.image.layers[1].trim_start_matches("sha256:"));
            eventually("a beginning", 30, || partial.metadata().is_ok_and(|found| found.len() >= 1 << 20).then_some(()));
        }
        end(daemon);
        drop(client.join());
    }

    /// What a daemon must be like that comes back.
    fn nothing_shows(&self, daemon: &Daemon, stage: Stage) {
        if stage == Stage::Answered {
            assert_eq!(daemon.get("/images/json").as_array().map(Vec::len), Some(1), "{stage:?}: it was acknowledged");
        } else {
            assert_eq!(daemon.get("/images/json?all=1"), json!([]), "{stage:?}");
            let usage = daemon.get("/system/df");
            assert_eq!((&usage["Images"], &usage["LayersSize"]), (&json!([]), &json!(0)), "{stage:?}");
        }
        daemon.assert_sound();
    }

    /// The image is here now, every byte of it.
    fn is_here(&self, daemon: &Daemon) {
        let sums = daemon.shell(&self.name(), "sha256sum /one /two | cut -d ' ' -f 1").said();
        let expected: Vec<String> = [1, 2].iter().map(|seed| sha256(&noise(*seed, SIZE)).replace("sha256:", "")).collect();
        assert_eq!(sums.lines().collect::<Vec<_>>(), expected);
        daemon.assert_sound();
    }
}

/// The image, for who has a token; everybody gets one.
fn answer(image: &SampleImage, asked: &Asked) -> Reply {
    if asked.path() == "/token" {
        return Reply::new(200, r#"{"token":"for-everybody"}"#);
    }
    if asked.header("authorization") != Some("Bearer for-everybody") {
        let host = asked.header("host").unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"fixture\"");
        return Reply::refusal(401, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", &challenge);
    }
    image.answer(asked)
}

fn one_at_a_time() -> Setup {
    Setup::new(BINARY).argument("--max-concurrent-downloads=1")
}

#[test]
fn killed_at_any_stage_of_a_pull_the_next_one_goes_on() {
    for stage in STAGES {
        let scene = Scene::set(stage);
        let mut daemon = one_at_a_time().start();
        scene.die(&mut daemon, stage, Daemon::kill_9);
        let before = scene.registry.asked().len();
        scene.honest.store(true, Ordering::Release);
        daemon.restart();
        scene.nothing_shows(&daemon, stage);
        daemon.post(&scene.create(), &Value::Null).fine();
        for digest in scene.whole(stage) {
            assert!(scene.fetches(before, digest).is_empty(), "{stage:?}: {digest} was here: {:?}", scene.registry.lines());
        }
        if stage == Stage::MidLayer {
            let again = scene.fetches(before, &scene.image.layers[1]);
            let range = again[0].header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
            assert!(again.len() == 1 && range.is_some_and(|from| (1 << 20..=HALF).contains(&from)), "{again:?}");
        }
        scene.is_here(&daemon);
        daemon.assert_nothing_left();
    }
}

#[test]
fn a_power_cut_at_any_stage_of_a_pull_leaves_nothing_half() {
    for stage in [Stage::MidLayer, Stage::BetweenLayers, Stage::Point("store.publish.synced"), Stage::Answered] {
        let scene = Scene::set(stage);
        let disk = Disk::new(128);
        let mut daemon = one_at_a_time().data_root(disk.path().join("data")).start();
        scene.die(&mut daemon, stage, |daemon| {
            disk.cut_power();
            daemon.kill_9();
        });
        scene.honest.store(true, Ordering::Release);
        daemon.reboot();
        disk.power_up();
        daemon.restart();
        scene.nothing_shows(&daemon, stage);
        // What came before the cut may be gone or garbage; it is never taken for the layer.
        daemon.post(&scene.create(), &Value::Null).fine();
        scene.is_here(&daemon);
        daemon.assert_nothing_left();
        drop(daemon);
        std::thread::sleep(Duration::from_millis(10));
    }
}
