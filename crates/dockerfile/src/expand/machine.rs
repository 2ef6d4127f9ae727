//! The walk over a word: one letter at a time, with a stack only for nested variables.

use super::{DEPTH_LIMIT, EXPANSION_LIMIT, ExpandError, ExpandFault, Expanded, WORK_LIMIT};
use crate::ast::Word;
use crate::pattern::{Pattern, PatternFault};
use std::collections::BTreeSet;

/// Expands a word; answers it whole and split into words.
pub(super) fn run(
    word: &Word,
    env: &dyn Fn(&str) -> Option<String>,
    escape: char,
    quotes: Quotes,
    limit: usize,
) -> Result<(Expanded, Vec<String>), ExpandError> {
    let mut machine = Machine {
        text: &word.text,
        position: 0,
        env,
        escape,
        quotes,
        raw_escapes: false,
        limit,
        work: 0,
        depth: 0,
        used: BTreeSet::new(),
        undefined: BTreeSet::new(),
    };
    let mut words = WordSplitter::default();
    match machine.until(None, false, Some(&mut words)) {
        Ok(text) => {
            let expanded = Expanded { text, used: machine.used.into_iter().collect(), undefined: machine.undefined.into_iter().collect() };
            Ok((expanded, words.finish()))
        }
        Err(fault) => Err(ExpandError { word: word.text.chars().take(120).collect(), span: word.span, fault }),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// They hold words together and go away.
    Processed,
    /// They are letters.
    Heredoc,
}

/// Collects the words of a result while it is written.
#[derive(Default)]
struct WordSplitter {
    word: String,
    words: Vec<String>,
}

impl WordSplitter {
    fn push_split(&mut self, text: &str) {
        for letter in text.chars() {
            if !letter.is_whitespace() {
                self.word.push(letter);
            } else if !self.word.is_empty() {
                self.words.push(std::mem::take(&mut self.word));
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

struct Machine<'a> {
    text: &'a str,
    position: usize,
    env: &'a dyn Fn(&str) -> Option<String>,
    escape: char,
    quotes: Quotes,
    /// Inside patterns an escape stays before what it escapes: the pattern has its own use for it.
    raw_escapes: bool,
    limit: usize,
    work: usize,
    depth: usize,
    used: BTreeSet<String>,
    undefined: BTreeSet<String>,
}

impl Machine<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.position += letter.len_utf8();
        Some(letter)
    }

    fn work_limit(&self) -> usize {
        WORK_LIMIT.max(16 * self.limit)
    }

    fn append(&mut self, result: &mut String, text: &str) -> Result<(), ExpandFault> {
        self.work += text.len();
        if result.len() + text.len() > self.limit || self.work > self.work_limit() {
            return Err(ExpandFault::TooLarge { limit: EXPANSION_LIMIT });
        }
        result.push_str(text);
        Ok(())
    }

    /// Expands up to `stop`, which is taken but not part of the result; without `stop`, to the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool, mut words: Option<&mut WordSplitter>) -> Result<String, ExpandFault> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(ExpandFault::TooDeep { limit: DEPTH_LIMIT });
        }
        let outer_raw = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let mut result = String::new();
        let mut closed = stop.is_none();
        while let Some(letter) = self.peek() {
            if stop == Some(letter) {
                self.next();
                closed = true;
                break;
            }
            let start = result.len();
            let mut may_split = true;
            match letter {
                '$' => {
                    let value = self.dollar()?;
                    self.append(&mut result, &value)?;
                }
                '\'' | '"' if self.quotes == Quotes::Processed => {
                    let value = if letter == '"' { self.double_quote()? } else { self.single_quote()? };
                    self.append(&mut result, &value)?;
                    may_split = false;
                }
                _ => {
                    self.next();
                    may_split = self.plain(letter, &mut result)?;
                }
            }
            if let Some(words) = words.as_deref_mut() {
                match may_split {
                    true => words.push_split(&result[start..]),
                    false => words.word.push_str(&result[start..]),
                }
            }
        }
        self.raw_escapes = outer_raw;
        self.depth -= 1;
        if closed { Ok(result) } else { Err(if stop == Some('/') { ExpandFault::MissingSlash } else { ExpandFault::MissingBrace }) }
    }

    /// Takes an ordinary letter or an escape with what it escapes; answers whether a blank among it parts words.
    fn plain(&mut self, letter: char, result: &mut String) -> Result<bool, ExpandFault> {
        let mut buffer = [0; 4];
        if letter != self.escape {
            self.append(result, letter.encode_utf8(&mut buffer))?;
            return Ok(true);
        }
        let next = self.peek();
        if self.quotes == Quotes::Heredoc {
            if next == Some('\n') {
                self.next();
                return Ok(true);
            }
            if !matches!(next, Some('$' | '\\' | '`')) {
                self.append(result, letter.encode_utf8(&mut buffer))?;
                return Ok(true);
            }
        }
        if self.raw_escapes {
            self.append(result, letter.encode_utf8(&mut buffer))?;
        }
        if let Some(next) = self.next() {
            self.append(result, next.encode_utf8(&mut buffer))?;
        }
        Ok(false)
    }

    fn single_quote(&mut self) -> Result<String, ExpandFault> {
        self.next();
        let rest = &self.text[self.position..];
        let length = rest.find('\'').ok_or(ExpandFault::OpenQuote { quote: "single" })?;
        self.position += length + 1;
        Ok(rest[..length].to_owned())
    }

    fn double_quote(&mut self) -> Result<String, ExpandFault> {
        self.next();
        let mut result = String::new();
        let mut buffer = [0; 4];
        loop {
            let Some(letter) = self.peek() else {
                return Err(ExpandFault::OpenQuote { quote: "double" });
            };
            if letter == '$' {
                let value = self.dollar()?;
                self.append(&mut result, &value)?;
                continue;
            }
            self.next();
            if letter == '"' {
                return Ok(result);
            }
            if letter == self.escape {
                let next = self.peek();
                let escapes = next.is_some_and(|next| matches!(next, '"' | '$') || next == self.escape);
                if self.raw_escapes || (!escapes && next.is_some()) {
                    self.append(&mut result, letter.encode_utf8(&mut buffer))?;
                }
                if let (true, Some(next)) = (escapes, next) {
                    self.next();
                    self.append(&mut result, next.encode_utf8(&mut buffer))?;
                }
                continue;
            }
            self.append(&mut result, letter.encode_utf8(&mut buffer))?;
        }
    }

    /// A variable; the position is at its dollar sign.
    fn dollar(&mut self) -> Result<String, ExpandFault> {
        if self.work > self.work_limit() {
            return Err(ExpandFault::TooLarge { limit: EXPANSION_LIMIT });
        }
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name) });
        }
        self.next();
        match self.peek() {
            None => return Err(ExpandFault::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandFault::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let modifier = self.next().ok_or(ExpandFault::MissingBrace)?;
        match modifier {
            '}' => Ok(self.value(&name)),
            ':' => match self.next() {
                Some(second @ ('-' | '+' | '?')) => self.conditional(&name, second, true),
                None => Err(ExpandFault::MissingBrace),
                Some(second) => Err(ExpandFault::UnsupportedModifier { modifier: format!(":{second}") }),
            },
            '-' | '+' | '?' => self.conditional(&name, modifier, false),
            '#' | '%' => self.trimmed(&name, modifier),
            '/' => self.replaced(&name),
            other => Err(ExpandFault::UnsupportedModifier { modifier: other.to_string() }),
        }
    }

    fn conditional(&mut self, name: &str, modifier: char, empty_is_unset: bool) -> Result<String, ExpandFault> {
        let word = self.until(Some('}'), false, None)?;
        let value = self.lookup(name);
        let is_set = value.is_some();
        let value = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (modifier, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', value) => Ok(if value.is_some() { word } else { String::new() }),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let message = match (word.is_empty(), is_set) {
                    (false, _) => word,
                    (true, false) => "is not allowed to be unset".to_owned(),
                    (true, true) => "is not allowed to be empty".to_owned(),
                };
                Err(ExpandFault::Required { name: name.to_owned(), message })
            }
        }
    }

    fn trimmed(&mut self, name: &str, modifier: char) -> Result<String, ExpandFault> {
        let word = self.until(Some('}'), true, None)?;
        let value = self.value(name);
        let (longest, pattern) = word.strip_prefix(modifier).map_or((false, word.as_str()), |pattern| (true, pattern));
        let parsed = Pattern::parse(pattern).map_err(|fault| ExpandFault::BadPattern { pattern: pattern.to_owned(), fault })?;
        let trimmed = if modifier == '#' { parsed.trim_prefix(&value, longest) } else { parsed.trim_suffix(&value, longest) };
        trimmed.map(str::to_owned).map_err(|fault| ExpandFault::BadPattern { pattern: pattern.to_owned(), fault })
    }

    fn replaced(&mut self, name: &str) -> Result<String, ExpandFault> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.until(Some('/'), true, None)?;
        let replacement = self.until(Some('}'), true, None)?;
        let value = self.value(name);
        let result = Pattern::parse(&pattern).and_then(|parsed| parsed.replace(&value, &replacement, all, self.limit));
        result.map_err(|fault| match fault {
            PatternFault::ResultTooLarge => ExpandFault::TooLarge { limit: EXPANSION_LIMIT },
            fault => ExpandFault::BadPattern { pattern, fault },
        })
    }

    /// A name: letters, digits and underscores; digits alone, or one of the shell's special signs.
    fn name(&mut self) -> String {
        let rest = &self.text[self.position..];
        let Some(first) = rest.chars().next() else {
            return String::new();
        };
        let length = if first.is_ascii_digit() {
            rest.find(|letter: char| !letter.is_ascii_digit())
        } else if "@*#?-$!".contains(first) {
            Some(first.len_utf8())
        } else {
            rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')
        };
        let name = &rest[..length.unwrap_or(rest.len())];
        self.position += name.len();
        name.to_owned()
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = (self.env)(name);
        // Copying a value is work, also when the modifier then drops it.
        self.work += value.as_ref().map_or(0, String::len);
        if value.is_some() && !self.used.contains(name) {
            self.used.insert(name.to_owned());
        }
        value
    }

    fn value(&mut self, name: &str) -> String {
        self.lookup(name).unwrap_or_else(|| {
            self.undefined.insert(name.to_owned());
            String::new()
        })
    }
}
