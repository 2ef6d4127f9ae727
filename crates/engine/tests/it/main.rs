//! The verbs, on an engine of one's own in memory. All of these tests need root; none needs a network.

#![allow(clippy::unwrap_used)] // Tests.

mod after_restart;
mod building;
mod fixture;
mod images;
mod life;
mod streams;
