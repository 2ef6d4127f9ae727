//! What has to do with a registry and no image: logging in, searching, manifest lists put together by hand.

use shipway_model::{Descriptor, Digest, ManifestDocument, Reference};
use shipway_registry::{Access, Credentials, Hit, ListEntry, Wanted};

use crate::{Engine, Error, Result};

/// The registry that no name means.
pub(super) const HUB: &str = "docker.io";
/// The most that is asked of a search, as dockerd has it.
const MOST_HITS: u32 = 100;

/// A search of a registry.
#[derive(Debug, Clone, Default)]
pub struct SearchSpec {
    /// What is searched for; a registry may stand before it.
    pub term: String,
    /// Between 1 and 100.
    pub limit: u32,
    pub filters: crate::Filters,
    pub credentials: Option<Credentials>,
}

/// A manifest as its registry has it.
#[derive(Debug, Clone)]
pub struct RawManifest {
    pub descriptor: Descriptor,
    pub bytes: bytes::Bytes,
}

impl Engine {
    /// Whether the registry at `server` knows `credentials`; answers an identity token when it gives one in place of the password.
    ///
    /// # Errors
    /// `Remote` in the registry's words.
    pub async fn login(&self, server: &str, credentials: Credentials) -> Result<Option<shipway_model::Secret>> {
        let remote = &self.inner.remote;
        let trusted = remote.hosts().trusted_token_servers();
        shipway_registry::login(remote.transport(), remote.hosts(), &domain_of(server), credentials, trusted).await.map_err(remote_error)
    }

    /// Repositories that have to do with a term.
    ///
    /// # Errors
    /// `Invalid` for a limit or filter that is none; `Remote`.
    pub async fn search(&self, spec: SearchSpec) -> Result<Vec<Hit>> {
        if !(1..=MOST_HITS).contains(&spec.limit) {
            return Err(Error::invalid(format!("limit {} is outside the range of [1, {MOST_HITS}]", spec.limit)));
        }
        spec.filters.check_known(&["is-official", "is-automated", "stars"])?;
        let (official, automated) = (spec.filters.flag("is-official")?, spec.filters.flag("is-automated")?);
        let stars = stars(spec.filters.values("stars"))?;
        let (domain, term) = match spec.term.split_once('/') {
            Some((host, term)) if host.contains(['.', ':']) || host == "localhost" => (domain_of(host), term.to_owned()),
            _ => (HUB.to_owned(), spec.term.clone()),
        };
        let remote = &self.inner.remote;
        let access = Access::trusting(spec.credentials, remote.tokens(), remote.hosts().trusted_token_servers());
        let hits = shipway_registry::search(remote.transport(), remote.hosts(), &domain, &access, &term, spec.limit);
        let mut hits = hits.await.map_err(remote_error)?;
        hits.retain(|hit| {
            hit.star_count >= stars
                && official.is_none_or(|wanted| wanted == hit.is_official)
                && automated.is_none_or(|wanted| wanted == hit.is_automated)
        });
        if domain != HUB {
            for hit in &mut hits {
                hit.name = format!("{domain}/{}", hit.name);
            }
        }
        Ok(hits)
    }

    /// The manifest that `reference` names, byte by byte.
    ///
    /// # Errors
    /// `Remote` in Docker's words.
    pub async fn raw_manifest(&self, reference: &Reference, credentials: Option<Credentials>) -> Result<RawManifest> {
        let reference = reference.clone().with_default_tag();
        let registry = self.registry_of(&reference, credentials, false)?;
        let wanted = Wanted::of(&reference);
        let found = registry.manifest(reference.path(), &wanted).await.map_err(|error| self.cannot_pull(&reference, &error))?;
        Ok(RawManifest { descriptor: found.descriptor, bytes: found.bytes })
    }

    /// Writes a manifest list to a registry, and brings the manifests it names into its repository. Answers its digest.
    ///
    /// # Errors
    /// `Invalid` when `list` is none or names what is at another registry; `Remote`.
    pub async fn push_list(
        &self,
        reference: &Reference,
        list: bytes::Bytes,
        sources: &[Reference],
        credentials: Option<Credentials>,
    ) -> Result<Digest> {
        let reference = reference.clone().with_default_tag();
        let Ok(ManifestDocument::Index(index)) = ManifestDocument::parse(&list, None) else {
            return Err(Error::invalid("this is no manifest list"));
        };
        let media_type = index.media_type.unwrap_or(shipway_model::MediaType::OciIndex);
        let mut entries = Vec::new();
        for source in sources {
            if source.domain() != reference.domain() {
                return Err(Error::invalid(format!(
                    "cannot use source images from a different registry than the target image: {} != {}",
                    source.domain(),
                    reference.domain()
                )));
            }
            let digest = source.digest().ok_or_else(|| Error::invalid("a manifest of a list is named by its digest"))?;
            entries.push(ListEntry { repository: source.path().to_owned(), digest: *digest });
        }
        let registry = self.registry_of(&reference, credentials, true)?;
        let tag = reference.tag().ok_or_else(|| Error::invalid("a manifest list is written by tag"))?;
        let digest = Digest::sha256_of(&list);
        let pushed = registry.push_list(reference.path(), tag, &media_type, list, &entries).await;
        pushed.map_err(|error| self.cannot_push(&reference, &error))?;
        Ok(digest)
    }
}

/// The most of the stars asked for.
fn stars(values: &[String]) -> Result<i64> {
    let read = |text: &String| text.parse::<i64>().map_err(|_| Error::invalid(format!("invalid filter 'stars={text}'")));
    Ok(values.iter().map(read).collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0))
}

/// The name in references of the registry that clients call `server`, at `login` or in their `config.json`; Docker Hub has several, and is meant by none.
pub fn domain_of(server: &str) -> String {
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    match bare.split('/').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        host => host.to_owned(),
    }
}

fn remote_error(error: shipway_registry::Error) -> Error {
    use shipway_model::Classified as _;
    Error::Remote { reason: error.to_string(), kind: error.kind(), hint: error.hint(), unreached: error.nobody_was_reached() }
}

#[cfg(test)]
mod tests {
    use super::domain_of;

    #[test]
    fn a_registry_is_known_by_all_its_names() {
        for (server, domain) in
            [("https://index.docker.io/v1/", "docker.io"), ("", "docker.io"), ("http://Reg:5000/v2/", "reg:5000"), ("reg", "reg")]
        {
            assert_eq!(domain_of(server), domain, "{server}");
        }
    }
}
