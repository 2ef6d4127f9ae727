//! Commands about volumes.

pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod portable;
pub(crate) mod remove;

use crate::cli::client::path_escape;

/// `/volumes/NAME`.
fn path(name: &str) -> String {
    format!("/volumes/{}", path_escape(name))
}
