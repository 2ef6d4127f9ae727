//! A registry of one's own, `shipway registry serve`, as foreign clients meet it: docker, skopeo and podman push to it and pull from it, unmodified.
//!
//! `scripts/setup test` installs skopeo and podman. Docker's daemon and client are asked where they are installed, as in `parity`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use shipway_testkit::{Setup, busybox_tar};

use crate::BINARY;

/// A registry that runs until it is dropped.
pub(crate) struct Served {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    home: tempfile::TempDir,
}

impl Served {
    pub(crate) fn start(options: &[&str]) -> Self {
        let home = tempfile::Builder::new().prefix("shipway-it-").rand_bytes(8).tempdir_in("/dev/shm").unwrap();
        let mut child = Command::new(BINARY)
            .args(["registry", "serve", "--addr", "127.0.0.1:0", "--log-level", "warn", "--storage"])
            .arg(home.path().join("registry"))
            .args(options)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map(Result::unwrap).find(|line| line.starts_with("registry at ")).expect("it says where it is");
        let address = ready.split("://").nth(1).unwrap().split(',').next().unwrap().to_owned();
        Self { child, address, home }
    }

    /// A folder that goes with the fixture.
    fn folder(&self, name: &str) -> std::path::PathBuf {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// The digest that skopeo finds behind a name.
    fn digest(&self, name: &str) -> String {
        let image = format!("docker://{}/{name}", self.address);
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

impl Drop for Served {
    fn drop(&mut self) {
        // It may have left by itself, which the test has seen.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    let ours = format!("docker://{}/lib/busybox:1", served.address);
    let from = format!("docker-archive:{}:{name}", image.display());
    said(Command::new("skopeo").args(["copy", "--dest-tls-verify=false", "--format", "oci", &from, &ours]).output());
    let digest = served.digest("lib/busybox:1");
    let back = format!("dir:{}", served.folder("back").display());
    said(Command::new("skopeo").args(["copy", "--src-tls-verify=false", "--preserve-digests", &ours, &back]).output());
    let manifest = std::fs::read(served.folder("back").join("manifest.json")).unwrap();
    assert_eq!(shipway_model::Digest::sha256_of(&manifest).to_string(), digest);
    let tags = said(
        Command::new("skopeo").args(["list-tags", "--tls-verify=false", &format!("docker://{}/lib/busybox", served.address)]).output(),
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
    let ours = format!("{}/lib/busybox:1", served.address);
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
        let target = format!("{}/lib/app{number}:v1", served.address);
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
    let blobs = std::fs::read_dir(served.home.path().join("registry/blobs/sha256")).unwrap().count();
    assert!(blobs <= 4, "{blobs} blobs");
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
