use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::*;

const FAR: u64 = 4_000_000_000;

/// A server that signs.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap())
    }

    fn jwk(&self, kid: &str) -> Value {
        let point = self.0.public_key().as_ref();
        json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]) })
    }

    fn sign(&self, head: Value, claims: Value) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.0.sign(&ring::rand::SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn trusted(&self) -> Tokens {
        let keys = Keys::parse(json!({ "keys": [self.jwk("k1")] }).to_string().as_bytes()).unwrap();
        Tokens { realm: "https://auth.test/token".to_owned(), service: "here".to_owned(), issuer: "auth".to_owned(), keys }
    }
}

fn claims(name: &str, actions: &[&str]) -> Value {
    json!({ "iss": "auth", "aud": "here", "exp": FAR, "access": [{ "type": "repository", "name": name, "actions": actions }] })
}

fn head() -> Value {
    json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" })
}

fn tags(name: &str) -> Route {
    Route::Tags(RepositoryName::parse(name).unwrap())
}

#[test]
fn a_token_allows_what_it_says() {
    let signer = Signer::new();
    let tokens = signer.trusted();
    let token = signer.sign(head(), claims("a/b", &["pull"]));
    assert!(tokens.check(Some(&token), &tags("a/b"), Action::Pull).is_ok());
    assert!(tokens.check(Some(&token), &Route::Base, Action::Pull).is_ok());
    for (route, action) in
        [(tags("a/b"), Action::Push), (tags("a/b"), Action::Delete), (tags("a"), Action::Pull), (Route::Catalog, Action::Pull)]
    {
        assert!(tokens.check(Some(&token), &route, action).is_err(), "{route:?} {action:?}");
    }
}

#[test]
fn a_refusal_says_which_token_it_takes() {
    let tokens = Signer::new().trusted();
    let refusal = tokens.check(None, &tags("a/b"), Action::Push).err().unwrap().into_response();
    let how = refusal.headers()["www-authenticate"].to_str().unwrap();
    assert_eq!(how, "Bearer realm=\"https://auth.test/token\",service=\"here\",scope=\"repository:a/b:pull,push\"");
}

/// S-511, CVE-2025-24976: whatever a token says about itself, only a key of the file makes it good.
#[test]
fn only_a_key_of_the_file_makes_a_token_good() {
    let (ours, theirs) = (Signer::new(), Signer::new());
    let tokens = ours.trusted();
    let good = claims("a", &["pull"]);
    let mut own_key = head();
    own_key["jwk"] = theirs.jwk("k1");
    let mut unknown = head();
    unknown["kid"] = json!("k2");
    let mut none = head();
    none["alg"] = json!("none");
    let mut other = head();
    other["alg"] = json!("RS256");
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(none.to_string()), URL_SAFE_NO_PAD.encode(good.to_string()));
    for token in [
        theirs.sign(head(), good.clone()),
        theirs.sign(own_key, good.clone()),
        ours.sign(unknown, good.clone()),
        ours.sign(none, good.clone()),
        ours.sign(other, good.clone()),
        unsigned,
        String::new(),
        "a.b".to_owned(),
        "a.b.c.d".to_owned(),
    ] {
        assert!(tokens.check(Some(&token), &tags("a"), Action::Pull).is_err(), "{token}");
    }
    assert!(tokens.check(Some(&ours.sign(head(), good)), &tags("a"), Action::Pull).is_ok());
}

#[test]
fn a_token_for_others_or_another_time_is_refused() {
    let signer = Signer::new();
    let tokens = signer.trusted();
    for (field, value) in [
        ("iss", json!("other")),
        ("aud", json!("there")),
        ("aud", json!([])),
        ("exp", json!(1)),
        ("exp", json!(null)),
        ("nbf", json!(FAR)),
        ("access", json!("everything")),
    ] {
        let mut claims = claims("a", &["*"]);
        claims[field] = value.clone();
        let token = signer.sign(head(), claims);
        assert!(tokens.check(Some(&token), &tags("a"), Action::Pull).is_err(), "{field}: {value}");
    }
    let mut several = claims("a", &["*"]);
    several["aud"] = json!(["there", "here"]);
    assert!(tokens.check(Some(&signer.sign(head(), several)), &tags("a"), Action::Delete).is_ok());
}

#[test]
fn a_set_of_keys_is_taken_whole_or_not() {
    let key = Signer::new().jwk("k1");
    let mut private = key.clone();
    private["d"] = json!("AA");
    let mut nameless = key.clone();
    nameless["kid"] = json!("");
    for keys in [json!([]), json!([key, key]), json!([private]), json!([nameless]), json!([{ "kty": "oct", "kid": "k", "k": "AA" }])] {
        assert!(Keys::parse(json!({ "keys": keys }).to_string().as_bytes()).is_err(), "{keys}");
    }
}
