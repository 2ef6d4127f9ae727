//! Category "Pull".

use crate::serving::{OCI_MANIFEST, Running, refused};
use shipway_model::{Algorithm, Digest};

/// "Determining Support", end-1.
#[tokio::test]
async fn the_base_address_says_that_this_is_a_registry() {
    let registry = Running::start().await;
    for path in ["/v2/", "/v2"] {
        let answer = registry.get(path).await;
        assert_eq!((answer.status, answer.header("docker-distribution-api-version")), (200, "registry/2.0"), "{path}");
    }
}

/// "Pulling manifests", end-3: 200, the bytes as pushed, their type without parameters, their digest.
#[tokio::test]
async fn a_manifest_comes_back_byte_by_byte() {
    let registry = Running::start().await;
    let (digest, bytes) = registry.push_image("a/b", "latest", "x").await;
    for reference in ["latest".to_owned(), digest.to_string(), digest.to_string().replace(':', "%3A")] {
        let answer = registry.get(&format!("/v2/a/b/manifests/{reference}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, OCI_MANIFEST), "{reference}");
        assert_eq!(answer.header("docker-content-digest"), digest.to_string());
        assert_eq!(answer.body, bytes);
    }
}

/// "Pulling manifests", end-3: 404 for what is not there, also in a repository that is not there ("Pushing Manifests").
#[tokio::test]
async fn an_unknown_manifest_is_not_found() {
    let registry = Running::start().await;
    registry.push_image("a", "latest", "x").await;
    let digest = Digest::sha256_of(b"nothing");
    for path in ["/v2/a/manifests/other".to_owned(), format!("/v2/a/manifests/{digest}"), "/v2/b/manifests/latest".to_owned()] {
        assert_eq!(registry.get(&path).await.refusal(), refused(404, "MANIFEST_UNKNOWN"), "{path}");
        assert_eq!(registry.send("HEAD", &path, &[], "").await.status, 404, "{path}");
    }
}

/// "Pulling blobs", end-2.
#[tokio::test]
async fn a_blob_comes_back_byte_by_byte() {
    let registry = Running::start().await;
    // More than one piece of a file on its way out, and not a multiple of it.
    let content: Vec<u8> = (0..3_000_017_u32).flat_map(u32::to_le_bytes).take(3_000_017).collect();
    let digest = registry.push_blob("a/b", &content).await;
    let answer = registry.get(&format!("/v2/a/b/blobs/{digest}")).await;
    assert_eq!((answer.status, answer.header("docker-content-digest")), (200, digest.to_string().as_str()));
    assert_eq!(answer.header("content-length"), content.len().to_string());
    assert!(answer.body == content, "{} bytes came", answer.body.len());
    let empty = registry.push_blob("a/b", b"").await;
    let answer = registry.get(&format!("/v2/a/b/blobs/{empty}")).await;
    assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (200, "0", 0));
}

/// "Pulling blobs", end-2: 404.
#[tokio::test]
async fn an_unknown_blob_is_not_found() {
    let registry = Running::start().await;
    registry.push_blob("a", b"x").await;
    let unknown = Digest::sha256_of(b"nothing");
    for path in [format!("/v2/a/blobs/{unknown}"), format!("/v2/b/blobs/{}", Digest::sha256_of(b"x"))] {
        assert_eq!(registry.get(&path).await.refusal(), refused(404, "BLOB_UNKNOWN"), "{path}");
        assert_eq!(registry.send("HEAD", &path, &[], "").await.status, 404, "{path}");
    }
}

/// "Pulling blobs": the header `Range` as RFC 9110 has it.
#[tokio::test]
async fn a_blob_comes_in_parts() {
    let registry = Running::start().await;
    let digest = registry.push_blob("a", b"0123456789").await;
    let path = format!("/v2/a/blobs/{digest}");
    for (range, status, content_range, body) in [
        ("bytes=0-3", 206, "bytes 0-3/10", "0123"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-2", 206, "bytes 8-9/10", "89"),
        ("bytes=5-500", 206, "bytes 5-9/10", "56789"),
        ("bytes=0-1,4-5", 200, "", "0123456789"),
    ] {
        let answer = registry.send("GET", &path, &[("range", range)], "").await;
        assert_eq!((answer.status, answer.header("content-range")), (status, content_range), "{range}");
        assert_eq!(answer.body, body, "{range}");
        assert_eq!(answer.header("accept-ranges"), "bytes");
    }
    let answer = registry.send("GET", &path, &[("range", "bytes=10-")], "").await;
    assert_eq!((answer.status, answer.header("content-range")), (416, "bytes */10"));
    let other = registry.send("GET", &path, &[("range", "bytes=0-1"), ("if-range", "\"other\"")], "").await;
    assert_eq!((other.status, other.body.len()), (200, 10));
}

/// "Checking if content exists in the registry", end-2 and end-3: digest and size without a body.
#[tokio::test]
async fn what_exists_can_be_asked_about() {
    let registry = Running::start().await;
    let (manifest, bytes) = registry.push_image("a", "latest", "seed").await;
    let blob = Digest::sha256_of(b"seed");
    for (path, digest, size) in [
        (format!("/v2/a/blobs/{blob}"), blob, 4),
        ("/v2/a/manifests/latest".to_owned(), manifest, bytes.len()),
        (format!("/v2/a/manifests/{manifest}"), manifest, bytes.len()),
    ] {
        let answer = registry.send("HEAD", &path, &[], "").await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
        assert_eq!(answer.header("docker-content-digest"), digest.to_string(), "{path}");
        assert_eq!(answer.header("content-length"), size.to_string(), "{path}");
    }
}

/// image-spec "Digests": sha512 is registered, too. Blobs and manifests can be named by it.
#[tokio::test]
async fn digests_may_be_sha512() {
    let registry = Running::start().await;
    let blob = Digest::of(Algorithm::Sha512, b"content");
    let answer = registry.send("PUT", &format!("{}?digest={blob}", registry.begin("a").await), &[], "content").await;
    assert_eq!((answer.status, answer.header("docker-content-digest")), (201, blob.to_string().as_str()));
    assert_eq!(registry.get(&format!("/v2/a/blobs/{blob}")).await.body, "content");
    let manifest = registry.image("a", "x", serde_json::json!({})).await;
    let digest = Digest::of(Algorithm::Sha512, &manifest);
    assert_eq!(registry.push_manifest("a", &digest.to_string(), OCI_MANIFEST, &manifest).await.status, 201);
    assert_eq!(registry.get(&format!("/v2/a/manifests/{digest}")).await.body, manifest);
    let wrong = registry.send("PUT", &format!("{}?digest={blob}", registry.begin("a").await), &[], "other").await;
    assert_eq!(wrong.refusal(), refused(400, "DIGEST_INVALID"));
}

/// RFC 9110, 13.1.2: what the client has already is not sent again.
#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let registry = Running::start().await;
    let (manifest, _) = registry.push_image("a", "latest", "x").await;
    let blob = Digest::sha256_of(b"x");
    for (path, digest) in [("/v2/a/manifests/latest".to_owned(), manifest), (format!("/v2/a/blobs/{blob}"), blob)] {
        let tag = registry.get(&path).await.header("etag").to_owned();
        assert_eq!(tag, format!("\"{digest}\""));
        let answer = registry.send("GET", &path, &[("if-none-match", &tag)], "").await;
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{path}");
    }
}
