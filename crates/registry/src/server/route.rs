//! Which question an address asks.
//!
//! Read from the right, because repositories' names have slashes and may have components called `blobs` or `manifests`. Nothing is decoded: a name with
//! an escape in it is no name.

use http::{HeaderValue, Method, StatusCode, header};
use shipway_model::Digest;

use super::names::{ManifestReference, RepositoryName, parse_digest};
use crate::codes::{Code, Refusal};

/// A question, whatever the method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`
    Base,
    /// `/token`
    Token,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryName, ManifestReference),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, String),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
}

/// Most characters of an upload's id; ours have 36.
const ID_LIMIT: usize = 64;

impl Route {
    /// The question `path` asks.
    ///
    /// # Errors
    /// `NAME_INVALID`, `DIGEST_INVALID`, `TAG_INVALID`, or a 404 for an address that is none of ours.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let nowhere = || Refusal::new(Code::Unsupported, "no such address").status(StatusCode::NOT_FOUND);
        let rest = match path {
            "/v2" | "/v2/" => return Ok(Self::Base),
            "/token" => return Ok(Self::Token),
            "/v2/_catalog" => return Ok(Self::Catalog),
            _ => path.strip_prefix("/v2/").ok_or_else(nowhere)?,
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let name = |count: usize| RepositoryName::parse(&parts[..parts.len() - count].join("/"));
        match parts.as_slice() {
            [_, .., "blobs", "uploads", ""] => Ok(Self::Uploads(name(3)?)),
            [_, .., "blobs", "uploads", id] => {
                let fits = id.len() <= ID_LIMIT && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
                let name = name(3)?;
                if fits { Ok(Self::Upload(name, (*id).to_owned())) } else { Err(upload_unknown()) }
            }
            [_, .., "blobs", "uploads"] => Ok(Self::Uploads(name(2)?)),
            [_, .., "blobs", digest] => Ok(Self::Blob(name(2)?, parse_digest(digest)?)),
            [_, .., "manifests", reference] => Ok(Self::Manifest(name(2)?, ManifestReference::parse(reference)?)),
            [_, .., "tags", "list"] => Ok(Self::Tags(name(2)?)),
            [_, .., "referrers", digest] => Ok(Self::Referrers(name(2)?, parse_digest(digest)?)),
            _ => Err(nowhere()),
        }
    }

    /// The repository it is about.
    pub(super) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Base | Self::Token | Self::Catalog => None,
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
        }
    }

    /// A word for metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Token => "token",
            Self::Catalog => "catalog",
            Self::Tags(_) => "tags",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) | Self::Upload(..) => "upload",
            Self::Referrers(..) => "referrers",
        }
    }

    /// The methods it knows.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Base | Self::Token | Self::Catalog | Self::Tags(_) | Self::Referrers(..) => "GET, HEAD",
            Self::Manifest(..) => "GET, HEAD, PUT, DELETE",
            Self::Blob(..) => "GET, HEAD, DELETE",
            Self::Uploads(_) => "POST",
            Self::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
        }
    }

    /// The refusal of a method it does not know.
    pub(super) fn wrong_method(&self, method: &Method) -> Refusal {
        Refusal::new(Code::Unsupported, format!("{method} means nothing here"))
            .header(header::ALLOW, HeaderValue::from_static(self.methods()))
    }
}

/// The refusal for an upload that is not (any more).
pub(super) fn upload_unknown() -> Refusal {
    Refusal::new(Code::BlobUploadUnknown, "no such upload: it never was, has ended, or has expired")
}

/// The parameters after the question mark.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    pub(super) fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Every value given under `name`.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    #[test]
    fn addresses_are_read_from_the_right() {
        let digest = Digest::sha256_of(b"");
        let check = |path: &str, expected: Route| assert_eq!(Route::parse(path).unwrap(), expected, "{path}");
        check("/v2/", Route::Base);
        check("/v2/_catalog", Route::Catalog);
        check("/v2/a/b/tags/list", Route::Tags(name("a/b")));
        check("/v2/tags/list/tags/list", Route::Tags(name("tags/list")));
        check(&format!("/v2/blobs/uploads/blobs/{digest}"), Route::Blob(name("blobs/uploads"), digest));
        check("/v2/a/blobs/uploads/", Route::Uploads(name("a")));
        check("/v2/a/blobs/uploads", Route::Uploads(name("a")));
        check("/v2/a/blobs/uploads/1-2", Route::Upload(name("a"), "1-2".to_owned()));
        check(&format!("/v2/manifests/manifests/{digest}"), Route::Manifest(name("manifests"), ManifestReference::Digest(digest)));
    }

    #[test]
    fn what_is_no_name_is_no_address() {
        let digest = Digest::sha256_of(b"");
        for path in ["/", "/v1/", "/v2/a", "/v2/a/b", "/v2//tags/list", "/v2/../tags/list", "/v2/a%2f..%2fb/tags/list", "/v2/A/tags/list"] {
            assert!(Route::parse(path).is_err(), "{path}");
        }
        for path in [format!("/v2/a/../b/blobs/{digest}"), format!("/v2/a/./blobs/{digest}"), "/v2/a/blobs/uploads/..".to_owned()] {
            assert!(Route::parse(&path).is_err(), "{path}");
        }
    }
}
