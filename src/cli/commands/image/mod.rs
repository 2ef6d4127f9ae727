//! Commands about images.

pub(crate) mod build;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod receive;
pub(crate) mod referrers;
pub(crate) mod remove;
pub(crate) mod save;
pub(crate) mod send;
pub(crate) mod tag;

use crate::cli::client::path_escape;

/// `/images/NAME` and what follows.
pub(crate) fn path(name: &str, rest: &str) -> String {
    format!("/images/{}{rest}", path_escape(name))
}
