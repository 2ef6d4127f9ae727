//! A server on a private socket with an application of a few paths, and clients that speak raw bytes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::StatusCode;
use shipway_server::answer::{self, Answer, AnswerBody};
use shipway_server::connection::Application;
use shipway_server::hijack;
use shipway_server::request::Request;
use shipway_server::{ListenAddress, ListenOptions, Listener, ServeOptions, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A running server.
pub(crate) struct Harness {
    pub(crate) path: PathBuf,
    pub(crate) application: Arc<Paths>,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

/// The application.
#[derive(Default)]
pub(crate) struct Paths {
    /// Requests that were answered.
    pub(crate) answered: AtomicUsize,
    /// Clients that left while `/wait` waited for them.
    pub(crate) left: Arc<AtomicUsize>,
}

impl Application for Paths {
    fn answer(self: Arc<Self>, mut request: Request) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let text = |text: String| answer::typed(StatusCode::OK, "text/plain", AnswerBody::full(text));
            let answer = match request.path.as_str() {
                "/length" => match request.read_all(1 << 20).await {
                    Ok(body) => text(body.len().to_string()),
                    Err(error) => error.into_answer(),
                },
                "/panic" => panic!("on purpose"),
                "/wait" => {
                    request.client.gone().await;
                    self.left.fetch_add(1, Ordering::SeqCst);
                    answer::status(StatusCode::OK)
                }
                "/stream" => {
                    let left = Arc::clone(&self.left);
                    let body = AnswerBody::produced(&request.client, |sink| async move {
                        let _told = Told(left);
                        let _ = sink.send("first\n").await;
                        std::future::pending::<()>().await;
                    });
                    answer::typed(StatusCode::OK, "text/plain", body)
                }
                "/slow" => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    text("slow".to_owned())
                }
                "/echo" => {
                    let _ = request.read_all(1 << 20).await;
                    let head = hijack::head(&request, hijack::stream_type(false, request.version));
                    let outcome = request
                        .take_over(move |connection| {
                            Box::pin(async move {
                                let (mut incoming, mut outgoing) = connection.split();
                                let _ = outgoing.write(head.as_bytes()).await;
                                while let Ok(Some(bytes)) = incoming.read().await {
                                    let _ = outgoing.write(&bytes).await;
                                }
                                let _ = outgoing.write(b"<end>").await;
                                outgoing.finish();
                            })
                        })
                        .await;
                    outcome.unwrap_or_else(shipway_server::error::ApiError::into_answer)
                }
                path => text(format!("you asked for {path}")),
            };
            self.answered.fetch_add(1, Ordering::SeqCst);
            answer
        })
    }
}

/// Counts when it is dropped.
struct Told(Arc<AtomicUsize>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Harness {
    pub(crate) fn start() -> Self {
        Self::start_with(ServeOptions::default())
    }

    pub(crate) fn start_with(options: ServeOptions) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = folder.path().join("d.sock");
        let listener = Listener::bind(&ListenAddress::Unix(path.clone()), &ListenOptions::default()).unwrap();
        let stop = CancellationToken::new();
        let application = Arc::new(Paths::default());
        let served = tokio::spawn(serve(vec![listener], Arc::clone(&application) as Arc<dyn Application>, options, stop.clone()));
        Self { path, application, stop, served, _folder: folder }
    }

    pub(crate) async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// Sends `bytes`, finishes sending, and reads everything that comes.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut client = self.connect().await;
        // A server that refuses may close before it has read all.
        let _ = client.write_all(bytes).await;
        let _ = client.shutdown().await;
        read_all(&mut client).await
    }

    /// Waits until `counter` of the application says `expected`.
    pub(crate) async fn until(&self, counter: &AtomicUsize, expected: usize) {
        timeout(PATIENCE, async {
            while counter.load(Ordering::SeqCst) != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }
}

/// Reads to the end, or to the reset that ends a refused connection.
pub(crate) async fn read_all(client: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, client.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `end` has come.
pub(crate) async fn read_until(client: &mut UnixStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        if timeout(PATIENCE, client.read(&mut byte)).await.unwrap().unwrap() == 0 {
            break;
        }
        text.push(char::from(byte[0]));
    }
    text
}
