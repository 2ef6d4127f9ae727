//! `POST /shipway/build`: a build whose context the daemon reads in place (decision D11), and the lines of its answer.
//!
//! The client names a folder and how *it* sees that folder (device and inode). The daemon opens the folder and goes on only when it sees the same
//! one; otherwise it answers 409 and the client falls back to sending a tar to `POST /build`.
//! The answer is JSON lines: [`SolveStatus`] objects, and exactly one last line, `{"result":{..}}` or `{"failure":{..}}`. A failure before the
//! first line is an ordinary HTTP error.

use crate::progress::SolveStatus;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What to build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LocalBuildRequest {
    /// The folder to read; none when the Dockerfile came on standard input and there is no context.
    pub context: Option<LocalContext>,
    /// Where the Dockerfile is.
    pub dockerfile: DockerfileChoice,
    /// Names for the image, as typed.
    pub tags: Vec<String>,
    /// The stage to stop at.
    pub target: Option<String>,
    /// Values for ARG; null leaves the variable unset.
    pub build_args: BTreeMap<String, Option<String>>,
    /// Labels for the image.
    pub labels: BTreeMap<String, String>,
    /// Run every step again.
    pub no_cache: bool,
    /// Run the steps of these stages again.
    pub no_cache_filter: Vec<String>,
    /// Look for newer base images.
    pub pull: bool,
    /// Network of RUN steps: `default`, `none`, `host` or a name.
    pub network: Option<String>,
    /// Platform to build for.
    pub platform: Option<String>,
    /// `host:address` lines for `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Limits of processes.
    pub ulimits: Vec<LocalUlimit>,
    /// Memory for RUN steps in bytes.
    pub memory: Option<u64>,
    /// Memory and swap in bytes, -1 for no limit.
    pub memory_swap: Option<i64>,
    /// Relative CPU weight.
    pub cpu_shares: Option<u64>,
    /// CFS period in microseconds.
    pub cpu_period: Option<u64>,
    /// CFS quota in microseconds.
    pub cpu_quota: Option<i64>,
    /// CPUs to run on.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use.
    pub cpuset_mems: Option<String>,
    /// Images whose steps may serve as cache.
    pub cache_from: Vec<String>,
    /// Merge the new layers into one.
    pub squash: bool,
    /// Say for every step why its result was or was not known.
    pub explain: bool,
}

/// The folder, and how the client sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalContext {
    /// Absolute path.
    pub path: String,
    /// `st_dev` of the folder.
    pub device: u64,
    /// `st_ino` of the folder.
    pub inode: u64,
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DockerfileChoice {
    /// A file of the context, by its path relative to it.
    Path(String),
    /// The text itself: it came on standard input or lies outside of the context.
    Inline {
        /// What to call it in messages.
        name: String,
        /// The whole text.
        text: String,
        /// Text of `<Dockerfile>.dockerignore` beside it, when there is one.
        #[serde(default)]
        ignore: Option<String>,
    },
}

impl Default for DockerfileChoice {
    fn default() -> Self {
        Self::Path("Dockerfile".to_owned())
    }
}

/// One `--ulimit`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalUlimit {
    /// Name without `RLIMIT_`, in lower case.
    pub name: String,
    /// Soft limit, -1 for none.
    pub soft: i64,
    /// Hard limit, -1 for none.
    pub hard: i64,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LocalBuildLine {
    /// The last line of a build that worked.
    Result {
        /// What came out.
        result: LocalBuildResult,
    },
    /// The last line of a build that did not.
    Failure {
        /// What went wrong.
        failure: LocalBuildFailure,
    },
    /// Anything before.
    Progress(SolveStatus),
}

/// What a build gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LocalBuildResult {
    /// Id under which the logs are kept.
    pub build: String,
    /// `sha256:` and the digest of the image's config.
    pub image: String,
    /// Names it carries now.
    pub tags: Vec<String>,
    /// Steps whose result was known.
    pub cached_steps: u64,
    /// All steps.
    pub total_steps: u64,
    /// `--explain`: one line per step.
    pub explanations: Vec<String>,
}

/// Why a build stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LocalBuildFailure {
    /// Id under which the logs are kept; empty when it never began.
    pub build: String,
    /// One line, for the end.
    pub message: String,
    /// The Dockerfile's lines with the place marked, ready to print; may be empty.
    pub rendered: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Exit code for the command line: the failed program's own, or 1.
    pub exit_code: u8,
    /// The vertex that failed, when it was one.
    pub vertex: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let table = [
            (r#"{"result":{"image":"sha256:a"}}"#, "result"),
            (r#"{"failure":{"message":"no","exit_code":7}}"#, "failure"),
            (r#"{"vertexes":[]}"#, "progress"),
            (r#"{}"#, "progress"),
        ];
        for (line, kind) in table {
            let parsed: LocalBuildLine = serde_json::from_str(line).unwrap();
            let found = match parsed {
                LocalBuildLine::Result { .. } => "result",
                LocalBuildLine::Failure { .. } => "failure",
                LocalBuildLine::Progress(_) => "progress",
            };
            assert_eq!(found, kind, "{line}");
        }
    }

    #[test]
    fn a_request_with_little_in_it_gets_the_defaults() {
        let request: LocalBuildRequest = serde_json::from_str(r#"{"tags":["a"]}"#).unwrap();
        assert_eq!(request.dockerfile, DockerfileChoice::Path("Dockerfile".to_owned()));
        assert_eq!(request.tags, ["a"]);
    }
}
