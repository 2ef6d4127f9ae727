//! Parser directives: `# syntax=`, `# escape=`, `# check=` at the very top of a file.
//!
//! They end at the first line that is anything else, also a blank line, a plain comment or an unknown key.

use crate::diagnostic::{Diagnostic, Sink};
use crate::source::{LineIndex, Span};

/// What the top of the file says about the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// Frontend image asked for with `# syntax=`, as typed.
    pub syntax: Option<(String, Span)>,
    /// The escape character: a backslash, or a backquote.
    pub escape: char,
    pub check: CheckDirective,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: CheckDirective::default() }
    }
}

/// `# check=skip=A,B;error=true;experimental=all`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckDirective {
    /// Names of checks that stay silent; `all` silences every one.
    pub skip: Vec<String>,
    /// Names of opt-in checks that shall speak; `all` wakes every one.
    pub experimental: Vec<String>,
    /// Findings stop the build.
    pub error: bool,
}

impl CheckDirective {
    /// Reads the value of the directive, or of the build argument `BUILDKIT_DOCKERFILE_CHECK`.
    ///
    /// # Errors
    /// The option that is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut check = Self::default();
        let names = |list: &str| list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        for option in text.split(';').map(str::trim).filter(|option| !option.is_empty()) {
            let Some((key, value)) = option.split_once('=') else {
                return Err(option.to_owned());
            };
            match (key.trim(), value.trim()) {
                ("skip", list) => check.skip = names(list),
                ("experimental", list) => check.experimental = names(list),
                ("error", "true" | "1" | "t" | "T" | "TRUE" | "True") => check.error = true,
                ("error", "false" | "0" | "f" | "F" | "FALSE" | "False") => check.error = false,
                _ => return Err(option.to_owned()),
            }
        }
        Ok(check)
    }
}

/// Reads the directives; also answers how many lines they take.
pub(crate) fn read(index: &LineIndex<'_>, sink: &mut Sink) -> (Directives, usize) {
    let mut directives = Directives::default();
    let mut seen: Vec<String> = Vec::new();
    for line in 0..index.line_count() {
        let range = index.line_range(line);
        let text = &index.text()[range.clone()];
        let Some((key, value, value_start)) = split_directive(text) else {
            return (directives, line);
        };
        let key = key.to_ascii_lowercase();
        let span = index.span(range.start..range.end);
        let value_span = index.span(range.start + value_start..range.start + value_start + value.len());
        if !matches!(key.as_str(), "syntax" | "escape" | "check") {
            return (directives, line);
        }
        let docker_line = line + 1;
        if seen.contains(&key) {
            sink.push(
                Diagnostic::error("E-DIRECTIVE-DUPLICATE", span, format!("the directive \"{key}\" stands here a second time"))
                    .because("a parser directive may be used once")
                    .docker(format!("dockerfile parse error on line {docker_line}: only one {key} parser directive can be used")),
            );
            continue;
        }
        match key.as_str() {
            "syntax" => directives.syntax = Some((value.to_owned(), value_span)),
            "escape" => match value {
                "\\" => directives.escape = '\\',
                "`" => directives.escape = '`',
                other => sink.push(
                    Diagnostic::error("E-DIRECTIVE-ESCAPE", value_span, format!("the escape character cannot be \"{other}\""))
                        .hint("use \\ or `")
                        .docker(format!(
                            "dockerfile parse error on line {docker_line}: invalid escape token '{other}' does not match ` or \\"
                        )),
                ),
            },
            _ => match CheckDirective::parse(value) {
                Ok(check) => directives.check = check,
                Err(option) => sink.push(
                    Diagnostic::error("E-DIRECTIVE-CHECK", value_span, format!("the check directive does not know \"{option}\""))
                        .hint("write check=skip=NAME,NAME;error=true;experimental=NAME, each part optional"),
                ),
            },
        }
        seen.push(key);
    }
    (directives, index.line_count())
}

/// Splits `# key = value`; the last part is the byte where the value starts.
fn split_directive(line: &str) -> Option<(&str, &str, usize)> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start();
    let key_length = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
    if key_length == 0 || !rest.as_bytes()[0].is_ascii_alphabetic() {
        return None;
    }
    let (key, rest) = rest.split_at(key_length);
    let value = rest.trim_start().strip_prefix('=')?.trim();
    if value.is_empty() {
        return None;
    }
    Some((key, value, value.as_ptr() as usize - line.as_ptr() as usize))
}
