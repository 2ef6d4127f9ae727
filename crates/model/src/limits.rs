//! What a container may use: the limits of its cgroup and of its processes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kind::{Classified, ErrorKind};
use crate::suggest;

/// Limits of a cgroup; `None` means the kernel's default. Names and units are Docker's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 for swap without limit.
    pub memory_swap: Option<i64>,
    /// Bytes kept from reclaim while others have more.
    pub memory_reservation: Option<u64>,
    /// How eagerly anonymous pages are swapped, 0 to 100 (cgroup version 1).
    pub memory_swappiness: Option<u8>,
    /// Processors in billionths: 1,500,000,000 is one and a half.
    pub nano_cpus: Option<u64>,
    /// Weight among siblings, 1024 being normal.
    pub cpu_shares: Option<u64>,
    /// Length of a CPU period in microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds of CPU time per period; -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// Which processors, e.g. "0-2,4".
    pub cpuset_cpus: Option<String>,
    /// Which memory nodes, e.g. "0".
    pub cpuset_mems: Option<String>,
    /// How many threads; -1 for no limit.
    pub pids: Option<i64>,
    /// Weight of block input and output, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Length of a period of real-time processes in microseconds (cgroup version 1).
    pub cpu_realtime_period: Option<u64>,
    /// Microseconds of a period that real-time processes may run (cgroup version 1).
    pub cpu_realtime_runtime: Option<i64>,
    /// Leave the processes hanging instead of killing one when memory runs out (cgroup version 1).
    pub oom_kill_disable: Option<bool>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A limit of a process, as setrlimit(2) sets it; -1 means none. In text "nofile=1024:2048".
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ulimit {
    /// One of the names of `Ulimit::NAMES`.
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// Why a text is no ulimit. The words are those clients match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UlimitError {
    #[error("invalid ulimit argument: {text}")]
    Argument { text: String },
    #[error("invalid ulimit type: {name}")]
    Name { name: String },
    #[error("too many limit values - {values}, can only have two, `soft[:hard]`")]
    TooMany { values: String },
    #[error("invalid ulimit value \"{value}\"")]
    Value { value: String },
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    Order { soft: i64, hard: i64 },
}

impl Classified for UlimitError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Name { name } => suggest::nearest(name, Ulimit::NAMES, 2).map(|known| format!("did you mean \"{known}\"?")),
            Self::Order { .. } => None,
            _ => Some("a ulimit is given as name=soft[:hard], e.g. nofile=1024:2048; -1 means unlimited".to_owned()),
        }
    }
}

impl Ulimit {
    /// Every name there is, in the order of their numbers in the kernel: `NAMES[n]` is resource n of setrlimit(2) on x86-64 and arm64.
    pub const NAMES: [&'static str; 16] = [
        "cpu",
        "fsize",
        "data",
        "stack",
        "core",
        "rss",
        "nproc",
        "nofile",
        "memlock",
        "as",
        "locks",
        "sigpending",
        "msgqueue",
        "nice",
        "rtprio",
        "rttime",
    ];

    /// A checked limit.
    ///
    /// # Errors
    /// When the name is unknown, a number is below -1, or soft is above hard.
    pub fn new(name: &str, soft: i64, hard: i64) -> Result<Self, UlimitError> {
        if !Self::NAMES.contains(&name) {
            return Err(UlimitError::Name { name: name.to_owned() });
        }
        if let Some(value) = [soft, hard].into_iter().find(|value| *value < -1) {
            return Err(UlimitError::Value { value: value.to_string() });
        }
        // As the kernel sees it -1 is the largest number.
        if (soft as u64) > (hard as u64) {
            return Err(UlimitError::Order { soft, hard });
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }

    /// The number of the resource in the kernel; `None` when the name was never checked.
    pub fn resource(&self) -> Option<u32> {
        Self::NAMES.iter().position(|name| *name == self.name).map(|position| position as u32)
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}:{}", self.name, self.soft, self.hard)
    }
}

impl FromStr for Ulimit {
    type Err = UlimitError;

    /// "nofile=1024:2048"; one number is both.
    fn from_str(text: &str) -> Result<Self, UlimitError> {
        let (name, values) = text.split_once('=').ok_or_else(|| UlimitError::Argument { text: text.to_owned() })?;
        if !Self::NAMES.contains(&name) {
            return Err(UlimitError::Name { name: name.to_owned() });
        }
        let number = |value: &str| match value {
            "unlimited" | "infinity" => Ok(-1),
            _ => value.parse::<i64>().map_err(|_| UlimitError::Value { value: value.to_owned() }),
        };
        let (soft, hard) = match values.split_once(':') {
            Some((_, hard)) if hard.contains(':') => return Err(UlimitError::TooMany { values: values.to_owned() }),
            Some((soft, hard)) => (number(soft)?, number(hard)?),
            None => (number(values)?, number(values)?),
        };
        Self::new(name, soft, hard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits() {
        let limit = |name: &str, soft, hard| Ok(Ulimit { name: name.to_owned(), soft, hard });
        for (text, expected) in [
            ("nofile=1024:2048", limit("nofile", 1024, 2048)),
            ("core=0", limit("core", 0, 0)),
            ("memlock=-1:-1", limit("memlock", -1, -1)),
            ("nproc=5:unlimited", limit("nproc", 5, -1)),
            ("nofile", Err(UlimitError::Argument { text: "nofile".to_owned() })),
            ("nofiel=1", Err(UlimitError::Name { name: "nofiel".to_owned() })),
            ("nofile=1:2:3", Err(UlimitError::TooMany { values: "1:2:3".to_owned() })),
            ("nofile=x", Err(UlimitError::Value { value: "x".to_owned() })),
            ("nofile=-2", Err(UlimitError::Value { value: "-2".to_owned() })),
            ("nofile=3:2", Err(UlimitError::Order { soft: 3, hard: 2 })),
            ("nofile=-1:2", Err(UlimitError::Order { soft: -1, hard: 2 })),
        ] {
            assert_eq!(text.parse::<Ulimit>(), expected, "{text}");
        }
        assert_eq!("nofiel=1".parse::<Ulimit>().unwrap_err().hint().as_deref(), Some("did you mean \"nofile\"?"));
        assert_eq!("nofile=1".parse::<Ulimit>().unwrap().resource(), Some(7), "RLIMIT_NOFILE of asm-generic/resource.h");
    }

    #[test]
    fn limits_read_what_older_records_lack() {
        let limits: Limits = serde_json::from_str(r#"{"memory":1048576}"#).unwrap();
        assert_eq!(limits, Limits { memory: Some(1 << 20), ..Limits::default() });
        assert!(!limits.is_empty() && Limits::default().is_empty());
    }
}
