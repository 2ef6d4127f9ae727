//! From a method and a path to a route. Written by hand, because names of images have slashes in them.
//!
//! What must stay true: paths are decoded once, before they are split; nothing here looks into the file system; an unknown path is `page not found`
//! with 404, which clients tell from a missing thing.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderValue, SERVER};
use http::{Method, StatusCode};
use shipway_engine::Engine;
use shipway_model::{ErrorKind, Secret};
use shipway_wire::ApiVersion;

use crate::answer::Answer;
use crate::compat;
use crate::connection::Application;
use crate::error::{ApiError, ApiResult};
use crate::request::Request;
use crate::routes::{
    archive, attach, build, containers, doctor, events, exchange, exec, images, networks, own, portable, registries, stats, system, volumes,
};
use crate::socket::Peer;

/// The API over one engine.
pub struct Api {
    pub(crate) engine: Engine,
    options: ApiOptions,
    server: HeaderValue,
}

/// How the API behaves.
#[derive(Debug, Clone, Default)]
pub struct ApiOptions {
    /// What requests over TCP must carry as a bearer token.
    pub tcp_token: Option<Secret>,
}

impl Api {
    /// The API of `engine`.
    pub fn new(engine: Engine, options: ApiOptions) -> Arc<Self> {
        let server = format!("Shipway/{} (linux)", engine.config().version);
        let server = HeaderValue::from_str(&server).unwrap_or_else(|_| HeaderValue::from_static("Shipway (linux)"));
        Arc::new(Self { engine, options, server })
    }

    async fn respond(&self, request: &mut Request) -> ApiResult {
        self.authorize(request)?;
        let path = strip_version(request)?;
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let read = matches!(request.method, Method::GET | Method::HEAD);
        tracing::debug!(method = %request.method, path, "request");
        route(self, request, &segments, read).await
    }

    /// Over TCP the token stands for the permissions of the socket file.
    fn authorize(&self, request: &Request) -> Result<(), ApiError> {
        let Some(token) = &self.options.tcp_token else { return Ok(()) };
        if request.client.peer() != Peer::Remote {
            return Ok(());
        }
        let given = request.header(AUTHORIZATION.as_str()).strip_prefix("Bearer ").unwrap_or("");
        if same(given.as_bytes(), token.expose().as_bytes()) {
            return Ok(());
        }
        Err(ApiError::new(ErrorKind::Unauthenticated, "this address needs the token of the configuration file"))
    }

    /// The headers that every answer of dockerd has.
    fn decorate(&self, answer: &mut Answer) {
        let headers = answer.headers_mut();
        headers.insert("Api-Version", HeaderValue::from_static(NEWEST));
        headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
        headers.insert("Ostype", HeaderValue::from_static("linux"));
        headers.insert(SERVER, self.server.clone());
    }
}

/// `ApiVersion::MAX` as a header; a test keeps the two together.
const NEWEST: &str = "1.51";

impl Application for Api {
    fn answer(self: Arc<Self>, mut request: Request) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let serving: Arc<dyn std::any::Any + Send + Sync> = Arc::new(self.engine.serving());
            request.serving = Some(Arc::clone(&serving));
            let mut answer = match self.respond(&mut request).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::debug!(status = %error.status, message = error.message, "refused");
                    request.drain().await;
                    error.into_answer()
                }
            };
            self.decorate(&mut answer);
            answer.map(|body| body.keep(serving))
        })
    }
}

/// Compares without telling by the time it takes how much was right.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

/// Takes `/v1.NN` off the path and notes the version.
fn strip_version(request: &mut Request) -> Result<String, ApiError> {
    let Some(rest) = request.path.strip_prefix("/v") else { return Ok(request.path.clone()) };
    let (text, rest) = rest.split_once('/').unwrap_or((rest, ""));
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(request.path.clone());
    }
    let version: ApiVersion = text.parse().map_err(|_| compat::page_not_found())?;
    compat::check_version(version)?;
    request.version = version;
    Ok(format!("/{rest}"))
}

/// The table of routes.
#[allow(clippy::too_many_lines)] // A table: one line a route.
async fn route(api: &Api, request: &mut Request, path: &[&str], read: bool) -> ApiResult {
    let post = request.method == Method::POST;
    let delete = request.method == Method::DELETE;
    let put = request.method == Method::PUT;
    if request.method == Method::OPTIONS {
        return Ok(crate::answer::status(StatusCode::OK));
    }
    match path {
        // ---- the daemon
        ["_ping"] if read => Ok(system::ping(request)),
        ["version"] if read => Ok(system::version(api)),
        ["info"] if read => Ok(system::info(api, request)),
        ["events"] if read => events::events(api, request).await,
        ["system", "df"] if read => system::disk_usage(api, request).await,
        ["auth"] if post => registries::login(api, request).await,

        // ---- containers
        ["containers", "json"] if read => containers::list(api, request).await,
        ["containers", "create"] if post => containers::create(api, request).await,
        ["containers", "prune"] if post => containers::prune(api, request).await,
        ["containers", id, "json"] if read => containers::inspect(api, request, id).await,
        ["containers", id, "top"] if read => containers::top(api, request, id).await,
        ["containers", id, "logs"] if read => attach::logs(api, request, id).await,
        ["containers", id, "start"] if post => containers::start(api, request, id).await,
        ["containers", id, "stop"] if post => containers::stop(api, request, id).await,
        ["containers", id, "restart"] if post => containers::restart(api, request, id).await,
        ["containers", id, "kill"] if post => containers::kill(api, request, id).await,
        ["containers", id, "wait"] if post => containers::wait(api, request, id).await,
        ["containers", id, "rename"] if post => containers::rename(api, request, id).await,
        ["containers", id, "resize"] if post => containers::resize(api, request, id).await,
        ["containers", id, "attach"] if post => attach::attach(api, request, id).await,
        ["containers", id, "exec"] if post => exec::create(api, request, id).await,
        ["containers", id] if delete => containers::remove(api, request, id).await,
        // A link is removed as a container is: by the names of its two ends.
        ["containers", name @ ..] if delete && request.query.flag("link") => containers::remove(api, request, &name.join("/")).await,
        ["containers", _, "attach", "ws"] if read => Err(ApiError::not_supported_yet("attaching over a websocket")),
        ["containers", id, "changes"] if read => archive::changes(api, id).await,
        ["containers", id, "export"] if read => archive::export(api, request, id).await,
        ["containers", id, "archive"] if read || put => archive::archive(api, request, id).await,
        ["containers", id, "stats"] if read => stats::stats(api, request, id).await,
        ["containers", id, "update"] if post => containers::update(api, request, id).await,
        ["containers", id, "pause"] if post => containers::pause(api, id).await,
        ["containers", id, "unpause"] if post => containers::unpause(api, id).await,
        ["commit"] if post => archive::commit(api, request).await,

        // ---- exec
        ["exec", id, "start"] if post => exec::start(api, request, id).await,
        ["exec", id, "resize"] if post => exec::resize(api, request, id).await,
        ["exec", id, "json"] if read => exec::inspect(api, id),

        // ---- images; what stands between may have slashes
        ["images", "json"] if read => images::list(api, request),
        ["images", "search"] if read => registries::search(api, request).await,
        ["images", "get"] if read => portable::save(api, request, None).await,
        ["images", "load"] if post => portable::load(api, request).await,
        ["images", "create"] if post => portable::create(api, request).await,
        ["images", "prune"] if post => images::prune(api, request).await,
        ["images", name @ .., "json"] if read && !name.is_empty() => images::inspect(api, request, &name.join("/")),
        ["images", name @ .., "history"] if read && !name.is_empty() => images::history(api, request, &name.join("/")),
        ["images", name @ .., "get"] if read && !name.is_empty() => portable::save(api, request, Some(name.join("/"))).await,
        ["images", name @ .., "tag"] if post && !name.is_empty() => images::tag(api, request, &name.join("/")).await,
        ["images", name @ .., "push"] if post && !name.is_empty() => registries::push(api, request, &name.join("/")).await,
        ["images", name @ ..] if delete && !name.is_empty() => images::remove(api, request, &name.join("/")).await,
        ["distribution", name @ .., "json"] if read && !name.is_empty() => registries::distribution(api, request, &name.join("/")).await,

        // ---- builds
        ["build"] if post => build::classic(api, request).await,
        ["build", "prune"] if post => build::prune(api, request).await,
        ["build", "cancel"] if post => {
            Err(ApiError::not_supported_yet("cancelling a build by its id").with_hint("a build ends when its client disconnects"))
        }
        ["session" | "grpc"] if post => {
            Err(ApiError::not_supported_yet("a BuildKit session").with_hint("set DOCKER_BUILDKIT=0, or use `shipway build`"))
        }

        // ---- networks and volumes
        ["networks"] if read => networks::list(api, request),
        ["networks", "prune"] if post => networks::prune(api, request).await,
        ["networks", "create"] if post => networks::create(api, request).await,
        ["networks", id] if read => networks::inspect(api, request, id),
        ["networks", id, "connect"] if post => networks::connect(api, request, id).await,
        ["networks", id, "disconnect"] if post => networks::disconnect(api, request, id).await,
        ["networks", id] if delete => networks::remove(api, id).await,
        ["volumes"] if read => volumes::list(api, request),
        ["volumes", "create"] if post => volumes::create(api, request).await,
        ["volumes", "prune"] if post => volumes::prune(api, request).await,
        ["volumes", name] if read => volumes::inspect(api, name),
        ["volumes", name] if delete => volumes::remove(api, request, name).await,

        // ---- what we are not
        ["plugins"] if read => Ok(crate::answer::ok(&[(); 0])),
        ["plugins", ..] => Err(ApiError::not_supported_yet("a plugin")),
        ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..] => Err(compat::no_swarm(path)),

        // ---- ours
        ["shipway", "build"] if post => build::local(api, request).await,
        ["shipway", "build", "history"] if read => own::build_history(api),
        ["shipway", "build", "history", id, "logs"] if read => own::build_logs(api, id),
        ["shipway", "volumes", name, "export"] if read => volumes::export(api, request, name).await,
        ["shipway", "volumes", name, "import"] if post => volumes::import(api, request, name).await,
        ["shipway", "volumes", name, "clone"] if post => volumes::clone(api, request, name).await,
        ["shipway", "images", "send"] if post => exchange::send(api, request).await,
        ["shipway", "images", "receive"] if post => exchange::receive(api, request).await,
        ["shipway", "referrers", name @ ..] if read && !name.is_empty() => registries::referrers(api, request, &name.join("/")).await,
        ["shipway", "networks", "doctor"] if read => doctor::diagnose(api).await,
        ["shipway", "manifests", name @ ..] if read && !name.is_empty() => registries::manifest(api, request, &name.join("/")).await,
        ["shipway", "manifests", name @ ..] if post && !name.is_empty() => registries::push_list(api, request, &name.join("/")).await,
        ["shipway", "fsck"] if post => own::fsck(api, request).await,
        _ => Err(compat::page_not_found()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_version_is_the_newest() {
        assert_eq!(NEWEST, ApiVersion::MAX.to_string());
    }

    #[test]
    fn tokens_compare_whole() {
        assert!(same(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret"] {
            assert!(!same(wrong, b"secret"));
        }
    }
}
