//! Lengths of time as Go writes them ("1h30m0s") and as Docker's lists say them ("About a minute").

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::kind::{Classified, ErrorKind};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// A Go `time.Duration`: signed nanoseconds. In JSON a number, in texts "1h30m0s".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoDuration(pub i64);

/// Why a text is no duration. The words are Go's, clients match them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("time: invalid duration {text:?}")]
    Invalid { text: String },
    #[error("time: missing unit in duration {text:?}")]
    MissingUnit { text: String },
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit { unit: String, text: String },
}

impl Classified for DurationError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingUnit { text } => Some(format!("did you mean \"{text}s\"?")),
            _ => Some("write a number and a unit, e.g. 500ms, 10s, 5m or 1h30m".to_owned()),
        }
    }
}

/// The units of a duration in nanoseconds. Both micro signs occur in the wild: U+00B5 and the Greek letter U+03BC.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", NANOSECONDS_PER_SECOND),
    ("m", 60 * NANOSECONDS_PER_SECOND),
    ("h", 3600 * NANOSECONDS_PER_SECOND),
];

impl GoDuration {
    /// The same length without the sign; zero when it is negative.
    pub fn to_duration(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or_default())
    }
}

impl From<Duration> for GoDuration {
    /// A length beyond 292 years becomes 292 years.
    fn from(length: Duration) -> Self {
        Self(i64::try_from(length.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    /// Go's grammar: an optional sign and one or more decimal numbers with a unit; "0" needs none.
    fn from_str(text: &str) -> Result<Self, DurationError> {
        let shown = || text.chars().take(64).collect::<String>();
        let invalid = || DurationError::Invalid { text: shown() };
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let end = rest.find(|letter: char| letter != '.' && !letter.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
                return Err(invalid());
            }
            let end = after.find(|letter: char| letter == '.' || letter.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            if unit.is_empty() {
                return Err(DurationError::MissingUnit { text: shown() });
            }
            let known = UNITS.iter().find(|(name, _)| *name == unit);
            let (_, size) = known.ok_or_else(|| DurationError::UnknownUnit { unit: unit.chars().take(16).collect(), text: shown() })?;
            total += nanoseconds(whole, fraction, *size).ok_or_else(invalid)?;
            if total > 1 << 63 {
                return Err(invalid());
            }
            rest = after;
        }
        i64::try_from(if negative { -total } else { total }).map(Self).map_err(|_| invalid())
    }
}

/// `whole.fraction` times `size`, rounded down; `None` when it is beyond any duration.
fn nanoseconds(whole: &str, fraction: &str, size: u64) -> Option<i128> {
    let size = i128::from(size);
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
    // 19 digits times an hour still fit; finer ones are below a nanosecond.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()?.into() };
    Some(whole * size + part * size / scale)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.unsigned_abs();
        if length == 0 {
            return formatter.write_str("0s");
        }
        if self.0 < 0 {
            formatter.write_str("-")?;
        }
        let fractional = |value: u64, unit: u64| {
            let digits = unit.ilog10() as usize;
            let text = if digits == 0 { value.to_string() } else { format!("{}.{:0digits$}", value / unit, value % unit) };
            if digits == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
        };
        match length {
            1..1_000 => return write!(formatter, "{length}ns"),
            1_000..1_000_000 => return write!(formatter, "{}\u{b5}s", fractional(length, 1_000)),
            1_000_000..NANOSECONDS_PER_SECOND => return write!(formatter, "{}ms", fractional(length, 1_000_000)),
            _ => {}
        }
        let seconds = length / NANOSECONDS_PER_SECOND;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(formatter, "{hours}h")?;
        }
        if seconds >= 60 {
            write!(formatter, "{minutes}m")?;
        }
        write!(formatter, "{}s", fractional(length % (60 * NANOSECONDS_PER_SECOND), NANOSECONDS_PER_SECOND))
    }
}

/// A length of time as Docker's lists say it, with its own roundings ("About an hour" starts at 60 minutes, 90 minutes are 2 hours).
///
/// # Source
/// The behaviour of docker/go-units `HumanDuration`, which `docker ps` and `docker images` print.
pub fn human_duration(length: Duration) -> String {
    let seconds = length.as_secs();
    let minutes = seconds / 60;
    // Half an hour rounds up.
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, _, _) => "Less than a second".to_owned(),
        (1, _, _) => "1 second".to_owned(),
        (2..60, _, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, 2..48) => format!("{hours} hours"),
        (_, _, 48..336) => format!("{} days", hours / 24),
        (_, _, 336..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, 1440..17_520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests;
