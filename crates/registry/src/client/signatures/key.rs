//! Public keys that images are signed by.
//!
//! # Source
//! RFC 7468 (PEM); RFC 5480 and RFC 8410 (what stands before the key of each kind).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use shipway_model::Digest;

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// A SubjectPublicKeyInfo of each kind has one form only, up to the key itself.
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];
const P256_POINT: usize = 65;
const EDWARDS: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const EDWARDS_POINT: usize = 32;
/// Letters of a key's digest that are shown.
const SHOWN: usize = 12;

/// A key whose signatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    name: String,
    kind: Kind,
    point: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// ECDSA over the curve P-256 with SHA-256, its signatures in ASN.1.
    P256,
    Ed25519,
}

impl TrustedKey {
    /// The public keys in the file `name`.
    pub fn read(name: &str, text: &str) -> Result<Vec<Self>, String> {
        if text.contains("PRIVATE KEY-----") {
            return Err("this is a private key; only the public half belongs here".to_owned());
        }
        let mut keys = Vec::new();
        for block in text.split(BEGIN).skip(1) {
            let (body, _) = block.split_once(END).ok_or("a key has no end")?;
            let body: String = body.split_whitespace().collect();
            let der = STANDARD.decode(body).map_err(|error| format!("it is no PEM: {error}"))?;
            let (kind, point) = match &der {
                der if der.len() == P256.len() + P256_POINT && der.starts_with(P256) => (Kind::P256, &der[P256.len()..]),
                der if der.len() == EDWARDS.len() + EDWARDS_POINT && der.starts_with(EDWARDS) => (Kind::Ed25519, &der[EDWARDS.len()..]),
                _ => return Err("keys of its kind are not supported yet: ECDSA P-256 and Ed25519 are".to_owned()),
            };
            let mark: String = Digest::sha256_of(&der).hex().chars().take(SHOWN).collect();
            keys.push(Self { name: format!("{name} ({mark})"), kind, point: point.to_vec() });
        }
        if keys.is_empty() { Err("there is no public key in PEM form in it".to_owned()) } else { Ok(keys) }
    }

    /// The file it came from, and the beginning of its digest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True when its owner signed `message`.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.kind {
            Kind::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(message, signature).is_ok(),
            Kind::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.point).verify(message, signature).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_such_keys_are_told_apart() {
        let pem = |der: &[u8]| format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der));
        let edwards = [EDWARDS, &[7; 32]].concat();
        let two = TrustedKey::read("a.pub", &(pem(&edwards) + &pem(&[P256, &[4; 65]].concat()))).unwrap();
        assert_eq!((two.len(), two[0].kind, two[1].kind), (2, Kind::Ed25519, Kind::P256));
        assert!(two[0].name().starts_with("a.pub ("));
        for (text, words) in [
            (String::new(), "no public key"),
            (pem(&edwards[..40]), "not supported yet"),
            (pem(&[&edwards[..], b"x"].concat()), "not supported yet"),
            (format!("{BEGIN}\n***\n{END}"), "no PEM"),
            (format!("{BEGIN}\nAAAA"), "no end"),
            ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----".to_owned(), "private key"),
        ] {
            assert!(TrustedKey::read("a.pub", &text).unwrap_err().contains(words), "{text}");
        }
    }
}
