//! Whether an image is signed as the administrator demands: signatures of cosign's form, made with a key, found by tag or among the referrers.
//!
//! What must stay true: bytes are believed only after their signature; the digest that a signature is about is the digest of what is installed, because the
//! caller fetches by the manifest that was verified and by nothing else; whatever keeps us from knowing refuses the image.
//!
//! # Source
//! cosign, SIGNATURE_SPEC.md. containers/image, docs/containers-signature.5.md (the JSON that is signed).

mod key;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use shipway_model::{Descriptor, Digest, ManifestDocument, Reference};

use super::endpoint::Hosts;
use super::hosts::signatures::{Demand, Identity, SignaturePolicy, find};
use super::manifests::{FetchedManifest, Wanted};
use super::referrers::{FetchedReferrer, FoundReferrer, cosign_tag};
use super::registry::Registry;
use crate::Error;

pub use key::TrustedKey;

/// What is signed.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The signature over it, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What a signature's manifest is called among the referrers.
const SIGNATURE_ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// The word in the JSON for what it is about.
const IMAGE_SIGNATURE: &str = "cosign container image signature";
/// Signatures of one image that are looked at.
const TRIED: usize = 64;
/// Referrers that may be signatures and are fetched.
const MANIFESTS: usize = 16;
/// Bytes of what is signed, and letters of a signature.
const PAYLOAD: usize = 64 << 10;
const LETTERS: usize = 1024;
/// Reasons that are told.
const REASONS: usize = 3;

/// What is signed: which manifest, under which name.
#[derive(Debug, Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Debug, Deserialize)]
struct Critical {
    identity: PayloadIdentity,
    image: PayloadImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct PayloadIdentity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Debug, Deserialize)]
struct PayloadImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
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

impl Case<'_> {
    async fn signature_of(&mut self, subject: &Digest) -> Result<Option<VerifiedSignature>, Error> {
        let repository = self.reference.path();
        let tag = cosign_tag(subject, "sig");
        if let Some(manifest) = self.manifest(Wanted::Tag(tag.clone())).await? {
            let found = FoundReferrer { descriptor: manifest.descriptor.clone(), tag: Some(tag) };
            if let Some(verified) = Box::pin(self.look_into(subject, &manifest, found)).await? {
                return Ok(Some(verified));
            }
        }
        let listed = self.registry.listed(repository, subject).await?;
        let signatures = listed.into_iter().filter(|found| found.descriptor.artifact_type.as_deref() == Some(SIGNATURE_ARTIFACT));
        for found in signatures.take(MANIFESTS) {
            if let Some(manifest) = self.manifest(Wanted::Digest(found.descriptor.digest)).await?
                && let Some(verified) = Box::pin(self.look_into(subject, &manifest, found)).await?
            {
                return Ok(Some(verified));
            }
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
        for layer in document.layers.iter().filter(|layer| layer.media_type.as_str() == SIMPLE_SIGNING) {
            self.tried += 1;
            if self.tried > TRIED {
                self.reasons.push(format!("it has more than {TRIED} signatures"));
                return Ok(None);
            }
            let payload = match self.registry.small_blob(self.reference.path(), layer, PAYLOAD).await {
                Ok(payload) => payload,
                Err(error @ (Error::Content { .. } | Error::Refused { status: http::StatusCode::NOT_FOUND, .. })) => {
                    self.reasons.push(format!("a signature's payload cannot be had: {error}"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            match self.check(layer, &payload, subject) {
                Ok(key) => {
                    let key = key.name().to_owned();
                    let referrer = self.whole(subject, manifest, document, found, layer, payload).await?;
                    return Ok(Some(VerifiedSignature { key, referrer }));
                }
                Err(reason) => self.reasons.push(reason),
            }
        }
        Ok(None)
    }

    /// The signature's manifest with all its blobs, to be kept; the payload that was checked as it was checked.
    async fn whole(
        &self,
        subject: &Digest,
        manifest: &FetchedManifest,
        document: &shipway_model::Manifest,
        found: FoundReferrer,
        checked: &Descriptor,
        payload: Vec<u8>,
    ) -> Result<FetchedReferrer, Error> {
        let mut blobs = vec![(checked.clone(), payload)];
        for blob in std::iter::once(&document.config).chain(&document.layers) {
            if blobs.iter().any(|(known, _)| known.digest == blob.digest) {
                continue;
            }
            match self.registry.small_blob(self.reference.path(), blob, PAYLOAD).await {
                Ok(bytes) => blobs.push((blob.clone(), bytes)),
                // It is not needed to know that the image is signed; a copy without it just is not made.
                Err(error) => tracing::info!(%error, "a part of a signature cannot be kept"),
            }
        }
        Ok(FetchedReferrer { subject: *subject, found, manifest: manifest.bytes.clone(), blobs })
    }

    /// The key by which `payload` is signed, when it is about this image; or what is wrong.
    fn check(&self, layer: &Descriptor, payload: &[u8], subject: &Digest) -> Result<&TrustedKey, String> {
        let letters = layer.annotations.get(SIGNATURE).ok_or("a signature's manifest carries no signature")?;
        if letters.len() > LETTERS {
            return Err(format!("a signature has {} letters; more than {LETTERS} are refused", letters.len()));
        }
        let signature = STANDARD.decode(letters.trim()).map_err(|_| "a signature is no base64".to_owned())?;
        let key = self.keys.iter().find(|key| key.signed(payload, &signature)).ok_or("a signature is by none of the trusted keys")?;
        // From here on these are the words of somebody we trust.
        let by = |what: String| format!("the signature by {} {what}", key.name());
        let Payload { critical } = serde_json::from_slice(payload).map_err(|error| by(format!("is over what cannot be read: {error}")))?;
        if critical.kind != IMAGE_SIGNATURE {
            return Err(by("is not of an image".to_owned()));
        }
        if critical.image.digest != subject.to_string() {
            return Err(by(format!("is of another image, {}", shown(&critical.image.digest))));
        }
        if !self.is_about(&critical.identity.reference) {
            return Err(by(format!("is for another name, \"{}\"", shown(&critical.identity.reference))));
        }
        Ok(key)
    }

    fn is_about(&self, named: &str) -> bool {
        let Ok(signed) = Reference::parse(named) else { return *self.identity == Identity::Any };
        match self.identity {
            Identity::Any => true,
            Identity::Exactly(repository) => signed.without_tag_and_digest().canonical() == *repository,
            Identity::Name => {
                // A signature for one tag is none for another; one without a tag is for the repository.
                let tag = signed.tag().map(str::to_owned);
                let same_tag = self.reference.digest().is_some() || tag.is_none() || tag.as_deref() == self.reference.tag();
                same_tag && signed.without_tag_and_digest().canonical() == self.reference.clone().without_tag_and_digest().canonical()
            }
        }
    }
}

/// Foreign words for a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}
