//! Attach and logs: a container's output, live or kept.

use std::time::Duration;

use http::StatusCode;
use shipway_engine::containers::{AttachOptions, LogLine, LogOptions, LogStream};
use shipway_wire::stream::header;

use crate::answer::{self, AnswerBody};
use crate::convert::moment;
use crate::detach::DetachKeys;
use crate::error::{ApiError, ApiResult};
use crate::hijack;
use crate::request::Request;
use crate::router::Api;
use crate::session;

/// Lines gathered into one piece of the body when a reader is behind.
const BATCH: usize = 128;

/// How long the body of an attach request, which has none, may take to end.
const BODY_PATIENCE: Duration = Duration::from_millis(500);

pub(crate) async fn attach(api: &Api, request: &mut Request, id: &str) -> ApiResult {
    let query = &request.query;
    let keys = DetachKeys::parse(query.text("detachKeys"))?;
    let options = AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        stream: query.flag("stream"),
        logs: query.flag("logs"),
    };
    // The connection can be taken over only when nothing of the request is left on it.
    let rest = request.read_all(crate::request::JSON_LIMIT);
    // Some clients announce a body that never ends; then the connection is taken as it is.
    if let Ok(outcome) = tokio::time::timeout(BODY_PATIENCE, rest).await {
        outcome?;
    }
    let attachment = api.engine.attach(id, options).await?;
    let head = hijack::head(request, hijack::stream_type(attachment.tty, request.version));
    let serving = request.serving.clone();
    request
        .take_over(move |connection| {
            Box::pin(async move {
                session::run(connection, head, attachment, keys).await;
                drop(serving);
            })
        })
        .await
}

pub(crate) async fn logs(api: &Api, request: &Request, id: &str) -> ApiResult {
    let query = &request.query;
    let options = LogOptions {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        since: moment(query, "since")?,
        until: moment(query, "until")?,
        // "all", nothing and negative numbers mean everything.
        tail: query.text("tail").parse().ok(),
        follow: query.flag("follow"),
    };
    if !options.stdout && !options.stderr {
        return Err(ApiError::invalid("Bad parameters: you must choose at least one stream"));
    }
    let extras = Extras { timestamps: query.flag("timestamps"), details: query.flag("details") };
    let LogStream { tty, mut lines } = api.engine.logs(id, options).await?;
    let media_type = hijack::stream_type(tty, request.version);
    let body = AnswerBody::produced(&request.client, move |sink| async move {
        let mut batch = Vec::with_capacity(BATCH);
        while lines.recv_many(&mut batch, BATCH).await > 0 {
            let mut piece = Vec::new();
            for line in batch.drain(..) {
                print(&line, extras, tty, &mut piece);
            }
            if sink.send(piece).await.is_err() {
                return;
            }
        }
    });
    Ok(answer::typed(StatusCode::OK, media_type, body))
}

/// What stands before each line.
#[derive(Clone, Copy)]
struct Extras {
    timestamps: bool,
    details: bool,
}

/// One line, with its time and attributes in front when wanted, in a frame when there is no terminal.
fn print(line: &LogLine, extras: Extras, tty: bool, out: &mut Vec<u8>) {
    let mut time = if extras.timestamps { format!("{} ", line.at.to_rfc3339_nano_fixed()) } else { String::new() };
    if extras.details {
        let pairs: Vec<String> = line.attributes.iter().map(|(key, value)| format!("{}={}", escaped(key), escaped(value))).collect();
        time.push_str(&pairs.join(","));
        time.push(' ');
    }
    if !tty {
        let channel = session::channel_of(line.stream);
        out.extend_from_slice(&header(channel, u32::try_from(time.len() + line.bytes.len()).unwrap_or(u32::MAX)));
    }
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(&line.bytes);
}

/// A word as in the query of an address, which is how dockerd keeps `,` and `=` in it apart from its own.
fn escaped(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    word.bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            _ if plain(byte) => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
