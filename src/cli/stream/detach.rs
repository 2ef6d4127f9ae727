//! The key sequence that leaves a container running and gives the terminal back; `ctrl-p,ctrl-q` unless told otherwise.

use crate::cli::exit::{Failure, Outcome};
use bytes::Bytes;

/// Watches typed bytes for the sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    sequence: Vec<u8>,
    matched: usize,
}

impl Default for DetachKeys {
    fn default() -> Self {
        Self { sequence: vec![16, 17], matched: 0 }
    }
}

impl DetachKeys {
    /// Parses `ctrl-p,ctrl-q`, `a,b`, `DEL`.
    ///
    /// # Errors
    /// Docker's text for a key nobody knows.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut sequence = Vec::new();
        for key in text.split(',') {
            let byte = match key.strip_prefix("ctrl-") {
                Some("@") => Some(0),
                Some("[") => Some(27),
                Some("\\") => Some(28),
                Some("]") => Some(29),
                Some("^") => Some(30),
                Some("_") => Some(31),
                Some(letter) if letter.len() == 1 => {
                    letter.bytes().next().filter(u8::is_ascii_alphabetic).map(|letter| letter.to_ascii_lowercase() - b'a' + 1)
                }
                Some(_) => None,
                None if key == "DEL" => Some(127),
                None if key.len() == 1 => key.bytes().next(),
                None => None,
            };
            sequence.push(byte.ok_or_else(|| {
                Failure::new(format!("invalid detach keys: Unknown character: '{key}'"))
                    .hint("keys are letters or ctrl-LETTER, joined by commas: ctrl-p,ctrl-q")
            })?);
        }
        Ok(Self { sequence, matched: 0 })
    }

    /// Takes typed bytes; answers those to pass on and whether the sequence is complete. Keys that began the sequence without finishing it are
    /// passed on late, so that nothing typed is lost.
    pub(crate) fn filter(&mut self, typed: &[u8]) -> (Bytes, bool) {
        let mut pass = Vec::with_capacity(typed.len());
        for &byte in typed {
            if byte == self.sequence[self.matched] {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    self.matched = 0;
                    return (pass.into(), true);
                }
                continue;
            }
            pass.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = 0;
            if byte == self.sequence[0] {
                self.matched = 1;
            } else {
                pass.push(byte);
            }
        }
        (pass.into(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sequence: &str, pieces: &[&[u8]], expected: &[u8], detached: bool) {
        let mut keys = DetachKeys::parse(sequence).unwrap();
        let mut passed = Vec::new();
        let mut found = false;
        for piece in pieces {
            let (pass, now) = keys.filter(piece);
            passed.extend_from_slice(&pass);
            found |= now;
        }
        assert_eq!((passed.as_slice(), found), (expected, detached), "{sequence} {pieces:?}");
    }

    #[test]
    fn the_sequence_is_found_across_pieces_and_nothing_else_is_lost() {
        check("", &[b"ab", &[16], &[17]], b"ab", true);
        check("", &[&[16], b"x"], &[16, b'x'], false);
        check("", &[&[16, 16, 17]], &[16], true);
        check("a,b", &[b"xab"], b"x", true);
        check("ctrl-],q", &[&[29], b"q"], b"", true);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert_eq!(DetachKeys::parse("ctrl-pp").unwrap_err().to_string(), "invalid detach keys: Unknown character: 'ctrl-pp'");
    }
}
