//! The file name a server suggests.
//!
//! # Source
//! RFC 6266 (`Content-Disposition`), RFC 8187 (`filename*`).

use http::HeaderMap;
use http::header::CONTENT_DISPOSITION;

use crate::url::unescape;

/// Longest name of a file on Linux file systems (NAME_MAX), in bytes.
const NAME_MAX: usize = 255;

/// The last component of the name in `Content-Disposition`, when it is one a file can have. What stands before it is a path on somebody else's machine and
/// means nothing here (S-404).
pub(super) fn file_name(headers: &HeaderMap) -> Option<String> {
    let value = String::from_utf8_lossy(headers.get(CONTENT_DISPOSITION)?.as_bytes()).into_owned();
    let parameters = parameters(&value);
    let find = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let name = find("filename*").and_then(|value| extended(&value)).or_else(|| find("filename"))?;
    let name = name.rsplit(['/', '\\']).next()?;
    let plain = !name.is_empty() && name.len() <= NAME_MAX && !matches!(name, "." | "..") && !name.chars().any(char::is_control);
    plain.then(|| name.to_owned())
}

/// The `name=value` pairs after the first semicolon; values may be quoted.
fn parameters(value: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', '\t', ';']).to_ascii_lowercase();
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => match after.split_once(';') {
                Some((value, left)) => (value.trim_end().to_owned(), left),
                None => (after.trim_end().to_owned(), ""),
            },
        };
        found.push((name, value));
        rest = left;
    }
    found
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
            other => text.push(other),
        }
    }
    (text, "")
}

/// `charset'language'escaped`; only the charset that RFC 8187 demands is known.
fn extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_, escaped) = rest.split_once('\'')?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    String::from_utf8(unescape(escaped)).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    #[test]
    fn names_are_last_components_of_what_servers_say() {
        for (value, name) in [
            ("attachment; filename=a.txt", Some("a.txt")),
            ("attachment; FileName=\"a b.txt\"; size=3", Some("a b.txt")),
            (r#"attachment; filename="a\"b;c""#, Some("a\"b;c")),
            ("attachment; filename=plain; filename*=UTF-8''%e2%82%ac.txt", Some("\u{20ac}.txt")),
            ("attachment; filename*=latin1''x; filename=plain", Some("plain")),
            ("attachment; filename*=UTF-8''..%2f..%2fetc%2fpasswd", Some("passwd")),
            (r#"attachment; filename="C:\\x\\y.exe""#, Some("y.exe")),
            ("attachment; filename=../..", None),
            ("attachment; filename=\"\"", None),
            ("attachment; filename*=UTF-8''a%00b", None),
            ("attachment; filename=\"open", Some("open")),
            ("attachment", None),
            ("filename=a", None),
            (";;=;\"", None),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_DISPOSITION, HeaderValue::from_str(value).unwrap())]);
            assert_eq!(super::file_name(&headers).as_deref(), name, "{value}");
        }
    }
}
