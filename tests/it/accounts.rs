//! Who we are to registries, through our command line and docker's: login, logout, search, manifest lists.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use shipway_testkit::{Asked, BadRegistry, Daemon, DebianRegistry, OwnRegistry, Reply, Setup, Tar};

use crate::BINARY;

/// printf 'user:T0KEN' | base64
const BASIC: &str = "Basic dXNlcjpUMEtFTg==";

fn no_bridge() -> Daemon {
    Setup::new(BINARY).start()
}

fn both(output: &Output) -> (bool, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn fine(output: &Output) -> String {
    let (success, out, err) = both(output);
    assert!(success, "{out}\n{err}");
    out
}

/// A registry that knows one user, can be searched, and has nothing.
fn guarded() -> BadRegistry {
    BadRegistry::plain(|asked: &Asked, _| match (asked.header("authorization"), asked.path()) {
        (Some(BASIC), "/v2/") => Reply::new(200, "{}"),
        (_, "/v1/search") => Reply::new(
            200,
            r#"{"results":[{"name":"team/app","description":"an app","star_count":3,"is_official":false},{"name":"team/old","star_count":0}]}"#,
        ),
        (Some(BASIC), _) => Reply::refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        _ => Reply::refusal(401, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", "Basic realm=\"here\""),
    })
}

#[test]
fn a_login_is_tried_kept_used_and_forgotten() {
    let (daemon, registry) = (no_bridge(), guarded());
    let folder = tempfile::tempdir().unwrap();
    let (config, host) = (folder.path().to_str().unwrap(), registry.domain());
    let login =
        |password: &str| daemon.shipway_with_input(&["--config", config, "login", "-u", "user", "--password-stdin", &host], password);

    let (success, out, err) = both(&login("wrong"));
    assert!(!success && out.is_empty(), "{out}");
    assert!(
        err.contains(&format!("Error response from daemon: login attempt to http://{host}/v2/ failed with status: 401 Unauthorized")),
        "{err}"
    );
    assert!(!folder.path().join("config.json").exists());

    let (success, out, err) = both(&login("T0KEN\n"));
    assert!(success && out == "Login Succeeded\n", "{out} {err}");
    assert!(err.contains("WARNING! Your credentials are stored unencrypted in"), "{err}");
    let path = folder.path().join("config.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(kept["auths"][&host]["auth"], BASIC.strip_prefix("Basic ").unwrap());

    // Who is known is not told again where it is kept; flags that contradict each other are refused in docker's words.
    let (success, out, err) = both(&daemon.shipway(&["--config", config, "login", &host]));
    assert!(success && out.contains("Authenticating with existing credentials... [Username: user]\nLogin Succeeded"), "{out}");
    assert_eq!(err, "");
    let (success, _, err) = both(&daemon.shipway(&["--config", config, "login", "-u", "user", "-p", "x", "--password-stdin", &host]));
    assert!(!success && err.contains("conflicting options: cannot specify both --password and --password-stdin"), "{err}");
    let (success, _, err) = both(&daemon.shipway(&["--config", config, "login", "--password-stdin", &host]));
    assert!(!success && err.contains("the --password-stdin option requires --username to be set"), "{err}");

    // The next command shows who we are, ours and docker's.
    let name = format!("{host}/team/app:1");
    assert!(!daemon.shipway(&["--config", config, "pull", &name]).status.success());
    let used = registry
        .asked()
        .iter()
        .filter(|asked| asked.path().contains("/manifests/") && asked.header("authorization") == Some(BASIC))
        .count();
    assert!(used > 0, "{:?}", registry.lines());
    if let Some(output) = daemon.docker(&["--config", config, "login", &host]) {
        assert!(fine(&output).contains("Login Succeeded"));
    }
    assert!(!daemon.log().contains("T0KEN") && !daemon.log().contains("dXNlcjpUMEtFTg"), "the log has the password");

    assert_eq!(fine(&daemon.shipway(&["--config", config, "logout", &host])), format!("Removing login credentials for {host}\n"));
    assert_eq!(fine(&daemon.shipway(&["--config", config, "logout", &host])), format!("Not logged in to {host}\n"));
}

#[test]
fn helpers_keep_what_they_are_given() {
    let (daemon, registry) = (no_bridge(), guarded());
    let folder = tempfile::tempdir().unwrap();
    let (config, host) = (folder.path().to_str().unwrap(), registry.domain());
    std::fs::write(folder.path().join("config.json"), r#"{"credsStore":"shipway-none"}"#).unwrap();
    let output = daemon.shipway_with_input(&["--config", config, "login", "-u", "user", "--password-stdin", &host], "T0KEN");
    let (success, _, err) = both(&output);
    assert!(!success && err.contains("cannot run the credential helper \"docker-credential-shipway-none\""), "{err}");
    assert!(!err.contains("T0KEN"));
    // Without it everybody gets what is there for everybody, and hears why no more.
    let open = OwnRegistry::start(BINARY, &[]);
    let output = daemon.shipway(&["--config", config, "pull", &format!("{}/x", open.host())]);
    let (_, _, err) = both(&output);
    assert!(err.contains("WARNING: going on without the credentials of a helper: cannot run") && err.contains("manifest unknown"), "{err}");
    // A name that leads elsewhere is none.
    std::fs::write(folder.path().join("config.json"), r#"{"credsStore":"../../bin/sh"}"#).unwrap();
    let output = daemon.shipway(&["--config", config, "pull", &format!("{host}/x")]);
    assert!(both(&output).2.contains("is no name of a credential helper"));
}

#[test]
fn a_registry_is_searched_where_it_can_be() {
    let (daemon, registry) = (no_bridge(), guarded());
    let found = fine(&daemon.shipway(&[
        "search",
        "--filter",
        "stars=1",
        "--format",
        "{{.Name}} {{.StarCount}}",
        &format!("{}/app", registry.domain()),
    ]));
    assert_eq!(found, format!("{}/team/app 3\n", registry.domain()));
    assert_eq!(registry.asked().last().unwrap().target, "/v1/search?q=app&n=25");
    let plain = BadRegistry::plain(|_, _| Reply::new(404, "404 page not found"));
    let (success, _, err) = both(&daemon.shipway(&["search", &format!("{}/app", plain.domain())]));
    assert!(!success && err.contains("cannot be searched"), "{err}");
    assert!(both(&daemon.shipway(&["search", "--limit", "101", "x"])).2.contains("limit 101 is outside the range of [1, 100]"));
}

/// docker's own command, where it is installed, makes the same list of the same images, byte by byte, and shows it the same way.
fn lists_as_docker_does(daemon: &Daemon, [list, one, other]: [&str; 3], ours: &str, told: &str) {
    let folder = tempfile::tempdir().unwrap();
    let docker = |arguments: &[&str]| daemon.docker(&[&["--config", folder.path().to_str().unwrap(), "manifest"], arguments].concat());
    let Some(created) = docker(&["create", "--insecure", list, one, other]) else { return };
    assert_eq!(fine(&created), format!("Created manifest list {list}\n"));
    fine(&docker(&["annotate", list, other, "--arch", "arm64", "--variant", "v8"]).unwrap());
    let pushed = fine(&docker(&["push", "--insecure", "--purge", list]).unwrap());
    assert_eq!(pushed, told);
    let shown = |output: Output| -> (String, Value) {
        let text = fine(&output);
        let value = serde_json::from_str(&text).unwrap();
        (text, value)
    };
    assert_eq!(shown(docker(&["inspect", "--insecure", "-v", one]).unwrap()), (ours.to_owned(), serde_json::from_str(ours).unwrap()));
    let theirs = fine(&docker(&["inspect", "--insecure", list]).unwrap());
    assert_eq!(fine(&daemon.shipway(&["manifest", "inspect", list])), theirs);
    for missing in [["inspect", "--insecure"].as_slice(), &["rm"]] {
        let name = list.replace("app:1", "none:1");
        let arguments = [missing, &[name.as_str()]].concat();
        let theirs = both(&docker(&arguments).unwrap()).2;
        let ours = both(&daemon.shipway(&[&["manifest"], arguments.as_slice()].concat())).2;
        assert!(ours.contains(theirs.lines().next().unwrap()), "{ours} {theirs}");
    }
}

#[test]
fn a_manifest_list_is_put_together_and_pushed() {
    let (daemon, registry) = (no_bridge(), DebianRegistry::start());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().to_str().unwrap();
    daemon.import_busybox("box");
    let name = |text: &str| format!("{}/team/{text}", registry.host());
    let (one, other, list) = (name("app:amd64"), name("parts:arm64"), name("app:1"));
    for (image, word) in [(&one, "one"), (&other, "other")] {
        let context = Tar::new().file("Dockerfile", format!("FROM box\nRUN echo {word} > /word\n").as_bytes()).finish();
        daemon.build(&format!("t={image}"), &context).unwrap();
        fine(&daemon.shipway(&["push", "-q", image]));
    }
    let run = |arguments: &[&str]| daemon.shipway(&[&["--config", config, "manifest"], arguments].concat());
    assert_eq!(fine(&run(&["create", &list, &one, &other])), format!("Created manifest list {list}\n"));
    assert!(both(&run(&["create", &list, &one])).2.contains("refusing to amend"));
    fine(&run(&["annotate", &list, &other, "--arch", "arm64", "--variant", "v8"]));
    let shown: Value = serde_json::from_str(&fine(&run(&["inspect", &list]))).unwrap();
    assert_eq!(shown["manifests"][1]["platform"]["architecture"], "arm64", "{shown}");
    let whole = fine(&run(&["inspect", "-v", &one]));
    let mistyped = both(&run(&["annotate", &list, &other, "--arch", "arm46"])).2;
    assert!(mistyped.contains("manifest entry for image has unsupported os/arch combination: linux/arm46") && mistyped.contains("arm64?"));
    let told = fine(&run(&["push", "--purge", &list]));
    let digest = told.lines().last().unwrap();
    lists_as_docker_does(&daemon, [&list, &one, &other], &whole, &told);
    assert!(Path::new(config).join("manifests").read_dir().unwrap().next().is_none());
    // What was pushed is what is there, by its digest too, with the manifest of the other repository beside it.
    let pushed: Value = serde_json::from_str(&fine(&run(&["inspect", &name(&format!("app@{}", digest))]))).unwrap();
    assert_eq!(pushed["manifests"].as_array().unwrap().len(), 2);
    fine(&daemon.shipway(&["rmi", &one]));
    fine(&daemon.shipway(&["pull", "-q", &list]));
    assert!(both(&run(&["rm", &list])).2.contains("No such manifest"));
}
