//! Signatures that registries keep beside images: demanded by the daemon's policy, listed, held, and taken along. The keys and signatures are openssl's, laid
//! out as cosign lays them out.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use shipway_model::Digest;
use shipway_testkit::{Daemon, DebianRegistry, OwnRegistry, Setup, Tar};

use crate::BINARY;

mod bundles;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

#[track_caller]
fn fine(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[track_caller]
fn refused(output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{text}");
    text
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed: scripts/setup test");
    fine(&output);
    output.stdout
}

/// A key pair in `folder`; the path of the private half, beside which is `NAME.pub`.
fn key(folder: &Path, name: &str, algorithm: &[&str]) -> PathBuf {
    let (private, public) = (folder.join(name), folder.join(format!("{name}.pub")));
    openssl(&[&["genpkey", "-out", private.to_str().unwrap()], algorithm].concat());
    openssl(&["pkey", "-in", private.to_str().unwrap(), "-pubout", "-out", public.to_str().unwrap()]);
    private
}

/// One request; the status, the head, the body.
fn http(host: &str, method: &str, path: &str, media_type: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(host).unwrap();
    let path = path.strip_prefix(&format!("http://{host}")).unwrap_or(path);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media_type}\r\nAccept: {MANIFEST}, application/vnd.oci.image.index.v1+json, */*\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    (head[9..12].parse().unwrap(), head, answer[end + 4..].to_vec())
}

fn put_blob(host: &str, repository: &str, bytes: &[u8]) -> Value {
    let digest = Digest::sha256_of(bytes).to_string();
    let (status, head, _) = http(host, "POST", &format!("/v2/{repository}/blobs/uploads/"), "application/octet-stream", b"");
    assert_eq!(status, 202, "{head}");
    let location =
        head.lines().find_map(|line| line.to_ascii_lowercase().starts_with("location: ").then(|| line[10..].to_owned())).unwrap();
    let joint = if location.contains('?') { '&' } else { '?' };
    let (status, head, _) = http(host, "PUT", &format!("{location}{joint}digest={digest}"), "application/octet-stream", bytes);
    assert_eq!(status, 201, "{head}");
    json!({"digest": digest, "size": bytes.len()})
}

/// Signs the manifest `digest` as `name`, and puts the signature where cosign puts it.
fn sign(host: &str, repository: &str, digest: &str, name: &str, private: &Path) {
    let payload = json!({"critical": {
        "identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest}, "type": "cosign container image signature",
    }, "optional": {}})
    .to_string();
    let file = private.with_extension("payload");
    std::fs::write(&file, &payload).unwrap();
    let signature = openssl(&["dgst", "-sha256", "-sign", private.to_str().unwrap(), file.to_str().unwrap()]);
    let mut layer = put_blob(host, repository, payload.as_bytes());
    layer["mediaType"] = json!(SIGNING);
    layer["annotations"] = json!({"dev.cosignproject.cosign/signature": base64(&signature)});
    let mut config = put_blob(host, repository, b"{}");
    config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}).to_string();
    let path = format!("/v2/{repository}/manifests/{}.sig", digest.replace(':', "-"));
    let (status, head, _) = http(host, "PUT", &path, MANIFEST, manifest.as_bytes());
    assert_eq!(status, 201, "{head}");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn build(daemon: &Daemon, name: &str, word: &str) {
    daemon.import_busybox("box");
    let dockerfile = format!("FROM box\nRUN echo {word} > /word\nCMD [\"cat\", \"/word\"]\n");
    daemon.build(&format!("t={name}"), &Tar::new().file("Dockerfile", dockerfile.as_bytes()).finish()).unwrap();
}

/// The digest a push told.
fn pushed(daemon: &Daemon, name: &str) -> String {
    let told = fine(&daemon.shipway(&["push", name]));
    let line = told.lines().find(|line| line.contains(": digest: ")).unwrap();
    line.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned()
}

fn policy(folder: &Path, host: &str, text: &str) {
    let place = folder.join(host);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("signatures.toml"), text).unwrap();
}

#[test]
fn an_unsigned_image_is_refused_by_pull_run_and_from_until_somebody_signs_it() {
    let registry = DebianRegistry::start();
    let host = registry.host();
    let home = tempfile::Builder::new().prefix("shipway-it-").tempdir_in("/dev/shm").unwrap();
    let folder = home.path().to_owned();
    let private = key(&folder, "release", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let stranger = key(&folder, "stranger", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let maker = Daemon::start(BINARY);
    let name = format!("{host}/team/app:1");
    build(&maker, &name, "one");
    let digest = pushed(&maker, &name);

    policy(&folder, &host, "keys = [\"../release.pub\"]\n");
    let daemon = Setup::new(BINARY).argument("--registry-dir").argument(folder.to_str().unwrap()).start();
    let nothing = |when: &str| {
        assert!(daemon.get("/images/json?all=1").as_array().unwrap().is_empty(), "{when}: something is visible");
    };
    let from = || Tar::new().file("Dockerfile", format!("FROM {name}\n").as_bytes()).finish();
    let check_refused = |words: &str| {
        let text = refused(&daemon.shipway(&["pull", &name]));
        assert!(text.contains(words) && text.contains(&digest) && text.contains("refused by the signature policy"), "{text}");
        assert!(text.contains("release.pub (") && text.contains("cosign sign --key KEY"), "{text}");
        assert!(text.contains(&format!("{host}/signatures.toml")), "{text}");
        let text = refused(&daemon.shipway(&["run", "--rm", "--network", "none", &name]));
        assert!(text.contains(words), "{text}");
        let text = daemon.build("t=derived", &from()).unwrap_err();
        assert!(text.contains(words), "{text}");
        let text = refused(&daemon.shipway(&["pull", "-q", &format!("{host}/team/app@{digest}")]));
        assert!(text.contains(words), "{text}");
        nothing(words);
    };
    check_refused("there is no signature of it");
    sign(&host, "team/app", &digest, &format!("{host}/team/app"), &stranger);
    check_refused("by none of the trusted keys");
    sign(&host, "team/app", &format!("sha256:{}", "0".repeat(64)), &format!("{host}/team/app"), &private);
    check_refused("by none of the trusted keys");
    sign(&host, "team/app", &digest, &format!("{host}/team/other"), &private);
    check_refused("is for another name");
    // A policy that cannot be read lets nothing in.
    policy(&folder, &host, "keys = [\"gone.pub\"]\n");
    let text = refused(&daemon.shipway(&["pull", &name]));
    assert!(text.contains("signatures.toml") && text.contains("gone.pub"), "{text}");
    nothing("a policy without its key");
    policy(&folder, &host, "keys = [\"../release.pub\"]\n");

    sign(&host, "team/app", &digest, &format!("{host}/team/app"), &private);
    assert_eq!(fine(&daemon.shipway(&["run", "--rm", "-q", "--network", "none", &name])), "one\n");
    // What is installed is what was signed.
    let listed = fine(&daemon.shipway(&["image", "ls", "--digests", "--format", "{{.Digest}}"]));
    assert_eq!(listed.trim(), digest);
    fine(&daemon.shipway(&["rmi", &name]));
    daemon.build("t=derived", &from()).unwrap();
    fine(&daemon.shipway(&["pull", &name]));
    // The tag moves to an image nobody signed: the name stays with what was signed.
    build(&maker, &name, "two");
    let unsigned = pushed(&maker, &name);
    assert_ne!(unsigned, digest);
    let text = refused(&daemon.shipway(&["pull", &name]));
    assert!(text.contains(&unsigned) && text.contains("there is no signature of it"), "{text}");
    assert_eq!(fine(&daemon.shipway(&["run", "--rm", "--network", "none", &name])), "one\n");
    // A signature that is taken away counts no more, also for what is here already.
    let path = format!("/v2/team/app/manifests/{}.sig", digest.replace(':', "-"));
    let (_, head, _) = http(&host, "HEAD", &path, "", b"");
    let signature =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("docker-content-digest: ").map(str::to_owned)).unwrap();
    let (status, head, _) = http(&host, "DELETE", &format!("/v2/team/app/manifests/{signature}"), "", b"");
    assert_eq!(status, 202, "{head}");
    let text = refused(&daemon.shipway(&["pull", &format!("{host}/team/app@{digest}")]));
    assert!(text.contains("there is no signature of it"), "{text}");
    daemon.assert_sound();
    maker.assert_sound();
}

/// Keys that cosign did not make: it signs with them as well, and hashes with SHA-256.
#[test]
fn rsa_and_p_384_keys_count() {
    let registry = OwnRegistry::start(BINARY, &[]);
    let host = registry.host().to_owned();
    let home = tempfile::Builder::new().prefix("shipway-it-").tempdir_in("/dev/shm").unwrap();
    let folder = home.path().to_owned();
    let daemon = Setup::new(BINARY).argument("--registry-dir").argument(folder.to_str().unwrap()).start();
    let name = format!("{host}/team/app:1");
    build(&daemon, &name, "one");
    let digest = pushed(&daemon, &name);
    policy(&folder, &host, "keys = [\"../rsa.pub\", \"../p384.pub\"]\n");
    let stranger = key(&folder, "stranger", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let rsa = key(&folder, "rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"]);
    let p384 = key(&folder, "p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]);
    for private in [rsa, p384] {
        sign(&host, "team/app", &digest, &format!("{host}/team/app"), &stranger);
        let text = refused(&daemon.shipway(&["pull", &name]));
        assert!(text.contains("by none of the trusted keys"), "{text}");
        sign(&host, "team/app", &digest, &format!("{host}/team/app"), &private);
        fine(&daemon.shipway(&["pull", &name]));
    }
}

#[test]
fn what_speaks_of_an_image_is_listed_held_and_goes_on_with_it() {
    let (ours, theirs) = (OwnRegistry::start(BINARY, &[]), DebianRegistry::start());
    let (here, there) = (ours.host().to_owned(), theirs.host());
    let home = tempfile::Builder::new().prefix("shipway-it-").tempdir_in("/dev/shm").unwrap();
    let folder = home.path().to_owned();
    let private = key(&folder, "release", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let maker = Daemon::start(BINARY);
    let name = format!("{here}/app:1");
    build(&maker, &name, "one");
    let digest = pushed(&maker, &name);
    let image = fine(&maker.shipway(&["image", "referrers", &name]));
    assert_eq!(image.lines().count(), 1, "{image}");
    // A signature under cosign's tag, and a list of parts among the referrers.
    sign(&here, "app", &digest, &name, &private);
    let mut parts = put_blob(&here, "app", b"[\"busybox\"]");
    parts["mediaType"] = json!("application/spdx+json");
    let mut config = put_blob(&here, "app", b"{}");
    config["mediaType"] = json!("application/vnd.oci.empty.v1+json");
    let size = maker.get(&format!("/distribution/{name}/json"))["Descriptor"]["size"].clone();
    let attached = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/spdx+json", "config": config, "layers": [parts],
        "subject": {"mediaType": MANIFEST, "digest": digest, "size": size}, "annotations": {"who": "me"},
    })
    .to_string();
    let attached_digest = Digest::sha256_of(attached.as_bytes()).to_string();
    let (status, head, _) = http(&here, "PUT", &format!("/v2/app/manifests/{attached_digest}"), MANIFEST, attached.as_bytes());
    assert_eq!(status, 201, "{head}");

    // Listed from the registry, with nothing pulled.
    policy(&folder, &here, "keys = [\"../release.pub\"]\n");
    let daemon = Setup::new(BINARY).argument("--registry-dir").argument(folder.to_str().unwrap()).start();
    let listed = fine(&daemon.shipway(&["image", "referrers", &name]));
    assert!(listed.starts_with("DIGEST"), "{listed}");
    for words in ["application/spdx+json", SIGNING, ".sig", "no"] {
        assert!(listed.contains(words), "{words}: {listed}");
    }
    let types =
        fine(&daemon.shipway(&["image", "referrers", "--format", "{{.Type}} {{json .Annotations}}", &format!("{here}/app@{digest}")]));
    assert!(types.contains("application/spdx+json {\"who\":\"me\"}"), "{types}");
    // An ordinary pull under a policy holds the signature that counted; with --referrers everything.
    fine(&daemon.shipway(&["pull", &name]));
    let held = |daemon: &Daemon, name: &str| daemon.get(&format!("/images/{name}/json"))["Referrers"].as_array().map_or(0, Vec::len);
    assert_eq!(held(&daemon, &name), 1);
    fine(&daemon.shipway(&["pull", "--referrers", &name]));
    assert_eq!(held(&daemon, &name), 2);
    let inspected = daemon.get(&format!("/images/{name}/json"));
    assert!(inspected["Referrers"].as_array().unwrap().iter().all(|item| item["Subject"] == json!(digest) && item["Held"] == json!(true)));
    fine(&daemon.shipway(&["system", "prune", "-f"]));
    daemon.assert_sound();

    // They go on with the image, also to a registry that keeps no lists; once.
    let copy = format!("{there}/copy:1");
    fine(&daemon.shipway(&["tag", &name, &copy]));
    let first = fine(&daemon.shipway(&["push", &copy]));
    assert!(first.contains("Signatures and attestations: 2 of 2 pushed") && first.contains(&digest), "{first}");
    assert!(fine(&daemon.shipway(&["push", &copy])).contains("Signatures and attestations: 0 of 2 pushed"));
    let listed = fine(&maker.shipway(&["image", "referrers", "--no-trunc", &copy]));
    assert!(listed.contains(&attached_digest) && listed.contains(&format!("{}.sig", digest.replace(':', "-"))), "{listed}");
    let bare = format!("{there}/bare:1");
    fine(&daemon.shipway(&["tag", &name, &bare]));
    assert!(!fine(&daemon.shipway(&["push", "--no-referrers", &bare])).contains("attestations"));
    assert_eq!(fine(&maker.shipway(&["image", "referrers", &bare])).lines().count(), 1);
    // The copy keeps its signature, which is good where the policy knows under which name it was made.
    policy(&folder, &there, &format!("keys = [\"../release.pub\"]\nidentity = \"{here}/app\"\n"));
    fine(&daemon.shipway(&["rmi", &name, &copy, &bare]));
    daemon.assert_sound();
    fine(&daemon.shipway(&["pull", &copy]));
    let text = refused(&daemon.shipway(&["pull", &bare]));
    assert!(text.contains("there is no signature of it"), "{text}");
    // Their tags are no images to pull.
    let all = fine(&maker.shipway(&["pull", "-a", &format!("{there}/copy")]));
    assert!(all.contains(&digest) && !all.contains(".sig"), "{all}");
    // What was held goes with the image.
    fine(&daemon.shipway(&["rmi", &copy]));
    fine(&daemon.shipway(&["builder", "prune", "-af"]));
    daemon.assert_sound();
    daemon.assert_nothing_left();
}
