//! How a command ends: the failure a person reads, its hints, and the exit code the shell sees.
//!
//! Exit codes are docker's: 0; 1 for a command that failed; 125 for a usage error or when the daemon refused a run, create or start;
//! 126 for a program that may not be executed; 127 for one that is not there; otherwise the container's own code.
//! What must stay true: text that came from a daemon keeps its prefix `Error response from daemon: `, because scripts look for it.

use shipway_model::Classified;
use std::fmt;

/// Exit code of an ordinary failure.
pub(crate) const FAILED: u8 = 1;
/// Exit code of wrong flags, and of a daemon that refused run, create or start.
pub(crate) const USAGE: u8 = 125;
/// Exit code of a program the container may not execute.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// Exit code of a program the container does not have.
pub(crate) const NOT_FOUND: u8 = 127;

/// Result of everything in the command line.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A sentence of our own.
    Plain(String),
    /// The daemon answered with an error status.
    Daemon {
        /// HTTP status, 4xx or 5xx.
        status: u16,
        /// The `message` of the answer, word for word.
        message: String,
    },
    /// Nobody listens where the daemon should be.
    Unreachable {
        /// The address as the person would write it.
        host: String,
        /// What the operating system said.
        cause: String,
    },
    /// Everything has been said already (or nothing needs to be): only the exit code matters.
    Said,
}

/// A failure on its way to the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What went wrong.
    pub(crate) reason: Reason,
    /// Advice, one line each, printed below the message.
    pub(crate) hints: Vec<String>,
    /// The exit code.
    pub(crate) code: u8,
}

impl Failure {
    /// An ordinary failure with exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { reason: Reason::Plain(message.into()), hints: Vec::new(), code: FAILED }
    }

    /// A wrong use of the command line: exit code 125.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(message) }
    }

    /// A refusal by the daemon.
    pub(crate) fn daemon(status: u16, message: impl Into<String>, hint: Option<String>) -> Self {
        Self { reason: Reason::Daemon { status, message: message.into() }, hints: hint.into_iter().collect(), code: FAILED }
    }

    /// What a parser of the model complains about, with its advice.
    pub(crate) fn classified(error: &impl Classified) -> Self {
        Self { hints: error.hint().into_iter().collect(), ..Self::new(error.to_string()) }
    }

    /// What a parser of the model complains about in the value of a flag; `names` as docker shows them: `-p, --publish`.
    pub(crate) fn argument(value: &str, names: &str, error: &impl Classified) -> Self {
        let message = format!("invalid argument \"{value}\" for \"{names}\" flag: {error}");
        Self { hints: error.hint().into_iter().collect(), ..Self::usage(message) }
    }

    /// Ends with `code` and prints nothing more.
    pub(crate) fn ended(code: u8) -> Self {
        Self { reason: Reason::Said, hints: Vec::new(), code }
    }

    /// Adds one line of advice.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Replaces the exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// True when the daemon said there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.reason, Reason::Daemon { status: 404, .. })
    }

    /// True when the daemon passed on that somebody is not known.
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self.reason, Reason::Daemon { status: 401, .. })
    }

    /// True when the daemon said the state or a name is in the way.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self.reason, Reason::Daemon { status: 409, .. })
    }

    /// True when nobody answered at the daemon's address.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self.reason, Reason::Unreachable { .. })
    }

    /// The daemon's own words, when it was the daemon who refused.
    pub(crate) fn daemon_message(&self) -> Option<&str> {
        match &self.reason {
            Reason::Daemon { message, .. } => Some(message),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Plain(message) => f.write_str(message),
            Reason::Daemon { message, .. } => write!(f, "Error response from daemon: {message}"),
            Reason::Unreachable { host, cause } => {
                write!(f, "Cannot connect to the Docker daemon at {host}. Is the docker daemon running? ({cause})")
            }
            Reason::Said => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Writing to a terminal or pipe failed. A reader that went away is not news: `shipway ps | head -1` ends quietly, as if SIGPIPE had struck.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::ended(141);
        }
        Self::new(error.to_string())
    }
}

/// The system's own words for an I/O error: `no such file or directory`, without the number Rust adds.
pub(crate) fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// The exit code of `run`, `create` and `start` when the daemon refused: read from the daemon's words, as docker's client does, because the
/// API has no field for it.
pub(crate) fn start_refusal_code(message: &str) -> u8 {
    const MISSING: [&str; 3] = ["executable file not found", "no such file or directory", "system cannot find the file specified"];
    const REFUSED: [&str; 2] = ["permission denied", "is a directory"];
    if MISSING.iter().any(|phrase| message.contains(phrase)) {
        NOT_FOUND
    } else if REFUSED.iter().any(|phrase| message.contains(phrase)) {
        NOT_EXECUTABLE
    } else {
        USAGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_a_start_map_to_dockers_codes() {
        let table = [
            ("exec: \"nosuch\": executable file not found in $PATH: unknown", 127),
            ("exec: \"/nosuch\": stat /nosuch: no such file or directory: unknown", 127),
            ("exec: \"/etc\": permission denied: unknown", 126),
            ("exec: \"/etc\": is a directory: unknown", 126),
            ("Conflict. The container name \"/a\" is already in use", 125),
        ];
        for (message, code) in table {
            assert_eq!(start_refusal_code(message), code, "{message}");
        }
    }

    #[test]
    fn daemon_text_keeps_the_prefix_scripts_look_for() {
        assert_eq!(Failure::daemon(404, "No such container: x", None).to_string(), "Error response from daemon: No such container: x");
    }
}
