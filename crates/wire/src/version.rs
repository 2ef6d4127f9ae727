//! Versions of the Docker Engine API, and which of them we speak.
//!
//! What must stay true: `MAX` is the newest version whose answers we give completely; raising it means going through its changes first.

use std::fmt;
use std::str::FromStr;

/// A version such as `1.41`; the major number has always been 1 but is compared all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    major: u32,
    minor: u32,
}

impl ApiVersion {
    /// The oldest version we answer.
    pub const MIN: Self = Self::new(1, 24);
    /// The newest version we answer.
    pub const MAX: Self = Self::new(1, 51);

    /// The version `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// True when this is `1.minor` or newer.
    pub fn at_least(self, minor: u32) -> bool {
        self >= Self::new(1, minor)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.major, self.minor)
    }
}

/// The text is not `digits.digits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAVersion;

impl FromStr for ApiVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let number = |digits: &str| -> Result<u32, NotAVersion> {
            if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(NotAVersion);
            }
            digits.parse().map_err(|_| NotAVersion)
        };
        let (major, minor) = text.split_once('.').ok_or(NotAVersion)?;
        Ok(Self::new(number(major)?, number(minor)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_numbers_compare_as_numbers() {
        let parse = |text: &str| text.parse::<ApiVersion>().unwrap();
        assert!(parse("1.9") < parse("1.24"));
        assert!(parse("2.0") > ApiVersion::MAX);
        assert!(parse("1.44").at_least(44) && !parse("1.43").at_least(44));
        assert_eq!(parse("1.41").to_string(), "1.41");
    }

    #[test]
    fn anything_else_is_no_version() {
        for text in ["", "1", "1.", ".1", "1.2.3", "v1.2", "1.+2", "1.99999999999", "1. 2"] {
            assert_eq!(text.parse::<ApiVersion>(), Err(NotAVersion), "{text}");
        }
    }
}
