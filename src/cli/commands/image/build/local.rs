//! A build by our own daemon on this machine: the folder is named, not sent (D11), and the answer is events.
//!
//! What must stay true: whenever the daemon is another one, or sees another folder, nothing has happened yet and the classic way is taken.

use super::{Build, Context, Dockerfile, Plan};
use crate::cli::client::{Answer, Call};
use crate::cli::connect::Host;
use crate::cli::credentials;
use crate::cli::exit::{Failure, Outcome, Reason};
use crate::cli::json_stream::Objects;
use crate::cli::output;
use crate::cli::progress::{Colours, Display, Mode};
use crate::cli::session::Session;
use shipway_wire::local_build::{DockerfileChoice, LocalBuildFailure, LocalBuildLine, LocalBuildRequest, LocalBuildResult, LocalContext};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often the picture is redrawn.
const REDRAW: Duration = Duration::from_millis(100);

/// How an attempt went.
pub(super) enum Attempt {
    /// Built; the image's id.
    Built(Option<String>),
    /// This daemon cannot do it this way.
    NotHere,
}

/// Builds in place.
pub(super) async fn build(
    session: &Session,
    flags: &Build,
    plan: &Plan,
    request: &LocalBuildRequest,
    mode: Mode,
    credentials: Option<&str>,
) -> Outcome<Attempt> {
    let client = session.client()?;
    // What only other engines can do is asked for, and refused, the way that all understand.
    let is_foreign = flags.cgroup_parent.is_some() || flags.isolation.is_some() || !flags.security_opt.is_empty();
    if is_foreign || !matches!(client.host(), Host::Unix(_)) {
        return Ok(Attempt::NotHere);
    }
    let context = match &plan.context {
        Context::Folder(folder) => {
            let metadata = std::fs::metadata(folder)
                .map_err(|error| Failure::new(format!("unable to prepare context: {}: {error}", folder.display())))?;
            let Some(path) = folder.to_str() else { return Ok(Attempt::NotHere) };
            Some(LocalContext { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
        }
        Context::None => None,
        Context::Tar(_) | Context::Remote(_) => return Ok(Attempt::NotHere),
    };
    let dockerfile = match &plan.dockerfile {
        Dockerfile::InContext(path) => DockerfileChoice::Path(path.clone()),
        Dockerfile::Text { name, text, ignore } => {
            DockerfileChoice::Inline { name: name.clone(), text: text.clone(), ignore: ignore.clone() }
        }
    };
    let whole = LocalBuildRequest { context, dockerfile, ..request.clone() };
    let body = serde_json::to_value(&whole).map_err(|error| Failure::new(error.to_string()))?;
    let mut call = Call::post("/shipway/build").json(body);
    if let Some(credentials) = credentials {
        call = call.header(credentials::BUILD_HEADER, credentials);
    }
    let answer = match client.send(call).await {
        Ok(answer) => answer,
        // 404: a foreign daemon; 409: it lives in another mount namespace and sees another folder.
        Err(Failure { reason: Reason::Daemon { status: 404 | 405 | 409, .. }, .. }) => return Ok(Attempt::NotHere),
        Err(failure) => return Err(failure),
    };
    let mut display = Display::new(mode, Colours::chosen(session));
    let followed = tokio::select! {
        followed = follow(answer, &mut display) => followed?,
        code = interrupted() => {
            // The connection is closed by now, by which the daemon knows that nobody wants the image.
            display.cancel();
            display.finish(false)?;
            return Err(Failure::new("build canceled: context canceled").with_code(code));
        }
    };
    match followed {
        Ok(result) => {
            display.finish(true)?;
            if flags.explain {
                explain(&result);
            }
            Ok(Attempt::Built((!result.image.is_empty()).then_some(result.image)))
        }
        Err(failure) => {
            display.finish(false)?;
            let has_log = display.has_log();
            Err(report(failure, mode, has_log))
        }
    }
}

/// Ends when a person has had enough, with the code of a program that the signal ended.
async fn interrupted() -> u8 {
    let by = |kind: SignalKind| async move {
        // Where signals cannot be caught they end this program as ever.
        let Ok(mut caught) = signal(kind) else { return std::future::pending().await };
        caught.recv().await;
        128 + u8::try_from(kind.as_raw_value()).unwrap_or_default()
    };
    tokio::select! {
        code = by(SignalKind::interrupt()) => code,
        code = by(SignalKind::terminate()) => code,
    }
}

/// Shows events until the last line.
async fn follow(answer: Answer, display: &mut Display) -> Outcome<Result<LocalBuildResult, LocalBuildFailure>> {
    let mut objects = Objects::of(answer);
    let mut clock = tokio::time::interval(REDRAW);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            object = objects.next() => {
                let Some(object) = object? else {
                    return Err(Failure::new("the daemon ended the build without saying how it went"));
                };
                let line: LocalBuildLine = serde_json::from_value(object).map_err(|error| Failure::new(format!("cannot understand the daemon's stream: {error}")))?;
                match line {
                    LocalBuildLine::Progress(status) => display.show(&status)?,
                    LocalBuildLine::Result { result } => return Ok(Ok(result)),
                    LocalBuildLine::Failure { failure } => return Ok(Err(failure)),
                }
            }
            _ = clock.tick() => display.tick()?,
        }
    }
}

fn explain(result: &LocalBuildResult) {
    let end = if result.explanations.is_empty() { "" } else { ":" };
    output::note(format!("\n{} of {} steps were known{end}", result.cached_steps, result.total_steps));
    for line in &result.explanations {
        output::note(format!("  {line}"));
    }
}

/// The diagnostic as the daemon rendered it, then one line for the end, and where the rest of the log is when there is one.
fn report(failure: LocalBuildFailure, mode: Mode, has_log: bool) -> Failure {
    let is_rendered = mode != Mode::RawJson && !failure.rendered.is_empty();
    if is_rendered {
        output::note(failure.rendered.trim_end());
    }
    let mut end = Failure::new(format!("build failed: {}", failure.message)).with_code(failure.exit_code.max(1));
    end.hints.extend(failure.hint.filter(|hint| !(hint.is_empty() || is_rendered && failure.rendered.contains(hint.as_str()))));
    if has_log && !failure.build.is_empty() {
        end.hints.push(format!("the whole log: shipway build history logs {}", failure.build));
    }
    end
}
