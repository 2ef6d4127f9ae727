//! Who the server says it is: a certificate and its key from files, or made on the spot.
//!
//! What must stay true: TLS 1.2 or newer; a key never leaves this process and is never logged.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read \"{path}\": {reason}")]
    File { path: String, reason: String },
    #[error("certificate and key cannot be used: {reason}")]
    Unusable { reason: String },
}

/// A server's certificate and key.
pub struct Identity {
    acceptor: TlsAcceptor,
    /// The certificate, for clients that have to be told to trust it.
    pub certificate_pem: Option<String>,
}

impl Identity {
    /// The identity in two PEM files: the certificate with those that vouch for it, and its key.
    ///
    /// # Errors
    /// `File` for what cannot be read, `Unusable` for a pair that does not fit.
    pub fn read(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let wrong = |path: &Path, reason: String| TlsError::File { path: path.display().to_string(), reason };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(certificates).map_err(|error| wrong(certificates, error.to_string()))?.collect();
        let chain = chain.map_err(|error| wrong(certificates, error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(certificates, "it holds no certificate in PEM form".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
        Ok(Self { acceptor: acceptor(chain, key)?, certificate_pem: None })
    }

    /// An identity nobody vouches for, for `names` (hosts and addresses).
    ///
    /// # Errors
    /// `Unusable` for a name that cannot stand in a certificate.
    pub fn self_signed(names: Vec<String>) -> Result<Self, TlsError> {
        let unusable = |error: rcgen::Error| TlsError::Unusable { reason: error.to_string() };
        let made = rcgen::generate_simple_self_signed(names).map_err(unusable)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let acceptor = acceptor(vec![made.cert.der().clone()], key)?;
        Ok(Self { acceptor, certificate_pem: Some(to_pem(made.cert.der())) })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

fn acceptor(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<TlsAcceptor, TlsError> {
    let unusable = |error: rustls::Error| {
        let is_other_key = matches!(error, rustls::Error::InconsistentKeys(_));
        TlsError::Unusable { reason: if is_other_key { "the key is not that of the certificate".to_owned() } else { error.to_string() } }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(unusable)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// PEM, in lines of 64 letters as RFC 7468 has them.
fn to_pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}
