//! References: what a person types to mean an image.
//!
//! The grammar is the distribution project's (`domain/path:tag@digest`); "familiar" names leave `docker.io/library/` away.
//! Limits: 255 characters of repository name, 128 of tag.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Classified, Digest, ErrorKind};

/// The registry that familiar names mean.
const DEFAULT_DOMAIN: &str = "docker.io";
/// The folder of that registry that one-word names mean.
const OFFICIAL: &str = "library/";
/// Most characters of a repository name, domain included.
const NAME_LIMIT: usize = 255;
/// Most characters of a tag.
const TAG_LIMIT: usize = 128;

/// An image's name: a repository, and perhaps a tag, and perhaps a digest.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference. Displays as dockerd words it, because clients match on it; the better words are in the hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("invalid reference format")]
    Empty,
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    UpperCase { name: String, suggestion: String },
    /// `name:sha256:...` (M-24).
    #[error("invalid reference format")]
    DigestAfterColon { suggestion: String },
    /// A name that looks like a flag (M-08).
    #[error("invalid reference format")]
    LeadingDash { suggestion: String },
    #[error("invalid reference format")]
    Grammar { text: String, position: usize },
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// `http://registry/name`.
    #[error("invalid reference format")]
    Url { scheme: String, suggestion: String },
    #[error("invalid reference format")]
    Registry { domain: String },
    #[error("invalid reference format")]
    Tag { tag: String },
    #[error("invalid reference format")]
    Digest { text: String },
    /// Sixty-four digits are an id.
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    IdLike { name: String },
}

impl Classified for ReferenceError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Empty => "an image name cannot be empty".to_owned(),
            Self::UpperCase { suggestion, .. } => format!("image names are lowercase: {suggestion}"),
            Self::DigestAfterColon { suggestion } => format!("a digest is written with @: {suggestion}"),
            Self::LeadingDash { suggestion } => format!("names start with a letter or digit; did you mean {suggestion}?"),
            Self::Grammar { text, position } => match text.chars().nth(*position) {
                Some(letter) => format!("character '{letter}' cannot stand at position {} of \"{text}\"", position + 1),
                None => format!("\"{text}\" ends too early"),
            },
            Self::Url { scheme, suggestion } => format!("an image name has no \"{scheme}://\": {suggestion}"),
            Self::Registry { domain } => {
                format!("\"{domain}\" cannot be a registry: a host name is letters, digits, - and ., perhaps with :PORT after it")
            }
            Self::Tag { tag } => format!("\"{tag}\" cannot be a tag: tags are letters, digits, _ . - and at most {TAG_LIMIT} characters"),
            Self::Digest { text } => format!("\"{text}\" is no digest: write sha256: and 64 hexadecimal digits"),
            Self::TooLong | Self::IdLike { .. } => return None,
        })
    }
}

impl Reference {
    /// The reference that `text` means. No tag is added.
    ///
    /// # Source
    /// distribution/reference grammar; familiar names as the docker command line reads them.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::IdLike { name: text.to_owned() });
        }
        if text.len() > NAME_LIMIT + TAG_LIMIT + 160 {
            return Err(ReferenceError::TooLong);
        }
        if let Some((scheme @ ("http" | "https" | "docker" | "oci"), rest)) = text.split_once("://") {
            return Err(ReferenceError::Url { scheme: scheme.to_owned(), suggestion: rest.to_owned() });
        }
        if text.starts_with('-') {
            return Err(ReferenceError::LeadingDash { suggestion: text.trim_start_matches('-').to_owned() });
        }
        let (name_and_tag, digest) = split_digest(text)?;
        let (name, tag) = split_tag(name_and_tag)?;
        let (domain, path) = split_domain(name);
        check_path(text, domain, &path)?;
        check_domain(domain)?;
        if domain.len() + 1 + path.len() > NAME_LIMIT {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(ToOwned::to_owned), digest })
    }

    /// The registry: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The path below the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Registry and path: `docker.io/library/busybox`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same with the tag `latest` when it had neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same with another tag.
    ///
    /// # Errors
    /// `Tag` when `tag` cannot be one.
    pub fn with_tag(mut self, tag: &str) -> Result<Self, ReferenceError> {
        check_tag(tag)?;
        self.tag = Some(tag.to_owned());
        Ok(self)
    }

    /// The same with a digest.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// The repository alone.
    #[must_use]
    pub fn without_tag_and_digest(mut self) -> Self {
        self.tag = None;
        self.digest = None;
        self
    }

    /// The repository as people type it: `busybox`, `diamol/base`, `localhost:5000/a`.
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference as people type it: `busybox:1`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_repository())
    }

    /// The whole reference with nothing left away: `docker.io/library/busybox:1`.
    pub fn canonical(&self) -> String {
        self.with_suffix(self.repository())
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

/// Takes `@digest` off the end.
fn split_digest(text: &str) -> Result<(&str, Option<Digest>), ReferenceError> {
    let Some((rest, digest)) = text.split_once('@') else { return Ok((text, None)) };
    let digest = digest.parse().map_err(|_| ReferenceError::Digest { text: digest.chars().take(100).collect() })?;
    Ok((rest, Some(digest)))
}

/// Takes `:tag` off the end: the colon after the last slash. A colon before it belongs to the registry's port.
fn split_tag(text: &str) -> Result<(&str, Option<&str>), ReferenceError> {
    let slash = text.rfind('/').map_or(0, |at| at + 1);
    let Some(colon) = text[slash..].find(':').map(|at| at + slash) else { return Ok((text, None)) };
    let (name, tag) = (&text[..colon], &text[colon + 1..]);
    if tag.starts_with("sha256:") || tag.starts_with("sha512:") {
        return Err(ReferenceError::DigestAfterColon { suggestion: format!("{name}@{tag}") });
    }
    check_tag(tag)?;
    Ok((name, Some(tag)))
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    let good = bytes.next().is_some_and(plain) && bytes.all(|byte| plain(byte) || matches!(byte, b'.' | b'-')) && tag.len() <= TAG_LIMIT;
    if good { Ok(()) } else { Err(ReferenceError::Tag { tag: tag.chars().take(100).collect() }) }
}

/// Splits the registry off. The first part is a registry when it has a dot, a colon or an upper-case letter, or is `localhost`.
fn split_domain(name: &str) -> (&str, String) {
    if let Some((first, rest)) = name.split_once('/') {
        let is_domain = first.contains(['.', ':'])
            || first == "localhost"
            || first.to_lowercase() != first && rest.to_lowercase() == rest && is_host(first);
        if is_domain {
            let domain = if first == "index.docker.io" { DEFAULT_DOMAIN } else { first };
            let path = if domain == DEFAULT_DOMAIN && !rest.contains('/') { format!("{OFFICIAL}{rest}") } else { rest.to_owned() };
            return (domain, path);
        }
        return (DEFAULT_DOMAIN, name.to_owned());
    }
    (DEFAULT_DOMAIN, format!("{OFFICIAL}{name}"))
}

/// True for words that can be a host name.
fn is_host(word: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    word.split('.').all(|label| !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-'))
}

fn check_domain(domain: &str) -> Result<(), ReferenceError> {
    let wrong = || ReferenceError::Registry { domain: domain.to_owned() };
    if let Some(rest) = domain.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
        let is_address = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return if is_address && is_port { Ok(()) } else { Err(wrong()) };
    }
    let (host, port) = match domain.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    };
    if is_host(host) && port.is_none_or(is_port) { Ok(()) } else { Err(wrong()) }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Path components: lower-case letters and digits, joined by one dot, one or two underscores, or any number of dashes.
fn check_path(text: &str, domain: &str, path: &str) -> Result<(), ReferenceError> {
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let shown = path.to_owned();
        return Err(ReferenceError::UpperCase { name: shown, suggestion: text.to_lowercase() });
    }
    let typed = path.strip_prefix(OFFICIAL).filter(|_| !text.contains(path)).unwrap_or(path);
    let mut begin = text.find(typed).unwrap_or_default();
    for component in typed.split('/') {
        if let Some(wrong) = misplaced(component) {
            let bad = text
                .char_indices()
                .position(|(_, letter)| !(letter.is_ascii_lowercase() || letter.is_ascii_digit() || "._-/:@[]".contains(letter)));
            let position = bad.unwrap_or_else(|| text[..begin + wrong].chars().count());
            return Err(ReferenceError::Grammar { text: text.chars().take(300).collect(), position });
        }
        begin += component.len() + 1;
    }
    debug_assert!(!domain.is_empty(), "a name without registry means the default one");
    Ok(())
}

/// Where in `component` something stands that cannot stand there; none when all is well.
fn misplaced(component: &str) -> Option<usize> {
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(word) {
        return Some(0);
    }
    let mut at = 0;
    while let Some(start) = bytes[at..].iter().position(|byte| !word(byte)).map(|gap| at + gap) {
        let length = bytes[start..].iter().take_while(|byte| !word(byte)).count();
        let joint = &bytes[start..start + length];
        if joint != b"." && joint != b"_" && joint != b"__" && joint.iter().any(|byte| *byte != b'-') {
            // A single one may be right; what follows it is not.
            return Some(start + if matches!(joint[0], b'.' | b'_' | b'-') && length > 1 { 1 } else { 0 });
        }
        at = start + length;
        if at == bytes.len() {
            return Some(start);
        }
    }
    None
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.canonical())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.canonical())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The digits of an image id or a prefix of one: `sha256:abc...` or bare hexadecimal digits. `None` when it cannot be one.
pub fn image_id_prefix(text: &str) -> Option<&str> {
    let bare = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = !bare.is_empty() && bare.len() <= 64 && bare.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then_some(bare)
}

#[cfg(test)]
mod tests;
