//! `GET /shipway/build/history`: the builds this daemon remembers.

use serde::{Deserialize, Serialize};

/// One build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildHistoryItem {
    pub id: String,
    /// What to call it: the first tag, else the Dockerfile's name.
    pub name: String,
    /// `running`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// RFC 3339.
    pub started: String,
    pub finished: Option<String>,
    pub total_steps: u64,
    pub cached_steps: u64,
    /// The image id, when it made one.
    pub image: Option<String>,
    /// Why it made none, in one line.
    pub error: Option<String>,
}
