//! Category "Content Management".

use crate::serving::{Running, refused};
use shipway_model::Digest;
use shipway_registry::server::{Access, Settings};

/// "Deleting tags", end-9: 202; afterwards the tag is gone and the manifest is not.
#[tokio::test]
async fn a_tag_is_deleted_alone() {
    let registry = Running::start().await;
    let (digest, _) = registry.push_image("a", "v1", "x").await;
    registry.push_image("a", "v2", "x").await;
    assert_eq!(registry.send("DELETE", "/v2/a/manifests/v1", &[], "").await.status, 202);
    assert_eq!(registry.get("/v2/a/manifests/v1").await.status, 404);
    assert_eq!(registry.get("/v2/a/manifests/v2").await.status, 200);
    assert_eq!(registry.get(&format!("/v2/a/manifests/{digest}")).await.status, 200);
    assert_eq!(registry.send("DELETE", "/v2/a/manifests/v1", &[], "").await.refusal(), refused(404, "MANIFEST_UNKNOWN"));
}

/// "Deleting Manifests", end-9: 202; afterwards neither digest nor tags find it.
#[tokio::test]
async fn a_manifest_is_deleted_with_its_tags() {
    let registry = Running::start().await;
    let (digest, _) = registry.push_image("a", "v1", "x").await;
    registry.push_image("a", "also", "x").await;
    registry.push_image("a", "other", "y").await;
    assert_eq!(registry.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], "").await.status, 202);
    for reference in [digest.to_string(), "v1".to_owned(), "also".to_owned()] {
        assert_eq!(registry.get(&format!("/v2/a/manifests/{reference}")).await.status, 404, "{reference}");
    }
    assert_eq!(registry.get("/v2/a/tags/list").await.json()["tags"], serde_json::json!(["other"]));
    assert_eq!(registry.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], "").await.status, 404);
    assert_eq!(registry.send("DELETE", &format!("/v2/none/manifests/{digest}"), &[], "").await.status, 404);
}

/// "Deleting Blobs", end-10: 202, then 404; another repository keeps its own.
#[tokio::test]
async fn a_blob_is_deleted_from_one_repository() {
    let registry = Running::start().await;
    let digest = registry.push_blob("a", b"x").await;
    registry.push_blob("b", b"x").await;
    assert_eq!(registry.send("DELETE", &format!("/v2/a/blobs/{digest}"), &[], "").await.status, 202);
    for method in ["GET", "DELETE"] {
        assert_eq!(
            registry.send(method, &format!("/v2/a/blobs/{digest}"), &[], "").await.refusal(),
            refused(404, "BLOB_UNKNOWN"),
            "{method}"
        );
    }
    assert_eq!(registry.get(&format!("/v2/b/blobs/{digest}")).await.body, "x");
}

/// The three sections: 400 or 405 where deletion is switched off, for tags, manifests and blobs alike (S-511, CVE-2026-41888).
#[tokio::test]
async fn deletion_can_be_switched_off() {
    for settings in [Settings { deletion: false, ..Settings::default() }, Settings { read_only: true, ..Settings::default() }] {
        let full = Running::start().await;
        let (digest, _) = full.push_image("a", "v1", "x").await;
        let blob = Digest::sha256_of(b"x");
        let registry = full.reopened(settings).await;
        for path in ["/v2/a/manifests/v1".to_owned(), format!("/v2/a/manifests/{digest}"), format!("/v2/a/blobs/{blob}")] {
            assert_eq!(registry.send("DELETE", &path, &[], "").await.refusal(), refused(405, "UNSUPPORTED"), "{path}");
            assert_eq!(registry.get(&path).await.status, 200, "{path}");
        }
    }
}

/// A read-only registry takes nothing.
#[tokio::test]
async fn a_read_only_registry_takes_nothing() {
    let registry = Running::with(Settings { read_only: true, ..Settings::default() }, Access::Open).await;
    let digest = Digest::sha256_of(b"x");
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/a/blobs/uploads/?digest={digest}")),
        ("PUT", "/v2/a/manifests/v1".to_owned()),
        ("PATCH", "/v2/a/blobs/uploads/123".to_owned()),
    ] {
        assert_eq!(registry.send(method, &path, &[], "x").await.refusal(), refused(405, "UNSUPPORTED"), "{method} {path}");
    }
}
