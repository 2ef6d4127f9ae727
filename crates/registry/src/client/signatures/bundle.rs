//! Sigstore bundles, the form in which cosign 3 keeps signatures: a JSON document that is the layer of a referrer.
//!
//! ```text
//! {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
//!  "verificationMaterial": {"publicKey": {"hint": "..."} or "certificate" or "x509CertificateChain", ...},
//!  "dsseEnvelope": {"payload": BASE64 of a statement, "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": BASE64}]}
//!  or "messageSignature": {"messageDigest": {"algorithm": "SHA2_256", "digest": BASE64}, "signature": BASE64 over the image's manifest}}
//! ```
//!
//! What must stay true: only the policy's keys are believed, whatever key a bundle hints at; a statement is read from the very bytes that were signed, and
//! only after the signature; an attestation is no signature. Entries of transparency logs are not looked at: they say when a key was used, not whose it is.
//!
//! # Source
//! sigstore/protobuf-specs, sigstore_bundle.proto and sigstore_common.proto (as JSON: either spelling of names, either alphabet of base64). DSSE protocol
//! 1.0.2. in-toto attestation framework, Statement v1 and v0.1. cosign, BUNDLE_SPEC.md.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use serde::Deserialize;
use serde::de::IgnoredAny;
use shipway_model::Digest;

use super::{Claim, TrustedKey, shown};

/// How the types of all versions begin.
pub(super) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle";
/// Versions of one shape, as a bundle names itself.
const VERSIONS: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
];
/// Says in a list of referrers what a bundle's statement is.
pub(super) const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
/// The statement that is a signature; all others are attestations.
pub(super) const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
/// Bytes of a bundle. One of a signature with its log entries has some thousand; long ones are attestations.
pub(super) const LIMIT: usize = 256 << 10;
/// Signatures in one envelope; cosign writes one.
const SIGNATURES: usize = 16;
const STATEMENT: &str = "application/vnd.in-toto+json";
const STATEMENTS: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

const FORGIVING: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, FORGIVING);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(alias = "media_type")]
    media_type: String,
    #[serde(alias = "verification_material")]
    verification_material: Material,
    #[serde(alias = "dsse_envelope")]
    dsse_envelope: Option<Envelope>,
    #[serde(alias = "message_signature")]
    message_signature: Option<MessageSignature>,
}

/// Whom the maker of a bundle says it is signed by.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<IgnoredAny>,
    #[serde(alias = "x509_certificate_chain")]
    x509_certificate_chain: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    #[serde(alias = "payload_type")]
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Debug, Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageSignature {
    #[serde(alias = "message_digest")]
    message_digest: Option<MessageDigest>,
    signature: String,
}

#[derive(Debug, Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

/// What is said about whom.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Debug, Deserialize)]
struct Subject {
    #[serde(default)]
    name: String,
    digest: BTreeMap<String, String>,
}

/// A bundle that could be read; nothing in it is believed yet.
#[derive(Debug)]
pub(super) struct Bundle {
    content: Content,
    keyless: bool,
}

#[derive(Debug)]
enum Content {
    Envelope { payload: Vec<u8>, payload_type: String, signatures: Vec<Vec<u8>> },
    Message { signature: Vec<u8>, digest: Option<(&'static Algorithm, Vec<u8>)> },
}

impl Bundle {
    /// Reads a bundle of a known version.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| format!("a bundle cannot be read: {}", shown(&error.to_string())))?;
        let version: String = document.media_type.split_whitespace().collect();
        if !VERSIONS.contains(&version.as_str()) {
            return Err(format!("a bundle is of a form that is not known, \"{}\"", shown(&document.media_type)));
        }
        let Material { certificate, x509_certificate_chain: chain } = document.verification_material;
        let content = match (document.dsse_envelope, document.message_signature) {
            (Some(envelope), None) => {
                if envelope.signatures.len() > SIGNATURES {
                    return Err(format!("a bundle has more than {SIGNATURES} signatures"));
                }
                let signatures =
                    envelope.signatures.iter().map(|signature| decoded(&signature.sig, "signature")).collect::<Result<_, _>>()?;
                Content::Envelope { payload: decoded(&envelope.payload, "payload")?, payload_type: envelope.payload_type, signatures }
            }
            (None, Some(message)) => {
                let digest = message.message_digest.map(digest_of).transpose()?;
                Content::Message { signature: decoded(&message.signature, "signature")?, digest }
            }
            _ => return Err("a bundle cannot be read: it has to be either an envelope or a signature of a message".to_owned()),
        };
        Ok(Self { content, keyless: certificate.is_some() || chain.is_some() })
    }

    /// Whether it is a signature of the manifest's bytes, which are needed then.
    pub(super) fn is_of_bytes(&self) -> bool {
        matches!(self.content, Content::Message { .. })
    }

    /// What the bundle says, when one of `keys` signed it for `subject`, whose bytes are `manifest`; or what is wrong.
    pub(super) fn claim<'k>(&self, keys: &'k [TrustedKey], subject: &Digest, manifest: &[u8]) -> Result<Claim<'k>, String> {
        match &self.content {
            Content::Envelope { payload, payload_type, signatures } => {
                let message = pre_authentication(payload_type, payload);
                let key = keys.iter().find(|key| signatures.iter().any(|signature| key.signed(&message, signature)));
                let key = key.ok_or_else(|| self.stranger())?;
                let names = statement(payload_type, payload, subject).map_err(|what| format!("the bundle by {} {what}", key.name()))?;
                Ok(Claim { key, names })
            }
            Content::Message { signature, digest: named } => {
                let key = keys.iter().find(|key| key.signed(manifest, signature)).ok_or_else(|| self.stranger())?;
                match named {
                    Some((algorithm, named)) if digest(algorithm, manifest).as_ref() != named => {
                        Err(format!("the bundle by {} names another digest than it signs", key.name()))
                    }
                    _ => Ok(Claim { key, names: Vec::new() }),
                }
            }
        }
    }

    fn stranger(&self) -> String {
        if self.keyless {
            "a bundle is signed with a certificate (keyless), and signatures by key are what counts here".to_owned()
        } else {
            "a bundle is by none of the trusted keys, or of another image".to_owned()
        }
    }
}

/// The names under which a statement that was signed speaks of `subject`; mostly none. Or why it is no signature of it.
fn statement(payload_type: &str, payload: &[u8], subject: &Digest) -> Result<Vec<String>, String> {
    if payload_type != STATEMENT {
        return Err(format!("is about something else than an image, \"{}\"", shown(payload_type)));
    }
    let statement: Statement =
        serde_json::from_slice(payload).map_err(|error| format!("is over what cannot be read: {}", shown(&error.to_string())))?;
    if !STATEMENTS.contains(&statement.kind.as_str()) {
        return Err(format!("is over a statement that is not known, \"{}\"", shown(&statement.kind)));
    }
    if statement.predicate_type != SIGNATURE {
        return Err(format!("is an attestation (\"{}\"), and no signature", shown(&statement.predicate_type)));
    }
    let algorithm = subject.algorithm().to_string();
    let (about, others): (Vec<Subject>, Vec<Subject>) =
        statement.subject.into_iter().partition(|about| about.digest.get(&algorithm).is_some_and(|hex| *hex == subject.hex()));
    if about.is_empty() {
        let other = others.first().and_then(|other| other.digest.get(&algorithm)).map_or("none", String::as_str);
        return Err(format!("is of another image, {algorithm}:{}", shown(other)));
    }
    // The older statement demands a name, and has this one for none.
    Ok(about.into_iter().map(|about| about.name).filter(|name| !matches!(name.as_str(), "" | "_")).collect())
}

/// What is signed in place of a payload, so that its type cannot be changed.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    [format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).as_bytes(), payload].concat()
}

fn digest_of(named: MessageDigest) -> Result<(&'static Algorithm, Vec<u8>), String> {
    let algorithm = match named.algorithm.as_str() {
        "SHA2_256" => &SHA256,
        "SHA2_384" => &SHA384,
        "SHA2_512" => &SHA512,
        other => return Err(format!("a bundle has a digest of a kind that is not known, \"{}\"", shown(other))),
    };
    Ok((algorithm, decoded(&named.digest, "digest")?))
}

fn decoded(letters: &str, what: &str) -> Result<Vec<u8>, String> {
    let alphabet = if letters.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    alphabet.decode(letters).map_err(|_| format!("a bundle's {what} is no base64"))
}

#[cfg(test)]
mod tests;
