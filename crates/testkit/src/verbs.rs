//! The verbs that tests use, over the raw API.

use std::io::Read;

use serde_json::{Value, json};

use crate::http::{self, Answer, Streaming};
use crate::{Daemon, busybox_tar};

const JSON: &str = "application/json";
const TAR: &str = "application/x-tar";

/// What a program said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Exit code.
    pub code: i64,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Its output, when it succeeded.
    #[track_caller]
    pub fn said(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }
}

impl Daemon {
    /// Any request; the server must live to answer it.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let answer = self.try_call(method, path, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Any request; an error when the server does not live to answer it.
    ///
    /// # Errors
    /// What the socket said.
    pub fn try_call(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Answer> {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        http::call(&self.socket(), method, path, JSON, text.as_bytes())
    }

    /// GET, whose answer must be fine.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.call("GET", path, &Value::Null).fine().json()
    }

    /// POST.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, body)
    }

    /// DELETE.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &Value::Null)
    }

    /// A request whose answer is read bit by bit.
    #[track_caller]
    pub fn stream(&self, method: &str, path: &str, body: &Value) -> Streaming {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        http::open(&self.socket(), method, path, JSON, text.as_bytes()).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends an archive.
    ///
    /// # Errors
    /// What the socket said.
    pub fn try_send_tar(&self, path: &str, archive: &[u8]) -> std::io::Result<Answer> {
        http::call(&self.socket(), "POST", path, TAR, archive)
    }

    /// Imports an archive as the image `name`; returns its id.
    #[track_caller]
    pub fn import(&self, name: &str, archive: &[u8]) -> String {
        let path = format!("/images/create?fromSrc=-&repo={}&changes={}", escape(name), escape("CMD [\"sh\"]"));
        let answer = self.try_send_tar(&path, archive).unwrap_or_else(|error| panic!("import: {error}")).fine();
        let id = answer.json()["status"].as_str().unwrap_or_default().to_owned();
        assert!(id.starts_with("sha256:"), "{}", answer.text());
        id
    }

    /// Imports busybox as the image `name`; returns its id.
    #[track_caller]
    pub fn import_busybox(&self, name: &str) -> String {
        self.import(name, &busybox_tar().finish())
    }

    /// Builds from an archive with the classic builder's API; `query` as in `t=name&nocache=1`.
    ///
    /// # Errors
    /// What the socket said; the inner error is the build's own message.
    pub fn try_build(&self, query: &str, context: &[u8]) -> std::io::Result<Result<String, String>> {
        let answer = self.try_send_tar(&format!("/build?version=1&rm=1&forcerm=1&{query}"), context)?;
        let mut output = String::new();
        let mut ended = false;
        for line in answer.text().lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            if let Some(error) = line["error"].as_str() {
                return Ok(Err(format!("{output}{error}")));
            }
            let text = line["stream"].as_str().unwrap_or_default();
            ended |= text.contains("Successfully built");
            output.push_str(text);
        }
        match (answer.is_fine(), ended) {
            (true, true) => Ok(Ok(output)),
            (true, false) => {
                Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, format!("the build's output ends early: {output}")))
            }
            (false, _) => Ok(Err(answer.text())),
        }
    }

    /// Builds and says what was written.
    ///
    /// # Errors
    /// The build's own message.
    #[track_caller]
    pub fn build(&self, query: &str, context: &[u8]) -> Result<String, String> {
        self.try_build(query, context).unwrap_or_else(|error| panic!("build: {error}"))
    }

    /// Creates a container; returns its id.
    #[track_caller]
    pub fn create(&self, body: &Value) -> String {
        let answer = self.post("/containers/create", body).fine();
        answer.json()["Id"].as_str().expect("an id").to_owned()
    }

    /// Creates and starts one; returns its id.
    #[track_caller]
    pub fn run_detached(&self, body: &Value) -> String {
        let id = self.create(body);
        self.post(&format!("/containers/{id}/start"), &Value::Null).fine();
        id
    }

    /// Creates and starts one that may be refused: the answer of whoever refused, or the id.
    ///
    /// # Errors
    /// The refusing answer.
    pub fn try_run(&self, body: &Value) -> Result<String, Answer> {
        let created = self.post("/containers/create", body);
        if !created.is_fine() {
            return Err(created);
        }
        let id = created.json()["Id"].as_str().expect("an id").to_owned();
        let started = self.post(&format!("/containers/{id}/start"), &Value::Null);
        if started.is_fine() { Ok(id) } else { Err(started) }
    }

    /// Runs one to its end, reads what it said, removes it.
    #[track_caller]
    pub fn run(&self, body: &Value) -> Outcome {
        let id = self.run_detached(body);
        let code = self.wait(&id);
        let (stdout, stderr) = self.logs(&id);
        self.delete(&format!("/containers/{id}?force=1")).fine();
        Outcome { code, stdout, stderr }
    }

    /// Runs `sh -c script` in the image to its end.
    #[track_caller]
    pub fn shell(&self, image: &str, script: &str) -> Outcome {
        self.run(&json!({"Image": image, "Cmd": ["sh", "-c", script]}))
    }

    /// The exit code of a container, waiting for its end.
    #[track_caller]
    pub fn wait(&self, id: &str) -> i64 {
        self.post(&format!("/containers/{id}/wait"), &Value::Null).fine().json()["StatusCode"].as_i64().expect("a code")
    }

    /// What a container without a terminal has said so far.
    #[track_caller]
    pub fn logs(&self, id: &str) -> (String, String) {
        let answer = self.call("GET", &format!("/containers/{id}/logs?stdout=1&stderr=1"), &Value::Null).fine();
        split_frames(&answer.body)
    }

    /// Runs a program in a running container. `body` as of POST /containers/{id}/exec.
    ///
    /// # Errors
    /// The answer that refused.
    pub fn try_exec(&self, id: &str, mut body: Value) -> Result<Outcome, Answer> {
        body["AttachStdout"] = json!(true);
        body["AttachStderr"] = json!(true);
        let created = self.post(&format!("/containers/{id}/exec"), &body);
        if !created.is_fine() {
            return Err(created);
        }
        let exec = created.json()["Id"].as_str().expect("an id").to_owned();
        let mut stream = self.stream("POST", &format!("/exec/{exec}/start"), &json!({"Detach": false, "Tty": false}));
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        if stream.status >= 300 {
            return Err(Answer { status: stream.status, headers: Vec::new(), body: bytes });
        }
        read.expect("output of exec");
        let (stdout, stderr) = split_frames(&bytes);
        let code = crate::eventually("the exit code of an exec", 20, || self.get(&format!("/exec/{exec}/json"))["ExitCode"].as_i64());
        Ok(Outcome { code, stdout, stderr })
    }

    /// Runs `sh -c script` in a running container.
    #[track_caller]
    pub fn exec(&self, id: &str, script: &str) -> Outcome {
        self.try_exec(id, json!({"Cmd": ["sh", "-c", script]})).unwrap_or_else(|answer| panic!("exec: {} {}", answer.status, answer.text()))
    }

    /// Everything that `fsck` has against the store after reading every byte.
    #[track_caller]
    pub fn fsck(&self) -> Vec<Value> {
        let report = self.post("/shipway/fsck?strict=1", &json!({"strict": true})).fine().json();
        let findings = report["findings"].as_array().cloned().unwrap_or_default();
        assert_eq!(report["clean"].as_bool(), Some(findings.is_empty()), "{report}");
        findings
    }

    /// Asserts that there is nothing.
    #[track_caller]
    pub fn assert_sound(&self) {
        let findings = self.fsck();
        assert!(findings.is_empty(), "fsck: {findings:#?}");
    }
}

/// Splits Docker's frames of 8-byte heads into standard output and standard error.
pub fn split_frames(bytes: &[u8]) -> (String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    while rest.len() >= 8 {
        let size = u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
        let end = (8 + size).min(rest.len());
        let into = if rest[0] == 2 { &mut stderr } else { &mut stdout };
        into.extend_from_slice(&rest[8..end]);
        rest = &rest[end..];
    }
    (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

/// A text as part of a query.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => escaped.push(char::from(byte)),
            other => {
                let _ = std::fmt::Write::write_fmt(&mut escaped, format_args!("%{other:02X}"));
            }
        }
    }
    escaped
}
