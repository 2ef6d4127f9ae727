//! Images from machine to machine without a registry: `save --since`, `image send` and `image receive`, between two daemons, with peers that lie, and with
//! lines that break.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use shipway_model::Digest;
use shipway_testkit::{Daemon, Setup, Tar};

use crate::BINARY;

const HELLO: &[u8] = b"shipway-images/1\n";
const OFFER: u8 = 1;
const CONFIG: u8 = 2;
const WANT: u8 = 3;
const LAYER: u8 = 4;
const DATA: u8 = 5;
const PACKED: u8 = 6;
const END: u8 = 7;
const STORED: u8 = 8;
const REFUSAL: u8 = 9;

#[track_caller]
fn fine(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

fn failed(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

/// An image of a layer of `size` bytes of noise and a small one on it.
fn build(daemon: &Daemon, name: &str, size: usize, word: &str) {
    let tar = Tar::new()
        .file("Dockerfile", format!("FROM scratch\nCOPY noise /noise\nCOPY word /word\nLABEL word={word}\n"))
        .file("noise", noise(42, size))
        .file("word", word);
    daemon.build(&format!("t={name}"), &tar.finish()).unwrap();
}

/// A remote shell that leads to `daemon`: a program that forgets the host and runs the rest, with `filter` before it.
fn shell_to(daemon: &Daemon, name: &str, filter: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = daemon.scratch().join(name);
    let script = format!("#!/bin/sh\nshift\nexport HOME=/nonexistent SHIPWAY_HOST=unix://{}\n{filter} \"$@\"\n", daemon.socket().display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn send(from: &Daemon, shell: &str, images: &[&str]) -> Output {
    let arguments = [&["image", "send", "-e", shell, "--remote-program", BINARY, "ann@far"], images].concat();
    from.shipway(&arguments)
}

fn image_id(daemon: &Daemon, name: &str) -> String {
    daemon.get(&format!("/images/{name}/json"))["Id"].as_str().unwrap().to_owned()
}

/// Counts what goes to the other side.
fn counted(to: &Daemon) -> (String, PathBuf) {
    let count = to.scratch().join("sent");
    let _ = std::fs::remove_file(&count);
    (shell_to(to, "counting-shell", &format!("tee {} |", count.display())), count)
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn only_the_layers_that_are_missing_are_sent() {
    let (from, to) = (Daemon::start(BINARY), Daemon::start(BINARY));
    let size = 6 << 20;
    build(&from, "team/app:1", size, "one");
    let (shell, count) = counted(&to);
    let sent = fine(&send(&from, &shell, &["team/app:1"]));
    assert!(sent.starts_with("Sent team/app:1 to ann@far: 2 of 2 layers, "), "{sent}");
    assert!(length(&count) > size as u64, "{}", length(&count));
    assert_eq!(image_id(&to, "team/app:1"), image_id(&from, "team/app:1"));

    // The second image shares the large layer: some kilobytes cross the line.
    build(&from, "team/app:2", size, "two");
    let (shell, count) = counted(&to);
    let output = send(&from, &shell, &["team/app:2"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(fine(&output).contains("1 of 2 layers"), "{output:?}");
    assert!(told.contains(": Already there") && told.contains(": Sent"), "{told}");
    assert!(length(&count) < 16 << 10, "{} bytes were sent", length(&count));
    // Everything there already: names only. Both at once, and quietly.
    let (shell, count) = counted(&to);
    fine(&from.shipway(&["tag", "team/app:2", "team/app:latest"]));
    let again = from.shipway(&["image", "send", "-q", "-e", &shell, "--remote-program", BINARY, "far", "team/app:latest", "team/app:1"]);
    assert_eq!((fine(&again).as_str(), again.stderr.len()), ("", 0));
    assert!(length(&count) < 8 << 10, "{} bytes were sent", length(&count));
    assert_eq!(image_id(&to, "team/app:latest"), image_id(&from, "team/app:2"));
    // What is there is what was here, byte for byte.
    let archive = |daemon: &Daemon| daemon.shipway(&["save", "team/app:2"]).stdout;
    assert!(archive(&from) == archive(&to));
    to.assert_sound();
    // The way of the shell from the environment; and a name that means nothing starts no shell.
    let missing = failed(&send(&from, "/nonexistent", &["no/such:1"]));
    assert!(missing.contains("No such image: no/such:1"), "{missing}");
    let no_shell = failed(&send(&from, "/nonexistent", &["team/app:1"]));
    assert!(no_shell.contains("cannot run \"/nonexistent\"") && no_shell.contains("SHIPWAY_SSH"), "{no_shell}");
    to.assert_nothing_left();
}

#[test]
fn what_broke_off_is_gone_on_with() {
    let (from, mut to) = (Daemon::start(BINARY), Daemon::start(BINARY));
    let size: u64 = 12 << 20;
    build(&from, "app:1", usize::try_from(size).unwrap(), "whole");
    // The line breaks after five megabytes: nothing is visible, and the next time only the rest comes.
    let cut = shell_to(&to, "cut", "stdbuf -o0 head -c 5242880 |");
    let broken = failed(&send(&from, &cut, &["app:1"]));
    assert!(broken.contains("the line to the other side broke"), "{broken}");
    assert!(to.get("/images/json?all=1").as_array().unwrap().is_empty());
    to.assert_sound();
    let (shell, count) = counted(&to);
    fine(&send(&from, &shell, &["app:1"]));
    let rest = length(&count);
    assert!(rest > size - (6 << 20) && rest < size - (3 << 20), "{rest} bytes were sent the second time");
    assert_eq!(image_id(&to, "app:1"), image_id(&from, "app:1"));
    to.assert_sound();

    // What is acknowledged survives.
    to.restart();
    assert_eq!(image_id(&to, "app:1"), image_id(&from, "app:1"));
    to.assert_sound();
}

#[test]
fn a_receiver_that_is_killed_shows_nothing_and_goes_on() {
    let from = Daemon::start(BINARY);
    let size: u64 = 12 << 20;
    build(&from, "app:1", usize::try_from(size).unwrap(), "whole");
    // In the middle of a layer, right before everything would be there, and right after.
    for (fault, pass) in [("store.download.appended", 7), ("store.publish.synced", 1), ("store.publish.committed", 1)] {
        let mut other = Setup::new(BINARY).fault(fault, pass).start();
        let died = failed(&send(&from, &shell_to(&other, "shell", ""), &["app:1"]));
        assert!(!died.is_empty());
        other.wait_for_death(10);
        other.restart();
        let here = other.get("/images/json?all=1").as_array().unwrap().len();
        assert_eq!(here, usize::from(fault == "store.publish.committed"), "{fault}");
        other.assert_sound();
        let (shell, count) = counted(&other);
        fine(&send(&from, &shell, &["app:1"]));
        if fault == "store.download.appended" {
            assert!(length(&count) < size - (5 << 20), "{} bytes were sent the second time", length(&count));
        }
        assert_eq!(image_id(&other, "app:1"), image_id(&from, "app:1"));
        other.assert_sound();
    }
}

/// A conversation made by hand.
#[derive(Clone)]
struct Said(Vec<u8>);

impl Said {
    fn hello() -> Self {
        Self(HELLO.to_vec())
    }

    fn frame(mut self, kind: u8, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        self.0.push(kind);
        self.0.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        self.0.extend(body);
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn json(self, kind: u8, value: &Value) -> Self {
        self.frame(kind, value.to_string())
    }
}

/// What `image receive` answers to a sender who says this.
fn receive(daemon: &Daemon, said: &Said) -> Output {
    let input = daemon.scratch().join("said");
    std::fs::write(&input, &said.0).unwrap();
    Command::new(BINARY)
        .args(["image", "receive"])
        .env_clear()
        .env("SHIPWAY_HOST", format!("unix://{}", daemon.socket().display()))
        .stdin(std::fs::File::open(&input).unwrap())
        .stdout(Stdio::piped())
        .output()
        .unwrap()
}

/// The frames that came, after the greeting.
fn frames(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut rest = bytes.strip_prefix(HELLO).expect("it greets");
    let mut all = Vec::new();
    while let [kind, a, b, c, d, more @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        all.push((*kind, more[..length].to_vec()));
        rest = &more[length..];
    }
    all
}

/// A whole layer, and a byte more. The layer is right and stays for a while, so it is one that no other case has.
fn more_than_announced() -> Said {
    let tar = Tar::new().file("more", "than").finish();
    let diff_id = Digest::sha256_of(&tar).to_string();
    let config =
        json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}).to_string();
    let id = Digest::sha256_of(config.as_bytes()).to_string();
    Said::hello()
        .json(OFFER, &json!({"images": [{"id": id, "names": []}], "layers": [{"diff_id": diff_id, "size": tar.len()}]}))
        .frame(CONFIG, &config)
        .json(LAYER, &json!({"diff_id": diff_id, "from": 0}))
        .frame(DATA, &tar)
        .frame(DATA, b"x")
        .frame(END, b"")
}

#[test]
fn a_sender_that_lies_leaves_nothing_behind() {
    let daemon = Daemon::start(BINARY);
    let tar = Tar::new().file("hello", "world").finish();
    let diff_id = Digest::sha256_of(&tar).to_string();
    let config =
        json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}).to_string();
    let id = Digest::sha256_of(config.as_bytes()).to_string();
    let layer = json!({"diff_id": diff_id, "size": tar.len()});
    let offered = |images: Value, layers: Value| Said::hello().json(OFFER, &json!({"images": images, "layers": layers}));
    let image = |names: Value| json!([{"id": id, "names": names}]);
    let good = offered(image(json!(["docker.io/library/app:1"])), json!([layer])).frame(CONFIG, &config);
    let begun = good.clone().json(LAYER, &json!({"diff_id": diff_id, "from": 0}));
    let other = Digest::sha256_of(b"other").to_string();
    let zeros = vec![0; tar.len()];
    let bomb = {
        let mut child = Command::new("zstd").args(["-c", "-q"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &vec![0; 64 << 20]).unwrap();
        child.wait_with_output().unwrap().stdout
    };
    let claimed = |count: u32| [&count.to_be_bytes()[..], &bomb].concat();
    let begun_wrong = begun.clone().frame(DATA, &zeros[..512]);
    let cases: Vec<(&str, Said, &str)> = vec![
        ("a stranger", Said(b"Last login: yesterday\n$ ".to_vec()), "is not shipway: it says \"Last login"),
        ("half a greeting", Said(HELLO[..5].to_vec()), "is not shipway"),
        ("an unknown frame", Said::hello().frame(77, b"x"), "unknown kind 77"),
        ("kind nought", Said::hello().frame(0, b""), "unknown kind 0"),
        ("four gigabytes of offer", Said::hello().raw(&[OFFER, 0xff, 0xff, 0xff, 0xff]), "claims 4294967295 bytes"),
        ("an offer a byte too long", Said::hello().raw(&[OFFER, 0, 0x40, 0, 1]), "claims 4194305 bytes"),
        ("another frame first", Said::hello().frame(STORED, b""), "Stored came instead of Offer"),
        ("an offer that is no JSON", Said::hello().frame(OFFER, b"{"), "cannot be understood"),
        ("an offer of nothing", offered(json!([]), json!([])), "offers no images"),
        ("a path for a digest", offered(json!([{"id": "sha256:../../x", "names": []}]), json!([])), "cannot be understood"),
        ("a layer twice", offered(image(json!([])), json!([layer, layer])), "a layer twice"),
        ("no config", offered(image(json!([])), json!([layer])).json(LAYER, &layer), "Layer came instead of Config"),
        ("another config", offered(image(json!([])), json!([layer])).frame(CONFIG, "{}"), "has another digest"),
        ("a layer that is not offered", offered(image(json!([])), json!([])).frame(CONFIG, &config), "is not offered"),
        (
            "a layer of nobody",
            offered(image(json!([])), json!([layer, {"diff_id": other, "size": 1}])).frame(CONFIG, &config),
            "is of no image",
        ),
        ("a bad name", offered(image(json!(["../x"])), json!([layer])).frame(CONFIG, &config), "no name with a tag"),
        (
            "a name without a tag",
            offered(image(json!(["docker.io/library/app"])), json!([layer])).frame(CONFIG, &config),
            "no name with a tag",
        ),
        (
            "a name with a digest",
            offered(image(json!([format!("docker.io/library/app@{other}")])), json!([layer])).frame(CONFIG, &config),
            "no name with a tag",
        ),
        (
            "a layer of petabytes",
            offered(image(json!([])), json!([{"diff_id": diff_id, "size": 1_u64 << 53}])).frame(CONFIG, &config),
            "no space left",
        ),
        ("another layer begins", good.clone().json(LAYER, &json!({"diff_id": other, "from": 0})), "begins instead of"),
        ("it begins in the middle", good.clone().json(LAYER, &json!({"diff_id": diff_id, "from": 1})), "begins instead of"),
        ("other bytes", begun.clone().frame(DATA, &zeros).frame(END, b""), "is damaged"),
        ("garbage", begun.clone().frame(DATA, noise(7, tar.len())).frame(END, b""), ""),
        ("more bytes", more_than_announced(), "more than the"),
        ("fewer bytes", begun.clone().frame(DATA, &tar[..700]).frame(END, b""), "ended after 700"),
        ("the line ends", begun.clone().frame(DATA, &tar[..100]), "broke"),
        ("a frame is cut", begun.clone().raw(&[DATA, 0, 0, 2, 0, 1, 2]), "broke"),
        ("a frame of a piece too long", begun.clone().raw(&[DATA, 0, 0x10, 0, 1]), "claims 1048577 bytes"),
        ("an offer in a layer", begun.clone().json(OFFER, &json!({})), "Offer came in the middle"),
        ("a bomb that claims little", begun.clone().frame(PACKED, claimed(600)), "another number of bytes"),
        ("a bomb that claims much", begun.clone().frame(PACKED, claimed(64 << 20)), "claims too many bytes"),
        ("packed nonsense", begun.clone().frame(PACKED, b"\0\0\0\x05hello"), "is not zstd"),
        ("an end with bytes", begun.clone().raw(&[END, 0, 0, 0, 1, 0]), "claims 1 bytes"),
        ("it gives up", begun.json(REFUSAL, &json!({"message": "the disk \u{1b}[31mburns"})), ""),
    ];
    let beginning = daemon.data_root().join("partial").join(Digest::sha256_of(&tar).hex());
    for (name, said, words) in &cases {
        // What the case before left would be gone on with.
        let _ = std::fs::remove_file(&beginning);
        let output = receive(&daemon, said);
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        let answered = frames(&output.stdout);
        // Who can be told is told over the line, and only who cannot hears it on standard error.
        let told: Vec<Value> =
            answered.iter().filter(|(kind, _)| *kind == REFUSAL).map(|(_, body)| serde_json::from_slice(body).unwrap()).collect();
        let shown = format!(
            "{} {}",
            told.first().map_or("", |refusal| refusal["message"].as_str().unwrap()),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(shown.contains(words), "{name}: {shown}");
        assert!(!shown.contains('\u{1b}'), "{name}: {shown}");
        assert!(answered.iter().all(|(kind, _)| matches!(*kind, WANT | REFUSAL)), "{name}: {answered:?}");
        assert!(daemon.get("/images/json?all=1").as_array().unwrap().is_empty(), "{name}: something is visible");
    }
    daemon.assert_sound();
    // The same by somebody honest, after all that. What a liar left as a beginning is found out, thrown away, and not found again.
    let _ = std::fs::remove_file(&beginning);
    receive(&daemon, &begun_wrong);
    assert_eq!(std::fs::metadata(&beginning).unwrap().len(), 512);
    let whole =
        |from: usize| good.clone().json(LAYER, &json!({"diff_id": diff_id, "from": from})).frame(DATA, &tar[from..]).frame(END, b"");
    let mut output = receive(&daemon, &whole(0));
    for _ in 0..4 {
        if output.status.success() {
            break;
        }
        let wanted = frames(&output.stdout).into_iter().find(|(kind, _)| *kind == WANT).expect("it wants the layer");
        let wanted: Value = serde_json::from_slice(&wanted.1).unwrap();
        let from = usize::try_from(wanted["layers"][0]["from"].as_u64().unwrap()).unwrap();
        output = receive(&daemon, &whole(from));
    }
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(frames(&output.stdout).last(), Some(&(STORED, Vec::new())));
    assert_eq!(image_id(&daemon, "app:1"), id);
    daemon.assert_sound();
}

#[test]
fn a_receiver_that_lies_gets_nothing_it_was_not_offered() {
    let daemon = Daemon::start(BINARY);
    build(&daemon, "app:1", 3 << 20, "x");
    let layers = daemon.get("/images/app:1/json")["RootFS"]["Layers"].clone();
    let diff_id = layers[0].as_str().unwrap();
    let want = |layers: Value| Said::hello().json(WANT, &json!({"layers": layers}));
    let other = Digest::sha256_of(b"other").to_string();
    let cases: Vec<(&str, Said, &str)> = vec![
        ("silence", Said(Vec::new()), "ended with exit code 7"),
        ("a shell's greeting", Said(b"Welcome to far!\nMotd\n".to_vec()), "is not shipway: it says \"Welcome to far!"),
        ("a layer of somebody else", want(json!([{"diff_id": other, "from": 0}])), "broke the rules"),
        ("a layer twice", want(json!([{"diff_id": diff_id, "from": 0}, {"diff_id": diff_id, "from": 0}])), "broke the rules"),
        ("from behind its end", want(json!([{"diff_id": diff_id, "from": 1_u64 << 60}])), "broke the rules"),
        ("done before it began", Said::hello().frame(STORED, b""), "Stored came instead of Want"),
        ("done in the middle", want(json!([{"diff_id": diff_id, "from": 0}])).frame(STORED, b""), "Stored came"),
        ("it leaves", want(json!([{"diff_id": diff_id, "from": 0}])), "broke"),
        (
            "it refuses",
            Said::hello().json(REFUSAL, &json!({"message": "no \u{1b}[2Jroom", "hint": "make some"})),
            "the other side refused: no  [2Jroom",
        ),
        ("a long refusal", Said::hello().raw(&[REFUSAL, 1, 0, 0, 0]), "claims 16777216 bytes"),
    ];
    for (name, said, words) in &cases {
        let answer = daemon.scratch().join("answer");
        std::fs::write(&answer, &said.0).unwrap();
        let shell = shell_to(&daemon, "liar", &format!("cat {0}; [ -s {0} ] && head -c 20 > /dev/null; exit 7 #", answer.display()));
        let shown = failed(&send(&daemon, &shell, &["app:1"]));
        assert!(shown.contains(words), "{name}: {shown}");
        assert!(!shown.contains('\u{1b}'), "{name}: {shown}");
    }
    for host in ["-oProxyCommand=touch /tmp/PWNED", "", "a b"] {
        assert!(failed(&daemon.shipway(&["image", "send", "--", host, "app:1"])).contains("is no host"), "{host}");
    }
    daemon.assert_sound();
}

#[test]
fn an_archive_since_a_base_loads_where_the_base_is() {
    let (from, to) = (Daemon::start(BINARY), Daemon::start(BINARY));
    build(&from, "app:1", 2 << 20, "one");
    build(&from, "app:2", 2 << 20, "two");
    let file = from.scratch().join("since.tar").display().to_string();
    fine(&from.shipway(&["save", "--since", "app:1", "-o", &file, "app:2"]));
    assert!(length(Path::new(&file)) < 64 << 10);
    let missing = failed(&from.shipway(&["save", "--since", "no:1", "-o", &file, "app:2"]));
    assert!(missing.contains("No such image: no:1"), "{missing}");
    let refused = failed(&to.shipway(&["load", "-i", &file]));
    assert!(refused.contains("the archive has only what image \"app:1\" lacks"), "{refused}");
    assert!(refused.contains("shipway pull app:1") && refused.contains(&image_id(&from, "app:1")), "{refused}");
    fine(&send(&from, &shell_to(&to, "shell", ""), &["app:1"]));
    assert!(fine(&to.shipway(&["load", "-i", &file])).contains("Loaded image: app:2"));
    assert_eq!(image_id(&to, "app:2"), image_id(&from, "app:2"));
    to.assert_sound();
    // Docker's own daemon reads it as an archive of its form, and takes the missing layers from what it has.
    let Some(dockerd) = Setup::dockerd() else { return };
    let docker = dockerd.start();
    let whole = from.scratch().join("whole.tar").display().to_string();
    fine(&from.shipway(&["save", "-o", &whole, "app:1"]));
    let load = |path: &str| docker.docker(&["load", "-i", path]);
    let Some(lacking) = load(&file) else { return };
    assert!(!lacking.status.success(), "it lacks the base");
    fine(&load(&whole).unwrap());
    fine(&load(&file).unwrap());
    assert_eq!(image_id(&docker, "app:2"), image_id(&from, "app:2"));
}
