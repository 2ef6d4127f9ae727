//! Signature policies against registries that have no signature, a wrong one, or a thing that looks like one. Keys are made here, by ring.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use shipway_model::{Classified as _, Digest, ErrorKind, Reference};
use shipway_registry::{Access, Error, HostSettings, Hosts, VerifiedSignature};
use shipway_testkit::{Asked, BadRegistry, Delivery, Reply};

use super::registry;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// A key pair in memory.
pub(super) enum Key {
    P256(EcdsaKeyPair),
    /// The same kind, with signatures in the form that cosign does not use.
    Fixed(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

impl Key {
    pub(super) fn p256() -> Self {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.as_ref(), &random).unwrap())
    }

    fn fixed() -> Self {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self::Fixed(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap())
    }

    pub(super) fn edwards() -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Edwards(Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap())
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) | Self::Fixed(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Edwards(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    fn pem(&self) -> String {
        let (before, point) = match self {
            Self::P256(key) | Self::Fixed(key) => ("3059301306072a8648ce3d020106082a8648ce3d030107034200", key.public_key().as_ref()),
            Self::Edwards(key) => ("302a300506032b6570032100", key.public_key().as_ref()),
        };
        let mut der: Vec<u8> = (0..before.len()).step_by(2).map(|at| u8::from_str_radix(&before[at..at + 2], 16).unwrap()).collect();
        der.extend(point);
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }
}

/// One entry of a manifest of signatures: the payload that is served, and its descriptor.
#[derive(Clone)]
struct Signature {
    payload: Vec<u8>,
    descriptor: Value,
}

fn payload(reference: &str, digest: &str) -> Vec<u8> {
    let kind = "cosign container image signature";
    json!({"critical": {"identity": {"docker-reference": reference}, "image": {"docker-manifest-digest": digest}, "type": kind}, "optional": null})
        .to_string()
        .into_bytes()
}

fn over(payload: Vec<u8>, signature: &str) -> Signature {
    let digest = Digest::sha256_of(&payload).to_string();
    let descriptor = json!({
        "mediaType": SIGNING, "digest": digest, "size": payload.len(), "annotations": {"dev.cosignproject.cosign/signature": signature},
    });
    Signature { payload, descriptor }
}

fn signed(key: &Key, payload: Vec<u8>) -> Signature {
    let signature = STANDARD.encode(key.sign(&payload));
    over(payload, &signature)
}

/// What a registry has, by the end of the path; what is not there is answered 404.
#[derive(Clone, Default)]
pub(super) struct Shelf {
    documents: HashMap<String, (Vec<u8>, &'static str)>,
    /// Paths with this in them get this reply.
    rude: Option<(&'static str, Reply)>,
}

impl Shelf {
    pub(super) fn put(mut self, path: &str, bytes: impl Into<Vec<u8>>, media_type: &'static str) -> Self {
        self.documents.insert(path.to_owned(), (bytes.into(), media_type));
        self
    }

    /// A manifest of signatures of `subject`; its bytes.
    fn manifest(signatures: &[Signature], subject: Option<&str>) -> Vec<u8> {
        let layers: Vec<&Value> = signatures.iter().map(|signature| &signature.descriptor).collect();
        let config =
            json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::sha256_of(b"{}").to_string(), "size": 2});
        let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        if let Some(subject) = subject {
            manifest["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 2});
            manifest["artifactType"] = json!(ARTIFACT);
        }
        manifest.to_string().into_bytes()
    }

    fn payloads(self, signatures: &[Signature]) -> Self {
        let with = signatures.iter().fold(self, |shelf, signature| {
            shelf.put(
                &format!("app/blobs/{}", signature.descriptor["digest"].as_str().unwrap()),
                signature.payload.clone(),
                "application/octet-stream",
            )
        });
        with.put(&format!("app/blobs/{}", Digest::sha256_of(b"{}")), "{}", "application/octet-stream")
    }

    /// As cosign puts it, under a tag.
    fn tagged(subject: &str, signatures: &[Signature]) -> Self {
        let tag = format!("app/manifests/{}.sig", subject.replace(':', "-"));
        Self::default().payloads(signatures).put(&tag, Self::manifest(signatures, None), MANIFEST)
    }

    pub(super) fn rude(mut self, part: &'static str, reply: Reply) -> Self {
        self.rude = Some((part, reply));
        self
    }

    pub(super) fn answer(&self, asked: &Asked) -> Reply {
        if let Some((_, reply)) = self.rude.as_ref().filter(|(part, _)| asked.path().contains(part)) {
            return reply.clone();
        }
        match self.documents.iter().find(|(path, _)| asked.path() == format!("/v2/{path}")) {
            Some((_, (bytes, media_type))) => Reply::new(200, bytes.clone()).with("Content-Type", media_type),
            None => Reply::refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        }
    }
}

/// What becomes of `app:1`, whose manifest has the digest `subject`, under a policy with `keys` and the line `more`.
pub(super) async fn verify(server: &BadRegistry, keys: &[&Key], more: &str, digests: &[&str]) -> Result<Option<VerifiedSignature>, Error> {
    let folder = tempfile::tempdir().unwrap();
    write_policy(folder.path(), keys, more);
    let hosts = Hosts::new(&HostSettings { hosts_folders: vec![folder.path().to_owned()], ..HostSettings::default() }).unwrap();
    let policy = hosts.signature_policy(&server.domain()).unwrap().unwrap();
    let reference = Reference::parse(&format!("{}/app:1", server.domain())).unwrap();
    let digests: Vec<Digest> = digests.iter().map(|digest| digest.parse().unwrap()).collect();
    registry(server, &Access::anonymous()).verify(&policy, &reference, &digests).await
}

fn write_policy(folder: &Path, keys: &[&Key], more: &str) {
    let place = folder.join("_default");
    std::fs::create_dir_all(&place).unwrap();
    let names: Vec<String> = (0..keys.len()).map(|number| format!("\"{number}.pub\"")).collect();
    for (number, key) in keys.iter().enumerate() {
        std::fs::write(place.join(format!("{number}.pub")), key.pem()).unwrap();
    }
    std::fs::write(place.join("signatures.toml"), format!("keys = [{}]\n{more}\n", names.join(", "))).unwrap();
}

#[tokio::test]
async fn signatures_that_do_not_count_are_told_from_those_that_do() {
    let (key, second, stranger, edwards, fixed) = (Key::p256(), Key::p256(), Key::p256(), Key::edwards(), Key::fixed());
    let subject = Digest::sha256_of(b"the image").to_string();
    let other = Digest::sha256_of(b"another image").to_string();
    // The name depends on the port, so the servers come first and get their shelves when a case begins.
    type Make<'a> = Box<dyn Fn(&str) -> Shelf + 'a>;
    let good = |host: &str| signed(&key, payload(&format!("{host}/app"), &subject));
    let bad = |host: &str| signed(&stranger, payload(&format!("{host}/app"), &subject));
    let one = |signature: Signature| Shelf::tagged(&subject, &[signature]);
    let artifact = |host: &str| {
        let manifest = Shelf::manifest(&[good(host)], Some(&subject));
        let digest = Digest::sha256_of(&manifest).to_string();
        let entry = json!({"mediaType": MANIFEST, "digest": digest, "size": manifest.len(), "artifactType": ARTIFACT});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string();
        (Shelf::default().payloads(&[good(host)]), digest, manifest, index)
    };
    let cases: Vec<(&str, Make<'_>, &str, &str)> = vec![
        ("a good one", Box::new(|host| one(good(host))), "", ""),
        ("by the second key", Box::new(|host| one(signed(&second, payload(&format!("{host}/app"), &subject)))), "", ""),
        ("by an Ed25519 key", Box::new(|host| one(signed(&edwards, payload(&format!("{host}/app"), &subject)))), "", ""),
        ("for this tag", Box::new(|host| one(signed(&key, payload(&format!("{host}/app:1"), &subject)))), "", ""),
        ("a bad one and a good one", Box::new(|host| Shelf::tagged(&subject, &[bad(host), good(host)])), "", ""),
        (
            "a copy whose name does not matter",
            Box::new(|_| one(signed(&key, payload("docker.io/library/app", &subject)))),
            "identity = \"any\"",
            "",
        ),
        (
            "a copy of the right name",
            Box::new(|_| one(signed(&key, payload("index.docker.io/library/app", &subject)))),
            "identity = \"app\"",
            "",
        ),
        (
            "among the referrers",
            Box::new(|host| {
                let (shelf, digest, manifest, index) = artifact(host);
                shelf.put(&format!("app/manifests/{digest}"), manifest, MANIFEST).put(&format!("app/referrers/{subject}"), index, INDEX)
            }),
            "",
            "",
        ),
        (
            "among the referrers that clients list",
            Box::new(|host| {
                let (shelf, digest, manifest, index) = artifact(host);
                let tag = format!("app/manifests/{}", subject.replace(':', "-"));
                shelf.put(&format!("app/manifests/{digest}"), manifest, MANIFEST).put(&tag, index, INDEX)
            }),
            "",
            "",
        ),
        ("none", Box::new(|_| Shelf::default()), "", "there is no signature of it; one by 0.pub ("),
        ("by a stranger", Box::new(|host| one(bad(host))), "", "by none of the trusted keys"),
        (
            "of another image",
            Box::new(|host| one(signed(&key, payload(&format!("{host}/app"), &other)))),
            "",
            "is of another image, sha256:",
        ),
        (
            "of the same digest in other letters",
            Box::new(|host| one(signed(&key, payload(&format!("{host}/app"), &subject.to_uppercase())))),
            "",
            "is of another image",
        ),
        (
            "for another repository",
            Box::new(|host| one(signed(&key, payload(&format!("{host}/apple"), &subject)))),
            "",
            "is for another name",
        ),
        ("for another registry", Box::new(|_| one(signed(&key, payload("evil.test/app", &subject)))), "", "is for another name"),
        ("for another tag", Box::new(|host| one(signed(&key, payload(&format!("{host}/app:2"), &subject)))), "", "is for another name"),
        ("for no name", Box::new(|_| one(signed(&key, payload("../\u{1b}[2J", &subject)))), "", "is for another name, \"../[2J\""),
        (
            "not for the name that is demanded",
            Box::new(|host| one(good(host))),
            "identity = \"docker.io/library/app\"",
            "is for another name",
        ),
        ("not base64", Box::new(|host| one(over(payload(&format!("{host}/app"), &subject), "%%%"))), "", "is no base64"),
        ("empty", Box::new(|host| one(over(payload(&format!("{host}/app"), &subject), ""))), "", "by none of the trusted keys"),
        (
            "truncated",
            Box::new(|host| {
                let payload = payload(&format!("{host}/app"), &subject);
                let signature = key.sign(&payload);
                one(over(payload, &STANDARD.encode(&signature[..signature.len() - 1])))
            }),
            "",
            "by none of the trusted keys",
        ),
        (
            "of a megabyte",
            Box::new(|host| one(over(payload(&format!("{host}/app"), &subject), &"A".repeat(1 << 20)))),
            "",
            "has 1048576 letters",
        ),
        (
            "in the other form",
            Box::new(|host| one(signed(&fixed, payload(&format!("{host}/app"), &subject)))),
            "",
            "by none of the trusted keys",
        ),
        (
            "without an annotation",
            Box::new(|host| {
                let mut signature = good(host);
                signature.descriptor["annotations"] = json!({});
                one(signature)
            }),
            "",
            "carries no signature",
        ),
        (
            "over other bytes than are served",
            Box::new(|host| {
                let mut signature = good(host);
                signature.payload[20] ^= 1;
                one(signature)
            }),
            "",
            "payload cannot be had",
        ),
        (
            "over a payload that is cut",
            Box::new(|host| {
                let mut signature = good(host);
                signature.payload.truncate(20);
                one(signature)
            }),
            "",
            "payload cannot be had",
        ),
        (
            "over a payload of gigabytes",
            Box::new(|host| {
                let mut signature = good(host);
                signature.descriptor["size"] = json!(4_u64 << 30);
                one(signature)
            }),
            "",
            "payload cannot be had",
        ),
        (
            "over a payload that is gone",
            Box::new(|host| one(good(host)).rude("/blobs/", Reply::refusal(404, "BLOB_UNKNOWN", "blob unknown"))),
            "",
            "payload cannot be had",
        ),
        ("over no JSON", Box::new(|_| one(signed(&key, b"hello".to_vec()))), "", "is over what cannot be read"),
        (
            "over two digests",
            Box::new(|host| {
                let text = String::from_utf8(payload(&format!("{host}/app"), &other)).unwrap();
                let twice = text.replace(
                    "{\"docker-manifest-digest\"",
                    &format!("{{\"docker-manifest-digest\":\"{subject}\",\"docker-manifest-digest\""),
                );
                one(signed(&key, twice.into_bytes()))
            }),
            "",
            "is over what cannot be read",
        ),
        (
            "of something else",
            Box::new(|host| {
                let text = String::from_utf8(payload(&format!("{host}/app"), &subject)).unwrap();
                one(signed(&key, text.replace("cosign container image signature", "a letter").into_bytes()))
            }),
            "",
            "is not of an image",
        ),
        (
            "behind too many",
            Box::new(|host| {
                let mut all: Vec<Signature> = std::iter::repeat_n(bad(host), 64).collect();
                all.push(good(host));
                Shelf::tagged(&subject, &all)
            }),
            "",
            "a signature is by none of the trusted keys",
        ),
        (
            "an index in its place",
            Box::new(|_| {
                let tag = format!("app/manifests/{}.sig", subject.replace(':', "-"));
                Shelf::default().put(&tag, json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string(), INDEX)
            }),
            "",
            "is an index",
        ),
        (
            "garbage in its place",
            Box::new(|_| Shelf::default().put(&format!("app/manifests/{}.sig", subject.replace(':', "-")), "{", MANIFEST)),
            "",
            "is not what it should be",
        ),
    ];
    for (name, make, more, words) in cases {
        let slot: std::sync::Arc<std::sync::OnceLock<Shelf>> = std::sync::Arc::default();
        let shelf = std::sync::Arc::clone(&slot);
        let server = BadRegistry::plain(move |asked, _| shelf.get().unwrap().answer(asked));
        slot.set(make(&server.domain())).ok().unwrap();
        let result = verify(&server, &[&key, &second, &edwards], more, &[&subject]).await;
        match (result, words) {
            (Ok(Some(verified)), "") => {
                assert_eq!(verified.referrer.subject.to_string(), subject, "{name}");
                assert!(verified.key.contains(".pub ("), "{name}: {}", verified.key);
            }
            (Err(error), words) if !words.is_empty() => {
                assert_eq!(error.kind(), ErrorKind::Forbidden, "{name}: {error}");
                let text = error.to_string();
                assert!(text.contains(words) && text.contains(&subject) && text.contains("0.pub ("), "{name}: {text}");
                assert!(!text.contains('\u{1b}'), "{name}: {text}");
                let hint = error.hint().unwrap();
                assert!(hint.contains("cosign sign --key") && hint.contains("signatures.toml"), "{name}: {hint}");
            }
            (other, _) => panic!("{name}: {:?}", other.map(|verified| verified.map(|verified| verified.key))),
        }
        assert!(server.asked().len() < 80, "{name}: {} questions", server.asked().len());
    }
}

#[tokio::test]
async fn what_keeps_us_from_knowing_refuses() {
    let key = Key::p256();
    let subject = Digest::sha256_of(b"the image").to_string();
    for (name, reply) in [
        ("an error", Reply::refusal(500, "UNKNOWN", "no")),
        ("a refusal", Reply::refusal(403, "DENIED", "no")),
        ("a question who we are", Reply::refusal(401, "UNAUTHORIZED", "who?")),
        ("a hang-up", Reply::new(200, "").by(Delivery::HungUp)),
        ("silence", Reply::new(200, "{}").by(Delivery::Hanging(0))),
    ] {
        for part in [".sig", "/referrers/"] {
            let server = {
                let reply = reply.clone();
                BadRegistry::plain(move |asked, _| Shelf::default().rude(part, reply.clone()).answer(asked))
            };
            let error = verify(&server, &[&key], "", &[&subject]).await.map(|_| ()).unwrap_err();
            assert!(!matches!(error, Error::Signature { .. }), "{name} at {part}: {error}");
        }
    }
}

#[tokio::test]
async fn a_signature_of_the_chosen_manifest_counts_and_unsigned_repositories_cost_nothing() {
    let key = Key::edwards();
    let (index, chosen) = (Digest::sha256_of(b"index").to_string(), Digest::sha256_of(b"manifest").to_string());
    let slot: std::sync::Arc<std::sync::OnceLock<Shelf>> = std::sync::Arc::default();
    let shelf = std::sync::Arc::clone(&slot);
    let server = BadRegistry::plain(move |asked, _| shelf.get().unwrap().answer(asked));
    let signature = signed(&key, payload(&format!("{}/app", server.domain()), &chosen));
    slot.set(Shelf::tagged(&chosen, &[signature])).ok().unwrap();
    let verified = verify(&server, &[&key], "", &[&index, &chosen]).await.unwrap().unwrap();
    assert_eq!(verified.referrer.subject.to_string(), chosen);
    assert!(verify(&server, &[&key], "", &[&index]).await.is_err());
    let asked = server.asked().len();
    let free = verify(&server, &[&key], "[repository.\"ap*\"]\naccept = \"unsigned\"", &[&index]).await.unwrap();
    assert!(free.is_none() && server.asked().len() == asked);
}

#[tokio::test]
async fn lists_of_referrers_are_bounded_and_stay_at_home() {
    let subject = Digest::sha256_of(b"the image");
    let entry = |number: usize| {
        let digest = Digest::sha256_of(number.to_string().as_bytes()).to_string();
        json!({"mediaType": MANIFEST, "digest": digest, "size": 2, "artifactType": "text/plain"})
    };
    let page = move |from: usize, count: usize| {
        let entries: Vec<Value> = (from..from + count).map(entry).collect();
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string()
    };
    // Pages, the last without a successor; the address of the next one is only believed in its query.
    let pages = page;
    let server = BadRegistry::plain(move |asked, _| match (asked.path().contains("/referrers/"), asked.target.contains("next=2")) {
        (true, false) => {
            Reply::new(200, pages(0, 2)).with("Content-Type", INDEX).with("Link", "<https://evil.test/v2/x?next=2>; rel=\"next\"")
        }
        (true, true) => Reply::new(200, pages(2, 1)).with("Content-Type", INDEX),
        _ => Reply::refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    });
    let found = registry(&server, &Access::anonymous()).referrers("app", &subject).await.unwrap();
    assert_eq!((found.len(), found[0].descriptor.artifact_type.as_deref()), (3, Some("text/plain")));
    // Two thousand, and pages without end. They are made before anybody waits for them.
    for (count, link) in [(2000, ""), (100, "</v2/app/referrers/x?next=1>; rel=\"next\"")] {
        let body = page(0, count);
        let server = BadRegistry::plain(move |asked, number| match asked.path().contains("/referrers/") {
            true => Reply::new(200, body.clone()).with("Content-Type", INDEX).with("Link", &link.replace("=1", &format!("={number}"))),
            false => Reply::refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        });
        let error = registry(&server, &Access::anonymous()).referrers("app", &subject).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(server.asked().len() < 30, "{}", server.asked().len());
    }
}
