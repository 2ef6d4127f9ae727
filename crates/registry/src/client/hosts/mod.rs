//! What an administrator wrote about single hosts: `hosts.toml`, `signatures.toml` and folders of certificates.

pub(super) mod certs;
pub(super) mod file;
pub(super) mod signatures;
mod toml;

use crate::{Error, Origin};

/// What is special about the TLS of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostTrust {
    /// Authorities trusted beside the system's, in PEM form.
    pub roots: Vec<Vec<u8>>,
    /// Who we are to servers that ask.
    pub identity: Option<ClientIdentity>,
    /// The server's certificate is not checked.
    pub unchecked: bool,
}

/// A client's certificate chain and its key, in PEM form.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

/// Somebody who knows what is special about servers. Asked before each new connection with TLS, on a thread that may block.
pub trait TrustSource: Send + Sync + std::fmt::Debug {
    /// What is special about `origin`.
    ///
    /// # Errors
    /// `Settings` when what was written about it cannot be used.
    fn trust(&self, origin: &Origin) -> Result<HostTrust, Error>;
}

impl HostTrust {
    /// Both together.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.roots.extend(other.roots);
        self.identity = other.identity.or(self.identity);
        self.unchecked |= other.unchecked;
        self
    }
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ClientIdentity")
    }
}
