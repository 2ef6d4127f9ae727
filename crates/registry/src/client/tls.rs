//! TLS towards servers: whom to trust, and what to say when trust fails.
//!
//! What must stay true: TLS 1.2 or newer; certificates are checked against the system's authorities and the extra ones, except for hosts the
//! administrator listed as insecure, and even there the server must prove that it holds the key it shows.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use super::dial::BoxedWire;
use crate::{Error, Host, Origin};

/// Trust settings, read from the disk when first needed.
pub(super) struct Tls {
    extra_roots: Vec<Vec<u8>>,
    insecure_hosts: Vec<String>,
    checking: OnceCell<TlsConnector>,
    trusting: OnceCell<TlsConnector>,
}

impl Tls {
    pub(super) fn new(extra_roots: Vec<Vec<u8>>, insecure_hosts: Vec<String>) -> Self {
        let insecure_hosts = insecure_hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { extra_roots, insecure_hosts, checking: OnceCell::new(), trusting: OnceCell::new() }
    }

    /// Secures `wire`, which leads to `origin`.
    pub(super) async fn handshake(&self, wire: BoxedWire, origin: &Origin) -> Result<BoxedWire, Error> {
        let host = origin.host.to_string();
        let insecure = self.insecure_hosts.iter().any(|listed| *listed == host || *listed == origin.authority());
        let connector = if insecure {
            self.trusting.get_or_try_init(|| async { trusting() }).await?
        } else {
            self.checking.get_or_try_init(|| checking(self.extra_roots.clone())).await?
        };
        let name = match &origin.host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|error| Error::Tls { host: host.clone(), reason: error.to_string() })?,
        };
        match connector.connect(name, wire).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(refused(host, &error)),
        }
    }
}

/// Sorts what a handshake failed by.
fn refused(host: String, error: &std::io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            Error::Certificate { host, reason: reason.to_string(), issuer_unknown: matches!(reason, CertificateError::UnknownIssuer) }
        }
        Some(other) => Error::Tls { host, reason: other.to_string() },
        None => Error::Broken { host, reason: error.to_string() },
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A connector that checks certificates. Reads some hundred files, hence on a thread where that may block.
async fn checking(extra_roots: Vec<Vec<u8>>) -> Result<TlsConnector, Error> {
    let roots = tokio::task::spawn_blocking(move || roots(&extra_roots));
    let roots = roots.await.map_err(|error| Error::Internal { what: format!("reading certificates ended abnormally: {error}") })??;
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Error::Internal { what: error.to_string() })?;
    Ok(connector(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// The authorities of the system (`SSL_CERT_FILE`, `SSL_CERT_DIR`, else the usual places) and the extra ones.
fn roots(extra_roots: &[Vec<u8>]) -> Result<RootCertStore, Error> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "a certificate file cannot be read");
    }
    let mut store = RootCertStore::empty();
    let (taken, left) = store.add_parsable_certificates(system.certs);
    tracing::debug!(taken, left, "read the system's certificate authorities");
    for bundle in extra_roots {
        for certificate in CertificateDer::pem_slice_iter(bundle) {
            let certificate = certificate.map_err(|error| Error::Settings { reason: format!("an extra certificate: {error}") })?;
            store.add(certificate).map_err(|error| Error::Settings { reason: format!("an extra certificate: {error}") })?;
        }
    }
    if store.is_empty() { Err(Error::NoAuthorities) } else { Ok(store) }
}

/// A connector that takes any certificate.
fn trusting() -> Result<TlsConnector, Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Error::Internal { what: error.to_string() })?;
    let anyone = Arc::new(Anyone(provider()));
    Ok(connector(builder.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth()))
}

fn connector(mut config: ClientConfig) -> TlsConnector {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Believes every certificate, but not a server without its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
