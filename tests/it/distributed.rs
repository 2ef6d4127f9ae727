//! The distributed application of the study notes, as its users have it: three containers in three languages that find each other by name, published on
//! ports 800 to 802 and seen in a browser; through our command line, through docker's, and through Debian's docker-compose.
//!
//! The images are the real ones. Their bases are built from packages once (minutes on a cold machine) and kept, with the data root they were built
//! in, in `/var/cache/shipway-bases`; afterwards every step of the builds comes from the cache. Ports and browser live in a network of the test's own.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use shipway_testkit::{Browser, Daemon, Netns, Setup, artefact, eventually};

use crate::BINARY;

const CACHE: &str = "/var/cache/shipway-bases";
const CAPTION: &str = "A ship under its star";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

#[track_caller]
fn fine(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A data root with the images of the application, and the lock that keeps it ours.
struct School {
    data_root: PathBuf,
    _lock: std::fs::File,
}

impl School {
    fn prepare() -> Self {
        std::fs::create_dir_all(CACHE).unwrap();
        let lock = std::fs::File::create(Path::new(CACHE).join("lock-tests")).unwrap();
        lock.lock().unwrap();
        let data_root = Path::new(CACHE).join(format!("root-{:016x}", recipe()));
        // A root that this revision cannot read, or of other bases, is made anew.
        for old in std::fs::read_dir(CACHE).unwrap().flatten() {
            if old.file_name().to_string_lossy().starts_with("root-") && old.path() != data_root {
                std::fs::remove_dir_all(old.path()).unwrap();
            }
        }
        let start = || Setup::new(BINARY).data_root(&data_root).start();
        let daemon = std::panic::catch_unwind(start).unwrap_or_else(|_| {
            std::fs::remove_dir_all(&data_root).unwrap();
            start()
        });
        daemon.remove_all_containers();
        fine(&client(
            &daemon,
            &examples().join("bases/build"),
            &["diamol/base", "diamol/node", "diamol/golang", "diamol/maven", "diamol/openjdk"],
        ));
        for lesson in ["image-of-the-day", "access-log", "image-gallery"] {
            let context = examples().join("lessons").join(lesson);
            fine(&daemon.shipway(&["build", "--network", "host", "--tag", lesson, &context.display().to_string()]));
        }
        drop(daemon);
        Self { data_root, _lock: lock }
    }
}

/// What the bases are made from, as a number.
fn recipe() -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut folders = vec![examples().join("bases")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.sort();
    for file in files {
        std::fs::read(file).unwrap().hash(&mut hasher);
    }
    hasher.finish()
}

/// Runs a script or a foreign client with this daemon as its own, whatever words it uses for that.
fn client(daemon: &Daemon, program: &Path, arguments: &[&str]) -> Output {
    told(Command::new(program), daemon, BINARY).args(arguments).output().unwrap()
}

fn told(mut command: Command, daemon: &Daemon, shipway: &str) -> Command {
    let address = format!("unix://{}", daemon.socket().display());
    command.env("SHIPWAY", shipway).env("SHIPWAY_HOST", &address).env("DOCKER_HOST", &address).env("DOCKER_BUILDKIT", "0");
    command.env("HOME", daemon.scratch()).env("COMPOSE_PROJECT_NAME", "lessons").env("XDG_CACHE_HOME", "/var/cache");
    command
}

/// `examples/lessons/distributed VERB` inside the network, with any client of Docker's words.
fn distributed(daemon: &Daemon, network: &Netns, shipway: &str, verb: &str) -> String {
    let command = network.command(examples().join("lessons/distributed"));
    fine(&told(command, daemon, shipway).arg(verb).output().unwrap())
}

/// The count of the access log, once it answers.
fn visits(network: &Netns) -> u64 {
    let stats = eventually("the count of the access log", 30, || network.fetch("http://localhost:801/stats").ok());
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    stats["logs"].as_u64().unwrap()
}

/// What a person sees at port 802, and that looking is counted at 801.
fn look(network: &Netns) {
    let Some(browser) = Browser::start(network) else { return };
    let before = visits(network);
    browser.open("http://localhost:802/");
    assert_eq!(browser.evaluate("document.querySelector('h1').innerText"), "Picture of the day");
    assert_eq!(browser.evaluate("document.querySelector('figcaption').innerText"), format!("{CAPTION} \u{a9} Shipway"));
    assert_eq!(browser.evaluate("document.images.length"), 1);
    let width = browser.evaluate("document.images[0].complete ? document.images[0].naturalWidth : 0");
    assert!(width.as_u64() > Some(0), "the picture is not shown: {width}");
    let picture = base64::engine::general_purpose::STANDARD.decode(browser.screenshot()).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 5000, "{} bytes", picture.len());
    std::fs::write(artefact("image-gallery.png"), picture).unwrap();
    // A browser may ask for an icon as well; the gallery counts that too.
    eventually("the visit at the access log", 20, || (visits(network) > before).then_some(()));
    browser.open("http://localhost:801/stats");
    let shown = browser.evaluate("JSON.parse(document.body.innerText.match(/\\{[^]*\\}/)[0]).logs");
    assert!(shown.as_u64() > Some(before), "{shown} after {before}");
}

#[test]
fn the_distributed_application_runs_through_both_command_lines_and_a_browser_sees_it() {
    let school = School::prepare();
    let daemon = Setup::new(BINARY).data_root(&school.data_root).with_networks().start();
    let network = daemon.netns();

    distributed(&daemon, network, BINARY, "up");
    look(network);
    distributed(&daemon, network, BINARY, "down");

    if Path::new("/usr/local/bin/docker").exists() {
        distributed(&daemon, network, "/usr/local/bin/docker", "up");
        distributed(&daemon, network, "/usr/local/bin/docker", "down");
    }
    daemon.remove_all_containers();
}

/// The same three services by `docker-compose.yml`, two of the first, and a volume that keeps the count.
#[test]
fn debians_docker_compose_runs_the_application_unmodified() {
    let program = Path::new("/usr/bin/docker-compose");
    if !program.exists() {
        return;
    }
    let school = School::prepare();
    let daemon = Setup::new(BINARY).data_root(&school.data_root).with_networks().start();
    let network = daemon.netns();
    let file = examples().join("lessons/docker-compose.yml").display().to_string();
    let run = |arguments: &[&str]| {
        let arguments = [&["--file", &file][..], arguments].concat();
        fine(&client(&daemon, program, &arguments))
    };
    let page = || {
        eventually("the page of the gallery", 60, || {
            network.fetch("http://localhost:802/").ok().filter(|page| page.contains(&format!("<figcaption>{CAPTION}")))
        })
    };
    run(&["up", "--detach", "--no-build", "--scale", "iotd=2"]);
    // The access log answers later than the gallery does, and the gallery asks it once: so it is asked first.
    assert_eq!(visits(network), 0);
    page();
    eventually("the visit at the access log", 20, || (visits(network) > 0).then_some(()));
    let table = run(&["ps"]);
    for name in ["lessons_iotd_1", "lessons_iotd_2", "lessons_accesslog_1", "lessons_gallery_1"] {
        assert!(table.lines().any(|line| line.starts_with(name) && line.contains(" Up ")), "{name}: {table}");
    }
    // Making a container anew keeps its volume; Compose 1 fails here with engines that dropped `ContainerConfig`.
    run(&["up", "--detach", "--no-build", "--no-deps", "--force-recreate", "--timeout", "0", "accesslog"]);
    eventually("the count that the volume kept", 30, || {
        network.fetch("http://localhost:801/stats").ok().filter(|stats| !stats.contains("\"logs\":0"))
    });
    page();
    eventually("the visit in the log", 20, || run(&["logs", "--no-color", "accesslog"]).contains("Access log, client IP").then_some(()));
    // Both answer under the service's name; the one that stays answers when the other has gone.
    run(&["up", "--detach", "--no-build", "--scale", "iotd=1"]);
    page();
    let counted = visits(network);
    run(&["down"]);
    run(&["up", "--detach", "--no-build"]);
    assert!(visits(network) >= counted, "the volume outlives `down`");
    page();
    eventually("one more visit", 20, || (visits(network) > counted).then_some(()));
    run(&["down", "--volumes"]);
    assert!(daemon.get("/containers/json?all=1").as_array().is_some_and(Vec::is_empty));
    let networks = daemon.get("/networks").to_string();
    assert!(!networks.contains("lessons_nat"), "{networks}");
}
