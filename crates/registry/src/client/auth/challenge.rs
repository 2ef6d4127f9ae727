//! What a server wants to see: the challenges of `WWW-Authenticate`.
//!
//! What must stay true: these bytes are a stranger's. Reading them never fails; what cannot be understood is no challenge, and at most eight are looked at.
//!
//! # Source
//! RFC 9110, sections 11.2 to 11.6.1; RFC 6750, section 3; the distribution project's "Token Authentication Specification".

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// More challenges than this are a joke at our expense.
const MOST_CHALLENGES: usize = 8;

/// One way in, by a server's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token, to be had at `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        /// What the token must allow; several are separated by spaces.
        scope: Option<String>,
        /// Why the token shown was not enough.
        error: Option<String>,
    },
    /// A scheme we do not speak.
    Other { scheme: String },
}

/// The challenges in `headers`, in their order.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
    lines.flat_map(|line| Reader { rest: line }.all()).take(MOST_CHALLENGES).collect()
}

/// A line being read.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn all(mut self) -> Vec<Challenge> {
        let mut found = Vec::new();
        while found.len() < MOST_CHALLENGES {
            self.skip(|letter| letter == ',' || letter.is_ascii_whitespace());
            let scheme = self.token();
            if scheme.is_empty() {
                break;
            }
            let parameters = self.parameters();
            found.extend(challenge(scheme, &parameters));
        }
        found
    }

    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(unwanted);
    }

    /// A word of the characters that RFC 9110 calls `tchar`.
    fn token(&mut self) -> &'a str {
        let end = self.rest.find(|letter: char| !is_token(letter)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        token
    }

    /// `name=value` pairs up to the next scheme, which is a word without `=` behind it.
    fn parameters(&mut self) -> Vec<(&'a str, String)> {
        let mut pairs = Vec::new();
        loop {
            self.skip(|letter| letter == ',' || letter.is_ascii_whitespace());
            let before = self.rest;
            let name = self.token();
            self.skip(|letter| letter.is_ascii_whitespace());
            if name.is_empty() || !self.rest.starts_with('=') {
                self.rest = before;
                return pairs;
            }
            self.rest = &self.rest[1..];
            self.skip(|letter| letter.is_ascii_whitespace());
            let value = if self.rest.starts_with('"') { self.quoted() } else { self.token().to_owned() };
            pairs.push((name, value));
        }
    }

    /// A quoted text with its escapes undone; one that does not end ends with the line.
    fn quoted(&mut self) -> String {
        let mut text = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return text;
                }
                '\\' => text.extend(letters.next().map(|(_, escaped)| escaped)),
                other => text.push(other),
            }
        }
        self.rest = "";
        text
    }
}

fn is_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

fn challenge(scheme: &str, parameters: &[(&str, String)]) -> Option<Challenge> {
    let parameter = |wanted: &str| parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.clone());
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Some(Challenge::Other { scheme: scheme.chars().take(40).collect() });
    }
    // Without a realm nobody can be asked for a token.
    let realm = parameter("realm").filter(|realm| !realm.is_empty())?;
    Some(Challenge::Bearer { realm, service: parameter("service"), scope: parameter("scope"), error: parameter("error") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, http::HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        challenges(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned), scope: scope.map(str::to_owned), error: None }
    }

    #[test]
    fn usual_challenges_are_read() {
        assert_eq!(read(&["Basic realm=\"Registry\""]), [Challenge::Basic]);
        assert_eq!(
            read(&["Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\""]),
            [bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"))]
        );
        assert_eq!(read(&["bEARER  realm = https , Service=\"a \\\"b\\\\\""]), [bearer("https", Some("a \"b\\"), None)]);
        let refused = "Bearer realm=\"https://a/t\",error=\"insufficient_scope\"";
        assert!(matches!(&read(&[refused])[..], [Challenge::Bearer { error: Some(error), .. }] if error == "insufficient_scope"));
    }

    #[test]
    fn several_in_one_line_or_in_many_are_told_apart() {
        let both = [bearer("https://a/t", None, None), Challenge::Basic];
        assert_eq!(read(&["Bearer realm=\"https://a/t\", Basic realm=\"x\""]), both);
        assert_eq!(read(&["Bearer realm=\"https://a/t\"", "Basic"]), both);
        assert_eq!(read(&["Negotiate, Basic realm=x"]), [Challenge::Other { scheme: "Negotiate".to_owned() }, Challenge::Basic]);
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for line in ["", ",,,", "=", "\"Bearer\"", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"\"", "\u{fc}", "Bearer realm"] {
            assert!(read(&[line]).iter().all(|found| matches!(found, Challenge::Other { .. })), "{line}: {:?}", read(&[line]));
        }
        assert_eq!(read(&["Bearer realm=\"https://a/t"]), [bearer("https://a/t", None, None)]);
        assert_eq!(read(&[&"Basic,".repeat(1000)]).len(), MOST_CHALLENGES);
    }
}
