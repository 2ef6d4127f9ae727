//! `GET /containers/{id}/stats`: one reading, or one a second for as long as the client listens.

use std::time::Duration;

use http::StatusCode;
use shipway_engine::containers::StatsReading;
use shipway_wire::containers::Stats;

use crate::answer::{self, AnswerBody, JSON};
use crate::convert::stats as convert;
use crate::error::{ApiError, ApiResult};
use crate::request::Request;
use crate::router::Api;

/// Between two readings; percentages of clients are made of the difference.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn stats(api: &Api, request: &Request, id: &str) -> ApiResult {
    let stream = request.query.flag_or("stream", true);
    let one_shot = request.query.flag("one-shot");
    if stream && one_shot {
        return Err(ApiError::invalid("cannot have stream=true and one-shot=true"));
    }
    let reader = api.engine.stats_of(id)?;
    let Some(first) = reader.read().await? else { return Ok(answer::ok(&Stats::default())) };
    if !stream {
        if one_shot || first.counted.is_none() {
            return Ok(answer::ok(&convert::stats(&first, None)));
        }
        tokio::time::sleep(INTERVAL).await;
        let second = reader.read().await?.unwrap_or_else(|| StatsReading { counted: None, ..first.clone() });
        return Ok(answer::ok(&convert::stats(&second, first.counted.as_ref())));
    }
    let body = AnswerBody::produced(&request.client, move |sink| async move {
        let mut before: Option<StatsReading> = None;
        let mut now = first;
        loop {
            let told = convert::stats(&now, before.as_ref().and_then(|reading| reading.counted.as_ref()));
            // Numbers and strings always have a JSON form.
            let mut line = serde_json::to_vec(&told).unwrap_or_default();
            line.push(b'\n');
            if sink.send(line).await.is_err() {
                return;
            }
            tokio::time::sleep(INTERVAL).await;
            before = Some(now);
            now = match reader.read().await {
                Ok(Some(reading)) => reading,
                // It was removed: there is nothing more to tell.
                Ok(None) => return,
                Err(error) => return sink.fail(std::io::Error::other(error.to_string())).await,
            };
        }
    });
    Ok(answer::typed(StatusCode::OK, JSON, body))
}
