//! Base images that only people with an account may have: builds by our command line, in place and as a tar, and by docker's classic builder.
//!
//! What must stay true (S-213, S-406, S-415, S-506): each registry sees its own credentials and nobody else's; no log, no history, nothing on disk has any.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use shipway_testkit::{BadRegistry, Daemon, OwnRegistry, Reply, Setup, Tar};

use crate::BINARY;

const DOCKER: &str = "/usr/local/bin/docker";
const ANN: &str = "s3cret-of-ann";
const BOB: &str = "s3cret-of-bob";
/// bcrypt of the two passwords, at the least cost there is.
const ACCOUNTS: [&str; 2] = [
    "ann:$2y$04$abcdefghijklmnopqrstuu0gRmIdbXkIHeZPW49JyWcENUlDSYkre\n",
    "bob:$2y$04$abcdefghijklmnopqrstuu/2sUG55x2qt2ZORDSqaxI8DX2g4Zlju\n",
];
/// A helper that knows bob, and says so in its log.
const HELPER: &str = r#"#!/bin/sh
read server
echo "$1 $server" >> "$(dirname "$0")/helper.log"
case "$1 $server" in
"get HOST") echo '{"ServerURL":"HOST","Username":"bob","Secret":"s3cret-of-bob"}' ;;
*) echo "credentials not found in native keychain"; exit 1 ;;
esac
"#;

/// Two private registries, each with an image, and a daemon that has neither.
struct Scene {
    daemon: Daemon,
    anns: OwnRegistry,
    bobs: OwnRegistry,
    /// Of the person at the terminal: `config.json` with ann's password, a helper with bob's.
    config: tempfile::TempDir,
    /// Of somebody else.
    nobody: tempfile::TempDir,
}

#[track_caller]
fn fine(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    format!("{out}{err}")
}

fn basic(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}

impl Scene {
    fn set() -> Self {
        let (anns, bobs) = (OwnRegistry::guarded(BINARY, ACCOUNTS[0]), OwnRegistry::guarded(BINARY, ACCOUNTS[1]));
        let daemon = Setup::new(BINARY).start();
        let config = tempfile::tempdir().unwrap();
        let keys = json!({"auths": {anns.host(): {"auth": basic("ann", ANN)}}, "credHelpers": {bobs.host(): "ship-test"}});
        std::fs::write(config.path().join("config.json"), keys.to_string()).unwrap();
        let helper = config.path().join("docker-credential-ship-test");
        std::fs::write(&helper, HELPER.replace("HOST", bobs.host())).unwrap();
        std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let scene = Self { daemon, anns, bobs, config, nobody: tempfile::tempdir().unwrap() };
        scene.daemon.import_busybox("box");
        for (name, word) in [(scene.base(), "ann"), (scene.files(), "bob")] {
            let dockerfile = format!("FROM box\nRUN echo {word} > /word\n");
            scene.daemon.build(&format!("t={name}"), &Tar::new().file("Dockerfile", dockerfile).finish()).unwrap();
            fine(&scene.client(BINARY, scene.config.path(), &["push", &name], None));
        }
        scene.forget();
        scene
    }

    fn base(&self) -> String {
        format!("{}/team/base:1", self.anns.host())
    }

    fn files(&self) -> String {
        format!("{}/files:1", self.bobs.host())
    }

    fn dockerfile(&self) -> String {
        format!("FROM {}\nCOPY --from={} /word /other\nRUN cat /word /other > /both\n", self.base(), self.files())
    }

    /// Leaves nothing of any image here.
    fn forget(&self) {
        for image in self.daemon.get("/images/json").as_array().unwrap() {
            self.daemon.delete(&format!("/images/{}?force=1", image["Id"].as_str().unwrap())).fine();
        }
        self.daemon.post("/build/prune?all=1", &json!(null)).fine();
        self.daemon.post("/images/prune", &json!(null)).fine();
        assert_eq!(self.daemon.get("/images/json?all=1"), json!([]));
    }

    /// A command line whose configuration is in `config`.
    fn client(&self, program: &str, config: &Path, arguments: &[&str], input: Option<&Path>) -> Output {
        let address = format!("unix://{}", self.daemon.socket().display());
        let stdin = input.map_or_else(Stdio::null, |path| std::fs::File::open(path).unwrap().into());
        Command::new(program)
            .arg("--config")
            .arg(config)
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", config.display()))
            .env("HOME", self.daemon.scratch())
            .env("SHIPWAY_HOST", &address)
            .env("DOCKER_HOST", &address)
            .env("DOCKER_BUILDKIT", "0")
            .stdin(stdin)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"))
    }

    /// Nothing the daemon wrote has a password in it, plain or in base64.
    fn assert_secrets_are_nowhere(&self) {
        for secret in [ANN, BOB, &basic("ann", ANN), &basic("bob", BOB)] {
            let found = Command::new("grep")
                .args(["-rlaF", secret])
                .args([self.daemon.data_root(), &self.daemon.exec_root(), &self.daemon.data_root().with_file_name("log")])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{secret}");
        }
        assert!(!self.daemon.log().is_empty());
    }
}

#[test]
fn private_bases_come_by_the_credentials_of_who_builds() {
    let scene = Scene::set();
    let folder = scene.daemon.scratch().join("context");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("Dockerfile"), scene.dockerfile()).unwrap();
    let tar = scene.daemon.scratch().join("context.tar");
    std::fs::write(&tar, Tar::new().file("Dockerfile", scene.dockerfile()).finish()).unwrap();
    let context = folder.to_str().unwrap();
    let ways: [(&str, &[&str], Option<&Path>); 3] = [
        (BINARY, &["build", "-t", "app", context], None),
        (BINARY, &["build", "-t", "app", "-"], Some(&tar)),
        (DOCKER, &["build", "-t", "app", context], None),
    ];
    for (program, arguments, input) in ways.into_iter().filter(|(program, ..)| Path::new(program).exists()) {
        let refused = scene.client(program, scene.nobody.path(), arguments, input);
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && words.contains("unauthorized"), "{program}: {words}");

        let told = fine(&scene.client(program, scene.config.path(), arguments, input));
        assert!(![ANN, BOB].iter().any(|secret| told.contains(secret)), "{told}");
        assert_eq!(scene.daemon.shell("app", "cat /both").said(), "ann\nbob\n");
        // Who has no account gets nothing that the build of somebody else left in the daemon's memory: only what is an image here.
        scene.forget();
    }
    let helper = std::fs::read_to_string(scene.config.path().join("helper.log")).unwrap();
    assert!(helper.lines().all(|line| line == format!("get {}", scene.bobs.host())), "{helper}");
    let history = fine(&scene.client(BINARY, scene.nobody.path(), &["build", "history", "ls"], None));
    assert!(!history.contains("s3cret"), "{history}");
    scene.assert_secrets_are_nowhere();
    scene.daemon.assert_sound();
}

#[test]
fn a_stranger_among_the_bases_learns_nothing() {
    let scene = Scene::set();
    // It asks in every way there is; one answer sends the asker to a realm of its own.
    let stranger = BadRegistry::plain(|asked, _| {
        let challenge =
            if asked.path() == "/v2/" { "Basic realm=\"x\"" } else { "Bearer realm=\"/token\",service=\"x\", Basic realm=\"x\"" };
        Reply::refusal(401, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", challenge)
    });
    for from in
        [format!("FROM {}/x:1\n", stranger.domain()), format!("{}COPY --from={}/x:1 /a /b\n", scene.dockerfile(), stranger.domain())]
    {
        let tar = scene.daemon.scratch().join("stranger.tar");
        std::fs::write(&tar, Tar::new().file("Dockerfile", from).finish()).unwrap();
        for program in [BINARY, DOCKER].into_iter().filter(|program| Path::new(program).exists()) {
            let refused = scene.client(program, scene.config.path(), &["build", "-"], Some(&tar));
            assert!(!refused.status.success());
        }
    }
    assert!(!stranger.asked().is_empty());
    for secret in [ANN, BOB, &basic("ann", ANN), &basic("bob", BOB)] {
        assert!(!stranger.saw(secret), "{:?}", stranger.lines());
    }
    scene.assert_secrets_are_nowhere();
}

#[test]
fn a_helper_that_fails_stops_no_build() {
    let daemon = Setup::new(BINARY).start();
    daemon.import_busybox("box");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), r#"{"credsStore":"shipway-none"}"#).unwrap();
    std::fs::write(folder.path().join("Dockerfile"), "FROM box\n").unwrap();
    let path = folder.path().to_str().unwrap();
    let told = fine(&daemon.shipway(&["--config", path, "build", path]));
    assert!(told.contains("WARNING: going on without the credentials of a helper: cannot run"), "{told}");
}
