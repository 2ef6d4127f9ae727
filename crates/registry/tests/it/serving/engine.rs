//! A registry in the data root of an engine: what either has, the other need not have twice, and neither takes anything from the other.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shipway_model::{Algorithm, Digest};
use shipway_registry::server::{Access, EngineFolder, FolderStorage, Registry, Settings};
use shipway_store::{Store, StoreConfig};

use super::{Running, eager};

/// A registry beside the store of an engine.
struct Beside {
    running: Running,
    store: Store,
}

impl Beside {
    async fn with(settings: Settings) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let root = folder.path().join("data");
        let store = Store::open(StoreConfig { root: root.clone() }).unwrap();
        let storage = FolderStorage::open_in_engine(&root).unwrap();
        let running = Running::serving(folder, Registry::new(Arc::new(storage), Access::Open, settings)).await;
        Self { running, store }
    }

    fn root(&self) -> PathBuf {
        self.running.folder.path().join("data")
    }

    /// A blob of the engine's.
    fn engine_has(&self, content: &[u8]) -> Digest {
        self.store.blobs().put(content).unwrap()
    }

    fn engines_file(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs/sha256").join(digest.hex())
    }

    fn link(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.root().join("registry/repositories").join(repository).join("_blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    fn shared_name(&self, digest: &Digest) -> PathBuf {
        self.root().join("registry/blobs/sha256").join(&digest.hex()[..2]).join(digest.hex())
    }

    /// Status of an offer to mount.
    async fn offer(&self, repository: &str, digest: &Digest) -> u16 {
        self.running.send("POST", &format!("/v2/{repository}/blobs/uploads/?mount={digest}"), &[], "").await.status
    }

    async fn body(&self, repository: &str, digest: &Digest) -> (u16, Vec<u8>) {
        let answer = self.running.get(&format!("/v2/{repository}/blobs/{digest}")).await;
        (answer.status, answer.body.to_vec())
    }
}

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

#[tokio::test]
async fn what_the_engine_has_is_linked_and_never_sent() {
    let beside = Beside::with(Settings::default()).await;
    let digest = beside.engine_has(b"layer");
    assert_eq!(beside.running.get(&format!("/v2/a/blobs/{digest}")).await.status, 404, "nobody brought it into this repository");
    assert_eq!(beside.offer("a", &digest).await, 201);
    assert_eq!(beside.body("a", &digest).await, (200, b"layer".to_vec()));
    assert_eq!(inode(&beside.link("a", &digest)), inode(&beside.engines_file(&digest)));
    assert_eq!(beside.body("b", &digest).await.0, 404, "a blob is where it was asked for, and nowhere else (S-511)");
    let metrics = beside.running.registry.metrics();
    for line in ["received_bytes_total 0\n", "adopted_bytes_total 5\n", "stored_bytes 5\n"] {
        assert!(metrics.contains(&format!("shipway_registry_{line}")), "{metrics}");
    }
    // With a repository that does not have it, too; again; and by another digest than the engine's names.
    let from = format!("/v2/c/blobs/uploads/?mount={digest}&from=nosuch");
    assert_eq!(beside.running.send("POST", &from, &[], "").await.status, 201);
    assert_eq!(beside.offer("a", &digest).await, 201);
    assert_eq!(beside.offer("a", &Digest::of(Algorithm::Sha512, b"layer")).await, 202);
    assert_eq!(beside.offer("a", &Digest::sha256_of(b"unknown")).await, 202);
}

#[tokio::test]
async fn what_only_another_repository_has_is_not_given_out() {
    let beside = Beside::with(Settings::default()).await;
    let digest = beside.running.push_blob("private", b"secret").await;
    assert_eq!(beside.offer("mine", &digest).await, 202, "S-511: its digest is not enough");
    assert_eq!(beside.body("mine", &digest).await.0, 404);
}

#[tokio::test]
async fn an_upload_of_what_the_engine_has_becomes_a_link() {
    let beside = Beside::with(Settings::default()).await;
    let location = beside.running.begin("a").await;
    let digest = beside.engine_has(b"built here");
    let answer = beside.running.send("PUT", &format!("{location}?digest={digest}"), &[], "built here").await;
    assert_eq!(answer.status, 201);
    assert_eq!(inode(&beside.link("a", &digest)), inode(&beside.engines_file(&digest)));
    let left = std::fs::read_dir(beside.root().join("registry/uploads")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_copy_becomes_a_link_when_the_engine_gets_the_blob() {
    let grace = Duration::from_secs(3600);
    let beside = Beside::with(Settings { collect_grace: grace, ..Settings::default() }).await;
    let digest = beside.running.push_blob("a", b"pulled later").await;
    beside.running.send("POST", &format!("/v2/b/blobs/uploads/?mount={digest}&from=a"), &[], "").await;
    let copy = inode(&beside.link("a", &digest));
    beside.engine_has(b"pulled later");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::File::open(beside.engines_file(&digest)).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(beside.running.registry.collect().await.unwrap().shared, 3, "two repositories and the name of all");
    let theirs = inode(&beside.engines_file(&digest));
    assert_ne!(copy, theirs);
    for path in [beside.link("a", &digest), beside.link("b", &digest), beside.shared_name(&digest)] {
        assert_eq!(inode(&path), theirs);
    }
    assert_eq!(beside.body("b", &digest).await, (200, b"pulled later".to_vec()));
    let again = beside.running.registry.collect().await.unwrap();
    assert_eq!((again.shared, again.links), (0, 0), "the new file is as young as the one it stands for");
}

#[tokio::test]
async fn neither_collector_takes_what_the_other_needs() {
    let beside = Beside::with(eager()).await;
    let (image, _) = beside.running.push_image("a", "v1", "layer").await;
    let digest = beside.engine_has(b"layer");
    beside.running.registry.collect().await.unwrap();
    assert_eq!(inode(&beside.link("a", &digest)), inode(&beside.engines_file(&digest)));
    // The engine lets it go.
    beside.store.publish(|_| Ok(())).unwrap();
    assert_eq!(beside.store.collect().unwrap().blobs, [digest]);
    beside.store.wait_for_trash();
    assert!(!beside.engines_file(&digest).exists());
    assert_eq!(beside.body("a", &digest).await, (200, b"layer".to_vec()));
    // It comes back, and the registry lets it go.
    let lease = beside.store.lease();
    beside.engine_has(b"layer");
    assert!(lease.add_blob(&digest));
    beside.running.registry.collect().await.unwrap();
    beside.running.send("DELETE", &format!("/v2/a/manifests/{image}"), &[], "").await;
    let collected = beside.running.registry.collect().await.unwrap();
    assert!(!beside.shared_name(&digest).exists() && !beside.link("a", &digest).exists());
    assert_eq!((collected.blobs, collected.bytes < 5 + 200), (2, true), "the engine's bytes are not given back: {collected:?}");
    assert_eq!(beside.store.blobs().read(&digest, 100).unwrap(), b"layer");
    assert_eq!(std::fs::metadata(beside.engines_file(&digest)).unwrap().nlink(), 1);
    assert!(beside.running.registry.metrics().contains("shipway_registry_stored_bytes 0\n"));
}

#[tokio::test]
async fn a_quota_counts_what_is_linked() {
    let beside = Beside::with(Settings { quota: Some(8), ..Settings::default() }).await;
    let (small, large) = (beside.engine_has(b"12345"), beside.engine_has(b"123456"));
    assert_eq!(beside.offer("a", &small).await, 201);
    assert_eq!(beside.offer("a", &large).await, 202, "its bytes may come, and are refused then");
}

#[tokio::test]
async fn the_engine_knows_what_the_registry_has_and_whether_it_is_sound() {
    let beside = Beside::with(Settings::default()).await;
    let digest = beside.engine_has(b"shared");
    assert_eq!(beside.offer("a", &digest).await, 201);
    let own = beside.running.push_blob("b/c", b"its own").await;
    let folder = EngineFolder::of(&beside.root()).unwrap().unwrap();
    let usage = folder.usage().unwrap();
    assert_eq!((usage.blobs, usage.shared_blobs, usage.bytes, usage.own_bytes), (2, 1, 13, 7));
    beside.running.push_image("d", "v1", "more").await;
    assert_eq!(folder.check(true).unwrap(), []);
    std::fs::write(beside.link("b/c", &own), "another").unwrap();
    std::fs::write(beside.root().join("registry/repositories/d/_tags/gone"), Digest::sha256_of(b"no").to_string()).unwrap();
    let problems = folder.check(true).unwrap();
    let places: Vec<String> = problems.iter().map(|problem| problem.place.clone()).collect();
    assert_eq!(places, ["registry/repositories/d/_tags/gone".to_owned(), format!("registry/repositories/b/c/_blobs/sha256/{}", own.hex())]);
    assert_eq!(folder.check(false).unwrap().len(), 1, "bytes are read only when everything is");
}

/// What stays damaged would never get well: a push asks for it, hears that it is there, and does not send it.
#[tokio::test]
async fn what_is_damaged_is_taken_away_while_the_registry_serves_and_pushed_again() {
    let beside = Beside::with(Settings::default()).await;
    let blob = beside.running.push_blob("b/c", b"its own").await;
    let (image, _) = beside.running.push_image("d", "v1", "more").await;
    beside.running.push_image("sound", "v1", "more").await;
    let repositories = beside.root().join("registry/repositories");
    let manifest = repositories.join("d/_manifests/sha256").join(image.hex());
    std::fs::write(beside.link("b/c", &blob), "another").unwrap();
    std::fs::write(&manifest, "no line of a media type").unwrap();
    std::fs::write(repositories.join("d/_tags/gone"), Digest::sha256_of(b"no").to_string()).unwrap();
    std::fs::write(repositories.join("d/_tags/empty"), "").unwrap();
    let folder = EngineFolder::of(&beside.root()).unwrap().unwrap();
    let problems = folder.check(true).unwrap();
    let mut places: Vec<&str> = problems.iter().map(|problem| problem.place.rsplit('/').next().unwrap()).collect();
    places.sort_unstable();
    let mut expected = [blob.hex(), image.hex(), "empty".to_owned(), "gone".to_owned()];
    expected.sort_unstable();
    assert_eq!(places, expected);
    for problem in &problems {
        folder.repair(problem).unwrap();
    }
    assert_eq!(folder.check(true).unwrap(), []);
    let tags = |repository: &str| std::fs::read_dir(repositories.join(repository).join("_tags")).unwrap().count();
    assert_eq!((tags("d"), tags("sound")), (0, 1), "the tag of the damaged manifest went with it");
    assert_eq!(std::fs::read_dir(beside.root().join("registry/uploads")).unwrap().count(), 0);
    assert_eq!(beside.running.push_blob("b/c", b"its own").await, blob);
    assert_eq!(beside.running.push_image("d", "v1", "more").await.0, image);
    assert_eq!(folder.check(true).unwrap(), []);
    assert_eq!(std::fs::read(beside.link("b/c", &blob)).unwrap(), b"its own");
}

#[tokio::test]
async fn only_a_data_root_whose_engine_runs_is_shared() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = folder.path().join("data");
    let refused = |root: &Path| FolderStorage::open_in_engine(root).map(drop).unwrap_err().to_string();
    assert!(refused(&root).contains("nobody on this machine has the data root"));
    let store = Store::open(StoreConfig { root: root.clone() }).unwrap();
    assert!(EngineFolder::of(&root).unwrap().is_none(), "there never was a registry");
    drop(FolderStorage::open_in_engine(&root).unwrap());
    drop(store);
    assert!(refused(&root).contains("nobody on this machine has the data root"));
}
