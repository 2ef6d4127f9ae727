//! The search of the first version of the registry protocol, which Docker Hub and a few others still have.

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::access::{Access, Scope};
use super::endpoint::{Endpoint, Hosts};
use super::refusal::{read, refusal};
use super::transport::{Response, Transport};
use crate::{Error, Url};

/// Where Docker Hub is searched.
const HUB: &str = "docker.io";
const HUB_INDEX: &str = "https://index.docker.io/";
/// The largest answer.
const ANSWER_LIMIT: usize = 4 << 20;
/// Questions answered 401 in a row before we believe it.
const ROUNDS: usize = 3;

/// A repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Hit {
    pub name: String,
    pub description: String,
    pub star_count: i64,
    pub is_official: bool,
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Hit>,
}

/// Repositories of the registry called `domain` that have to do with `term`, at most `limit`.
///
/// # Errors
/// `NoSearch` when the registry cannot be searched this way; whatever keeps it from answering.
pub async fn search(
    transport: &Transport,
    hosts: &Hosts,
    domain: &str,
    access: &Access,
    term: &str,
    limit: u32,
) -> Result<Vec<Hit>, Error> {
    // Mirrors have no say in what there is.
    let endpoint = hosts.endpoints(domain, true)?.into_iter().rfind(|endpoint| !endpoint.is_mirror);
    let mut endpoint = endpoint.ok_or_else(|| Error::Internal { what: format!("no endpoint of \"{domain}\"") })?;
    if domain == HUB {
        endpoint.base = Url::parse(HUB_INDEX)?;
    }
    let access = access.at(&endpoint.homes()?);
    let mut response = ask(transport, &endpoint, &access, term, limit).await?;
    match response.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
            return Err(Error::NoSearch { registry: domain.to_owned() });
        }
        _ => return Err(refusal(response).await),
    }
    let body = read(&mut response.body, ANSWER_LIMIT).await?;
    // A page for people is what servers without this interface like to answer.
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| Error::NoSearch { registry: domain.to_owned() })?;
    let mut hits = answer.results;
    hits.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(hits)
}

/// Asks, by plain http where that is allowed and needed, as often as somebody wants to know who we are.
async fn ask(transport: &Transport, endpoint: &Endpoint, access: &Access, term: &str, limit: u32) -> Result<Response, Error> {
    let mut base = endpoint.base.clone();
    let mut round = 0;
    loop {
        round += 1;
        let url = base.join("v1/search")?.with_pairs(&[("q", term), ("n", &limit.to_string())])?;
        let origin = url.origin();
        let scopes = [Scope::registry()];
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let authorization = access.authorization(&origin, &scopes);
        if let Some(authorization) = &authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let response = match transport.get(&url, &headers).await {
            Err(Error::Tls { .. } | Error::PlainHttp { .. } | Error::Connect { .. } | Error::Broken { .. })
                if endpoint.may_fall_to_http && base.is_secure() =>
            {
                base = base.as_plain()?;
                continue;
            }
            other => other?,
        };
        let is_asked = response.status == StatusCode::UNAUTHORIZED && response.url.origin() == origin && round < ROUNDS;
        if !is_asked || !access.challenged(transport, &origin, &scopes, &response.headers, authorization.as_ref()).await? {
            return Ok(response);
        }
    }
}
