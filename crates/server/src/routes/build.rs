//! Builds: Docker's classic stream, and ours for contexts read in place. Both are renderings of one event log.
//!
//! What must stay true: until the first words are known a failure is an ordinary HTTP error; afterwards it travels inside the stream. A client that
//! leaves cancels its build within a second, and the build's task ends by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use shipway_engine::builds::{BuildFinished, BuildPruneOptions, BuildSource, BuildSpec};
use shipway_engine::values::{ProgressEvent, ProgressSink, VertexId};
use shipway_engine::{Error, Filters};
use shipway_model::{BuildId, ByteSize, Classified, ErrorKind};
use shipway_wire::build::{BuildQuery, CachePruned};
use shipway_wire::local_build::{LocalBuildFailure, LocalBuildLine, LocalBuildRequest, LocalBuildResult};
use shipway_wire::message::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::answer::{self, AnswerBody, JSON};
use crate::convert::build as convert;
use crate::convert::classic::Narrator;
use crate::convert::solve::Reporter;
use crate::convert::{credentials, filters_of};
use crate::error::{ApiError, ApiResult};
use crate::request::Request;
use crate::router::Api;
use crate::upload;

/// Output of steps that waits for a slow client at most; what is beyond is in the log on disk.
const WAITING_OUTPUT: usize = 32 << 20;

/// Who the client is to the registries of base images.
const CREDENTIALS: &str = "x-registry-config";

pub(crate) async fn classic(api: &Api, request: &mut Request) -> ApiResult {
    let query = BuildQuery::from_pairs(request.query.pairs())
        .map_err(|error| ApiError::invalid(format!("error reading {}: {}", error.name, error.reason)))?;
    let credentials = credentials::from_config_header(request.header(CREDENTIALS))?;
    let spec = BuildSpec { credentials, ..convert::classic(&query, BuildSource::Stream(upload::reader(request)))? };
    run(api, request, spec, Classic { narrator: Narrator::new(query.quiet, query.remove), build: None }).await
}

pub(crate) async fn local(api: &Api, request: &mut Request) -> ApiResult {
    let credentials = credentials::from_config_header(request.header(CREDENTIALS))?;
    let body: LocalBuildRequest = request.read_json().await?;
    run(api, request, BuildSpec { credentials, ..convert::local(body)? }, Local::default()).await
}

pub(crate) async fn prune(api: &Api, request: &Request) -> ApiResult {
    let query = &request.query;
    let keep = ["reserved-space", "keep-storage", "keep-bytes"].iter().find_map(|name| query.non_empty(name));
    let keep_bytes = keep
        .map(|text| {
            text.parse::<u64>()
                .ok()
                .or_else(|| text.parse::<ByteSize>().ok().map(|size| size.0))
                .ok_or_else(|| ApiError::invalid(format!("invalid size: {text:?}")))
        })
        .transpose()?;
    let filters: Filters = filters_of(query)?;
    let pruned = api.engine.prune_build_cache(BuildPruneOptions { all: query.flag("all"), filters, keep_bytes }).await?;
    Ok(answer::ok(&CachePruned { caches_deleted: (!pruned.ids.is_empty()).then_some(pruned.ids), space_reclaimed: pruned.bytes }))
}

/// A language in which a build is told.
trait Teller: Send + 'static {
    /// What to say about an event; empty when nothing.
    fn event(&mut self, event: ProgressEvent) -> Vec<u8>;
    /// The end of a build that worked.
    fn success(&self, finished: &BuildFinished) -> Vec<u8>;
    /// The end of one that did not.
    fn failure(&mut self, error: &Error) -> Vec<u8>;
    /// The failure when nothing was said yet.
    fn refusal(&self, error: Error) -> ApiError;
}

/// `POST /build`.
struct Classic {
    narrator: Narrator,
    build: Option<BuildId>,
}

impl Teller for Classic {
    fn event(&mut self, event: ProgressEvent) -> Vec<u8> {
        if let ProgressEvent::Begun { build } = event {
            self.build = Some(build);
        }
        self.narrator.tell(event).iter().flat_map(Message::to_line).collect()
    }

    fn success(&self, finished: &BuildFinished) -> Vec<u8> {
        self.narrator.success(finished).iter().flat_map(Message::to_line).collect()
    }

    fn failure(&mut self, error: &Error) -> Vec<u8> {
        let (text, code) = dockers_words(error);
        let mut lines: Vec<u8> = self.narrator.interrupted().iter().flat_map(Message::to_line).collect();
        let explained = match error {
            Error::Build(error) => self.narrator.explained(error),
            _ => Vec::new(),
        };
        lines.extend(explained.iter().flat_map(Message::to_line));
        // Advice that was just given with its reason is not repeated.
        let hint = error.hint().filter(|_| explained.is_empty()).or_else(|| self.build.map(whole_log));
        lines.extend(Message::failure(text, code, hint).to_line());
        lines
    }

    fn refusal(&self, error: Error) -> ApiError {
        let (text, _) = dockers_words(&error);
        // dockerd's line comes first, because clients match on it; the whole finding follows, and has the hint in it.
        let rendered = match &error {
            Error::Build(error) if !error.diagnostics().is_empty() => Some(error.render()),
            _ => None,
        };
        let refusal = ApiError::from(error);
        match rendered {
            Some(rendered) => ApiError { message: format!("{text}\n{}", rendered.trim_end()), hint: None, ..refusal },
            None => ApiError { message: text, ..refusal },
        }
    }
}

fn dockers_words(error: &Error) -> (String, Option<i32>) {
    match error {
        Error::Build(error) => error.docker_text(),
        other => (other.to_string(), None),
    }
}

/// Where the rest of the story is.
fn whole_log(build: BuildId) -> String {
    format!("the whole log: shipway build history logs {}", build.short())
}

/// `POST /shipway/build`.
#[derive(Default)]
struct Local {
    reporter: Reporter,
    build: Option<BuildId>,
    names: HashMap<VertexId, String>,
    /// Sorted by vertex, which is the order of the Dockerfile.
    explanations: BTreeMap<VertexId, String>,
}

impl Local {
    fn line(line: &LocalBuildLine) -> Vec<u8> {
        // A line of strings and numbers always has a JSON form.
        let mut text = serde_json::to_vec(line).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

impl Teller for Local {
    fn event(&mut self, event: ProgressEvent) -> Vec<u8> {
        match &event {
            ProgressEvent::Begun { build } => self.build = Some(*build),
            ProgressEvent::Vertex { id, name, .. } => drop(self.names.insert(*id, name.clone())),
            ProgressEvent::Explained { id, why } => {
                let name = self.names.get(id).map_or("a step", String::as_str);
                self.explanations.insert(*id, format!("{name}: {why}"));
            }
            _ => {}
        }
        self.reporter.tell(event).map(|status| Self::line(&LocalBuildLine::Progress(status))).unwrap_or_default()
    }

    fn success(&self, finished: &BuildFinished) -> Vec<u8> {
        Self::line(&LocalBuildLine::Result {
            result: LocalBuildResult {
                build: finished.id.to_string(),
                image: finished.image.to_string(),
                tags: finished.tags.iter().map(shipway_model::Reference::familiar).collect(),
                cached_steps: finished.cached_steps as u64,
                total_steps: finished.total_steps as u64,
                explanations: self.explanations.values().cloned().collect(),
            },
        })
    }

    fn failure(&mut self, error: &Error) -> Vec<u8> {
        let (rendered, exit_code) = match error {
            Error::Build(error) => (error.render(), error.exit_code()),
            _ => (String::new(), None),
        };
        Self::line(&LocalBuildLine::Failure {
            failure: LocalBuildFailure {
                build: self.build.map(|build| build.short()).unwrap_or_default(),
                message: error.to_string(),
                rendered,
                hint: error.hint(),
                exit_code: exit_code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1),
                ..LocalBuildFailure::default()
            },
        })
    }

    fn refusal(&self, error: Error) -> ApiError {
        ApiError::from(error)
    }
}

/// Runs a build on a task of its own and tells it.
async fn run<T: Teller>(api: &Api, request: &Request, spec: BuildSpec, mut teller: T) -> ApiResult {
    let cancel = CancellationToken::new();
    // Dropped with the body or with this future: either way the client has left.
    let leaving = cancel.clone().drop_guard();
    let (sink, mut events) = mailbox();
    let engine = api.engine.clone();
    let mut running = tokio::spawn(async move { engine.build(spec, sink, cancel).await });

    let mut first = Vec::new();
    let early = loop {
        tokio::select! {
            biased;
            Some(event) = events.receive() => {
                first.extend(teller.event(event));
                if !first.is_empty() {
                    break None;
                }
            }
            outcome = &mut running => break Some(flatten(outcome)),
            () = request.client.gone() => return Err(ApiError::new(ErrorKind::Cancelled, "the client went away")),
        }
    };
    if early.is_some() {
        events.rest(|event| first.extend(teller.event(event)));
    }
    let early = match early {
        Some(Err(error)) if first.is_empty() => return Err(teller.refusal(error)),
        early => early,
    };
    let body = AnswerBody::produced(&request.client, move |sink| async move {
        let _leaving = leaving;
        let mut piece = first;
        let outcome = match early {
            Some(outcome) => outcome,
            None => loop {
                if !piece.is_empty() && sink.send(std::mem::take(&mut piece)).await.is_err() {
                    return;
                }
                tokio::select! {
                    biased;
                    Some(event) = events.receive() => {
                        piece.extend(teller.event(event));
                        // What came meanwhile goes along in one piece.
                        events.rest(|event| piece.extend(teller.event(event)));
                    }
                    outcome = &mut running => break flatten(outcome),
                }
            },
        };
        events.rest(|event| piece.extend(teller.event(event)));
        piece.extend(match &outcome {
            Ok(finished) => teller.success(finished),
            Err(error) => teller.failure(error),
        });
        // The build is over either way; a client that left needs no last words.
        let _ = sink.send(piece).await;
    });
    Ok(answer::typed(StatusCode::OK, JSON, body))
}

fn flatten(outcome: Result<shipway_engine::Result<BuildFinished>, tokio::task::JoinError>) -> shipway_engine::Result<BuildFinished> {
    outcome.unwrap_or_else(|error| Err(Error::internal(format!("the build ended abnormally: {error}"))))
}

/// Events on their way from the build, which must not wait, to a client, which may be slow.
struct Mailbox {
    events: mpsc::UnboundedReceiver<ProgressEvent>,
    waiting: Arc<AtomicUsize>,
}

/// A sink that never blocks; output beyond [`WAITING_OUTPUT`] is left out.
fn mailbox() -> (ProgressSink, Mailbox) {
    let (sender, events) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&waiting);
    let sink: ProgressSink = Arc::new(move |event| {
        if let ProgressEvent::Log { bytes, .. } = &event {
            if counter.load(Ordering::Relaxed) > WAITING_OUTPUT {
                return;
            }
            counter.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        // Nobody listens any more: the build is being cancelled.
        let _ = sender.send(event);
    });
    (sink, Mailbox { events, waiting })
}

impl Mailbox {
    async fn receive(&mut self) -> Option<ProgressEvent> {
        let event = self.events.recv().await;
        self.account(event.as_ref());
        event
    }

    /// Everything that is there already.
    fn rest(&mut self, mut take: impl FnMut(ProgressEvent)) {
        while let Ok(event) = self.events.try_recv() {
            self.account(Some(&event));
            take(event);
        }
    }

    fn account(&self, event: Option<&ProgressEvent>) {
        if let Some(ProgressEvent::Log { bytes, .. }) = event {
            self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
        }
    }
}
