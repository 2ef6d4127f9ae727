//! Who we are in one operation: one pull, one push, one search. Made per request of the API, cheap to clone, shared by parallel layers.
//!
//! What must stay true: credentials are shown to the registry's own origins (`at`) and to token servers that belong to it (`auth::realm`), and to nobody
//! else, whatever anybody answers (S-506); without `at` they are shown to nobody. Tokens are sent to the origin they were made for only.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use shipway_model::{Digest, Secret};

use super::auth::{self, Account, Exchange, TokenCache};
use super::transport::Transport;
use crate::{Error, Origin};

/// What somebody has to show to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Empty when there is only a token.
    pub username: String,
    pub password: Secret,
    /// A long-lived token that token servers exchange for short ones; used instead of the password.
    pub identity_token: Option<Secret>,
    /// A token to show to the registry as it is.
    pub registry_token: Option<Secret>,
}

/// What a request needs to be allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// None means the registry itself.
    repository: Option<String>,
    actions: &'static [&'static str],
}

/// Who we are in one operation.
#[derive(Clone)]
pub struct Access {
    shared: Arc<Shared>,
    /// The registry's own origins.
    homes: Arc<[Origin]>,
}

struct Shared {
    credentials: Option<Credentials>,
    account: Account,
    cache: TokenCache,
    /// Token servers outside the registry's domain that may see credentials: hosts, or hosts with port.
    trusted_realms: Vec<String>,
    /// Who stands before the same token server waits for the one before: ten layers need one token.
    turn: tokio::sync::Mutex<()>,
    /// Origins that took offence at user and password.
    offended: Mutex<HashSet<Origin>>,
    /// Somebody logs in: what token servers give for later is wanted too.
    login: Option<Mutex<Option<Secret>>>,
}

impl Credentials {
    /// User and password.
    pub fn basic(username: impl Into<String>, password: Secret) -> Self {
        Self { username: username.into(), password, identity_token: None, registry_token: None }
    }

    /// Names these credentials in caches without holding them.
    fn fingerprint(&self) -> Digest {
        let token = |token: &Option<Secret>| token.as_ref().map_or("", Secret::expose).to_owned();
        let parts = [self.username.clone(), self.password.expose().to_owned(), token(&self.identity_token), token(&self.registry_token)];
        Digest::sha256_of(parts.join("\0").as_bytes())
    }

    /// The value of `Authorization` for user and password (RFC 7617, section 2).
    pub(super) fn basic_header(&self) -> Option<HeaderValue> {
        if self.username.is_empty() && self.password.expose().is_empty() {
            return None;
        }
        let both = STANDARD.encode(format!("{}:{}", self.username, self.password.expose()));
        let mut value = HeaderValue::from_str(&format!("Basic {both}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Scope {
    /// Reading a repository.
    pub fn pull(repository: impl Into<String>) -> Self {
        Self { repository: Some(repository.into()), actions: &["pull"] }
    }

    /// Writing a repository, which needs reading too.
    pub fn push(repository: impl Into<String>) -> Self {
        Self { repository: Some(repository.into()), actions: &["pull", "push"] }
    }

    /// Deleting from a repository.
    pub fn delete(repository: impl Into<String>) -> Self {
        Self { repository: Some(repository.into()), actions: &["delete"] }
    }

    /// The registry itself: `GET /v2/`.
    pub fn registry() -> Self {
        Self { repository: None, actions: &[] }
    }

    /// The list of all repositories.
    pub fn catalog() -> Self {
        Self { repository: None, actions: &["*"] }
    }
}

/// Token servers' form. The registry itself needs no words: its text is empty.
///
/// # Source
/// The distribution project's "Token Scope Documentation".
impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.repository {
            Some(repository) => write!(out, "repository:{repository}:{}", self.actions.join(",")),
            None if self.actions.is_empty() => Ok(()),
            None => write!(out, "registry:catalog:{}", self.actions.join(",")),
        }
    }
}

impl Access {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::from_option(None)
    }

    /// Somebody.
    pub fn with(credentials: Credentials) -> Self {
        Self::from_option(Some(credentials))
    }

    /// Somebody, or nobody in particular.
    pub fn from_option(credentials: Option<Credentials>) -> Self {
        Self::with_cache(credentials, &TokenCache::default())
    }

    /// The same with tokens that other operations may have left in `cache`.
    pub fn with_cache(credentials: Option<Credentials>, cache: &TokenCache) -> Self {
        Self::build(credentials, cache, Vec::new(), None)
    }

    /// The same with token servers (`host` or `host:port`) that may see credentials although they are outside the registry's domain.
    pub fn trusting(credentials: Option<Credentials>, cache: &TokenCache, token_servers: Vec<String>) -> Self {
        Self::build(credentials, cache, token_servers, None)
    }

    /// Somebody who logs in: no token of before is used, and an identity token is asked for.
    pub fn logging_in(credentials: Credentials, token_servers: Vec<String>) -> Self {
        Self::build(Some(credentials), &TokenCache::default(), token_servers, Some(Mutex::default()))
    }

    fn build(
        credentials: Option<Credentials>,
        cache: &TokenCache,
        trusted_realms: Vec<String>,
        login: Option<Mutex<Option<Secret>>>,
    ) -> Self {
        let account = Account(credentials.as_ref().map(Credentials::fingerprint));
        let shared = Shared {
            credentials,
            account,
            cache: cache.clone(),
            trusted_realms,
            turn: tokio::sync::Mutex::default(),
            offended: Mutex::default(),
            login,
        };
        Self { shared: Arc::new(shared), homes: Arc::new([]) }
    }

    /// The same person before the registry that lives at `homes`, and nowhere else.
    #[must_use]
    pub fn at(&self, homes: &[Origin]) -> Self {
        Self { shared: Arc::clone(&self.shared), homes: homes.into() }
    }

    /// `Authorization` for a request to `origin` under `scopes`; none: ask without. Never blocks, never asks anybody.
    pub(super) fn authorization(&self, origin: &Origin, scopes: &[Scope]) -> Option<HeaderValue> {
        let credentials = self.credentials_for(origin);
        if let Some(token) = credentials.and_then(|credentials| credentials.registry_token.as_ref()) {
            return auth::bearer(token);
        }
        let account = self.account(credentials);
        if let Some(token) = self.shared.cache.token(origin, account, &texts(scopes)) {
            return Some(token);
        }
        let offended = self.shared.offended.lock().unwrap_or_else(PoisonError::into_inner).contains(origin);
        credentials.filter(|_| !offended && self.shared.cache.wants_basic(origin)).and_then(Credentials::basic_header)
    }

    /// `origin` answered 401 with `headers` to a request that carried `sent`. Obtains what it wants. True: ask again, `authorization` has something new;
    /// false: there is nothing more to offer.
    ///
    /// # Errors
    /// When the way to a token fails or may not be gone.
    pub(super) async fn challenged(
        &self,
        transport: &Transport,
        origin: &Origin,
        scopes: &[Scope],
        headers: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<bool, Error> {
        let _turn = self.shared.turn.lock().await;
        let now = self.authorization(origin, scopes);
        if now.is_some() && now.as_ref() != sent {
            return Ok(true);
        }
        let credentials = self.credentials_for(origin);
        if credentials.is_some_and(|credentials| credentials.registry_token.is_some()) {
            return Ok(false);
        }
        match auth::choose(headers)? {
            auth::Way::None => Ok(false),
            auth::Way::Basic => Ok(self.offer_basic(origin, credentials, sent)),
            auth::Way::Token(mut wish) => {
                wish.offline = self.shared.login.is_some();
                let exchange = Exchange {
                    transport,
                    registry: origin,
                    credentials,
                    account: self.account(credentials),
                    cache: &self.shared.cache,
                    trusted_realms: &self.shared.trusted_realms,
                };
                let (obtained, identity) = exchange.obtain(&wish, &texts(scopes), sent).await?;
                if let (Some(slot), Some(identity)) = (&self.shared.login, identity) {
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity);
                }
                Ok(obtained)
            }
        }
    }

    fn offer_basic(&self, origin: &Origin, credentials: Option<&Credentials>, sent: Option<&HeaderValue>) -> bool {
        let Some(header) = credentials.and_then(Credentials::basic_header) else { return false };
        if sent == Some(&header) {
            self.shared.offended.lock().unwrap_or_else(PoisonError::into_inner).insert(origin.clone());
            return false;
        }
        self.shared.cache.note_basic(origin);
        !self.shared.offended.lock().unwrap_or_else(PoisonError::into_inner).contains(origin)
    }

    fn credentials_for(&self, origin: &Origin) -> Option<&Credentials> {
        self.shared.credentials.as_ref().filter(|_| self.homes.contains(origin))
    }

    fn account(&self, credentials: Option<&Credentials>) -> Account {
        if credentials.is_some() { self.shared.account.clone() } else { Account(None) }
    }

    /// What a token server gave for later, when this is a login.
    pub(super) fn identity_token(&self) -> Option<Secret> {
        self.shared.login.as_ref().and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Access({})", if self.shared.credentials.is_some() { "credentials" } else { "anonymous" })
    }
}

/// The scopes in token servers' form, each once.
fn texts(scopes: &[Scope]) -> Vec<String> {
    let mut texts: Vec<String> = scopes.iter().map(ToString::to_string).filter(|text| !text.is_empty()).collect();
    texts.sort();
    texts.dedup();
    texts
}
