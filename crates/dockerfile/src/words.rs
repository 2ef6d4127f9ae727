//! Splitting a joined line into words, the two ways Dockerfiles know: at blanks, and at blanks outside quotes.

/// A word and where it stands in the joined text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawWord {
    pub(crate) text: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The blanks that part words on a line; wider Unicode blanks are ordinary letters to Docker.
pub(crate) fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

/// Words between blanks; quotes mean nothing here (FROM, EXPOSE, plain COPY).
pub(crate) fn split_blanks(text: &str, offset: usize) -> Vec<RawWord> {
    let mut words = Vec::new();
    let mut start = None;
    for (position, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        match (is_blank(letter), start) {
            (false, None) => start = Some(position),
            (true, Some(first)) => {
                words.push(RawWord { text: text[first..position].to_owned(), start: offset + first, end: offset + position });
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// Words between blanks outside quotes; quotes and escapes stay in the words (ENV, LABEL, ARG). An open quote runs to the end.
/// An escape character at the very end is dropped.
pub(crate) fn split_quoted(text: &str, offset: usize, escape: char) -> Vec<RawWord> {
    let mut words = Vec::new();
    let mut word: Option<RawWord> = None;
    let mut quote: Option<char> = None;
    let mut letters = text.char_indices().peekable();
    while let Some((position, letter)) = letters.next() {
        if quote.is_none() && letter.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let current = word.get_or_insert_with(|| RawWord { text: String::new(), start: offset + position, end: 0 });
        current.end = offset + position + letter.len_utf8();
        match quote {
            Some(open) if letter == open => quote = None,
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            _ => {}
        }
        // Nothing can be escaped between single quotes.
        if letter == escape && quote != Some('\'') {
            let Some((next_position, next)) = letters.next() else {
                continue;
            };
            current.text.push(letter);
            current.text.push(next);
            current.end = offset + next_position + next.len_utf8();
        } else {
            current.text.push(letter);
        }
    }
    words.extend(word.filter(|word| !word.text.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together_and_stay() {
        let texts = |text: &str| split_quoted(text, 0, '\\').into_iter().map(|word| word.text).collect::<Vec<_>>();
        assert_eq!(texts(r#"a="b c" d='e f' g\ h"#), [r#"a="b c""#, "d='e f'", r"g\ h"]);
        assert_eq!(texts(r#"a="b \" c" x"#), [r#"a="b \" c""#, "x"]);
        assert_eq!(texts(r"a='b\' c"), [r"a='b\'", "c"]);
        assert_eq!(texts("a=\"open b"), ["a=\"open b"]);
        assert_eq!(texts("a \\"), ["a"]);
        assert_eq!(texts("  "), Vec::<String>::new());
    }

    #[test]
    fn words_know_their_places() {
        let words = split_blanks("  a  bc", 10);
        assert_eq!(words[1], RawWord { text: "bc".into(), start: 15, end: 17 });
    }
}
