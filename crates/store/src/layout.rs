//! The drawing of the disk: which folder of the data root holds what. Everybody else asks here for a path.
//!
//! ```text
//! <root>/                       0700
//!   lock                        flock of the owning process; inside: its pid, a space, what it is
//!   state.db, -wal, -shm        the journal of record: rows of layers, images, names, cache, holds, volumes, containers
//!   state.db.reserve            space set aside so that removing works on a full disk
//!   blobs/sha256/<hex>          immutable bytes named by their digest
//!   layers/<LayerId>/diff/      what one layer changed, in overlay form (whiteout = char 0:0, opaque = trusted.overlay.opaque)
//!                               a patch: only the difference to the diff/ of its base, which its row names
//!   layers/<LayerId>/index      archive::LayerIndex of diff/ (of a patch: of diff/ over that of its base)
//!   layers/<LayerId>/recipe     only for layers that came as somebody else's tar: the bytes between the files, see portable/recipe.rs
//!   active/<id>/{upper,work}    writable snapshots: of build steps (swept at start), of containers (kept by a row)
//!   containers/<id>/            the engine's: logs, generated files
//!   volumes/<name>/_data        volumes
//!   volumes/<name>/fill         what an empty volume gets from an image, until it is moved into _data
//!   builds/<id>/                the engine's: event logs of builds
//!   trash/<n>                   renamed here, deleted in the background
//!   tmp/<n>                     unfinished ingests; swept at start
//!   partial/<hex>               a blob whose download broke off, or was not published; swept when a week old
//!   registry/                   the folder of `registry serve --storage engine`, a process of its own, which draws it; its blobs are links to those in
//!                               `blobs/` wherever both have them. Neither collects what the other needs: a file goes with its last name
//! ```
//!
//! A folder in `layers/` or a file in `blobs/` without a row is unpublished work of a process that died; the next start moves a layer to the trash and a
//! blob to `partial/`, where the next pull finds it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::Mode;
use shipway_model::{Digest, LayerId};

use crate::Result;
use crate::error::Doing as _;

/// Names for `trash/` and `tmp/` of this process.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// The paths below one data root.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
    session: String,
}

impl Layout {
    /// `session` keeps the temporary names of two runs apart.
    pub(crate) fn new(root: PathBuf, session: String) -> Self {
        Self { root, session }
    }

    /// Makes every folder that is not there yet; true when the root is new.
    pub(crate) fn create(&self) -> Result<bool> {
        let new = !self.layers().is_dir();
        create_dir(&self.root, 0o700)?;
        // A folder that was there already, made by an administrator or an older version, is closed too: nobody else walks it (S-205).
        rustix::fs::chmod(&self.root, Mode::from_raw_mode(0o700)).doing(|| format!("chmod({:?})", self.root))?;
        create_dir(&self.root.join("blobs"), 0o700)?;
        for name in ["blobs/sha256", "layers", "active", "trash", "tmp", "partial", "builds"] {
            create_dir(&self.root.join(name), 0o700)?;
        }
        // What is mounted from these two is reached by handle, so that the closed root is in nobody's way; the folders say what they are for.
        for name in ["containers", "volumes"] {
            create_dir(&self.root.join(name), 0o711)?;
        }
        Ok(new)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("state.db")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.partials().join(digest.hex())
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn layer(&self, id: &LayerId) -> PathBuf {
        self.layers().join(id.to_string())
    }

    pub(crate) fn diff(&self, id: &LayerId) -> PathBuf {
        self.layer(id).join("diff")
    }

    pub(crate) fn index(&self, id: &LayerId) -> PathBuf {
        self.layer(id).join("index")
    }

    pub(crate) fn recipe(&self, id: &LayerId) -> PathBuf {
        self.layer(id).join("recipe")
    }

    pub(crate) fn actives(&self) -> PathBuf {
        self.root.join("active")
    }

    pub(crate) fn active(&self, id: &str) -> PathBuf {
        self.actives().join(id)
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn builds(&self) -> PathBuf {
        self.root.join("builds")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }

    /// Made by the registry when there is one; see `shared_blobs`.
    pub(crate) fn registry(&self) -> PathBuf {
        self.root.join("registry")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A path in `trash/` nobody used before.
    pub(crate) fn fresh_trash(&self) -> PathBuf {
        self.trash().join(self.serial())
    }

    /// A path in `tmp/` nobody used before.
    pub(crate) fn fresh_tmp(&self) -> PathBuf {
        self.tmp().join(self.serial())
    }

    fn serial(&self) -> String {
        format!("{}-{}", self.session, SERIAL.fetch_add(1, Ordering::Relaxed))
    }
}

/// mkdir(2) that is content with a folder already there; the mode is set whatever the umask.
pub(crate) fn create_dir(path: &Path, mode: u32) -> Result<()> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Ok(()) => rustix::fs::chmod(path, Mode::from_raw_mode(mode)).doing(|| format!("chmod({:?})", path)),
        Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(rustix::io::Errno::NOENT) => {
            if let Some(parent) = path.parent() {
                create_dir(parent, 0o755)?;
            }
            rustix::fs::mkdir(path, Mode::from_raw_mode(mode)).doing(|| format!("mkdir({:?})", path))?;
            rustix::fs::chmod(path, Mode::from_raw_mode(mode)).doing(|| format!("chmod({:?})", path))
        }
        Err(errno) => Err(errno).doing(|| format!("mkdir({:?})", path)),
    }
}

/// The names in a folder of ours; names that are not UTF-8 cannot be ours and are told in lossy form.
pub(crate) fn names_in(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).doing(|| format!("read folder {:?}", path))? {
        let entry = entry.doing(|| format!("read folder {:?}", path))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
