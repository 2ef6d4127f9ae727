//! The one place where an error becomes a status and a body.

use http::StatusCode;
use shipway_model::{Classified, ErrorKind};
use shipway_wire::error::ErrorBody;

use crate::answer::{self, Answer};

/// A refusal on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
    pub hint: Option<String>,
}

/// What routes give back.
pub type ApiResult = Result<Answer, ApiError>;

/// The one switch from kinds of errors to statuses.
fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unchanged => StatusCode::NOT_MODIFIED,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Exhausted | ErrorKind::Corrupt | ErrorKind::Cancelled | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl ApiError {
    /// A refusal of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { status: status_of(kind), message: message.into(), hint: None }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// A part of the API that this version does not answer yet.
    pub fn not_supported_yet(what: &str) -> Self {
        Self::new(ErrorKind::Unsupported, format!("{what} is not supported yet"))
    }

    /// The same refusal with advice.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The refusal as an answer. 304 has no body, as HTTP demands.
    pub fn into_answer(self) -> Answer {
        if self.status == StatusCode::NOT_MODIFIED {
            return answer::status(self.status);
        }
        answer::json(self.status, &ErrorBody { message: self.message, hint: self.hint })
    }
}

/// Every error that knows its kind becomes a refusal by the switch above.
impl<E: Classified + 'static> From<E> for ApiError {
    fn from(error: E) -> Self {
        let kind = error.kind();
        match kind {
            ErrorKind::Internal | ErrorKind::Corrupt => tracing::error!(error = &error as &dyn std::error::Error, "a request failed"),
            // A port that somebody has, a range that is used up, a disk that is full: of the machine, or of who asked, not of this program.
            ErrorKind::Exhausted => tracing::warn!(error = &error as &dyn std::error::Error, "a request failed"),
            _ => {}
        }
        Self { status: status_of(kind), message: error.to_string(), hint: error.hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_status_the_house_says() {
        for (kind, status) in [
            (ErrorKind::Invalid, 400),
            (ErrorKind::Unauthenticated, 401),
            (ErrorKind::Forbidden, 403),
            (ErrorKind::NotFound, 404),
            (ErrorKind::Conflict, 409),
            (ErrorKind::Unchanged, 304),
            (ErrorKind::Unsupported, 501),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::Exhausted, 500),
            (ErrorKind::Corrupt, 500),
            (ErrorKind::Cancelled, 500),
            (ErrorKind::Internal, 500),
        ] {
            assert_eq!(ApiError::new(kind, "x").status.as_u16(), status, "{kind:?}");
        }
    }

    #[test]
    fn an_unchanged_answer_has_no_body() {
        let answer = ApiError::new(ErrorKind::Unchanged, "already started").into_answer();
        assert!(http_body::Body::is_end_stream(answer.body()));
    }
}
