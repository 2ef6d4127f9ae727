//! The store through its public face: real files in temporary roots on /dev/shm.
mod blobs;
mod cache;
mod collecting;
mod crash;
mod evil;
mod fsck;
mod images;
mod made;
mod opening;
mod portable;
mod powercut;
mod snapshots;
mod volumes;
