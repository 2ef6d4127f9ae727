//! A registry of one's own, `shipway registry serve`, as foreign clients meet it: docker, skopeo and podman push to it and pull from it, unmodified.
//!
//! `scripts/setup test` installs skopeo and podman. Docker's daemon and client are asked where they are installed, as in `parity`.

use std::path::Path;
use std::process::{Command, Output};

use shipway_testkit::{OwnRegistry, Setup, busybox_tar, eventually};

use crate::BINARY;

/// A registry of ours, and what other people's clients make of it.
struct Served(OwnRegistry);

impl Served {
    fn start(options: &[&str]) -> Self {
        Self(OwnRegistry::start(BINARY, options))
    }

    fn folder(&self, name: &str) -> std::path::PathBuf {
        self.0.folder(name)
    }

    /// The digest that skopeo finds behind a name.
    fn digest(&self, name: &str) -> String {
        let image = format!("docker://{}/{name}", self.0.host());
        said(Command::new("skopeo").args(["inspect", "--tls-verify=false", "--no-tags", "--format", "{{.Digest}}", &image]).output())
    }

    /// An image as an archive, and its name there.
    fn archive(&self) -> (std::path::PathBuf, String) {
        let layout = self.folder("image");
        std::fs::write(layout.join("rootfs.tar"), busybox_tar().finish()).unwrap();
        let image = layout.join("image.tar");
        archive_of(&layout.join("rootfs.tar"), &image);
        (image, "busybox:test".to_owned())
    }
}

/// A docker archive of one layer, `busybox:test`.
fn archive_of(layer: &Path, image: &Path) {
    use shipway_model::Digest;
    let rootfs = std::fs::read(layer).unwrap();
    let diff = Digest::sha256_of(&rootfs);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/bin/sh"]}},"rootfs":{{"type":"layers","diff_ids":["{diff}"]}}}}"#
    );
    let name = Digest::sha256_of(config.as_bytes()).hex();
    let manifest = format!(r#"[{{"Config":"{name}.json","RepoTags":["busybox:test"],"Layers":["layer.tar"]}}]"#);
    let tar = shipway_testkit::Tar::new();
    let tar = tar.file(&format!("{name}.json"), &config).file("manifest.json", &manifest).program("layer.tar", rootfs);
    std::fs::write(image, tar.finish()).unwrap();
}

/// What a program said; it must have succeeded.
fn said(output: std::io::Result<Output>) -> String {
    let output = output.expect("scripts/setup test installs it");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.trim().to_owned()
}

#[test]
fn skopeo_copies_to_and_from_our_registry() {
    let served = Served::start(&[]);
    let (image, name) = served.archive();
    let ours = format!("docker://{}/lib/busybox:1", served.0.host());
    let from = format!("docker-archive:{}:{name}", image.display());
    said(Command::new("skopeo").args(["copy", "--dest-tls-verify=false", "--format", "oci", &from, &ours]).output());
    let digest = served.digest("lib/busybox:1");
    let back = format!("dir:{}", served.folder("back").display());
    said(Command::new("skopeo").args(["copy", "--src-tls-verify=false", "--preserve-digests", &ours, &back]).output());
    let manifest = std::fs::read(served.folder("back").join("manifest.json")).unwrap();
    assert_eq!(shipway_model::Digest::sha256_of(&manifest).to_string(), digest);
    let tags = said(
        Command::new("skopeo").args(["list-tags", "--tls-verify=false", &format!("docker://{}/lib/busybox", served.0.host())]).output(),
    );
    assert!(tags.contains("\"1\""), "{tags}");
    said(Command::new("skopeo").args(["delete", "--tls-verify=false", &ours]).output());
    let gone = Command::new("skopeo").args(["inspect", "--tls-verify=false", &ours]).output().unwrap();
    assert!(!gone.status.success());
}

#[test]
fn podman_pulls_from_our_registry() {
    let served = Served::start(&[]);
    let (image, name) = served.archive();
    let ours = format!("{}/lib/busybox:1", served.0.host());
    let from = format!("docker-archive:{}:{name}", image.display());
    said(Command::new("skopeo").args(["copy", "--dest-tls-verify=false", &from, &format!("docker://{ours}")]).output());
    let (root, run) = (served.folder("podman"), served.folder("podman-run"));
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.arg("--root").arg(&root).arg("--runroot").arg(&run).args(["--storage-driver", "vfs"]).args(arguments);
        said(command.output())
    };
    podman(&["pull", "--quiet", "--tls-verify=false", &ours]);
    let digest = podman(&["image", "inspect", "--format", "{{.Digest}}", &ours]);
    assert_eq!(digest, served.digest("lib/busybox:1"));
}

/// Where Docker is installed: its daemon, its new client and its old one.
#[test]
fn docker_pushes_to_and_pulls_from_our_registry() {
    let Some(setup) = Setup::dockerd() else { return };
    let served = Served::start(&[]);
    let daemon = setup.start();
    let (image, name) = served.archive();
    let address = format!("unix://{}", daemon.socket().display());
    let home = served.folder("home");
    let clients: Vec<&str> = ["/usr/local/bin/docker", "/usr/bin/docker"].into_iter().filter(|client| Path::new(client).exists()).collect();
    assert!(!clients.is_empty(), "a daemon without a client");
    for (number, client) in clients.iter().enumerate() {
        let docker = |arguments: &[&str]| {
            said(Command::new(client).args(arguments).env_clear().env("HOME", &home).env("DOCKER_HOST", &address).output())
        };
        docker(&["load", "--input", image.to_str().unwrap()]);
        let target = format!("{}/lib/app{number}:v1", served.0.host());
        docker(&["tag", &name, &target]);
        let pushed = docker(&["push", &target]);
        let digest = served.digest(&format!("lib/app{number}:v1"));
        assert!(pushed.contains(&digest), "{pushed}");
        docker(&["rmi", &target, &name]);
        let pulled = docker(&["pull", &target]);
        assert!(pulled.contains(&digest), "{pulled}");
        docker(&["rmi", &target]);
    }
    // The second client's layers were mounted or found: one copy of each blob is stored.
    let blobs = std::fs::read_dir(served.0.storage().join("blobs/sha256")).unwrap().count();
    assert!(blobs <= 4, "{blobs} blobs");
}

/// `examples/registry/Dockerfile`, as its head says, in a container of our own daemon.
#[test]
fn an_image_runs_the_registry_and_its_volume_keeps_what_was_pushed() {
    let daemon = Setup::new(BINARY).with_networks().start();
    let fine = |arguments: &[&str]| said(Ok(daemon.shipway(arguments)));
    let (context, recipe) = (daemon.scratch().join("context"), Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/registry/Dockerfile"));
    std::fs::create_dir(&context).unwrap();
    std::fs::copy(BINARY, context.join("shipway")).unwrap();
    fine(&["build", "-q", "-t", "registry", "-f", recipe.to_str().unwrap(), context.to_str().unwrap()]);
    fine(&["run", "-d", "--name", "registry", "-p", "127.0.0.1:5000:5000", "-v", "registry:/registry", "registry"]);
    let network = daemon.netns();
    let ready = || eventually("the registry in the container", 20, || network.fetch("http://127.0.0.1:5000/v2/").ok());
    ready();
    daemon.import_busybox("127.0.0.1:5000/lib/busybox:1");
    let pushed = fine(&["push", "127.0.0.1:5000/lib/busybox:1"]);
    let by_skopeo = || {
        let mut skopeo = network.command("skopeo");
        skopeo.args(["inspect", "--tls-verify=false", "--no-tags", "--format", "{{.Digest}}", "docker://127.0.0.1:5000/lib/busybox:1"]);
        said(skopeo.output())
    };
    let digest = by_skopeo();
    assert!(pushed.contains(&digest), "{pushed}");
    // Another container, the same volume.
    fine(&["rm", "-f", "registry"]);
    fine(&["run", "-d", "--name", "registry", "-p", "127.0.0.1:5000:5000", "-v", "registry:/registry", "registry"]);
    ready();
    assert_eq!(by_skopeo(), digest);
    fine(&["rmi", "127.0.0.1:5000/lib/busybox:1"]);
    let pulled = fine(&["pull", "127.0.0.1:5000/lib/busybox:1"]);
    assert!(pulled.contains(&digest), "{pulled}");
    fine(&["rm", "-f", "registry"]);
}

#[test]
fn the_command_line_says_what_is_wrong() {
    let check = |options: &[&str], expected: &str| {
        let output = Command::new(BINARY).args(["registry", "serve"]).args(options).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && err.contains(expected), "{options:?}: {err}");
    };
    check(&[], "--storage FOLDER");
    check(&["--storage", "/dev/shm/x", "--tls-cert", "a"], "--tls-cert and --tls-key go together");
    check(&["--storage", "/dev/shm/x", "--htpasswd", "/nonexistent"], "cannot read \"/nonexistent\"");
    check(&["--storage", "/dev/shm/x", "--token-realm", "https://auth.test"], "tokens need all of");
    check(&["--storage", "/dev/shm/x", "--quota", "much"], "--quota");
    assert!(!Path::new("/dev/shm/x").exists());
    let folder = tempfile::tempdir().unwrap();
    check(&["--storage", folder.path().to_str().unwrap(), "--proxy", "https://registry.test/path"], "a registry's address has no path");
}
