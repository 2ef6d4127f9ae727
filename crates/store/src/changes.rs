//! What a container has changed: the list of it, and the layer made of it, both from its upper folder as it lies there.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use shipway_archive::changes::{Below, ChangeKind, changes};
use shipway_archive::diff::{ScanOptions, write_upper_tar};
use shipway_model::{LayerId, Timestamp};
use shipway_sys::path::{Metadata, Root};

use crate::error::Doing as _;
use crate::layers::LayerOrigin;
use crate::leases::Lease;
use crate::open::Store;
use crate::tree::Tree;
use crate::unpack::UnpackRequest;
use crate::{Error, Result};

impl Store {
    /// What the kept snapshot `id` changes in the layers below it; paths are relative and in order. Nothing is mounted.
    ///
    /// # Cost
    /// One look at everything in the upper folder and at what it hides.
    pub fn changes(&self, id: &str) -> Result<Vec<(Vec<u8>, ChangeKind)>> {
        let snapshot = self.open_active(id)?;
        let upper = Root::open(&snapshot.upper).doing(|| format!("open {:?}", snapshot.upper))?;
        Ok(changes(&upper, &self.tree(&snapshot.parents)?)?)
    }

    /// Makes a layer of what the kept snapshot `id` has changed so far and leaves the snapshot as it is; `None` when it has changed nothing.
    ///
    /// # Errors
    /// `Archive` with a change while it was read, when something still writes.
    ///
    /// # Durability
    /// Visible at once, pending until the next publish.
    ///
    /// # Cost
    /// One read and one write of every changed file.
    pub fn copy_as_layer(&self, id: &str, created: Timestamp, lease: &Lease) -> Result<Option<LayerId>> {
        let snapshot = self.open_active(id)?;
        let upper = Root::open(&snapshot.upper).doing(|| format!("open {:?}", snapshot.upper))?;
        if upper.read_dir(Path::new(".")).doing(|| format!("list {:?}", snapshot.upper))?.is_empty() {
            return Ok(None);
        }
        let request = UnpackRequest {
            expected: None,
            origin: LayerOrigin::Built,
            created,
            lower: snapshot.parents.clone(),
            lease: Some(lease.clone()),
        };
        let (reader, writer) = std::io::pipe().doing(|| "make a pipe".to_owned())?;
        let (packed, unpacked) = std::thread::scope(|scope| {
            let packing = std::thread::Builder::new().name("store-pack".to_owned()).spawn_scoped(scope, move || {
                let mut out = std::io::BufWriter::with_capacity(1 << 20, writer);
                let packed = write_upper_tar(&upper, &ScanOptions::default(), &mut out);
                let flushed = out.flush();
                packed.and_then(|scanned| flushed.map(|()| scanned).map_err(shipway_archive::Error::Write))
            });
            let unpacked = self.unpack_layer(reader, &request);
            let packed = match packing {
                Ok(thread) => Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
                Err(error) => Err(Error::io("start a thread", &error)),
            };
            (packed, unpacked)
        });
        match (packed?, unpacked) {
            // Why the archive broke off says more than that it did; but a packer only sees a broken pipe when the other side gave up.
            (Err(error), Ok(_)) => Err(error.into()),
            (Err(error), Err(_)) if !matches!(error, shipway_archive::Error::Write(_)) => Err(error.into()),
            (_, Err(error)) => Err(error),
            (Ok(scanned), Ok(unpacked)) if scanned.diff_id == unpacked.layer.diff_id => Ok(Some(unpacked.layer.id)),
            (Ok(_), Ok(_)) => Err(Error::corrupt("layer", "its bytes changed between two threads")),
        }
    }
}

impl Below for Tree {
    fn stat(&self, path: &[u8]) -> Result<Option<Metadata>, shipway_archive::Error> {
        if self.lookup(path)?.is_none() {
            return Ok(None);
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        match self.layer_root(path) {
            Ok(root) => Ok(Some(root.lstat(path)?)),
            Err(Error::Sys { source, .. }) => Err(source.into()),
            Err(_) => Ok(None),
        }
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, shipway_archive::Error> {
        // The view's own, not this one.
        (**self).names(path)
    }
}
