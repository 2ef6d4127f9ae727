//! A registry of ours in front of another one of ours.

use std::sync::Arc;

use shipway_model::Digest;
use shipway_registry::server::{Access, FolderStorage, Settings, Upstream};
use shipway_registry::{Retries, TransportConfig};

use super::{OCI_MANIFEST, Running, refused};

/// A cache in front of `port`.
async fn cache_of(port: u16) -> Running {
    let patience = TransportConfig { retries: Retries { count: 0, ..Retries::default() }, ..TransportConfig::default() };
    let upstream = Upstream::new(&format!("http://127.0.0.1:{port}"), patience).unwrap();
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let storage = Arc::new(FolderStorage::open(&folder.path().join("registry")).unwrap());
    Running::serving(folder, shipway_registry::server::Registry::caching(storage, Access::Open, Settings::default(), upstream)).await
}

#[tokio::test]
async fn a_cache_brings_what_is_asked_for_and_keeps_it() {
    let upstream = Running::start().await;
    let (digest, manifest) = upstream.push_image("lib/app", "v1", "content of a layer").await;
    let layer = Digest::sha256_of(b"content of a layer");
    let cache = cache_of(upstream.port).await;
    let answer = cache.get("/v2/lib/app/manifests/v1").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, OCI_MANIFEST));
    assert_eq!((answer.header("docker-content-digest"), &answer.body[..]), (digest.to_string().as_str(), &manifest[..]));
    assert_eq!(cache.send("HEAD", &format!("/v2/lib/app/blobs/{layer}"), &[], "").await.header("content-length"), "18");
    assert_eq!(cache.get(&format!("/v2/lib/app/blobs/{layer}")).await.body, "content of a layer");
    // Many at once for one blob that is not here yet.
    let config = Digest::sha256_of(b"{\"seed\":\"content of a layer\"}");
    let path = format!("/v2/lib/app/blobs/{config}");
    let answers = futures_util::future::join_all((0..8).map(|_| cache.get(&path))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    // From here on without upstream.
    drop(upstream);
    assert_eq!(cache.get("/v2/lib/app/manifests/v1").await.body, manifest);
    assert_eq!(cache.get(&format!("/v2/lib/app/manifests/{digest}")).await.body, manifest);
    assert_eq!(cache.get(&format!("/v2/lib/app/blobs/{layer}")).await.body, "content of a layer");
}

#[tokio::test]
async fn a_cache_says_no_where_upstream_does_and_takes_no_pushes() {
    let upstream = Running::start().await;
    upstream.push_image("app", "v1", "x").await;
    let cache = cache_of(upstream.port).await;
    assert_eq!(cache.get("/v2/app/manifests/v2").await.refusal(), refused(404, "MANIFEST_UNKNOWN"));
    let nothing = Digest::sha256_of(b"nothing");
    assert_eq!(cache.get(&format!("/v2/app/blobs/{nothing}")).await.refusal(), refused(404, "BLOB_UNKNOWN"));
    assert_eq!(cache.send("POST", "/v2/app/blobs/uploads/", &[], "").await.refusal(), refused(405, "UNSUPPORTED"));
    assert_eq!(std::fs::read_dir(cache.folder.path().join("registry/uploads")).unwrap().count(), 0);
}

/// Upstream's bytes are believed only when they match (S-508).
#[tokio::test]
async fn a_cache_keeps_nothing_that_is_wrong() {
    let upstream = Running::start().await;
    let digest = upstream.push_blob("app", b"right").await;
    let hex = digest.hex();
    std::fs::write(upstream.folder.path().join("registry/blobs/sha256").join(&hex[..2]).join(&hex), "wrong").unwrap();
    let cache = cache_of(upstream.port).await;
    for _ in 0..2 {
        assert_eq!(cache.get(&format!("/v2/app/blobs/{digest}")).await.refusal(), refused(502, "DIGEST_INVALID"));
    }
    assert_eq!(std::fs::read_dir(cache.folder.path().join("registry/uploads")).unwrap().count(), 0);
}
