//! The keys that leave a terminal running: by default ctrl-p, then ctrl-q.
//!
//! The daemon watches for them, as dockerd does: a client that is only a pipe has no other way out.

use crate::error::ApiError;

/// Watches the bytes a person types. Bytes that may begin the sequence are held back until it is clear that they do not.
#[derive(Debug, Clone)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

/// What to do with typed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Typed {
    /// They are for the process.
    Forward(Vec<u8>),
    /// The rest is; and then the person leaves.
    Detach(Vec<u8>),
}

impl Default for DetachKeys {
    fn default() -> Self {
        Self { keys: vec![16, 17], matched: 0 }
    }
}

impl DetachKeys {
    /// Reads a list such as `ctrl-p,ctrl-q` or `a,ctrl-@`; empty means the default.
    ///
    /// # Errors
    /// In dockerd's words when a key is unknown.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let keys = text
            .split(',')
            .map(|key| key_code(key).ok_or_else(|| ApiError::invalid(format!("Invalid detach keys ({text}) provided"))))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys, matched: 0 })
    }

    /// Looks at bytes as they are typed.
    pub(crate) fn typed(&mut self, bytes: &[u8]) -> Typed {
        let mut forward = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if byte != self.keys[self.matched] && self.matched > 0 {
                // It was not the sequence: what was held back goes on, and the byte may begin a new one.
                forward.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return Typed::Detach(forward);
                }
            } else {
                forward.push(byte);
            }
        }
        Typed::Forward(forward)
    }
}

/// One key: a character, or `ctrl-` with a letter or one of `@[\]^_`.
fn key_code(key: &str) -> Option<u8> {
    let single = |text: &str| match text.as_bytes() {
        [byte] if byte.is_ascii() => Some(*byte),
        _ => None,
    };
    match key.strip_prefix("ctrl-") {
        Some(letter) => match single(letter)? {
            letter @ b'a'..=b'z' => Some(letter - b'a' + 1),
            b'@' => Some(0),
            symbol @ b'['..=b'_' => Some(symbol - b'@'),
            _ => None,
        },
        None => single(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_lists_read_as_docker_reads_them() {
        for (text, keys) in [("", &[16, 17][..]), ("ctrl-a", &[1]), ("ctrl-@,ctrl-[,ctrl-_", &[0, 27, 31]), ("a,b", b"ab")] {
            assert_eq!(DetachKeys::parse(text).unwrap().keys, keys, "{text}");
        }
        for text in ["ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-é"] {
            assert!(DetachKeys::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_sequence_is_found_across_reads_and_false_starts_go_through() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.typed(b"ls\x10"), Typed::Forward(b"ls".to_vec()));
        assert_eq!(keys.typed(b"x"), Typed::Forward(b"\x10x".to_vec()));
        assert_eq!(keys.typed(b"\x10\x10"), Typed::Forward(b"\x10".to_vec()));
        assert_eq!(keys.typed(b"\x11rest"), Typed::Detach(Vec::new()));
    }
}
