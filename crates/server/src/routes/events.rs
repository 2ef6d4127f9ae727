//! `GET /events`: what happened, and what happens, line by line.

use std::sync::Arc;

use http::StatusCode;
use shipway_engine::{Event, clock};
use shipway_wire::ApiVersion;
use tokio::sync::broadcast::error::RecvError;

use crate::answer::{self, AnswerBody, JSON};
use crate::convert::{event, filters_of, moment};
use crate::error::{ApiError, ApiResult};
use crate::request::Request;
use crate::router::Api;

/// Record separator of `application/json-seq` (RFC 7464).
const RECORD_SEPARATOR: u8 = 0x1e;

pub(crate) async fn events(api: &Api, request: &Request) -> ApiResult {
    let filters = filters_of(&request.query)?;
    event::check(&filters)?;
    let since = moment(&request.query, "since")?;
    let until = moment(&request.query, "until")?;
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        let (since, until) = (request.query.text("since"), request.query.text("until"));
        return Err(ApiError::invalid(format!("`since` time ({since}) cannot be after `until` time ({until})")));
    }
    // Asking only for an end means everything kept until then.
    let since = since.or_else(|| until.map(|_| shipway_model::Timestamp::default()));
    let (past, mut coming) = api.engine.events().subscribe(since);
    let (media_type, separator) = form(request.header("accept"));
    let version = request.version;
    let body = AnswerBody::produced(&request.client, move |sink| async move {
        let wanted = |event: &Event| until.is_none_or(|until| event.at <= until) && event::lets(&filters, event);
        let mut piece = Vec::new();
        for event in past.iter().filter(|event| wanted(event)) {
            print(event, version, separator, &mut piece);
        }
        if !piece.is_empty() && sink.send(piece).await.is_err() {
            return;
        }
        let end = async {
            match until {
                Some(until) => tokio::time::sleep(until.since(clock::now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        loop {
            let event: Arc<Event> = tokio::select! {
                received = coming.recv() => match received {
                    Ok(event) => event,
                    Err(RecvError::Lagged(lost)) => {
                        tracing::warn!(lost, "a client reads events too slowly");
                        continue;
                    }
                    Err(RecvError::Closed) => return,
                },
                () = &mut end => return,
            };
            if wanted(&event) {
                let mut piece = Vec::new();
                print(&event, version, separator, &mut piece);
                if sink.send(piece).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(answer::typed(StatusCode::OK, media_type, body))
}

/// The form the client prefers; they differ only in what stands before a line.
fn form(accept: &str) -> (&'static str, Option<u8>) {
    for wanted in accept.split(',').map(|part| part.split(';').next().unwrap_or("").trim()) {
        match wanted {
            "application/json-seq" => return ("application/json-seq", Some(RECORD_SEPARATOR)),
            "application/jsonl" => return ("application/jsonl", None),
            "application/x-ndjson" => return ("application/x-ndjson", None),
            _ => {}
        }
    }
    (JSON, None)
}

fn print(event: &Event, version: ApiVersion, separator: Option<u8>, out: &mut Vec<u8>) {
    out.extend(separator);
    // A message of strings and numbers always has a JSON form.
    out.extend(serde_json::to_vec(&event::message(event, version)).unwrap_or_default());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_the_form() {
        for (accept, media_type) in [
            ("", "application/json"),
            ("*/*", "application/json"),
            ("application/jsonl", "application/jsonl"),
            ("text/html, application/json-seq;q=0.9", "application/json-seq"),
            ("application/x-ndjson", "application/x-ndjson"),
        ] {
            assert_eq!(form(accept).0, media_type, "{accept}");
        }
    }
}
