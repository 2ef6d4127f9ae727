//! Digests of bytes as they come, by whichever algorithm somebody named.

use shipway_model::digest::to_hex;
use shipway_model::{Algorithm, Digest};

/// Computes one digest.
pub(crate) struct Hasher {
    algorithm: Algorithm,
    context: ring::digest::Context,
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let chosen = match algorithm {
            Algorithm::Sha256 => &ring::digest::SHA256,
            Algorithm::Sha512 => &ring::digest::SHA512,
        };
        Self { algorithm, context: ring::digest::Context::new(chosen) }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let hash = self.context.finish();
        format!("{}:{}", self.algorithm.name(), to_hex(hash.as_ref())).parse().expect("a hash in hexadecimal digits is a digest")
    }
}
