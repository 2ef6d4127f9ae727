//! The wall clock, for the times written into records; nothing here waits or expires by it.

use std::time::SystemTime;

use shipway_model::Timestamp;

/// Now, as the system clock has it.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
