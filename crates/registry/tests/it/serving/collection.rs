//! Giving disk back while everybody goes on writing.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shipway_model::Digest;
use shipway_registry::server::{Access, Collected, Settings};

use super::{OCI_MANIFEST, Running, eager};

fn blob_path(registry: &Running, digest: &Digest) -> std::path::PathBuf {
    let hex = digest.hex();
    registry.folder.path().join("registry/blobs/sha256").join(&hex[..2]).join(hex)
}

#[tokio::test]
async fn a_blob_is_stored_once_for_all_repositories() {
    let registry = Running::start().await;
    let digest = registry.push_blob("a", b"shared").await;
    registry.push_blob("b", b"shared").await;
    registry.send("POST", &format!("/v2/c/blobs/uploads/?mount={digest}&from=a"), &[], "").await;
    let metadata = std::fs::metadata(blob_path(&registry, &digest)).unwrap();
    assert_eq!((metadata.nlink(), metadata.len()), (4, 6));
    assert!(registry.registry.metrics().contains("shipway_registry_stored_bytes 6\n"));
}

#[tokio::test]
async fn what_nobody_needs_is_collected() {
    let registry = Running::with(eager(), Access::Open).await;
    let (image, _) = registry.push_image("a", "v1", "needed").await;
    let loose = registry.push_blob("a", b"loose").await;
    let collected = registry.registry.collect().await.unwrap();
    assert_eq!(collected, Collected { links: 1, blobs: 1, bytes: 5, ..Collected::default() });
    assert!(!blob_path(&registry, &loose).exists());
    assert_eq!(registry.get(&format!("/v2/a/blobs/{}", Digest::sha256_of(b"needed"))).await.status, 200);
    assert_eq!(registry.get(&format!("/v2/a/blobs/{loose}")).await.status, 404);
    // Without its tag a manifest is still somebody's, by its digest; without the manifest its blobs are nobody's.
    registry.send("DELETE", "/v2/a/manifests/v1", &[], "").await;
    assert_eq!(registry.registry.collect().await.unwrap(), Collected::default());
    registry.send("DELETE", &format!("/v2/a/manifests/{image}"), &[], "").await;
    assert_eq!(registry.registry.collect().await.unwrap().blobs, 2);
    assert!(registry.registry.metrics().contains("shipway_registry_stored_bytes 0\n"));
}

#[tokio::test]
async fn a_blob_outlives_one_of_its_repositories() {
    let registry = Running::with(eager(), Access::Open).await;
    let (image, _) = registry.push_image("a", "v1", "shared").await;
    registry.push_image("b", "v1", "shared").await;
    registry.send("DELETE", &format!("/v2/a/manifests/{image}"), &[], "").await;
    assert_eq!(registry.registry.collect().await.unwrap(), Collected { links: 2, ..Collected::default() });
    assert_eq!(registry.get(&format!("/v2/b/blobs/{}", Digest::sha256_of(b"shared"))).await.body, "shared");
}

#[tokio::test]
async fn what_somebody_asked_for_is_kept_for_a_while() {
    let grace = std::time::Duration::from_secs(3600);
    let registry = Running::with(Settings { collect_grace: grace, ..Settings::default() }, Access::Open).await;
    let (asked, forgotten) = (registry.push_blob("a", b"asked").await, registry.push_blob("a", b"forgotten").await);
    let old = std::time::UNIX_EPOCH + grace;
    for digest in [&asked, &forgotten] {
        std::fs::File::options().write(true).open(blob_path(&registry, digest)).unwrap().set_modified(old).unwrap();
    }
    assert_eq!(registry.send("HEAD", &format!("/v2/a/blobs/{asked}"), &[], "").await.status, 200);
    assert_eq!(registry.registry.collect().await.unwrap().blobs, 1);
    assert_eq!(registry.get(&format!("/v2/a/blobs/{asked}")).await.status, 200);
    assert_eq!(registry.get(&format!("/v2/a/blobs/{forgotten}")).await.status, 404);
}

/// Without any grace a push may lose a blob before its manifest comes, and hears so; what has a manifest loses nothing, whatever goes on around it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collecting_all_the_time_harms_nothing_that_is_whole() {
    let registry = Arc::new(Running::with(eager(), Access::Open).await);
    registry.push_image("kept", "v1", "shared").await;
    let done = Arc::new(AtomicBool::new(false));
    let collector = {
        let (registry, done) = (Arc::clone(&registry), Arc::clone(&done));
        tokio::spawn(async move {
            let mut rounds = 0_u32;
            while !done.load(Ordering::Relaxed) {
                registry.registry.collect().await.unwrap();
                rounds += 1;
                tokio::task::yield_now().await;
            }
            rounds
        })
    };
    let shared = Digest::sha256_of(b"shared");
    for round in 0..30 {
        let mount = format!("/v2/other/blobs/uploads/?mount={shared}&from=kept");
        let mounted = registry.send("POST", &mount, &[], "").await;
        assert!([201, 202].contains(&mounted.status), "{mounted:?}");
        let created = registry.send("POST", &format!("/v2/other/blobs/uploads/?digest={shared}"), &[], "shared").await;
        // An upload that a collection overtakes is a lost blob heard of early.
        assert!([201, 404].contains(&created.status), "{created:?}");
        let manifest = format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"x/y","digest":"{shared}","size":6}},"layers":[]}}"#);
        let pushed = registry.push_manifest("other", "v1", OCI_MANIFEST, manifest.as_bytes()).await;
        if pushed.status == 201 {
            registry.registry.collect().await.unwrap();
            assert_eq!(registry.get(&format!("/v2/other/blobs/{shared}")).await.body, "shared", "round {round}");
            let digest = Digest::sha256_of(manifest.as_bytes());
            assert_eq!(registry.send("DELETE", &format!("/v2/other/manifests/{digest}"), &[], "").await.status, 202);
        } else {
            assert_eq!(pushed.status, 404, "{pushed:?}");
        }
        assert_eq!(registry.get(&format!("/v2/kept/blobs/{shared}")).await.body, "shared", "round {round}");
    }
    done.store(true, Ordering::Relaxed);
    assert!(collector.await.unwrap() > 0);
}
