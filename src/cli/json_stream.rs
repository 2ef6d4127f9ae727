//! Docker's stream of JSON objects: progress of pull, push, load, import and the classic build.
//!
//! Objects are `stream` text, `status` lines (with an `id` they are redrawn in place on a terminal), `aux` values, and at most one error.
//! What must stay true: an object cut in the middle is waited for, not guessed; an error in the stream becomes this command's failure although the
//! HTTP status was 200.

use super::client::{Answer, broken};
use super::exit::{Failure, Outcome};
use super::human;
use super::output;
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::collections::VecDeque;

/// Objects longer than this are not progress.
const LONGEST_OBJECT: usize = 64 << 20;

/// The JSON values of an answer's body, one after the other.
pub(crate) struct Objects {
    body: hyper::body::Incoming,
    held: Vec<u8>,
    ready: VecDeque<Value>,
}

impl Objects {
    /// Reads the body of `answer`.
    pub(crate) fn of(answer: Answer) -> Self {
        Self { body: answer.into_body(), held: Vec::new(), ready: VecDeque::new() }
    }

    /// The next value, or none at the end. May be dropped half-way and called again.
    pub(crate) async fn next(&mut self) -> Outcome<Option<Value>> {
        loop {
            if let Some(value) = self.ready.pop_front() {
                return Ok(Some(value));
            }
            let Some(frame) = self.body.frame().await else {
                if self.held.iter().any(|byte| !byte.is_ascii_whitespace()) {
                    return Err(Failure::new("the daemon's stream ended in the middle of an object"));
                }
                return Ok(None);
            };
            let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
            self.held.extend_from_slice(&piece);
            let used = values(&self.held, &mut self.ready)?;
            self.held.drain(..used);
            if self.held.len() > LONGEST_OBJECT {
                return Err(Failure::new("the daemon's stream is not made of JSON objects"));
            }
        }
    }
}

/// Calls `each` with every JSON value of the answer's body.
pub(crate) async fn for_each(answer: Answer, mut each: impl FnMut(Value) -> Outcome) -> Outcome {
    let mut objects = Objects::of(answer);
    while let Some(value) = objects.next().await? {
        each(value)?;
    }
    Ok(())
}

/// Parses all whole values at the beginning of `bytes`; answers how many bytes they took.
fn values(bytes: &[u8], ready: &mut VecDeque<Value>) -> Outcome<usize> {
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let mut used = 0;
    while let Some(value) = stream.next() {
        match value {
            Ok(value) => ready.push_back(value),
            Err(error) if error.is_eof() => break,
            Err(error) => return Err(Failure::new(format!("cannot understand the daemon's stream: {error}"))),
        }
        used = stream.byte_offset();
    }
    Ok(used)
}

/// The failure an object carries, if it does. Its code is the exit code when the daemon names one.
pub(crate) fn failure_in(object: &Value) -> Option<Failure> {
    let detail = object.pointer("/errorDetail/message").and_then(Value::as_str);
    let message = detail.or_else(|| object.get("error").and_then(Value::as_str))?;
    let code =
        object.pointer("/errorDetail/code").and_then(Value::as_u64).and_then(|code| u8::try_from(code).ok()).filter(|code| *code > 0);
    let mut failure = Failure::new(message).with_code(code.unwrap_or(super::exit::FAILED));
    let hint = object.get("hint").or_else(|| object.pointer("/errorDetail/hint"));
    failure.hints.extend(hint.and_then(Value::as_str).map(str::to_owned));
    Some(failure)
}

/// Shows `status` lines: in place on a terminal, one after the other elsewhere.
pub(crate) struct StatusLines {
    terminal: bool,
    to_errors: bool,
    ids: Vec<String>,
}

impl StatusLines {
    /// Lines on standard output.
    pub(crate) fn on_output() -> Self {
        Self { terminal: output::is_terminal(), to_errors: false, ids: Vec::new() }
    }

    /// Lines on standard error, where `run` shows its pull.
    pub(crate) fn on_errors() -> Self {
        Self { terminal: output::error_is_terminal(), to_errors: true, ids: Vec::new() }
    }

    fn write(&self, text: &str) -> Outcome {
        if self.to_errors { output::error_bytes(text.as_bytes()) } else { output::text(text) }
    }

    /// Shows one object; fails with the error it carries.
    pub(crate) fn show(&mut self, object: &Value) -> Outcome {
        if let Some(failure) = failure_in(object) {
            return Err(failure);
        }
        if let Some(text) = object.get("stream").and_then(Value::as_str) {
            return self.write(text);
        }
        let Some(status) = object.get("status").and_then(Value::as_str) else { return Ok(()) };
        let id = object.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let progress = progress_text(object);
        if !self.terminal {
            // Bars are for eyes; a log gets the words only.
            if object.get("progressDetail").and_then(|detail| detail.get("current")).is_some() {
                return Ok(());
            }
            let prefix = id.map(|id| format!("{id}: ")).unwrap_or_default();
            return self.write(&format!("{prefix}{status}\n"));
        }
        let Some(id) = id else {
            self.ids.clear();
            return self.write(&format!("{status}{progress}\n"));
        };
        let line = format!("{id}: {status}{progress}");
        match self.ids.iter().position(|known| known == id) {
            Some(at) => {
                let up = self.ids.len() - at;
                self.write(&format!("\x1b[{up}A\x1b[2K\r{line}\r\x1b[{up}B"))
            }
            None => {
                self.ids.push(id.to_owned());
                self.write(&format!("{line}\n"))
            }
        }
    }
}

fn progress_text(object: &Value) -> String {
    let Some(detail) = object.get("progressDetail") else { return String::new() };
    let number = |name: &str| detail.get(name).and_then(Value::as_f64).filter(|value| *value > 0.0);
    match (number("current"), number("total")) {
        (Some(current), Some(total)) => {
            let percent = (current / total * 50.0).clamp(0.0, 50.0) as usize;
            let bar = format!("[{}>{}]", "=".repeat(percent), " ".repeat(50 - percent));
            format!(" {bar}  {}/{}", human::size(current as i64), human::size(total as i64))
        }
        (Some(current), None) => format!(" {}", human::size(current as i64)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cut_in_the_middle_wait_for_the_rest() {
        let text = b"{\"stream\":\"a\"}\r\n{\"str";
        let mut seen = VecDeque::new();
        let used = values(text, &mut seen).unwrap();
        assert_eq!(seen, [serde_json::json!({"stream": "a"})]);
        assert_eq!(&text[used..].trim_ascii(), b"{\"str");
    }

    #[test]
    fn an_error_in_the_stream_carries_its_code() {
        let object = serde_json::json!({"errorDetail": {"code": 7, "message": "returned a non-zero code: 7"}, "error": "x"});
        let failure = failure_in(&object).unwrap();
        assert_eq!((failure.to_string().as_str(), failure.code), ("returned a non-zero code: 7", 7));
        assert_eq!(failure_in(&serde_json::json!({"stream": "x"})), None);
    }
}
