//! The engine's way to registries: one client for all pulls and pushes, and what their failures mean to whoever named an image.

use std::sync::Arc;

use shipway_model::{Classified as _, ErrorKind, Reference};
use shipway_registry::{Access, Credentials, Hosts, Proxies, Puller, Pusher, Registry, TokenCache, Transport, TransportConfig};
use shipway_store::Store;

use crate::config::EngineConfig;
use crate::{Engine, Error, Result};

/// What all transfers of this engine share.
pub(crate) struct Remote {
    transport: Transport,
    hosts: Hosts,
    tokens: TokenCache,
    pub(crate) puller: Puller,
    pub(crate) pusher: Pusher,
}

impl Remote {
    /// # Errors
    /// `Invalid` for settings that cannot be used: who sets up registries wants to hear of it at the start.
    pub(crate) fn new(config: &EngineConfig, store: &Store) -> Result<Self> {
        let wrong = |error: shipway_registry::Error| Error::invalid(error.to_string());
        let proxy = |name: &str| config.proxies.get(name).or_else(|| config.proxies.get(&name.to_ascii_lowercase())).cloned();
        let proxies = Proxies { http: proxy("HTTP_PROXY"), https: proxy("HTTPS_PROXY"), no_proxy: proxy("NO_PROXY") };
        let hosts = Hosts::new(&config.registries).map_err(wrong)?;
        let trust = Some(Arc::new(hosts.clone()) as _);
        let transport = Transport::new(TransportConfig { proxies, trust, ..TransportConfig::default() }).map_err(wrong)?;
        Ok(Self {
            transport,
            hosts,
            tokens: TokenCache::default(),
            puller: Puller::new(store.clone(), config.max_concurrent_downloads),
            pusher: Pusher::new(store.clone(), config.max_concurrent_uploads),
        })
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    pub(super) fn tokens(&self) -> &TokenCache {
        &self.tokens
    }
}

impl Engine {
    /// The registry of `reference`, for the owner of `credentials` or anybody.
    pub(super) fn registry_of(&self, reference: &Reference, credentials: Option<Credentials>, for_push: bool) -> Result<Registry> {
        let remote = &self.inner.remote;
        let access = Access::trusting(credentials, &remote.tokens, remote.hosts.trusted_token_servers());
        Registry::new(remote.transport.clone(), &remote.hosts, reference.domain(), &access, for_push)
            .map_err(|error| self.cannot_pull(reference, &error))
    }

    /// Why `reference` cannot be had, in Docker's words. Names that are nearly right come before any talk of logging in (M-06, M-07).
    pub(super) fn cannot_pull(&self, reference: &Reference, error: &shipway_registry::Error) -> Error {
        // The name was right.
        if let shipway_registry::Error::Signature { .. } | shipway_registry::Error::NoPlatform { .. } = error {
            return Error::Remote { reason: error.to_string(), kind: error.kind(), hint: error.hint(), unreached: false };
        }
        let nearest = self.nearest_here(reference);
        let repository = reference.familiar_repository();
        let (code, kind) = match error {
            shipway_registry::Error::Refused { code, status, .. } if matches!(status.as_u16(), 401 | 403 | 404) => {
                (code.as_str(), ErrorKind::NotFound)
            }
            _ => ("", error.kind()),
        };
        let reason = match (error, code) {
            (shipway_registry::Error::Refused { .. }, "MANIFEST_UNKNOWN") => {
                format!("manifest for {} not found: {error}", reference.familiar())
            }
            (shipway_registry::Error::Refused { .. }, _) if kind == ErrorKind::NotFound && nearest.is_some() => {
                format!("pull access denied for {repository}, repository does not exist: {error}")
            }
            (shipway_registry::Error::Refused { .. }, _) if kind == ErrorKind::NotFound => {
                format!("pull access denied for {repository}, repository does not exist or may require 'docker login': {error}")
            }
            (shipway_registry::Error::Store(_), _) => error.to_string(),
            _ => format!("cannot pull {}: {error}", reference.familiar()),
        };
        let hint = nearest.map(|name| format!("did you mean {name}?")).or_else(|| error.hint());
        Error::Remote { reason, kind, hint, unreached: error.nobody_was_reached() }
    }

    /// Why `reference` cannot be pushed.
    pub(super) fn cannot_push(&self, reference: &Reference, error: &shipway_registry::Error) -> Error {
        let shown = format!("{}/{}", reference.domain(), reference.path());
        let reason = match error {
            // dockerd passes on the registry's words; clients match "denied" and "unauthorized".
            shipway_registry::Error::Refused { .. } => error.to_string(),
            _ => format!("cannot push to {shown}: {error}"),
        };
        Error::Remote { reason, kind: error.kind(), hint: error.hint(), unreached: error.nobody_was_reached() }
    }

    /// A name that is here and nearly this one.
    fn nearest_here(&self, reference: &Reference) -> Option<String> {
        let tagged = reference.familiar();
        let asked = if reference.tag() == Some("latest") { reference.familiar_repository() } else { tagged };
        let images = self.inner.store.images();
        let near =
            images.nearest(&asked).into_iter().next().or_else(|| images.nearest(&reference.familiar_repository()).into_iter().next())?;
        (near != asked).then_some(near)
    }
}
