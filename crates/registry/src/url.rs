//! Addresses of things on the web that can be printed without harm.
//!
//! What must stay true: neither `Display` nor `Debug` shows user, password or query (S-406); who needs them says so by `exposed`. Only http and https
//! addresses with a host exist as values of `Url`.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::Error;

/// What stands where a secret was.
const HIDDEN: &str = "[secret]";

/// An http or https address.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(url::Url);

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, in lower case and ASCII.
    Name(String),
    Address(IpAddr),
}

/// Where trust ends: secrets given for one origin never go to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether it is reached through TLS.
    pub secure: bool,
    pub host: Host,
    pub port: u16,
}

impl Url {
    /// Reads an absolute address. Characters that must be escaped are, names in other scripts become ASCII; a fragment is dropped, since no server ever
    /// sees one.
    ///
    /// # Errors
    /// `InvalidUrl` for what is no address, `Unsupported` for other schemes than http and https. Neither repeats the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::checked(url::Url::parse(text))
    }

    /// The address that `location`, found in an answer from this one, means.
    ///
    /// # Errors
    /// As for [`Url::parse`].
    pub fn join(&self, location: &str) -> Result<Self, Error> {
        Self::checked(self.0.join(location))
    }

    fn checked(parsed: Result<url::Url, url::ParseError>) -> Result<Self, Error> {
        let mut url = parsed.map_err(|source| Error::InvalidUrl { reason: source.to_string() })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::Unsupported { what: format!("downloading by \"{}\"", url.scheme()) });
        }
        if url.host().is_none() || url.port_or_known_default().is_none_or(|port| port == 0) {
            return Err(Error::InvalidUrl { reason: "it names no host and port".to_owned() });
        }
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// Whether it is an https address.
    pub fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The host without port.
    pub fn host(&self) -> Host {
        match self.0.host() {
            Some(url::Host::Ipv4(address)) => Host::Address(address.into()),
            Some(url::Host::Ipv6(address)) => Host::Address(address.into()),
            Some(url::Host::Domain(name)) => Host::Name(name.to_owned()),
            // `checked` lets no address without host through.
            None => Host::Name(String::new()),
        }
    }

    /// The port, given or usual.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> Origin {
        Origin { secure: self.is_secure(), host: self.host(), port: self.port() }
    }

    /// The whole address, secrets included. Whoever calls this answers for where it goes.
    pub fn exposed(&self) -> &str {
        self.0.as_str()
    }

    /// The same address in plain http, for registries known not to speak TLS. The port stays: an https address without one meant 443, plain http means 80.
    ///
    /// # Errors
    /// None that a valid address could cause.
    pub(crate) fn as_plain(&self) -> Result<Self, Error> {
        match self.0.as_str().strip_prefix("https://") {
            Some(rest) => Self::parse(&format!("http://{rest}")),
            None => Ok(self.clone()),
        }
    }

    /// The same address with more pairs in its query.
    ///
    /// # Errors
    /// As for [`Url::parse`].
    pub(crate) fn with_pairs(&self, pairs: &[(&str, &str)]) -> Result<Self, Error> {
        let mut url = self.0.clone();
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Self::checked(Ok(url))
    }

    /// What a server is asked for: path and query.
    pub(crate) fn path_and_query(&self) -> &str {
        &self.0[url::Position::BeforePath..]
    }

    /// Scheme, host, port, path and query: what a proxy is asked for. User and password travel in a header only.
    pub(crate) fn absolute_form(&self) -> String {
        format!("{}{}", &self.0.origin().ascii_serialization(), self.path_and_query())
    }

    /// The value of `Host`: the port only where it is not the usual one.
    pub(crate) fn host_header(&self) -> &str {
        &self.0[url::Position::BeforeHost..url::Position::AfterPort]
    }

    /// User and password of the address as a value for `Authorization`.
    ///
    /// # Source
    /// RFC 7617, section 2.
    pub(crate) fn basic_authorization(&self) -> Option<HeaderValue> {
        if self.0.username().is_empty() && self.0.password().is_none() {
            return None;
        }
        let mut both = unescape(self.0.username());
        both.push(b':');
        both.extend(unescape(self.0.password().unwrap_or_default()));
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(both))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Undoes percent escapes; what is no escape stays.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                plain.push(high << 4 | low);
                at += 3;
            }
            (byte, ..) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    plain
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://", self.0.scheme())?;
        if !self.0.username().is_empty() || self.0.password().is_some() {
            write!(out, "{HIDDEN}@")?;
        }
        write!(out, "{}{}", self.host_header(), self.0.path())?;
        if self.0.query().is_some() { write!(out, "?{HIDDEN}") } else { Ok(()) }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => out.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(out, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(out, "[{address}]"),
        }
    }
}

impl Origin {
    /// `host:port`, always with the port.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::{Url, unescape};

    #[test]
    fn secrets_are_never_printed() {
        let url = Url::parse("https://user:T0KEN@Files.Example:8443/a%20b?sig=T0KEN#part").unwrap();
        assert_eq!(format!("{url} {url:?}"), ["https://[secret]@files.example:8443/a%20b?[secret]"; 2].join(" "));
        assert_eq!(url.exposed(), "https://user:T0KEN@files.example:8443/a%20b?sig=T0KEN");
        for bad in ["https://user:T0KEN@", "ftp://user:T0KEN@host/x", "http://T0KEN:x@[::1", "T0KEN", "http://host:0/T0KEN"] {
            let error = Url::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("T0KEN"), "{error:?}");
        }
    }

    #[test]
    fn requests_carry_the_parts_they_need() {
        let url = Url::parse("http://u%40x:p%3A@[::1]:80/a?b=c").unwrap();
        assert_eq!((url.path_and_query(), url.host_header(), url.absolute_form().as_str()), ("/a?b=c", "[::1]", "http://[::1]/a?b=c"));
        let authorization = url.basic_authorization().unwrap();
        assert!(authorization.is_sensitive());
        // printf 'u@x:p:' | base64
        assert_eq!(authorization.to_str().unwrap(), "Basic dUB4OnA6");
        assert_eq!(url.origin().authority(), "[::1]:80");
    }

    #[test]
    fn locations_are_read_relative_to_where_they_were_found() {
        let url = Url::parse("https://host/a/b?c").unwrap();
        for (location, meant) in
            [("/x", "https://host/x"), ("y", "https://host/a/y"), ("//other/z", "https://other/z"), ("?q", "https://host/a/b?q")]
        {
            assert_eq!(url.join(location).unwrap().exposed(), meant);
        }
        assert!(url.join("file:///etc/passwd").is_err());
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(unescape("%41%4"), b"A%4");
        assert_eq!(unescape("%zz%C3%A9"), "%zz\u{e9}".as_bytes());
    }
}
