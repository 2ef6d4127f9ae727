//! Commands about builds and their cache.

pub(crate) mod history;
pub(crate) mod prune;
