//! TLS towards servers: whom to trust, and what to say when trust fails.
//!
//! What must stay true: TLS 1.2 or newer; certificates are checked against the system's authorities and the extra ones, except for hosts the
//! administrator listed as insecure, and even there the server must prove that it holds the key it shows. What a source says about one server
//! changes nothing for any other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore, SignatureScheme};
use shipway_model::Timestamp;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use super::dial::BoxedWire;
use super::hosts::{ClientIdentity, HostTrust, TrustSource};
use crate::{Error, Host, Origin};

/// Trust settings, read from the disk when first needed.
pub(super) struct Tls {
    extra_roots: Vec<Vec<u8>>,
    insecure_hosts: Vec<String>,
    source: Option<Arc<dyn TrustSource>>,
    roots: OnceCell<RootCertStore>,
    /// For the many servers with nothing special about them.
    usual: OnceCell<TlsConnector>,
    /// For each of the others, with what was special about it.
    special: Mutex<HashMap<Origin, (HostTrust, TlsConnector)>>,
}

impl Tls {
    pub(super) fn new(extra_roots: Vec<Vec<u8>>, insecure_hosts: Vec<String>, source: Option<Arc<dyn TrustSource>>) -> Self {
        let insecure_hosts = insecure_hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { extra_roots, insecure_hosts, source, roots: OnceCell::new(), usual: OnceCell::new(), special: Mutex::default() }
    }

    /// Secures `wire`, which leads to `origin`.
    pub(super) async fn handshake(&self, wire: BoxedWire, origin: &Origin) -> Result<BoxedWire, Error> {
        let host = origin.host.to_string();
        let connector = self.connector(origin).await?;
        let name = match &origin.host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|error| Error::Tls { host: host.clone(), reason: error.to_string() })?,
        };
        match connector.connect(name, wire).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(refused(origin, &error)),
        }
    }

    async fn connector(&self, origin: &Origin) -> Result<TlsConnector, Error> {
        let trust = self.trust(origin).await?;
        if trust == HostTrust::default() {
            return self.usual.get_or_try_init(|| async { connector_for(&trust, self.roots().await?) }).await.cloned();
        }
        if let Some((known, connector)) = self.special.lock().unwrap_or_else(PoisonError::into_inner).get(origin)
            && *known == trust
        {
            return Ok(connector.clone());
        }
        let connector = if trust.unchecked {
            connector_for(&trust, &RootCertStore::empty())?
        } else {
            connector_for(&trust, self.system_roots().await?)?
        };
        self.special.lock().unwrap_or_else(PoisonError::into_inner).insert(origin.clone(), (trust, connector.clone()));
        Ok(connector)
    }

    /// What is special about `origin`: by the settings of this transport, and by those who know servers.
    async fn trust(&self, origin: &Origin) -> Result<HostTrust, Error> {
        let host = origin.host.to_string();
        let unchecked = self.insecure_hosts.iter().any(|listed| *listed == host || *listed == origin.authority());
        let own = HostTrust { unchecked, ..HostTrust::default() };
        let Some(source) = self.source.clone() else { return Ok(own) };
        let asked = origin.clone();
        let known = tokio::task::spawn_blocking(move || source.trust(&asked));
        let known = known.await.map_err(|error| Error::Internal { what: format!("reading certificates ended abnormally: {error}") })??;
        Ok(own.and(known))
    }

    async fn roots(&self) -> Result<&RootCertStore, Error> {
        let roots = self.system_roots().await?;
        if roots.is_empty() { Err(Error::NoAuthorities) } else { Ok(roots) }
    }

    /// The authorities of the system and the extra ones. Reads some hundred files, hence on a thread where that may block.
    async fn system_roots(&self) -> Result<&RootCertStore, Error> {
        let read = || async {
            let extra_roots = self.extra_roots.clone();
            let roots = tokio::task::spawn_blocking(move || roots(&extra_roots));
            roots.await.map_err(|error| Error::Internal { what: format!("reading certificates ended abnormally: {error}") })?
        };
        self.roots.get_or_try_init(read).await
    }
}

/// Sorts what a handshake failed by.
fn refused(origin: &Origin, error: &std::io::Error) -> Error {
    let host = origin.host.to_string();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            Error::Certificate { authority: origin.authority(), reason: words(reason), issuer_unknown: is_strange(reason), host }
        }
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Error::PlainHttp { authority: origin.authority() },
        Some(other) => Error::Tls { host, reason: other.to_string() },
        None => Error::Broken { host, reason: error.to_string() },
    }
}

/// What is wrong with a certificate, in the words of Go's library: docker prints them, and people look for them.
fn words(reason: &CertificateError) -> String {
    let moment = |time: &UnixTime| Timestamp::from_unix(i64::try_from(time.as_secs()).unwrap_or(i64::MAX), 0).to_rfc3339();
    let untimely = "x509: certificate has expired or is not yet valid";
    match reason {
        _ if is_strange(reason) => "x509: certificate signed by unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::NotValidYet => untimely.to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("{untimely}: current time {} is after {}", moment(time), moment(not_after))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("{untimely}: current time {} is before {}", moment(time), moment(not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| plain_name(name)).collect();
            match names.as_slice() {
                [] => format!("x509: certificate is not valid for any names, but wanted to match {}", expected.to_str()),
                names => format!("x509: certificate is valid for {}, not {}", names.join(", "), expected.to_str()),
            }
        }
        other => other.to_string(),
    }
}

/// Whether nobody we know vouches for it: also somebody who has only the name of one we know.
fn is_strange(reason: &CertificateError) -> bool {
    matches!(reason, CertificateError::UnknownIssuer | CertificateError::BadSignature)
}

/// rustls tells names as `DnsName("a.example")` and `IpAddress(127.0.0.1)`.
fn plain_name(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A connector for a server with `trust`, beside the authorities in `roots`.
fn connector_for(trust: &HostTrust, roots: &RootCertStore) -> Result<TlsConnector, Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Error::Internal { what: error.to_string() })?;
    let builder = if trust.unchecked {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider())))
    } else {
        let mut roots = roots.clone();
        for bundle in &trust.roots {
            add(&mut roots, bundle)?;
        }
        builder.with_root_certificates(roots)
    };
    let mut config = match &trust.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = identity_of(identity)?;
            let wrong = |error: rustls::Error| Error::Settings { reason: format!("a client certificate: {error}") };
            builder.with_client_auth_cert(chain, key).map_err(wrong)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn identity_of(identity: &ClientIdentity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let wrong = |what: &str| Error::Settings { reason: format!("a client {what} cannot be read: it is no PEM") };
    let chain = CertificateDer::pem_slice_iter(&identity.certificate).collect::<Result<Vec<_>, _>>().map_err(|_| wrong("certificate"))?;
    // The error could quote the file.
    let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(|_| wrong("key"))?;
    Ok((chain, key))
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
        add(&mut store, bundle)?;
    }
    Ok(store)
}

fn add(store: &mut RootCertStore, bundle: &[u8]) -> Result<(), Error> {
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|error| Error::Settings { reason: format!("an extra certificate: {error}") })?;
        store.add(certificate).map_err(|error| Error::Settings { reason: format!("an extra certificate: {error}") })?;
    }
    Ok(())
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
