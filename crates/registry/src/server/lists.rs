//! Lists over HTTP, in pages: tags, repositories, referrers.
//!
//! What must stay true: an answer is bounded whatever the question (S-510); a `Link` is there exactly when more is.
//!
//! # Source
//! OCI distribution-spec 1.1, "Listing Tags", "Listing Referrers"; RFC 8288 (links). `_catalog` is Docker's.

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use serde_json::json;
use shipway_model::{Digest, MediaType};

use super::Registry;
use super::blocking::with_storage;
use super::names::{RepositoryName, Tag};
use super::reply::{Reply, ReplyBody, status};
use super::route::Parameters;
use super::storage::Page;
use super::uploads::header;
use crate::codes::{Code, Refusal};

/// Entries of a page at most, and when nobody asks for a number.
const LIMIT: usize = 1000;
/// Bytes of the descriptors of one page of referrers.
const REFERRERS: usize = 2 << 20;
/// Longest text in a parameter that is looked at.
const TEXT: usize = 512;

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Registry {
    /// `GET /v2/<name>/tags/list`
    pub(super) async fn list_tags(&self, repository: &RepositoryName, parameters: &Parameters) -> Result<Reply, Refusal> {
        let (limit, name) = (limit(parameters)?, repository.clone());
        let after = parameters.get("last").map(ToOwned::to_owned).filter(|last| !last.is_empty());
        if after.as_deref().is_some_and(|last| Tag::parse(last).is_none()) {
            return Err(Refusal::new(Code::TagInvalid, "the parameter \"last\" is no tag"));
        }
        let listed =
            with_storage(&self.storage, "listing tags", move |storage| storage.tags(&name, Page { after: after.as_deref(), limit }));
        let (tags, more) = listed.await?.ok_or_else(|| {
            Refusal::new(Code::NameUnknown, "repository name not known to registry").detail(json!({ "name": repository.as_str() }))
        })?;
        let next = tags
            .last()
            .filter(|_| more)
            .map(|last| link(&format!("/v2/{repository}/tags/list"), &[("n", &limit.to_string()), ("last", last)]));
        Ok(json_reply(&json!({ "name": repository.as_str(), "tags": tags }), "application/json", next))
    }

    /// `GET /v2/_catalog`
    pub(super) async fn list_repositories(&self, parameters: &Parameters) -> Result<Reply, Refusal> {
        let limit = limit(parameters)?;
        let after = text(parameters, "last")?;
        let listed = with_storage(&self.storage, "listing repositories", move |storage| {
            storage.repositories(Page { after: after.as_deref(), limit })
        });
        let (names, more) = listed.await?;
        let next = names.last().filter(|_| more).map(|last| link("/v2/_catalog", &[("n", &limit.to_string()), ("last", last)]));
        Ok(json_reply(&json!({ "repositories": names }), "application/json", next))
    }

    /// `GET /v2/<name>/referrers/<digest>`: never a 404, so that clients do not fall back to tags.
    pub(super) async fn list_referrers(
        &self,
        repository: &RepositoryName,
        subject: Digest,
        parameters: &Parameters,
    ) -> Result<Reply, Refusal> {
        let (limit, name) = (limit(parameters)?, repository.clone());
        let (after, wanted) = (text(parameters, "last")?, text(parameters, "artifactType")?);
        let filter = wanted.clone();
        let listed = with_storage(&self.storage, "listing referrers", move |storage| {
            storage.referrers(&name, &subject, wanted.as_deref(), Page { after: after.as_deref(), limit }, REFERRERS)
        });
        let (descriptors, more) = listed.await?;
        let path = format!("/v2/{repository}/referrers/{subject}");
        let number = limit.to_string();
        let next = more.as_deref().map(|last| {
            let mut parts = vec![("n", number.as_str()), ("last", last)];
            parts.extend(filter.as_deref().map(|wanted| ("artifactType", wanted)));
            link(&path, &parts)
        });
        let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OciIndex, "manifests": descriptors });
        let mut reply = json_reply(&index, MediaType::OciIndex.as_str(), next);
        if filter.is_some() {
            reply.headers_mut().insert(FILTERS, HeaderValue::from_static("artifactType"));
        }
        Ok(reply)
    }
}

/// How many entries the client wants, never more than we give.
fn limit(parameters: &Parameters) -> Result<usize, Refusal> {
    match parameters.get("n") {
        None => Ok(LIMIT),
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(text.parse().unwrap_or(LIMIT).min(LIMIT)),
        Some(_) => {
            Err(Refusal::new(Code::Unsupported, "the parameter \"n\" must be a number, zero or more").status(StatusCode::BAD_REQUEST))
        }
    }
}

fn text(parameters: &Parameters, name: &str) -> Result<Option<String>, Refusal> {
    match parameters.get(name) {
        Some(value) if value.len() > TEXT => {
            Err(Refusal::new(Code::Unsupported, format!("the parameter \"{name}\" is too long")).status(StatusCode::BAD_REQUEST))
        }
        value => Ok(value.filter(|value| !value.is_empty()).map(ToOwned::to_owned)),
    }
}

fn link(path: &str, parameters: &[(&str, &str)]) -> HeaderValue {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    header(&format!("<{path}?{query}>; rel=\"next\""))
}

fn json_reply(value: &serde_json::Value, media_type: &str, next: Option<HeaderValue>) -> Reply {
    let mut reply = status(StatusCode::OK);
    reply.headers_mut().insert(CONTENT_TYPE, header(media_type));
    if let Some(next) = next {
        reply.headers_mut().insert(LINK, next);
    }
    *reply.body_mut() = ReplyBody::Whole(value.to_string().into());
    reply
}
