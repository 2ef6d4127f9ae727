//! The body of every error answer.

use serde::{Deserialize, Serialize};

/// `{"message": "..."}` as Docker writes it; `hint` is ours, and clients that do not know it ignore it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorBody {
    pub message: String,
    /// Advice that belongs on a line of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
