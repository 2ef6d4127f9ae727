//! Whether an image is signed as the administrator demands: with a key, in either of cosign's forms, found by tag or among the referrers.
//!
//! What must stay true: bytes are believed only after their signature; the digest that a signature is about is the digest of what is installed, because the
//! caller fetches by the manifest that was verified and by nothing else; whatever keeps us from knowing refuses the image.

mod bundle;
mod key;
mod simple;

use shipway_model::{Descriptor, Digest, ManifestDocument, MediaType, Reference};

use super::endpoint::Hosts;
use super::hosts::signatures::{Demand, Identity, SignaturePolicy, find};
use super::manifests::{FetchedManifest, Wanted};
use super::referrers::{FetchedReferrer, FoundReferrer, cosign_tag, described};
use super::registry::Registry;
use crate::Error;

pub use key::TrustedKey;

/// Signatures of one image that are looked at.
const TRIED: usize = 64;
/// Referrers that may be signatures and are fetched.
const MANIFESTS: usize = 32;
/// Reasons that are told.
const REASONS: usize = 3;

/// What a good signature says.
#[derive(Debug)]
struct Claim<'k> {
    key: &'k TrustedKey,
    /// The names of images that it is about; cosign 3 writes none.
    names: Vec<String>,
}

/// How a layer says that somebody signed.
#[derive(Debug, Clone, Copy)]
enum Form {
    Simple,
    Bundle,
}

impl Form {
    fn of(layer: &Descriptor) -> Option<Self> {
        match layer.media_type.as_str() {
            simple::MEDIA_TYPE => Some(Self::Simple),
            other if other.starts_with(bundle::MEDIA_TYPE) => Some(Self::Bundle),
            _ => None,
        }
    }

    /// Bytes that are read of one.
    fn limit(self) -> usize {
        match self {
            Self::Simple => simple::LIMIT,
            Self::Bundle => bundle::LIMIT,
        }
    }
}

/// A signature that is good.
#[derive(Debug, Clone)]
pub struct VerifiedSignature {
    /// The key it was made with.
    pub key: String,
    /// The whole of it, to be kept beside the image.
    pub referrer: FetchedReferrer,
}

impl Hosts {
    /// What is demanded of images of the registry `domain`, by name of a repository; `None` where nobody wrote anything.
    ///
    /// # Errors
    /// `Settings` when what was written cannot be used; then no image of it may be.
    pub fn signature_policy(&self, domain: &str) -> Result<Option<SignaturePolicy>, Error> {
        find(self.hosts_folders(), domain)
    }
}

/// An image to be verified.
struct Case<'a> {
    registry: &'a Registry,
    reference: &'a Reference,
    keys: &'a [TrustedKey],
    identity: &'a Identity,
    /// Why the signatures that were found do not count.
    reasons: Vec<String>,
    tried: usize,
}

impl Registry {
    /// Finds a signature of one of `digests`, which are the manifest that `reference` means and the one chosen from it, that `policy` accepts. `None` when it
    /// demands nothing of this repository.
    ///
    /// # Errors
    /// `Signature` when there is none, with the reasons; whatever keeps the registry from answering.
    ///
    /// # Cost
    /// Two questions for the usual signature; nothing where nothing is demanded.
    pub async fn verify(
        &self,
        policy: &SignaturePolicy,
        reference: &Reference,
        digests: &[Digest],
    ) -> Result<Option<VerifiedSignature>, Error> {
        let Demand::Signed { keys, identity } = policy.demand(reference.path()) else { return Ok(None) };
        let mut case = Case { registry: self, reference, keys, identity, reasons: Vec::new(), tried: 0 };
        for digest in digests {
            if let Some(verified) = Box::pin(case.signature_of(digest)).await? {
                return Ok(Some(verified));
            }
        }
        let keys: Vec<&str> = keys.iter().map(TrustedKey::name).collect();
        let reason = if case.reasons.is_empty() {
            format!("there is no signature of it; one by {} is demanded", keys.join(" or "))
        } else {
            case.reasons.truncate(REASONS);
            format!("{}; a signature by {} is demanded", case.reasons.join("; "), keys.join(" or "))
        };
        Err(Error::Signature {
            name: reference.familiar(),
            digest: digests.first().map(ToString::to_string).unwrap_or_default(),
            reason,
            policy: policy.file().to_owned(),
        })
    }
}

impl<'a> Case<'a> {
    async fn signature_of(&mut self, subject: &Digest) -> Result<Option<VerifiedSignature>, Error> {
        let repository = self.reference.path();
        let tag = cosign_tag(subject, "sig");
        if let Some(manifest) = self.manifest(Wanted::Tag(tag.clone())).await? {
            let found = FoundReferrer { descriptor: manifest.descriptor.clone(), tag: Some(tag) };
            if let Some(verified) = Box::pin(self.look_into(subject, &manifest, found)).await? {
                return Ok(Some(verified));
            }
        }
        let mut listed: Vec<(Likely, FoundReferrer)> =
            self.registry.listed(repository, subject).await?.into_iter().filter_map(|found| Some((Likely::of(&found)?, found))).collect();
        listed.sort_by_key(|(likely, _)| *likely);
        let more = listed.len() > MANIFESTS;
        for (_, found) in listed.into_iter().take(MANIFESTS) {
            if let Some(manifest) = self.manifest(Wanted::Digest(found.descriptor.digest)).await?
                && let Some(verified) = Box::pin(self.look_into(subject, &manifest, found)).await?
            {
                return Ok(Some(verified));
            }
        }
        if more {
            self.reasons.push(format!("of the referrers that may be its signatures only {MANIFESTS} were looked at"));
        }
        Ok(None)
    }

    /// The manifest of signatures. One that is damaged is a reason, not the end: another one may be good.
    async fn manifest(&mut self, wanted: Wanted) -> Result<Option<FetchedManifest>, Error> {
        match self.registry.manifest_if_there(self.reference.path(), &wanted).await {
            Err(error @ Error::Content { .. }) => {
                self.reasons.push(error.to_string());
                Ok(None)
            }
            other => other,
        }
    }

    async fn look_into(
        &mut self,
        subject: &Digest,
        manifest: &FetchedManifest,
        found: FoundReferrer,
    ) -> Result<Option<VerifiedSignature>, Error> {
        let ManifestDocument::Manifest(document) = &manifest.document else {
            self.reasons.push("what stands in the place of its signatures is an index".to_owned());
            return Ok(None);
        };
        if let Some(other) = document.subject.as_ref().filter(|named| named.digest != *subject) {
            self.reasons.push(format!("what stands among its signatures speaks of another image, {}", other.digest));
            return Ok(None);
        }
        for (form, layer) in document.layers.iter().filter_map(|layer| Some((Form::of(layer)?, layer))) {
            self.tried += 1;
            if self.tried > TRIED {
                self.reasons.push(format!("it has more than {TRIED} signatures"));
                return Ok(None);
            }
            let bytes = match had(self.registry.small_blob(self.reference.path(), layer, form.limit()).await)? {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.reasons.push(format!("a signature's payload cannot be had: {error}"));
                    continue;
                }
            };
            let claim = match form {
                Form::Simple => simple::claim(self.keys, layer, &bytes, subject),
                Form::Bundle => self.bundle(&bytes, subject).await?,
            };
            let claim = match claim {
                Ok(claim) => claim,
                Err(reason) => {
                    self.reasons.push(reason);
                    continue;
                }
            };
            if let Err(reason) = self.admitted(&claim) {
                // It is good but for the name, so this is what is told before all else.
                self.reasons.insert(0, reason);
                continue;
            }
            let key = claim.key.name().to_owned();
            let referrer = self.whole(subject, manifest, document, found, layer, bytes).await?;
            return Ok(Some(VerifiedSignature { key, referrer }));
        }
        Ok(None)
    }

    /// What a bundle says. One that is of the manifest's bytes is asked for what they are.
    async fn bundle(&self, bytes: &[u8], subject: &Digest) -> Result<Result<Claim<'a>, String>, Error> {
        let keys = self.keys;
        let bundle = match bundle::Bundle::read(bytes) {
            Ok(bundle) => bundle,
            Err(reason) => return Ok(Err(reason)),
        };
        if !bundle.is_of_bytes() {
            return Ok(bundle.claim(keys, subject, &[]));
        }
        Ok(match had(self.registry.manifest(self.reference.path(), &Wanted::Digest(*subject)).await)? {
            Ok(manifest) => bundle.claim(keys, subject, &manifest.bytes),
            Err(error) => Err(format!("what a bundle is a signature of cannot be had: {error}")),
        })
    }

    /// The signature's manifest with all its blobs, to be kept; what was checked as it was checked.
    async fn whole(
        &self,
        subject: &Digest,
        manifest: &FetchedManifest,
        document: &shipway_model::Manifest,
        found: FoundReferrer,
        checked: &Descriptor,
        bytes: Vec<u8>,
    ) -> Result<FetchedReferrer, Error> {
        let mut blobs = vec![(checked.clone(), bytes)];
        for blob in std::iter::once(&document.config).chain(&document.layers) {
            if blobs.iter().any(|(known, _)| known.digest == blob.digest) {
                continue;
            }
            match self.registry.small_blob(self.reference.path(), blob, bundle::LIMIT).await {
                Ok(bytes) => blobs.push((blob.clone(), bytes)),
                // It is not needed to know that the image is signed; a copy without it just is not made.
                Err(error) => tracing::info!(%error, "a part of a signature cannot be kept"),
            }
        }
        // What it is called is what its manifest says: lists that clients keep often do not know it.
        let found = FoundReferrer { descriptor: described(manifest), tag: found.tag };
        Ok(FetchedReferrer { subject: *subject, found, manifest: manifest.bytes.clone(), blobs })
    }

    /// Whether what the policy wants to know of the name is in the signature; or what is wrong.
    fn admitted(&self, claim: &Claim<'_>) -> Result<(), String> {
        let by = claim.key.name();
        match (claim.names.first(), self.identity) {
            (_, Identity::Any) | (None, Identity::NameIfAny) => Ok(()),
            (None, Identity::Name | Identity::Exactly(_)) => {
                Err(format!("the signature by {by} carries no name, as bundles do not, and \"identity\" demands one"))
            }
            (Some(_), _) if claim.names.iter().any(|named| self.is_about(named)) => Ok(()),
            (Some(named), _) => Err(format!("the signature by {by} is for another name, \"{}\"", shown(named))),
        }
    }

    fn is_about(&self, named: &str) -> bool {
        let Ok(signed) = Reference::parse(named) else { return false };
        let tag = signed.tag().map(str::to_owned);
        let repository = signed.without_tag_and_digest().canonical();
        if let Identity::Exactly(wanted) = self.identity {
            return repository == *wanted;
        }
        // A signature for one tag is none for another; one without a tag is for the repository.
        let same_tag = self.reference.digest().is_some() || tag.is_none() || tag.as_deref() == self.reference.tag();
        same_tag && repository == self.reference.clone().without_tag_and_digest().canonical()
    }
}

/// How likely a referrer is a signature; the likely ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likely {
    Named,
    /// Lists that clients keep call it by the type of its configuration, or nothing.
    Nameless,
}

impl Likely {
    fn of(found: &FoundReferrer) -> Option<Self> {
        match found.descriptor.artifact_type.as_deref() {
            Some(simple::ARTIFACT) => Some(Self::Named),
            Some(named) if named.starts_with(bundle::MEDIA_TYPE) => {
                // Attestations may be many and long.
                let attests = found.descriptor.annotations.get(bundle::PREDICATE).is_some_and(|predicate| predicate != bundle::SIGNATURE);
                (!attests).then_some(Self::Named)
            }
            None => Some(Self::Nameless),
            Some(named) => (named == MediaType::OciEmpty.as_str()).then_some(Self::Nameless),
        }
    }
}

/// What is damaged or missing is a reason, not the end.
fn had<T>(answer: Result<T, Error>) -> Result<Result<T, Error>, Error> {
    match answer {
        Err(error @ (Error::Content { .. } | Error::Refused { status: http::StatusCode::NOT_FOUND, .. })) => Ok(Err(error)),
        Err(error) => Err(error),
        Ok(value) => Ok(Ok(value)),
    }
}

/// Foreign words for a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}
