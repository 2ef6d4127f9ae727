//! The one place of the registry's server that asks for the time.

use std::time::SystemTime;

/// The wall clock: ages of files, and the dates in tokens.
#[expect(clippy::disallowed_methods, reason = "this is the crate's clock module")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}
