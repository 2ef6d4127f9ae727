//! The one place that asks for the time and for randomness, so that tests and clippy can see who does.

use shipway_model::Timestamp;

/// The wall clock. Only for showing to people and storing in records; waiting uses `tokio::time::Instant`.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}

/// Thirty-two random bytes from the kernel, for a new id.
pub fn random() -> [u8; 32] {
    let mut bytes = [0_u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            // getrandom(2) without flags cannot fail otherwise on a booted kernel.
            Err(errno) => tracing::error!(%errno, "getrandom failed; trying again"),
        }
    }
    bytes
}
