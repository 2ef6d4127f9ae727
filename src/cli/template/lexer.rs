//! Text into tokens, with the byte position of each.

/// A token and where it starts in the source.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
}

/// Kinds of tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.Name`; an empty name is the dot itself. The flag tells whether it follows its neighbour without a space (`$x.Name`, `).Name`).
    Field(String, bool),
    /// `$` or `$name`.
    Variable(String),
    /// A word: keyword, function, `true`, `nil`.
    Word(String),
    /// A quoted string, unquoted; a character constant becomes a number.
    Quoted(String),
    /// A number as written.
    Number(String),
    /// `|`
    Pipe,
    /// `(`
    Left,
    /// `)`
    Right,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
}

/// Cuts `source` into tokens.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let mut out = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    while at < source.len() {
        let rest = &source[at..];
        let open = rest.find("{{");
        let mut text = match open {
            Some(offset) => &rest[..offset],
            None => rest,
        };
        let text_length = text.len();
        if trim_next {
            text = text.trim_start();
        }
        let trims = open.is_some_and(|offset| {
            let after = &rest[offset + 2..];
            after.starts_with('-') && after[1..].starts_with(char::is_whitespace)
        });
        if trims {
            text = text.trim_end();
        }
        if !text.is_empty() {
            out.push(Token { kind: Kind::Text(text.to_owned()), at });
        }
        at += text_length;
        if open.is_none() {
            break;
        }
        let opened_at = at;
        at += 2 + usize::from(trims);
        let inside = &source[at..];
        let body = inside.trim_start();
        if let Some(comment) = body.strip_prefix("/*") {
            let Some(end) = comment.find("*/") else { return Err(error(source, opened_at, "unclosed comment")) };
            let comment_end = at + (inside.len() - body.len()) + 2 + end + 2;
            let after = &source[comment_end..];
            let close = after.trim_start();
            let (dash, close) = match close.strip_prefix('-') {
                Some(close) => (true, close),
                None => (false, close),
            };
            let Some(remaining) = close.strip_prefix("}}") else {
                return Err(error(source, opened_at, "comment ends before closing delimiter"));
            };
            at = source.len() - remaining.len();
            trim_next = dash;
            continue;
        }
        out.push(Token { kind: Kind::Open, at: opened_at });
        (at, trim_next) = action(source, at, &mut out)?;
    }
    Ok(out)
}

/// Tokens of one action up to and with its `}}`; answers the position after it and whether following text loses its leading space.
fn action(source: &str, start: usize, out: &mut Vec<Token>) -> Result<(usize, bool), String> {
    let mut at = start;
    let mut spaced = true;
    loop {
        let rest = &source[at..];
        let Some(letter) = rest.chars().next() else { return Err(error(source, start, "unclosed action")) };
        if rest.starts_with("}}") {
            out.push(Token { kind: Kind::Close, at });
            return Ok((at + 2, false));
        }
        if letter == '-' && rest[1..].starts_with("}}") && spaced {
            out.push(Token { kind: Kind::Close, at });
            return Ok((at + 3, true));
        }
        if letter.is_whitespace() {
            at += letter.len_utf8();
            spaced = true;
            continue;
        }
        let (kind, length) = one(source, at, spaced)?;
        out.push(Token { kind, at });
        at += length;
        spaced = false;
    }
}

fn one(source: &str, at: usize, spaced: bool) -> Result<(Kind, usize), String> {
    let rest = &source[at..];
    let letter = rest.chars().next().unwrap_or('\0');
    let next = rest[letter.len_utf8()..].chars().next();
    Ok(match letter {
        '|' => (Kind::Pipe, 1),
        '(' => (Kind::Left, 1),
        ')' => (Kind::Right, 1),
        ',' => (Kind::Comma, 1),
        '=' => (Kind::Assign, 1),
        ':' if rest.starts_with(":=") => (Kind::Declare, 2),
        '"' => quoted(source, at)?,
        '`' => match rest[1..].find('`') {
            Some(end) => (Kind::Quoted(rest[1..=end].to_owned()), end + 2),
            None => return Err(error(source, at, "unterminated raw quoted string")),
        },
        '.' if !next.is_some_and(|next| next.is_ascii_digit()) => {
            let name = word(&rest[1..]);
            (Kind::Field(name.to_owned(), !spaced), 1 + name.len())
        }
        '$' => {
            let name = word(&rest[1..]);
            (Kind::Variable(name.to_owned()), 1 + name.len())
        }
        letter
            if letter.is_ascii_digit()
                || ((letter == '-' || letter == '+' || letter == '.') && next.is_some_and(|n| n.is_ascii_digit())) =>
        {
            let length = 1 + rest[1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')).unwrap_or(rest.len() - 1);
            (Kind::Number(rest[..length].to_owned()), length)
        }
        letter if letter.is_alphabetic() || letter == '_' => {
            let name = word(rest);
            (Kind::Word(name.to_owned()), name.len())
        }
        other => return Err(error(source, at, &format!("unexpected {other:?} in command"))),
    })
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(text.len());
    &text[..end]
}

fn quoted(source: &str, at: usize) -> Result<(Kind, usize), String> {
    let mut out = String::new();
    let mut letters = source[at + 1..].char_indices();
    while let Some((offset, letter)) = letters.next() {
        match letter {
            '"' => return Ok((Kind::Quoted(out), offset + 2)),
            '\n' => break,
            '\\' => match letters.next().map(|(_, escaped)| escaped) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(escaped) => out.push(escaped),
                None => break,
            },
            letter => out.push(letter),
        }
    }
    Err(error(source, at, "unterminated quoted string"))
}

/// Go's form of a parse error: `template: :LINE: message`.
pub(super) fn error(source: &str, at: usize, message: &str) -> String {
    let line = 1 + source.as_bytes()[..at.min(source.len())].iter().filter(|byte| **byte == b'\n').count();
    format!("template: :{line}: {message}")
}
