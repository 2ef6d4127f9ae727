//! What a registry says when it says no.
//!
//! # Source
//! OCI distribution-spec 1.1, "Error Codes": `{"errors": [{"code": ..., "message": ..., "detail": ...}]}`.

use serde::Deserialize;

use super::body::Body;
use super::retry::retry_after;
use super::transport::Response;
use crate::Error;

/// The largest refusal that is read.
const REFUSAL_LIMIT: usize = 64 * 1024;
/// The longest message that is passed on.
const MESSAGE_LIMIT: usize = 1000;

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<Reason>,
    /// What token servers and some proxies say.
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// The error that `response` is. Its body is read as far as is sensible.
pub(super) async fn refusal(mut response: Response) -> Error {
    let host = response.url.origin().authority();
    let after = retry_after(&response.headers);
    let status = response.status;
    // Whatever is wrong with the body, the status is what matters.
    let body = read(&mut response.body, REFUSAL_LIMIT).await.unwrap_or_default();
    let (code, message) = match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) => match refusal.errors.into_iter().next() {
            Some(reason) => (plain(&reason.code), plain(&reason.message.unwrap_or_default())),
            None => (String::new(), plain(&refusal.details.or(refusal.message).unwrap_or_default())),
        },
        Err(_) => (String::new(), String::new()),
    };
    Error::Refused { host, status, code, message, retry_after: after }
}

/// The whole body, if it has at most `limit` bytes.
///
/// # Errors
/// `TooLarge`, and whatever keeps the body from coming.
pub(super) async fn read(body: &mut Body, limit: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if bytes.len() + piece.len() > limit {
            return Err(Error::TooLarge { limit: limit as u64 });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// A stranger's words: one line, no control characters, not endless.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MESSAGE_LIMIT).collect::<String>().trim().to_owned()
}
