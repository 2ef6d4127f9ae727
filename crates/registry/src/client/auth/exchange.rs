//! Asking a token server for a token: with user and password by GET, with an identity token by the OAuth2 POST, or as nobody.
//!
//! What must stay true: credentials go to a trusted realm only (`realm`), and a POST with them follows no redirect; the answer is bounded in size and time;
//! a token that was refused right after it was made is not asked for again and again.
//!
//! # Source
//! Distribution project, "Token Authentication Specification" (GET) and "OAuth2 Token Authentication" (POST). GET is the usual way, as the docker engine does
//! it; servers that know only POST are rare, servers that know only GET are not.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use shipway_model::Secret;

use super::cache::{Account, TokenCache, bearer};
use super::realm::is_trusted;
use crate::client::access::Credentials;
use crate::client::refusal::{self, refusal};
use crate::client::transport::{Response, Transport};
use crate::client::upload::Upload;
use crate::error::Stage;
use crate::{Error, Origin, Url};

/// The largest answer of a token server.
const ANSWER_LIMIT: usize = 256 * 1024;
/// The largest token: it must fit into a head beside everything else.
const TOKEN_LIMIT: usize = 32 * 1024;
/// How long tokens live whose server does not say, and the least that is believed: some say less than their clocks are exact.
const USUAL_LIFE: Duration = Duration::from_secs(60);
/// The longest life that is believed.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A token refused this soon after it was made will not be better the second time.
const FRESH: Duration = Duration::from_secs(5);
/// The most scopes a registry's challenge adds to ours.
const FOREIGN_SCOPES: usize = 4;
/// By which name we ask.
const CLIENT: &str = "shipway";

/// What a registry wants a token for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client) struct Wish {
    pub(super) realm: String,
    pub(super) service: Option<String>,
    pub(super) scopes: Vec<String>,
    /// An identity token is wanted too: somebody logs in.
    pub(in crate::client) offline: bool,
}

/// What a token server gave.
#[derive(Debug)]
struct Grant {
    header: HeaderValue,
    life: Duration,
    identity_token: Option<Secret>,
}

/// Everything known about who asks.
pub(in crate::client) struct Exchange<'a> {
    pub(in crate::client) transport: &'a Transport,
    pub(in crate::client) registry: &'a Origin,
    /// None when the registry may not see any.
    pub(in crate::client) credentials: Option<&'a Credentials>,
    pub(in crate::client) account: Account,
    pub(in crate::client) cache: &'a TokenCache,
    pub(in crate::client) trusted_realms: &'a [String],
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
    #[serde(default)]
    refresh_token: Option<String>,
}

impl Exchange<'_> {
    /// Gets a token for `scopes` and what the registry wishes beside them, and keeps it; an identity token is handed on. False when there is no use in
    /// trying.
    pub(in crate::client) async fn obtain(
        &self,
        wish: &Wish,
        scopes: &[String],
        sent: Option<&HeaderValue>,
    ) -> Result<(bool, Option<Secret>), Error> {
        let mut wanted = scopes.to_vec();
        for foreign in wish.scopes.iter().take(FOREIGN_SCOPES) {
            if !covered(&wanted, foreign) {
                wanted.push(foreign.clone());
            }
        }
        if let Some((age, held)) = sent.and_then(|sent| self.cache.forget(self.registry, &self.account, sent))
            && age < FRESH
            && wanted.iter().all(|scope| held.contains(scope))
        {
            return Ok((false, None));
        }
        match self.ask(wish, &wanted).await {
            Ok(grant) => {
                self.cache.keep(self.registry, self.account.clone(), wanted, grant.header, grant.life);
                Ok((true, grant.identity_token))
            }
            // A token server that has nothing for strangers says the same as the registry: who are you?
            Err(Error::Refused { status, .. }) if self.credentials.is_none() && matches!(status.as_u16(), 401 | 403) => Ok((false, None)),
            Err(error) => Err(error),
        }
    }

    /// One token, and perhaps an identity token: tried again as long as the server's trouble may pass.
    async fn ask(&self, wish: &Wish, scopes: &[String]) -> Result<Grant, Error> {
        let realm = self.realm(&wish.realm)?;
        if self.credentials.is_some() && !is_trusted(self.registry, &realm, self.trusted_realms) {
            return Err(Error::Realm { registry: self.registry.authority(), realm: realm.origin().authority() });
        }
        let mut retry = 0;
        loop {
            let error = match self.ask_once(&realm, wish, scopes).await {
                Ok(grant) => return Ok(grant),
                Err(error) => error,
            };
            let Some(pause) = self.transport.retries().pause(retry, &error) else { return Err(error) };
            tracing::info!(%realm, %error, pause_ms = pause.as_millis(), "a token server is asked again");
            tokio::time::sleep(pause).await;
            retry += 1;
        }
    }

    /// Where tokens are: never less secure than the registry, and nothing that carries a password itself.
    fn realm(&self, text: &str) -> Result<Url, Error> {
        let refused = |reason: String| Error::Token { realm: self.registry.authority(), reason };
        let realm = Url::parse(text).map_err(|error| refused(format!("it names a token server that is no address: {error}")))?;
        if realm.basic_authorization().is_some() {
            return Err(refused("it names a token server with a password in its address".to_owned()));
        }
        if !realm.is_secure() && (self.registry.secure || realm.host() != self.registry.host) {
            return Err(refused(format!("it names the token server {realm}, which is not secure")));
        }
        Ok(realm)
    }

    async fn ask_once(&self, realm: &Url, wish: &Wish, scopes: &[String]) -> Result<Grant, Error> {
        let identity = self.credentials.and_then(|credentials| credentials.identity_token.as_ref());
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let asked = async {
            let response = match identity {
                Some(token) => {
                    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                    let form = refresh_form(wish, scopes, token);
                    self.transport.request(&Method::POST, realm, &headers, Upload::Bytes(Bytes::from(form))).await?
                }
                None => {
                    if let Some(basic) = self.credentials.and_then(Credentials::basic_header) {
                        headers.insert(AUTHORIZATION, basic);
                    }
                    let username = self.credentials.map(|credentials| credentials.username.as_str()).filter(|name| !name.is_empty());
                    self.transport.get(&with_query(realm, wish, scopes, username)?, &headers).await?
                }
            };
            self.read(realm, response).await
        };
        // A server that sends a byte now and then is never idle and never done.
        let limit = self.transport.timeouts().idle.saturating_mul(2);
        crate::client::within(limit, Stage::Answer, &realm.origin().authority(), asked).await
    }

    async fn read(&self, realm: &Url, mut response: Response) -> Result<Grant, Error> {
        if response.status != StatusCode::OK {
            if response.status.is_redirection() {
                return Err(self.useless(realm, "it redirects where credentials are not sent on"));
            }
            return Err(refusal(response).await);
        }
        let body = refusal::read(&mut response.body, ANSWER_LIMIT).await?;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|error| self.useless(realm, &format!("its answer is no token: {}", short(&error))))?;
        let text = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).filter(|token| !token.is_empty());
        let text = text.ok_or_else(|| self.useless(realm, "its answer has no token"))?;
        if text.len() > TOKEN_LIMIT {
            return Err(self.useless(realm, &format!("its token is larger than {TOKEN_LIMIT} bytes")));
        }
        let header = bearer(&Secret::new(text)).ok_or_else(|| self.useless(realm, "its token has characters that no header may have"))?;
        let life = answer.expires_in.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        let life = life.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(USUAL_LIFE).clamp(USUAL_LIFE, LONGEST_LIFE);
        Ok(Grant { header, life, identity_token: answer.refresh_token.filter(|token| !token.is_empty()).map(Secret::new) })
    }

    fn useless(&self, realm: &Url, reason: &str) -> Error {
        Error::Token { realm: realm.origin().authority(), reason: reason.to_owned() }
    }
}

/// Where serde stopped, without the text it stopped at.
fn short(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// Whether one of ours allows what `foreign` wishes: `repository:a:pull,push` covers `repository:a:pull`.
fn covered(ours: &[String], foreign: &str) -> bool {
    let Some((thing, wished)) = foreign.rsplit_once(':') else { return false };
    ours.iter()
        .filter_map(|scope| scope.rsplit_once(':'))
        .any(|(name, actions)| name == thing && wished.split(',').all(|action| actions.split(',').any(|ours| ours == action)))
}

fn with_query(realm: &Url, wish: &Wish, scopes: &[String], username: Option<&str>) -> Result<Url, Error> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    pairs.extend(wish.service.as_deref().map(|service| ("service", service)));
    pairs.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    if wish.offline {
        pairs.extend([("offline_token", "true"), ("client_id", CLIENT)]);
    }
    pairs.extend(username.map(|username| ("account", username)));
    realm.with_pairs(&pairs)
}

/// The form of an identity token's exchange (RFC 6749, section 6).
fn refresh_form(wish: &Wish, scopes: &[String], token: &Secret) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token");
    form.append_pair("refresh_token", token.expose());
    form.append_pair("service", wish.service.as_deref().unwrap_or_default());
    form.append_pair("client_id", CLIENT);
    if !scopes.is_empty() {
        form.append_pair("scope", &scopes.join(" "));
    }
    form.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_challenge_adds_only_what_we_do_not_ask_for_already() {
        let ours = words(&["repository:a/b:pull,push", "repository:c:pull"]);
        for (foreign, expected) in [
            ("repository:a/b:pull", true),
            ("repository:a/b:push,pull", true),
            ("repository:a/b:delete", false),
            ("repository:d:pull", false),
            ("nonsense", false),
        ] {
            assert_eq!(covered(&ours, foreign), expected, "{foreign}");
        }
    }

    #[test]
    fn questions_are_put_as_the_specification_says() {
        let wish = Wish { realm: String::new(), service: Some("a b".to_owned()), scopes: Vec::new(), offline: true };
        let realm = Url::parse("https://a/t?x=1").unwrap();
        let scopes = words(&["repository:a/b:pull,push", "repository:c:pull"]);
        assert_eq!(
            with_query(&realm, &wish, &scopes, Some("u&v")).unwrap().exposed(),
            "https://a/t?x=1&service=a+b&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull&offline_token=true&client_id=shipway&account=u%26v"
        );
        assert_eq!(
            refresh_form(&wish, &scopes, &Secret::new("s&t")),
            "grant_type=refresh_token&refresh_token=s%26t&service=a+b&client_id=shipway&scope=repository%3Aa%2Fb%3Apull%2Cpush+repository%3Ac%3Apull"
        );
    }
}
