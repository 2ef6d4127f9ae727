//! What the bench is told on its command line.

use std::path::{Path, PathBuf};

/// Marks the second start, inside a mount namespace of our own, and names the one outside.
pub(super) const OUTER: &str = "--outer-namespace";

pub(super) const USAGE: &str = "usage: cargo xtask bench [options]        (needs root; installs nothing)
  --shipway PATH      our binary (target/<host>/release/shipway)
  --docker PATH       client of Docker (/usr/bin/docker)
  --dockerd PATH      daemon of Docker (/usr/sbin/dockerd)
  --cases A,B         only cases whose names begin with one of these
  --engines A,B       only engines whose names begin with one of these
  --rounds N          repetitions of a case (10)
  --heavy-rounds N    repetitions of a heavy case (3)
  --quick             two rounds, one of the heavy cases
  --disk FOLDER       where the image files of the file systems lie (/var/tmp; /dev/shm measures without a disk)
  --size GIB          size of each file system, sparse (16)
  --nice N            priority of everything timed, daemons included (0)
  --busybox PATH      a static busybox for the base image (/bin/busybox)
  --output FOLDER     where results.md and results.json go (target/bench)";

/// Settings of one run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) shipway: PathBuf,
    pub(super) docker: PathBuf,
    pub(super) dockerd: PathBuf,
    /// Beginnings of names; none means all.
    pub(super) cases: Vec<String>,
    pub(super) engines: Vec<String>,
    pub(super) rounds: usize,
    pub(super) heavy_rounds: usize,
    pub(super) disk: PathBuf,
    pub(super) size_gib: u64,
    pub(super) nice: i32,
    pub(super) busybox: PathBuf,
    pub(super) output: PathBuf,
    /// Set when we are inside a mount namespace of our own already.
    pub(super) outer_namespace: Option<String>,
}

impl Options {
    /// Reads the words; `None` when help was asked for.
    pub(super) fn parse(root: &Path, words: &[String]) -> Result<Option<Self>, String> {
        let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut options = Self {
            shipway: root.join("target").join(host).join("release/shipway"),
            docker: "/usr/bin/docker".into(),
            dockerd: "/usr/sbin/dockerd".into(),
            cases: Vec::new(),
            engines: Vec::new(),
            rounds: 10,
            heavy_rounds: 3,
            disk: "/var/tmp".into(),
            size_gib: 16,
            nice: 0,
            busybox: "/bin/busybox".into(),
            output: root.join("target/bench"),
            outer_namespace: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().map(String::as_str).ok_or_else(|| format!("{word} wants a value"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                OUTER => options.outer_namespace = Some(value()?.to_owned()),
                "--quick" => (options.rounds, options.heavy_rounds) = (2, 1),
                "--shipway" => options.shipway = absolute(value()?)?,
                "--docker" => options.docker = absolute(value()?)?,
                "--dockerd" => options.dockerd = absolute(value()?)?,
                "--disk" => options.disk = absolute(value()?)?,
                "--busybox" => options.busybox = absolute(value()?)?,
                "--output" => options.output = absolute(value()?)?,
                "--cases" => options.cases = list(value()?),
                "--engines" => options.engines = list(value()?),
                "--rounds" => options.rounds = number(word, value()?)?,
                "--heavy-rounds" => options.heavy_rounds = number(word, value()?)?,
                "--size" => options.size_gib = number(word, value()?)?,
                "--nice" => options.nice = number(word, value()?)?,
                _ => return Err(format!("unknown option \"{word}\"\n{USAGE}")),
            }
        }
        if options.rounds == 0 || options.heavy_rounds == 0 {
            return Err("a case needs at least one round".to_owned());
        }
        Ok(Some(options))
    }

    /// Everything outside the stage that the bench reads or writes.
    pub(super) fn paths(&self) -> [&Path; 6] {
        [&self.shipway, &self.docker, &self.dockerd, &self.disk, &self.busybox, &self.output]
    }
}

/// True when nothing was chosen, or `name` begins with one of the chosen words; spaces and case are nobody's trap.
pub(super) fn is_chosen(chosen: &[String], name: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace([' ', '-'], "");
    chosen.is_empty() || chosen.iter().any(|beginning| plain(name).starts_with(&plain(beginning)))
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("\"{path}\": {error}"))
}

fn list(words: &str) -> Vec<String> {
    words.split(',').filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect()
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{option} wants a number, not \"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Option<Options>, String> {
        let words: Vec<String> = words.split_whitespace().map(ToOwned::to_owned).collect();
        Options::parse(Path::new("/checkout"), &words)
    }

    #[test]
    fn later_words_win_over_quick() {
        let options = parse("--quick --rounds 7 --cases run,exec --nice -20").unwrap().unwrap();
        assert_eq!((options.rounds, options.heavy_rounds, options.nice), (7, 1, -20));
        assert_eq!(options.cases, ["run", "exec"]);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse("--rounds many").unwrap_err(), "--rounds wants a number, not \"many\"");
        assert_eq!(parse("--rounds").unwrap_err(), "--rounds wants a value");
        assert_eq!(parse("--rounds 0").unwrap_err(), "a case needs at least one round");
        assert!(parse("--fast").unwrap_err().starts_with("unknown option \"--fast\"\nusage:"));
    }

    #[test]
    fn names_are_chosen_by_their_beginning() {
        assert!(is_chosen(&[], "anything"));
        assert!(is_chosen(&["docker-build".to_owned()], "Docker BuildKit"));
        assert!(!is_chosen(&["podman".to_owned()], "Docker BuildKit"));
    }
}
