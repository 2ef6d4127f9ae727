//! The error codes of the distribution specification, the statuses they travel with, and the JSON they are told in.
//!
//! What must stay true: a code is written as the specification's table writes it; no message holds a path of this machine or a secret.
//!
//! # Source
//! OCI distribution-spec 1.1, "Error Codes".

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

/// Why a registry refuses, in the words that every client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    TagInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    Unknown,
}

impl Code {
    /// As it is written in an answer.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status it travels with unless a refusal says otherwise.
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    fn row(self) -> (&'static str, StatusCode) {
        match self {
            Self::BlobUnknown => ("BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Self::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", StatusCode::BAD_REQUEST),
            Self::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", StatusCode::NOT_FOUND),
            Self::DigestInvalid => ("DIGEST_INVALID", StatusCode::BAD_REQUEST),
            // The table of endpoints knows only 404 for a manifest that is not taken (end-7).
            Self::ManifestBlobUnknown => ("MANIFEST_BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Self::ManifestInvalid => ("MANIFEST_INVALID", StatusCode::BAD_REQUEST),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", StatusCode::NOT_FOUND),
            Self::NameInvalid => ("NAME_INVALID", StatusCode::BAD_REQUEST),
            Self::NameUnknown => ("NAME_UNKNOWN", StatusCode::NOT_FOUND),
            Self::SizeInvalid => ("SIZE_INVALID", StatusCode::BAD_REQUEST),
            // Not in the table any more, but the specification still lets clients expect it ("Legacy Docker support error codes").
            Self::TagInvalid => ("TAG_INVALID", StatusCode::BAD_REQUEST),
            Self::Unauthorized => ("UNAUTHORIZED", StatusCode::UNAUTHORIZED),
            Self::Denied => ("DENIED", StatusCode::FORBIDDEN),
            Self::Unsupported => ("UNSUPPORTED", StatusCode::METHOD_NOT_ALLOWED),
            Self::TooManyRequests => ("TOOMANYREQUESTS", StatusCode::TOO_MANY_REQUESTS),
            Self::Unknown => ("UNKNOWN", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

/// A request that is refused: one or more complaints, a status, and headers that go with it.
///
/// Boxed: it travels through every `Result`, and is the rare case.
#[derive(Debug, Clone)]
pub struct Refusal(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    complaints: Vec<Complaint>,
    headers: HeaderMap,
}

#[derive(Debug, Clone)]
struct Complaint {
    code: Code,
    message: String,
    detail: Option<Value>,
}

impl Refusal {
    /// A refusal with one complaint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let complaint = Complaint { code, message: message.into(), detail: None };
        Self(Box::new(Parts { status: code.status(), complaints: vec![complaint], headers: HeaderMap::new() }))
    }

    /// The same complaint about each of `subjects`, which is told as `{key: subject}`.
    pub fn about_each(code: Code, message: &str, key: &str, subjects: impl IntoIterator<Item = String>) -> Self {
        let complaint = |subject| Complaint { code, message: message.to_owned(), detail: Some(json!({ key: subject })) };
        let complaints = subjects.into_iter().map(complaint).collect();
        Self(Box::new(Parts { status: code.status(), complaints, headers: HeaderMap::new() }))
    }

    /// Something that is our fault; the log has the rest.
    pub fn internal(doing: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(doing, %error, "a request failed");
        Self::new(Code::Unknown, format!("internal error while {doing}; the server's log has the rest"))
    }

    /// Adds what a program can read to the last complaint.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        if let Some(complaint) = self.0.complaints.last_mut() {
            complaint.detail = Some(detail);
        }
        self
    }

    /// Travels with another status than the code's own.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.append(name, value);
        self
    }

    /// The first complaint's code; what is counted and logged.
    pub fn code(&self) -> Code {
        self.0.complaints.first().map_or(Code::Unknown, |complaint| complaint.code)
    }

    /// The answer, with its body as bytes.
    pub fn into_response(self) -> Response<Vec<u8>> {
        let errors: Vec<Value> = self.0.complaints.iter().map(Complaint::to_json).collect();
        let mut response = Response::new(json!({ "errors": errors }).to_string().into_bytes());
        *response.status_mut() = self.0.status;
        *response.headers_mut() = self.0.headers;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl Complaint {
    fn to_json(&self) -> Value {
        let mut value = json!({ "code": self.code.as_str(), "message": self.message });
        if let Some(detail) = &self.detail {
            value["detail"] = detail.clone();
        }
        value
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = self.0.complaints.iter().map(|one| format!("{}: {}", one.code.as_str(), one.message)).collect();
        out.write_str(&words.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_complaint_is_told_with_its_subject() {
        let refusal = Refusal::about_each(Code::ManifestBlobUnknown, "blob unknown", "digest", ["a".to_owned(), "b".to_owned()]);
        let response = refusal.into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let expected = r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{"digest":"a"}},{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{"digest":"b"}}]}"#;
        assert_eq!(String::from_utf8(response.into_body()).unwrap(), expected);
    }
}
