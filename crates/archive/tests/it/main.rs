//! The crate through its public face: round trips, other tools, and archives made to hurt.

mod build;
mod evil;
mod layers;
mod oracles;
mod plain;
mod properties;
