//! `volume import`, `export` and `clone`: bytes into a volume, out of it, and once more (W-18). Additions of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use shipway_store::Volume;
use tokio::sync::mpsc;

use super::{parse_name, refused};
use crate::archives::pack_on_thread;
use crate::blocking::{self, ChannelReader};
use crate::{Engine, Error, Result};

impl Engine {
    /// Puts the files of an archive into a volume, which is made when it does not exist and must be empty when it does.
    ///
    /// # Errors
    /// `Conflict` when something is in it; what is wrong with the archive. Then nothing is in the volume.
    ///
    /// # Durability
    /// When this answers, all of it survives a power cut; before that, none of it is there.
    pub async fn import_volume(&self, name: &str, reader: ChannelReader) -> Result<Arc<Volume>> {
        let name = parse_name(name)?;
        let _turn = self.inner.volumes.take(&BTreeSet::from([name.clone()])).await;
        let (store, wanted) = (self.inner.store.clone(), name.clone());
        let existed = store.volumes().get(&name).is_some();
        let volume = blocking::files(move || store.volumes().import(&wanted, reader).map_err(|error| occupied(&wanted, error))).await?;
        self.tell_filled(&volume, existed, "import");
        Ok(volume)
    }

    /// The archive of everything in a volume, itself first: `import` makes the same of it. Holes, attributes and nanoseconds are kept. A program
    /// that writes meanwhile is not waited for: stop it first. Errors after the first byte, a removal of the volume among them, end the stream.
    ///
    /// # Errors
    /// `NotFound`; why its driver's options cannot be mounted.
    pub async fn export_volume(&self, name: &str) -> Result<mpsc::Receiver<io::Result<Bytes>>> {
        let volume = self.inspect_volume(name)?;
        // Not held while the client reads: it may take as long as it likes.
        let turn = self.inner.volumes.take(&BTreeSet::from([volume.name.clone()])).await;
        let (store, wanted) = (self.inner.store.clone(), volume.name.clone());
        let top = blocking::files(move || {
            let root = store.volumes().open(&wanted)?;
            root.top().map_err(Error::sys(format!("open volume \"{wanted}\"")))
        })
        .await;
        self.unmount_unused(BTreeSet::from([volume.name.clone()])).await;
        drop(turn);
        let top = top?;
        let (writer, receiver) = blocking::stream_out();
        let (store, same) = (self.inner.store.clone(), Arc::clone(&volume));
        pack_on_thread(writer, move |packer| {
            packer.be_faithful();
            packer.folder(top, b"./")?;
            match store.volumes().get(&same.name) {
                Some(still) if still.created == same.created => Ok(()),
                _ => Err(shipway_archive::Error::Changed { path: format!("volume {}", same.name) }),
            }
        });
        self.publish_volume(&volume, "export", BTreeMap::new());
        Ok(receiver)
    }

    /// Copies a volume under a new name, sharing blocks where the filesystem can. A program that writes meanwhile is not waited for: stop it first.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the new name is taken by a volume with something in it.
    pub async fn clone_volume(&self, name: &str, new: &str) -> Result<Arc<Volume>> {
        let source = self.inspect_volume(name)?;
        let new = parse_name(new)?;
        if source.name == new {
            return Err(Error::Conflict {
                reason: format!("volume {new} cannot be cloned to itself"),
                hint: Some("give the copy another name".to_owned()),
            });
        }
        let _turn = self.inner.volumes.take(&BTreeSet::from([source.name.clone(), new.clone()])).await;
        let (store, name, wanted) = (self.inner.store.clone(), source.name.clone(), new.clone());
        let existed = store.volumes().get(&new).is_some();
        let volume = blocking::files(move || store.volumes().clone_to(&name, &wanted).map_err(|error| occupied(&wanted, error))).await;
        self.unmount_unused(BTreeSet::from([source.name.clone()])).await;
        let volume = volume?;
        self.tell_filled(&volume, existed, "clone");
        Ok(volume)
    }

    fn tell_filled(&self, volume: &Volume, existed: bool, action: &str) {
        if !existed {
            self.publish_volume(volume, "create", BTreeMap::new());
        }
        self.publish_volume(volume, action, BTreeMap::new());
    }
}

fn occupied(name: &shipway_model::VolumeName, error: shipway_store::Error) -> Error {
    match error {
        error @ shipway_store::Error::Conflict { .. } => Error::Conflict {
            reason: error.to_string(),
            hint: Some(format!("name another volume, or remove this one first: shipway volume rm {name}")),
        },
        other => refused(name, other),
    }
}
