//! Shell patterns in variables (`${v#p}`, `${v%p}`, `${v/p/r}`): `*` any text, `?` any one character, `\` escapes.
//!
//! Matching is a walk over sets of pattern places, never backtracking; its steps are counted and capped.

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    #[error("invalid escape '\\{letter}'")]
    InvalidEscape { letter: char },
    #[error("the pattern ends with an escape")]
    OpenEscape,
    #[error("matching takes too many steps")]
    TooManySteps,
    #[error("the result is too large")]
    ResultTooLarge,
}

/// Steps one use of a pattern may take: a few hundredths of a second.
const STEP_LIMIT: usize = 8 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    One,
    Any,
}

/// A parsed pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    tokens: Vec<Token>,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, PatternFault> {
        let mut tokens = Vec::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            tokens.push(match letter {
                '*' if tokens.last() == Some(&Token::Any) => continue,
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => match letters.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Literal(escaped),
                    Some(letter) => return Err(PatternFault::InvalidEscape { letter }),
                    None => return Err(PatternFault::OpenEscape),
                },
                other => Token::Literal(other),
            });
        }
        Ok(Self { tokens })
    }

    /// What remains when the shortest or longest matching beginning is taken away.
    pub(crate) fn trim_prefix<'v>(&self, value: &'v str, longest: bool) -> Result<&'v str, PatternFault> {
        let mut steps = 0;
        let end = match_start(
            &self.tokens,
            value.char_indices().map(|(start, letter)| (letter, start + letter.len_utf8())),
            0,
            longest,
            &mut steps,
        )?;
        Ok(&value[end.unwrap_or(0)..])
    }

    /// What remains when the shortest or longest matching end is taken away.
    pub(crate) fn trim_suffix<'v>(&self, value: &'v str, longest: bool) -> Result<&'v str, PatternFault> {
        let reversed: Vec<Token> = self.tokens.iter().rev().copied().collect();
        let letters = value.char_indices().rev().map(|(start, letter)| (letter, start));
        let mut steps = 0;
        let start = match_start(&reversed, letters, value.len(), longest, &mut steps)?;
        Ok(&value[..start.unwrap_or(value.len())])
    }

    /// Replaces the first match, or all; the longest match at each place counts, and a match of nothing is none.
    pub(crate) fn replace(&self, value: &str, replacement: &str, all: bool, limit: usize) -> Result<String, PatternFault> {
        let mut result = String::new();
        let mut steps = 0;
        let mut position = 0;
        let mut done = false;
        while position < value.len() {
            let rest = &value[position..];
            let letters = rest.char_indices().map(|(start, letter)| (letter, start + letter.len_utf8()));
            let matched = if done { None } else { match_start(&self.tokens, letters, 0, true, &mut steps)? };
            match matched.filter(|length| *length > 0) {
                Some(length) => {
                    result.push_str(replacement);
                    position += length;
                    done = !all;
                }
                None if done => {
                    result.push_str(rest);
                    position = value.len();
                }
                None => {
                    let length = rest.chars().next().map_or(1, char::len_utf8);
                    result.push_str(&rest[..length]);
                    position += length;
                }
            }
            if result.len() > limit {
                return Err(PatternFault::ResultTooLarge);
            }
        }
        Ok(result)
    }
}

/// Where the shortest or longest match from the start ends; each letter comes with the offset after it.
fn match_start(
    tokens: &[Token],
    letters: impl Iterator<Item = (char, usize)>,
    origin: usize,
    longest: bool,
    steps: &mut usize,
) -> Result<Option<usize>, PatternFault> {
    let mut places: Vec<usize> = Vec::new();
    add_place(tokens, 0, &mut places);
    let mut best = places.contains(&tokens.len()).then_some(origin);
    let mut next = Vec::new();
    for (letter, end) in letters {
        if places.is_empty() || (best.is_some() && !longest) {
            break;
        }
        *steps += places.len();
        if *steps > STEP_LIMIT {
            return Err(PatternFault::TooManySteps);
        }
        next.clear();
        for place in &places {
            match tokens.get(*place) {
                Some(Token::Any) => add_place(tokens, *place, &mut next),
                Some(Token::One) => add_place(tokens, place + 1, &mut next),
                Some(Token::Literal(wanted)) if *wanted == letter => add_place(tokens, place + 1, &mut next),
                _ => {}
            }
        }
        if next.last() == Some(&tokens.len()) {
            best = Some(end);
        }
        std::mem::swap(&mut places, &mut next);
    }
    Ok(best)
}

/// Adds a place and, behind a `*`, the one after it. Places are added in rising order, so only the last few can be equal.
fn add_place(tokens: &[Token], place: usize, places: &mut Vec<usize>) {
    if places.last().is_none_or(|last| *last < place) {
        places.push(place);
    }
    if tokens.get(place) == Some(&Token::Any) && places.last().is_none_or(|last| *last < place + 1) {
        places.push(place + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_shortest_and_longest() {
        let pattern = |text| Pattern::parse(text).unwrap();
        assert_eq!(pattern("*/").trim_prefix("a/b/c", false), Ok("b/c"));
        assert_eq!(pattern("*/").trim_prefix("a/b/c", true), Ok("c"));
        assert_eq!(pattern(".*").trim_suffix("a.b.c", false), Ok("a.b"));
        assert_eq!(pattern(".*").trim_suffix("a.b.c", true), Ok("a"));
        assert_eq!(pattern("?").trim_prefix("가나", false), Ok("나"));
        assert_eq!(pattern("?").trim_suffix("가나", false), Ok("가"));
        assert_eq!(pattern("x").trim_prefix("abc", false), Ok("abc"));
        assert_eq!(pattern("").trim_suffix("abc", true), Ok("abc"));
        assert_eq!(pattern("*").trim_prefix("abc", false), Ok("abc"));
        assert_eq!(pattern("*").trim_prefix("abc", true), Ok(""));
        assert_eq!(pattern("\\*").trim_prefix("*a", false), Ok("a"));
        assert_eq!(pattern("a**b").trim_prefix("axxbyb!", true), Ok("!"));
    }

    #[test]
    fn replaces_first_and_all() {
        let replace = |pattern, value, with, all| Pattern::parse(pattern).unwrap().replace(value, with, all, 1000).unwrap();
        assert_eq!(replace("a", "banana", "o", false), "bonana");
        assert_eq!(replace("a", "banana", "o", true), "bonono");
        assert_eq!(replace("a*n", "banana!", "-", false), "b-a!");
        assert_eq!(replace("?", "가나", "x", true), "xx");
        assert_eq!(replace("", "abc", "x", true), "abc");
        assert_eq!(replace("z", "abc", "x", true), "abc");
    }

    #[test]
    fn hostile_patterns_stop() {
        let value = "a".repeat(1 << 20);
        assert_eq!(Pattern::parse("a*b").unwrap().replace(&value, "", true, usize::MAX), Err(PatternFault::TooManySteps));
        assert_eq!(Pattern::parse("\\q").unwrap_err(), PatternFault::InvalidEscape { letter: 'q' });
        let pattern = "*a".repeat(1 << 19);
        assert_eq!(Pattern::parse(&pattern).unwrap().trim_prefix(&value, true), Err(PatternFault::TooManySteps));
    }
}
