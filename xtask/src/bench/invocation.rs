//! One command of an engine: how it is written down, run, timed and explained when it fails.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A command that takes longer hangs; the slowest honest one (a cold build on a slow disk) takes a few minutes.
const LIMIT: Duration = Duration::from_secs(900);
/// So much of a failed command's output is shown.
const SHOWN: usize = 600;

const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments and its whole environment but for the search path.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Invocation {
    pub(super) fn new(program: impl AsRef<Path>) -> Self {
        Self { program: program.as_ref().to_owned(), arguments: Vec::new(), environment: Vec::new() }
    }

    pub(super) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(super) fn path(self, path: &Path) -> Self {
        self.arg(path.display().to_string())
    }

    pub(super) fn args<S: AsRef<str>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.environment.push((name.to_owned(), value.as_ref().display().to_string()));
        self
    }

    /// A line of shell that has this command, with its arguments, as `"$@"`.
    pub(super) fn in_shell(&self, script: &str) -> Self {
        let own = std::iter::once(self.program.display().to_string()).chain(self.arguments.iter().cloned());
        let words = ["-c".to_owned(), script.to_owned(), "sh".to_owned()].into_iter().chain(own);
        Self { program: "/bin/sh".into(), arguments: words.collect(), environment: self.environment.clone() }
    }

    /// This command as the last words of another, which becomes it.
    pub(super) fn after<S: AsRef<str>>(&self, program: &str, arguments: &[S]) -> Self {
        let before = arguments.iter().map(|argument| argument.as_ref().to_owned()).chain(std::iter::once("--".to_owned()));
        let own = std::iter::once(self.program.display().to_string()).chain(self.arguments.iter().cloned());
        Self { program: program.into(), arguments: before.chain(own).collect(), environment: self.environment.clone() }
    }

    /// The command as the standard library knows it, with an empty standard input.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().env("PATH", SEARCH_PATH).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the command and tells its wall time; the output goes to a file in memory, as fast as nowhere but readable.
    pub(super) fn timed(&self, log: &Path) -> Result<Duration, String> {
        self.run(log).map(|(took, _)| took)
    }

    /// Runs the command and returns what it printed, both streams together, without the last newline.
    pub(super) fn output(&self, log: &Path) -> Result<String, String> {
        self.run(log).map(|(_, text)| text.trim_end().to_owned())
    }

    fn run(&self, log: &Path) -> Result<(Duration, String), String> {
        let failed = |error: std::io::Error| format!("cannot run {}: {error}", self.program.display());
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(log).map_err(failed)?;
        let mut command = self.command();
        command.stdout(file.try_clone().map_err(failed)?).stderr(file.try_clone().map_err(failed)?);
        let watchdog = Watchdog::start().map_err(failed)?;
        let begun = Instant::now();
        let mut process = command.spawn().map_err(failed)?;
        watchdog.watch(process.id());
        let status = process.wait().map_err(failed)?;
        let took = begun.elapsed();
        drop(watchdog);
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(failed)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if !status.success() {
            return Err(format!("{self}: {status}: {}", tail(&text)));
        }
        Ok((took, text))
    }
}

impl std::fmt::Display for Invocation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.program.display(), self.arguments.join(" "))
    }
}

/// The end of a text, in one line.
fn tail(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let skipped = line.chars().count().saturating_sub(SHOWN);
    line.chars().skip(skipped).collect()
}

/// A thread that kills a command which hangs; ready before the clock starts.
struct Watchdog {
    /// Sending tells the process; dropping means it has ended.
    ids: mpsc::Sender<u32>,
}

impl Watchdog {
    fn start() -> std::io::Result<Self> {
        let (ids, receiver) = mpsc::channel::<u32>();
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            let Ok(id) = receiver.recv() else { return };
            if receiver.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                // Killing fails only when the command ended this very moment.
                let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).status();
            }
        })?;
        Ok(Self { ids })
    }

    fn watch(&self, id: u32) {
        // The thread waits for exactly this message.
        let _ = self.ids.send(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("xtask-invocation-{}-{name}", std::process::id()))
    }

    #[test]
    fn only_the_given_environment_is_there() {
        let log = log("environment");
        let printed = Invocation::new("/usr/bin/env").env("HOME", "/nowhere").output(&log);
        std::fs::remove_file(&log).unwrap();
        let mut lines: Vec<String> = printed.unwrap().lines().map(ToOwned::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["HOME=/nowhere".to_owned(), format!("PATH={SEARCH_PATH}")]);
    }

    #[test]
    fn a_failure_shows_command_and_output() {
        let log = log("failure");
        let failure = Invocation::new("/bin/sh").args(["-c", "echo no; exit 3"]).timed(&log);
        std::fs::remove_file(&log).unwrap();
        assert_eq!(failure.unwrap_err(), "/bin/sh -c echo no; exit 3: exit status: 3: no");
    }
}
