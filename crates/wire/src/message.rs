//! Docker's message stream: what build, pull, push, load and import tell while they work.
//!
//! JSON objects, each followed by `\r\n`; a failure after the first object travels inside the stream, because the status has already gone.
//! Source: moby `pkg/jsonmessage` (field names).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One object of a message stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// For clients without a terminal of their own: a drawn bar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<Value>,
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Ours: advice for a line of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How far a transfer has come, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// A failure inside a stream whose status was 200; `code` is the exit code for the client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    pub message: String,
}

impl Message {
    /// Text to print as it is.
    pub fn stream(text: impl Into<String>) -> Self {
        Self { stream: Some(text.into()), ..Self::default() }
    }

    /// A line about the thing called `id`, or about the whole when empty.
    pub fn status(text: impl Into<String>, id: &str) -> Self {
        Self { status: Some(text.into()), id: (!id.is_empty()).then(|| id.to_owned()), ..Self::default() }
    }

    /// Something for programs.
    pub fn aux(value: Value) -> Self {
        Self { aux: Some(value), ..Self::default() }
    }

    /// The failure that ends the stream.
    pub fn failure(message: impl Into<String>, code: Option<i32>, hint: Option<String>) -> Self {
        let message = message.into();
        Self { error_detail: Some(ErrorDetail { code, message: message.clone() }), error: Some(message), hint, ..Self::default() }
    }

    /// The object as it goes over the wire, line end included.
    pub fn to_line(&self) -> Vec<u8> {
        // A struct of strings and numbers always has a JSON form.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.extend_from_slice(b"\r\n");
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_only_the_keys_they_use() {
        assert_eq!(Message::stream("Step 1/1 : FROM scratch").to_line(), b"{\"stream\":\"Step 1/1 : FROM scratch\"}\r\n");
        assert_eq!(Message::status("Loading", "abc").to_line(), b"{\"status\":\"Loading\",\"id\":\"abc\"}\r\n");
        assert_eq!(
            Message::failure("no", Some(7), None).to_line(),
            b"{\"errorDetail\":{\"code\":7,\"message\":\"no\"},\"error\":\"no\"}\r\n"
        );
    }
}
