//! Who a program runs as: "name", "1000", "name:group", "1000:1000".
//!
//! What must stay true: all digits are a number and never a name (S-116: a passwd entry *named* 1001 must not turn USER 1001 into root),
//! and a number fits 31 bits.

use std::fmt;
use std::str::FromStr;

use crate::kind::{Classified, ErrorKind};
use crate::serialize_as_text;

/// The largest id. Beyond it ids turn negative somewhere on their way, or mean "leave it".
const LARGEST: u32 = i32::MAX as u32;

/// A user and perhaps a group, not yet looked up in any passwd file. The default is root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserSpec {
    user: String,
    group: Option<String>,
    user_id: Option<u32>,
}

/// Why a text names no user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("uids and gids must be in range 0-2147483647: \"{text}\"")]
    Range { text: String },
    #[error("invalid user or group name \"{text}\"")]
    Name { text: String },
    #[error("invalid user \"{text}\": the group after \":\" is missing")]
    EmptyGroup { text: String },
}

impl Classified for UserError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("a user is given as name|uid[:group|gid], e.g. 1000:1000 or nginx".to_owned())
    }
}

impl Default for UserSpec {
    fn default() -> Self {
        Self { user: "0".to_owned(), group: None, user_id: Some(0) }
    }
}

impl UserSpec {
    /// Reads a USER, `-u` or `--chown` text; the empty text is root, ":group" is root with that group.
    ///
    /// # Errors
    /// When a number does not fit, or a name could be none: it starts with a sign, looks hexadecimal, or has a colon, slash or blank in it.
    pub fn parse(text: &str) -> Result<Self, UserError> {
        let (user, group) = match text.split_once(':') {
            Some((_, "")) => return Err(UserError::EmptyGroup { text: shown(text) }),
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let user_id = parse_id(user)?;
        if let Some(group) = group {
            parse_id(group)?;
        }
        Ok(Self { user: user.to_owned(), group: group.map(str::to_owned), user_id })
    }

    /// The number, when the user was given as one.
    pub fn user_id(&self) -> Option<u32> {
        self.user_id
    }

    /// The user as written; "0" when it was left away.
    pub fn user_name(&self) -> &str {
        &self.user
    }

    /// The group as written, a name or a number; `parse_id` tells which.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }
}

/// The number a user's or group's text is: `Some` when it is all digits, `None` when it is a name.
///
/// # Errors
/// As `UserSpec::parse`.
pub fn parse_id(text: &str) -> Result<Option<u32>, UserError> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let id = text.parse().ok().filter(|id| *id <= LARGEST);
        return id.map(Some).ok_or_else(|| UserError::Range { text: shown(text) });
    }
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let like_a_number = hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let forbidden = |letter: char| letter.is_control() || letter.is_whitespace() || matches!(letter, ':' | '/');
    if text.is_empty() || like_a_number || text.starts_with(['-', '+']) || text.contains(forbidden) || text.len() > 256 {
        return Err(UserError::Name { text: shown(text) });
    }
    Ok(None)
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

impl fmt::Display for UserSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.user)?;
        self.group.as_ref().map_or(Ok(()), |group| write!(formatter, ":{group}"))
    }
}

impl FromStr for UserSpec {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        Self::parse(text)
    }
}

serialize_as_text!(UserSpec, "a user like name:group");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        for (text, id, name, group) in [
            ("", Some(0), "0", None),
            ("root", None, "root", None),
            ("1001", Some(1001), "1001", None),
            ("007", Some(7), "007", None),
            ("2147483647:0", Some(2_147_483_647), "2147483647", Some("0")),
            ("nginx:www-data", None, "nginx", Some("www-data")),
            (":5", Some(0), "0", Some("5")),
            ("1a", None, "1a", None),
        ] {
            let spec = UserSpec::parse(text).unwrap();
            assert_eq!((spec.user_id(), spec.user_name(), spec.group()), (id, name, group), "{text}");
        }
        assert_eq!(UserSpec::parse("").unwrap(), UserSpec::default());
    }

    #[test]
    fn numbers_beyond_and_lookalikes_are_refused() {
        for text in ["2147483648", "4294967296", "99999999999999999999999", "0:4294967295"] {
            assert!(matches!(UserSpec::parse(text), Err(UserError::Range { .. })), "{text}");
        }
        for text in ["-1", "+1", "0x0", "0X1f", "0x", "a b", "a\n", "a:b:c", "../x"] {
            assert!(matches!(UserSpec::parse(text), Err(UserError::Name { .. })), "{text}");
        }
        assert!(matches!(UserSpec::parse("a:"), Err(UserError::EmptyGroup { .. })));
    }
}
