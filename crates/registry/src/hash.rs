//! Digests of bytes as they come, by whichever algorithm somebody named.

use std::fs::File;
use std::io::{self, Read as _};

use shipway_model::digest::to_hex;
use shipway_model::{Algorithm, Digest};

/// Bytes read at once when a file is hashed.
const READ: usize = 256 * 1024;

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

/// The digest of a file from where it is to its end.
pub(crate) fn hash_file(mut file: File, algorithm: Algorithm) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; READ];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
