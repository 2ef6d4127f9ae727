//! Bundles read one by one. The key and the signatures are openssl's, made by hand over what the specifications say is signed.

use serde_json::{Value, json};

use super::*;

/// What is signed is this, as if it were a manifest.
const MANIFEST: &[u8] = b"the image";
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE5GBMxX4BczQBfg8uua4JxbVku3jk\n\
    JSmXqGBQZGdMiy1j+COLBBMIiKK+YjmtKJoAdR6Zgbp2STY4AvZzDnm94A==\n\
    -----END PUBLIC KEY-----\n";
/// `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"97e9..."}}],"predicateType":"https://sigstore.dev/cosign/sign/v1",
/// "predicate":{}}`
const STATEMENT_LETTERS: &str = "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJzdWJqZWN0IjpbeyJkaWdlc3QiOnsic2hhMjU2IjoiOTdlOWQ3YTE2\
    MDIxZTZkMDdmYmUyOGNjZTM5OGY1ODQ3ZmMwMGM1NzQ5OTFmYmZmNjVkOTVmZDVlMDMyZDM4OSJ9fV0sInByZWRpY2F0ZVR5cGUiOiJodHRwczovL3NpZ3N0b3JlLmRldi9jb3NpZ24vc2lnbi9\
    2MSIsInByZWRpY2F0ZSI6e319";
/// `openssl dgst -sha256 -sign` of `DSSEv1 28 application/vnd.in-toto+json 213 {...}`.
const SIGNATURE_LETTERS: &str = "MEYCIQDjku6m5Gmkj6fF6Bld+biUV1jJR04UQu4avCZx5+P7MgIhALpziPWMzLz4g1oE97WY0iv30zKWRZplcgGwQXQY2gxx";
/// The same of the manifest.
const MESSAGE_SIGNATURE: &str = "MEQCIDgLzfM6An4WHVahA2NW9iG7Q9hrqgP72876agCvbUdsAiA4vc0YDGvl8eBiggQvLVhQQNMaShgLpXxhEZc3/ZHixA==";
const MESSAGE_DIGEST: &str = "l+nXoWAh5tB/vijM45j1hH/ADFdJkfv/Zdlf1eAy04k=";

fn envelope() -> Value {
    json!({"mediaType": VERSIONS[0], "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": [{"logIndex": "1"}]}, "dsseEnvelope": {
        "payload": STATEMENT_LETTERS, "payloadType": STATEMENT, "signatures": [{"sig": SIGNATURE_LETTERS, "keyid": ""}],
    }})
}

fn message() -> Value {
    json!({"mediaType": VERSIONS[0], "verificationMaterial": {"publicKey": {}}, "messageSignature": {
        "messageDigest": {"algorithm": "SHA2_256", "digest": MESSAGE_DIGEST}, "signature": MESSAGE_SIGNATURE,
    }})
}

fn claim(bundle: &Value) -> Result<Vec<String>, String> {
    claim_of(bundle.to_string().as_bytes())
}

fn claim_of(bytes: &[u8]) -> Result<Vec<String>, String> {
    let keys = TrustedKey::read("a.pub", KEY).unwrap();
    Bundle::read(bytes)?.claim(&keys, &Digest::sha256_of(MANIFEST), MANIFEST).map(|claim| claim.names)
}

/// `bundle` with the value at `pointer` replaced.
fn with(mut bundle: Value, pointer: &str, value: impl Into<Value>) -> Value {
    *bundle.pointer_mut(pointer).unwrap() = value.into();
    bundle
}

#[test]
fn what_openssl_signed_counts_in_every_spelling() {
    assert_eq!(claim(&envelope()), Ok(Vec::new()));
    assert_eq!(claim(&message()), Ok(Vec::new()));
    for version in VERSIONS {
        assert_eq!(claim(&with(envelope(), "/mediaType", version)), Ok(Vec::new()), "{version}");
    }
    assert_eq!(claim(&with(envelope(), "/mediaType", "application/vnd.dev.sigstore.bundle+json; version=0.2")), Ok(Vec::new()));
    // The other alphabet, without the equal signs at the end.
    let url = |letters: &str| letters.replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned();
    assert_ne!(url(MESSAGE_SIGNATURE), MESSAGE_SIGNATURE);
    assert_eq!(claim(&with(message(), "/messageSignature/signature", url(MESSAGE_SIGNATURE))), Ok(Vec::new()));
    assert_eq!(claim(&with(message(), "/messageSignature/messageDigest", Value::Null)), Ok(Vec::new()));
    // Names as the protocol spells them.
    let snake = envelope()
        .to_string()
        .replace("mediaType", "media_type")
        .replace("verificationMaterial", "verification_material")
        .replace("dsseEnvelope", "dsse_envelope")
        .replace("payloadType", "payload_type");
    assert_eq!(claim_of(snake.as_bytes()), Ok(Vec::new()));
    // What is not read may be as deep as it likes.
    let deep = envelope().to_string().replacen("\"x\"", &("[".repeat(100_000) + &"]".repeat(100_000)), 1);
    assert_eq!(claim_of(deep.as_bytes()), Ok(Vec::new()));
    // Several signatures, one of which is good; and a certificate beside it does no harm.
    let several = json!([{"sig": "AAAA"}, {"sig": MESSAGE_SIGNATURE}, {"sig": SIGNATURE_LETTERS}]);
    assert_eq!(claim(&with(envelope(), "/dsseEnvelope/signatures", several)), Ok(Vec::new()));
    assert_eq!(claim(&with(envelope(), "/verificationMaterial", json!({"certificate": {"rawBytes": "AAAA"}}))), Ok(Vec::new()));
}

#[test]
fn whatever_is_changed_is_refused_in_words() {
    let deep = |bundle: &Value| bundle.to_string().replacen("[{", &("[".repeat(100_000) + "{"), 1).into_bytes();
    let text = |value: Value| value.to_string().into_bytes();
    let statement = |from: &str, to: &str| {
        use base64::Engine as _;
        let payload = String::from_utf8(STANDARD.decode(STATEMENT_LETTERS).unwrap()).unwrap().replace(from, to);
        text(with(envelope(), "/dsseEnvelope/payload", STANDARD.encode(payload)))
    };
    let both = with(envelope(), "/verificationMaterial", json!({"publicKey": {}})).to_string();
    let both = both.replacen('{', &format!("{{\"messageSignature\":{},", message()["messageSignature"]), 1);
    for (name, bytes, words) in [
        ("no JSON", b"{".to_vec(), "cannot be read"),
        ("no object", b"[]".to_vec(), "cannot be read"),
        ("deep", deep(&envelope()), "cannot be read"),
        ("without a version", text(with(envelope(), "/mediaType", Value::Null)), "cannot be read"),
        ("a later version", text(with(envelope(), "/mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json")), "not known"),
        ("an odd version", text(with(envelope(), "/mediaType", "x\u{1b}[2J")), "not known, \"x[2J\""),
        ("without content", text(with(envelope(), "/dsseEnvelope", Value::Null)), "either an envelope"),
        ("with both contents", both.into_bytes(), "either an envelope"),
        ("twice the same", envelope().to_string().replacen('{', "{\"dsseEnvelope\":null,", 1).into_bytes(), "duplicate field"),
        ("no signatures", text(with(envelope(), "/dsseEnvelope/signatures", json!([]))), "none of the trusted keys"),
        (
            "too many signatures",
            text(with(envelope(), "/dsseEnvelope/signatures", Value::Array(vec![json!({"sig": ""}); 17]))),
            "more than 16 signatures",
        ),
        ("cut base64", text(with(envelope(), "/dsseEnvelope/payload", &STATEMENT_LETTERS[..41])), "payload is no base64"),
        ("a cut payload", text(with(envelope(), "/dsseEnvelope/payload", &STATEMENT_LETTERS[..40])), "none of the trusted keys"),
        ("a cut signature", text(with(envelope(), "/dsseEnvelope/signatures/0/sig", &SIGNATURE_LETTERS[..92])), "none of the trusted keys"),
        ("no base64", text(with(envelope(), "/dsseEnvelope/signatures/0/sig", "%%%")), "signature is no base64"),
        ("another subject", statement("97e9", "97e8"), "none of the trusted keys"),
        ("another predicate", statement("cosign/sign", "cosign/sigm"), "none of the trusted keys"),
        ("another type of payload", text(with(envelope(), "/dsseEnvelope/payloadType", "text/plain")), "none of the trusted keys"),
        (
            "the signature of the bytes",
            text(with(envelope(), "/dsseEnvelope/signatures/0/sig", MESSAGE_SIGNATURE)),
            "none of the trusted keys",
        ),
        (
            "the signature of the statement",
            text(with(message(), "/messageSignature/signature", SIGNATURE_LETTERS)),
            "none of the trusted keys",
        ),
        ("another digest", text(with(message(), "/messageSignature/messageDigest/digest", "AAAA")), "names another digest than it signs"),
        (
            "another kind of digest",
            text(with(message(), "/messageSignature/messageDigest/algorithm", "MD5")),
            "of a kind that is not known",
        ),
        (
            "a certificate's",
            text(with(with(message(), "/messageSignature/signature", "AAAA"), "/verificationMaterial", json!({"certificate": {}}))),
            "signed with a certificate (keyless), and signatures by key are what counts here",
        ),
        (
            "a chain's",
            text(with(
                with(message(), "/messageSignature/signature", "AAAA"),
                "/verificationMaterial",
                json!({"x509CertificateChain": {}}),
            )),
            "keyless",
        ),
    ] {
        let Err(reason) = claim_of(&bytes) else { panic!("{name} counts") };
        assert!(reason.contains(words), "{name}: {reason}");
        assert!(!reason.contains('\u{1b}') && reason.len() < 400, "{name}: {reason}");
    }
}

#[test]
fn what_is_signed_is_what_the_protocol_says() {
    // The example of the DSSE protocol, "Test Vectors".
    assert_eq!(
        pre_authentication("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
    assert_eq!(pre_authentication("", b""), b"DSSEv1 0  0 ");
    // Lengths are of bytes.
    assert_eq!(pre_authentication("\u{e9}", b"x"), "DSSEv1 2 \u{e9} 1 x".as_bytes());
}

#[test]
fn a_statement_is_a_signature_of_one_image_under_the_names_it_says() {
    let subject = Digest::sha256_of(MANIFEST);
    let (hex, other) = (subject.hex(), "0".repeat(64));
    let say = |value: Value| statement(STATEMENT, value.to_string().as_bytes(), &subject);
    let about = |subjects: Value| json!({"_type": STATEMENTS[0], "predicateType": SIGNATURE, "subject": subjects});
    assert_eq!(say(about(json!([{"digest": {"sha256": other}, "name": "x"}, {"digest": {"sha512": "1", "sha256": hex}}]))), Ok(vec![]));
    let named = json!([{"name": "a", "digest": {"sha256": hex}}, {"name": "_", "digest": {"sha256": hex}}, {"name": "b", "digest": {"sha256": other}}]);
    assert_eq!(say(about(named)), Ok(vec!["a".to_owned()]));
    let older = with(about(json!([{"name": "_", "digest": {"sha256": hex}}])), "/_type", STATEMENTS[1]);
    assert_eq!(say(older), Ok(vec![]));
    let good = about(json!([{"digest": {"sha256": hex}}]));
    for (value, words) in [
        (
            with(good.clone(), "/predicateType", "https://slsa.dev/provenance/v1"),
            "an attestation (\"https://slsa.dev/provenance/v1\"), and no signature",
        ),
        (with(good.clone(), "/_type", "https://in-toto.io/Statement/v2"), "a statement that is not known"),
        (with(good.clone(), "/subject", json!([])), "of another image, sha256:none"),
        (with(good.clone(), "/subject/0/digest/sha256", other.clone()), "of another image, sha256:0000"),
        (with(good.clone(), "/subject/0/digest", json!({"sha512": hex})), "of another image"),
        (with(good.clone(), "/subject/0/digest/sha256", hex.to_uppercase()), "of another image"),
        (with(good.clone(), "/subject", json!("x")), "cannot be read"),
    ] {
        let reason = say(value).unwrap_err();
        assert!(reason.contains(words), "{words}: {reason}");
    }
    assert!(statement("application/json", good.to_string().as_bytes(), &subject).unwrap_err().contains("something else than an image"));
}
