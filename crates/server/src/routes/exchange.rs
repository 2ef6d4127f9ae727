//! Images to and from another engine. The connection leaves HTTP: the line to the other side travels in frames of the output channel, and towards us raw;
//! messages for whoever waits at our own command line travel in frames of the error channel, as JSON.
//!
//! What must stay true: what the engine wrote is sent before the connection ends, also when the client has nothing more to say.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use shipway_engine::blocking;
use shipway_engine::images::{Line, SendMessage, SendSink};
use shipway_model::{Classified as _, DiffId};
use shipway_wire::ApiVersion;
use shipway_wire::message::{Message, ProgressDetail};
use shipway_wire::stream::{Channel, frame};
use tokio::sync::mpsc;

use crate::error::{ApiError, ApiResult};
use crate::hijack::{self, Hijacked, Incoming, Outgoing};
use crate::request::Request;
use crate::router::Api;

/// How long a client may go on sending after all is said.
const DRAINED: Duration = Duration::from_secs(5);
/// Letters of a layer's digest that tell it from others.
const SHORT: usize = 12;

pub(crate) async fn send(api: &Api, request: &mut Request) -> ApiResult {
    let names: Vec<String> = request.query.all("names").into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(ApiError::invalid("no image names were given"));
    }
    request.read_all(crate::request::JSON_LIMIT).await?;
    let images = api.engine.images_to_send(&names)?;
    hand_over(request, |line, messages: mpsc::UnboundedSender<Message>| async move {
        let sink: SendSink = Arc::new(move |message| drop(messages.send(progress(&message))));
        match images.send(line, sink).await {
            Ok(sent) => {
                Message::aux(json!({"Images": sent.images, "Layers": sent.layers, "LayersSent": sent.layers_sent, "Bytes": sent.bytes}))
            }
            Err(error) => Message::failure(error.to_string(), None, error.hint()),
        }
    })
    .await
}

pub(crate) async fn receive(api: &Api, request: &mut Request) -> ApiResult {
    request.read_all(crate::request::JSON_LIMIT).await?;
    let engine = api.engine.clone();
    hand_over(request, |line, _| async move {
        match engine.receive_images(line).await {
            Ok(images) => Message::aux(json!({"Images": images.len()})),
            // Whoever started the exchange hears of it from the other side.
            Err(failure) if failure.told => Message::aux(json!({"Refused": failure.to_string()})),
            Err(failure) => Message::failure(failure.to_string(), None, failure.hint()),
        }
    })
    .await
}

/// Leaves HTTP and runs `work` with the client as its line; what it answers is the last message.
async fn hand_over<F>(request: &mut Request, work: impl FnOnce(Line, mpsc::UnboundedSender<Message>) -> F + Send + 'static) -> ApiResult
where
    F: Future<Output = Message> + Send + 'static,
{
    let (head, serving) = (hijack::head(request, hijack::stream_type(false, ApiVersion::MAX)), request.serving.clone());
    request
        .take_over(move |connection| {
            Box::pin(async move {
                let work = |line, messages: mpsc::UnboundedSender<Message>| async move {
                    let last = work(line, messages.clone()).await;
                    drop(messages.send(last));
                };
                carry(connection, head, work).await;
                drop(serving);
            })
        })
        .await
}

fn progress(message: &SendMessage) -> Message {
    let short = |layer: &DiffId| layer.0.hex().chars().take(SHORT).collect::<String>();
    match message {
        SendMessage::There { layer } => Message::status("Already there", &short(layer)),
        SendMessage::LayerSent { layer } => Message::status("Sent", &short(layer)),
        SendMessage::Sending { layer, current, total } => Message {
            progress_detail: Some(ProgressDetail { current: Some(*current), total: Some(*total) }),
            ..Message::status("Sending", &short(layer))
        },
    }
}

/// Runs `work` with the client as its line.
async fn carry<F: Future<Output = ()>>(connection: Hijacked, head: String, work: impl FnOnce(Line, mpsc::UnboundedSender<Message>) -> F) {
    let (incoming, mut outgoing) = connection.split();
    if outgoing.write(head.as_bytes()).await.is_err() {
        return;
    }
    let (to_engine, input) = blocking::stream_in();
    let (output, from_engine) = blocking::stream_out();
    let (told, messages) = mpsc::unbounded_channel();
    let working = work(Line { input, output }, told);
    let mut feeding = std::pin::pin!(feed(incoming, to_engine));
    let mut pouring = std::pin::pin!(pour(outgoing, from_engine, messages, working));
    let mut fed = false;
    loop {
        tokio::select! {
            () = &mut pouring => break,
            () = &mut feeding, if !fed => fed = true,
        }
    }
    if !fed {
        // A connection that is closed with bytes in it may lose ours on their way.
        drop(tokio::time::timeout(DRAINED, feeding).await);
    }
}

/// Hands on what the client sends until it leaves; what nobody reads any more is thrown away.
async fn feed(mut incoming: Incoming, to_engine: mpsc::Sender<io::Result<Bytes>>) {
    let mut to_engine = Some(to_engine);
    while let Ok(Some(bytes)) = incoming.read().await {
        if let Some(sender) = &to_engine
            && sender.send(Ok(bytes)).await.is_err()
        {
            to_engine = None;
        }
    }
}

/// Sends what the engine writes and tells, until it has ended.
async fn pour(
    mut outgoing: Outgoing,
    mut bytes: mpsc::Receiver<io::Result<Bytes>>,
    mut messages: mpsc::UnboundedReceiver<Message>,
    working: impl Future<Output = ()>,
) {
    let mut working = std::pin::pin!(working);
    let mut works = true;
    loop {
        let framed = tokio::select! {
            biased;
            Some(piece) = bytes.recv() => match piece {
                Ok(piece) => frame(Channel::Output, &piece),
                Err(_) => continue,
            },
            Some(message) = messages.recv() => frame(Channel::Error, &message.to_line()),
            () = &mut working, if works => {
                works = false;
                continue;
            }
            else => return outgoing.finish(),
        };
        if outgoing.write(&framed).await.is_err() {
            // The client left: the engine finds its line cut and ends.
            bytes.close();
            while bytes.recv().await.is_some() {}
        }
    }
}
