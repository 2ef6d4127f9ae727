//! Pulls and pushes in Docker's words: one JSON object for each thing that happens, bars included.
//!
//! Source: moby `distribution/{pull_v2,push_v2}.go` and `pkg/progress` for the texts, which clients show and some of them match.

use serde_json::json;
use shipway_engine::images::{PullMessage, PushMessage};
use shipway_engine::values::{TransferEvent, TransferState};
use shipway_wire::message::{Message, ProgressDetail};

/// Width of the bar drawn for clients without a terminal of their own.
const BAR: u64 = 50;

/// A message of a pull.
pub(crate) fn pulling(message: &PullMessage) -> Message {
    match message {
        PullMessage::Begun { repository, tag } => Message::status(format!("Pulling from {repository}"), tag),
        PullMessage::Layer(event) => layer(event),
        PullMessage::Digest(digest) => Message::status(format!("Digest: {digest}"), ""),
        PullMessage::Finished { name, newer: true } => Message::status(format!("Status: Downloaded newer image for {name}"), ""),
        PullMessage::Finished { name, newer: false } => Message::status(format!("Status: Image is up to date for {name}"), ""),
    }
}

/// The messages of a push; the last one is for eyes and once more for programs.
pub(crate) fn pushing(message: &PushMessage) -> Vec<Message> {
    match message {
        PushMessage::Begun { repository } => vec![Message::status(format!("The push refers to repository [{repository}]"), "")],
        PushMessage::Layer(event) => vec![layer(event)],
        PushMessage::Referrers { held, sent } => {
            vec![Message::status(format!("Signatures and attestations: {sent} of {held} pushed"), "")]
        }
        PushMessage::Finished { tag, digest, size } => vec![
            Message::status(format!("{tag}: digest: {digest} size: {size}"), ""),
            Message {
                progress_detail: Some(ProgressDetail::default()),
                ..Message::aux(json!({"Tag": tag, "Digest": digest.to_string(), "Size": size}))
            },
        ],
    }
}

fn layer(event: &TransferEvent) -> Message {
    let id = event.layer.short();
    let moving = |text: &str, current: u64, total: u64| Message {
        progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
        progress: Some(bar(current, total)),
        ..Message::status(text, &id)
    };
    let plain = |text: String| Message { progress_detail: Some(ProgressDetail::default()), ..Message::status(text, &id) };
    let text = match &event.state {
        TransferState::Downloading { current, total } => return moving("Downloading", *current, *total),
        TransferState::Extracting { current, total } => return moving("Extracting", *current, *total),
        TransferState::Pushing { current, total } => return moving("Pushing", *current, *total),
        TransferState::Announced => "Pulling fs layer".to_owned(),
        TransferState::Waiting => "Waiting".to_owned(),
        TransferState::Retrying { pause } => format!("Retrying in {} seconds", pause.as_secs_f32().ceil()),
        TransferState::Downloaded => "Download complete".to_owned(),
        TransferState::Pulled => "Pull complete".to_owned(),
        TransferState::Exists => "Already exists".to_owned(),
        TransferState::Preparing => "Preparing".to_owned(),
        TransferState::Pushed => "Pushed".to_owned(),
        TransferState::ExistsThere => "Layer already exists".to_owned(),
        TransferState::Skipped => "Skipped foreign layer".to_owned(),
        TransferState::Mounted { from } => format!("Mounted from {from}"),
    };
    plain(text)
}

/// `[====>      ]  1.2MB/5MB`.
fn bar(current: u64, total: u64) -> String {
    let done = (current.min(total) * BAR).checked_div(total).and_then(|done| usize::try_from(done).ok()).unwrap_or(0);
    let width = usize::try_from(BAR).unwrap_or(0);
    let head = if done < width { ">" } else { "" };
    let drawn = format!("{}{head}{}", "=".repeat(done), " ".repeat(width.saturating_sub(done + head.len())));
    format!("[{drawn}]  {}/{}", size(current), size(total))
}

/// Four significant digits at most, in thousands.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if unit == 0 || value >= 1000.0 {
        0
    } else if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_those_of_docker() {
        assert_eq!(bar(0, 100), format!("[>{}]  0B/100B", " ".repeat(49)));
        assert_eq!(bar(1_234_567, 2_469_134), format!("[{}>{}]  1.235MB/2.469MB", "=".repeat(25), " ".repeat(24)));
        assert_eq!(bar(5, 5), format!("[{}]  5B/5B", "=".repeat(50)));
    }
}
