//! The routes over a real engine on a scratch root. Nothing here starts a process, so nothing here needs one's kernel.
//!
//! Expected texts and shapes were taken from dockerd 20.10 (`crates/wire/testdata`) and moby HEAD's sources of truth named in features.md section 6.

use std::sync::Arc;

use serde_json::{Value, json};
use shipway_engine::{Engine, EngineConfig};
use shipway_server::connection::Application;
use shipway_server::{Api, ApiOptions, ListenAddress, ListenOptions, Listener, ServeOptions, serve};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::harness::read_all;

/// An API with an empty engine behind it.
struct Daemon {
    path: std::path::PathBuf,
    engine: Engine,
    _stop: tokio_util::sync::DropGuard,
    _folder: tempfile::TempDir,
}

/// An answer taken apart.
struct Got {
    status: u16,
    head: String,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.body))
    }

    fn message(&self) -> (u16, String) {
        (self.status, self.json()["message"].as_str().unwrap_or_default().to_owned())
    }
}

impl Daemon {
    async fn start() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut config = EngineConfig::new(folder.path().join("data"), folder.path().join("run"));
        config.bridge = false;
        config.pool_size = 0;
        let engine = Engine::start(config).await.unwrap();
        let path = folder.path().join("d.sock");
        let listener = Listener::bind(&ListenAddress::Unix(path.clone()), &ListenOptions::default()).unwrap();
        let stop = CancellationToken::new();
        let api = Api::new(engine.clone(), ApiOptions::default()) as Arc<dyn Application>;
        tokio::spawn(serve(vec![listener], api, ServeOptions::default(), stop.clone()));
        Self { path, engine, _stop: stop.drop_guard(), _folder: folder }
    }

    async fn send(&self, method: &str, path: &str, body: &[u8]) -> Got {
        let mut client = UnixStream::connect(&self.path).await.unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(body).await.unwrap();
        let text = read_all(&mut client).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let body = if head.contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_owned() };
        Got { status: head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0), head: head.to_owned(), body }
    }

    async fn get(&self, path: &str) -> Got {
        self.send("GET", path, b"").await
    }

    async fn post(&self, path: &str, body: &str) -> Got {
        self.send("POST", path, body.as_bytes()).await
    }

    /// An image of one file, named `name`.
    async fn import(&self, name: &str) -> String {
        let got = self
            .send(
                "POST",
                &format!("/images/create?fromSrc=-&repo={name}&tag=1&changes=CMD%20%5B%22%2Fhello%22%5D"),
                &tar("hello", b"#!/bin/sh\n"),
            )
            .await;
        assert_eq!(got.status, 200, "{}", got.body);
        got.json()["status"].as_str().unwrap().to_owned()
    }
}

fn unchunk(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        text = &rest[size + 2..];
        if size == 0 {
            break;
        }
    }
    whole
}

/// An archive of one file (POSIX ustar).
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, name, content).unwrap();
    archive.into_inner().unwrap()
}

#[tokio::test]
async fn ping_tells_clients_what_they_negotiate_with() {
    let daemon = Daemon::start().await;
    for path in ["/_ping", "/v1.41/_ping"] {
        let got = daemon.get(path).await;
        assert_eq!((got.status, got.body.as_str()), (200, "OK"));
        for header in [
            "api-version: 1.51",
            "ostype: linux",
            "docker-experimental: false",
            "builder-version: 1",
            "cache-control: no-cache",
            "server: Shipway/",
        ] {
            assert!(got.head.to_lowercase().contains(&header.to_lowercase()), "{header} in {}", got.head);
        }
    }
    let got = daemon.send("HEAD", "/_ping", b"").await;
    assert_eq!((got.status, got.body.as_str()), (200, ""));
}

#[tokio::test]
async fn versions_are_negotiated_in_mobys_words() {
    let daemon = Daemon::start().await;
    assert_eq!(
        daemon.get("/v1.99/info").await.message(),
        (400, "client version 1.99 is too new. Maximum supported API version is 1.51".to_owned())
    );
    assert_eq!(
        daemon.get("/v1.23/info").await.message(),
        (
            400,
            "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
                .to_owned()
        )
    );
    for path in ["/v1.24/version", "/v1.51/version", "/version"] {
        let version = daemon.get(path).await.json();
        assert_eq!((version["ApiVersion"].as_str(), version["MinAPIVersion"].as_str()), (Some("1.51"), Some("1.24")), "{path}");
    }
    assert_eq!(daemon.get("/vx/info").await.message(), (404, "page not found".to_owned()));
}

#[tokio::test]
async fn what_does_not_exist_is_told_in_dockerds_words() {
    let daemon = Daemon::start().await;
    for (method, path, status, message) in [
        ("GET", "/nope", 404, "page not found"),
        ("POST", "/_ping", 404, "page not found"),
        ("GET", "/containers/nope/json", 404, "No such container: nope"),
        ("POST", "/containers/nope/start", 404, "No such container: nope"),
        ("POST", "/containers/nope/attach?stream=1", 404, "No such container: nope"),
        ("POST", "/containers/nope/wait", 404, "No such container: nope"),
        ("GET", "/exec/nope/json", 404, "No such exec instance: nope"),
        ("POST", "/exec/nope/start", 404, "No such exec instance: nope"),
        ("GET", "/networks/nope", 404, "network nope not found"),
        ("GET", "/volumes/nope", 404, "get nope: no such volume"),
        ("POST", "/containers/create", 400, "invalid JSON: got EOF while reading request body"),
        ("POST", "/containers/x/rename", 400, "Neither old nor new names may be empty"),
        ("POST", "/containers/x/resize?h=a&w=1", 400, "strconv.Atoi: parsing \"a\": invalid syntax"),
        ("POST", "/containers/x/kill?signal=FOO", 400, "Invalid signal: FOO"),
        ("GET", "/containers/x/logs", 400, "Bad parameters: you must choose at least one stream"),
        ("GET", "/containers/json?limit=a", 400, "strconv.Atoi: parsing \"a\": invalid syntax"),
        ("GET", "/containers/json?filters=%7B%22foo%22%3A%5B%22a%22%5D%7D", 400, "invalid filter 'foo'"),
        ("GET", "/images/json?filters=%7B%22foo%22%3A%5B%22a%22%5D%7D", 400, "invalid filter 'foo'"),
        ("GET", "/events?filters=%7B%22foo%22%3A%5B%22a%22%5D%7D", 400, "invalid filter 'foo'"),
        ("GET", "/system/df?type=x", 400, "unknown object type: x"),
        ("POST", "/swarm/leave", 503, "This node is not part of a swarm"),
        ("POST", "/containers/x/pause", 404, "No such container: x"),
        ("POST", "/networks/create", 400, "invalid JSON: got EOF while reading request body"),
        ("DELETE", "/networks/none", 403, "none is a pre-defined network and cannot be removed"),
    ] {
        assert_eq!(daemon.send(method, path, b"").await.message(), (status, message.to_owned()), "{method} {path}");
    }
    for path in ["/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/v1.41/nodes/x"] {
        let (status, message) = daemon.get(path).await.message();
        assert!(status == 503 && message.starts_with("This node is not a swarm manager."), "{path}");
    }
    let (status, message) = daemon.get("/images/nope/json").await.message();
    assert!(status == 404 && message.to_lowercase().starts_with("no such image: nope"), "{message}");
}

#[tokio::test]
async fn lists_of_an_empty_daemon_are_empty_and_not_null() {
    let daemon = Daemon::start().await;
    for (path, expected) in [
        ("/containers/json?all=1", json!([])),
        ("/images/json", json!([])),
        ("/plugins", json!([])),
        ("/volumes", json!({"Volumes": [], "Warnings": null})),
        ("/shipway/build/history", json!([])),
    ] {
        assert_eq!(daemon.get(path).await.json(), expected, "{path}");
    }
    for (path, expected) in [
        ("/containers/prune", json!({"ContainersDeleted": null, "SpaceReclaimed": 0})),
        ("/images/prune", json!({"ImagesDeleted": null, "SpaceReclaimed": 0})),
        ("/build/prune", json!({"CachesDeleted": null, "SpaceReclaimed": 0})),
        ("/volumes/prune", json!({"VolumesDeleted": [], "SpaceReclaimed": 0})),
        ("/networks/prune", json!({"NetworksDeleted": null})),
    ] {
        assert_eq!(daemon.post(path, "").await.json(), expected, "{path}");
    }
    let networks = daemon.get("/networks").await.json();
    assert_eq!(networks.as_array().unwrap().iter().map(|network| network["Name"].as_str().unwrap()).collect::<Vec<_>>(), ["host", "none"]);
}

/// The keys of an object, sorted.
fn keys(value: &Value) -> Vec<String> {
    let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn old_clients_find_every_key_that_dockerd_gave_them() {
    let daemon = Daemon::start().await;
    daemon.import("base").await;
    let created = daemon.post("/v1.41/containers/create?name=web", r#"{"Image":"base:1"}"#).await;
    assert_eq!(created.status, 201, "{}", created.body);
    for (path, captured) in [
        ("/v1.41/info", include_str!("../../../wire/testdata/info.json")),
        ("/v1.41/containers/web/json", include_str!("../../../wire/testdata/inspect.json")),
        ("/v1.41/images/base:1/json", include_str!("../../../wire/testdata/image.json")),
        ("/v1.41/networks/none", include_str!("../../../wire/testdata/network.json")),
    ] {
        let ours = keys(&daemon.get(path).await.json());
        let theirs: Value = serde_json::from_str(captured).unwrap();
        let missing: Vec<String> = keys(&theirs).into_iter().filter(|key| !ours.contains(key)).collect();
        assert_eq!(missing, Vec::<String>::new(), "{path}");
    }
}

#[tokio::test]
async fn an_image_is_imported_listed_tagged_saved_loaded_and_removed() {
    let daemon = Daemon::start().await;
    let id = daemon.import("registry.example:5000/team/app").await;
    let list = daemon.get("/images/json").await.json();
    assert_eq!((list[0]["Id"].as_str(), &list[0]["RepoTags"]), (Some(id.as_str()), &json!(["registry.example:5000/team/app:1"])));
    let inspected = daemon.get("/images/registry.example:5000/team/app:1/json").await.json();
    assert_eq!((inspected["Id"].as_str(), &inspected["Config"]["Cmd"]), (Some(id.as_str()), &json!(["/hello"])));
    let history = daemon.get("/images/registry.example:5000/team/app:1/history").await.json();
    assert_eq!(history[0]["Id"].as_str(), Some(id.as_str()));
    assert_eq!(daemon.post("/images/registry.example:5000/team/app:1/tag?repo=app&tag=2", "").await.status, 201);
    assert_eq!(daemon.post("/images/app:2/tag?repo=App", "").await.status, 400);
    assert_eq!(daemon.get("/images/nope/get").await.status, 404);

    let mut client = UnixStream::connect(&daemon.path).await.unwrap();
    client.write_all(b"GET /images/app:2/get HTTP/1.0\r\nHost: d\r\n\r\n").await.unwrap();
    let mut saved = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut client, &mut saved).await.unwrap();
    let start = saved.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(daemon.send("DELETE", "/images/app:2", b"").await.json(), json!([{"Untagged": "app:2"}]));
    let gone = daemon.send("DELETE", "/images/registry.example:5000/team/app:1", b"").await.json();
    assert_eq!(gone[1]["Deleted"].as_str(), Some(id.as_str()));
    let loaded = daemon.send("POST", "/images/load?quiet=1", &saved[start..]).await;
    assert_eq!(loaded.body, "{\"stream\":\"Loaded image: app:2\\n\"}\r\n");
    assert_eq!(daemon.get("/images/app:2/json").await.json()["Id"].as_str(), Some(id.as_str()));
}

#[tokio::test]
async fn a_container_is_created_shown_renamed_and_removed() {
    let daemon = Daemon::start().await;
    daemon.import("base").await;
    let body = r#"{"Image":"base:1","Labels":{"a":"b"},"Env":["X=1"],"ExposedPorts":{"80/tcp":{}},"HostConfig":{"NetworkMode":"none","Memory":67108864,"CapDrop":["ALL"]}}"#;
    let created = daemon.post("/containers/create?name=web", body).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let id = created.json()["Id"].as_str().unwrap().to_owned();
    let (status, message) = daemon.post("/containers/create?name=web", body).await.message();
    assert_eq!(status, 409);
    assert!(message.starts_with("Conflict. The container name \"/web\" is already in use by container"), "{message}");
    assert_eq!(daemon.post("/containers/create", r#"{"Image":"nope"}"#).await.status, 404);
    assert_eq!(daemon.post("/containers/create", "{}").await.message().1, "Config cannot be empty in order to create a container");

    let shown = daemon.get("/containers/web/json").await.json();
    assert_eq!(
        (shown["Id"].as_str(), shown["Name"].as_str(), shown["State"]["Status"].as_str()),
        (Some(id.as_str()), Some("/web"), Some("created"))
    );
    assert_eq!(
        (&shown["HostConfig"]["Memory"], &shown["HostConfig"]["CapDrop"], &shown["HostConfig"]["CapAdd"]),
        (&json!(67_108_864), &json!(["ALL"]), &Value::Null)
    );
    assert_eq!(
        (&shown["Config"]["Cmd"], shown["Path"].as_str(), shown["State"]["FinishedAt"].as_str()),
        (&json!(["/hello"]), Some("/hello"), Some("0001-01-01T00:00:00Z"))
    );
    assert_eq!(daemon.get("/containers/json").await.json(), json!([]));
    let line = &daemon.get("/containers/json?all=1&filters=%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%7D%7D").await.json()[0];
    assert_eq!(
        (line["Status"].as_str(), &line["Names"], line["HostConfig"]["NetworkMode"].as_str()),
        (Some("Created"), &json!(["/web"]), Some("none"))
    );

    assert_eq!(daemon.post("/containers/web/rename?name=shop", "").await.status, 204);
    assert_eq!(daemon.post("/containers/shop/stop", "").await.status, 304);
    assert_eq!(daemon.post(&format!("/containers/{}/kill", &id[..12]), "").await.status, 409);
    assert_eq!(daemon.send("DELETE", "/images/base:1", b"").await.status, 409);
    assert_eq!(daemon.send("DELETE", "/containers/shop", b"").await.status, 204);
    assert_eq!(daemon.get("/containers/shop/json").await.status, 404);
}

#[tokio::test]
async fn events_are_told_and_filtered() {
    let daemon = Daemon::start().await;
    daemon.import("base").await;
    daemon.post("/containers/create?name=web", r#"{"Image":"base:1"}"#).await;
    let events = daemon.get("/events?since=1&until=0s&filters=%7B%22type%22%3A%5B%22container%22%5D%7D").await;
    let lines: Vec<Value> = events.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["Action"].as_str().unwrap()).collect::<Vec<_>>(), ["create"]);
    assert_eq!(
        (lines[0]["Actor"]["Attributes"]["name"].as_str(), lines[0]["status"].as_str(), lines[0]["scope"].as_str()),
        (Some("web"), Some("create"), Some("local"))
    );
}

#[tokio::test]
async fn a_classic_build_is_told_step_by_step() {
    let daemon = Daemon::start().await;
    let context = tar("Dockerfile", b"FROM scratch\nCOPY Dockerfile /a\nENV X=1\n");
    let got = daemon.send("POST", "/v1.41/build?t=app:1&version=1", &context).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert!(got.body.ends_with("\r\n"));
    let lines: Vec<Value> = got.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text: String = lines.iter().filter_map(|line| line["stream"].as_str()).collect();
    assert!(text.starts_with("Step 1/3 : FROM scratch\n ---> "), "{text}");
    assert!(text.contains("Step 2/3 : COPY Dockerfile /a\n") && text.ends_with("Successfully tagged app:1\n"), "{text}");
    let id = lines.iter().find_map(|line| line["aux"]["ID"].as_str()).unwrap();
    assert_eq!(daemon.get("/images/app:1/json").await.json()["Id"].as_str(), Some(id));

    let again = daemon.send("POST", "/build?t=app:1", &context).await.body;
    assert!(again.contains(" ---\\u003e Using cache") || again.contains(" ---> Using cache"), "{again}");
    let quiet = daemon.send("POST", "/build?q=1", &context).await;
    assert_eq!(quiet.body, format!("{{\"stream\":\"{id}\\n\"}}\r\n"));
}

#[tokio::test]
async fn a_build_that_cannot_begin_is_an_http_error() {
    let daemon = Daemon::start().await;
    let got = daemon.send("POST", "/build", &tar("Dockerfile", b"FROM scratch\nRUNN x\n")).await;
    let (status, message) = got.message();
    assert_eq!(status, 400);
    assert!(message.starts_with("dockerfile parse error on line 2: unknown instruction: RUNN"), "{message}");
    let (status, message) = daemon.send("POST", "/build", &tar("other", b"x")).await.message();
    assert!((400..500).contains(&status) && message.contains("Dockerfile"), "{status} {message}");
    assert_eq!(daemon.post("/build?version=2&session=x", "").await.status, 501);
}

#[tokio::test]
async fn a_build_in_place_answers_lines_and_a_last_one() {
    let daemon = Daemon::start().await;
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\nCOPY file /\n").unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let metadata = std::fs::metadata(folder.path()).unwrap();
    let (device, inode) = (std::os::unix::fs::MetadataExt::dev(&metadata), std::os::unix::fs::MetadataExt::ino(&metadata));
    let body = json!({"context": {"path": folder.path(), "device": device, "inode": inode}, "tags": ["here:1"]});
    let got = daemon.post("/shipway/build", &body.to_string()).await;
    assert_eq!(got.status, 200, "{}", got.body);
    let lines: Vec<Value> = got.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["result"]["tags"], json!(["here:1"]), "{last}");
    assert!(lines[0]["vertexes"][0]["name"].is_string(), "{}", lines[0]);
    let history = daemon.get("/shipway/build/history").await.json();
    assert_eq!((history[0]["status"].as_str(), history[0]["image"].as_str()), (Some("completed"), last["result"]["image"].as_str()));
    let logs = daemon.get(&format!("/shipway/build/history/{}/logs", history[0]["id"].as_str().unwrap())).await;
    assert!(logs.body.lines().count() > 1 && logs.body.contains("vertexes"));

    let other = json!({"context": {"path": folder.path(), "device": device, "inode": inode + 1}});
    assert_eq!(daemon.post("/shipway/build", &other.to_string()).await.status, 409);
}

#[tokio::test]
async fn disk_use_has_the_parts_that_were_asked_for() {
    let daemon = Daemon::start().await;
    daemon.import("base").await;
    let all = daemon.get("/system/df").await.json();
    assert_eq!(keys(&all), ["BuildCache", "Containers", "Images", "LayersSize", "Volumes"]);
    assert_eq!(keys(&daemon.get("/system/df?type=container").await.json()), ["Containers"]);
    assert_eq!(all["Images"][0]["Containers"], json!(0));
    assert!(daemon.get("/v1.41/system/df").await.json()["BuilderSize"].is_number());
    let checked = daemon.post("/shipway/fsck?strict=1", "").await.json();
    assert_eq!(checked["clean"], json!(true), "{checked}");
}

#[tokio::test]
async fn names_made_to_hurt_are_refused_quickly() {
    let daemon = Daemon::start().await;
    let long = "a".repeat(60_000);
    for name in
        ["..%2F..%2Fetc%2Fpasswd", "%2e%2e", "%00", "a%00b", "%ED%95%9C", "%ff%fe", "-", "%20", "a%0d%0aX-Injected:%201", long.as_str()]
    {
        let started = std::time::Instant::now();
        for (method, path) in [
            ("GET", format!("/containers/{name}/json")),
            ("POST", format!("/containers/{name}/start")),
            ("DELETE", format!("/containers/{name}")),
            ("GET", format!("/images/{name}/json")),
            ("DELETE", format!("/images/{name}")),
            ("GET", format!("/exec/{name}/json")),
            ("GET", format!("/networks/{name}")),
            ("GET", format!("/volumes/{name}")),
            ("GET", format!("/shipway/build/history/{name}/logs")),
            ("POST", format!("/images/create?fromSrc=-&repo={name}")),
            ("POST", format!("/containers/create?name={name}")),
        ] {
            let got = daemon.send(method, &path, b"").await;
            assert!((400..500).contains(&got.status), "{method} {}: {} {}", &path[..path.len().min(80)], got.status, got.body);
            assert!(!got.head.contains("X-Injected"), "{path}");
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{}", &name[..name.len().min(80)]);
    }
}

#[tokio::test]
async fn tcp_needs_the_token() {
    let daemon = Daemon::start().await;
    let options = ListenOptions { has_token: true, ..ListenOptions::default() };
    let listener = Listener::bind(&"tcp://127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let address = listener.tcp_address().unwrap();
    let api = Api::new(daemon.engine.clone(), ApiOptions { tcp_token: Some(shipway_model::Secret::new("open sesame".to_owned())) });
    tokio::spawn(serve(vec![listener], api, ServeOptions::default(), CancellationToken::new()));
    for (header, status) in [
        ("", 401),
        ("Authorization: Bearer open\r\n", 401),
        ("Authorization: Basic open sesame\r\n", 401),
        ("Authorization: Bearer open sesame\r\n", 200),
    ] {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(format!("GET /info HTTP/1.1\r\nHost: d\r\n{header}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut client, &mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{header}: {answer}");
    }
}

#[tokio::test]
async fn a_busy_daemon_knows_it() {
    let daemon = Daemon::start().await;
    let mut client = UnixStream::connect(&daemon.path).await.unwrap();
    client.write_all(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!daemon.engine.is_idle());
    drop(client);
    tokio::time::timeout(std::time::Duration::from_secs(2), async {
        while !daemon.engine.is_idle() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}
