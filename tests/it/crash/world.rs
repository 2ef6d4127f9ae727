//! The client's memory of what a daemon has acknowledged, and the check that it is all still true.
//!
//! What must stay true: a thing is `Unsure` from the moment a request about it is sent until the answer; everything else is known, and checked.

use std::collections::BTreeMap;
use std::io::Result;

use serde_json::{Value, json};
use shipway_testkit::{Answer, Daemon, Tar, eventually};

/// What to do. Numbers make names; each name is used for one thing, and no name can be taken for the beginning of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Import(u32),
    Build(u32),
    Load,
    Tag(u32),
    Untag(String),
    Create(u32),
    RunDetached(u32),
    RunTemporary(u32),
    Exec(String, u32),
    Remove(String),
    Prune,
}

/// The kinds, for their usual durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Import,
    Build,
    Load,
    Tag,
    Untag,
    Create,
    Run,
    Temporary,
    Exec,
    Remove,
    Prune,
}

impl Op {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Op::Import(_) => Kind::Import,
            Op::Build(_) => Kind::Build,
            Op::Load => Kind::Load,
            Op::Tag(_) => Kind::Tag,
            Op::Untag(_) => Kind::Untag,
            Op::Create(_) => Kind::Create,
            Op::RunDetached(_) => Kind::Run,
            Op::RunTemporary(_) => Kind::Temporary,
            Op::Exec(..) => Kind::Exec,
            Op::Remove(_) => Kind::Remove,
            Op::Prune => Kind::Prune,
        }
    }
}

/// What is known of a name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// It means this id.
    Of(String),
    Absent,
    Unsure,
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Created(String),
    Running {
        id: String,
        pid: i64,
    },
    /// It ends by itself and was to be removed then; it may not outlast the check.
    Leaving,
    Gone,
    Unsure,
    /// It is there, whole, in a state that no acknowledged request asked for.
    Somehow,
}

pub(crate) struct World {
    names: BTreeMap<String, Name>,
    containers: BTreeMap<String, Fate>,
    /// Files that acknowledged execs made, by container.
    marks: BTreeMap<String, Vec<u32>>,
    /// An archive with one image, `packed:1`.
    archive: Vec<u8>,
    packed: String,
    counter: u32,
    /// What to say when something is wrong.
    pub(crate) context: String,
}

impl World {
    /// A base image and an archive to load.
    pub(crate) fn begin(daemon: &Daemon) -> Self {
        let base = daemon.import_busybox("base");
        let context = Tar::new().file("Dockerfile", "FROM base\nRUN echo packed > /n\n").finish();
        daemon.build("t=packed:1", &context).unwrap();
        let packed = id_of(daemon, "packed:1").unwrap();
        let archive = daemon.call("GET", "/images/packed:1/get", &Value::Null).fine().body;
        assert!(archive.len() > 1 << 20);
        let names = [("base".to_owned(), Name::Of(base)), ("packed:1".to_owned(), Name::Of(packed.clone()))].into();
        let mut world =
            Self { names, containers: BTreeMap::new(), marks: BTreeMap::new(), archive, packed, counter: 0, context: "setup".to_owned() };
        world.perform(daemon, &Op::RunDetached(0)).unwrap();
        world
    }

    fn next(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }

    /// Some operation that can succeed now.
    pub(crate) fn choose(&mut self, below: &mut dyn FnMut(u64) -> u64) -> Op {
        let number = self.next();
        let running: Vec<String> =
            self.containers.iter().filter(|(_, fate)| matches!(fate, Fate::Running { .. })).map(|(name, _)| name.clone()).collect();
        let there: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, fate)| matches!(fate, Fate::Running { .. } | Fate::Created(_) | Fate::Somehow))
            .map(|(name, _)| name.clone())
            .collect();
        let tagged: Vec<String> = self
            .names
            .iter()
            .filter(|(name, known)| *name != "base" && matches!(known, Name::Of(_)))
            .map(|(name, _)| name.clone())
            .collect();
        let mut one_of = |names: &[String]| names.get(usize::try_from(below(names.len() as u64)).unwrap()).cloned();
        let (a_running, a_container, a_name) = (one_of(&running), one_of(&there), one_of(&tagged));
        loop {
            let op = match below(12) {
                0 | 1 => Some(Op::Build(number)),
                2 | 3 => Some(Op::RunDetached(number)),
                4 => Some(Op::RunTemporary(number)),
                5 | 6 => a_container.clone().map(Op::Remove),
                7 => Some(Op::Load),
                8 => Some(Op::Tag(number)),
                9 => a_name.clone().map(Op::Untag),
                10 => a_running.clone().map(|name| Op::Exec(name, number)),
                _ => Some(if below(2) == 0 { Op::Import(number) } else { Op::Create(number) }),
            };
            if let Some(op) = op {
                return op;
            }
        }
    }

    /// A life with every operation in it.
    pub(crate) fn script(&mut self) -> Vec<Op> {
        let number = self.next();
        let container = format!("box-{number}");
        vec![
            Op::Load,
            Op::Build(number),
            Op::RunDetached(number),
            Op::Exec(container.clone(), number),
            Op::Import(number),
            Op::Tag(number),
            Op::RunTemporary(self.next()),
            Op::Remove(container),
            Op::Untag(format!("built:{number}")),
            Op::Untag(format!("imported:{number}")),
            Op::Untag("packed:1".to_owned()),
            Op::Prune,
        ]
    }

    /// Does it and notes what was acknowledged.
    ///
    /// # Errors
    /// When the daemon died before it answered.
    pub(crate) fn perform(&mut self, daemon: &Daemon, op: &Op) -> Result<()> {
        match op {
            Op::Import(number) => {
                let name = format!("imported:{number}");
                self.names.insert(name.clone(), Name::Unsure);
                let archive = Tar::new().file("n", format!("{number}\n")).finish();
                let answer = daemon.try_send_tar(&format!("/images/create?fromSrc=-&repo=imported&tag={number}"), &archive)?;
                let id = self.fine(op, answer).json()["status"].as_str().unwrap().to_owned();
                self.names.insert(name, Name::Of(id));
            }
            Op::Build(number) => {
                let name = format!("built:{number}");
                self.names.insert(name.clone(), Name::Unsure);
                let output = daemon.try_build(&format!("t={name}"), &context(*number))?.unwrap_or_else(|error| panic!("{op:?}: {error}"));
                let short =
                    output.trim_end().lines().filter_map(|line| line.strip_prefix("Successfully built ")).next_back().unwrap().to_owned();
                assert!(output.contains(&format!("Successfully tagged {name}")), "{output}");
                self.names.insert(name, Name::Of(format!("sha256:{short}")));
            }
            Op::Load => {
                if self.names.get("packed:1") != Some(&Name::Of(self.packed.clone())) {
                    self.names.insert("packed:1".to_owned(), Name::Unsure);
                }
                let answer = daemon.try_send_tar("/images/load", &self.archive)?;
                self.fine(op, answer);
                self.names.insert("packed:1".to_owned(), Name::Of(self.packed.clone()));
            }
            Op::Tag(number) => {
                let name = format!("tagged:{number}");
                self.names.insert(name.clone(), Name::Unsure);
                let answer = daemon.try_call("POST", &format!("/images/base/tag?repo=tagged&tag={number}"), &Value::Null)?;
                self.fine(op, answer);
                let base = self.names["base"].clone();
                self.names.insert(name, base);
            }
            Op::Untag(name) => {
                self.names.insert(name.clone(), Name::Unsure);
                let answer = daemon.try_call("DELETE", &format!("/images/{name}?force=1"), &Value::Null)?;
                self.fine(op, answer);
                self.names.insert(name.clone(), Name::Absent);
            }
            Op::Create(number) => {
                let name = format!("box-{number}");
                self.create(daemon, op, &name, json!({"Image": "base", "Cmd": ["sleep", "1000"]}))?;
            }
            Op::RunDetached(number) => {
                let name = format!("box-{number}");
                let id = self.create(
                    daemon,
                    op,
                    &name,
                    json!({"Image": "base", "Cmd": ["sh", "-c", "while :; do echo alive; sleep 0.1; done"]}),
                )?;
                self.start(daemon, op, &name, id)?;
            }
            Op::RunTemporary(number) => {
                let name = format!("box-{number}");
                let body = json!({"Image": "base", "Cmd": ["sh", "-c", "echo brief"], "HostConfig": {"AutoRemove": true}});
                self.create(daemon, op, &name, body)?;
                self.containers.insert(name.clone(), Fate::Unsure);
                let answer = daemon.try_call("POST", &format!("/containers/{name}/start"), &Value::Null)?;
                self.fine(op, answer);
                self.containers.insert(name, Fate::Leaving);
            }
            Op::Exec(name, number) => {
                let body = json!({"Cmd": ["touch", format!("/mark{number}")]});
                let created = daemon.try_call("POST", &format!("/containers/{name}/exec"), &body)?;
                let exec = self.fine(op, created).json()["Id"].as_str().unwrap().to_owned();
                let started = daemon.try_call("POST", &format!("/exec/{exec}/start"), &json!({"Detach": false}))?;
                self.fine(op, started);
                let code = daemon.try_call("GET", &format!("/exec/{exec}/json"), &Value::Null)?;
                if code.json()["ExitCode"] == 0 {
                    self.marks.entry(name.clone()).or_default().push(*number);
                }
            }
            Op::Remove(name) => {
                self.containers.insert(name.clone(), Fate::Unsure);
                self.marks.remove(name);
                let answer = daemon.try_call("DELETE", &format!("/containers/{name}?force=1"), &Value::Null)?;
                self.fine(op, answer);
                self.containers.insert(name.clone(), Fate::Gone);
            }
            Op::Prune => {
                let answer = daemon.try_call("POST", "/build/prune?all=1", &Value::Null)?;
                self.fine(op, answer);
            }
        }
        Ok(())
    }

    fn create(&mut self, daemon: &Daemon, op: &Op, name: &str, body: Value) -> Result<String> {
        self.containers.insert(name.to_owned(), Fate::Unsure);
        let answer = daemon.try_call("POST", &format!("/containers/create?name={name}"), &body)?;
        let id = self.fine(op, answer).json()["Id"].as_str().unwrap().to_owned();
        self.containers.insert(name.to_owned(), Fate::Created(id.clone()));
        Ok(id)
    }

    fn start(&mut self, daemon: &Daemon, op: &Op, name: &str, id: String) -> Result<()> {
        self.containers.insert(name.to_owned(), Fate::Unsure);
        let answer = daemon.try_call("POST", &format!("/containers/{name}/start"), &Value::Null)?;
        self.fine(op, answer);
        // Acknowledged as running; its number may be asked for later.
        self.containers.insert(name.to_owned(), Fate::Running { id, pid: 0 });
        Ok(())
    }

    #[track_caller]
    fn fine(&self, op: &Op, answer: Answer) -> Answer {
        assert!(answer.is_fine(), "{op:?} was refused: {} {}; before: {}", answer.status, answer.text(), self.context);
        answer
    }

    /// Holds the daemon to everything that is known, and learns what was unsure.
    pub(crate) fn check(&mut self, daemon: &Daemon) {
        let context = self.context.clone();
        for (name, known) in &mut self.names {
            let found = id_of(daemon, name);
            match (&*known, found) {
                (Name::Of(id), Some(found)) => assert!(found.starts_with(id.as_str()), "{name} is {found}, not {id}; {context}"),
                (Name::Of(id), None) => panic!("{name} ({id}) was acknowledged and is lost; {context}"),
                (Name::Absent, Some(found)) => panic!("the removal of {name} was acknowledged, but it is {found}; {context}"),
                (Name::Absent, None) => {}
                (Name::Unsure, Some(found)) => *known = Name::Of(found),
                (Name::Unsure, None) => *known = Name::Absent,
            }
            if let (Name::Of(_), Some(number)) = (&*known, name.strip_prefix("built:")) {
                let said = daemon.run(&json!({"Image": name.as_str(), "Cmd": ["cat", "/n", "/f"]}));
                assert_eq!(said.stdout, format!("{number}\ncontent {number}\n"), "{said:?}; {context}");
            }
        }
        for (name, fate) in &mut self.containers {
            check_container(daemon, name, fate, &context);
            let marks = self.marks.get(name).filter(|_| matches!(fate, Fate::Running { .. }));
            for mark in marks.into_iter().flatten() {
                assert_eq!(daemon.exec(name, &format!("ls /mark{mark}")).code, 0, "a file in {name} is lost; {context}");
            }
        }
        let findings = daemon.fsck();
        assert!(findings.is_empty(), "fsck: {findings:#?}; {context}");
    }

    /// Does once more what was not acknowledged; now it must succeed.
    pub(crate) fn repeat(&mut self, daemon: &Daemon, op: &Op) {
        self.context = format!("repeating after {}", self.context);
        match op {
            Op::Untag(name) if self.names[name] == Name::Absent => {}
            Op::Remove(name) if self.containers[name] == Fate::Gone => {}
            Op::Exec(name, _) if !matches!(self.containers[name], Fate::Running { .. }) => {}
            Op::Create(number) | Op::RunDetached(number) | Op::RunTemporary(number) => {
                let name = format!("box-{number}");
                if self.containers.get(&name).is_some_and(|fate| !matches!(fate, Fate::Gone)) {
                    self.perform(daemon, &Op::Remove(name)).unwrap();
                }
                self.perform(daemon, op).unwrap();
            }
            _ => self.perform(daemon, op).unwrap(),
        }
    }

    /// Everything is removed, and nothing stays behind.
    pub(crate) fn end(self, daemon: &Daemon) {
        daemon.remove_all_containers();
        daemon.assert_nothing_left();
        for (name, known) in self.names {
            if let Name::Of(_) = known {
                daemon.delete(&format!("/images/{name}?force=1")).fine();
            }
        }
        // A repeated import moved its name to a new image.
        daemon.post("/images/prune", &Value::Null).fine();
        daemon.post("/build/prune?all=1", &Value::Null).fine();
        daemon.assert_sound();
        for folder in ["layers", "blobs", "tmp", "trash"] {
            eventually(&format!("emptying {folder} ({})", self.context), 10, || {
                files_below(&daemon.data_root().join(folder)).is_empty().then_some(())
            });
        }
    }
}

fn check_container(daemon: &Daemon, name: &str, fate: &mut Fate, context: &str) {
    let look = || {
        let answer = daemon.call("GET", &format!("/containers/{name}/json"), &Value::Null);
        (answer.status != 404).then(|| answer.fine().json())
    };
    match (&*fate, look()) {
        (Fate::Created(id), Some(found)) => {
            assert_eq!(
                (found["Id"].as_str(), found["State"]["Status"].as_str()),
                (Some(id.as_str()), Some("created")),
                "{name}; {context}"
            );
        }
        (Fate::Running { id, pid }, Some(found)) => {
            assert_eq!(
                (found["Id"].as_str(), found["State"]["Status"].as_str()),
                (Some(id.as_str()), Some("running")),
                "{name}: {found}; {context}"
            );
            let now = found["State"]["Pid"].as_i64().unwrap();
            assert!(*pid == 0 || *pid == now, "{name} was {pid} and is {now}; {context}");
            assert!(std::path::Path::new(&format!("/proc/{now}/exe")).exists(), "{name} is no process; {context}");
            *fate = Fate::Running { id: id.clone(), pid: now };
        }
        (Fate::Created(_) | Fate::Running { .. }, None) => panic!("{name} was acknowledged and is lost; {context}"),
        (Fate::Gone, Some(found)) => panic!("the removal of {name} was acknowledged, but it is {}; {context}", found["State"]),
        (Fate::Gone, None) => {}
        (Fate::Leaving, _) => {
            let mut last = look();
            for _ in 0..500 {
                if last.is_none() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
                last = look();
            }
            assert!(last.is_none(), "{name} was to be removed at its end and is {}; {context}", last.unwrap_or_default()["State"]);
            *fate = Fate::Gone;
        }
        (Fate::Unsure | Fate::Somehow, None) => *fate = Fate::Gone,
        (Fate::Unsure | Fate::Somehow, Some(found)) => {
            let id = found["Id"].as_str().unwrap().to_owned();
            *fate = match found["State"]["Status"].as_str().unwrap() {
                "created" => Fate::Created(id),
                "running" if found["HostConfig"]["AutoRemove"] == false => {
                    Fate::Running { id, pid: found["State"]["Pid"].as_i64().unwrap() }
                }
                "running" | "exited" | "removing" => Fate::Somehow,
                other => panic!("{name} is {other}; {context}"),
            };
        }
    }
}

fn id_of(daemon: &Daemon, name: &str) -> Option<String> {
    let answer = daemon.call("GET", &format!("/images/{name}/json"), &Value::Null);
    (answer.status != 404).then(|| answer.fine().json()["Id"].as_str().map(str::to_owned)).flatten()
}

fn context(number: u32) -> Vec<u8> {
    let dockerfile = format!("FROM base\nRUN echo {number} > /n\nCOPY f /f\nCMD [\"sh\"]\n");
    Tar::new().file("Dockerfile", dockerfile).file("f", format!("content {number}\n")).finish()
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
