//! Category "Push".

use crate::serving::{Answer, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Running, refused};
use serde_json::json;
use shipway_model::Digest;

const HELLO: &[u8] = b"hello, registry";

fn hello() -> Digest {
    Digest::sha256_of(HELLO)
}

async fn assert_pullable(registry: &Running, created: &Answer, content: &[u8]) {
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("docker-content-digest"), Digest::sha256_of(content).to_string());
    assert_eq!(registry.get(created.header("location")).await.body, content);
}

/// "POST then PUT", end-4a and end-6.
#[tokio::test]
async fn a_blob_is_pushed_by_post_and_put() {
    let registry = Running::start().await;
    let location = registry.begin("a/b").await;
    let id = location.rsplit('/').next().unwrap();
    assert_eq!((id.len(), id.matches('-').count()), (36, 4), "a UUID: {id}");
    let headers = [("content-type", "application/octet-stream")];
    let created = registry.send("PUT", &format!("{location}?digest={}", hello()), &headers, HELLO).await;
    assert_pullable(&registry, &created, HELLO).await;
    assert_eq!(registry.get(&location).await.refusal(), refused(404, "BLOB_UPLOAD_UNKNOWN"));
}

/// "Single POST", end-4b.
#[tokio::test]
async fn a_blob_is_pushed_by_one_post() {
    let registry = Running::start().await;
    let created = registry.send("POST", &format!("/v2/a/blobs/uploads/?digest={}", hello()), &[], HELLO).await;
    assert_pullable(&registry, &created, HELLO).await;
    let wrong = registry.send("POST", &format!("/v2/a/blobs/uploads/?digest={}", hello()), &[], "other").await;
    assert_eq!(wrong.refusal(), refused(400, "DIGEST_INVALID"));
}

/// "Pushing a blob in chunks", end-5, end-6, end-13: `Location` and `Range` after each chunk, the last one with the closing PUT.
#[tokio::test]
async fn a_blob_is_pushed_in_chunks() {
    let registry = Running::start().await;
    let mut location = registry.begin("a").await;
    for (range, chunk, so_far) in [("0-4", &HELLO[..5], "0-4"), ("5-9", &HELLO[5..10], "0-9")] {
        let answer = registry.send("PATCH", &location, &[("content-range", range)], chunk.to_vec()).await;
        assert_eq!((answer.status, answer.header("range")), (202, so_far), "{answer:?}");
        location = answer.header("location").to_owned();
        let status = registry.get(&location).await;
        assert_eq!((status.status, status.header("range"), status.body.len()), (204, so_far, 0));
        assert_eq!(status.header("location"), location);
    }
    let path = format!("{location}?digest={}", hello());
    let created = registry.send("PUT", &path, &[("content-range", "10-14")], HELLO[10..].to_vec()).await;
    assert_pullable(&registry, &created, HELLO).await;
}

/// The same with the last chunk sent by PATCH, and without ranges, as Docker streams.
#[tokio::test]
async fn an_upload_is_closed_without_a_chunk() {
    let registry = Running::start().await;
    let location = registry.begin("a").await;
    for chunk in [&HELLO[..3], &HELLO[3..]] {
        assert_eq!(registry.send("PATCH", &location, &[], chunk.to_vec()).await.status, 202);
    }
    let created = registry.send("PUT", &format!("{location}?digest={}", hello()), &[], "").await;
    assert_pullable(&registry, &created, HELLO).await;
}

/// "Pushing a blob in chunks", end-5: out of order, overlapping or malformed ranges are 416, and the upload stays where it was.
#[tokio::test]
async fn a_chunk_out_of_order_is_416() {
    let registry = Running::start().await;
    let location = registry.begin("a").await;
    let early = registry.send("PATCH", &location, &[("content-range", "3-5")], "lo,").await;
    assert_eq!(early.refusal(), refused(416, "BLOB_UPLOAD_INVALID"));
    assert_eq!(registry.send("PATCH", &location, &[("content-range", "0-4")], "hello").await.status, 202);
    for range in ["0-4", "4-5", "6-7", "5", "5-", "-5", "a-b", "bytes 5-6/7", "7-5", "5-6-7", "+5-6"] {
        let answer = registry.send("PATCH", &location, &[("content-range", range)], "xx").await;
        assert_eq!(answer.status, 416, "{range}");
        assert_eq!((answer.header("range"), answer.header("location")), ("0-4", location.as_str()), "{range}");
    }
    let answer = registry.send("PUT", &format!("{location}?digest={}", hello()), &[("content-range", "6-7")], "xx").await;
    assert_eq!(answer.status, 416);
    let rest = registry.send("PATCH", &location, &[("content-range", "5-14")], HELLO[5..].to_vec()).await;
    assert_eq!((rest.status, rest.header("range")), (202, "0-14"));
    assert_pullable(&registry, &registry.send("PUT", &format!("{location}?digest={}", hello()), &[], "").await, HELLO).await;
}

/// code-10: a length that is not the range's.
#[tokio::test]
async fn a_chunk_has_the_length_it_says() {
    let registry = Running::start().await;
    let location = registry.begin("a").await;
    let answer = registry.send("PATCH", &location, &[("content-range", "0-9")], "hello").await;
    assert_eq!(answer.refusal(), refused(400, "SIZE_INVALID"));
}

/// "Pushing a blob in chunks", end-6: the digest is of the whole blob, must be there, and must be right.
#[tokio::test]
async fn an_upload_ends_with_the_right_digest_or_not_at_all() {
    let registry = Running::start().await;
    for query in ["", "?digest=", "?digest=sha256:x", "?digest=md5:d41d8cd98f00b204e9800998ecf8427e"] {
        let location = registry.begin("a").await;
        let answer = registry.send("PUT", &format!("{location}{query}"), &[], HELLO).await;
        assert_eq!(answer.refusal(), refused(400, "DIGEST_INVALID"), "{query}");
    }
    let location = registry.begin("a").await;
    let answer = registry.send("PUT", &format!("{location}?digest={}", hello()), &[], "other").await;
    assert_eq!(answer.refusal(), refused(400, "DIGEST_INVALID"));
    assert_eq!(registry.get(&format!("/v2/a/blobs/{}", hello())).await.status, 404);
}

/// end-14 of later editions, Docker's "Canceling an Upload".
#[tokio::test]
async fn an_upload_is_cancelled() {
    let registry = Running::start().await;
    let location = registry.begin("a").await;
    registry.send("PATCH", &location, &[], "hello").await;
    assert_eq!(registry.send("DELETE", &location, &[], "").await.status, 204);
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(registry.send(method, &location, &[], "").await.status, 404, "{method}");
    }
    assert_eq!(std::fs::read_dir(registry.folder.path().join("registry/uploads")).unwrap().count(), 0);
}

/// An upload belongs to the repository it was begun in.
#[tokio::test]
async fn an_upload_is_known_in_its_repository_only() {
    let registry = Running::start().await;
    let location = registry.begin("a").await;
    let other = location.replace("/v2/a/", "/v2/b/");
    assert_eq!(registry.get(&other).await.refusal(), refused(404, "BLOB_UPLOAD_UNKNOWN"));
    assert_eq!(registry.get(&location).await.status, 204);
}

/// "Mounting a blob from another repository", end-11.
#[tokio::test]
async fn a_blob_is_mounted_from_another_repository() {
    let registry = Running::start().await;
    registry.push_blob("from/here", HELLO).await;
    let created = registry.send("POST", &format!("/v2/into/there/blobs/uploads/?mount={}&from=from/here", hello()), &[], "").await;
    assert_eq!(created.header("location"), format!("/v2/into/there/blobs/{}", hello()));
    assert_pullable(&registry, &created, HELLO).await;
}

/// The same section: what cannot be mounted begins an upload.
#[tokio::test]
async fn a_mount_that_fails_is_an_upload() {
    let registry = Running::start().await;
    registry.push_blob("x", HELLO).await;
    let unknown = Digest::sha256_of(b"unknown");
    for query in [
        format!("mount={unknown}&from=x"),
        format!("mount={}&from=y", hello()),
        format!("mount={}&from=../x", hello()),
        format!("mount={}&from=x%2F..%2Fx", hello()),
        format!("mount={}", hello()),
        "mount=sha256:x&from=x".to_owned(),
    ] {
        let answer = registry.send("POST", &format!("/v2/a/blobs/uploads/?{query}"), &[], "").await;
        assert_eq!(answer.status, 202, "{query}");
        let path = format!("{}?digest={}", answer.header("location"), hello());
        assert_eq!(registry.send("PUT", &path, &[], HELLO).await.status, 201, "{query}");
        registry.send("DELETE", &format!("/v2/a/blobs/{}", hello()), &[], "").await;
    }
}

/// "Pushing Manifests", end-7: by tag and by digest, `Location` pullable, digest told.
#[tokio::test]
async fn a_manifest_is_pushed_by_tag_and_by_digest() {
    let registry = Running::start().await;
    let manifest = registry.image("a", "x", json!({})).await;
    let digest = Digest::sha256_of(&manifest);
    for reference in [digest.to_string(), "v1".to_owned(), "v1".to_owned()] {
        let created = registry.push_manifest("a", &reference, OCI_MANIFEST, &manifest).await;
        assert_eq!((created.status, created.header("docker-content-digest")), (201, digest.to_string().as_str()));
        assert_eq!(registry.get(created.header("location")).await.body, manifest);
    }
    let other = Digest::sha256_of(b"other");
    assert_eq!(registry.push_manifest("a", &other.to_string(), OCI_MANIFEST, &manifest).await.refusal(), refused(400, "DIGEST_INVALID"));
}

/// "Pushing Manifests": parameters of the type are ignored; without a type the document's own counts.
#[tokio::test]
async fn the_type_of_a_manifest_is_kept_without_parameters() {
    let registry = Running::start().await;
    let manifest = registry.image("a", "x", json!({})).await;
    let with = registry.push_manifest("a", "one", &format!("{OCI_MANIFEST}; charset=utf-8"), &manifest).await;
    let without = registry.send("PUT", "/v2/a/manifests/two", &[], manifest.clone()).await;
    assert_eq!((with.status, without.status), (201, 201));
    for tag in ["one", "two"] {
        assert_eq!(registry.get(&format!("/v2/a/manifests/{tag}")).await.header("content-type"), OCI_MANIFEST);
    }
}

/// "Push": a manifest whose blobs are missing is refused by naming each (code-5).
#[tokio::test]
async fn a_manifest_without_its_blobs_is_refused() {
    let registry = Running::start().await;
    let (here, there) = (registry.push_blob("a", b"{}").await, registry.push_blob("b", b"layer").await);
    let nowhere = Digest::sha256_of(b"nowhere");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": { "mediaType": OCI_CONFIG, "digest": here, "size": 2 },
        "layers": [{ "mediaType": OCI_LAYER, "digest": there, "size": 5 }, { "mediaType": OCI_LAYER, "digest": nowhere, "size": 7 }],
    });
    let answer = registry.push_manifest("a", "v1", OCI_MANIFEST, manifest.to_string().as_bytes()).await;
    assert_eq!(answer.refusal(), refused(404, "MANIFEST_BLOB_UNKNOWN"));
    let named: Vec<String> =
        answer.json()["errors"].as_array().unwrap().iter().map(|e| e["detail"]["digest"].as_str().unwrap().to_owned()).collect();
    assert_eq!(named, [there.to_string(), nowhere.to_string()], "a blob of another repository is not here");
    assert_eq!(registry.get("/v2/a/manifests/v1").await.status, 404);
}

/// "Pushing Manifests": a manifest may have no layers; "Pushing Manifests", index: its manifests must be here.
#[tokio::test]
async fn empty_manifests_and_indexes_are_taken() {
    let registry = Running::start().await;
    let config = registry.push_blob("a", b"{}").await;
    let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": { "mediaType": OCI_CONFIG, "digest": config, "size": 2 }, "layers": [] });
    assert_eq!(registry.push_manifest("a", "empty", OCI_MANIFEST, manifest.to_string().as_bytes()).await.status, 201);
    let (image, bytes) = registry.push_image("a", "v1", "x").await;
    let index = |digest: Digest| {
        json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{ "mediaType": OCI_MANIFEST, "digest": digest, "size": bytes.len() }] })
            .to_string()
    };
    assert_eq!(registry.push_manifest("a", "all", OCI_INDEX, index(image).as_bytes()).await.status, 201);
    assert_eq!(registry.get("/v2/a/manifests/all").await.header("content-type"), OCI_INDEX);
    let hole = registry.push_manifest("a", "hole", OCI_INDEX, index(Digest::sha256_of(b"?")).as_bytes()).await;
    assert_eq!(hole.refusal(), refused(404, "MANIFEST_BLOB_UNKNOWN"));
}

/// S-504, CVE-2021-41190, code-6: what two readers could read differently is refused.
#[tokio::test]
async fn an_ambiguous_manifest_is_refused() {
    let registry = Running::start().await;
    let config = registry.push_blob("a", b"{}").await;
    let descriptor = json!({ "mediaType": OCI_CONFIG, "digest": config, "size": 2 });
    for (media_type, document) in [
        (OCI_MANIFEST, json!({ "schemaVersion": 2, "config": descriptor, "layers": [], "manifests": [] })),
        (OCI_INDEX, json!({ "schemaVersion": 2, "config": descriptor, "layers": [] })),
        (OCI_MANIFEST, json!({ "schemaVersion": 2, "manifests": [] })),
        (OCI_MANIFEST, json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "config": descriptor, "layers": [] })),
        (OCI_MANIFEST, json!({ "schemaVersion": 1, "config": descriptor, "layers": [] })),
        (OCI_MANIFEST, json!({ "schemaVersion": 2, "layers": [] })),
        (OCI_MANIFEST, json!([])),
        ("text/plain", json!({ "schemaVersion": 2, "config": descriptor, "layers": [] })),
    ] {
        let answer = registry.push_manifest("a", "v1", media_type, document.to_string().as_bytes()).await;
        assert_eq!(answer.refusal(), refused(400, "MANIFEST_INVALID"), "{media_type}: {document}");
    }
    assert_eq!(registry.push_manifest("a", "v1", OCI_MANIFEST, b"{").await.refusal(), refused(400, "MANIFEST_INVALID"));
}

/// "Pushing Manifests": at least four megabytes are taken, and more than the limit is 413.
#[tokio::test]
async fn a_manifest_has_a_limit() {
    let registry = Running::start().await;
    let large = registry.image("a", "x", json!({ "annotations": { "big": "y".repeat(4_000_000) } })).await;
    assert_eq!(registry.push_manifest("a", "large", OCI_MANIFEST, &large).await.status, 201);
    let huge = registry.image("a", "x", json!({ "annotations": { "big": "y".repeat(4 << 20) } })).await;
    assert_eq!(registry.push_manifest("a", "huge", OCI_MANIFEST, &huge).await.status, 413);
}

/// "Pushing Manifests with Subject": taken before the subject is there, `OCI-Subject` told.
#[tokio::test]
async fn a_subject_is_acknowledged_before_it_is_there() {
    let registry = Running::start().await;
    let subject = Digest::sha256_of(b"not there yet");
    let more = json!({ "subject": { "mediaType": OCI_MANIFEST, "digest": subject, "size": 13 } });
    let manifest = registry.image("a", "sbom", more).await;
    let answer = registry.push_manifest("a", &Digest::sha256_of(&manifest).to_string(), OCI_MANIFEST, &manifest).await;
    assert_eq!((answer.status, answer.header("oci-subject")), (201, subject.to_string().as_str()));
    let plain = registry.image("a", "plain", json!({})).await;
    assert_eq!(registry.push_manifest("a", "plain", OCI_MANIFEST, &plain).await.header("oci-subject"), "");
}
