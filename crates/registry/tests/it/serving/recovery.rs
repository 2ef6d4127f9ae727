//! What is there after the server was not.

use shipway_model::Digest;
use shipway_registry::server::{FolderStorage, Settings};

use super::{Running, refused};

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_restart() {
    let registry = Running::start().await;
    let (digest, bytes) = registry.push_image("a/b", "v1", "x").await;
    let location = registry.begin("a/b").await;
    assert_eq!(registry.send("PATCH", &location, &[], "hello").await.status, 202);
    let registry = registry.reopened(Settings::default()).await;
    assert_eq!(registry.get("/v2/a/b/manifests/v1").await.body, bytes);
    assert_eq!(registry.get(&format!("/v2/a/b/blobs/{}", Digest::sha256_of(b"x"))).await.body, "x");
    assert_eq!(registry.get("/v2/a/b/manifests/v1").await.header("docker-content-digest"), digest.to_string());
    // An upload goes on, too: its bytes are in the kernel's hands, and are read again before they are believed.
    let status = registry.get(&location).await;
    assert_eq!((status.status, status.header("range")), (204, "0-4"));
    assert_eq!(registry.send("PATCH", &location, &[("content-range", "5-9")], "world").await.status, 202);
    let wanted = Digest::sha256_of(b"helloworld");
    assert_eq!(registry.send("PUT", &format!("{location}?digest={wanted}"), &[], "").await.status, 201);
}

#[tokio::test]
async fn an_upload_of_another_boot_is_not_continued() {
    let registry = Running::start().await;
    let location = registry.begin("a").await;
    registry.send("PATCH", &location, &[], "hello").await;
    let id = location.rsplit('/').next().unwrap().to_owned();
    let uploads = registry.folder.path().join("registry/uploads");
    std::fs::write(uploads.join(format!("{id}.json")), r#"{"repository":"a","boot":"another"}"#).unwrap();
    std::fs::write(uploads.join("11111111-half"), "no description").unwrap();
    std::fs::write(uploads.join("22222222-half.json"), "{}").unwrap();
    let registry = registry.reopened(Settings::default()).await;
    assert_eq!(registry.get(&location).await.refusal(), refused(404, "BLOB_UPLOAD_UNKNOWN"));
    assert_eq!(std::fs::read_dir(uploads).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_is_served_once_and_must_be_ours() {
    let registry = Running::start().await;
    let refusal = |path: &std::path::Path| FolderStorage::open(path).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refusal(&registry.folder.path().join("registry")).ends_with("another process serves it"));
    let strange = tempfile::tempdir().unwrap();
    std::fs::write(strange.path().join("letters.txt"), "").unwrap();
    assert!(refusal(strange.path()).ends_with("it is not empty and holds no storage of ours"));
    let newer = tempfile::tempdir().unwrap();
    std::fs::write(newer.path().join("registry.json"), r#"{"version":2}"#).unwrap();
    assert!(refusal(newer.path()).ends_with("it was written by another version of this program"));
}
