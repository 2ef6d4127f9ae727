//! Images over registries: pull, push, and what a registry says of a name.
//!
//! What must stay true: a failure before the first message has a status of its own; after it, it travels inside the stream.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::StatusCode;
use shipway_engine::images::{PullMessage, PullSpec, PushMessage, PushSpec, SearchSpec};
use shipway_engine::values::LayerCompression;
use shipway_model::{Classified as _, Digest, ErrorKind, Platform, Reference};
use shipway_wire::images::{DistributionInspect, DistributionPlatform, OciDescriptor};
use shipway_wire::message::Message;
use shipway_wire::registries::{ListPushed, LoggedIn, PushList, RawManifest, ReferrerItem, SearchHit};
use tokio::sync::mpsc;

use crate::answer::{self, AnswerBody, JSON};
use crate::convert::{credentials, filters_of, transfer};
use crate::error::{ApiError, ApiResult};
use crate::request::{JSON_LIMIT, Request};
use crate::router::Api;

/// Hits of a search that says no number.
const DEFAULT_HITS: u32 = 25;

/// `POST /images/create?fromImage=…`
pub(crate) async fn pull(api: &Api, request: &Request) -> ApiResult {
    let query = &request.query;
    let (name, tag) = (query.text("fromImage"), query.text("tag"));
    let parsed = Reference::parse(name)?;
    // A client that names neither wants every tag; one that means `latest` says so.
    let all_tags = tag.is_empty() && parsed.tag().is_none() && parsed.digest().is_none();
    let reference = match tag {
        "" => parsed,
        // What already names a digest keeps it.
        _ if parsed.digest().is_some() => parsed,
        digest if digest.contains(':') => {
            parsed.without_tag_and_digest().with_digest(digest.parse::<Digest>().map_err(|error| ApiError::invalid(error.to_string()))?)
        }
        tag => parsed.without_tag_and_digest().with_tag(tag)?,
    };
    let platform = query.non_empty("platform").map(str::parse::<Platform>).transpose()?;
    let credentials = credentials::from_header(request.header("x-registry-auth"))?;
    let spec = PullSpec { reference, all_tags, platform, credentials, referrers: query.flag("referrers") };
    let engine = api.engine.clone();
    stream(request, move |lines| {
        let sink = Arc::new(move |message: PullMessage| drop(lines.send(transfer::pulling(&message).to_line())));
        Box::pin(async move { engine.pull_image(spec, sink).await.map(drop) })
    })
    .await
}

/// `POST /images/{name}/push`
pub(crate) async fn push(api: &Api, request: &Request, name: &str) -> ApiResult {
    let query = &request.query;
    let parsed = Reference::parse(name)?;
    if parsed.digest().is_some() {
        return Err(ApiError::invalid("cannot push a digest reference"));
    }
    let reference = match query.text("tag") {
        "" => parsed,
        tag => parsed.without_tag_and_digest().with_tag(tag)?,
    };
    let compression = match query.text("compression") {
        "" => LayerCompression::AsItIs,
        "gzip" => LayerCompression::Gzip,
        "zstd" => LayerCompression::Zstd,
        other => return Err(ApiError::invalid(format!("unknown compression \"{other}\": use gzip or zstd"))),
    };
    let credentials = credentials::from_header(request.header("x-registry-auth"))?;
    let platform = super::images::asked_platform(query, "platform")?;
    let referrers = !query.has("referrers") || query.flag("referrers");
    let spec = PushSpec { all_tags: reference.tag().is_none(), reference, compression, platform, credentials, referrers };
    let engine = api.engine.clone();
    stream(request, move |lines| {
        let sink = Arc::new(move |message: PushMessage| {
            transfer::pushing(&message).iter().for_each(|message| drop(lines.send(message.to_line())));
        });
        Box::pin(async move { engine.push_image(spec, sink).await })
    })
    .await
}

/// `GET /distribution/{name}/json`
pub(crate) async fn distribution(api: &Api, request: &Request, name: &str) -> ApiResult {
    let reference = Reference::parse(name)?;
    let credentials = credentials::from_header(request.header("x-registry-auth"))?;
    let found = api.engine.distribution(&reference, credentials).await?;
    let descriptor = OciDescriptor {
        media_type: found.descriptor.media_type.to_string(),
        digest: found.descriptor.digest.to_string(),
        size: found.descriptor.size,
    };
    let platforms = found.platforms.into_iter().map(|platform| DistributionPlatform {
        architecture: platform.architecture,
        os: platform.os,
        os_version: platform.os_version,
        os_features: platform.os_features,
        variant: platform.variant,
    });
    Ok(answer::ok(&DistributionInspect { descriptor, platforms: platforms.collect() }))
}

/// `GET /shipway/referrers/{name}`
pub(crate) async fn referrers(api: &Api, request: &Request, name: &str) -> ApiResult {
    let reference = Reference::parse(name)?;
    let credentials = credentials::from_header(request.header("x-registry-auth"))?;
    let found = api.engine.referrers(&reference, credentials).await?;
    let items: Vec<ReferrerItem> = found
        .listed
        .iter()
        .map(|listed| crate::convert::image::referrer(&listed.descriptor, &found.subject, listed.tag.as_deref(), listed.held))
        .collect();
    Ok(answer::ok(&items))
}

/// `POST /auth`
pub(crate) async fn login(api: &Api, request: &mut Request) -> ApiResult {
    let body = request.read_all(JSON_LIMIT).await?;
    let (server, credentials) = credentials::from_body(&body)?;
    let credentials = credentials.ok_or_else(|| ApiError::invalid("neither a user name nor a token was given"))?;
    let identity_token = api.engine.login(&server, credentials).await?;
    let identity_token = identity_token.as_ref().map_or("", |token| token.expose()).to_owned();
    Ok(answer::ok(&LoggedIn { status: "Login Succeeded".to_owned(), identity_token }))
}

/// `GET /images/search`
pub(crate) async fn search(api: &Api, request: &Request) -> ApiResult {
    let query = &request.query;
    let limit = match query.text("limit") {
        "" | "0" => DEFAULT_HITS,
        text => text.parse().map_err(|_| ApiError::invalid(format!("invalid limit \"{text}\"")))?,
    };
    let spec = SearchSpec {
        term: query.text("term").to_owned(),
        limit,
        filters: filters_of(query)?,
        credentials: credentials::from_header(request.header("x-registry-auth"))?,
    };
    let hits = api.engine.search(spec).await?;
    let shown = hits.into_iter().map(|hit| SearchHit {
        star_count: hit.star_count,
        is_official: hit.is_official,
        name: hit.name,
        is_automated: hit.is_automated,
        description: hit.description,
    });
    Ok(answer::ok(&shown.collect::<Vec<_>>()))
}

/// `GET /shipway/manifests/{name}`: the manifest as the registry has it.
pub(crate) async fn manifest(api: &Api, request: &Request, name: &str) -> ApiResult {
    let reference = Reference::parse(name)?;
    let credentials = credentials::from_header(request.header("x-registry-auth"))?;
    let found = api.engine.raw_manifest(&reference, credentials).await?;
    let raw = String::from_utf8(found.bytes.to_vec()).map_err(|_| ApiError::new(ErrorKind::Corrupt, "the manifest is no text"))?;
    let descriptor = OciDescriptor {
        media_type: found.descriptor.media_type.to_string(),
        digest: found.descriptor.digest.to_string(),
        size: found.descriptor.size,
    };
    Ok(answer::ok(&RawManifest { descriptor, raw }))
}

/// `POST /shipway/manifests/{name}`: writes a manifest list.
pub(crate) async fn push_list(api: &Api, request: &mut Request, name: &str) -> ApiResult {
    let reference = Reference::parse(name)?;
    let credentials = credentials::from_header(request.header("x-registry-auth"))?;
    let asked: PushList = request.read_json().await?;
    let sources = asked.sources.iter().map(|source| Reference::parse(source)).collect::<Result<Vec<_>, _>>()?;
    let digest = api.engine.push_list(&reference, asked.list.into_bytes().into(), &sources, credentials).await?;
    Ok(answer::ok(&ListPushed { digest: digest.to_string() }))
}

type Lines = mpsc::UnboundedSender<Vec<u8>>;

/// Runs `work`, whose lines become the answer's body as they come. Work that fails before its first line is answered with a status.
async fn stream<W>(request: &Request, work: W) -> ApiResult
where
    W: FnOnce(Lines) -> BoxFuture<'static, shipway_engine::Result<()>>,
{
    // Unbounded, but filled at most ten times a second for each layer.
    let (sender, mut lines) = mpsc::unbounded_channel();
    let mut work = work(sender);
    let first = tokio::select! {
        biased;
        Some(line) = lines.recv() => line,
        result = &mut work => {
            result?;
            let mut text = Vec::new();
            while let Ok(line) = lines.try_recv() {
                text.extend(line);
            }
            return Ok(answer::typed(StatusCode::OK, JSON, AnswerBody::full(text)));
        }
    };
    let body = AnswerBody::produced(&request.client, move |sink| async move {
        if sink.send(first).await.is_err() {
            return;
        }
        let mut ended = None;
        loop {
            tokio::select! {
                biased;
                line = lines.recv() => match line {
                    Some(line) => {
                        // Dropping the work when the client has left is what ends a transfer nobody waits for.
                        if sink.send(line).await.is_err() {
                            return;
                        }
                    }
                    None => break,
                },
                result = &mut work, if ended.is_none() => ended = Some(result),
            }
            if ended.is_some() && lines.is_empty() {
                break;
            }
        }
        if let Some(Err(error)) = ended {
            tracing::info!(%error, "a transfer failed");
            // Nobody reads any more: then nobody needs to be told.
            let _ = sink.send(Message::failure(error.to_string(), None, error.hint()).to_line()).await;
        }
    });
    Ok(answer::typed(StatusCode::OK, JSON, body))
}
