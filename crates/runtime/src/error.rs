//! What can go wrong: for a launch, and for everything else.
//!
//! What must stay true: the phrases of `NotFound`, `NotExecutable` and `Cwd` are those that Docker's clients match.

use shipway_model::{Classified, ErrorKind};

use crate::message::{Failure, Step};

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// There is no such program in the container: exit code 127.
    #[error("exec: \"{program}\": {text}")]
    NotFound {
        /// As it was asked for.
        program: String,
        /// "executable file not found in $PATH", "stat /x: no such file or directory".
        text: String,
    },
    /// There is, but it cannot be executed: exit code 126.
    #[error("exec: \"{program}\": {text}")]
    NotExecutable {
        /// As it was asked for.
        program: String,
        /// "permission denied", "is a directory", "exec format error".
        text: String,
    },
    /// The working directory cannot be entered.
    #[error("chdir to cwd (\"{cwd}\") set in config.json failed: {text}")]
    Cwd {
        /// Which.
        cwd: String,
        /// Why.
        text: String,
    },
    /// A mount failed.
    #[error("error mounting {text}")]
    Mount {
        /// Target and the kernel's words.
        text: String,
    },
    /// A cgroup could not be made or limited.
    #[error("cgroup: {0}")]
    Cgroup(#[source] shipway_sys::Error),
    /// Any other step.
    #[error("{step}: {text}")]
    Step {
        /// Which, in a word or two.
        step: &'static str,
        /// errno, 0 when the kernel was not asked.
        errno: i32,
        /// Call and words.
        text: String,
    },
    /// The profile is no seccomp profile, or cannot be compiled.
    #[error("seccomp profile: {text}")]
    Profile {
        /// What about it.
        text: String,
    },
    /// Not yet, or not here.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
    /// The container does not run.
    #[error("container is not running")]
    NotRunning,
    /// The monitor has died.
    #[error("the container's monitor has died")]
    MonitorDied,
    /// The monitor said nothing for a minute.
    #[error("the container's monitor does not answer")]
    Timeout,
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
    /// The kernel refused something on the daemon's side.
    #[error(transparent)]
    Sys(#[from] shipway_sys::Error),
    /// The pool has been shut down.
    #[error("the runtime is shutting down")]
    ShuttingDown,
}

impl LaunchError {
    /// Tells a failure of the inner side for the program asked for.
    pub(crate) fn from_failure(failure: Failure, program: &str, cwd: &str) -> Self {
        use rustix::io::Errno;
        let Failure { step, errno, text } = failure;
        let program = program.to_owned();
        let missing = [Errno::NOENT.raw_os_error(), Errno::NOTDIR.raw_os_error(), Errno::LOOP.raw_os_error()].contains(&errno);
        match step {
            Step::Lookup | Step::Execute if missing => Self::NotFound { program, text },
            Step::Lookup | Step::Execute => Self::NotExecutable { program, text },
            // The folder is named already; the kernel's words alone follow.
            Step::WorkingDirectory => Self::Cwd { cwd: cwd.to_owned(), text: text.rsplit("): ").next().unwrap_or_default().to_owned() },
            Step::Mount | Step::File => Self::Mount { text },
            _ => Self::Step { step: step_name(step), errno, text },
        }
    }

    /// The exit code the CLI and the container record report: 127, 126 or 125... the latter is the caller's to choose, so `None` here.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::NotFound { .. } => Some(127),
            Self::NotExecutable { .. } => Some(126),
            _ => None,
        }
    }
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Clone => "clone process",
        Step::Join => "join namespace",
        Step::World => "build namespaces",
        Step::Root => "prepare root filesystem",
        Step::Mount => "mount",
        Step::File => "write file",
        Step::Device => "make device",
        Step::Pivot => "enter root filesystem",
        Step::Sysctl => "set kernel parameter",
        Step::Terminal => "set up standard streams",
        Step::Identity => "take identity",
        Step::WorkingDirectory => "enter working directory",
        Step::Seccomp => "load seccomp filter",
        Step::Lookup | Step::Execute => "execute",
        Step::Log => "open log or state folder",
        Step::Protocol => "talk to the monitor",
    }
}

impl Classified for LaunchError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::NotExecutable { .. } | Self::Cwd { .. } | Self::Mount { .. } | Self::Profile { .. } => {
                ErrorKind::Invalid
            }
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::NotRunning => ErrorKind::Conflict,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::ShuttingDown | Self::Timeout => ErrorKind::Unavailable,
            Self::Cgroup(error) | Self::Sys(error) if error.is_no_space() => ErrorKind::Exhausted,
            Self::Cgroup(_) | Self::Step { .. } | Self::MonitorDied | Self::Sys(_) => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { program, .. } if program.contains(' ') => {
                Some("the whole text was taken as one program name; give the program and its arguments separately".to_owned())
            }
            Self::NotFound { text, .. } if text == "no such file or directory" => {
                Some("the file exists but the interpreter named in its first line, or its dynamic loader, does not".to_owned())
            }
            Self::NotExecutable { text, .. } if text == "exec format error" => {
                Some("the file is for another architecture, or a script without a #! line".to_owned())
            }
            Self::NotExecutable { text, .. } if text == "permission denied" => {
                Some("set the executable bit, e.g. COPY --chmod=755".to_owned())
            }
            Self::Mount { text } if text.contains("not a directory") => {
                Some("a folder can only be mounted on a folder and a file only on a file".to_owned())
            }
            _ => None,
        }
    }
}

/// Why something about a running container does not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not run.
    #[error("container is not running")]
    NotRunning,
    /// The process or terminal meant has ended.
    #[error("no such process or terminal in this container")]
    NoSuchProcess,
    /// The monitor and we do not understand each other.
    #[error("the container's monitor: {text}")]
    Monitor {
        /// What it said.
        text: String,
    },
    /// The kernel refused.
    #[error(transparent)]
    Sys(#[from] shipway_sys::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotRunning => ErrorKind::Conflict,
            Self::NoSuchProcess => ErrorKind::NotFound,
            Self::Monitor { .. } => ErrorKind::Internal,
            Self::Sys(error) if error.is_no_space() => ErrorKind::Exhausted,
            Self::Sys(_) => ErrorKind::Internal,
        }
    }
}
