//! A build by any daemon: the context as a tar to `POST /build`, the classic stream back.

use super::{Build, Context, Dockerfile, Plan};
use crate::cli::client::{Call, Client};
use crate::cli::credentials;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::human;
use crate::cli::json_stream::{Objects, StatusLines, failure_in};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::tree_tar::TreeTar;
use crate::cli::upload::{self, Chunks};
use serde_json::{Value, json};
use shipway_archive::ignore::{IgnoreFile, Verdict};
use shipway_archive::tar::{Entry, EntryKind, TarWriter};
use shipway_wire::local_build::LocalBuildRequest;
use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Builds the classic way; answers the image's id when the daemon named it.
pub(super) async fn build(
    session: &Session,
    flags: &Build,
    plan: Plan,
    request: &LocalBuildRequest,
    credentials: Option<&str>,
) -> Outcome<Option<String>> {
    let client = session.client()?;
    let (mut call, chunks) = prepare(flags, plan, request)?;
    if let Some(credentials) = credentials {
        call = call.header(credentials::BUILD_HEADER, credentials);
    }
    let sent = Arc::new(AtomicU64::new(0));
    let announce = chunks.is_some().then(|| Arc::clone(&sent));
    let call = match chunks {
        Some(chunks) => call.stream("application/x-tar", counted(chunks, sent)),
        None => call,
    };
    follow(client, call, flags.quiet, announce).await
}

/// Counts the bytes of a body as they leave.
fn counted(mut chunks: Chunks, sent: Arc<AtomicU64>) -> Chunks {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(chunk) = chunks.recv().await {
            if let Ok(bytes) = &chunk {
                sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
    });
    receiver
}

/// The request and its body.
fn prepare(flags: &Build, plan: Plan, request: &LocalBuildRequest) -> Outcome<(Call, Option<Chunks>)> {
    let call = query(flags, request)?;
    Ok(match (plan.context, plan.dockerfile) {
        (Context::Remote(url), Dockerfile::InContext(path)) => (call.query("remote", url).query("dockerfile", path), None),
        (Context::Remote(_), Dockerfile::Text { .. }) => {
            return Err(Failure::new("a Dockerfile on standard input and a remote context cannot be combined yet"));
        }
        (Context::Tar(start), Dockerfile::InContext(path)) => (call.query("dockerfile", path), Some(rest_of_input(start))),
        (Context::Tar(_), Dockerfile::Text { .. }) => {
            return Err(Failure::usage("invalid argument: can't use stdin for both build context and dockerfile"));
        }
        (Context::None, Dockerfile::Text { text, .. }) => (call.query("dockerfile", "Dockerfile"), Some(dockerfile_alone(text))),
        (Context::None, Dockerfile::InContext(_)) => return Err(Failure::new("this build has neither a context nor a Dockerfile")),
        (Context::Folder(folder), Dockerfile::InContext(path)) => {
            let ignore = ignore_file(&folder, Some(&path), None)?;
            (call.query("dockerfile", &path), Some(folder_tar(folder, ignore, path, None)))
        }
        (Context::Folder(folder), Dockerfile::Text { text, ignore, .. }) => {
            // The Dockerfile is not part of the context, so it travels under a name nothing else has.
            let name = format!(".dockerfile.{:x}", std::process::id());
            let ignore = ignore_file(&folder, None, ignore.as_deref())?;
            (call.query("dockerfile", &name), Some(folder_tar(folder, ignore, name, Some(text))))
        }
    })
}

/// The query of `POST /build` (buildkit.md 7.1).
fn query(flags: &Build, request: &LocalBuildRequest) -> Outcome<Call> {
    let mut call = Call::post("/build");
    for tag in &request.tags {
        call = call.query("t", tag);
    }
    for host in &request.extra_hosts {
        call = call.query("extrahosts", host);
    }
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    let ulimits: Vec<Value> =
        request.ulimits.iter().map(|ulimit| json!({"Name": ulimit.name, "Soft": ulimit.soft, "Hard": ulimit.hard})).collect();
    let security: Vec<&String> = flags.security_opt.iter().collect();
    if !request.no_cache_filter.is_empty() {
        output::note("WARNING: this daemon's classic builder does not know --no-cache-filter; it is left out");
    }
    call = call
        .flag("q", flags.quiet)
        .flag("nocache", request.no_cache)
        .flag("pull", request.pull)
        .flag("squash", request.squash)
        .query("rm", if flags.no_rm { "0" } else { "1" })
        .flag("forcerm", flags.force_rm)
        .query_if("target", request.target.as_ref())
        .query_if("platform", request.platform.as_ref())
        .query_if("networkmode", request.network.as_ref())
        .query_if("shmsize", number(request.shm_size))
        .query_if("memory", number(request.memory))
        .query_if("memswap", request.memory_swap.map(|value| value.to_string()))
        .query_if("cpushares", number(request.cpu_shares))
        .query_if("cpuperiod", number(request.cpu_period))
        .query_if("cpuquota", request.cpu_quota.map(|value| value.to_string()))
        .query_if("cpusetcpus", request.cpuset_cpus.as_ref())
        .query_if("cpusetmems", request.cpuset_mems.as_ref())
        .query_if("cgroupparent", flags.cgroup_parent.as_ref())
        .query_if("isolation", flags.isolation.as_ref())
        .query_if("securityopt", (!security.is_empty()).then(|| json!(security).to_string()))
        .query_if("buildargs", (!request.build_args.is_empty()).then(|| json!(request.build_args).to_string()))
        .query_if("labels", (!request.labels.is_empty()).then(|| json!(request.labels).to_string()))
        .query_if("cachefrom", (!request.cache_from.is_empty()).then(|| json!(request.cache_from).to_string()))
        .query_if("ulimits", (!ulimits.is_empty()).then(|| json!(ulimits).to_string()));
    Ok(call)
}

/// Shows the stream, and remembers the image.
async fn follow(client: &Client, call: Call, quiet: bool, sent: Option<Arc<AtomicU64>>) -> Outcome<Option<String>> {
    let answer = client.send(call).await?;
    if let (Some(sent), false) = (sent, quiet) {
        // The daemon answers once it has read the whole context, so this is all of it.
        let size = human::size(i64::try_from(sent.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
        output::line(format!("Sending build context to Docker daemon  {size}"))?;
    }
    let mut objects = Objects::of(answer);
    let mut lines = StatusLines::on_output();
    let mut image = None;
    let mut held = String::new();
    while let Some(object) = objects.next().await? {
        if let Some(id) = object.pointer("/aux/ID").and_then(Value::as_str) {
            image = Some(id.to_owned());
        }
        if !quiet {
            lines.show(&object)?;
            continue;
        }
        // A quiet build shows what happened only when it went wrong.
        if let Some(failure) = failure_in(&object) {
            output::error_bytes(held.as_bytes())?;
            return Err(failure);
        }
        if let Some(text) = object.get("stream").and_then(Value::as_str) {
            if text.trim().starts_with("sha256:") {
                image = Some(text.trim().to_owned());
            }
            held.push_str(text);
        }
    }
    Ok(image)
}

/// `<Dockerfile>.dockerignore`, else `.dockerignore`.
fn ignore_file(folder: &Path, dockerfile: Option<&str>, text: Option<&str>) -> Outcome<IgnoreFile> {
    let own = dockerfile.and_then(|dockerfile| std::fs::read(folder.join(format!("{dockerfile}.dockerignore"))).ok());
    let bytes = match text {
        Some(text) => text.as_bytes().to_vec(),
        None => own.or_else(|| std::fs::read(folder.join(".dockerignore")).ok()).unwrap_or_default(),
    };
    IgnoreFile::parse(&bytes).map_err(|error| Failure::new(format!("error checking context: {error}")))
}

fn folder_tar(folder: PathBuf, ignore: IgnoreFile, dockerfile: String, extra: Option<String>) -> Chunks {
    upload::made_by("context-writer", move |out| {
        let mut writer = TarWriter::new(&mut *out);
        let always = [dockerfile.as_bytes().to_vec(), b".dockerignore".to_vec()];
        let mut tree = TreeTar { writer: &mut writer, ignore: &ignore, always: &always, keep_owner: false, linked: HashMap::new() };
        tree.folder(&folder, b"", &Verdict::default())?;
        if let Some(text) = &extra {
            writer.append(&Entry::new(dockerfile.as_bytes(), EntryKind::Regular), text.as_bytes()).map_err(io::Error::other)?;
        }
        writer.finish().map(drop).map_err(io::Error::other)
    })
}

fn dockerfile_alone(text: String) -> Chunks {
    upload::made_by("context-writer", move |out| {
        let mut writer = TarWriter::new(&mut *out);
        writer.append(&Entry::new("Dockerfile", EntryKind::Regular), text.as_bytes()).map_err(io::Error::other)?;
        writer.finish().map(drop).map_err(io::Error::other)
    })
}

fn rest_of_input(start: Vec<u8>) -> Chunks {
    upload::made_by("standard-input", move |out| {
        out.write_all(&start)?;
        let mut input = io::stdin().lock();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match input.read(&mut buffer)? {
                0 => return Ok(()),
                length => out.write_all(&buffer[..length])?,
            }
        }
    })
}
