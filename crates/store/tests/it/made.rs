//! Made-up stores, layers and images for the tests.
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use shipway_model::{ImageConfig, ImageId, LayerId, Reference, RootFs, Timestamp};
use shipway_store::{CommitOptions, Error, FsckOptions, Layer, LayerOrigin, NewImage, PrepareOptions, Store, StoreConfig};

/// A root that goes with the test, and the store on it.
pub(crate) struct Made {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
}

pub(crate) fn made() -> Made {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = open(folder.path());
    Made { folder, store }
}

impl Made {
    /// Ends the process' use of the root without any farewell, as far as that is possible without dying, and opens it again.
    pub(crate) fn reopen(self) -> Made {
        let Made { folder, store } = self;
        drop(store);
        let store = open(folder.path());
        Made { folder, store }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

pub(crate) fn open(root: &Path) -> Store {
    Store::open(StoreConfig { root: root.to_owned() }).unwrap()
}

pub(crate) fn when(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds, 0)
}

/// Commits a layer with these files on `parents`.
pub(crate) fn layer(store: &Store, parents: &[LayerId], files: &[(&str, &str)]) -> Arc<Layer> {
    let snapshot = store.prepare(parents, PrepareOptions::default()).unwrap();
    for (path, content) in files {
        let path = snapshot.upper.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    snapshot.commit(CommitOptions { created: when(1_700_000_000), origin: LayerOrigin::Built, newest: None }).unwrap()
}

/// The config of an image of these layers; `salt` makes it another one.
pub(crate) fn config(store: &Store, layers: &[LayerId], salt: &str) -> Vec<u8> {
    let diff_ids = layers.iter().map(|layer| store.layer(layer).unwrap().diff_id).collect();
    ImageConfig {
        author: salt.to_owned(),
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        ..ImageConfig::default()
    }
    .to_bytes()
}

pub(crate) fn new_image(store: &Store, layers: &[LayerId], salt: &str) -> NewImage {
    NewImage {
        config_bytes: config(store, layers, salt),
        layers: layers.to_vec(),
        manifest: None,
        blobs: Vec::new(),
        parent: None,
        origin: LayerOrigin::Built,
    }
}

pub(crate) fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap().with_default_tag()
}

/// Publishes an image of these layers under a name.
pub(crate) fn image(store: &Store, layers: &[LayerId], text: &str) -> ImageId {
    try_image(store, layers, text).unwrap()
}

pub(crate) fn try_image(store: &Store, layers: &[LayerId], text: &str) -> Result<ImageId, Error> {
    let (worker, new, reference) = (store.clone(), new_image(store, layers, text), name(text));
    store.publish(move |txn| {
        let id = worker.images().put(txn, new)?;
        worker.images().tag(txn, &reference, id)?;
        Ok(id)
    })
}

/// Fails the test with everything the strict check finds.
pub(crate) fn assert_sound(store: &Store) {
    let report = store.fsck(FsckOptions { strict: true, repair: false }).unwrap();
    assert_eq!(report.findings, vec![], "the store is not sound");
}

/// A small generator of repeatable numbers; quality does not matter here.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Fills `folder` with a random tree: folders, files of all sizes, symlinks, hard links, odd modes and owners.
pub(crate) fn random_tree(folder: &Path, seed: u64, entries: u64) {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let mut numbers = Numbers(seed | 1);
    let mut folders = vec![folder.to_owned()];
    let mut files: Vec<std::path::PathBuf> = Vec::new();
    for entry in 0..entries {
        let parent = folders[numbers.next(folders.len() as u64) as usize].clone();
        match numbers.next(10) {
            0 | 1 => {
                let path = parent.join(format!("folder {entry}"));
                std::fs::create_dir(&path).unwrap();
                folders.push(path);
            }
            2 => symlink(format!("../target {}", numbers.next(100)), parent.join(format!("link{entry}"))).unwrap(),
            3 if !files.is_empty() => {
                let from = &files[numbers.next(files.len() as u64) as usize];
                std::fs::hard_link(from, parent.join(format!("again{entry}"))).unwrap();
            }
            _ => {
                let name = if numbers.next(8) == 0 { format!("{}{entry}", "long-name-".repeat(15)) } else { format!("file{entry}") };
                let path = parent.join(name);
                let size = [0, 1, 511, 512, 513, 5000, 70_000][numbers.next(7) as usize];
                let content: Vec<u8> = (0..size).map(|_| numbers.next(256) as u8).collect();
                std::fs::write(&path, content).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode([0o644, 0o4755, 0o600, 0o777][numbers.next(4) as usize]))
                    .unwrap();
                if numbers.next(5) == 0 {
                    let mode = std::fs::metadata(&path).unwrap().permissions();
                    chown(&path, Some(numbers.next(70_000) as u32), Some(numbers.next(3_000_000) as u32)).unwrap();
                    std::fs::set_permissions(&path, mode).unwrap();
                }
                files.push(path);
            }
        }
    }
}
