//! The same commands, through the same unmodified docker client, to us and to Docker: the answers must be the same.
//!
//! `tests/parity/scenarios.txt` is the table of commands, `golden.txt` what they say, `differences.md` the accepted differences; `networks.txt` and
//! `networks-golden.txt` are those about networks, where both daemons have bridges, each in a network namespace of its own. Where dockerd is
//! installed, a private one is started beside ours and asked too; elsewhere the golden file stands for it. `SHIPWAY_PARITY_BLESS=1` writes
//! the golden files anew. The tables are dealt out among some tests, each with daemons of its own, so that none takes long.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use shipway_testkit::{Daemon, Setup, busybox_tar};

use crate::BINARY;

const CLIENT: &str = "/usr/local/bin/docker";
/// Scenarios at once: they mostly sleep.
const WORKERS: usize = 4;
/// Tests that the table of commands is dealt out among.
const PARTS: usize = 4;
/// How often dockerd is asked at most. It races with itself: the two streams of a container in either order, the end of a short container before
/// its client is there. We are asked once.
const TRIES: usize = 4;

type Sections = Vec<(String, String)>;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(name)
}

/// Sections of a text: their names and bodies, in order.
fn sections(text: &str) -> Sections {
    let parts = text.split("\n## ").skip(usize::from(!text.starts_with("## ")));
    parts
        .filter_map(|part| part.trim_start_matches("## ").split_once('\n'))
        .map(|(name, body)| (name.to_owned(), format!("{}\n", body.trim_end())))
        .collect()
}

/// Replaces what differs from run to run: ids become `<id64>` and `<id12>`.
fn normalise(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for character in text.chars().chain(['\0']) {
        if character.is_ascii_alphanumeric() {
            word.push(character);
            continue;
        }
        let is_hex = word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        match word.len() {
            64 if is_hex => out.push_str("<id64>"),
            12 if is_hex && word.bytes().any(|byte| byte.is_ascii_digit()) => out.push_str("<id12>"),
            _ => out.push_str(&word),
        }
        word.clear();
        out.push(character);
    }
    out.trim_end_matches('\0').to_owned()
}

/// What a scenario says against the engine behind `address`.
fn play(script: &str, address: &str, home: &Path) -> String {
    let output = Command::new("bash")
        .args(["-c", &format!("exec 2>&1\n{script}")])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", home)
        .env("LC_ALL", "C")
        .env("DOCKER_HOST", address)
        .env("DOCKER_BUILDKIT", "0")
        .env("DOCKER_CLI_HINTS", "false")
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    normalise(&String::from_utf8_lossy(&output.stdout))
}

/// What every scenario says.
fn play_all(scenarios: &[(String, String)], address: &str, home: &Path) -> BTreeMap<String, String> {
    let (next, said) = (Mutex::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let index = {
                        let mut next = next.lock().unwrap();
                        *next += 1;
                        *next - 1
                    };
                    let Some((name, script)) = scenarios.get(index) else { return };
                    let text = play(script, address, home);
                    said.lock().unwrap().insert(name.clone(), text);
                }
            });
        }
    });
    said.into_inner().unwrap()
}

/// The accepted differences in words, from the section `name`: dockerd's, ours.
fn rewrites(name: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(file("differences.md")).expect("differences.md");
    let table = sections(&text).into_iter().find(|(found, _)| found == name).expect("a table of words").1;
    let cell = |text: &str| text.trim().strip_prefix('`')?.strip_suffix('`').map(|text| text.replace("<end>", "\n"));
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cell(cells.next()?)?, cell(cells.next()?)?))
    };
    table.lines().filter_map(row).collect()
}

/// Names of the scenarios that were not told the same.
fn different(expected: &BTreeMap<String, String>, ours: &BTreeMap<String, String>) -> Vec<String> {
    let wanted = |name: &String| expected.get(name).map(String::as_str).unwrap_or_default();
    ours.iter().filter(|(name, text)| wanted(name).trim_end() != text.trim_end()).map(|(name, _)| name.clone()).collect()
}

#[track_caller]
fn compare(what: &str, expected: &BTreeMap<String, String>, ours: &BTreeMap<String, String>) {
    let mut wrong = String::new();
    for name in different(expected, ours) {
        let wanted = expected.get(&name).map(String::as_str).unwrap_or_default();
        wrong.push_str(&format!("== {name}\n-- {what}:\n{wanted}\n-- ours:\n{}\n", ours[&name]));
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A table of commands, what they say, and which differences are accepted.
struct Table {
    scenarios: &'static str,
    golden: &'static str,
    words: &'static str,
    /// Both daemons have bridges.
    has_networks: bool,
}

const COMMANDS: Table = Table { scenarios: "scenarios.txt", golden: "golden.txt", words: "Words", has_networks: false };
const NETWORKS: Table =
    Table { scenarios: "networks.txt", golden: "networks-golden.txt", words: "Words about networks", has_networks: true };

impl Table {
    /// Every scenario.
    fn scenarios(&self) -> Sections {
        let all = sections(&std::fs::read_to_string(file(self.scenarios)).expect("scenarios"));
        assert!(all.len() > 10, "the table is read");
        all
    }

    fn golden(&self) -> BTreeMap<String, String> {
        sections(&std::fs::read_to_string(file(self.golden)).unwrap_or_default()).into_iter().collect()
    }

    /// Writes down what some scenarios say now. The other parts do the same at the same time.
    fn bless(&self, ours: &BTreeMap<String, String>) {
        let lock = std::fs::File::open(file(self.scenarios)).expect("open");
        lock.lock().expect("lock");
        let mut said = self.golden();
        said.extend(ours.clone());
        let text: Vec<String> = self.scenarios().iter().filter_map(|(name, _)| Some(format!("## {name}\n{}\n", said.get(name)?))).collect();
        std::fs::write(file(self.golden), text.join("\n")).expect("write");
    }

    fn setup(&self, plain: Setup) -> Setup {
        if self.has_networks { plain.with_networks() } else { plain }
    }
}

/// What every scenario says to a fresh daemon, and nothing is left behind.
fn play_on(daemon: &Daemon, scenarios: &[(String, String)]) -> BTreeMap<String, String> {
    let home = daemon.scratch();
    let image = home.join("bb.tar");
    std::fs::write(&image, busybox_tar().finish()).expect("write");
    let address = format!("unix://{}", daemon.socket().display());
    play(&format!("docker import -c 'CMD [\"sh\"]' {} bb", image.display()), &address, &home);
    play_all(scenarios, &address, &home)
}

/// What dockerd says to every scenario, in our words; `None` where it is not installed.
fn ask_docker(table: &Table, scenarios: &[(String, String)]) -> Option<BTreeMap<String, String>> {
    let mut said = Setup::dockerd().map(|setup| play_on(&table.setup(setup).start(), scenarios))?;
    for (from, to) in rewrites(table.words) {
        said.values_mut().for_each(|text| *text = text.replace(&from, &to));
    }
    Some(said)
}

/// Compares every `parts`-th scenario, beginning with number `part`.
fn compare_part(table: &Table, part: usize, parts: usize) {
    if !Path::new(CLIENT).exists() {
        eprintln!("{CLIENT} is not installed: nothing to compare with");
        return;
    }
    let mine: Sections = table.scenarios().into_iter().skip(part).step_by(parts).collect();
    let (ours, theirs) = std::thread::scope(|scope| {
        let docker = scope.spawn(|| ask_docker(table, &mine));
        let daemon = table.setup(Setup::new(BINARY)).start();
        let ours = play_on(&daemon, &mine);
        daemon.assert_nothing_left();
        (ours, docker.join().expect("dockerd's side"))
    });
    if std::env::var_os("SHIPWAY_PARITY_BLESS").is_some() {
        table.bless(&ours);
    }
    compare(table.golden, &table.golden(), &ours);
    let Some(mut theirs) = theirs else { return };
    for _ in 1..TRIES {
        let again = different(&theirs, &ours);
        if again.is_empty() {
            break;
        }
        // A dockerd of its own, so that nothing of the scenario's first go is in its way.
        let scenarios: Sections = mine.iter().filter(|(name, _)| again.contains(name)).cloned().collect();
        theirs.extend(ask_docker(table, &scenarios).unwrap_or_default());
    }
    compare("dockerd", &theirs, &ours);
}

#[test]
fn the_docker_client_gets_dockers_answers_1() {
    compare_part(&COMMANDS, 0, PARTS);
}

#[test]
fn the_docker_client_gets_dockers_answers_2() {
    compare_part(&COMMANDS, 1, PARTS);
}

#[test]
fn the_docker_client_gets_dockers_answers_3() {
    compare_part(&COMMANDS, 2, PARTS);
}

#[test]
fn the_docker_client_gets_dockers_answers_4() {
    compare_part(&COMMANDS, 3, PARTS);
}

#[test]
fn the_docker_client_gets_dockers_answers_about_networks() {
    compare_part(&NETWORKS, 0, 1);
}

/// What is told in other words than dockerd's must be told somewhere.
#[test]
fn every_difference_in_words_is_needed() {
    for table in [COMMANDS, NETWORKS] {
        let said: String = table.golden().into_values().collect();
        for (from, to) in rewrites(table.words) {
            assert!(said.contains(&to), "no scenario needs the difference {from:?} any more");
        }
    }
}

#[test]
fn sections_and_ids_are_read() {
    assert_eq!(sections("# head\n\n## a\nx\n\n## b\ny\n"), [("a".to_owned(), "x\n".to_owned()), ("b".to_owned(), "y\n".to_owned())]);
    let id = "0123456789abcdef".repeat(4);
    assert_eq!(normalise(&format!("x {id} 0123456789ab deadbeefcafe {}", &id[1..])), format!("x <id64> <id12> deadbeefcafe {}", &id[1..]));
    for table in ["Words", "Words about networks"] {
        assert!(rewrites(table).iter().all(|(from, to)| from != to) && !rewrites(table).is_empty(), "{table}");
    }
}
