//! Progress of a build on the wire: the JSON shape of BuildKit's `SolveStatus`, one object per line.
//!
//! A line carries what happened since the one before: new or changed vertexes, statuses below a vertex, pieces of logs, warnings. Fields that are
//! empty are left out, as BuildKit does; readers such as Compose rely on exactly these names.
//! What must stay true: a vertex is announced (without `started`) before anything else names it; times are RFC 3339 text in UTC. They stay text
//! here, so that a foreign server's odd clock can never make a whole line unreadable.
//! Source: BuildKit, `client/graph.go` (field names only).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One line of progress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SolveStatus {
    /// New or changed vertexes.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_empty")]
    pub vertexes: Vec<Vertex>,
    /// Work inside vertexes that can be counted.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_empty")]
    pub statuses: Vec<VertexStatus>,
    /// Output of programs.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_empty")]
    pub logs: Vec<VertexLog>,
    /// Advice about the Dockerfile.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_empty")]
    pub warnings: Vec<VertexWarning>,
}

impl SolveStatus {
    /// True when nothing happened.
    pub fn is_empty(&self) -> bool {
        self.vertexes.is_empty() && self.statuses.is_empty() && self.logs.is_empty() && self.warnings.is_empty()
    }
}

/// One unit of work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Vertex {
    /// Its identity within the build; any text, usually a digest.
    pub digest: String,
    /// The vertexes it needs.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_empty")]
    pub inputs: Vec<String>,
    /// What a person reads, such as `[builder 2/6] RUN make`.
    pub name: String,
    /// When its current interval of work began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When that interval ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
    /// The result was already there.
    #[serde(skip_serializing_if = "is_false")]
    pub cached: bool,
    /// Why it failed; ends with `context canceled` when it was only stopped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Countable work inside a vertex.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VertexStatus {
    /// Unique within the vertex; also the text shown.
    pub id: String,
    /// The vertex it belongs to.
    pub vertex: String,
    /// A second name, rarely used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// All of it, in bytes mostly; 0 when unknown.
    pub total: i64,
    /// How far it is.
    pub current: i64,
    /// When this was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
}

/// A piece of a program's output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VertexLog {
    /// The vertex the program runs for.
    pub vertex: String,
    /// 1 standard output, 2 standard error.
    pub stream: i32,
    /// The bytes, base64 on the wire.
    pub data: Base64,
    /// When they were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

/// Advice about the Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VertexWarning {
    /// The vertex it belongs to; empty for the whole build.
    pub vertex: String,
    /// How bad it is; BuildKit always says 1.
    pub level: i32,
    /// One sentence, which begins with the rule's name and a colon.
    pub short: Base64,
    /// More sentences.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_empty")]
    pub detail: Vec<Base64>,
    /// A page about the rule, if any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// The lines it is about.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_empty")]
    pub range: Vec<LineRange>,
}

/// Lines of a Dockerfile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LineRange {
    /// The first line.
    pub start: Place,
    /// The last line.
    pub end: Place,
}

/// A place in a Dockerfile, counted from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// Line.
    pub line: i32,
    /// Character within the line; 0 when only the line is known.
    #[serde(skip_serializing_if = "is_zero")]
    pub character: i32,
}

/// Bytes that travel as base64 text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Base64 {
    /// The bytes as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl From<&str> for Base64 {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(Self::default()) };
        base64::engine::general_purpose::STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

fn null_as_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(value: &i32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_round_trips_and_leaves_empty_fields_out() {
        let line = r#"{"vertexes":[{"digest":"sha256:a","name":"[1/2] RUN x","started":"2026-11-21T10:00:00Z"}],"logs":[{"vertex":"sha256:a","stream":1,"data":"aGkK"}]}"#;
        let status: SolveStatus = serde_json::from_str(line).unwrap();
        assert_eq!(status.logs[0].data.text(), "hi\n");
        assert_eq!(serde_json::to_string(&status).unwrap(), line);
    }

    #[test]
    fn nulls_and_unknown_fields_are_tolerated() {
        let status: SolveStatus = serde_json::from_str(r#"{"vertexes":null,"new":1,"warnings":[{"short":"YQ==","detail":null}]}"#).unwrap();
        assert_eq!(status.warnings[0].short.text(), "a");
        assert!(!status.is_empty());
    }
}
