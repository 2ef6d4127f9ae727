//! File name patterns: Go's `filepath.Match`, and the wider form of ignore files with `**`.
//!
//! Patterns and names are bytes; `?` and classes take one UTF-8 character, or one byte where the name is not UTF-8. Matching walks all positions of the
//! pattern at once, so it takes time of pattern times name and no pattern can make it explode.
//!
//! Source: Go `path/filepath.Match`; moby/patternmatcher for `**`.

use crate::Error;
use crate::error::show;

/// One element of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This byte.
    Byte(u8),
    /// One character that is not `/`.
    AnyCharacter,
    /// Any run without `/`.
    Star,
    /// `**/`: nothing, or any run that ends in `/`.
    Folders,
    /// `**` at the end: anything.
    Rest,
    /// One character of these ranges, or not of them.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// A pattern ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
    literal: bool,
}

impl Pattern {
    /// Reads a pattern of `filepath.Match`: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
    ///
    /// # Errors
    /// `Pattern` for an open class, an empty class, a bad range or a trailing backslash.
    pub fn parse(text: &[u8]) -> Result<Pattern, Error> {
        Self::read(text, false)
    }

    /// Reads a pattern of an ignore file, where `**` spans folders.
    pub fn parse_spanning(text: &[u8]) -> Result<Pattern, Error> {
        Self::read(text, true)
    }

    fn read(text: &[u8], spanning: bool) -> Result<Pattern, Error> {
        let bad = || Error::Pattern { pattern: show(text) };
        let (mut tokens, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let byte = text[at];
            at += 1;
            match byte {
                b'*' if spanning && text.get(at) == Some(&b'*') => {
                    at += 1;
                    if text.get(at) == Some(&b'/') {
                        at += 1;
                    }
                    tokens.push(if at == text.len() { Token::Rest } else { Token::Folders });
                }
                b'*' => {
                    if tokens.last() != Some(&Token::Star) {
                        tokens.push(Token::Star);
                    }
                }
                b'?' => tokens.push(Token::AnyCharacter),
                b'[' => {
                    let (class, length) = class(&text[at..]).ok_or_else(bad)?;
                    tokens.push(class);
                    at += length;
                }
                b'\\' => {
                    tokens.push(Token::Byte(*text.get(at).ok_or_else(bad)?));
                    at += 1;
                }
                other => tokens.push(Token::Byte(other)),
            }
        }
        let literal = tokens.iter().all(|token| matches!(token, Token::Byte(_)));
        Ok(Pattern { tokens, literal })
    }

    /// True when the pattern has no wildcard.
    pub fn is_literal(&self) -> bool {
        self.literal
    }

    /// Whether the whole of `name` matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        if self.literal {
            return name.len() == self.tokens.len() && name.iter().zip(&self.tokens).all(|(byte, token)| *token == Token::Byte(*byte));
        }
        self.fits_ends(name) && self.positions(name).last().is_some_and(|end| *end)
    }

    /// Whether the plain bytes at both ends of the pattern are those of `name`; most names fail here, before anything is allocated.
    fn fits_ends(&self, name: &[u8]) -> bool {
        let is = |(token, byte): (&Token, &u8)| *token == Token::Byte(*byte);
        let plain = |token: &&Token| matches!(token, Token::Byte(_));
        let (front, back) = (self.tokens.iter().take_while(plain).count(), self.tokens.iter().rev().take_while(plain).count());
        front.max(back) <= name.len()
            && self.tokens[..front].iter().zip(name).all(is)
            && self.tokens.iter().rev().take(back).zip(name.iter().rev()).all(is)
    }

    /// Whether some longer name that starts with `start` could match.
    pub fn could_match_below(&self, start: &[u8]) -> bool {
        // The position behind the last token is a match of `start` itself, from which nothing longer follows.
        self.positions(start)[..self.tokens.len()].iter().any(|alive| *alive)
    }

    /// Which positions of the pattern can be reached after all of `name`.
    fn positions(&self, name: &[u8]) -> Vec<bool> {
        let mut now = vec![false; self.tokens.len() + 1];
        self.reach(&mut now, 0);
        let mut next = vec![false; now.len()];
        let mut at = 0;
        while at < name.len() {
            let (character, length) = character(&name[at..]);
            let mut alive = false;
            for (position, token) in self.tokens.iter().enumerate().filter(|(position, _)| now[*position]) {
                let (stays, moves) = step(token, character, &name[at..at + length]);
                alive |= stays || moves;
                if stays {
                    next[position] = true;
                    // Inside `**/` the way on opens only behind a slash.
                    if !matches!(token, Token::Folders) {
                        self.reach(&mut next, position);
                    }
                }
                if moves {
                    self.reach(&mut next, position + 1);
                }
            }
            std::mem::swap(&mut now, &mut next);
            next.fill(false);
            if !alive {
                break;
            }
            at += length;
        }
        now
    }

    /// Marks `position` and all that follow without taking a character.
    fn reach(&self, set: &mut [bool], mut position: usize) {
        set[position] = true;
        while let Some(Token::Star | Token::Folders | Token::Rest) = self.tokens.get(position) {
            position += 1;
            set[position] = true;
        }
    }
}

/// Whether `token` takes the character and stays, and whether it takes it and is done.
fn step(token: &Token, character: Option<char>, bytes: &[u8]) -> (bool, bool) {
    match token {
        Token::Byte(byte) => (false, bytes.len() == 1 && bytes[0] == *byte),
        Token::AnyCharacter => (false, bytes != b"/"),
        Token::Star => (bytes != b"/", false),
        Token::Rest => (true, false),
        Token::Folders => (true, bytes == b"/"),
        Token::Class { negated, ranges } => {
            let inside = character.is_some_and(|one| ranges.iter().any(|(low, high)| (*low..=*high).contains(&one)));
            (false, inside != *negated)
        }
    }
}

/// The first character of `bytes` and its length; no character for a byte that is not UTF-8.
fn character(bytes: &[u8]) -> (Option<char>, usize) {
    if bytes[0] < 0x80 {
        return (Some(char::from(bytes[0])), 1);
    }
    let most = bytes.len().min(4);
    for length in 2..=most {
        if let Ok(text) = std::str::from_utf8(&bytes[..length]) {
            return (text.chars().next(), length);
        }
    }
    (None, 1)
}

/// Reads a class behind its `[`; gives it and its length with the `]`.
fn class(text: &[u8]) -> Option<(Token, usize)> {
    let negated = text.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut ranges = Vec::new();
    loop {
        if text.get(at) == Some(&b']') && !ranges.is_empty() {
            return Some((Token::Class { negated, ranges }, at + 1));
        }
        let low = class_character(text, &mut at)?;
        let mut high = low;
        if text.get(at) == Some(&b'-') {
            at += 1;
            high = class_character(text, &mut at)?;
        }
        ranges.push((low, high));
    }
}

fn class_character(text: &[u8], at: &mut usize) -> Option<char> {
    match text.get(*at)? {
        b'-' | b']' => return None,
        b'\\' => *at += 1,
        _ => {}
    }
    let (one, length) = character(text.get(*at..).filter(|rest| !rest.is_empty())?);
    *at += length;
    // A class that ends the pattern is open, and so an error.
    (*at < text.len()).then_some(one?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filepath_match_agrees_with_go() {
        // Written from Go's documentation; none = syntax error.
        let table: &[(&str, &str, Option<bool>)] = &[
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*/b", "a/c/b", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("[a-ζ]*", "α", Some(true)),
            ("*[a-ζ]", "A", Some(false)),
            ("a?b", "a/b", Some(false)),
            ("a*b", "a/b", Some(false)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-]", "-", Some(true)),
            ("[x\\-]", "-", Some(true)),
            ("[x\\-]", "z", Some(false)),
            ("[\\-x]", "x", Some(true)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[-x]", "x", None),
            ("\\", "a", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^", "a", None),
            ("[^bc", "a", None),
            ("a[", "a", None),
            ("a/b[", "x", None),
            ("*x", "xxx", Some(true)),
            ("**", "a/b", Some(false)),
            ("", "", Some(true)),
            ("?", "\u{fffd}", Some(true)),
        ];
        for (pattern, name, expected) in table {
            let found = Pattern::parse(pattern.as_bytes()).ok().map(|p| p.matches(name.as_bytes()));
            assert_eq!(found, *expected, "{pattern} {name}");
        }
    }

    #[test]
    fn double_stars_span_folders() {
        for (pattern, name, expected) in [
            ("**", "a/b/c", true),
            ("**/", "a/b", true),
            ("**/a", "a", true),
            ("**/a", "x/y/a", true),
            ("**/a", "xa", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("a/**", "a", false),
            ("a/**", "a/x/y", true),
            ("a**b", "a/x/b", true),
            ("a**/*.go", "ax/y/m.go", true),
            ("**/*.md", "docs/x.md", true),
            ("**/*.md", "docs/x.mdx", false),
        ] {
            let pattern_read = Pattern::parse_spanning(pattern.as_bytes()).expect(pattern);
            assert_eq!(pattern_read.matches(name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_could_match_below_is_known() {
        for (pattern, start, expected) in [
            ("a/b/c", "a/", true),
            ("a/b/c", "a/b/", true),
            ("a/b/c", "x/", false),
            ("a/b", "a/b/", false),
            ("*/b", "x/", true),
            ("*.md", "docs/", false),
            ("**/*.md", "docs/", true),
        ] {
            assert_eq!(
                Pattern::parse_spanning(pattern.as_bytes()).expect(pattern).could_match_below(start.as_bytes()),
                expected,
                "{pattern} {start}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = Pattern::parse_spanning("**/a*".repeat(200).as_bytes()).expect("pattern");
        assert!(!pattern.matches("a/".repeat(2000).as_bytes()));
    }

    #[test]
    fn names_that_are_not_utf8_match_by_bytes() {
        let pattern = Pattern::parse(b"a?\xff*").expect("pattern");
        assert!(pattern.matches(b"a\xfe\xffzz"));
        assert!(!pattern.matches(b"a\xff"));
    }
}
