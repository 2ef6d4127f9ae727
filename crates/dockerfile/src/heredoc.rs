//! Finding here-documents on a joined line: words of the form `[n]<<[-]NAME` or `<<"NAME"`.
//!
//! A word counts only when it stands alone: `cat<<EOF` is the shell's business, `<<<` is a here-string.

/// A here-document announced on a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) name: String,
    pub(crate) file_descriptor: u32,
    pub(crate) strip_tabs: bool,
    pub(crate) expand: bool,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// All here-documents announced in `text`, which stands at `offset` of the joined line. None when a quote is left open.
pub(crate) fn find(text: &str, offset: usize, escape: char) -> Vec<Announcement> {
    if !text.contains("<<") {
        return Vec::new();
    }
    let Some(words) = shell_words(text, escape) else {
        return Vec::new();
    };
    words.into_iter().filter_map(|(start, end)| announcement(&text[start..end], offset + start, escape)).collect()
}

/// Whether the word announces a here-document.
pub(crate) fn announcement(word: &str, start: usize, escape: char) -> Option<Announcement> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let rest = word[digits..].strip_prefix("<<")?;
    let (strip_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    if rest.contains('<') {
        return None;
    }
    let file_descriptor = if digits == 0 { 0 } else { word[..digits].parse().ok()? };
    let mut name = String::new();
    let mut quoted = false;
    let mut quote: Option<char> = None;
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => name.push(letter),
            None if letter == '\'' || letter == '"' => {
                quote = Some(letter);
                quoted = true;
            }
            None if letter == escape => {
                quoted = true;
                name.extend(letters.next());
            }
            None => name.push(letter),
        }
    }
    if name.is_empty() || quote.is_some() {
        return None;
    }
    Some(Announcement { name, file_descriptor, strip_tabs, expand: !quoted, start, end: start + word.len() })
}

/// Whether a command line is nothing but one here-document.
pub(crate) fn is_lone_heredoc(line: &str) -> bool {
    let line = line.trim();
    !line.contains(char::is_whitespace) && announcement(line, 0, '\\').is_some()
}

/// Byte ranges of the words a shell would see; none when a quote is left open.
fn shell_words(text: &str, escape: char) -> Option<Vec<(usize, usize)>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote: Option<char> = None;
    let mut letters = text.char_indices();
    while let Some((position, letter)) = letters.next() {
        if quote.is_none() && letter.is_whitespace() {
            words.extend(start.take().map(|first| (first, position)));
            continue;
        }
        start.get_or_insert(position);
        match quote {
            Some(open) if letter == open => quote = None,
            Some('"') | None if letter == escape => {
                letters.next();
            }
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            _ => {}
        }
    }
    words.extend(start.map(|first| (first, text.len())));
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_stand_alone_announce() {
        let names =
            |text: &str| find(text, 0, '\\').into_iter().map(|found| (found.name, found.expand, found.strip_tabs)).collect::<Vec<_>>();
        assert_eq!(names("<<EOF"), [("EOF".to_owned(), true, false)]);
        assert_eq!(names("cat <<-'A B' <<\"C\" > x"), [("A B".to_owned(), false, true), ("C".to_owned(), false, false)]);
        assert_eq!(names("3<<E cat"), [("E".to_owned(), true, false)]);
        assert!(names("cat <<< word").is_empty());
        assert!(names("cat<<EOF").is_empty());
        assert!(names("echo \"a <<EOF b\"").is_empty());
        assert!(names("echo 'open <<EOF").is_empty());
        assert!(names("cat << EOF").is_empty());
    }
}
