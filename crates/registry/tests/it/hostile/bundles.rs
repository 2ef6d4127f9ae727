//! Signature policies against Sigstore bundles: cosign 3's signatures among the referrers, and what looks like them. Keys are made here, by ring; bundles
//! that openssl signed are beside the reader of them, and in `tests/it/signatures.rs` of the workspace.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use shipway_model::{Classified as _, Digest, ErrorKind};
use shipway_testkit::{BadRegistry, Reply};

use super::signatures::{INDEX, Key, MANIFEST, Shelf, verify};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
/// The image's manifest.
const IMAGE: &str = "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{\"mediaType\":\
    \"application/vnd.oci.image.config.v1+json\",\"size\":2,\"digest\":\
    \"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"},\"layers\":[]}";

/// How a bundle is made, and what is said about it.
struct Attached<'a> {
    key: &'a Key,
    digest: String,
    name: Option<String>,
    predicate: &'a str,
    material: Value,
    /// Changes the bundle when it is made.
    change: Option<Box<dyn Fn(Value) -> Vec<u8> + 'a>>,
    /// The type in the manifest, and that in the list.
    artifact: &'a str,
    listed: Option<&'a str>,
    said: Option<&'a str>,
    subject: String,
}

fn subject() -> String {
    Digest::sha256_of(IMAGE.as_bytes()).to_string()
}

fn by(key: &Key) -> Attached<'_> {
    Attached {
        key,
        digest: subject(),
        name: None,
        predicate: SIGNATURE,
        material: json!({"publicKey": {"hint": "somebody"}}),
        change: None,
        artifact: BUNDLE,
        listed: Some(BUNDLE),
        said: None,
        subject: subject(),
    }
}

/// A bundle with a signature of bytes.
fn message<'a>(key: &'a Key, of: &'a str) -> Attached<'a> {
    let change = move |mut bundle: Value| {
        let hex = Digest::sha256_of(of.as_bytes()).hex().to_string();
        let digest: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        bundle.as_object_mut().unwrap().remove("dsseEnvelope");
        bundle["messageSignature"] = json!({
            "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(digest)}, "signature": STANDARD.encode(key.sign(of.as_bytes())),
        });
        bundle.to_string().into_bytes()
    };
    Attached { change: Some(Box::new(change)), ..by(key) }
}

impl Attached<'_> {
    fn envelope(&self) -> Value {
        let (algorithm, hex) = self.digest.split_once(':').unwrap();
        let mut about = json!({"digest": {algorithm: hex}});
        if let Some(name) = &self.name {
            about["name"] = json!(name);
        }
        let payload =
            json!({"_type": "https://in-toto.io/Statement/v1", "subject": [about], "predicateType": self.predicate, "predicate": {}})
                .to_string();
        let kind = "application/vnd.in-toto+json";
        let signed = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        json!({"mediaType": BUNDLE, "verificationMaterial": self.material, "dsseEnvelope": {
            "payload": STANDARD.encode(payload), "payloadType": kind, "signatures": [{"sig": STANDARD.encode(self.key.sign(signed.as_bytes()))}],
        }})
    }

    fn bundle(&self) -> Vec<u8> {
        let envelope = self.envelope();
        match &self.change {
            Some(change) => change(envelope),
            None => envelope.to_string().into_bytes(),
        }
    }

    /// Puts the bundle on the shelf; its entry in a list of referrers.
    fn shelve(&self, shelf: Shelf) -> (Shelf, Value) {
        let bundle = self.bundle();
        let empty = Digest::sha256_of(b"{}").to_string();
        let digest = Digest::sha256_of(&bundle).to_string();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": self.artifact,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
            "layers": [{"mediaType": self.artifact, "digest": digest, "size": bundle.len()}],
            "subject": {"mediaType": MANIFEST, "digest": self.subject, "size": IMAGE.len()},
            "annotations": {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": self.predicate},
        })
        .to_string();
        let name = Digest::sha256_of(manifest.as_bytes()).to_string();
        let mut entry = json!({"mediaType": MANIFEST, "digest": name, "size": manifest.len()});
        if let Some(listed) = self.listed {
            entry["artifactType"] = json!(listed);
        }
        if let Some(said) = self.said {
            entry["annotations"] = json!({"dev.sigstore.bundle.predicateType": said});
        }
        let shelf = shelf
            .put(&format!("app/blobs/{digest}"), bundle, "application/octet-stream")
            .put(&format!("app/blobs/{empty}"), "{}", "application/octet-stream")
            .put(&format!("app/manifests/{name}"), manifest, MANIFEST);
        (shelf, entry)
    }
}

fn shelve(bundles: &[Attached<'_>]) -> (Shelf, String) {
    let shelf = Shelf::default().put(&format!("app/manifests/{}", subject()), IMAGE, MANIFEST);
    let (shelf, entries) = bundles.iter().fold((shelf, Vec::new()), |(shelf, mut entries), bundle| {
        let (shelf, entry) = bundle.shelve(shelf);
        entries.push(entry);
        (shelf, entries)
    });
    (shelf, json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string())
}

/// What a registry with a list of referrers has.
fn among(bundles: &[Attached<'_>]) -> Shelf {
    let (shelf, index) = shelve(bundles);
    shelf.put(&format!("app/referrers/{}", subject()), index, INDEX)
}

/// What a registry has where clients keep the list under a tag.
fn under_the_tag(bundles: &[Attached<'_>]) -> Shelf {
    let (shelf, index) = shelve(bundles);
    shelf.put(&format!("app/manifests/{}", subject().replace(':', "-")), index, INDEX)
}

#[tokio::test]
async fn bundles_that_do_not_count_are_told_from_those_that_do() {
    let (key, second, stranger, edwards) = (Key::p256(), Key::p256(), Key::p256(), Key::edwards());
    let other = Digest::sha256_of(b"another image").to_string();
    let good = || by(&key);
    let one = |attached: Attached<'_>| among(&[attached]);
    let changed = |change: fn(Value) -> Vec<u8>| Attached { change: Some(Box::new(change)), ..by(&key) };
    let named = |name: String| Attached { name: Some(name), ..by(&key) };
    let gone: &'static str = Box::leak(format!("app/manifests/{}", subject()).into_boxed_str());
    type Make<'a> = Box<dyn Fn(&str) -> Shelf + 'a>;
    let cases: Vec<(&str, Make<'_>, &str, &str)> = vec![
        ("a good one", Box::new(|_| one(good())), "", ""),
        ("by the second key", Box::new(|_| one(by(&second))), "", ""),
        ("by an Ed25519 key", Box::new(|_| one(by(&edwards))), "", ""),
        ("under the tag", Box::new(|_| under_the_tag(&[good()])), "", ""),
        (
            "under the tag, as cosign's library lists it",
            Box::new(|_| under_the_tag(&[Attached { listed: Some("application/vnd.oci.empty.v1+json"), ..good() }])),
            "",
            "",
        ),
        ("listed without a type", Box::new(|_| under_the_tag(&[Attached { listed: None, ..good() }])), "", ""),
        (
            "of an older version",
            Box::new(|_| {
                let older = "application/vnd.dev.sigstore.bundle+json;version=0.2";
                let change = move |bundle: Value| bundle.to_string().replace(BUNDLE, older).into_bytes();
                one(Attached { artifact: older, listed: Some(older), change: Some(Box::new(change)), ..good() })
            }),
            "",
            "",
        ),
        (
            "behind a stranger's and an attestation",
            Box::new(|_| {
                let attestation = Attached { predicate: "https://slsa.dev/provenance/v1", ..good() };
                among(&[by(&stranger), attestation, good()])
            }),
            "",
            "",
        ),
        (
            "behind a hundred attestations",
            Box::new(|_| {
                let mut all: Vec<Attached<'_>> = (0..100)
                    .map(|number| Attached {
                        predicate: "https://spdx.dev/Document",
                        said: Some("https://spdx.dev/Document"),
                        name: Some(number.to_string()),
                        ..good()
                    })
                    .collect();
                all.push(Attached { said: Some(SIGNATURE), ..good() });
                among(&all)
            }),
            "",
            "",
        ),
        (
            "several signatures, one of which is right",
            Box::new(|_| {
                let theirs = by(&stranger).envelope()["dsseEnvelope"]["signatures"][0].clone();
                let change = move |mut bundle: Value| {
                    let right = bundle["dsseEnvelope"]["signatures"][0].take();
                    bundle["dsseEnvelope"]["signatures"] = json!([theirs, {"sig": "AAAA"}, right]);
                    bundle.to_string().into_bytes()
                };
                one(Attached { change: Some(Box::new(change)), ..good() })
            }),
            "",
            "",
        ),
        ("of the manifest's bytes", Box::new(|_| one(message(&key, IMAGE))), "", ""),
        ("for this name", Box::new(|host| one(named(format!("{host}/app")))), "identity = \"name\"", ""),
        ("of a copy of the right name", Box::new(|_| one(named("docker.io/library/app".to_owned()))), "identity = \"app\"", ""),
        ("for any name", Box::new(|_| one(named("elsewhere.test/x".to_owned()))), "identity = \"any\"", ""),
        ("for another name", Box::new(|_| one(named("elsewhere.test/x".to_owned()))), "", "is for another name, \"elsewhere.test/x\""),
        ("for no name", Box::new(|_| one(named("../\u{1b}[2J".to_owned()))), "", "is for another name, \"../[2J\""),
        ("without the name that is demanded", Box::new(|_| one(good())), "identity = \"name\"", "carries no name, as bundles do not"),
        ("without the repository that is demanded", Box::new(|_| one(good())), "identity = \"app\"", "carries no name"),
        ("by a stranger", Box::new(|_| one(by(&stranger))), "", "by none of the trusted keys"),
        (
            "by a stranger who hints at our key",
            Box::new(|_| one(Attached { material: json!({"publicKey": {"hint": "0.pub"}}), ..by(&stranger) })),
            "",
            "by none of the trusted keys",
        ),
        (
            "keyless",
            Box::new(|_| one(Attached { material: json!({"certificate": {"rawBytes": "MAA="}}), ..by(&stranger) })),
            "",
            "signed with a certificate (keyless), and signatures by key are what counts here",
        ),
        ("of another image", Box::new(|_| one(Attached { digest: other.clone(), ..good() })), "", "is of another image, sha256:"),
        ("of another manifest's bytes", Box::new(|_| one(message(&key, "another image"))), "", "or of another image"),
        (
            "of bytes that are gone",
            Box::new(|_| one(message(&key, IMAGE)).rude(gone, Reply::refusal(404, "MANIFEST_UNKNOWN", "no"))),
            "",
            "what a bundle is a signature of cannot be had",
        ),
        (
            "in a manifest that speaks of another image",
            Box::new(|_| one(Attached { subject: other.clone(), ..good() })),
            "",
            "speaks of another image, sha256:",
        ),
        (
            "an attestation",
            Box::new(|_| one(Attached { predicate: "https://slsa.dev/provenance/v1", ..good() })),
            "",
            "is an attestation (\"https://slsa.dev/provenance/v1\"), and no signature",
        ),
        (
            "an attestation that is listed as a signature",
            Box::new(|_| one(Attached { predicate: "https://spdx.dev/Document", said: Some(SIGNATURE), ..good() })),
            "",
            "is an attestation",
        ),
        (
            "of a version to come",
            Box::new(|_| one(changed(|bundle| bundle.to_string().replace("v0.3", "v0.4").into_bytes()))),
            "",
            "is of a form that is not known",
        ),
        ("not JSON", Box::new(|_| one(changed(|_| b"hello".to_vec()))), "", "a bundle cannot be read"),
        (
            "deep",
            Box::new(|_| one(changed(|bundle| bundle.to_string().replacen("\"somebody\"", &"[".repeat(200_000), 1).into_bytes()))),
            "",
            "a bundle cannot be read",
        ),
        (
            "of megabytes",
            Box::new(|_| one(changed(|bundle| (bundle.to_string() + &" ".repeat(1 << 20)).into_bytes()))),
            "",
            "payload cannot be had",
        ),
        (
            "cut",
            Box::new(|_| {
                one(changed(|mut bundle| {
                    let letters = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
                    bundle["dsseEnvelope"]["payload"] = json!(letters[..letters.len() / 4 * 4 - 3]);
                    bundle.to_string().into_bytes()
                }))
            }),
            "",
            "payload is no base64",
        ),
        ("over other bytes than are served", Box::new(|_| one(good()).rude("/blobs/", Reply::new(200, "{}"))), "", "payload cannot be had"),
        (
            "gone",
            Box::new(|_| one(good()).rude("/blobs/", Reply::refusal(404, "BLOB_UNKNOWN", "blob unknown"))),
            "",
            "payload cannot be had",
        ),
        (
            "behind too many",
            Box::new(|_| {
                let mut all: Vec<Attached<'_>> =
                    (0..32).map(|number| Attached { name: Some(number.to_string()), ..by(&stranger) }).collect();
                all.push(good());
                among(&all)
            }),
            "",
            "by none of the trusted keys",
        ),
    ];
    for (name, make, more, words) in cases {
        let slot: Arc<OnceLock<Shelf>> = Arc::default();
        let shelf = Arc::clone(&slot);
        let server = BadRegistry::plain(move |asked, _| shelf.get().unwrap().answer(asked));
        slot.set(make(&server.domain())).ok().unwrap();
        let result = verify(&server, &[&key, &second, &edwards], more, &[&subject()]).await;
        match (result, words) {
            (Ok(Some(verified)), "") => {
                assert_eq!(verified.referrer.subject.to_string(), subject(), "{name}");
                assert!(verified.key.contains(".pub ("), "{name}: {}", verified.key);
                // It is held under its true name, whatever the list said.
                let held = verified.referrer.found.descriptor.artifact_type.unwrap();
                assert!(held.starts_with("application/vnd.dev.sigstore.bundle"), "{name}: {held}");
                assert_eq!(verified.referrer.blobs.len(), 2, "{name}");
            }
            (Err(error), words) if !words.is_empty() => {
                assert_eq!(error.kind(), ErrorKind::Forbidden, "{name}: {error}");
                let text = error.to_string();
                assert!(text.contains(words) && text.contains(&subject()) && text.contains("0.pub ("), "{name}: {text}");
                assert!(!text.contains('\u{1b}'), "{name}: {text}");
                assert!(error.hint().unwrap().contains("cosign sign --key"), "{name}");
            }
            (other, _) => panic!("{name}: {:?}", other.map(|verified| verified.map(|verified| verified.key))),
        }
        assert!(server.asked().len() < 80, "{name}: {} questions", server.asked().len());
    }
}
