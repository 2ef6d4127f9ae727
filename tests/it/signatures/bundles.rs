//! Signatures as cosign 3 keeps them: bundles among the referrers, at a registry that keeps the list and at one whose clients do. Signed by openssl.

use serde_json::{Value, json};
use shipway_model::Digest;
use shipway_testkit::{Daemon, DebianRegistry, OwnRegistry, Setup, Tar};

use super::{MANIFEST, base64, build, fine, http, key, openssl, policy, pushed, put_blob, refused};
use crate::BINARY;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// A bundle over a statement about the manifest `digest`.
fn bundle(digest: &str, predicate: &str, private: &std::path::Path) -> Vec<u8> {
    let kind = "application/vnd.in-toto+json";
    let about = json!({"digest": {"sha256": digest.strip_prefix("sha256:").unwrap()}});
    let payload =
        json!({"_type": "https://in-toto.io/Statement/v1", "subject": [about], "predicateType": predicate, "predicate": {}}).to_string();
    let file = private.with_extension("payload");
    std::fs::write(&file, format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len())).unwrap();
    let signature = openssl(&["dgst", "-sha256", "-sign", private.to_str().unwrap(), file.to_str().unwrap()]);
    json!({"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": "release"}}, "dsseEnvelope": {
        "payload": base64(payload.as_bytes()), "payloadType": kind, "signatures": [{"sig": base64(&signature), "keyid": ""}],
    }})
    .to_string()
    .into_bytes()
}

/// Puts a bundle where cosign puts it; at a registry that keeps no list, onto the list under the tag.
fn attach(host: &str, repository: &str, subject: &Value, bundle: &[u8], predicate: &str) {
    let mut layer = put_blob(host, repository, bundle);
    layer["mediaType"] = json!(BUNDLE);
    let mut config = put_blob(host, repository, b"{}");
    config["mediaType"] = json!("application/vnd.oci.empty.v1+json");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE, "config": config, "layers": [layer], "subject": subject,
        "annotations": {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": predicate},
    })
    .to_string();
    let digest = Digest::sha256_of(manifest.as_bytes()).to_string();
    let (status, head, _) = http(host, "PUT", &format!("/v2/{repository}/manifests/{digest}"), MANIFEST, manifest.as_bytes());
    assert_eq!(status, 201, "{head}");
    if head.to_ascii_lowercase().contains("oci-subject") {
        return;
    }
    let tag = format!("/v2/{repository}/manifests/{}", subject["digest"].as_str().unwrap().replace(':', "-"));
    let (status, _, body) = http(host, "GET", &tag, "", b"");
    let mut index: Value = match status {
        200 => serde_json::from_slice(&body).unwrap(),
        _ => json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}),
    };
    // The type is that of the configuration: so the library does it that cosign pushes with.
    let entry =
        json!({"mediaType": MANIFEST, "digest": digest, "size": manifest.len(), "artifactType": "application/vnd.oci.empty.v1+json"});
    index["manifests"].as_array_mut().unwrap().push(entry);
    let (status, head, _) = http(host, "PUT", &tag, INDEX, index.to_string().as_bytes());
    assert_eq!(status, 201, "{head}");
}

#[test]
fn an_image_that_cosign_3_signed_comes_in_and_keeps_its_bundle() {
    let (ours, theirs) = (OwnRegistry::start(BINARY, &[]), DebianRegistry::start());
    let home = tempfile::Builder::new().prefix("shipway-it-").tempdir_in("/dev/shm").unwrap();
    let folder = home.path().to_owned();
    let private = key(&folder, "release", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let stranger = key(&folder, "stranger", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let maker = Daemon::start(BINARY);
    let daemon = Setup::new(BINARY).argument("--registry-dir").argument(folder.to_str().unwrap()).start();
    for (host, word) in [(ours.host().to_owned(), "one"), (theirs.host(), "two")] {
        let name = format!("{host}/team/app:1");
        build(&maker, &name, word);
        let digest = pushed(&maker, &name);
        let size = maker.get(&format!("/distribution/{name}/json"))["Descriptor"]["size"].clone();
        let subject = json!({"mediaType": MANIFEST, "digest": digest, "size": size});
        policy(&folder, &host, "keys = [\"../release.pub\"]\n");
        let check_refused = |words: &str| {
            let text = refused(&daemon.shipway(&["pull", &name]));
            assert!(text.contains(words) && text.contains(&digest) && text.contains("release.pub ("), "{host}: {text}");
            let from = Tar::new().file("Dockerfile", format!("FROM {name}\n").as_bytes()).finish();
            assert!(daemon.build("t=derived", &from).unwrap_err().contains(words), "{host}");
        };
        check_refused("there is no signature of it");
        attach(&host, "team/app", &subject, &bundle(&digest, SIGNATURE, &stranger), SIGNATURE);
        check_refused("a bundle is by none of the trusted keys");
        // What the same key said about another image, and what it said that is no signature.
        let replayed = bundle(&format!("sha256:{}", "0".repeat(64)), SIGNATURE, &private);
        attach(&host, "team/app", &subject, &replayed, SIGNATURE);
        check_refused("is of another image, sha256:0000");
        let provenance = "https://slsa.dev/provenance/v1";
        attach(&host, "team/app", &subject, &bundle(&digest, provenance, &private), provenance);
        check_refused("by none of the trusted keys");

        let good = bundle(&digest, SIGNATURE, &private);
        attach(&host, "team/app", &subject, &good, SIGNATURE);
        let from = Tar::new().file("Dockerfile", format!("FROM {name}\n").as_bytes()).finish();
        daemon.build("t=derived", &from).unwrap();
        fine(&daemon.shipway(&["pull", &name]));
        assert_eq!(fine(&daemon.shipway(&["run", "--rm", "-q", "--network", "none", &name])), format!("{word}\n"));
        // The bundle that counted is held, under its own name, and shown.
        let held = daemon.get(&format!("/images/{name}/json"))["Referrers"].clone();
        assert_eq!(held.as_array().map(Vec::len), Some(1), "{held}");
        assert_eq!(held[0]["ArtifactType"], json!(BUNDLE));
        let listed = fine(&daemon.shipway(&["image", "referrers", &name]));
        assert_eq!(listed.lines().count(), 5, "{listed}");
        assert_eq!(listed.lines().filter(|line| line.contains("yes")).count(), 1, "{listed}");
        // Whoever wants a name in it is told that there is none.
        policy(&folder, &host, "keys = [\"../release.pub\"]\nidentity = \"name\"\n");
        let text = refused(&daemon.shipway(&["pull", &name]));
        assert!(text.contains("carries no name, as bundles do not"), "{text}");
    }
    // It goes on with the image, and counts there as well.
    let (here, there) = (format!("{}/team/app:1", ours.host()), format!("{}/copy:1", theirs.host()));
    fine(&daemon.shipway(&["tag", &here, &there]));
    let told = fine(&daemon.shipway(&["push", &there]));
    assert!(told.contains("Signatures and attestations: 1 of 1 pushed"), "{told}");
    policy(&folder, &theirs.host(), "keys = [\"../release.pub\"]\n");
    fine(&daemon.shipway(&["rmi", "-f", &there]));
    fine(&daemon.shipway(&["pull", &there]));
    daemon.assert_sound();
    maker.assert_sound();
}
