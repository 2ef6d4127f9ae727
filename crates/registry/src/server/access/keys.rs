//! The keys whose tokens are believed: a JSON Web Key Set in a file.
//!
//! What must stay true: a key comes from this file or from nowhere: one that a token brings itself is never looked at (S-511, CVE-2025-24976); a key
//! serves one algorithm, its own.
//!
//! # Source
//! RFC 7517 (keys), RFC 7518 sections 3.3, 3.4, 6.2, 6.3 (RS256, ES256).

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use super::AccessError;

/// Keys by their ids.
pub struct Keys(HashMap<String, Key>);

enum Key {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, uncompressed.
    P256(Vec<u8>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    /// The private half; a file that has it is a mistake.
    #[serde(default)]
    d: Option<serde::de::IgnoredAny>,
}

impl Keys {
    /// Reads the key set in `path`.
    ///
    /// # Errors
    /// `File`, or `Keys` for a set that cannot be used whole.
    pub fn read(path: &Path) -> Result<Self, AccessError> {
        let shown = path.display().to_string();
        let text = fs::read(path).map_err(|source| AccessError::File { path: shown.clone(), source })?;
        Self::parse(&text).map_err(|reason| AccessError::Keys { path: shown, reason })
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let set: Set = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let mut keys = HashMap::new();
        for (number, entry) in set.keys.into_iter().enumerate() {
            let kid = entry.kid.clone().filter(|kid| !kid.is_empty()).ok_or(format!("key {} has no \"kid\"", number + 1))?;
            let key = entry.key().map_err(|reason| format!("key \"{kid}\": {reason}"))?;
            if keys.insert(kid.clone(), key).is_some() {
                return Err(format!("there are two keys \"{kid}\""));
            }
        }
        if keys.is_empty() { Err("it holds no key".to_owned()) } else { Ok(Self(keys)) }
    }

    /// True when the key `kid` signed `message` by `algorithm`.
    pub(super) fn verify(&self, kid: &str, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match (self.0.get(kid), algorithm) {
            (Some(Key::Rsa { n, e }), "RS256") => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            (Some(Key::P256(point)), "ES256") => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok(),
            _ => false,
        }
    }
}

impl Entry {
    fn key(&self) -> Result<Key, String> {
        if self.d.is_some() {
            return Err("this is a private key; only the public half belongs here".to_owned());
        }
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let trim = |bytes: Vec<u8>| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
                Ok(Key::Rsa { n: trim(decoded(&self.n, "n")?), e: trim(decoded(&self.e, "e")?) })
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (decoded(&self.x, "x")?, decoded(&self.y, "y")?);
                if x.len() != 32 || y.len() != 32 {
                    return Err("its point has not two coordinates of 32 bytes".to_owned());
                }
                Ok(Key::P256([&[4], x.as_slice(), y.as_slice()].concat()))
            }
            (kind, curve) => Err(format!("keys of type {kind} {} are not supported: RSA and EC P-256 are", curve.unwrap_or_default())),
        }
    }
}

fn decoded(text: &Option<String>, name: &str) -> Result<Vec<u8>, String> {
    let text = text.as_deref().ok_or(format!("\"{name}\" is missing"))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|error| format!("\"{name}\": {error}"))
}
