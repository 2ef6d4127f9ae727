//! Expansion of variables, quotes and escapes in words, by the rules of Docker's own little shell.
//!
//! What must stay true: a result never exceeds its limit, nesting never exceeds [`DEPTH_LIMIT`], and the work done is
//! bounded by [`WORK_LIMIT`] whatever the text and the variables say (`ARG` bombs double at every step).

mod machine;

use crate::ast::Word;
use crate::pattern::PatternFault;
use crate::source::Span;
use machine::{Quotes, run};
use shipway_model::{Classified, ErrorKind};

/// Most bytes one expansion may yield.
pub const EXPANSION_LIMIT: usize = 1 << 20;

/// Deepest nesting of `${a:-${b:-…}}`.
const DEPTH_LIMIT: usize = 64;

/// Most bytes written while expanding one word, counting what inner expansions wrote and outer ones threw away.
const WORK_LIMIT: usize = 16 * EXPANSION_LIMIT;

/// What a word became.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    /// Names that were looked up and found, sorted.
    pub used: Vec<String>,
    /// Names that were needed but not set, sorted. A name with a default (`${name:-x}`) is not among them.
    pub undefined: Vec<String>,
}

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {word:?}: {fault}")]
pub struct ExpandError {
    /// The beginning of the word.
    pub word: String,
    pub span: Span,
    #[source]
    pub fault: ExpandFault,
}

/// What is wrong with a word; texts as Docker prints them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandFault {
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    #[error("unexpected end of statement while looking for matching {quote}-quote")]
    OpenQuote { quote: &'static str },
    #[error("unsupported modifier ({modifier}) in substitution")]
    UnsupportedModifier { modifier: String },
    /// `${name:?message}` with the variable unset or empty.
    #[error("{name}: {message}")]
    Required { name: String, message: String },
    #[error("invalid pattern ({pattern}) in substitution: {fault}")]
    BadPattern { pattern: String, fault: PatternFault },
    #[error("the expansion is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("variables are nested deeper than {limit} levels")]
    TooDeep { limit: usize },
}

impl ExpandFault {
    /// What to write instead, where that is clear.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingBrace => Some("close the variable with }".to_owned()),
            Self::BadSubstitution => Some("write ${NAME}, or \\$ for a dollar sign".to_owned()),
            Self::OpenQuote { quote } => Some(format!("close the {quote} quote, or put a backslash before it")),
            Self::UnsupportedModifier { .. } => Some("known are :- - :+ + :? ? # ## % %% / //".to_owned()),
            _ => None,
        }
    }
}

impl Classified for ExpandError {
    fn kind(&self) -> ErrorKind {
        match self.fault {
            ExpandFault::TooLarge { .. } | ExpandFault::TooDeep { .. } => ErrorKind::Exhausted,
            _ => ErrorKind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        self.fault.hint()
    }
}

/// Expands a word to one string: variables replaced, quotes and escapes taken away.
///
/// # Errors
/// Broken syntax, `${name?}` without a value, or a result past [`EXPANSION_LIMIT`].
///
/// # Cost
/// Linear in the word and the values, within a fixed bound.
pub fn expand(word: &Word, env: &dyn Fn(&str) -> Option<String>, escape: char) -> Result<Expanded, ExpandError> {
    if word.text.len() <= EXPANSION_LIMIT && !word.text.contains(['$', '\'', '"', escape]) {
        // Most words hold nothing to expand.
        return Ok(Expanded { text: word.text.clone(), ..Expanded::default() });
    }
    run(word, env, escape, Quotes::Processed, EXPANSION_LIMIT).map(|(expanded, _)| expanded)
}

/// Expands a word and splits the result at blanks that are not quoted; blanks inside values of variables part words too.
///
/// # Errors
/// As [`expand`].
pub fn expand_words(word: &Word, env: &dyn Fn(&str) -> Option<String>, escape: char) -> Result<Vec<String>, ExpandError> {
    run(word, env, escape, Quotes::Processed, EXPANSION_LIMIT).map(|(_, words)| words)
}

/// Expands the variables of an unquoted here-document; quotes are ordinary letters there, and a backslash escapes only `$`, itself,
/// a backquote and the line end.
///
/// # Errors
/// As [`expand`]; the limit is [`EXPANSION_LIMIT`] more than the text.
pub fn expand_heredoc(content: &str, span: Span, env: &dyn Fn(&str) -> Option<String>) -> Result<Expanded, ExpandError> {
    let word = Word { text: content.to_owned(), span };
    run(&word, env, '\\', Quotes::Heredoc, EXPANSION_LIMIT + content.len()).map(|(expanded, _)| expanded)
}
