//! Layers that are not like others: those that link to files of the layers below, and those that their registry does not have.

use std::process::Output;

use serde_json::{Value, json};
use shipway_testkit::{BadRegistry, Daemon, Delivery, OwnRegistry, Reply, SampleImage, Setup, Tar, busybox_tar, noise, sha256, sha512};

use crate::BINARY;

const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

#[track_caller]
fn fine(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_hard_link_to_a_file_of_a_lower_layer_is_that_file() {
    let link = |target: &str| Tar::new().entry("copy", b'1', 0o755, target, b"").file("own", "own\n").finish();
    // The layer with the link, one that links to what came by that link, and one more.
    let again = Tar::new().entry("again", b'1', 0o755, "copy", b"").finish();
    let image = SampleImage::of(&[busybox_tar().finish(), link("bin/busybox"), again, Tar::new().file("last", "last\n").finish()]);
    let registry = BadRegistry::plain(move |asked, _| image.answer(asked));
    let daemon = Setup::new(BINARY).start();
    let name = format!("{}/app:1", registry.domain());
    fine(&daemon.shipway(&["pull", &name]));
    let said = daemon.shell(&name, "cmp /copy /bin/busybox && cmp /again /bin/busybox && cat /own /last").said();
    assert_eq!(said, "own\nlast\n");
    let layers = registry.lines().iter().filter(|line| line.starts_with("GET /v2/app/blobs/")).count();
    assert_eq!(layers, 5, "four layers and a config, each once: {:?}", registry.lines());
    daemon.assert_sound();

    // It goes on as it came.
    let own = OwnRegistry::start(BINARY, &[]);
    let onward = format!("{}/app:1", own.host());
    fine(&daemon.shipway(&["tag", &name, &onward]));
    fine(&daemon.shipway(&["push", &onward]));
    let other = Setup::new(BINARY).start();
    fine(&other.shipway(&["pull", &onward]));
    assert_eq!(other.shell(&onward, "cmp /again /bin/busybox && echo same").said(), "same\n");
    other.assert_sound();

    // Whose base has another file there does not get, nor give, that layer.
    let busybox = busybox_tar().file("bin/busybox2", "mine").finish();
    let stranger = SampleImage::of(&[busybox, link("bin/busybox")]);
    let registry = BadRegistry::plain(move |asked, _| stranger.answer(asked));
    let words = refused(&daemon.shipway(&["pull", &format!("{}/app:1", registry.domain())]));
    assert!(words.contains("is here already on top of other layers") && words.contains("shipway image rm"), "{words}");
    daemon.assert_sound();

    let nowhere = SampleImage::of(&[busybox_tar().finish(), link("bin/nowhere")]);
    let registry = BadRegistry::plain(move |asked, _| nowhere.answer(asked));
    let words = refused(&daemon.shipway(&["pull", &format!("{}/app:1", registry.domain())]));
    assert!(words.contains("its hard link target \"bin/nowhere\" is not there"), "{words}");
    daemon.assert_sound();
    daemon.assert_nothing_left();
}

/// A registry that wants a token and sends everybody elsewhere for one layer, and that place.
fn foreign() -> (BadRegistry, BadRegistry, String) {
    let image = SampleImage::of(&[busybox_tar().finish(), Tar::new().file("licensed", "licensed\n").finish()]);
    let layer = image.layers[1].clone();
    let bytes = image.bytes(&layer).to_vec();
    let elsewhere = BadRegistry::start("127.0.0.2", None, move |_, _| Reply::new(200, bytes.clone()));
    let mut manifest: Value = serde_json::from_slice(image.bytes(&image.manifest)).unwrap();
    manifest["layers"][1]["mediaType"] = json!(FOREIGN);
    manifest["layers"][1]["urls"] = json!(["ftp://nobody.invalid/x", elsewhere.url("/licensed")]);
    let manifest = manifest.to_string();
    let digest = sha256(manifest.as_bytes());
    let shown = digest.clone();
    let absent = layer.clone();
    let registry = BadRegistry::plain(move |asked, _| {
        if asked.header("authorization").is_none() {
            return Reply::refusal(401, "UNAUTHORIZED", "who").with("WWW-Authenticate", "Basic realm=\"x\"");
        }
        match asked.path() {
            path if path.contains("/manifests/") => Reply::new(200, manifest.clone())
                .with("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                .with("Docker-Content-Digest", &shown),
            path if path.ends_with(&absent) => Reply::refusal(404, "BLOB_UNKNOWN", "blob unknown"),
            _ => image.answer(asked),
        }
    });
    (registry, elsewhere, digest)
}

/// Pulls as somebody who has credentials.
fn pull(daemon: &Daemon, registry: &BadRegistry) -> Output {
    let config = daemon.scratch();
    // printf 'user:T0KEN' | base64
    let keys = json!({"auths": {registry.domain(): {"auth": "dXNlcjpUMEtFTg=="}}});
    std::fs::write(config.join("config.json"), keys.to_string()).unwrap();
    daemon.shipway(&["--config", config.to_str().unwrap(), "pull", &format!("{}/app:1", registry.domain())])
}

#[test]
fn a_foreign_layer_is_fetched_only_when_the_administrator_says_so_and_passed_on_only_where_it_may() {
    let (registry, elsewhere, digest) = foreign();
    let careful = Setup::new(BINARY).start();
    let words = refused(&pull(&careful, &registry));
    assert!(words.contains("its manifest sends everybody to \"127.0.0.2\"") && words.contains("--fetch-foreign-layers"), "{words}");
    assert!(elsewhere.asked().is_empty(), "{:?}", elsewhere.lines());
    careful.assert_sound();

    let own = OwnRegistry::start(BINARY, &[]);
    let onward = format!("{}/app:1", own.host());
    let setups = [("Skipped foreign layer", None), ("Pushed", Some("--allow-nondistributable-artifacts=127.0.0.0/8"))];
    for (outcome, argument) in setups {
        let setup = Setup::new(BINARY).argument("--fetch-foreign-layers");
        let daemon = argument.into_iter().fold(setup, Setup::argument).start();
        fine(&pull(&daemon, &registry));
        let name = format!("{}/app:1", registry.domain());
        assert_eq!(daemon.shell(&name, "cat /licensed").said(), "licensed\n");
        fine(&daemon.shipway(&["tag", &name, &onward]));
        let told = fine(&daemon.shipway(&["push", &onward]));
        assert!(told.contains(outcome) && told.contains(&digest), "{told}");
        daemon.assert_sound();
    }
    assert!(!elsewhere.asked().is_empty());
    assert!(elsewhere.asked().iter().all(|asked| asked.header("authorization").is_none()), "{:?}", elsewhere.asked());

    // An image on top of it has no manifest of its own yet that could say where the layer is.
    let daemon = Setup::new(BINARY).argument("--fetch-foreign-layers").start();
    fine(&pull(&daemon, &registry));
    let elsewhere = OwnRegistry::start(BINARY, &[]);
    let derived = format!("{}/derived:1", elsewhere.host());
    let dockerfile = format!("FROM {}/app:1\nRUN echo more > /more\n", registry.domain());
    daemon.build(&format!("t={derived}"), &Tar::new().file("Dockerfile", dockerfile).finish()).unwrap();
    let words = refused(&daemon.shipway(&["push", &derived]));
    assert!(words.contains("is not to be distributed") && words.contains("--allow-nondistributable-artifacts"), "{words}");
}

#[test]
fn a_layer_by_sha512_is_checked_kept_and_gone_on_with() {
    let image = SampleImage::of(&[busybox_tar().finish(), Tar::new().file("noise", noise(5, 2 << 20)).finish()]);
    let bytes = image.bytes(&image.layers[1]).to_vec();
    let (right, wrong) = (sha512(&bytes), sha512(b"something else"));
    let manifest = |digest: &str| String::from_utf8_lossy(image.bytes(&image.manifest)).replace(&image.layers[1], digest);
    let (good, bad) = (manifest(&right), manifest(&wrong));
    let served = image.clone();
    // The first answer breaks off; the rest is asked for in the same pull.
    let registry = BadRegistry::plain(move |asked, number| match asked.path() {
        path if path.contains("/manifests/") => {
            let text = if path.contains("bad") { &bad } else { &good };
            Reply::new(200, text.clone()).with("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        }
        path if path.contains("sha512:") => {
            let mut asked = asked.clone();
            asked.target = format!("/v2/app/blobs/{}", served.layers[1]);
            let reply = served.answer(&asked);
            if asked.header("range").is_none() && number < 8 { reply.by(Delivery::Truncated(1 << 20)) } else { reply }
        }
        _ => served.answer(asked),
    });
    let daemon = Setup::new(BINARY).start();
    let words = refused(&daemon.shipway(&["pull", &format!("{}/app:bad", registry.domain())]));
    assert!(words.contains("have the digest sha512:"), "{words}");
    let name = format!("{}/app:good", registry.domain());
    fine(&daemon.shipway(&["pull", &name]));
    assert_eq!(daemon.shell(&name, "wc -c < /noise").said().trim(), (2 << 20).to_string());
    assert!(registry.asked().iter().any(|asked| asked.header("range").is_some()), "{:?}", registry.lines());
    daemon.assert_sound();

    let own = OwnRegistry::start(BINARY, &[]);
    let onward = format!("{}/app:1", own.host());
    fine(&daemon.shipway(&["tag", &name, &onward]));
    fine(&daemon.shipway(&["push", &onward]));
    let other = Setup::new(BINARY).start();
    fine(&other.shipway(&["pull", &onward]));
    assert_eq!(other.shell(&onward, "wc -c < /noise").said().trim(), (2 << 20).to_string());
    daemon.assert_nothing_left();
}
