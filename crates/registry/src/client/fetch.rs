//! Downloads of whole files: retried, resumed where the server lets us prove that the file is still the same.
//!
//! What must stay true: bytes of two versions of a file never mix; not more than `limit` bytes are ever written; what is said about the file comes from the
//! answer its first byte came from.
//!
//! # Source
//! RFC 9110, sections 13.1.5 (If-Range), 14 (ranges), 8.8.2.2 (when a date proves sameness).

use std::path::Path;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use shipway_model::{Digest, Timestamp};

use super::disposition::file_name;
use super::retry::retry_after;
use super::sink::Sink;
use super::transport::{Response, Transport};
use crate::{Error, Url};

/// How much older than the answer a file must be for its date to tell versions apart: dates have whole seconds, and clocks differ.
const SETTLED: Duration = Duration::from_secs(60);

/// A downloaded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// When it was last changed, by the server's word.
    pub last_modified: Option<Timestamp>,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// The name the server suggests, one plain component.
    pub file_name: Option<String>,
}

/// Writes what `url` names to the new file `into`, at most `limit` bytes of it.
///
/// # Errors
/// The last attempt's. The file stays behind, whatever is in it; it is the caller's to delete.
///
/// # Cost
/// Memory is bounded by some MiB. Up to four attempts, with pauses of at most a minute each.
pub async fn fetch(transport: &Transport, url: &Url, into: &Path, limit: u64) -> Result<Fetched, Error> {
    let mut download = Download { transport, url, limit, sink: Sink::create(into)?, received: 0, about: About::default() };
    let mut retry = 0;
    while let Err(error) = download.attempt().await {
        let Some(pause) = transport.retries().pause(retry, &error) else {
            return Err(error);
        };
        tracing::info!(%url, %error, received = download.received, pause_ms = pause.as_millis(), "a download is tried again");
        tokio::time::sleep(pause).await;
        retry += 1;
    }
    let Download { sink, received, about, .. } = download;
    Ok(Fetched { last_modified: about.last_modified, size: received, digest: sink.finish().await?, file_name: about.file_name })
}

struct Download<'a> {
    transport: &'a Transport,
    url: &'a Url,
    limit: u64,
    sink: Sink,
    /// Bytes given to the sink.
    received: u64,
    about: About,
}

/// What the answer that began the file said about it.
#[derive(Default)]
struct About {
    last_modified: Option<Timestamp>,
    file_name: Option<String>,
    /// The whole size, where it was told.
    total: Option<u64>,
    /// What proves that the file is the same.
    validator: Option<HeaderValue>,
}

impl Download<'_> {
    /// Downloads what is missing.
    async fn attempt(&mut self) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        if let Some(validator) = self.about.validator.clone().filter(|_| self.received > 0) {
            headers.insert(IF_RANGE, validator);
            headers.insert(RANGE, HeaderValue::try_from(format!("bytes={}-", self.received)).map_err(internal)?);
        }
        let asked_for_rest = !headers.is_empty();
        let mut response = self.transport.get(self.url, &headers).await?;
        match response.status {
            StatusCode::PARTIAL_CONTENT if asked_for_rest => self.check_rest(&response)?,
            StatusCode::RANGE_NOT_SATISFIABLE if asked_for_rest => return Err(self.distrust(&response, "there is no rest of the file")),
            status if status.is_success() && status != StatusCode::PARTIAL_CONTENT => self.begin(&response).await?,
            status => return Err(Error::Status { status, retry_after: retry_after(&response.headers) }),
        }
        while let Some(piece) = response.body.next().await {
            let piece = piece?;
            let received = self.received + piece.len() as u64;
            if received > self.limit {
                return Err(Error::TooLarge { limit: self.limit });
            }
            self.sink.append(piece).await?;
            self.received = received;
        }
        match self.about.total {
            Some(total) if total != self.received => {
                let reason = format!("{} of {total} bytes came", self.received);
                Err(self.distrust(&response, &reason))
            }
            _ => Ok(()),
        }
    }

    /// Starts the file, over if need be.
    async fn begin(&mut self, response: &Response) -> Result<(), Error> {
        if self.received > 0 {
            self.sink.start_over().await?;
            self.received = 0;
        }
        self.about = About::of(&response.headers);
        match self.about.total {
            Some(total) if total > self.limit => Err(Error::TooLarge { limit: self.limit }),
            _ => Ok(()),
        }
    }

    /// Checks that a partial answer continues where we are.
    fn check_rest(&mut self, response: &Response) -> Result<(), Error> {
        let range = response.headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).and_then(content_range);
        match range {
            Some((first, total))
                if first == self.received && (total.is_none() || self.about.total.is_none() || total == self.about.total) =>
            {
                Ok(())
            }
            _ => Err(self.distrust(response, "the rest of the file is not what was asked for")),
        }
    }

    /// An error after which the next attempt begins anew.
    fn distrust(&mut self, response: &Response, reason: &str) -> Error {
        self.about.validator = None;
        Error::Broken { host: response.url.host().to_string(), reason: reason.to_owned() }
    }
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Internal { what: error.to_string() }
}

impl About {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let moment = |name| text(name).and_then(|text| httpdate::parse_http_date(text).ok());
        let modified = moment(LAST_MODIFIED);
        let settled = match (modified, moment(DATE)) {
            (Some(modified), Some(now)) => now.duration_since(modified).is_ok_and(|age| age >= SETTLED),
            _ => false,
        };
        // Weak tags ("W/") name files that mean the same, not files with the same bytes.
        let tag = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
        Self {
            last_modified: modified.map(Timestamp::from_system),
            file_name: file_name(headers),
            total: text(CONTENT_LENGTH).and_then(|text| text.parse().ok()),
            validator: tag.or_else(|| headers.get(LAST_MODIFIED).filter(|_| settled)).cloned(),
        }
    }
}

/// First byte and whole size of `bytes 5-9/10` or `bytes 5-9/*`.
pub(super) fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.trim().parse().ok()?) };
    Some((first.trim().parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{About, content_range};

    #[test]
    fn only_what_proves_sameness_becomes_a_validator() {
        let validator = |pairs: &[(&'static str, &'static str)]| {
            let headers: HeaderMap = pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
            About::of(&headers).validator.map(|value| value.to_str().unwrap().to_owned())
        };
        let date = ("date", "Sat, 21 Nov 2026 10:00:00 GMT");
        let (old, fresh) = (("last-modified", "Sat, 21 Nov 2026 09:58:00 GMT"), ("last-modified", "Sat, 21 Nov 2026 09:59:30 GMT"));
        assert_eq!(validator(&[("etag", "\"a\""), old, date]).as_deref(), Some("\"a\""));
        assert_eq!(validator(&[("etag", "W/\"a\""), old, date]).as_deref(), Some(old.1));
        assert_eq!(validator(&[fresh, date]), None);
        assert_eq!(validator(&[old]), None);
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["bytes */10", "5-9/10", "bytes 5/10", "bytes x-9/10", "bytes 5-9/x"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
