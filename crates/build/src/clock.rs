//! The one place of this crate that asks what time it is, and for randomness.

use shipway_model::Timestamp;

/// The time of day, now.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}

/// Random bytes for an id that only people look at.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    // Without flags getrandom(2) cannot fail on a booted kernel; up to 256 bytes come at once.
    if let Err(errno) = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        tracing::error!(%errno, "getrandom failed; an id is not random");
    }
    bytes
}
