//! Build, ship, run: images that go to a registry and come back, through our command line, docker's, and skopeo, against Debian's docker-registry.

use std::process::{Command, Output};
use std::time::Instant;

use serde_json::{Value, json};
use shipway_testkit::{Daemon, DebianRegistry, Gate, OwnRegistry, Tar};

use crate::BINARY;

#[track_caller]
fn fine(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// The digest that skopeo finds under a name.
fn digest_by_skopeo(name: &str) -> String {
    let output =
        Command::new("skopeo").args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"]).arg(format!("docker://{name}")).output();
    fine(&output.expect("skopeo is installed: scripts/setup test")).trim().to_owned()
}

/// The digest our push told.
fn told(pushed: &str) -> String {
    let line = pushed.lines().find(|line| line.contains(": digest: ")).unwrap_or_else(|| panic!("no digest in {pushed}"));
    line.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned()
}

/// Builds an image of two layers on busybox.
fn build(daemon: &Daemon, name: &str, word: &str) {
    daemon.import_busybox("box");
    let dockerfile = format!("FROM box\nRUN echo {word} > /word && mkdir -p /d && ln -s /word /d/link\nCMD [\"cat\", \"/d/link\"]\n");
    daemon.build(&format!("t={name}"), &Tar::new().file("Dockerfile", dockerfile.as_bytes()).finish()).unwrap();
}

#[test]
fn an_image_goes_out_and_comes_back_the_same() {
    let registry = DebianRegistry::start();
    let daemon = Daemon::start(BINARY);
    let name = format!("{}/team/app:1", registry.host());
    build(&daemon, &name, "shipped");
    let first = fine(&daemon.shipway(&["push", &name]));
    assert_eq!(first.matches(": Pushed").count(), 2, "{first}");
    let digest = told(&first);
    assert_eq!(digest_by_skopeo(&name), digest);

    // Nothing is sent, compressed or put twice.
    let begun = Instant::now();
    let second = fine(&daemon.shipway(&["push", &name]));
    let took = begun.elapsed();
    assert_eq!((second.matches(": Layer already exists").count(), told(&second)), (2, digest.clone()), "{second}");
    assert!(took.as_secs() < 5, "{took:?}");

    let other = format!("{}/other/app:2", registry.host());
    fine(&daemon.shipway(&["tag", &name, &other]));
    let mounted = fine(&daemon.shipway(&["push", &other]));
    assert_eq!((mounted.matches(": Mounted from team/app").count(), told(&mounted)), (2, digest.clone()), "{mounted}");

    let refused = daemon.shipway(&["push", &format!("{}/team/app@{digest}", registry.host())]);
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("cannot push a digest reference"),
        "{refused:?}"
    );
    let listed = fine(&daemon.shipway(&["image", "ls", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"]));
    assert!(listed.contains(&format!("{}/team/app 1 {digest}", registry.host())), "{listed}");

    // Gone here, there again: by pull, by run, and by FROM with the digest.
    for name in [&name, &other] {
        fine(&daemon.shipway(&["rmi", name]));
    }
    assert!(!fine(&daemon.shipway(&["images", "-a"])).contains("team/app"));
    fine(&daemon.shipway(&["rmi", "box"]));
    fine(&daemon.shipway(&["builder", "prune", "-af"]));
    daemon.assert_sound();
    let pulled = fine(&daemon.shipway(&["pull", &name]));
    assert!(pulled.contains(&format!("Digest: {digest}")) && pulled.contains("Status: Downloaded newer image for"), "{pulled}");
    assert_eq!(pulled.matches(": Pull complete").count(), 2, "{pulled}");
    assert!(fine(&daemon.shipway(&["pull", &name])).contains("Status: Image is up to date for"));
    assert_eq!(fine(&daemon.shipway(&["run", "--rm", "--network", "none", &name])), "shipped\n");
    fine(&daemon.shipway(&["rmi", &name]));
    let by_digest = format!("{}/team/app@{digest}", registry.host());
    daemon
        .build("t=derived", &Tar::new().file("Dockerfile", format!("FROM {by_digest}\nRUN cat /word > /again\n").as_bytes()).finish())
        .unwrap();
    assert_eq!(fine(&daemon.shipway(&["run", "--rm", "--network", "none", &other])), "shipped\n");
    let about = daemon.get(&format!("/distribution/{name}/json"));
    assert_eq!((about["Descriptor"]["digest"].as_str(), about["Platforms"][0]["os"].as_str()), (Some(digest.as_str()), Some("linux")));
    daemon.assert_sound();
    daemon.assert_nothing_left();
}

#[test]
fn an_unchanged_push_asks_about_its_tag_and_puts_its_manifest_again() {
    let registry = OwnRegistry::start(BINARY, &[]);
    let gate = Gate::before(registry.host());
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let steps: String = (0..12).map(|step| format!("RUN echo {step} > /step{step}\n")).collect();
    let name = format!("{}/app:1", gate.host());
    daemon.build(&format!("t={name}"), &Tar::new().file("Dockerfile", format!("FROM box\n{steps}").as_bytes()).finish()).unwrap();
    let first = fine(&daemon.shipway(&["push", &name]));
    let before = gate.sent();
    let second = fine(&daemon.shipway(&["push", &name]));
    assert_eq!((second.matches(": Layer already exists").count(), told(&second)), (13, told(&first)), "{second}");
    let size: u64 = second.rsplit_once("size: ").unwrap().1.trim().parse().unwrap();
    let (sent, per_layer) = (gate.sent() - before, 100);
    assert!(size < sent && sent < size + 13 * per_layer, "{sent} bytes for a question and a manifest of {size}");
}

#[test]
fn who_may_not_push_is_told_so_also_when_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = folder.path().join("htpasswd");
    // htpasswd -Bbn ann secret
    std::fs::write(&accounts, "ann:$2y$05$dSpY11EsYssY712UQFeVlumdh8yq.5iqNSmPMFeVO3eY49Dxbvcu2\n").unwrap();
    let registry = OwnRegistry::start(BINARY, &["--htpasswd", accounts.to_str().unwrap(), "--anonymous-read"]);
    let daemon = Daemon::start(BINARY);
    let name = format!("{}/app:1", registry.host());
    build(&daemon, &name, "guarded");
    let (ann, nobody) = (folder.path().join("ann"), folder.path().join("nobody"));
    let login = ["--config", ann.to_str().unwrap(), "login", "-u", "ann", "--password-stdin", registry.host()];
    fine(&daemon.shipway_with_input(&login, "secret"));
    fine(&daemon.shipway(&["--config", ann.to_str().unwrap(), "push", &name]));
    fine(&daemon.shipway(&["--config", ann.to_str().unwrap(), "push", &name]));
    // Everybody may look, and finds that all is there already.
    let refused = daemon.shipway(&["--config", nobody.to_str().unwrap(), "push", &name]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("unauthorized"), "{words}");
    assert!(words.contains(&format!("shipway login {}", registry.host())) && !words.contains("did you mean"), "{words}");
    let wrong = ["--config", nobody.to_str().unwrap(), "login", "-u", "ann", "--password-stdin", registry.host()];
    let words = String::from_utf8_lossy(&daemon.shipway_with_input(&wrong, "wrong").stderr).into_owned();
    assert!(words.contains("user name or password is wrong"), "{words}");
}

#[test]
fn what_came_goes_on_as_exactly_the_same() {
    let (registry, elsewhere) = (DebianRegistry::start(), DebianRegistry::start());
    let daemon = Daemon::start(BINARY);
    let name = format!("{}/app:1", registry.host());
    build(&daemon, &name, "zstd");
    let zstd = told(&fine(&daemon.shipway(&["push", "--compression", "zstd", &name])));
    let stays = format!("{}/app:1", elsewhere.host());
    fine(&daemon.shipway(&["tag", &name, &stays]));
    assert_eq!(told(&fine(&daemon.shipway(&["push", &stays]))), zstd, "it keeps the form it was given first");
    let again = format!("{}/app:2", registry.host());
    fine(&daemon.shipway(&["tag", &name, &again]));
    assert_ne!(told(&fine(&daemon.shipway(&["push", "--compression", "gzip", &again]))), zstd);

    // Another machine pulls all of it and passes it on.
    let second = Daemon::start(BINARY);
    let all = fine(&second.shipway(&["pull", "-a", &format!("{}/app", registry.host())]));
    assert_eq!(all.matches("Status: Downloaded newer image for").count(), 1, "both tags are one image: {all}");
    let copy = format!("{}/copy:1", elsewhere.host());
    fine(&second.shipway(&["tag", &name, &copy]));
    let passed_on = told(&fine(&second.shipway(&["push", &copy])));
    assert_eq!(digest_by_skopeo(&copy), passed_on);
    assert!(passed_on == digest_by_skopeo(&name) || passed_on == digest_by_skopeo(&again));

    // That another form of its layers is there already, and known here, changes nothing about the digest of what came.
    let third = Daemon::start(BINARY);
    fine(&third.shipway(&["pull", &name]));
    let mixed = format!("{}/mixed", elsewhere.host());
    let derived = Tar::new().file("Dockerfile", format!("FROM {name}\nRUN echo derived > /derived\n").as_bytes()).finish();
    third.build(&format!("t={mixed}:1"), &derived).unwrap();
    fine(&third.shipway(&["push", "--compression", "gzip", &format!("{mixed}:1")]));
    let same = format!("{mixed}:2");
    fine(&third.shipway(&["tag", &name, &same]));
    assert_eq!(told(&fine(&third.shipway(&["push", &same]))), zstd);
    third.assert_sound();
    second.assert_sound();
    daemon.assert_sound();
}

#[test]
fn what_is_asked_for_another_platform_is_not_there() {
    let daemon = Daemon::start(BINARY);
    build(&daemon, "app:1", "platform");
    let folder = tempfile::tempdir().unwrap();
    let (good, none) = (folder.path().join("good.tar"), folder.path().join("none.tar"));
    let (good, none) = (good.to_str().unwrap(), none.to_str().unwrap());
    let host = shipway_model::Platform::host().to_string();
    let other = if host.contains("s390x") { "linux/amd64" } else { "linux/s390x" };
    fine(&daemon.shipway(&["save", "--platform", &host, "-o", good, "app:1"]));
    let refused: [&[&str]; 5] = [
        &["save", "--platform", other, "-o", none, "app:1"],
        &["image", "inspect", "--platform", other, "app:1"],
        &["history", "--platform", other, "app:1"],
        &["rmi", "--platform", other, "app:1"],
        &["load", "--platform", other, "-i", good],
    ];
    for arguments in refused {
        let asked = |output: Output| {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            let expected =
                [format!("was found but does not provide the specified platform ({other})"), format!("has no image for {other}")];
            assert!(!output.status.success() && expected.iter().any(|expected| words.contains(expected)), "{arguments:?}: {words}");
        };
        asked(daemon.shipway(arguments));
        // Clients of before API 1.50 do not know the flag everywhere, and say so themselves.
        if let Some(output) = daemon.docker(arguments).filter(|output| !String::from_utf8_lossy(&output.stderr).contains("unknown flag")) {
            asked(output);
        }
    }
    fine(&daemon.shipway(&["rmi", "--platform", &host, "app:1"]));
    fine(&daemon.shipway(&["load", "--platform", &host, "-i", good]));
    assert_eq!(fine(&daemon.shipway(&["run", "--rm", "--network", "none", "app:1"])), "platform\n");
}

#[test]
fn dockers_own_client_sees_its_own_words() {
    let registry = DebianRegistry::start();
    let daemon = Daemon::start(BINARY);
    let name = format!("{}/app:1", registry.host());
    build(&daemon, &name, "docker");
    let Some(pushed) = daemon.docker(&["push", &name]) else { return };
    let digest = told(&fine(&pushed));
    fine(&daemon.docker(&["rmi", &name, "box"]).unwrap());
    fine(&daemon.shipway(&["builder", "prune", "-af"]));
    let pulled = fine(&daemon.docker(&["pull", &name]).unwrap());
    for words in
        [": Pulling fs layer", ": Download complete", ": Pull complete", &format!("Digest: {digest}"), "Status: Downloaded newer image"]
    {
        assert!(pulled.contains(words), "{words}: {pulled}");
    }
    let missing = daemon.docker(&["pull", &format!("{}/app:nosuch", registry.host())]).unwrap();
    let words = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(words.contains(&format!("manifest for {}/app:nosuch not found: manifest unknown", registry.host())), "{words}");
    daemon.assert_sound();
}

#[test]
fn a_wrong_name_is_answered_with_the_right_one_before_any_login() {
    let registry = DebianRegistry::start();
    let daemon = Daemon::start(BINARY);
    let name = format!("{}/diamol/web-ping", registry.host());
    build(&daemon, &name, "ping");
    for wrong in ["diamlo/web-ping", "diamol/web-pign"] {
        let output = daemon.shipway(&["pull", &format!("{}/{wrong}", registry.host())]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words.contains(&format!("did you mean {name}?")) && !words.contains("login"), "{words}");
    }
    // The registry is the right one, or it would not have answered: another one's image is not meant, and a name that is here is no mistake.
    let elsewhere = DebianRegistry::start();
    fine(&daemon.shipway(&["tag", &name, &format!("{name}:v1")]));
    let near = format!("did you mean {name}:v1?");
    for (asked, hint) in
        [(format!("{}/diamol/web-ping", elsewhere.host()), None), (name.clone(), None), (format!("{name}:v2"), Some(near.as_str()))]
    {
        let output = daemon.shipway(&["pull", &asked]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = words.lines().find_map(|line| line.trim().strip_prefix("hint: "));
        assert_eq!((output.status.success(), said), (false, hint), "{words}");
    }
    let output = daemon.shipway(&["push", &format!("{}/diamol/web-pign", registry.host())]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("An image does not exist locally with the tag") && words.contains("did you mean"), "{words}");
}

#[test]
fn killed_in_the_middle_of_a_pull_nothing_shows_and_the_next_one_goes_on() {
    let registry = DebianRegistry::start();
    let mut daemon = Daemon::start(BINARY);
    let name = format!("{}/app:1", registry.host());
    build(&daemon, &name, "killed");
    let digest = told(&fine(&daemon.shipway(&["push", &name])));
    fine(&daemon.shipway(&["rmi", &name]));
    fine(&daemon.shipway(&["rmi", "box"]));
    fine(&daemon.shipway(&["builder", "prune", "-af"]));
    let create = format!("/images/create?fromImage={}/app&tag=1", registry.host());
    let points =
        ["store.download.appended", "store.download.renamed", "store.unpack.unpacked", "store.publish.begin", "store.publish.synced"];
    for point in points {
        daemon.restart_with_fault(point, 1);
        // It dies while it answers.
        drop(daemon.try_call("POST", &create, &Value::Null));
        daemon.wait_for_death(20);
        daemon.restart();
        assert_eq!(daemon.get("/images/json"), json!([]), "{point}");
        daemon.assert_sound();
    }
    let pulled = fine(&daemon.shipway(&["pull", &name]));
    assert!(pulled.contains(&digest), "{pulled}");
    assert_eq!(fine(&daemon.shipway(&["run", "--rm", "--network", "none", &name])), "killed\n");
    daemon.assert_sound();
    daemon.assert_nothing_left();
}
