//! Addresses with what nobody else should read left out: user, password and query (S-406).
//!
//! What must stay true: displays, histories and records show instructions through this; only the download itself sees the address as written.

use std::ops::Range;

/// What stands where a secret was.
const HIDDEN: &str = "[secret]";

/// `text` with the secrets of every address in it hidden.
pub fn without_secrets(text: &str) -> String {
    replaced(text, |_| HIDDEN.to_owned())
}

/// The same with every character in its place, for excerpts with a mark below them.
pub(crate) fn masked(text: &str) -> String {
    replaced(text, |secret| "*".repeat(secret.chars().count()))
}

fn replaced(text: &str, by: impl Fn(&str) -> String) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut end = 0;
    for secret in secrets(text) {
        shown.push_str(&text[end..secret.start]);
        shown.push_str(&by(&text[secret.clone()]));
        end = secret.end;
    }
    shown.push_str(&text[end..]);
    shown
}

/// Where the user with the password, and the query, of each address stand.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let start = from + at + 3;
        let address = &text[start..];
        let ends = |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | ',' | ']');
        let address = &address[..address.find(ends).unwrap_or(address.len())];
        let before_fragment = address.split('#').next().unwrap_or(address);
        let before_query = before_fragment.split('?').next().unwrap_or(before_fragment);
        let authority = before_query.split('/').next().unwrap_or(before_query);
        if let Some(user) = authority.rfind('@') {
            found.push(start..start + user);
        }
        if before_query.len() < before_fragment.len() {
            found.push(start + before_query.len() + 1..start + before_fragment.len());
        }
        from = start + address.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_passwords_and_queries_are_hidden_and_nothing_else() {
        for (text, shown) in [
            ("ADD https://u:T0KEN@host/a /x/", "ADD https://[secret]@host/a /x/"),
            ("ADD [\"https://T0KEN@host/a?key=T0KEN\", \"/x\"]", "ADD [\"https://[secret]@host/a?[secret]\", \"/x\"]"),
            ("ADD https://u:p@T0KEN@host/@scope/a#b /x", "ADD https://[secret]@host/@scope/a#b /x"),
            ("ADD http://host/a http://u@other?T0KEN /x/", "ADD http://host/a http://[secret]@other?[secret] /x/"),
            ("ADD https://host/a /x@y?z", "ADD https://host/a /x@y?z"),
            ("ADD a b", "ADD a b"),
        ] {
            assert_eq!(without_secrets(text), shown);
            assert_eq!(masked(text).len(), text.len());
            assert!(!masked(text).contains("T0KEN"));
        }
    }
}
