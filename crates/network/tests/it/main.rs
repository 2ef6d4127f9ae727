//! The hand through its public face. These tests need root and make their own network namespaces.
#![allow(clippy::unwrap_used)]

mod names;
