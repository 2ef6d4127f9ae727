//! The routes, one file per resource: read the request, call one verb, write the answer.

pub(crate) mod archive;
pub(crate) mod attach;
pub(crate) mod build;
pub(crate) mod containers;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exchange;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod networks;
pub(crate) mod own;
pub(crate) mod portable;
pub(crate) mod registries;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod volumes;
