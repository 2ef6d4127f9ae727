//! What speaks of an image and was brought here with it: signatures, attestations. Their bytes are blobs of the image; the rows say what they are.
//!
//! # Durability
//! A row is written in the transaction that makes the blobs the image's, and goes with the image.

use serde::{Deserialize, Serialize};
use shipway_model::{Descriptor, Digest, ImageId};
use shipway_state::{Table, WriteTxn};

use crate::Result;
use crate::images::Images;

/// The referrers held for each image.
pub(crate) const REFERRERS: Table<ImageId, Vec<Referrer>> = Table::new("image_referrers");

/// Referrers held for one image: more are an attack or a mistake.
const HELD: usize = 256;

/// A manifest that speaks of the manifest of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referrer {
    /// What it speaks of: a manifest of the image, or the index it came by.
    pub subject: Digest,
    /// The manifest itself, whose bytes are a blob; its artifact type says what it is.
    pub manifest: Descriptor,
    /// The tag it goes by, where it is known by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The blobs it names, which are here.
    pub blobs: Vec<Descriptor>,
}

impl Images<'_> {
    /// The referrers held for an image, the latest first.
    pub fn referrers(&self, id: &ImageId) -> Result<Vec<Referrer>> {
        let mut held = self.store.db().read(|txn| txn.get(&REFERRERS, id))?.unwrap_or_default();
        // A check that found a blob damaged took it away; what is not whole is not held.
        let blobs = self.store.blobs();
        held.retain(|referrer| blobs.has(&referrer.manifest.digest) && referrer.blobs.iter().all(|blob| blobs.has(&blob.digest)));
        Ok(held)
    }

    /// Notes in `txn` referrers whose blobs are the image's. One of the same digest and subject replaces the former.
    pub fn hold_referrers(&self, txn: &mut WriteTxn<'_>, id: &ImageId, mut referrers: Vec<Referrer>) -> Result<()> {
        let former = txn.get(&REFERRERS, id)?.unwrap_or_default();
        let same = |one: &Referrer, other: &Referrer| one.manifest.digest == other.manifest.digest && one.subject == other.subject;
        for known in former {
            if !referrers.iter().any(|new| same(new, &known)) {
                referrers.push(known);
            }
        }
        referrers.truncate(HELD);
        if !referrers.is_empty() {
            txn.put(&REFERRERS, id, &referrers)?;
        }
        Ok(())
    }
}
