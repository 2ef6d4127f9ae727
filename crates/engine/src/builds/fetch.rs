//! Downloads for ADD: the registry crate's transport behind the build's port.
//!
//! What must stay true: no address is printed with its user, password or query (S-406), so messages name the redacted form; one transport serves all builds
//! of this engine, so that connections and certificates are shared.

use std::path::Path;

use futures_util::future::BoxFuture;
use shipway_build::ports::{FetchError, Fetched, Fetcher};
use shipway_model::Classified;
use shipway_registry::{Proxies, Transport, TransportConfig, Url};

use crate::config::EngineConfig;

/// Downloads over http and https, through the engine's proxies.
pub(super) struct UrlFetcher {
    /// Settings that cannot be used are told to those who download, not to everybody who builds.
    transport: Result<Transport, shipway_registry::Error>,
}

impl UrlFetcher {
    pub(super) fn new(config: &EngineConfig) -> Self {
        let proxy = |name: &str| config.proxies.get(name).or_else(|| config.proxies.get(&name.to_ascii_lowercase())).cloned();
        let proxies = Proxies { http: proxy("HTTP_PROXY"), https: proxy("HTTPS_PROXY"), no_proxy: proxy("NO_PROXY") };
        Self { transport: Transport::new(TransportConfig { proxies, ..TransportConfig::default() }) }
    }
}

impl Fetcher for UrlFetcher {
    fn fetch<'a>(&'a self, url: &'a str, into: &'a Path, limit: u64) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let url = Url::parse(url).map_err(|error| failed("the address given", &error, limit))?;
            let transport = self.transport.as_ref().map_err(|error| failed(&url.to_string(), error, limit))?;
            match shipway_registry::fetch(transport, &url, into, limit).await {
                Ok(file) => Ok(Fetched {
                    last_modified: file.last_modified,
                    size: file.size,
                    digest: file.digest,
                    file_name: file.file_name,
                    shown: url.to_string(),
                }),
                Err(error) => Err(failed(&url.to_string(), &error, limit)),
            }
        })
    }
}

/// The port's word for a failure.
fn failed(url: &str, error: &shipway_registry::Error, limit: u64) -> FetchError {
    let url = url.to_owned();
    match error {
        shipway_registry::Error::TooLarge { .. } => FetchError::TooLarge { url, limit },
        shipway_registry::Error::Unsupported { .. } => FetchError::Unsupported { message: error.to_string() },
        _ => FetchError::Failed { url, message: error.to_string(), kind: error.kind(), hint: hint(error) },
    }
}

/// What to do about it. Where a registry would be set up or trusted, a server of files is not.
fn hint(error: &shipway_registry::Error) -> Option<String> {
    let words = match error {
        shipway_registry::Error::Connect { address: Some(address), .. } if address.is_loopback() => {
            "nothing listens there; the engine downloads, so this is the engine's own machine, not the build's network"
        }
        shipway_registry::Error::Connect { .. } => "the engine downloads, so it is the engine's machine that must reach this address",
        shipway_registry::Error::PlainHttp { .. } => "the server does not speak TLS; if that is meant so, write http:// in the address",
        _ => return error.hint(),
    };
    Some(words.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::path::PathBuf;

    use shipway_build::ports::{FetchError, Fetcher};
    use shipway_model::{Classified as _, Digest, ErrorKind};

    use super::UrlFetcher;
    use crate::config::EngineConfig;

    fn fetcher() -> UrlFetcher {
        UrlFetcher::new(&EngineConfig::new(PathBuf::new(), PathBuf::new()))
    }

    /// A server that gives one connection one answer.
    fn serve(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        };
        std::thread::Builder::new().name("server".to_owned()).spawn(serve).unwrap();
        port
    }

    #[tokio::test]
    async fn a_file_comes_with_what_the_server_says_about_it() {
        let port = serve(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nabc",
        );
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("file");
        let file = fetcher().fetch(&format!("http://127.0.0.1:{port}/x"), &into, 3).await.unwrap();
        assert_eq!((file.size, file.digest, file.file_name.as_deref()), (3, Digest::sha256_of(b"abc"), Some("a.txt")));
        assert_eq!(file.last_modified.unwrap().unix_seconds(), 1_795_255_200);
        assert_eq!(std::fs::read(into).unwrap(), b"abc");
    }

    #[tokio::test]
    async fn a_server_of_files_is_not_taken_for_a_registry() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let error = fetcher().fetch(&format!("http://127.0.0.1:{port}/x"), &folder.path().join("file"), 3).await.unwrap_err();
        let hint = error.hint().unwrap();
        assert!(hint.contains("the engine's own machine") && !hint.contains("registry"), "{error}: {hint}");
        let port = serve("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let error = fetcher().fetch(&format!("https://127.0.0.1:{port}/x"), &folder.path().join("other"), 3).await.unwrap_err();
        let hint = error.hint().unwrap();
        assert!(hint.contains("write http://") && !hint.contains("registry"), "{error}: {hint}");
    }

    #[tokio::test]
    async fn failures_name_the_address_without_its_secrets() {
        let port = serve("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        let folder = tempfile::tempdir().unwrap();
        let url = format!("http://user:T0KEN@127.0.0.1:{port}/x?key=T0KEN");
        let error = fetcher().fetch(&url, &folder.path().join("file"), 3).await.unwrap_err();
        let expected = format!("cannot download \"http://[secret]@127.0.0.1:{port}/x?[secret]\": the server answers 404 Not Found");
        assert_eq!((error.to_string(), error.kind()), (expected, ErrorKind::NotFound));
        let error = fetcher().fetch("ftp://user:T0KEN@host/x", &folder.path().join("other"), 3).await.unwrap_err();
        assert!(
            matches!(&error, FetchError::Unsupported { message } if message == "downloading by \"ftp\" is not supported yet"),
            "{error:?}"
        );
    }
}
