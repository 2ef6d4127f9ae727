//! Names in addresses: repositories, tags, and what stands after `/manifests/`.
//!
//! What must stay true: a value of these types is safe as a path below the storage folder, because only the grammar's letters are in it: no `..`, no
//! `%2f`, no leading dot or underscore in a component (S-512). Nothing is decoded before it is checked.
//!
//! # Source
//! OCI distribution-spec 1.1, "Pulling manifests" (the two regular expressions).

use std::fmt;

use shipway_model::Digest;

use crate::codes::{Code, Refusal};

/// Most characters of a repository's name: clients have 255 for it and the host together.
const NAME_LIMIT: usize = 255;
/// Most characters of a tag.
const TAG_LIMIT: usize = 128;

/// The name of a repository, below the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// How a manifest is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestReference {
    Tag(Tag),
    Digest(Digest),
}

impl RepositoryName {
    /// The name that `text` is, unchanged.
    ///
    /// # Errors
    /// `NAME_INVALID`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() <= NAME_LIMIT && text.split('/').all(is_component) {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(NAME_LIMIT).collect();
        Err(Refusal::new(Code::NameInvalid, "invalid repository name: lower-case letters and digits, separated by . _ __ - or /")
            .detail(serde_json::json!({ "name": shown })))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !is_plain(*first) || !is_plain(*last) {
        return false;
    }
    bytes.split(|byte| is_plain(*byte)).all(|separator| match separator {
        [] | b"." | b"_" | b"__" => true,
        dashes => dashes.iter().all(|byte| *byte == b'-'),
    })
}

impl Tag {
    /// The tag that `text` is; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let first_fits = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let fits = first_fits && text.len() <= TAG_LIMIT && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        fits.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tags are listed without regard to case; equal ones by their bytes.
    pub(crate) fn sort_key(text: &str) -> (String, &str) {
        (text.to_ascii_lowercase(), text)
    }
}

impl ManifestReference {
    /// What `text` means: with a colon a digest, otherwise a tag.
    ///
    /// # Errors
    /// `DIGEST_INVALID` or `TAG_INVALID`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.contains(':') || text.contains('%') {
            return parse_digest(text).map(Self::Digest);
        }
        Tag::parse(text).map(Self::Tag).ok_or_else(|| {
            let shown: String = text.chars().take(TAG_LIMIT).collect();
            Refusal::new(Code::TagInvalid, "invalid tag: letters, digits, _ . and -, at most 128")
                .detail(serde_json::json!({ "tag": shown }))
        })
    }
}

/// The digest that `text` is. Some clients write its colon as `%3A`; nothing else is decoded.
///
/// # Errors
/// `DIGEST_INVALID`.
pub(super) fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    let plain = text.replacen("%3A", ":", 1).replacen("%3a", ":", 1);
    plain.parse().map_err(|error: shipway_model::DigestError| Refusal::new(Code::DigestInvalid, error.to_string()))
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for ManifestReference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(out),
            Self::Digest(digest) => digest.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_names_is_strict() {
        for good in ["a", "library/ubuntu", "a.b_c__d-e---f/0", "a/b/c/d/e", &"a".repeat(255)] {
            assert!(RepositoryName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "a/..",
            "../a",
            "a/../b",
            "a..b",
            "a___b",
            "a._b",
            "A",
            "a/B",
            "_a",
            "-a",
            "a-",
            "a_",
            "a%2fb",
            "a%2Fb",
            "ä",
            "a b",
            "a\0",
            "a\\b",
            "a:b",
            "a@b",
            "_blobs",
            "a/_tags",
            "uploads\n",
            &long,
        ] {
            assert!(RepositoryName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reference_is_a_tag_or_a_digest() {
        for good in ["latest", "_x", "V1.2-rc_3", &"9".repeat(128)] {
            assert!(matches!(ManifestReference::parse(good), Ok(ManifestReference::Tag(_))), "{good}");
        }
        let digest = Digest::sha256_of(b"").to_string();
        for good in [digest.clone(), digest.replace(':', "%3A")] {
            assert!(matches!(ManifestReference::parse(&good), Ok(ManifestReference::Digest(_))), "{good}");
        }
        for bad in
            ["", ".a", "-a", "..", "a/b", "a b", &"9".repeat(129), "sha256:x", "md5:aa", "a%2fb", "sha256:../../x", &digest.to_uppercase()]
        {
            assert!(ManifestReference::parse(bad).is_err(), "{bad}");
        }
    }
}
