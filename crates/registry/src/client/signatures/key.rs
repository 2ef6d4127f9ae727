//! Public keys that images are signed by.
//!
//! # Source
//! RFC 7468 (PEM); RFC 5480, RFC 8410 and RFC 8017 appendix A.1 (what stands before the key of each kind).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use shipway_model::Digest;

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// A SubjectPublicKeyInfo of each kind has one form only, up to the key itself.
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];
const P256_POINT: usize = 65;
const P384: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62,
    0x00,
];
const P384_POINT: usize = 97;
/// What says that an RSA key follows: its kind, without parameters.
const RSA: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// The two kinds of DER values around an RSA key.
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
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
    /// ECDSA over the curve P-384. Cosign 2 hashes with SHA-256 whatever the key; cosign 3 and openssl with what fits the curve.
    P384,
    Ed25519,
    /// PKCS #1 version 1.5 with SHA-256, 2048 to 8192 bits.
    Rsa,
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
                der if der.len() == P384.len() + P384_POINT && der.starts_with(P384) => (Kind::P384, &der[P384.len()..]),
                der => match rsa(der) {
                    Some(key) => (Kind::Rsa, key),
                    None => return Err("keys of its kind are not supported yet: ECDSA P-256 and P-384, RSA and Ed25519 are".to_owned()),
                },
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
        let is_by = |way: &'static dyn VerificationAlgorithm| UnparsedPublicKey::new(way, &self.point).verify(message, signature).is_ok();
        match self.kind {
            Kind::P256 => is_by(&ECDSA_P256_SHA256_ASN1),
            Kind::P384 => is_by(&ECDSA_P384_SHA384_ASN1) || is_by(&ECDSA_P384_SHA256_ASN1),
            Kind::Ed25519 => is_by(&ED25519),
            Kind::Rsa => is_by(&RSA_PKCS1_2048_8192_SHA256),
        }
    }
}

/// The key itself in the DER form of an RSA public key; the form of what is in it is looked at when it is used.
fn rsa(der: &[u8]) -> Option<&[u8]> {
    let (whole, rest) = value(SEQUENCE, der)?;
    let (bits, more) = value(BIT_STRING, whole.strip_prefix(RSA)?)?;
    let key = bits.strip_prefix(&[0])?;
    (rest.is_empty() && more.is_empty() && value(SEQUENCE, key)?.1.is_empty()).then_some(key)
}

/// The bytes of a DER value of this kind, and what follows it.
fn value(kind: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der.strip_prefix(&[kind])? {
        [short @ 0..=0x7f, rest @ ..] => (usize::from(*short), rest),
        [0x81, one, rest @ ..] => (usize::from(*one), rest),
        [0x82, high, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_such_keys_are_told_apart() {
        let pem = |der: &[u8]| format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der));
        let edwards = [EDWARDS, &[7; 32]].concat();
        let rsa = [&[SEQUENCE, 0x18], RSA, &[BIT_STRING, 7, 0, SEQUENCE, 4, 2, 0, 2, 0]].concat();
        let kinds: Vec<Kind> = [pem(&rsa), pem(&[P384, &[4; 97]].concat())]
            .iter()
            .map(|text| TrustedKey::read("a.pub", text).unwrap().remove(0).kind)
            .collect();
        assert_eq!(kinds, [Kind::Rsa, Kind::P384]);
        let two = TrustedKey::read("a.pub", &(pem(&edwards) + &pem(&[P256, &[4; 65]].concat()))).unwrap();
        assert_eq!((two.len(), two[0].kind, two[1].kind), (2, Kind::Ed25519, Kind::P256));
        assert!(two[0].name().starts_with("a.pub ("));
        for (text, words) in [
            (String::new(), "no public key"),
            (pem(&edwards[..40]), "not supported yet"),
            (pem(&[&edwards[..], b"x"].concat()), "not supported yet"),
            (pem(&rsa[..20]), "not supported yet"),
            (pem(&[&rsa[..], b"x"].concat()), "not supported yet"),
            (format!("{BEGIN}\n***\n{END}"), "no PEM"),
            (format!("{BEGIN}\nAAAA"), "no end"),
            ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----".to_owned(), "private key"),
        ] {
            assert!(TrustedKey::read("a.pub", &text).unwrap_err().contains(words), "{text}");
        }
    }

    #[test]
    fn p_384_counts_with_the_hash_of_its_curve() {
        use ring::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
        let random = ring::rand::SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pair.as_ref(), &random).unwrap();
        let der = [P384, pair.public_key().as_ref()].concat();
        let keys = TrustedKey::read("a.pub", &format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der))).unwrap();
        let signature = pair.sign(&random, b"a message").unwrap();
        assert!(keys[0].signed(b"a message", signature.as_ref()));
        assert!(!keys[0].signed(b"another", signature.as_ref()));
    }
}
