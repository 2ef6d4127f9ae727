//! `ps`: which containers are shown, the newest first.

use std::collections::BTreeSet;
use std::sync::Arc;

use shipway_model::{ImageId, Protocol, Timestamp};

use super::{Container, ContainerRecord, ContainerView};
use crate::networks::EndpointRecord;
use crate::{Engine, Error, Filters, Result, filters};

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
    /// The images named and everything made from them.
    ancestors: BTreeSet<ImageId>,
    names: Vec<NamePattern>,
    exited: Vec<i32>,
    /// First and last number, and protocol: of the host, and of the container.
    published: Vec<(u16, u16, String)>,
    exposed: Vec<(u16, u16, String)>,
    is_task: Option<bool>,
    /// An ancestor was asked for that does not exist: nothing matches.
    impossible: bool,
}

impl Narrowed {
    fn from(engine: &Engine, filters: &Filters) -> Result<Self> {
        let times =
            |key: &str| filters.values(key).iter().map(|name| Ok(engine.container(name)?.record().created)).collect::<Result<Vec<_>>>();
        let ancestors = with_descendants(engine, filters.values("ancestor").iter().filter_map(|name| engine.resolve_image(name).ok()));
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
        let ports = |key: &str| filters.values(key).iter().map(|text| port_range(key, text)).collect::<Result<Vec<_>>>();
        Ok(Self {
            before: times("before")?,
            since: times("since")?,
            impossible: ancestors.is_empty() && filters.has("ancestor"),
            ancestors,
            names: filters.values("name").iter().map(|text| NamePattern::new(text)).collect(),
            exited,
            published: ports("publish")?,
            exposed: ports("expose")?,
            is_task: filters.flag("is-task")?,
        })
    }

    fn lets(&self, container: &Container, filters: &Filters) -> bool {
        let record = container.record();
        let any = |key: &str, test: &dyn Fn(&str) -> bool| !filters.has(key) || filters.values(key).iter().any(|value| test(value));
        let in_network = |value: &str| {
            let id = |endpoint: &EndpointRecord| endpoint.network.is_some_and(|id| id.to_string().starts_with(value));
            record.endpoints.iter().any(|endpoint| endpoint.wish.network == value || !value.is_empty() && id(endpoint))
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
            && any("network", &in_network)
            && any("volume", &|value| {
                record.mounts.iter().any(|mount| {
                    let source = mount.volume.as_ref().map(|name| name.as_str()).or(mount.spec.source.as_deref());
                    mount.spec.target == value || source == Some(value)
                })
            })
            && any("health", &|value| record.health.as_ref().map_or("none", |health| health.status.word()) == value)
            && any("isolation", &|value| value == "default")
            // There are no tasks.
            && self.is_task != Some(true)
            && self.lets_ports(&record, filters)
            && filters.match_labels(&record.process.labels)
    }

    /// As dockerd, either filter is enough, and what does not run has no ports.
    fn lets_ports(&self, record: &ContainerRecord, filters: &Filters) -> bool {
        if !filters.has("publish") && !filters.has("expose") {
            return true;
        }
        let within = |ranges: &[(u16, u16, String)], number: u16, protocol: Protocol| {
            ranges.iter().any(|(first, last, wanted)| (*first..=*last).contains(&number) && protocol.to_string() == *wanted)
        };
        let attached = || record.endpoints.iter().filter_map(|endpoint| endpoint.attached.as_ref());
        let inside = record.process.exposed_ports.iter().copied().chain(record.spec.host.publish.iter().map(|binding| binding.container));
        let has_own_stack = record.state.is_alive() && attached().any(|attached| !attached.interface.is_empty());
        has_own_stack
            && (attached()
                .flat_map(|attached| &attached.published)
                .any(|port| within(&self.published, port.host_port, port.container.protocol))
                || inside.into_iter().any(|port| within(&self.exposed, port.number, port.protocol)))
    }
}

/// The images and, over any number of steps, what was built from them.
fn with_descendants(engine: &Engine, images: impl Iterator<Item = ImageId>) -> BTreeSet<ImageId> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<ImageId> = images.collect();
    while let Some(image) = waiting.pop() {
        if found.insert(image) {
            waiting.extend(engine.inner.store.images().children(&image));
        }
    }
    found
}

/// A name filter: a regular expression, or plain text when it is none, held against the name with and without its slash.
struct NamePattern {
    text: String,
    expression: Option<regex::Regex>,
}

impl NamePattern {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), expression: filters::expression(text).ok() }
    }

    fn matches(&self, name: &str) -> bool {
        let slashed = format!("/{name}");
        match &self.expression {
            Some(expression) => expression.is_match(name) || expression.is_match(&slashed),
            None => slashed.contains(&self.text),
        }
    }
}

/// Reads `80`, `80/udp` or `80-90/tcp`, in dockerd's words when it is none of these.
fn port_range(key: &str, text: &str) -> Result<(u16, u16, String)> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let why = if digits { "value out of range" } else { "invalid syntax" };
        let told = || Error::invalid(format!("error while looking up for {key} {text}: strconv.ParseUint: parsing \"{part}\": {why}"));
        part.parse::<u16>().map_err(|_| told())
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(Error::invalid(format!("error while looking up for {key} {text}: Invalid range specified for the Port: {numbers}")));
    }
    Ok((first, last, protocol.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_by_regular_expression() {
        for (pattern, name, expected) in [
            ("a", "bar", true),
            ("^a", "bar", false),
            ("^/bar$", "bar", true),
            ("b[ae]r", "ber", true),
            ("(foo|bar)$", "xbar", true),
            ("x(", "x(y", true),
            ("", "any", true),
        ] {
            assert_eq!(NamePattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn ports_of_filters_are_read_or_refused_in_dockerds_words() {
        assert_eq!(port_range("expose", "80-90/udp").unwrap(), (80, 90, "udp".to_owned()));
        assert_eq!(port_range("expose", "80").unwrap(), (80, 80, "tcp".to_owned()));
        let error = port_range("publish", "1-x").unwrap_err();
        assert_eq!(error.to_string(), "error while looking up for publish 1-x: strconv.ParseUint: parsing \"x\": invalid syntax");
    }
}
