//! Commands about networks.

pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod doctor;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod remove;

use crate::cli::client::path_escape;

/// `/networks/NAME` and what follows.
fn path(name: &str, rest: &str) -> String {
    format!("/networks/{}{rest}", path_escape(name))
}
