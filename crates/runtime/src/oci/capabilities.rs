//! The five capability sets of a process.
//!
//! What must stay true: what the host cannot give is left out with a warning and never an error, as the spec asks.

use shipway_model::Capability;
use shipway_sys::probe::Probe;

use super::config::Capabilities;

/// The sets as masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sets {
    pub(super) bounding: u64,
    pub(super) effective: u64,
    pub(super) permitted: u64,
    pub(super) inheritable: u64,
    pub(super) ambient: u64,
}

impl Sets {
    /// Reads the lists; none at all means no capabilities. Returns also what was left out.
    pub(super) fn of(wanted: Option<&Capabilities>) -> (Self, Vec<String>) {
        Self::within(wanted, Probe::get().capabilities.permitted)
    }

    fn within(wanted: Option<&Capabilities>, ours: u64) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let Some(wanted) = wanted else { return (Self::default(), warnings) };
        let mut mask = |names: &[String]| {
            let mut set = 0;
            for name in names {
                match name.parse::<Capability>() {
                    Ok(capability) if ours >> capability.number() & 1 == 1 => set |= 1 << capability.number(),
                    Ok(_) => warnings.push(format!("capability \"{name}\" is not ours to give")),
                    Err(_) => warnings.push(format!("there is no capability \"{name}\"")),
                }
            }
            set
        };
        let bounding = mask(&wanted.bounding);
        let permitted = mask(&wanted.permitted);
        // The kernel refuses an effective capability that is not permitted, and an ambient one that is not both permitted and inheritable.
        let effective = mask(&wanted.effective) & permitted;
        let inheritable = mask(&wanted.inheritable);
        let ambient = mask(&wanted.ambient) & permitted & inheritable;
        warnings.sort();
        warnings.dedup();
        (Self { bounding, effective, permitted, inheritable, ambient }, warnings)
    }

    /// One more, everywhere but in the ambient and inheritable sets (`exec --cap`).
    pub(super) fn add(&mut self, capability: Capability) {
        let bit = 1 << capability.number() & Probe::get().capabilities.permitted;
        self.bounding |= bit;
        self.effective |= bit;
        self.permitted |= bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_would_refuse_is_left_out() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let wanted = Capabilities {
            bounding: names(&["CAP_CHOWN", "CAP_KILL", "CAP_NOSUCH"]),
            effective: names(&["CAP_CHOWN", "CAP_KILL"]),
            permitted: names(&["CAP_CHOWN"]),
            inheritable: names(&["CAP_CHOWN"]),
            ambient: names(&["CAP_CHOWN", "CAP_KILL"]),
        };
        let (sets, warnings) = Sets::within(Some(&wanted), 0b10_0001);
        assert_eq!(sets, Sets { bounding: 0b10_0001, effective: 1, permitted: 1, inheritable: 1, ambient: 1 });
        assert_eq!(warnings, ["there is no capability \"CAP_NOSUCH\""]);
        let (sets, warnings) = Sets::within(Some(&wanted), 0);
        assert_eq!(sets, Sets::default());
        assert_eq!(warnings.len(), 3);
        assert_eq!(Sets::within(None, u64::MAX).0, Sets::default());
    }
}
