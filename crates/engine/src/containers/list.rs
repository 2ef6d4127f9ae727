//! `ps`: which containers are shown, the newest first.

use std::sync::Arc;

use shipway_model::{ImageId, Timestamp};

use super::{Container, ContainerView};
use crate::{Engine, Error, Filters, Result};

/// Filters that `ps` accepts (features.md C-06).
const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "label!",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ContainerFilter {
    /// Also those that do not run.
    pub all: bool,
    /// Only so many, the newest; counts those that do not run too.
    pub limit: Option<usize>,
    /// Measure disk use.
    pub with_size: bool,
    pub filters: Filters,
}

impl Engine {
    /// The containers that `filter` lets through.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter or value; `NoSuchContainer` for an unknown `before` or `since`.
    pub async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<ContainerView>> {
        let filters = &filter.filters;
        filters.check_known(FILTERS)?;
        let narrowed = Narrowed::from(self, filters)?;
        let everything = filter.all
            || filter.limit.is_some()
            || filters.has("status")
            || filters.has("exited")
            || filters.has("before")
            || filters.has("since");
        let mut found: Vec<Arc<Container>> = self
            .inner
            .containers
            .all()
            .into_iter()
            .filter(|container| everything || container.state().is_going_on())
            .filter(|container| narrowed.lets(container, filters))
            .collect();
        found.sort_by_key(|container| std::cmp::Reverse((container.record().created, container.id)));
        found.truncate(filter.limit.unwrap_or(usize::MAX));
        let mut views = Vec::with_capacity(found.len());
        for container in found {
            views.push(self.view_container(&container, filter.with_size).await?);
        }
        Ok(views)
    }
}

/// Filter values looked up once.
struct Narrowed {
    before: Vec<Timestamp>,
    since: Vec<Timestamp>,
    ancestors: Vec<ImageId>,
    names: Vec<regex_lite::Pattern>,
    exited: Vec<i32>,
    /// An ancestor was asked for that does not exist: nothing matches.
    impossible: bool,
}

impl Narrowed {
    fn from(engine: &Engine, filters: &Filters) -> Result<Self> {
        let times =
            |key: &str| filters.values(key).iter().map(|name| Ok(engine.container(name)?.record().created)).collect::<Result<Vec<_>>>();
        let ancestors: Vec<ImageId> = filters.values("ancestor").iter().filter_map(|name| engine.resolve_image(name).ok()).collect();
        for status in filters.values("status") {
            if !["created", "running", "paused", "restarting", "removing", "exited", "dead"].contains(&status.as_str()) {
                return Err(Error::invalid(format!("invalid filter 'status={status}'")));
            }
        }
        for health in filters.values("health") {
            if !["none", "starting", "healthy", "unhealthy"].contains(&health.as_str()) {
                return Err(Error::invalid(format!("Unrecognised filter value for health: {health}")));
            }
        }
        let exited = filters
            .values("exited")
            .iter()
            .map(|text| text.parse().map_err(|_| Error::invalid(format!("invalid filter 'exited={text}'"))))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            before: times("before")?,
            since: times("since")?,
            impossible: ancestors.is_empty() && filters.has("ancestor"),
            ancestors,
            names: filters.values("name").iter().map(|text| regex_lite::Pattern::new(text)).collect(),
            exited,
        })
    }

    fn lets(&self, container: &Container, filters: &Filters) -> bool {
        let record = container.record();
        let any = |key: &str, test: &dyn Fn(&str) -> bool| !filters.has(key) || filters.values(key).iter().any(|value| test(value));
        let network = match &record.spec.host.network {
            super::NetworkMode::None | super::NetworkMode::Default => "none",
            super::NetworkMode::Host => "host",
            super::NetworkMode::Container(_) => "",
            super::NetworkMode::Named(name) => name,
        };
        !self.impossible
            && self.before.iter().all(|limit| record.created < *limit)
            && self.since.iter().all(|limit| record.created > *limit)
            && (self.ancestors.is_empty() || self.ancestors.contains(&record.image))
            && (self.names.is_empty() || self.names.iter().any(|pattern| pattern.matches(record.name.as_str())))
            && (self.exited.is_empty()
                || (!record.state.is_alive() && record.state.exit_code().is_some_and(|code| self.exited.contains(&code))))
            && any("id", &|value| record.id.to_string().starts_with(value))
            && any("status", &|value| record.state.word() == value)
            && any("network", &|value| value == network)
            && any("volume", &|value| {
                record.mounts.iter().any(|mount| {
                    let source = mount.volume.as_ref().map(|name| name.as_str()).or(mount.spec.source.as_deref());
                    mount.spec.target == value || source == Some(value)
                })
            })
            && any("health", &|value| record.health.as_ref().map_or("none", |health| health.status.word()) == value)
            && any("isolation", &|value| value == "default")
            && any("is-task", &|value| matches!(value, "false" | "0"))
            && any("publish", &|_| false)
            && any("expose", &|value| {
                record.process.exposed_ports.iter().any(|port| port.to_string() == value || port.number.to_string() == value)
            })
            && filters.match_labels(&record.process.labels)
    }
}

/// The part of regular expressions that name filters are typed with: `^`, `$` and plain text. dockerd takes more; nobody types it.
mod regex_lite {
    pub(super) struct Pattern {
        text: String,
        at_start: bool,
        at_end: bool,
    }

    impl Pattern {
        pub(super) fn new(text: &str) -> Self {
            let at_start = text.starts_with('^');
            let at_end = text.ends_with('$');
            let text = text.trim_start_matches('^').trim_end_matches('$');
            Self { text: text.trim_start_matches('/').to_owned(), at_start, at_end }
        }

        pub(super) fn matches(&self, name: &str) -> bool {
            match (self.at_start, self.at_end) {
                (true, true) => name == self.text,
                (true, false) => name.starts_with(&self.text),
                (false, true) => name.ends_with(&self.text),
                (false, false) => name.contains(&self.text),
            }
        }
    }
}
