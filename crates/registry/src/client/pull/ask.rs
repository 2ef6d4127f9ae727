//! Asking for the bytes of a layer: from its registry, or from where its manifest says.
//!
//! What must stay true: an address in a manifest is asked only by the administrator's word, and hears nothing about who we are (S-506).

use http::header::RANGE;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::layer::Job;
use crate::client::access::Scope;
use crate::client::refusal::refusal;
use crate::client::transport::Response;
use crate::{Error, Url};

/// Addresses of one layer that are tried.
const ELSEWHERE: usize = 4;

impl Job<'_> {
    /// Asks for the bytes from `from` on.
    pub(super) async fn ask(&self, from: u64) -> Result<Response, Error> {
        let mut headers = HeaderMap::new();
        if from > 0 {
            let range = HeaderValue::try_from(format!("bytes={from}-")).map_err(|error| Error::Internal { what: error.to_string() })?;
            headers.insert(RANGE, range);
        }
        let path = format!("{}/blobs/{}", self.repository, self.descriptor.digest);
        let response = self.registry.get(&path, &Scope::pull(self.repository), &headers).await?;
        match response.status {
            StatusCode::OK => Ok(response),
            StatusCode::PARTIAL_CONTENT if from > 0 => Ok(response),
            StatusCode::NOT_FOUND if !self.descriptor.urls.is_empty() => self.ask_elsewhere(from, &headers).await,
            _ => Err(refusal(response).await),
        }
    }

    /// Asks where the manifest says the layer is, when the administrator wants that. What comes must have the digest all the same.
    async fn ask_elsewhere(&self, from: u64, headers: &HeaderMap) -> Result<Response, Error> {
        let urls: Vec<Url> = self.descriptor.urls.iter().take(ELSEWHERE).filter_map(|text| Url::parse(text).ok()).collect();
        let mut last = None;
        for url in urls {
            if !self.registry.fetches_foreign_layers() {
                let (digest, host) = (self.descriptor.digest.to_string(), url.host().to_string());
                return Err(Error::ForeignLayer { digest, host });
            }
            tracing::info!(layer = %self.descriptor.digest, host = %url.host(), "a layer is fetched from where its manifest says");
            match self.registry.elsewhere(&url, headers).await {
                Ok(response) if response.status == StatusCode::OK => return Ok(response),
                Ok(response) if response.status == StatusCode::PARTIAL_CONTENT && from > 0 => return Ok(response),
                Ok(response) => last = Some(refusal(response).await),
                Err(error) => last = Some(error),
            }
        }
        let reason = "its manifest names no address that can be used".to_owned();
        Err(last.unwrap_or_else(|| Error::Content { what: format!("the layer {}", self.descriptor.digest), reason }))
    }
}
