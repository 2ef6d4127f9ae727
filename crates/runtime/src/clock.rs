//! Wall-clock instants as monitors write them down: seconds and nanoseconds as numbers in messages and files, Docker's text form in logs.
//!
//! What must stay true: the calendar is `model::Timestamp`'s, the numbers are ours, because monitors outlive the daemon and its types.

use serde::{Deserialize, Serialize};
use shipway_model::Timestamp;

/// Nanoseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Instant {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl Instant {
    pub(crate) fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self { seconds: now.tv_sec, nanoseconds: now.tv_nsec as u32 }
    }

    /// `2026-11-21T10:00:00.1234Z`, trailing zeros cut as Go's RFC3339Nano does.
    pub(crate) fn write_rfc3339(self, out: &mut Vec<u8>) {
        out.extend_from_slice(Timestamp::from_unix(self.seconds, self.nanoseconds).to_rfc3339_nano().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::Instant;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 120_000_000, "2000-02-29T00:00:00.12Z"),
            (1_795_255_200, 1, "2026-11-21T10:00:00.000000001Z"),
            (-1, 0, "1969-12-31T23:59:59Z"),
        ] {
            let mut out = Vec::new();
            Instant { seconds, nanoseconds }.write_rfc3339(&mut out);
            assert_eq!(String::from_utf8(out).expect("ascii"), text);
        }
    }
}
