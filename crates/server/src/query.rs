//! The query of a request: decoded pairs, and values read as Docker reads them.

use shipway_wire::build::is_true;

use crate::error::ApiError;

/// Decoded `(name, value)` pairs in the order they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Takes the text after `?` apart. Nothing in it is an error: odd escapes stay as they are.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        });
        Self(pairs.collect())
    }

    /// The first value under `name`, empty when there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// The first value under `name`, when there is one that is not empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|value| !value.is_empty())
    }

    /// All values under `name`.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }

    /// True when `name` is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| found == name)
    }

    /// A yes-or-no argument; absent is no.
    pub fn flag(&self, name: &str) -> bool {
        is_true(self.text(name))
    }

    /// A yes-or-no argument with another default.
    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.has(name) { self.flag(name) } else { default }
    }

    /// A whole number, when there is one.
    ///
    /// # Errors
    /// With Go's text when it is not one; clients show it.
    pub fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.non_empty(name).map(|text| text.parse().map_err(|_| not_a_number(text))).transpose()
    }

    /// A whole number that must be there.
    ///
    /// # Errors
    /// With Go's text when it is absent or not a number.
    pub fn required_number<T: std::str::FromStr>(&self, name: &str) -> Result<T, ApiError> {
        let text = self.text(name);
        text.parse().map_err(|_| not_a_number(text))
    }

    /// The pairs, for readers with a table of their own.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn not_a_number(text: &str) -> ApiError {
    ApiError::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax"))
}

/// Resolves `%xx` escapes, and `+` as a space in queries. What is no escape stays; bytes that are no UTF-8 are replaced.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> String {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'+' if plus_is_space => decoded.push(b' '),
            b'%' => match (bytes.get(at).copied().and_then(hex), bytes.get(at + 1).copied().and_then(hex)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    at += 2;
                }
                _ => decoded.push(b'%'),
            },
            other => decoded.push(other),
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_in_order() {
        let query = Query::parse("t=a%2Fb%3A1&t=c&filters=%7B%22a%22%3A%5B%5D%7D&x+y=1+2&flag&&bad=%zz%4&nul=%00");
        assert_eq!(query.all("t"), ["a/b:1", "c"]);
        assert_eq!(query.text("filters"), r#"{"a":[]}"#);
        assert_eq!(query.text("x y"), "1 2");
        assert!(query.has("flag") && !query.flag("flag"));
        assert_eq!(query.text("bad"), "%zz%4");
        assert_eq!(query.text("nul"), "\0");
        assert_eq!(query.text("absent"), "");
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        assert_eq!(decode("%ff%fe", false), "\u{fffd}\u{fffd}");
        assert_eq!(decode("a+b%", false), "a+b%");
    }

    #[test]
    fn numbers_fail_with_the_text_clients_know() {
        let query = Query::parse("a=5&b=x&c=");
        assert_eq!(query.number("a").unwrap(), Some(5));
        assert_eq!(query.number("c").unwrap(), None);
        assert_eq!(query.number("b").unwrap_err().message, "strconv.Atoi: parsing \"x\": invalid syntax");
        assert_eq!(query.required_number::<u16>("c").unwrap_err().message, "strconv.Atoi: parsing \"\": invalid syntax");
    }

    #[test]
    fn flags_have_the_default_of_their_verb() {
        let query = Query::parse("a=0&b=1");
        assert!(!query.flag_or("a", true) && query.flag_or("b", false) && query.flag_or("c", true));
    }
}
