//! The store through its public face: real files in temporary roots on /dev/shm.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod blobs;
mod cache;
mod collecting;
mod crash;
mod evil;
mod fsck;
mod full_disk;
mod images;
mod made;
mod opening;
mod portable;
mod powercut;
mod recipes;
mod representations;
mod snapshots;
mod volumes;
