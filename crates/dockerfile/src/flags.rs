//! Builder flags: `--name[=value]` words between the keyword and the arguments.

use crate::ast::Word;
use crate::diagnostic::Diagnostic;
use crate::instruction::LineContext;
use crate::nearest::nearest;

/// A flag as typed; quotes and backslashes in it are already undone, as Docker does.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    name: String,
    value: Option<String>,
    start: usize,
    value_start: usize,
    end: usize,
}

/// What a flag may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlagKind {
    Text,
    /// `--name`, `--name=true`, `--name=false`.
    Switch,
    /// Text, any number of times.
    Repeated,
}

/// Splits leading flags off `text` (at `offset` of the joined line); answers them and where the rest starts.
pub(crate) fn extract(text: &str, offset: usize) -> (Vec<Flag>, usize) {
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start();
        let start = text.len() - trimmed.len();
        let Some(body) = trimmed.strip_prefix("--") else {
            return (flags, start);
        };
        if body.is_empty() || body.starts_with(char::is_whitespace) {
            // A bare `--` ends the flags.
            return (flags, start + 2);
        }
        let (word, length, equals) = unquoted_word(trimmed);
        let (name, value) = match word[2..].split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word[2..].to_owned(), None),
        };
        let value_start = equals.map_or(start + length, |equals| start + equals + 1);
        flags.push(Flag { name, value, start: offset + start, value_start: offset + value_start, end: offset + start + length });
        rest = &trimmed[length..];
    }
}

/// The first word of `text` with quotes and backslashes undone, its length as typed, and where its first `=` stands.
fn unquoted_word(text: &str) -> (String, usize, Option<usize>) {
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut equals = None;
    let mut letters = text.char_indices();
    while let Some((position, letter)) = letters.next() {
        match quote {
            Some(open) if letter == open => {
                quote = None;
                continue;
            }
            None if letter.is_whitespace() => return (word, position, equals),
            None if letter == '\'' || letter == '"' => {
                quote = Some(letter);
                continue;
            }
            _ => {}
        }
        if letter == '=' && equals.is_none() {
            equals = Some(position);
        }
        if letter == '\\' && quote != Some('\'') {
            word.extend(letters.next().map(|(_, next)| next));
        } else {
            word.push(letter);
        }
    }
    (word, text.len(), equals)
}

/// The flags of one instruction after they were checked against what it knows.
pub(crate) struct Flags {
    flags: Vec<Flag>,
}

impl Flags {
    /// Reports unknown, doubled, valueless and non-boolean flags; answers `None` when there was any.
    pub(crate) fn check(line: &mut LineContext<'_>, flags: Vec<Flag>, keyword: &str, known: &[(&str, FlagKind)]) -> Option<Self> {
        let mut good = true;
        let mut seen: Vec<&str> = Vec::new();
        for flag in &flags {
            if !good && line.is_full() {
                continue;
            }
            let span = line.span(flag.start..flag.end);
            let typed = format!("--{}", flag.name);
            let Some((name, kind)) = known.iter().find(|(name, _)| *name == flag.name) else {
                good = false;
                let hint = match nearest(&flag.name, known.iter().map(|(name, _)| *name)) {
                    Some(name) => Some(format!("did you mean --{name}?")),
                    None if known.is_empty() => Some(format!("{keyword} takes no flags")),
                    None => Some(format!(
                        "{keyword} knows {}",
                        known.iter().map(|(name, _)| format!("--{name}")).collect::<Vec<_>>().join(", ")
                    )),
                };
                let docker = line.docker(format!("unknown flag: {typed}"));
                line.report(
                    Diagnostic::error("E-FLAG-UNKNOWN", span, format!("{keyword} has no flag \"{typed}\"")).hint_if(hint).docker(docker),
                );
                continue;
            };
            let problem = match (kind, flag.value.as_deref()) {
                (FlagKind::Text | FlagKind::Repeated, None) => Some((
                    "E-FLAG-VALUE",
                    format!("the flag \"{typed}\" needs a value: {typed}=VALUE"),
                    format!("missing a value on flag: {typed}"),
                )),
                (FlagKind::Switch, Some(value)) if !value.eq_ignore_ascii_case("true") && !value.eq_ignore_ascii_case("false") => Some((
                    "E-FLAG-VALUE",
                    format!("the flag \"{typed}\" is true or false, not \"{value}\""),
                    format!("expecting boolean value for flag {typed}, not: {value}"),
                )),
                (FlagKind::Text | FlagKind::Switch, _) if seen.contains(name) => {
                    Some(("E-FLAG-DUPLICATE", format!("the flag \"{typed}\" is given twice"), format!("duplicate flag specified: {typed}")))
                }
                _ => None,
            };
            if let Some((code, message, docker)) = problem {
                good = false;
                let docker = line.docker(docker);
                line.report(Diagnostic::error(code, span, message).docker(docker));
            }
            seen.push(name);
        }
        good.then_some(Self { flags })
    }

    /// The value of a text flag.
    pub(crate) fn text(&self, line: &LineContext<'_>, name: &str) -> Option<Word> {
        self.repeated(line, name).into_iter().next()
    }

    /// The values of a repeated flag.
    pub(crate) fn repeated(&self, line: &LineContext<'_>, name: &str) -> Vec<Word> {
        let values = self.flags.iter().filter(|flag| flag.name == name);
        values.map(|flag| Word { text: flag.value.clone().unwrap_or_default(), span: line.span(flag.value_start..flag.end) }).collect()
    }

    /// The value of a switch, if it was given.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        let flag = self.flags.iter().find(|flag| flag.name == name)?;
        Some(flag.value.as_deref().is_none_or(|value| value.eq_ignore_ascii_case("true")))
    }
}
