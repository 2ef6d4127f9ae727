//! Moments: parsing and printing as Go and Docker do it.
//!
//! What must stay true: a `Timestamp` is UTC, lies between the years 0 and 9999 so that its text reads back (Go's zero time, year 1, occurs
//! in real images), and prints exactly as Go's `time.RFC3339Nano` does, because clients compare these texts.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::kind::{Classified, ErrorKind};
use crate::serialize_as_text;

mod since;
#[cfg(test)]
mod tests;

pub use since::{SinceError, parse_since, parse_since_in};

const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what RFC 3339 can write.
const FIRST_SECOND: i64 = -62_167_219_200;
const LAST_SECOND: i64 = 253_402_300_799;

/// A moment, to the nanosecond. The default is the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Seconds since the epoch, rounded down.
    seconds: i64,
    /// Nanoseconds after `seconds`, below one second.
    nanoseconds: u32,
}

/// A text that is no RFC 3339 moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid timestamp \"{text}\": {expected} expected at position {position}")]
pub struct TimestampError {
    /// What was read.
    pub text: String,
    /// Byte offset of the first wrong character.
    pub position: usize,
    /// What should have been there.
    pub expected: &'static str,
}

impl Classified for TimestampError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("write it as 2026-11-21T10:00:00Z".to_owned())
    }
}

impl Timestamp {
    /// Go's zero time, which Docker prints for "never": 0001-01-01T00:00:00Z.
    pub const GO_ZERO: Self = Self { seconds: -62_135_596_800, nanoseconds: 0 };

    /// A moment as seconds and nanoseconds since the Unix epoch. Nanoseconds beyond a second carry over; moments outside the years 0 to
    /// 9999 become the nearest one inside.
    pub const fn from_unix(seconds: i64, nanoseconds: u32) -> Self {
        let seconds = seconds.saturating_add((nanoseconds / NANOSECONDS_PER_SECOND) as i64);
        if seconds < FIRST_SECOND {
            return Self { seconds: FIRST_SECOND, nanoseconds: 0 };
        }
        if seconds > LAST_SECOND {
            return Self { seconds: LAST_SECOND, nanoseconds: NANOSECONDS_PER_SECOND - 1 };
        }
        Self { seconds, nanoseconds: nanoseconds % NANOSECONDS_PER_SECOND }
    }

    /// A moment as nanoseconds since the Unix epoch.
    pub const fn from_nanoseconds(nanoseconds: i64) -> Self {
        let second = NANOSECONDS_PER_SECOND as i64;
        Self { seconds: nanoseconds.div_euclid(second), nanoseconds: nanoseconds.rem_euclid(second) as u32 }
    }

    /// A moment read from the system's clock by the caller; this crate never looks at a clock.
    pub fn from_system(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self::default() + after,
            Err(before) => Self::default() - before.duration(),
        }
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn unix_seconds(&self) -> i64 {
        self.seconds
    }

    /// The nanoseconds after `unix_seconds`.
    pub const fn subsecond_nanoseconds(&self) -> u32 {
        self.nanoseconds
    }

    /// Nanoseconds since the Unix epoch, clamped to what an `i64` holds (the years 1677 to 2262).
    pub fn nanoseconds(&self) -> i64 {
        let exact = i128::from(self.seconds) * i128::from(NANOSECONDS_PER_SECOND) + i128::from(self.nanoseconds);
        i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX })
    }

    /// How long after `earlier` this moment is; zero when it is not after it (clocks may be set back).
    pub fn since(&self, earlier: Self) -> Duration {
        if *self <= earlier {
            return Duration::ZERO;
        }
        let (seconds, nanoseconds) = if self.nanoseconds >= earlier.nanoseconds {
            (self.seconds.saturating_sub(earlier.seconds), self.nanoseconds - earlier.nanoseconds)
        } else {
            (self.seconds.saturating_sub(earlier.seconds) - 1, self.nanoseconds + NANOSECONDS_PER_SECOND - earlier.nanoseconds)
        };
        Duration::new(u64::try_from(seconds).unwrap_or_default(), nanoseconds)
    }

    /// How long ago this was at `now`, as Docker's lists say it: "3 seconds ago".
    pub fn ago(&self, now: Self) -> String {
        format!("{} ago", crate::duration::human_duration(now.since(*self)))
    }

    /// The text Go's `time.RFC3339Nano` gives: UTC, trailing zeros of the fraction left away, no fraction when it is zero.
    pub fn to_rfc3339_nano(&self) -> String {
        self.to_string()
    }

    /// As `to_rfc3339_nano` but with nine digits always, as log lines have it.
    pub fn to_rfc3339_nano_fixed(&self) -> String {
        format!("{}.{:09}Z", Civil::of(self.seconds), self.nanoseconds)
    }

    /// The text to the second: "2026-11-21T10:00:00Z".
    pub fn to_rfc3339(&self) -> String {
        format!("{}Z", Civil::of(self.seconds))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        let seconds = i64::try_from(later.as_secs()).unwrap_or(i64::MAX);
        Self::from_unix(self.seconds.saturating_add(seconds), self.nanoseconds + later.subsec_nanos())
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, earlier: Duration) -> Self {
        let seconds = self.seconds.saturating_sub(i64::try_from(earlier.as_secs()).unwrap_or(i64::MAX));
        match self.nanoseconds.checked_sub(earlier.subsec_nanos()) {
            Some(nanoseconds) => Self::from_unix(seconds, nanoseconds),
            None => Self::from_unix(seconds.saturating_sub(1), self.nanoseconds + NANOSECONDS_PER_SECOND - earlier.subsec_nanos()),
        }
    }
}

impl From<Timestamp> for SystemTime {
    /// A moment the system's clock cannot express becomes the epoch.
    fn from(timestamp: Timestamp) -> Self {
        let distance = Duration::from_secs(timestamp.seconds.unsigned_abs());
        let whole = if timestamp.seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
        whole.and_then(|time| time.checked_add(Duration::from_nanos(timestamp.nanoseconds.into()))).unwrap_or(UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", Civil::of(self.seconds))?;
        if self.nanoseconds != 0 {
            let digits = format!("{:09}", self.nanoseconds);
            write!(formatter, ".{}", digits.trim_end_matches('0'))?;
        }
        formatter.write_str("Z")
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// RFC 3339 with any offset; the fraction may have any number of digits, of which nine count.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let mut reader = Reader { text, position: 0 };
        let timestamp = reader.timestamp()?;
        if reader.position < text.len() { Err(reader.wrong("the end")) } else { Ok(timestamp) }
    }
}

serialize_as_text!(Timestamp, "an RFC 3339 timestamp");

/// A moment as a calendar shows it, UTC.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    second_of_day: i64,
}

impl Civil {
    /// The proleptic Gregorian date of a number of seconds since the epoch. Years are counted from March so that the leap day is last.
    fn of(seconds: i64) -> Self {
        let days = seconds.div_euclid(SECONDS_PER_DAY) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            second_of_day: seconds.rem_euclid(SECONDS_PER_DAY),
        }
    }

    /// Seconds since the epoch; the inverse of `of`.
    fn unix_seconds(&self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let shifted_month = (self.month + 9) % 12;
        let day_of_year = (153 * shifted_month + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        (era * 146_097 + day_of_era - 719_468) * SECONDS_PER_DAY + self.second_of_day
    }
}

impl fmt::Display for Civil {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = (self.second_of_day / 3600, self.second_of_day / 60 % 60, self.second_of_day % 60);
        write!(formatter, "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}", self.year, self.month, self.day)
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Reads a moment from left to right, knowing where it is.
struct Reader<'a> {
    text: &'a str,
    position: usize,
}

impl Reader<'_> {
    fn wrong(&self, expected: &'static str) -> TimestampError {
        // A text of a stranger may be long; the start tells enough.
        TimestampError { text: self.text.chars().take(64).collect(), position: self.position, expected }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn expect(&mut self, wanted: &[u8], expected: &'static str) -> Result<u8, TimestampError> {
        let found = self.peek().filter(|byte| wanted.contains(byte)).ok_or_else(|| self.wrong(expected))?;
        self.position += 1;
        Ok(found)
    }

    fn number(&mut self, digits: usize, range: std::ops::RangeInclusive<i64>, expected: &'static str) -> Result<i64, TimestampError> {
        let field = self.text.as_bytes().get(self.position..self.position + digits).filter(|field| field.iter().all(u8::is_ascii_digit));
        let value = field.map(|field| field.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')));
        let value = value.filter(|value| range.contains(value)).ok_or_else(|| self.wrong(expected))?;
        self.position += digits;
        Ok(value)
    }

    fn date(&mut self) -> Result<Civil, TimestampError> {
        let year = self.number(4, 0..=9999, "a year of four digits")?;
        self.expect(b"-", "\"-\"")?;
        let month = self.number(2, 1..=12, "a month of two digits")?;
        self.expect(b"-", "\"-\"")?;
        let day = self.number(2, 1..=days_in(year, month), "a day of that month")?;
        Ok(Civil { year, month, day, second_of_day: 0 })
    }

    fn timestamp(&mut self) -> Result<Timestamp, TimestampError> {
        let mut civil = self.date()?;
        self.expect(b"Tt", "\"T\"")?;
        let hour = self.number(2, 0..=23, "an hour of two digits")?;
        self.expect(b":", "\":\"")?;
        let minute = self.number(2, 0..=59, "a minute of two digits")?;
        self.expect(b":", "\":\"")?;
        civil.second_of_day = hour * 3600 + minute * 60 + self.number(2, 0..=59, "a second of two digits")?;
        let nanoseconds = self.fraction()?;
        let seconds = civil.unix_seconds() - self.offset()?;
        if !(FIRST_SECOND..=LAST_SECOND).contains(&seconds) {
            return Err(self.wrong("an offset that stays within the years 0 to 9999"));
        }
        Ok(Timestamp { seconds, nanoseconds })
    }

    fn fraction(&mut self) -> Result<u32, TimestampError> {
        if self.peek() != Some(b'.') {
            return Ok(0);
        }
        self.position += 1;
        let (mut nanoseconds, mut weight, start) = (0, NANOSECONDS_PER_SECOND, self.position);
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            weight /= 10;
            nanoseconds += u32::from(digit - b'0') * weight;
            self.position += 1;
        }
        if self.position == start { Err(self.wrong("a digit")) } else { Ok(nanoseconds) }
    }

    /// Seconds east of Greenwich.
    fn offset(&mut self) -> Result<i64, TimestampError> {
        let sign = match self.expect(b"Zz+-", "\"Z\" or an offset like \"+01:00\"")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Ok(0),
        };
        let hours = self.number(2, 0..=23, "the hours of an offset")?;
        self.expect(b":", "\":\"")?;
        let minutes = self.number(2, 0..=59, "the minutes of an offset")?;
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}
