//! What can go wrong between us and a server, told apart by what the caller can do.
//!
//! What must stay true: no variant holds a secret; addresses are kept as `Url`, which hides them.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use shipway_model::{Classified, Digest, ErrorKind};

use crate::Url;

/// What was being waited for when time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A name server's answer.
    Name,
    /// The connection, to the server or its proxy.
    Connection,
    /// The end of the TLS handshake.
    Handshake,
    /// The proxy's leave to go through.
    Proxy,
    /// The head of the answer.
    Answer,
    /// The next piece of the body.
    Body,
}

/// Why a request or a download failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid address: {reason}")]
    InvalidUrl { reason: String },
    #[error("{what} is not supported yet")]
    Unsupported { what: String },
    #[error("invalid settings of the HTTP client: {reason}")]
    Settings { reason: String },
    /// Whoever knows names says that this one does not exist.
    #[error("no such host \"{host}\"")]
    NoSuchHost { host: String },
    /// Nobody who knows names answered.
    #[error("cannot look up \"{host}\": {reason}")]
    Names { host: String, reason: String },
    #[error("cannot connect to {authority}{}: {source}", at(*address))]
    Connect { authority: String, address: Option<IpAddr>, source: io::Error },
    #[error("no {stage} from \"{host}\" within {}", seconds(*limit))]
    TimedOut { stage: Stage, host: String, limit: Duration },
    /// The server is not who it should be, or is so by the word of somebody we do not trust.
    #[error("the certificate of \"{host}\" is refused: {reason}")]
    Certificate { host: String, authority: String, reason: String, issuer_unknown: bool },
    #[error("no certificate authority is known here, so no https server can be checked")]
    NoAuthorities,
    /// Docker's words, which clients and people look for.
    #[error("http: server gave HTTP response to HTTPS client")]
    PlainHttp { authority: String },
    #[error("cannot agree on TLS with \"{host}\": {reason}")]
    Tls { host: String, reason: String },
    #[error("the proxy {proxy} refuses to connect to {authority}: {reason}")]
    Proxy { proxy: String, authority: String, reason: String },
    #[error("the head of the answer from \"{host}\" is larger than {limit} bytes")]
    HeadTooLarge { host: String, limit: usize },
    /// The peer does not speak HTTP as it should.
    #[error("\"{host}\" answers against the rules of HTTP: {reason}")]
    Protocol { host: String, reason: String },
    /// The connection ended early.
    #[error("the connection to \"{host}\" broke: {reason}")]
    Broken { host: String, reason: String },
    #[error("redirected more than {limit} times, last to \"{last}\"")]
    TooManyRedirects { limit: usize, last: Url },
    #[error("redirected from https to \"{to}\", which is not secure")]
    InsecureRedirect { to: Url },
    #[error("redirected to nowhere: {reason}")]
    Redirect { reason: String },
    #[error("the server answers {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    /// What came is not what was promised.
    #[error("{what} is not what it should be: {reason}")]
    Content { what: String, reason: String },
    /// An index without an image for us.
    #[error("no matching manifest for {wanted} in the manifest list entries")]
    NoPlatform { wanted: String, available: Vec<String> },
    /// A manifest of something for other programs.
    #[error("it is no image but an artifact of type \"{found}\"")]
    NoImage { found: String },
    #[error(transparent)]
    Store(Box<shipway_store::Error>),
    /// A registry says no in its own words.
    #[error("{}", refused(*status, code, message))]
    Refused { host: String, status: StatusCode, code: String, message: String, retry_after: Option<Duration> },
    /// The registry does not know who logs in.
    #[error("login attempt to {url} failed with status: {status}")]
    Login { url: Url, status: StatusCode },
    /// The registry's token server does not, and says so in its own words.
    #[error("{words}")]
    LoginRefused { words: String },
    #[error("\"{host}\" is no registry: it does not know the path /v2/")]
    NoRegistry { host: String },
    #[error("the registry {registry} cannot be searched: it does not have the interface /v1/search")]
    NoSearch { registry: String },
    /// The administrator demands a signature that is not there.
    #[error("\"{name}\" ({digest}) is refused by the signature policy: {reason}")]
    Signature { name: String, digest: String, reason: String, policy: PathBuf },
    /// A manifest list needs what the registry does not mount.
    #[error("the registry does not mount the blob {digest} of \"{from}\" in \"{repository}\"")]
    NoMount { digest: Digest, from: String, repository: String },
    /// A registry wants its credentials shown to somebody else.
    #[error("the registry {registry} asks for credentials to be shown to \"{realm}\", which does not belong to it")]
    Realm { registry: String, realm: String },
    /// A token server, or who names one, answers what no token can be made of.
    #[error("no token can be had from \"{realm}\": {reason}")]
    Token { realm: String, reason: String },
    /// A layer that its registry does not have, and whose manifest says where it is.
    #[error("the registry does not have the layer {digest}: its manifest sends everybody to \"{host}\"")]
    ForeignLayer { digest: String, host: String },
    /// A layer whose type says that it may not be passed on.
    #[error("the layer {digest} is not to be distributed, and \"{registry}\" does not have it")]
    Nondistributable { digest: String, registry: String },
    #[error("the file is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("cannot write \"{}\": {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("internal error: {what}")]
    Internal { what: String },
}

/// What a retry promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The same would happen again.
    Never,
    /// It may go better, after a pause of our choice.
    Soon,
    /// The server said when.
    After(Duration),
}

impl Error {
    /// True when the question did not get as far as the server it was for.
    pub fn nobody_was_reached(&self) -> bool {
        match self {
            Self::NoSuchHost { .. } | Self::Names { .. } | Self::Connect { .. } | Self::Proxy { .. } => true,
            Self::TimedOut { stage, .. } => matches!(stage, Stage::Name | Stage::Connection | Stage::Proxy),
            _ => false,
        }
    }

    /// Whether asking again may help.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Names { .. } | Self::Connect { .. } | Self::TimedOut { .. } | Self::Broken { .. } => Retry::Soon,
            // A proxy that cannot reach the server answers 502 to 504, which may pass; its other refusals will not.
            Self::Proxy { reason, .. } if ["502", "503", "504"].iter().any(|status| reason.contains(status)) => Retry::Soon,
            Self::Status { status, retry_after } | Self::Refused { status, retry_after, .. }
                if matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504) =>
            {
                retry_after.map_or(Retry::Soon, Retry::After)
            }
            _ => Retry::Never,
        }
    }
}

impl From<shipway_store::Error> for Error {
    fn from(error: shipway_store::Error) -> Self {
        Self::Store(Box::new(error))
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidUrl { .. } | Self::Settings { .. } => ErrorKind::Invalid,
            Self::Content { .. } => ErrorKind::Corrupt,
            Self::NoPlatform { .. } => ErrorKind::NotFound,
            // Layers are read from what a registry sends: what cannot be decompressed was not what was promised.
            Self::Store(source) if matches!(&**source, shipway_store::Error::Sys { doing, .. } if doing == "read layer") => {
                ErrorKind::Corrupt
            }
            Self::Store(source) => source.kind(),
            Self::Unsupported { .. } | Self::NoSearch { .. } | Self::NoMount { .. } | Self::NoImage { .. } => ErrorKind::Unsupported,
            Self::Login { .. } | Self::LoginRefused { .. } => ErrorKind::Unauthenticated,
            Self::NoSuchHost { .. } | Self::NoRegistry { .. } => ErrorKind::NotFound,
            Self::Status { status, .. } | Self::Refused { status, .. } => match status.as_u16() {
                401 | 407 => ErrorKind::Unauthenticated,
                403 => ErrorKind::Forbidden,
                404 | 410 => ErrorKind::NotFound,
                _ => ErrorKind::Unavailable,
            },
            Self::Certificate { .. }
            | Self::NoAuthorities
            | Self::InsecureRedirect { .. }
            | Self::Realm { .. }
            | Self::ForeignLayer { .. }
            | Self::Nondistributable { .. }
            | Self::Signature { .. } => ErrorKind::Forbidden,
            Self::TooLarge { .. } => ErrorKind::Exhausted,
            Self::File { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                ErrorKind::Exhausted
            }
            Self::File { .. } | Self::Internal { .. } => ErrorKind::Internal,
            _ => ErrorKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Certificate { issuer_unknown: true, authority, .. } => {
                return Some(format!(
                    "if an authority of your own signed it, put that authority's certificate in /etc/docker/certs.d/{authority}/ca.crt, or among \
                     those of this machine (/etc/ssl/certs)"
                ));
            }
            Self::NoAuthorities => "install the package ca-certificates, or set SSL_CERT_FILE for the daemon",
            Self::NoSearch { .. } => {
                "Docker Hub has it; of other registries ask for the list of repositories: curl https://HOST/v2/_catalog"
            }
            Self::NoImage { .. } => "containers run images; an artifact is for the program that made it (helm, oras, cosign, ...)",
            Self::NoMount { .. } => "pull the image and push it to the list's repository, then put the list together from there",
            Self::Login { .. } | Self::LoginRefused { .. } => {
                "user name or password is wrong; some registries want a token in place of the password"
            }
            Self::Realm { realm, .. } => {
                return Some(format!(
                    "nothing was sent there; if that token server is right, name it to the daemon: --trusted-token-server {realm}"
                ));
            }
            Self::PlainHttp { authority } => {
                return Some(format!(
                    "nothing of it is protected; if that is meant so: shipway daemon --insecure-registry {authority}, or \
                     \"insecure-registries\": [\"{authority}\"] in /etc/shipway/daemon.json"
                ));
            }
            Self::NoSuchHost { host } if host == crate::client::HUB_SERVER => {
                "a name without a registry is looked for on Docker Hub; of another registry's image, write REGISTRY/NAME"
            }
            Self::NoSuchHost { .. } => "check the name, and the name servers in /etc/resolv.conf of this machine",
            Self::Connect { authority, address: Some(address), source }
                if address.is_loopback() && source.kind() == io::ErrorKind::ConnectionRefused =>
            {
                return Some(format!(
                    "nothing listens there; a registry of your own: shipway registry serve --addr {authority} --storage FOLDER"
                ));
            }
            Self::ForeignLayer { .. } => "if that address may be trusted, start the daemon with --fetch-foreign-layers",
            Self::Nondistributable { registry, .. } => {
                return Some(format!(
                    "if its licence allows that registry to have it, start the daemon with --allow-nondistributable-artifacts {registry}"
                ));
            }
            Self::Signature { name, digest, policy, .. } => {
                let repository = name.split('@').next().unwrap_or(name);
                return Some(format!(
                    "sign it (cosign sign --key KEY {repository}@{digest}), or change what \"{}\" demands of it",
                    policy.display()
                ));
            }
            Self::Tls { .. } => "check that the address and port belong to an https server",
            Self::Names { .. } => "check the name servers in /etc/resolv.conf of this machine",
            Self::Status { retry_after: Some(after), .. } | Self::Refused { retry_after: Some(after), .. } => {
                return Some(format!("the server asks to come back in {}", seconds(*after)));
            }
            Self::Status { status, .. } | Self::Refused { status, .. } if matches!(status.as_u16(), 401 | 407) => {
                "the server wants a user name and password"
            }
            Self::NoPlatform { available, .. } if !available.is_empty() => {
                return Some(format!("there are images for {}", available.join(", ")));
            }
            Self::Store(source) => return source.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Name => "answer of a name server about the address",
            Self::Connection => "connection",
            Self::Handshake => "end of the TLS handshake",
            Self::Proxy => "leave to connect",
            Self::Answer => "answer",
            Self::Body => "more data",
        })
    }
}

/// A registry's error as docker prints it: its code in words, then its message.
fn refused(status: StatusCode, code: &str, message: &str) -> String {
    let code = code.to_ascii_lowercase().replace('_', " ");
    match (code.is_empty(), message.is_empty()) {
        (true, true) => format!("the registry answers {status}"),
        (true, false) => message.to_owned(),
        (false, true) => code,
        (false, false) => format!("{code}: {message}"),
    }
}

fn at(address: Option<IpAddr>) -> String {
    address.map(|address| format!(" at {address}")).unwrap_or_default()
}

/// A span as people say it; tests use spans below a second.
fn seconds(span: Duration) -> String {
    if span.subsec_millis() == 0 { format!("{} s", span.as_secs()) } else { format!("{} ms", span.as_millis()) }
}
