//! Images as archives: save, load, import.

use http::StatusCode;
use shipway_engine::images::ImportOptions;
use shipway_wire::message::Message;

use super::images::{asked_platform, named};
use crate::answer::{self, AnswerBody, JSON};
use crate::error::{ApiError, ApiResult};
use crate::request::Request;
use crate::router::Api;
use crate::upload;

pub(crate) async fn save(api: &Api, request: &Request, name: Option<String>) -> ApiResult {
    let names = match name {
        Some(name) => vec![name],
        None => request
            .query
            .all("names")
            .into_iter()
            .flat_map(|names| names.split(','))
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    if names.is_empty() {
        return Err(ApiError::invalid("no image names were given"));
    }
    let since = request.query.non_empty("since").map(str::to_owned);
    let pieces = api.engine.save_images(names, since, asked_platform(&request.query, "platform")?).await?;
    Ok(answer::typed(StatusCode::OK, "application/x-tar", AnswerBody::channel(pieces, &request.client)))
}

pub(crate) async fn load(api: &Api, request: &mut Request) -> ApiResult {
    let platform = asked_platform(&request.query, "platform")?;
    let reader = upload::reader(request);
    let loaded = api.engine.load_images(reader, platform).await?;
    let mut text = Vec::new();
    for image in loaded {
        if image.references.is_empty() {
            text.extend(Message::stream(format!("Loaded image ID: {}\n", image.id)).to_line());
        }
        for name in &image.references {
            text.extend(Message::stream(format!("Loaded image: {}\n", name.familiar())).to_line());
        }
    }
    Ok(answer::typed(StatusCode::OK, JSON, AnswerBody::full(text)))
}

/// `images/create` is two verbs in one: import with `fromSrc`, pull with `fromImage`.
pub(crate) async fn create(api: &Api, request: &mut Request) -> ApiResult {
    if request.query.has("fromImage") {
        return super::registries::pull(api, request).await;
    }
    match request.query.text("fromSrc") {
        "-" => {}
        "" => return Err(ApiError::invalid("either fromImage or fromSrc must be given")),
        _ => return Err(ApiError::not_supported_yet("importing from an address")),
    }
    let query = &request.query;
    let options = ImportOptions {
        reference: query.non_empty("repo").map(|repository| named(repository, query.text("tag"))).transpose()?,
        // dockerd says so in the history when nobody said anything else.
        message: query.non_empty("message").unwrap_or("Imported from -").to_owned(),
        changes: query.all("changes").into_iter().map(str::to_owned).collect(),
        platform: query.non_empty("platform").map(|text| text.parse()).transpose()?,
    };
    let reader = upload::reader(request);
    let id = api.engine.import_image(reader, options).await?;
    Ok(answer::typed(StatusCode::OK, JSON, AnswerBody::full(Message::status(id.to_string(), "").to_line())))
}
