//! Builds from request to image over a real store in memory, with made-up images and a made-up executor: neither root's mounts nor a network are needed.
// A test may fail by panicking: that is its way to say no.
#![allow(clippy::unwrap_used)]

mod adding;
mod cache;
mod concurrency;
mod config;
mod copying;
mod display;
mod findings;
mod support;
