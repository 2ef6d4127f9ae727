//! `stats`: what a container has used, read from the kernel on request.
//!
//! Nothing is sampled while nobody asks. A reader that wants a rate takes two readings and keeps the first.

use std::sync::Arc;

use shipway_model::{ContainerId, ContainerName, Timestamp};
use shipway_runtime::RawStats;

use super::Container;
use crate::{Engine, Result, blocking, clock};

/// Times in /proc/stat are counted in these, on every architecture (proc_stat(5), USER_HZ).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// One reading of a container's counters.
#[derive(Debug, Clone)]
pub struct StatsReading {
    pub id: ContainerId,
    pub name: ContainerName,
    /// What the counters said, and when; `None` when it does not run.
    pub counted: Option<Counted>,
}

/// Counters of a running container and of the machine at one moment.
#[derive(Debug, Clone)]
pub struct Counted {
    pub at: Timestamp,
    pub container: RawStats,
    /// Nanoseconds that all processors of the machine have spent, idle time included.
    pub machine_cpu: u64,
    /// Processors that are on.
    pub processors: u32,
    /// Bytes of memory of the machine: what a container without a limit may use.
    pub machine_memory: u64,
}

/// A container whose counters can be read again and again.
pub struct StatsReader {
    engine: Engine,
    container: Arc<Container>,
}

impl Engine {
    /// A reader of the counters of the container `name`.
    pub fn stats_of(&self, name: &str) -> Result<StatsReader> {
        Ok(StatsReader { engine: self.clone(), container: self.container(name)? })
    }
}

impl StatsReader {
    /// Reads the counters; `None` when the container was removed.
    pub async fn read(&self) -> Result<Option<StatsReading>> {
        if self.container.milestones.borrow().removed {
            return Ok(None);
        }
        let record = self.container.record();
        let counted = match self.container.handle() {
            Some(handle) => Some(blocking::files(move || Ok(count(&handle))).await?),
            None => None,
        };
        Ok(Some(StatsReading { id: record.id, name: record.name, counted }))
    }

    /// The engine it reads from.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

fn count(handle: &shipway_runtime::Handle) -> Counted {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let (machine_cpu, processors) = machine(&text);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Counted { at: clock::now(), container: handle.stats(), machine_cpu, processors, machine_memory: total_memory(&memory) }
}

/// Nanoseconds spent and number of processors, from the text of /proc/stat: the first seven columns, as dockerd adds them up.
fn machine(text: &str) -> (u64, u32) {
    let (mut spent, mut processors) = (0, 0);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("cpu") => spent = words.take(7).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>() * NANOSECONDS_PER_TICK,
            Some(word) if word.starts_with("cpu") => processors += 1,
            _ => break,
        }
    }
    (spent, processors)
}

/// Bytes of memory, from the text of /proc/meminfo.
fn total_memory(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_machine_is_read_as_dockerd_reads_it() {
        let text = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5\ncpu9 1\n";
        assert_eq!(super::machine(text), (280_000_000, 2));
        assert_eq!(super::machine(""), (0, 0));
        assert_eq!(super::total_memory("MemFree: 3 kB\nMemTotal:       24684092 kB\n"), 25_276_510_208);
    }
}
