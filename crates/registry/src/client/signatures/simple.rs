//! Signatures of cosign's first form: JSON that names an image and its digest, signed as it stands. The signature is an annotation of the layer that is the
//! JSON.
//!
//! # Source
//! cosign, SIGNATURE_SPEC.md. containers/image, docs/containers-signature.5.md (the JSON that is signed).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use shipway_model::{Descriptor, Digest};

use super::{Claim, TrustedKey, shown};

/// What is signed.
pub(super) const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What a signature's manifest is called among the referrers.
pub(super) const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Bytes of what is signed, and letters of a signature.
pub(super) const LIMIT: usize = 64 << 10;
const LETTERS: usize = 1024;
/// The signature, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The word in the JSON for what it is about.
const IMAGE_SIGNATURE: &str = "cosign container image signature";

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

/// What the signature at `layer` over `payload` says, when one of `keys` made it for `subject`; or what is wrong.
pub(super) fn claim<'k>(keys: &'k [TrustedKey], layer: &Descriptor, payload: &[u8], subject: &Digest) -> Result<Claim<'k>, String> {
    let letters = layer.annotations.get(SIGNATURE).ok_or("a signature's manifest carries no signature")?;
    if letters.len() > LETTERS {
        return Err(format!("a signature has {} letters; more than {LETTERS} are refused", letters.len()));
    }
    let signature = STANDARD.decode(letters.trim()).map_err(|_| "a signature is no base64".to_owned())?;
    let key = keys.iter().find(|key| key.signed(payload, &signature)).ok_or("a signature is by none of the trusted keys")?;
    // From here on these are the words of somebody we trust.
    let by = |what: String| format!("the signature by {} {what}", key.name());
    let Payload { critical } = serde_json::from_slice(payload).map_err(|error| by(format!("is over what cannot be read: {error}")))?;
    if critical.kind != IMAGE_SIGNATURE {
        return Err(by("is not of an image".to_owned()));
    }
    if critical.image.digest != subject.to_string() {
        return Err(by(format!("is of another image, {}", shown(&critical.image.digest))));
    }
    Ok(Claim { key, names: vec![critical.identity.reference] })
}
