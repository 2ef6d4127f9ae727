//! The default posture as data, and seccomp profiles compiled to filters.
//!
//! What must stay true: the default denies with EPERM what it does not name; a filter is compiled once per (profile, capabilities) and then only
//! passed on as a handle.

mod compile;
mod default_rules;
mod json;
mod syscalls;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use shipway_sys::fd::memfd_sealed;
use shipway_sys::seccomp;

use crate::error::LaunchError;
use crate::spec::SeccompChoice;

pub use compile::{Action, ArgumentTest, Comparison, Profile, Rule, compile};
pub use default_rules::default_profile;
pub use json::parse_profile;

/// Paths hidden in every container (security.md section 6).
pub fn default_masked_paths() -> Vec<String> {
    let fixed = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ];
    fixed.iter().map(|path| (*path).to_owned()).chain(thermal_throttle_paths().iter().cloned()).collect()
}

/// One folder per processor, asked once.
fn thermal_throttle_paths() -> &'static [String] {
    static PATHS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    PATHS.get_or_init(|| {
        let candidates = 0..std::thread::available_parallelism().map_or(1, usize::from);
        let names = candidates.map(|number| format!("/sys/devices/system/cpu/cpu{number}/thermal_throttle"));
        names.filter(|path| std::path::Path::new(path).exists()).collect()
    })
}

/// Paths that are read-only in every container.
pub fn default_readonly_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"].iter().map(|path| (*path).to_owned()).collect()
}

/// Compiled filters, by what they were compiled from.
#[derive(Default)]
pub(crate) struct Filters {
    known: Mutex<HashMap<FilterKey, OwnedFd>>,
}

/// A profile's text (`None` for the default one) and the capabilities it was compiled for.
type FilterKey = (Option<Arc<[u8]>>, u64);

/// More profiles than this at once means somebody feeds us different ones in a loop.
const MOST_FILTERS: usize = 64;

impl Filters {
    /// A handle of the filter for this choice and these capabilities; `None` for no filter.
    pub(crate) fn handle(&self, choice: &SeccompChoice, capabilities: u64) -> Result<Option<OwnedFd>, LaunchError> {
        let key = match choice {
            SeccompChoice::Unconfined => return Ok(None),
            SeccompChoice::Default => (None, capabilities),
            SeccompChoice::Profile(text) => (Some(Arc::clone(text)), capabilities),
        };
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !known.contains_key(&key) {
            let profile = match &key.0 {
                None => default_profile(capabilities),
                Some(text) => parse_profile(text, capabilities)?,
            };
            let program = compile(&profile).map_err(|error| LaunchError::Profile { text: error.to_string() })?;
            if known.len() >= MOST_FILTERS {
                known.clear();
            }
            known.insert(key.clone(), memfd_sealed("seccomp", &seccomp::to_bytes(&program))?);
        }
        let filter = known.get(&key).map(|filter| rustix::io::fcntl_dupfd_cloexec(filter, 3));
        filter.transpose().map_err(|errno| shipway_sys::Error::new("dup(filter)", errno).into())
    }
}

#[cfg(test)]
mod tests;
