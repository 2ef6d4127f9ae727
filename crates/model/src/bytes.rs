//! Sizes: "64m" as people type it, "6.03MB" and "1.944GiB" as Docker prints it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kind::{Classified, ErrorKind};

/// A number of bytes. In JSON a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ByteSizeError {
    #[error("invalid size: '{text}'")]
    Invalid { text: String },
    #[error("invalid suffix: '{suffix}'")]
    Suffix { suffix: String },
    #[error("size \"{text}\" is too large")]
    TooLarge { text: String },
}

impl Classified for ByteSizeError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("write bytes or a number with b, k, m, g, t or p, e.g. 64m or 1.5g".to_owned())
    }
}

const DECIMAL: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const BINARY: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl ByteSize {
    /// Reads a size whose letters are powers of 1000, as Docker does for log options ("10m" is 10,000,000). `FromStr` counts in 1024.
    ///
    /// # Errors
    /// When the text is no size, see `ByteSizeError`.
    pub fn parse_decimal(text: &str) -> Result<Self, ByteSizeError> {
        parse(text, 1000)
    }

    /// Powers of 1000 with four significant digits: "6.031MB", "2.048kB". What `docker build` and `docker system df` print.
    pub fn human(self) -> String {
        scaled(self.0, 1000, &DECIMAL, 4)
    }

    /// Powers of 1000 with three significant digits: "6.03MB". What `docker images` and `docker ps -s` print.
    pub fn human_short(self) -> String {
        scaled(self.0, 1000, &DECIMAL, 3)
    }

    /// Powers of 1024 with four significant digits: "1.944GiB". What `docker stats` prints.
    pub fn human_binary(self) -> String {
        scaled(self.0, 1024, &BINARY, 4)
    }
}

impl fmt::Display for ByteSize {
    /// As `human`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.human())
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    /// "64m", "1.5g", "10kB", "1 GiB", "4096"; letters of either case are powers of 1024.
    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        parse(text, 1024)
    }
}

fn parse(text: &str, base: u64) -> Result<ByteSize, ByteSizeError> {
    let shown = || text.chars().take(64).collect::<String>();
    let end = text.find(|letter: char| letter != '.' && !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let suffix = rest.strip_prefix(' ').unwrap_or(rest);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || text.ends_with(' ') {
        return Err(ByteSizeError::Invalid { text: shown() });
    }
    let unit = unit_of(suffix, base).ok_or_else(|| ByteSizeError::Suffix { suffix: suffix.chars().take(16).collect() })?;
    let too_large = || ByteSizeError::TooLarge { text: shown() };
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let whole = whole.checked_mul(unit).ok_or_else(too_large)?;
    // Digits finer than 10^-18 of a petabyte are below a byte.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = fraction.bytes().fold(0_u128, |value, digit| value * 10 + u128::from(digit - b'0'));
    let part = part * u128::from(unit) / 10_u128.pow(fraction.len() as u32);
    let total = whole.checked_add(u64::try_from(part).map_err(|_| too_large())?).ok_or_else(too_large)?;
    // The kernel and Docker's API count bytes in signed 64 bits.
    if i64::try_from(total).is_err() { Err(too_large()) } else { Ok(ByteSize(total)) }
}

fn unit_of(suffix: &str, base: u64) -> Option<u64> {
    let suffix = suffix.to_ascii_lowercase();
    let (letter, rest) = match suffix.chars().next() {
        None => return Some(1),
        Some(letter) => (letter, &suffix[letter.len_utf8()..]),
    };
    if letter == 'b' {
        return if rest.is_empty() { Some(1) } else { None };
    }
    let power = "kmgtp".find(letter)? as u32 + 1;
    matches!(rest, "" | "b" | "ib").then(|| base.pow(power))
}

/// `size` in the largest unit that leaves at least 1, with so many significant digits and no trailing zeros (C's `%.4g`). Where rounding
/// reaches the next unit, that unit is used: three digits of 999,900 bytes are "1MB" (Docker prints "1e+03kB").
fn scaled(size: u64, base: u64, units: &[&str], digits: usize) -> String {
    let mut value = size as f64;
    let mut unit = 0;
    while value >= base as f64 && unit + 1 < units.len() {
        value /= base as f64;
        unit += 1;
    }
    let mut text = significant(value, digits);
    if text.parse::<f64>().is_ok_and(|rounded| rounded >= base as f64) && unit + 1 < units.len() {
        unit += 1;
        text = significant(value / base as f64, digits);
    }
    format!("{text}{}", units[unit])
}

fn significant(value: f64, digits: usize) -> String {
    let before_point = format!("{}", value.trunc()).len();
    let mut text = format!("{value:.*}", digits.saturating_sub(before_point));
    // Rounding may have added a digit before the point: 9.9996 with four digits is 10, not 10.000.
    if text.find('.').is_some_and(|point| point > before_point) {
        text.pop();
    }
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests;
