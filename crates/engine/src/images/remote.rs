//! The engine's way to registries: one client for all pulls and pushes, and what their failures mean to whoever named an image.

use std::sync::Arc;

use shipway_model::{Classified as _, ErrorKind, Reference, suggest};
use shipway_registry::{Access, Credentials, Hosts, Proxies, Puller, Pusher, Registry, TokenCache, Transport, TransportConfig};
use shipway_store::Store;

use super::account::HUB;
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
            .map_err(|error| if for_push { self.cannot_push(reference, &error) } else { self.cannot_pull(reference, &error) })
    }

    /// Why `reference` cannot be had, in Docker's words. Names that are nearly right come before any talk of logging in (M-06, M-07).
    pub(super) fn cannot_pull(&self, reference: &Reference, error: &shipway_registry::Error) -> Error {
        // The name was right.
        if let shipway_registry::Error::Signature { .. } | shipway_registry::Error::NoPlatform { .. } = error {
            return Error::Remote { reason: error.to_string(), kind: error.kind(), hint: error.hint(), unreached: false };
        }
        let answered = matches!(error, shipway_registry::Error::Refused { .. });
        // What goes wrong later says nothing about the name.
        let may_be_wrong = is_denied(error) || error.nobody_was_reached();
        let nearest = Some(reference).filter(|_| may_be_wrong && !(wants_login(error) && self.is_known_here(reference)));
        let nearest = nearest.and_then(|reference| self.nearest_here(reference, answered));
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
        let hint = nearest.map(|name| format!("did you mean {name}?")).or_else(|| advice(reference, error));
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
        Error::Remote { reason, kind: error.kind(), hint: advice(reference, error), unreached: error.nobody_was_reached() }
    }

    /// A name that is here and nearly this one: another tag of its repository, or another repository. Where the registry `answered`, its own name was
    /// right, and only names of it are near.
    pub(super) fn nearest_here(&self, reference: &Reference, answered: bool) -> Option<String> {
        let names = self.inner.store.images().all_tags().into_iter().map(|(name, _)| name);
        let names: Vec<Reference> =
            names.filter(|name| name.digest().is_none() && (!answered || name.domain() == reference.domain())).collect();
        let same = || names.iter().filter(|name| name.repository() == reference.repository());
        let mut tags: Vec<&str> = same().filter_map(Reference::tag).collect();
        tags.sort_unstable();
        if let (Some(tag), None) = (reference.tag().filter(|tag| !tags.contains(tag)), reference.digest()) {
            // Nobody types "latest", so it is no misspelling of another tag, but of leaving it away.
            let left_away = tags.last().filter(|_| tag == "latest").copied();
            if let Some(near) = suggest::nearest_spelling(tag, tags.iter().copied(), NEAR).or(left_away) {
                return Some(format!("{}:{near}", reference.familiar_repository()));
            }
        }
        if !tags.is_empty() {
            return None;
        }
        let repositories: Vec<String> = names.iter().map(Reference::familiar_repository).collect();
        let near = suggest::nearest(&reference.familiar_repository(), repositories.iter().map(String::as_str), NEAR)?;
        // Its tag, where that is here too.
        let tagged = |tag: &str| names.iter().any(|name| name.tag() == Some(tag) && name.familiar_repository() == near);
        Some(reference.tag().filter(|tag| *tag != "latest" && tagged(tag)).map_or_else(|| near.to_owned(), |tag| format!("{near}:{tag}")))
    }

    /// Whether an image of this repository is here, whatever its tag: its name is no mistake then.
    fn is_known_here(&self, reference: &Reference) -> bool {
        self.inner.store.images().all_tags().iter().any(|(name, _)| name.repository() == reference.repository())
    }
}

/// Letters that a name or a tag may be away from one that is here and still be meant as that.
const NEAR: usize = 3;

/// The answers that tell no more than that there is nothing for who asks.
fn is_denied(error: &shipway_registry::Error) -> bool {
    matches!(error, shipway_registry::Error::Refused { status, .. } if matches!(status.as_u16(), 401 | 403 | 404))
}

fn wants_login(error: &shipway_registry::Error) -> bool {
    matches!(error, shipway_registry::Error::Refused { status, .. } if matches!(status.as_u16(), 401 | 403))
}

/// What to do about `error`: log in, where that is what the registry wants.
fn advice(reference: &Reference, error: &shipway_registry::Error) -> Option<String> {
    match error {
        shipway_registry::Error::Refused { status, .. } if status.as_u16() == 401 => {
            let registry = reference.domain();
            let command = if registry == HUB { "shipway login".to_owned() } else { format!("shipway login {registry}") };
            Some(format!("log in as somebody who may: {command}"))
        }
        other => other.hint(),
    }
}
