//! Images as the engine sees them, into what list, inspect and history answer, with the differences between API versions.

use serde_json::{Map, Value};
use shipway_engine::images::{HistoryLine, ImageRemoved, ImageView};
use shipway_engine::values::Referrer;
use shipway_model::{ContainerDefaults, Descriptor, Digest, Reference, Timestamp};
use shipway_wire::ApiVersion;
use shipway_wire::containers::{ContainerConfig, GraphDriver, HealthcheckConfig, StringOrList};
use shipway_wire::images::{HistoryItem, ImageInspect, ImageMetadata, ImageRemovedItem, ImageSummary, RootFsLayers};
use shipway_wire::registries::ReferrerItem;

use super::{signed, system, until};

/// One line of list. `shared` is the number of bytes shared with other images, where it was counted.
pub(crate) fn summary(view: &ImageView, shared: Option<u64>, count_containers: bool, version: ApiVersion) -> ImageSummary {
    let image = &view.image;
    let size = signed(image.size);
    let nameless = view.tags.is_empty() && view.digests.is_empty();
    // Until 1.42 an image without names had placeholders, and one without digests a null list.
    let (tags, digests) = if version.at_least(43) {
        (Some(familiar(&view.tags)), Some(familiar(&view.digests)))
    } else if nameless {
        (Some(vec!["<none>:<none>".to_owned()]), Some(vec!["<none>@<none>".to_owned()]))
    } else {
        (Some(familiar(&view.tags)).filter(|tags| !tags.is_empty()), Some(familiar(&view.digests)).filter(|digests| !digests.is_empty()))
    };
    ImageSummary {
        containers: if count_containers { view.containers } else { -1 },
        created: image.config.created.unwrap_or_default().unix_seconds(),
        id: image.id.to_string(),
        labels: (!image.config.config.labels.is_empty()).then(|| image.config.config.labels.clone()),
        parent_id: image.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        repo_digests: digests,
        repo_tags: tags,
        shared_size: shared.map_or(-1, signed),
        size,
        virtual_size: until(version, 43, size),
    }
}

/// Everything about an image.
pub(crate) fn inspect(view: &ImageView, held: &[Referrer], version: ApiVersion) -> ImageInspect {
    let image = &view.image;
    let config = &image.config;
    let size = signed(image.size);
    let created = match config.created {
        Some(created) => Some(created.to_rfc3339_nano()),
        None => until(version, 43, Timestamp::GO_ZERO.to_rfc3339_nano()),
    };
    ImageInspect {
        id: image.id.to_string(),
        repo_tags: familiar(&view.tags),
        repo_digests: familiar(&view.digests),
        parent: image.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        comment: config.history.last().map(|step| step.comment.clone()).unwrap_or_default(),
        created,
        container: until(version, 44, String::new()),
        container_config: until(version, 44, ContainerConfig::default()),
        docker_version: String::new(),
        author: config.author.clone(),
        config: shown_config(&config.config, version),
        architecture: config.architecture.clone(),
        variant: config.variant.clone().unwrap_or_default(),
        os: config.os.clone(),
        os_version: String::new(),
        size,
        virtual_size: until(version, 43, size),
        graph_driver: GraphDriver { details: None, name: system::DRIVER.to_owned() },
        root_fs: RootFsLayers { kind: "layers".to_owned(), layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect() },
        metadata: ImageMetadata { last_tag_time: view.last_tagged.unwrap_or(Timestamp::GO_ZERO).to_rfc3339_nano() },
        descriptor: image.manifest.as_ref().filter(|_| version.at_least(48)).and_then(|descriptor| serde_json::to_value(descriptor).ok()),
        referrers: held.iter().map(|held| referrer(&held.manifest, &held.subject, held.tag.as_deref(), true)).collect(),
    }
}

/// A manifest that speaks of `subject`.
pub(crate) fn referrer(manifest: &Descriptor, subject: &Digest, tag: Option<&str>, held: bool) -> ReferrerItem {
    ReferrerItem {
        digest: manifest.digest.to_string(),
        artifact_type: manifest.artifact_type.clone().unwrap_or_default(),
        media_type: manifest.media_type.to_string(),
        size: manifest.size,
        subject: subject.to_string(),
        tag: tag.unwrap_or_default().to_owned(),
        annotations: manifest.annotations.clone(),
        held,
    }
}

/// Until 1.49 the config had the zero fields of a container; later it has only what the image says.
fn shown_config(defaults: &ContainerDefaults, version: ApiVersion) -> Value {
    let words = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let set = |paths: Vec<String>| (!paths.is_empty()).then(|| paths.into_iter().map(|path| (path, Map::new())).collect());
    let config = ContainerConfig {
        user: defaults.user.clone(),
        exposed_ports: set(defaults.exposed_ports.iter().map(ToString::to_string).collect()),
        env: words(&defaults.env),
        cmd: defaults.cmd.clone().map(StringOrList),
        healthcheck: defaults.healthcheck.as_ref().map(|health| HealthcheckConfig {
            test: words(&health.test),
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
        }),
        args_escaped: defaults.args_escaped,
        volumes: set(defaults.volumes.iter().cloned().collect()),
        working_dir: defaults.working_dir.clone(),
        entrypoint: defaults.entrypoint.clone().map(StringOrList),
        on_build: words(&defaults.on_build),
        labels: (!defaults.labels.is_empty()).then(|| defaults.labels.clone()),
        stop_signal: defaults.stop_signal.clone().unwrap_or_default(),
        shell: defaults.shell.clone(),
        ..ContainerConfig::default()
    };
    let mut shown = serde_json::to_value(config).unwrap_or_default();
    if version.at_least(50)
        && let Some(fields) = shown.as_object_mut()
    {
        fields.retain(|_, value| !(value.is_null() || *value == Value::Bool(false) || value.as_str() == Some("")));
    }
    shown
}

/// One line of history.
pub(crate) fn history(line: &HistoryLine) -> HistoryItem {
    HistoryItem {
        comment: line.comment.clone(),
        created: line.created.unwrap_or_default().unix_seconds(),
        created_by: line.created_by.clone(),
        id: line.id.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
        size: signed(line.size),
        tags: (!line.tags.is_empty()).then(|| familiar(&line.tags)),
    }
}

/// What a removal did.
pub(crate) fn removed(items: Vec<ImageRemoved>) -> Vec<ImageRemovedItem> {
    items
        .into_iter()
        .map(|item| match item {
            ImageRemoved::Untagged(name) => ImageRemovedItem { untagged: Some(name), deleted: None },
            ImageRemoved::Deleted(id) => ImageRemovedItem { deleted: Some(id), untagged: None },
        })
        .collect()
}

fn familiar(names: &[Reference]) -> Vec<String> {
    names.iter().map(Reference::familiar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_clients_get_only_what_the_image_says() {
        let defaults = ContainerDefaults { cmd: Some(vec!["sh".to_owned()]), user: "app".to_owned(), ..ContainerDefaults::default() };
        assert_eq!(shown_config(&defaults, ApiVersion::new(1, 50)).to_string(), r#"{"User":"app","Cmd":["sh"]}"#);
        let old = shown_config(&defaults, ApiVersion::new(1, 41));
        assert_eq!(old["Hostname"], "");
        assert_eq!(old["Entrypoint"], Value::Null);
    }
}
