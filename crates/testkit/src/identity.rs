//! Certificates made for one test: an authority, a server's identity signed by it, and a client's.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// A server's identity and whom to trust for believing it.
pub struct Identity {
    /// The authority's certificate in PEM form.
    pub authority_pem: String,
    /// A client's certificate and key in PEM form, signed by the same authority.
    pub client_pem: (String, String),
    pub(crate) config: Arc<ServerConfig>,
}

/// What is special about an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    Nothing,
    /// It was valid until the end of 2020.
    Expired,
    /// Clients must show a certificate of the authority.
    AsksClients,
}

impl Identity {
    /// An identity for `name`, a host name or an address.
    pub fn new(name: &str, special: Special) -> Self {
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).expect("an authority");
        let issuer = Issuer::new(authority, authority_key);
        let (certificate, key) = signed(name, special == Special::Expired, &issuer);
        let (client, client_key) = signed("client.test", false, &issuer);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().expect("TLS versions");
        let builder = if special == Special::AsksClients {
            let mut roots = RootCertStore::empty();
            roots.add(authority_certificate.der().clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier");
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = builder.with_single_cert(vec![certificate], key).expect("a server's identity");
        Self {
            authority_pem: pem("CERTIFICATE", authority_certificate.der()),
            client_pem: (pem("CERTIFICATE", &client), pem("PRIVATE KEY", &client_key.serialize_der())),
            config: Arc::new(config),
        }
    }
}

fn signed(name: &str, expired: bool, issuer: &Issuer<'_, KeyPair>) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    if expired {
        parameters.not_before = date_time_ymd(2019, 1, 1);
        parameters.not_after = date_time_ymd(2020, 12, 31);
    }
    let certificate = parameters.signed_by(&key, issuer).expect("a certificate");
    (certificate.der().clone(), key)
}

/// RFC 7468, with lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
