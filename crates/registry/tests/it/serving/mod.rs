//! A registry of ours on loopback, and a client that sends exactly what a test says.

mod abuse;
mod access;
mod caching;
mod collection;
mod engine;
mod recovery;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use shipway_model::Digest;
use shipway_registry::server::{Access, FolderStorage, Listening, Registry, Settings, serve};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) port: u16,
    pub(crate) registry: Arc<Registry>,
    pub(crate) folder: TempDir,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What collects at once everything that nobody needs.
pub(crate) fn eager() -> Settings {
    Settings { collect_grace: Duration::ZERO, upload_idle: Duration::ZERO, ..Settings::default() }
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default(), Access::Open).await
    }

    pub(crate) async fn with(settings: Settings, access: Access) -> Self {
        Self::over(tempfile::tempdir_in("/dev/shm").unwrap(), settings, access).await
    }

    /// Serves what is in `folder`.
    pub(crate) async fn over(folder: TempDir, settings: Settings, access: Access) -> Self {
        let storage = FolderStorage::open(&folder.path().join("registry")).unwrap();
        Self::serving(folder, Registry::new(Arc::new(storage), access, settings)).await
    }

    /// Serves `registry`, whose storage is in `folder`.
    pub(crate) async fn serving(folder: TempDir, registry: Arc<Registry>) -> Self {
        let socket = Listening::bind("127.0.0.1:0", None).await.unwrap();
        let port = socket.address().unwrap().port();
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(serve(Arc::clone(&registry), vec![socket], stop.clone())));
        Self { port, registry, folder, stop, task }
    }

    /// Ends this one and serves its storage anew.
    pub(crate) async fn reopened(self, settings: Settings) -> Self {
        let Self { folder, registry, stop, task, .. } = self;
        drop(registry);
        stop.cancel();
        task.await.unwrap();
        Self::over(folder, settings, Access::Open).await
    }

    /// Sends one request on a connection of its own.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut request = Request::builder().method(method).uri(path).header("host", "registry.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        Answer { status: head.status.as_u16(), headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// Begins an upload and gives its location.
    pub(crate) async fn begin(&self, repository: &str) -> String {
        let answer = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], "").await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.header("location").to_owned()
    }

    /// Puts a blob into a repository.
    pub(crate) async fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::sha256_of(content);
        let path = format!("{}?digest={digest}", self.begin(repository).await);
        let answer = self.send("PUT", &path, &[], content.to_vec()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        digest
    }

    /// Puts a manifest of one layer, made of `seed`, into a repository; gives its bytes.
    pub(crate) async fn push_image(&self, repository: &str, tag: &str, seed: &str) -> (Digest, Vec<u8>) {
        let manifest = self.image(repository, seed, json!({})).await;
        let answer = self.push_manifest(repository, tag, OCI_MANIFEST, &manifest).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        (Digest::sha256_of(&manifest), manifest)
    }

    /// A manifest whose blobs are in `repository`, with more fields.
    pub(crate) async fn image(&self, repository: &str, seed: &str, more: Value) -> Vec<u8> {
        let config = self.push_blob(repository, format!("{{\"seed\":\"{seed}\"}}").as_bytes()).await;
        let layer = self.push_blob(repository, seed.as_bytes()).await;
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": { "mediaType": OCI_CONFIG, "digest": config, "size": seed.len() + 11 },
            "layers": [{ "mediaType": OCI_LAYER, "digest": layer, "size": seed.len() }],
        });
        for (name, value) in more.as_object().unwrap() {
            manifest[name] = value.clone();
        }
        manifest.to_string().into_bytes()
    }

    pub(crate) async fn push_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) -> Answer {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.send("PUT", &path, &[("content-type", media_type)], bytes.to_vec()).await
    }
}

impl Answer {
    /// A header's value, empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and first error code: how a refusal is compared.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned())
    }
}

pub(crate) fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
