//! Blobs over HTTP: whole, in part, asked about, removed.
//!
//! What must stay true: a blob is looked for in the repository that was named, and nowhere else; what is sent has the length that was promised.
//!
//! # Source
//! OCI distribution-spec 1.1, "Pulling blobs", "Deleting Blobs"; RFC 9110, sections 13 (conditions) and 14 (ranges).

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, StatusCode};
use shipway_model::Digest;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::blocking::with_storage;
use super::names::RepositoryName;
use super::reply::{Reply, ReplyBody, status};
use super::uploads::header;
use super::wire::Outbox;
use super::{CONTENT_DIGEST, Registry};
use crate::codes::{Code, Refusal};

/// What a `Range` header means for a body of a certain size.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    /// First byte and number of bytes, at least one.
    Part(u64, u64),
    /// Nothing of it is there.
    Nothing,
}

impl Registry {
    /// `GET /v2/<name>/blobs/<digest>`
    pub(super) async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        headers: &HeaderMap,
        outbox: Option<Arc<Outbox>>,
    ) -> Result<Reply, Refusal> {
        self.bring_blob(repository, digest).await?;
        // Mostly the way to another thread and back takes longer than the opening.
        let found = match self.storage.blob_at_hand(repository, &digest) {
            None => {
                let name = repository.clone();
                with_storage(&self.storage, "opening a blob", move |storage| storage.blob(&name, &digest)).await?
            }
            found => found,
        };
        let blob = found.ok_or_else(|| blob_unknown(&digest))?;
        let tag = entity_tag(&digest);
        if is_known(headers, &tag) {
            return Ok(not_modified(&digest));
        }
        let (code, offset, length) = match wanted(headers, &tag, blob.size) {
            Wanted::Whole => (StatusCode::OK, 0, blob.size),
            Wanted::Part(first, count) => (StatusCode::PARTIAL_CONTENT, first, count),
            Wanted::Nothing => {
                return Err(Refusal::new(Code::SizeInvalid, "the blob has no such range")
                    .status(StatusCode::RANGE_NOT_SATISFIABLE)
                    .header(CONTENT_RANGE, header(&format!("bytes */{}", blob.size))));
            }
        };
        let mut reply = status(code);
        describe(&mut reply, &digest, length);
        if code == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {offset}-{}/{}", offset + length - 1, blob.size);
            reply.headers_mut().insert(CONTENT_RANGE, header(&range));
        }
        self.metrics.sent.fetch_add(length, Ordering::Relaxed);
        if length > 0 {
            *reply.body_mut() = ReplyBody::part(blob.file, offset, length, outbox);
        }
        Ok(reply)
    }

    /// `HEAD /v2/<name>/blobs/<digest>`: who asks may rely on the answer for a while.
    pub(super) async fn head_blob(&self, repository: &RepositoryName, digest: Digest) -> Result<Reply, Refusal> {
        self.bring_blob(repository, digest).await?;
        let name = repository.clone();
        let found = with_storage(&self.storage, "looking for a blob", move |storage| storage.lease_blob(&name, &digest)).await?;
        let mut reply = status(StatusCode::OK);
        describe(&mut reply, &digest, found.ok_or_else(|| blob_unknown(&digest))?);
        Ok(reply)
    }

    /// `DELETE /v2/<name>/blobs/<digest>`
    pub(super) async fn delete_blob(&self, repository: &RepositoryName, digest: Digest) -> Result<Reply, Refusal> {
        let name = repository.clone();
        let removed = with_storage(&self.storage, "removing a blob", move |storage| storage.remove_blob(&name, &digest)).await?;
        if removed { Ok(status(StatusCode::ACCEPTED)) } else { Err(blob_unknown(&digest)) }
    }
}

fn blob_unknown(digest: &Digest) -> Refusal {
    Refusal::new(Code::BlobUnknown, "blob unknown to registry").detail(serde_json::json!({ "digest": digest.to_string() }))
}

fn describe(reply: &mut Reply, digest: &Digest, length: u64) {
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_DIGEST, header(&digest.to_string()));
    headers.insert(ETAG, header(&entity_tag(digest)));
}

/// What is named by its digest is its own version.
pub(super) fn entity_tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// True when the client has it already.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let listed = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    listed.flat_map(|value| value.split(',')).any(|one| one.trim() == "*" || one.trim().trim_start_matches("W/") == tag)
}

pub(super) fn not_modified(digest: &Digest) -> Reply {
    let mut reply = status(StatusCode::NOT_MODIFIED);
    reply.headers_mut().insert(ETAG, header(&entity_tag(digest)));
    reply.headers_mut().insert(CONTENT_DIGEST, header(&digest.to_string()));
    reply
}

/// One range is served; several, or what is not understood, get the whole, as RFC 9110 allows.
fn wanted(headers: &HeaderMap, tag: &str, size: u64) -> Wanted {
    if headers.get(IF_RANGE).is_some_and(|condition| condition.as_bytes() != tag.as_bytes()) {
        return Wanted::Whole;
    }
    let Some(range) = headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(|text| text.strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = range.trim().split_once('-') else { return Wanted::Whole };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Err(_), Ok(0)) if first.is_empty() => Wanted::Nothing,
        (Err(_), Ok(count)) if first.is_empty() && size > 0 => Wanted::Part(size.saturating_sub(count), count.min(size)),
        (Err(_), Ok(_)) if first.is_empty() => Wanted::Nothing,
        (Ok(first), Err(_)) if last.is_empty() && first < size => Wanted::Part(first, size - first),
        (Ok(_), Err(_)) if last.is_empty() => Wanted::Nothing,
        (Ok(first), Ok(last)) if first > last => Wanted::Whole,
        (Ok(first), Ok(last)) if first < size => Wanted::Part(first, last.min(size - 1) - first + 1),
        (Ok(_), Ok(_)) => Wanted::Nothing,
        _ => Wanted::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_served() {
        let check = |range: &str, size: u64, expected: Wanted| {
            let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_str(range).unwrap())]);
            assert_eq!(wanted(&headers, "\"x\"", size), expected, "{range} of {size}");
        };
        check("bytes=0-0", 10, Wanted::Part(0, 1));
        check("bytes=3-", 10, Wanted::Part(3, 7));
        check("bytes=3-99999999999999999999", 10, Wanted::Whole);
        check("bytes=3-99", 10, Wanted::Part(3, 7));
        check("bytes=-3", 10, Wanted::Part(7, 3));
        check("bytes=-30", 10, Wanted::Part(0, 10));
        check("bytes=10-", 10, Wanted::Nothing);
        check("bytes=10-12", 10, Wanted::Nothing);
        check("bytes=-0", 10, Wanted::Nothing);
        check("bytes=0-", 0, Wanted::Nothing);
        check("bytes=-5", 0, Wanted::Nothing);
        for whole in ["bytes=5-3", "bytes=0-1,3-4", "bytes=a-b", "bytes=", "lines=0-1", "bytes=+1-2x"] {
            check(whole, 10, Wanted::Whole);
        }
    }

    #[test]
    fn a_range_of_another_version_is_the_whole() {
        let headers =
            HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-1")), (IF_RANGE, HeaderValue::from_static("\"other\""))]);
        assert_eq!(wanted(&headers, "\"x\"", 10), Wanted::Whole);
        assert_eq!(wanted(&headers, "\"other\"", 10), Wanted::Part(0, 2));
    }
}
