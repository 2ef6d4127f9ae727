//! What becomes of the final tree.

pub(crate) mod image;
