//! Wall-clock instants as the monitor needs them: seconds and nanoseconds, and Docker's text form in logs.
//!
//! What must stay true: no allocation-heavy calendar library is pulled into the monitor's line loop.

use serde::{Deserialize, Serialize};

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
        let days = self.seconds.div_euclid(86_400);
        let second = self.seconds.rem_euclid(86_400);
        let (year, month, day) = civil(days);
        let mut text = format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        if self.nanoseconds != 0 {
            let fraction = format!(".{:09}", self.nanoseconds);
            text.push_str(fraction.trim_end_matches('0'));
        }
        text.push('Z');
        out.extend_from_slice(text.as_bytes());
    }
}

/// Days since 1970-01-01 to a date of the proleptic Gregorian calendar (eras of 400 years starting in March).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * month_index + 2) / 5 + 1)
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
