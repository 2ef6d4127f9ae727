//! `POST /build`: its query arguments, the answers of cache pruning, and the form of booleans in all of Docker's queries.
//!
//! Source: Engine API 1.51, operation `ImageBuild`; the arguments clients send are listed in moby's classic builder route. Unknown ones are ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::containers::UlimitSpec;
use crate::lenient;

/// Docker's reading of a boolean argument: anything but these words is true.
pub fn is_true(text: &str) -> bool {
    !matches!(text.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

/// The query arguments of `POST /build`, read but not interpreted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildQuery {
    pub dockerfile: String,
    pub tags: Vec<String>,
    pub remote: String,
    pub quiet: bool,
    pub no_cache: bool,
    pub pull: bool,
    pub remove: bool,
    pub force_remove: bool,
    pub memory: i64,
    pub memory_swap: i64,
    pub cpu_shares: i64,
    pub cpu_period: i64,
    pub cpu_quota: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub cgroup_parent: String,
    pub network_mode: String,
    pub shm_size: i64,
    /// A null value declares the argument without giving it one.
    pub build_args: BTreeMap<String, Option<String>>,
    pub labels: BTreeMap<String, String>,
    pub cache_from: Vec<String>,
    pub ulimits: Vec<UlimitSpec>,
    pub extra_hosts: Vec<String>,
    pub target: String,
    pub platform: String,
    pub squash: bool,
    pub security_options: Vec<String>,
    pub isolation: String,
    pub outputs: Vec<BTreeMap<String, serde_json::Value>>,
    pub session: String,
    pub build_id: String,
    /// `1` or empty: classic; `2`: BuildKit over a session.
    pub version: String,
    /// Ours: stages whose steps are run again though their results are known.
    pub no_cache_filter: Vec<String>,
}

/// An argument whose value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadArgument {
    /// The argument's name.
    pub name: String,
    /// What is wrong with its value.
    pub reason: String,
}

impl BuildQuery {
    /// Reads decoded `(name, value)` pairs in the order they came.
    ///
    /// # Errors
    /// The first argument whose value is not of its form.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, BadArgument> {
        let mut query = Self { remove: true, ..Self::default() };
        for (name, value) in pairs {
            query.take(name, value)?;
        }
        Ok(query)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), BadArgument> {
        match name {
            "dockerfile" => self.dockerfile = value.to_owned(),
            "t" if !value.is_empty() => self.tags.push(value.to_owned()),
            "remote" => self.remote = value.to_owned(),
            "q" => self.quiet = is_true(value),
            "nocache" => self.no_cache = is_true(value),
            "pull" => self.pull = is_true(value),
            "rm" => self.remove = is_true(value),
            "forcerm" => self.force_remove = is_true(value),
            "memory" => self.memory = number(name, value)?,
            "memswap" => self.memory_swap = number(name, value)?,
            "cpushares" => self.cpu_shares = number(name, value)?,
            "cpuperiod" => self.cpu_period = number(name, value)?,
            "cpuquota" => self.cpu_quota = number(name, value)?,
            "cpusetcpus" => self.cpuset_cpus = value.to_owned(),
            "cpusetmems" => self.cpuset_mems = value.to_owned(),
            "cgroupparent" => self.cgroup_parent = value.to_owned(),
            "networkmode" => self.network_mode = value.to_owned(),
            "shmsize" => self.shm_size = number(name, value)?,
            "buildargs" => self.build_args = json(name, value)?,
            "labels" => self.labels = json(name, value)?,
            "cachefrom" => self.cache_from = json(name, value)?,
            "ulimits" => self.ulimits = json(name, value)?,
            "extrahosts" if !value.is_empty() => self.extra_hosts.push(value.to_owned()),
            "target" => self.target = value.to_owned(),
            "platform" => self.platform = value.to_owned(),
            "squash" => self.squash = is_true(value),
            // Clients repeat the argument; the documents speak of a list.
            "securityopt" if value.starts_with('[') => self.security_options.extend(json::<Vec<String>>(name, value)?),
            "securityopt" if !value.is_empty() => self.security_options.push(value.to_owned()),
            "isolation" => self.isolation = value.to_owned(),
            "outputs" => self.outputs = json(name, value)?,
            "session" => self.session = value.to_owned(),
            "buildid" => self.build_id = value.to_owned(),
            "version" => self.version = value.to_owned(),
            "nocachefilter" if !value.is_empty() => self.no_cache_filter.push(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

fn number(name: &str, value: &str) -> Result<i64, BadArgument> {
    if value.is_empty() {
        return Ok(0);
    }
    value.parse().map_err(|_| BadArgument { name: name.to_owned(), reason: format!("{value:?} is not a whole number") })
}

fn json<T: serde::de::DeserializeOwned + Default>(name: &str, value: &str) -> Result<T, BadArgument> {
    if value.is_empty() || value == "null" {
        return Ok(T::default());
    }
    lenient::from_slice(value.as_bytes()).map_err(|error| BadArgument { name: name.to_owned(), reason: error.to_string() })
}

/// Answer to `POST /build/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CachePruned {
    pub caches_deleted: Option<Vec<String>>,
    pub space_reclaimed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_read_as_docker_reads_them() {
        for text in ["", "0", "no", "False", "none", " 0 "] {
            assert!(!is_true(text), "{text:?}");
        }
        for text in ["1", "true", "True", "yes", "x"] {
            assert!(is_true(text), "{text:?}");
        }
    }

    #[test]
    fn the_arguments_of_the_docker_client_are_read() {
        let query = BuildQuery::from_pairs([
            ("t", "a:1"),
            ("t", "b"),
            ("buildargs", r#"{"A":"1","HTTP_PROXY":null}"#),
            ("labels", r#"{"l":""}"#),
            ("cachefrom", "null"),
            ("ulimits", r#"[{"Name":"nofile","Soft":1024,"Hard":2048}]"#),
            ("rm", "1"),
            ("memory", "0"),
            ("shmsize", "64"),
            ("extrahosts", "h:1.2.3.4"),
            ("unheardof", "x"),
            ("version", "1"),
        ])
        .unwrap();
        assert_eq!(
            query,
            BuildQuery {
                tags: vec!["a:1".to_owned(), "b".to_owned()],
                build_args: BTreeMap::from([("A".to_owned(), Some("1".to_owned())), ("HTTP_PROXY".to_owned(), None)]),
                labels: BTreeMap::from([("l".to_owned(), String::new())]),
                ulimits: vec![UlimitSpec { name: "nofile".to_owned(), hard: 2048, soft: 1024 }],
                remove: true,
                shm_size: 64,
                extra_hosts: vec!["h:1.2.3.4".to_owned()],
                version: "1".to_owned(),
                ..BuildQuery::default()
            }
        );
    }

    #[test]
    fn intermediate_containers_are_removed_unless_told_otherwise() {
        assert!(BuildQuery::from_pairs([]).unwrap().remove);
        assert!(!BuildQuery::from_pairs([("rm", "0")]).unwrap().remove);
    }

    #[test]
    fn a_value_of_the_wrong_form_names_its_argument() {
        for (name, value) in [("buildargs", "{"), ("buildargs", "[]"), ("memory", "64m"), ("cachefrom", "a"), ("ulimits", "{}")] {
            assert_eq!(BuildQuery::from_pairs([(name, value)]).unwrap_err().name, name);
        }
    }
}
