//! `registry serve --storage engine`: a registry beside the engine that shares its blobs. What was pulled is pushed there without a byte, lies on the disk
//! once, and outlives the engine's collector, as the engine's blobs outlive the registry's; also when either dies.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use shipway_testkit::{Daemon, Disk, OwnRegistry, Setup, Tar, eventually, noise};

use crate::BINARY;

/// Bytes of the layer that tells whether layers travel.
const SIZE: usize = 3 << 20;

#[track_caller]
fn fine(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// The digest a push told.
fn told(pushed: &str) -> String {
    let line = pushed.lines().find(|line| line.contains(": digest: ")).unwrap_or_else(|| panic!("no digest in {pushed}"));
    line.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned()
}

/// An image of two layers, in another registry.
fn published(origin: &OwnRegistry) -> (String, String) {
    let elsewhere = Daemon::start(BINARY);
    let name = format!("{}/team/app:1", origin.host());
    elsewhere.import("filler", &Tar::new().file("noise", noise(3, SIZE)).finish());
    let tar = Tar::new().file("Dockerfile", "FROM filler\nCOPY word /word\n").file("word", "shared");
    elsewhere.build(&format!("t={name}"), &tar.finish()).unwrap();
    let digest = told(&fine(&elsewhere.shipway(&["push", &name])));
    (name, digest)
}

/// A registry beside an engine, and its numbers.
struct Beside {
    daemon: Daemon,
    registry: OwnRegistry,
    metrics: u16,
}

impl Beside {
    /// Its collector takes at once what it may.
    fn start() -> Self {
        Self::at(Daemon::start(BINARY))
    }

    fn at(daemon: Daemon) -> Self {
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{metrics}");
        let registry = OwnRegistry::beside(BINARY, &daemon, &["--metrics", &address, "--gc-interval", "1s", "--gc-grace", "2s"]);
        Self { daemon, registry, metrics }
    }

    /// One of the registry's numbers.
    fn number(&self, name: &str) -> u64 {
        let text = http(&format!("127.0.0.1:{}", self.metrics), "GET", "/", "").1;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("shipway_registry_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// The engine's file of a blob, if it has it.
    fn engines(&self, digest: &str) -> PathBuf {
        self.daemon.data_root().join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    fn in_repository(&self, repository: &str, digest: &str) -> PathBuf {
        self.registry.storage().join("repositories").join(repository).join("_blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    /// Digests and sizes of the layers of an image of this registry.
    fn layers(&self, repository: &str, tag: &str) -> BTreeMap<String, u64> {
        layers_at(self.registry.host(), repository, tag)
    }

    fn assert_sound(&self) {
        assert!(fine(&self.daemon.shipway(&["system", "fsck", "--strict"])).contains("nothing is damaged"), "{}", self.registry.log());
    }

    /// Pulls the image on another machine.
    fn assert_serves(&self, name: &str, digest: &str) {
        let other = Daemon::start(BINARY);
        let pulled = fine(&other.shipway(&["pull", name]));
        assert!(pulled.contains(&format!("Digest: {digest}")), "{pulled}");
    }
}

fn layers_at(host: &str, repository: &str, tag: &str) -> BTreeMap<String, u64> {
    let (_, text) = http(host, "GET", &format!("/v2/{repository}/manifests/{tag}"), "");
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| (layer["digest"].as_str().unwrap().to_owned(), layer["size"].as_u64().unwrap())).collect()
}

/// Status and body of a request on a connection of its own.
fn http(host: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    let accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut whole = Vec::new();
    stream.read_to_end(&mut whole).unwrap();
    let whole = String::from_utf8_lossy(&whole).into_owned();
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn inode(path: &Path) -> u64 {
    path.metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display())).ino()
}

#[test]
fn what_was_pulled_is_pushed_beside_the_engine_without_a_byte_and_lies_on_the_disk_once() {
    let origin = OwnRegistry::start(BINARY, &[]);
    let (name, digest) = published(&origin);
    let beside = Beside::start();
    fine(&beside.daemon.shipway(&["pull", &name]));
    let own = format!("{}/mine/app:1", beside.registry.host());
    fine(&beside.daemon.shipway(&["tag", &name, &own]));
    let pushed = fine(&beside.daemon.shipway(&["push", &own]));
    assert_eq!((told(&pushed), pushed.matches(": Layer already exists").count()), (digest.clone(), 2), "{pushed}");

    let layers = beside.layers("mine/app", "1");
    let size: u64 = layers.values().sum();
    assert!(size > SIZE as u64, "{layers:?}");
    assert_eq!(beside.number("adopted_bytes_total"), size);
    assert!(beside.number("received_bytes_total") < 4096, "the config, which the engine keeps in its database");
    for layer in layers.keys() {
        assert_eq!(inode(&beside.in_repository("mine/app", layer)), inode(&beside.engines(layer)), "{layer}");
    }
    let df = fine(&beside.daemon.shipway(&["system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Active}}"]));
    assert!(df.contains("Registry|3|2\n"), "{df}");
    beside.assert_sound();

    // The engine forgets it; the registry goes on.
    fine(&beside.daemon.shipway(&["rmi", &own, &name]));
    fine(&beside.daemon.shipway(&["system", "prune", "-af"]));
    eventually("the engine's collector", 20, || layers.keys().all(|layer| !beside.engines(layer).exists()).then_some(()));
    beside.assert_sound();
    beside.assert_serves(&own, &digest);

    // The engine gets it back, from here: two copies, until the registry's collector comes by.
    fine(&beside.daemon.shipway(&["pull", &own]));
    eventually("one file for both", 20, || {
        layers.keys().all(|layer| inode(&beside.in_repository("mine/app", layer)) == inode(&beside.engines(layer))).then_some(())
    });
    // The registry forgets it; the engine goes on, and brings it back without a byte.
    let received = beside.number("received_bytes_total");
    assert_eq!(http(beside.registry.host(), "DELETE", &format!("/v2/mine/app/manifests/{digest}"), "").0, 202);
    eventually("the registry's collector", 30, || {
        layers.keys().all(|layer| !beside.in_repository("mine/app", layer).exists()).then_some(())
    });
    beside.assert_sound();
    assert_eq!(told(&fine(&beside.daemon.shipway(&["push", &own]))), digest);
    assert!(beside.number("received_bytes_total") - received < 4096);
    beside.assert_serves(&own, &digest);
    beside.assert_sound();
}

/// A layer that was never compressed has no blob: it comes over the wire, and is then one file for both.
#[test]
fn what_was_built_comes_once_and_lies_on_the_disk_once() {
    let beside = Beside::start();
    let own = format!("{}/built:1", beside.registry.host());
    beside.daemon.import("filler", &Tar::new().file("noise", noise(4, SIZE)).finish());
    beside.daemon.build(&format!("t={own}"), &Tar::new().file("Dockerfile", "FROM filler\nLABEL a=b\n").finish()).unwrap();
    let digest = told(&fine(&beside.daemon.shipway(&["push", &own])));
    assert!(beside.number("received_bytes_total") > SIZE as u64);
    for layer in beside.layers("built", "1").keys() {
        assert_eq!(inode(&beside.in_repository("built", layer)), inode(&beside.engines(layer)), "{layer}");
    }
    let again = format!("{}/other:1", beside.registry.host());
    let received = beside.number("received_bytes_total");
    fine(&beside.daemon.shipway(&["tag", &own, &again]));
    assert_eq!(told(&fine(&beside.daemon.shipway(&["push", &again]))), digest);
    assert!(beside.number("received_bytes_total") - received < 4096);
    beside.assert_sound();
    // A tag that leads nowhere is found, and taken away when asked.
    let gone = beside.registry.storage().join("repositories/built/_tags/gone");
    std::fs::write(&gone, shipway_testkit::sha256(b"nothing")).unwrap();
    assert!(!beside.daemon.shipway(&["system", "fsck"]).status.success() && gone.exists());
    let mended = fine(&beside.daemon.shipway(&["system", "fsck", "--repair"]));
    assert!(mended.contains("_tags/gone") && mended.contains("everything found was repaired") && !gone.exists(), "{mended}");
    beside.assert_sound();
}

#[test]
fn when_either_dies_the_other_keeps_what_it_has() {
    let origin = OwnRegistry::start(BINARY, &[]);
    let (name, digest) = published(&origin);
    let mut beside = Beside::start();
    let own = format!("{}/mine/app:1", beside.registry.host());
    fine(&beside.daemon.shipway(&["pull", &name]));
    fine(&beside.daemon.shipway(&["tag", &name, &own]));
    fine(&beside.daemon.shipway(&["push", &own]));
    let layers = beside.layers("mine/app", "1");
    for point in ["store.download.renamed:1", "store.publish.synced:1", "store.publish.committed:1"] {
        // The engine lost it and dies while it gets it again: its file may have no row.
        fine(&beside.daemon.shipway(&["rmi", &own, &name]));
        fine(&beside.daemon.shipway(&["system", "prune", "-af"]));
        let (point, pass) = point.rsplit_once(':').unwrap();
        beside.daemon.restart_with_fault(point, pass.parse().unwrap());
        drop(beside.daemon.shipway(&["pull", &name]));
        beside.daemon.wait_for_death(30);
        // Collections of the registry meet what the dead one left.
        let collections = beside.number("collections_total");
        eventually("a collection", 20, || (beside.number("collections_total") > collections).then_some(()));
        beside.daemon.restart();
        beside.assert_sound();
        beside.registry.restart();
        fine(&beside.daemon.shipway(&["pull", &name]));
        fine(&beside.daemon.shipway(&["tag", &name, &own]));
        assert_eq!(told(&fine(&beside.daemon.shipway(&["push", &own]))), digest, "{point}");
        beside.assert_sound();
    }
    for layer in layers.keys() {
        let bytes = std::fs::read(beside.in_repository("mine/app", layer)).unwrap();
        assert_eq!(&shipway_testkit::sha256(&bytes), layer);
    }
    beside.assert_serves(&own, &digest);
}

/// Ext4 gives a file 65,000 names. The layer that has them all comes by its bytes, and becomes nobody's link.
#[test]
fn a_file_with_all_the_names_it_can_have_is_sent() {
    let disk = Disk::new(192);
    let origin = OwnRegistry::start(BINARY, &[]);
    let (name, digest) = published(&origin);
    let beside = Beside::at(Setup::new(BINARY).data_root(disk.path().join("data")).start());
    fine(&beside.daemon.shipway(&["pull", &name]));
    let layers = layers_at(origin.host(), "team/app", "1");
    let (large, _) = layers.iter().find(|(_, size)| **size > SIZE as u64).unwrap();
    let names = disk.path().join("names");
    std::fs::create_dir(&names).unwrap();
    let mut made = 0;
    while std::fs::hard_link(beside.engines(large), names.join(made.to_string())).is_ok() {
        made += 1;
    }
    assert!(made > 60_000, "{made}");
    let own = format!("{}/mine/app:1", beside.registry.host());
    fine(&beside.daemon.shipway(&["tag", &name, &own]));
    assert_eq!(told(&fine(&beside.daemon.shipway(&["push", &own]))), digest);
    assert!(beside.number("received_bytes_total") > SIZE as u64);
    let collections = beside.number("collections_total");
    eventually("a collection", 20, || (beside.number("collections_total") > collections + 1).then_some(()));
    assert_ne!(inode(&beside.in_repository("mine/app", large)), inode(&beside.engines(large)));
    beside.assert_sound();
    beside.assert_serves(&own, &digest);
}

/// An engine that says its data is at `root`.
fn pretend(socket: &Path, root: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let answer = format!(r#"{{"DockerRootDir":"{}","Name":"elsewhere"}}"#, root.display());
    std::thread::Builder::new()
        .spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                drop(stream.read(&mut head));
                let text = format!(
                    "HTTP/1.1 200 OK\r\nApi-Version: 1.43\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
                    answer.len()
                );
                drop(stream.write_all(text.as_bytes()));
            }
        })
        .unwrap();
}

#[test]
fn only_an_engine_of_this_machine_is_shared() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let serve = |socket: &Path, storage: &[&str]| {
        let host = format!("unix://{}", socket.display());
        let mut command = Command::new(BINARY);
        command.args(["-H", &host, "registry", "serve", "--addr", "127.0.0.1:0"]).args(storage).env_clear();
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let socket = folder.path().join("far.sock");
    pretend(&socket, Path::new("/nowhere/at/all"));
    let (code, words) = serve(&socket, &["--storage", "engine"]);
    assert_eq!(code, 1);
    assert!(
        words.contains("nobody on this machine has the data root \"/nowhere/at/all\" open") && words.contains("run this on its machine"),
        "{words}"
    );
    let (code, words) = serve(&folder.path().join("none.sock"), &["--storage", "engine"]);
    assert!(code == 1 && words.contains("none.sock"), "{words}");
    let (code, words) = serve(&socket, &[]);
    assert!(code == 125 && words.contains("--storage engine") && words.contains("--storage FOLDER"), "{words}");

    // Two registries at one engine: the second one says so.
    let daemon = Daemon::start(BINARY);
    let _first = OwnRegistry::beside(BINARY, &daemon, &[]);
    let (code, words) = serve(&daemon.socket(), &["--storage", "engine"]);
    assert!(code == 1 && words.contains("another process serves it"), "{words}");
}
