//! Between Docker's JSON and the engine's values, one file per subject. Pure functions: what comes in decides what goes out.

pub(crate) mod build;
pub(crate) mod classic;
pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod credentials;
pub(crate) mod event;
pub(crate) mod files;
pub(crate) mod host;
mod ignored;
pub(crate) mod image;
pub(crate) mod network;
pub(crate) mod solve;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod transfer;

use shipway_engine::Filters;
use shipway_model::Timestamp;
use shipway_wire::{ApiVersion, filters};

use crate::error::ApiError;
use crate::query::Query;

/// The `filters` argument of a list or prune.
pub(crate) fn filters_of(query: &Query) -> Result<Filters, ApiError> {
    filters::parse(query.text("filters")).map(Filters::new).map_err(|error| ApiError::invalid(format!("invalid filters: {}", error.reason)))
}

/// A moment given as Unix seconds (with a fraction), RFC 3339 or a duration before now; absent and `0` mean none.
pub(crate) fn moment(query: &Query, name: &str) -> Result<Option<Timestamp>, ApiError> {
    match query.text(name) {
        "" | "0" => Ok(None),
        text => Ok(Some(shipway_model::time::parse_since(text, shipway_engine::clock::now())?)),
    }
}

/// A size or count as Go's signed integer.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A value that only clients below a version get.
pub(crate) fn until<T>(version: ApiVersion, last_minor: u32, value: T) -> Option<T> {
    (!version.at_least(last_minor + 1)).then_some(value)
}
