//! The moments of `--since` and `--until`: "10m", "2026-11-21", "1763719200.5".

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::Timestamp;
use crate::duration::GoDuration;
use crate::kind::{Classified, ErrorKind};

/// A text that names no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse value as time or duration: \"{text}\"")]
pub struct SinceError {
    /// What was read.
    pub text: String,
}

impl Classified for SinceError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("write a duration (10m, 1h30m), a date (2026-11-21, 2026-11-21T10:00:00Z) or seconds since 1970 (1763719200)".to_owned())
    }
}

/// The moment `text` means at `now`; dates without a zone are UTC.
///
/// # Errors
/// When the text is neither a duration (counted back from `now`), nor a date, nor seconds since the epoch with an optional fraction.
pub fn parse_since(text: &str, now: Timestamp) -> Result<Timestamp, SinceError> {
    parse_since_in(text, now, &TimeZone::UTC)
}

/// As `parse_since`; dates without a zone are in `zone`. What a command line gives is meant in the user's zone.
///
/// # Errors
/// As `parse_since`.
pub fn parse_since_in(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, SinceError> {
    // Seconds come before durations because "0" is both.
    unix(text)
        .or_else(|| duration(text, now))
        .or_else(|| text.parse().ok())
        .or_else(|| date(text, zone))
        .ok_or_else(|| SinceError { text: text.chars().take(64).collect() })
}

fn unix(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || !numeric(digits) || !numeric(fraction) || (text.contains('.') && fraction.is_empty()) || fraction.len() > 9 {
        return None;
    }
    // Docker reads the fraction as nanoseconds after the whole second, whatever the sign.
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Some(Timestamp::from_unix(whole.parse().ok()?, nanoseconds))
}

fn duration(text: &str, now: Timestamp) -> Option<Timestamp> {
    let back = text.parse::<GoDuration>().ok()?;
    let length = std::time::Duration::from_nanos(back.0.unsigned_abs());
    Some(if back.0 < 0 { now + length } else { now - length })
}

/// "2026-11-21", "2026-11-21T10", "2026-11-21T10:00", "2026-11-21T10:00:00[.5]", and a date with a zone alone: "2026-11-21Z".
fn date(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    const DATE: usize = "2026-11-21".len();
    let (day, rest) = (text.get(..DATE)?, text.get(DATE..)?);
    let (clock, zone_text) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let clock = match clock.strip_prefix(['T', 't']) {
        Some(clock) => clock,
        None if clock.is_empty() => "00",
        None => return None,
    };
    let full = match clock.len() {
        2 => format!("{day}T{clock}:00:00"),
        5 => format!("{day}T{clock}:00"),
        _ => format!("{day}T{clock}"),
    };
    let utc: Timestamp = format!("{full}{}", if zone_text.is_empty() { "Z" } else { zone_text }).parse().ok()?;
    if !zone_text.is_empty() {
        return Some(utc);
    }
    // The clock on the wall at that place: read as UTC above only to check its form.
    let wall: DateTime = jiff::Timestamp::new(utc.unix_seconds(), 0).ok()?.to_zoned(TimeZone::UTC).datetime();
    let there = wall.to_zoned(zone.clone()).ok()?.timestamp().as_second();
    Some(Timestamp::from_unix(there, utc.subsecond_nanoseconds()))
}
