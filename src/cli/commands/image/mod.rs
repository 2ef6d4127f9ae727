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
use crate::cli::exit::{Failure, Outcome};
use serde_json::json;
use shipway_model::Platform;

/// `/images/NAME` and what follows.
pub(crate) fn path(name: &str, rest: &str) -> String {
    format!("/images/{}{rest}", path_escape(name))
}

/// A platform as it stands in a query: as a document. A pull's stands there as it was typed.
fn platform_document(typed: Option<&str>) -> Outcome<Option<String>> {
    let platform = typed.map(str::parse::<Platform>).transpose().map_err(|error| Failure::classified(&error))?;
    Ok(platform.map(|platform| {
        json!({"os": platform.os, "architecture": platform.architecture, "variant": platform.variant.unwrap_or_default()}).to_string()
    }))
}
