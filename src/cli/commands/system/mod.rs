//! Commands about the engine as a whole.

pub(crate) mod df;
pub(crate) mod events;
pub(crate) mod fsck;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod prune;
pub(crate) mod version;

/// What this binary was built from; release builds set it.
pub(crate) const BUILD: &str = match option_env!("SHIPWAY_COMMIT") {
    Some(commit) => commit,
    None => "dev",
};
