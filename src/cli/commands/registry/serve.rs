//! `registry serve`: a registry in the foreground, until it is told to stop.
//!
//! This is the one command that serves by itself, on threads of its own. No daemon of ours is needed or asked, but for one question when the registry is to
//! share the engine's store: where that is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use shipway_model::{ByteSize, GoDuration};
use shipway_registry::TransportConfig;
use shipway_registry::server::{
    Access, Accounts, AnonymousRead, FolderStorage, Identity, Keys, Listening, Registry, Settings, Storage, StorageError, Tokens, Upstream,
    serve,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::connect::Host;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;

/// The storage that is no folder of its own.
const ENGINE: &str = "engine";

/// Where a registry keeps what it is given.
#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    /// In this data root, whose engine runs here.
    Engine(PathBuf),
}

impl Place {
    fn open(&self) -> Outcome<FolderStorage> {
        let opened = match self {
            Self::Folder(folder) => FolderStorage::open(folder),
            Self::Engine(root) => FolderStorage::open_in_engine(root),
        };
        opened.map_err(|error| match &error {
            StorageError::NoEngine { .. } => wrong(&error).hint(
                "the engine that answered keeps its data elsewhere: run this on its machine (and outside of containers), or name a folder with --storage",
            ),
            StorageError::Forbidden { .. } => {
                wrong(&error).hint("run this as the user whose engine it is (mostly root), or name a folder of your own with --storage")
            }
            _ => wrong(&error),
        })
    }
}

/// What is read of `info`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct About {
    docker_root_dir: PathBuf,
    name: String,
}

/// The data root of the engine we talk to, which is started where other commands would start it.
async fn engine_root(session: &Session) -> Outcome<PathBuf> {
    let about: About = session.client()?.json(Call::get("/info")).await?;
    // The same path may be another engine's here.
    if let Host::Tcp(address) = session.target()?.host
        && rustix::system::uname().nodename().to_bytes() != about.name.as_bytes()
    {
        return Err(Failure::new(format!(
            "the engine at {address} runs on another machine (\"{}\"): its store cannot be shared from here",
            about.name
        ))
        .hint("run this on that machine, or name a folder with --storage"));
    }
    Ok(about.docker_root_dir)
}

/// Serve a registry of one's own
#[derive(Debug, clap::Parser)]
pub(crate) struct Serve {
    /// Address to listen on
    #[arg(long, value_name = "host:port", default_value = "127.0.0.1:5000")]
    addr: String,
    /// Let reading need no account (with --htpasswd)
    #[arg(long)]
    anonymous_read: bool,
    /// Accounts, as "htpasswd -B" writes them
    #[arg(long, value_name = "file")]
    htpasswd: Option<PathBuf>,
    /// How long blobs that no manifest needs are kept after their last use
    #[arg(long, value_name = "duration", default_value = "24h")]
    gc_grace: GoDuration,
    /// How often what nobody needs is deleted; 0s never
    #[arg(long, value_name = "duration", default_value = "1h")]
    gc_interval: GoDuration,
    /// Log level (error, warn, info, debug, trace)
    #[arg(long, value_name = "string", default_value = "info")]
    log_level: String,
    /// Address to serve Prometheus metrics on
    #[arg(long, value_name = "host:port")]
    metrics: Option<String>,
    /// Refuse to delete tags, manifests and blobs
    #[arg(long)]
    no_delete: bool,
    /// Be a cache: fetch what is missing from another registry, anonymously
    #[arg(long, value_name = "url")]
    proxy: Option<String>,
    /// Bytes that blobs and uploads may take together
    #[arg(long, value_name = "size")]
    quota: Option<ByteSize>,
    /// Refuse every change
    #[arg(long)]
    read_only: bool,
    /// Folder of the registry's own, or "engine": beside the engine's store, sharing the blobs that both have
    #[arg(long, value_name = "folder|engine")]
    storage: Option<PathBuf>,
    /// Certificate in PEM form, followed by those that vouch for it
    #[arg(long, value_name = "file")]
    tls_cert: Option<PathBuf>,
    /// Key of the certificate
    #[arg(long, value_name = "file")]
    tls_key: Option<PathBuf>,
    /// Make a certificate, and say how clients trust it
    #[arg(long)]
    tls_self_signed: bool,
    /// Issuer of the tokens that are believed
    #[arg(long, value_name = "string")]
    token_issuer: Option<String>,
    /// Public keys of the issuer, a JSON Web Key Set
    #[arg(long, value_name = "file")]
    token_keys: Option<PathBuf>,
    /// Address where clients get tokens
    #[arg(long, value_name = "url")]
    token_realm: Option<String>,
    /// Name of this registry in tokens
    #[arg(long, value_name = "string")]
    token_service: Option<String>,
    /// How long an upload may rest before it is forgotten
    #[arg(long, value_name = "duration", default_value = "1h")]
    upload_timeout: GoDuration,
}

impl Verb for Serve {
    const NAMES: &'static [&'static str] = &["registry serve"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        crate::daemon::start_log(&self.log_level);
        let place = match self.storage.as_deref() {
            None => {
                return Err(Failure::usage("--storage is missing")
                    .hint("a folder of the registry's own: shipway registry serve --storage FOLDER")
                    .hint("beside the engine's images, without copies: shipway registry serve --storage engine"));
            }
            Some(word) if word == Path::new(ENGINE) => Place::Engine(engine_root(session).await?),
            Some(folder) => Place::Folder(folder.to_owned()),
        };
        // The command line has one thread; a registry wants one a core.
        let served = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("registry").build();
            let runtime = runtime.map_err(|error| Failure::new(format!("cannot start worker threads: {error}")))?;
            let outcome = runtime.block_on(self.serve(&place));
            runtime.shutdown_timeout(Duration::from_secs(2));
            outcome
        });
        served.await.unwrap_or_else(|error| Err(Failure::new(format!("the registry ended abnormally: {error}"))))
    }
}

impl Serve {
    async fn serve(self, place: &Place) -> Outcome {
        let stop = stop_signals()?;
        let (access, identity) = (self.access()?, self.identity()?);
        let storage = place.open()?;
        let folder = storage.folder().display().to_string();
        let settings = self.settings();
        let storage = Arc::new(storage) as Arc<dyn Storage>;
        let registry = match &self.proxy {
            None => Registry::new(storage, access, settings),
            Some(url) => {
                let upstream = Upstream::new(url, TransportConfig::default()).map_err(|error| {
                    Failure::new(format!("--proxy \"{url}\" cannot be used: {error}"))
                        .hint("write https://HOST[:PORT], or http:// where that is meant")
                })?;
                Registry::caching(storage, access, settings, upstream)
            }
        };
        let mut sockets = vec![Listening::bind(&self.addr, identity.as_ref()).await.map_err(wrong)?];
        let address = sockets[0].address().map_or_else(|| self.addr.clone(), |address| address.to_string());
        if let Some(metrics) = &self.metrics {
            sockets.push(Listening::bind_metrics(metrics).await.map_err(wrong)?);
        }
        if let Some(certificate) = identity.as_ref().and_then(|identity| identity.certificate_pem.as_deref()) {
            output::text(&trust(&address, certificate))?;
        }
        let scheme = if identity.is_some() { "https" } else { "http" };
        output::line(format!("registry at {scheme}://{address}, storage {folder}"))?;
        let collector = tokio::spawn(Arc::clone(&registry).collect_until(stop.clone()));
        serve(registry, sockets, stop).await;
        collector.await.map_err(wrong)
    }

    fn settings(&self) -> Settings {
        Settings {
            read_only: self.read_only,
            deletion: !self.no_delete,
            quota: self.quota.map(|quota| quota.0),
            upload_idle: self.upload_timeout.to_duration(),
            collect_every: self.gc_interval.to_duration(),
            collect_grace: self.gc_grace.to_duration(),
            ..Settings::default()
        }
    }

    fn access(&self) -> Outcome<Access> {
        let tokens = [&self.token_realm, &self.token_service, &self.token_issuer];
        let has_tokens = self.token_keys.is_some() || tokens.iter().any(|part| part.is_some());
        match (&self.htpasswd, has_tokens) {
            (Some(_), true) => Err(Failure::usage("--htpasswd and --token-... are two ways in; choose one")),
            (Some(file), false) => {
                let accounts = Accounts::read(file).map_err(wrong)?;
                if self.anonymous_read {
                    return Ok(Access::AnonymousRead(AnonymousRead::new(accounts).map_err(wrong)?));
                }
                Ok(Access::Accounts(accounts))
            }
            (None, _) if self.anonymous_read => Err(Failure::usage("--anonymous-read means nothing without --htpasswd")),
            (None, true) => match (&self.token_realm, &self.token_service, &self.token_issuer, &self.token_keys) {
                (Some(realm), Some(service), Some(issuer), Some(keys)) => {
                    let keys = Keys::read(keys).map_err(wrong)?;
                    let plain = |text: &str| text.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'"');
                    if !plain(realm) || !plain(service) {
                        return Err(Failure::usage("--token-realm and --token-service must be plain letters without spaces and quotes"));
                    }
                    Ok(Access::Tokens(Tokens { realm: realm.clone(), service: service.clone(), issuer: issuer.clone(), keys }))
                }
                _ => Err(Failure::usage("tokens need all of --token-realm, --token-service, --token-issuer and --token-keys")),
            },
            (None, false) => {
                let is_local = ["127.", "localhost:", "[::1]:"].iter().any(|prefix| self.addr.starts_with(prefix));
                if !is_local && !self.read_only {
                    tracing::warn!(address = self.addr, "whoever reaches this address may push and delete; see --htpasswd and --read-only");
                }
                Ok(Access::Open)
            }
        }
    }

    fn identity(&self) -> Outcome<Option<Identity>> {
        match (&self.tls_cert, &self.tls_key, self.tls_self_signed) {
            (None, None, false) => Ok(None),
            (Some(certificate), Some(key), false) => Identity::read(certificate, key).map(Some).map_err(wrong),
            (None, None, true) => {
                let host = self.addr.rsplit_once(':').map_or(self.addr.as_str(), |(host, _)| host).trim_matches(['[', ']']);
                let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
                if !host.is_empty() && !["0.0.0.0", "::"].contains(&host) && !names.iter().any(|name| name == host) {
                    names.push(host.to_owned());
                }
                let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
                names.extend(Some(own).filter(|own| own.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))));
                Identity::self_signed(names).map(Some).map_err(wrong)
            }
            (_, _, true) => Err(Failure::usage("--tls-self-signed makes certificate and key itself; leave --tls-cert and --tls-key away")),
            _ => Err(Failure::usage("--tls-cert and --tls-key go together")),
        }
    }
}

/// How a client comes to trust a certificate that nobody vouches for.
fn trust(address: &str, certificate: &str) -> String {
    format!(
        "{certificate}\nThis certificate was made for this run. Clients trust it when the lines above are in one of these files:\n  \
         docker, shipway   /etc/docker/certs.d/{address}/ca.crt\n  \
         podman, skopeo    /etc/containers/certs.d/{address}/ca.crt\n\n"
    )
}

fn wrong(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// Cancelled by SIGTERM or SIGINT.
fn stop_signals() -> Outcome<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}
