//! As whom one operation speaks to a registry: nobody, a user with a password, the bearer of a token.
//!
//! What must stay true: what is secret goes to the registry it was given for, and to nobody else; nothing here prints a secret.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};
use shipway_model::Secret;

use super::transport::Transport;
use crate::{Error, Origin};

/// What a user gave us to be known by.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
    /// Given by a token server in place of a password.
    pub identity_token: Option<Secret>,
    /// A finished token for the registry itself.
    pub registry_token: Option<Secret>,
}

/// What a request wants to do, as token servers are told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Path of the repository; without one the registry itself is meant.
    pub repository: Option<String>,
    pub actions: &'static [&'static str],
}

/// The identity of one operation. Clones share what they learn.
#[derive(Debug, Clone, Default)]
pub struct Access(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    credentials: Option<Credentials>,
    /// Origins that asked for user and password.
    basic: Mutex<Vec<Origin>>,
}

impl Credentials {
    /// A user name and a password.
    pub fn basic(username: impl Into<String>, password: Secret) -> Self {
        Self { username: username.into(), password, identity_token: None, registry_token: None }
    }
}

impl Scope {
    /// The registry itself: is it one, who am I.
    pub fn registry() -> Self {
        Self { repository: None, actions: &[] }
    }

    /// Reading a repository.
    pub fn pull(repository: impl Into<String>) -> Self {
        Self { repository: Some(repository.into()), actions: &["pull"] }
    }

    /// Writing to a repository, which includes reading.
    pub fn push(repository: impl Into<String>) -> Self {
        Self { repository: Some(repository.into()), actions: &["pull", "push"] }
    }

    /// Deleting in a repository.
    pub fn delete(repository: impl Into<String>) -> Self {
        Self { repository: Some(repository.into()), actions: &["delete"] }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.repository {
            Some(repository) => write!(out, "repository:{repository}:{}", self.actions.join(",")),
            None => Ok(()),
        }
    }
}

impl Access {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The owner of `credentials`.
    pub fn with(credentials: Credentials) -> Self {
        Self::from_option(Some(credentials))
    }

    /// The owner of `credentials`, or nobody.
    pub fn from_option(credentials: Option<Credentials>) -> Self {
        Self(Arc::new(Parts { credentials, basic: Mutex::default() }))
    }

    /// What to send as `Authorization` to `origin`, as far as is known; asks nobody.
    pub(super) fn authorization(&self, origin: &Origin, _scopes: &[Scope]) -> Option<HeaderValue> {
        let credentials = self.0.credentials.as_ref()?;
        if let Some(token) = &credentials.registry_token {
            return sensitive(&format!("Bearer {}", token.expose()));
        }
        let asked = self.0.basic.lock().unwrap_or_else(PoisonError::into_inner).contains(origin);
        if !asked {
            return None;
        }
        let both = format!("{}:{}", credentials.username, credentials.password.expose());
        sensitive(&format!("Basic {}", STANDARD.encode(both)))
    }

    /// `origin` refused a request for `scopes` that carried `sent`; true when [`Access::authorization`] now has something else to offer.
    ///
    /// # Errors
    /// Whatever keeps a token server from answering.
    #[expect(clippy::unused_async, reason = "obtaining a token asks a server")]
    pub(super) async fn challenged(
        &self,
        _transport: &Transport,
        origin: &Origin,
        _scopes: &[Scope],
        headers: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<bool, Error> {
        let wants_basic = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .any(|value| value.as_bytes().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic")));
        if sent.is_some() || !wants_basic || self.0.credentials.is_none() {
            return Ok(false);
        }
        self.0.basic.lock().unwrap_or_else(PoisonError::into_inner).push(origin.clone());
        Ok(true)
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
