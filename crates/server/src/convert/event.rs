//! Events of the engine, into the lines of `GET /events`, and the filters that clients narrow them with.

use shipway_engine::{Event, Filters, Subject};
use shipway_wire::ApiVersion;
use shipway_wire::system::{EventActor, EventMessage};

use crate::error::ApiError;

/// Filters that `events` accepts.
const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Refuses filters that do not exist.
pub(crate) fn check(filters: &Filters) -> Result<(), ApiError> {
    Ok(filters.check_known(FILTERS)?)
}

/// True when `filters` let `event` through: any value of a key, all keys.
pub(crate) fn lets(filters: &Filters, event: &Event) -> bool {
    let any = |key: &str, test: &dyn Fn(&str) -> bool| !filters.has(key) || filters.values(key).iter().any(|value| test(value));
    let named = |key: &str, subject: Subject| {
        let name = event.attributes.get("name");
        any(key, &|value| {
            event.subject == subject && (event.id.starts_with(value) && !value.is_empty() || name.is_some_and(|name| name == value))
        })
    };
    any("type", &|value| event.subject.word() == value)
        // `exec_create: ls` is asked for as `exec_create`.
        && any("event", &|value| event.action == value || event.action.split_once(':').is_some_and(|(action, _)| action == value))
        && any("scope", &|value| value == "local")
        && named("container", Subject::Container)
        && named("volume", Subject::Volume)
        && named("network", Subject::Network)
        && named("daemon", Subject::Daemon)
        && any("image", &|value| about_image(event, value))
        && ["config", "node", "plugin", "secret", "service"].iter().all(|key| !filters.has(key))
        && filters.match_labels(&event.attributes)
}

/// An image event matches by id or name; a container event by the image it was made from, with or without its tag.
fn about_image(event: &Event, value: &str) -> bool {
    let shown = match event.subject {
        Subject::Image => event.attributes.get("name"),
        Subject::Container => event.attributes.get("image"),
        _ => return false,
    };
    let same =
        |name: &String| name == value || name.rsplit_once(':').is_some_and(|(repository, tag)| repository == value && !tag.contains('/'));
    event.subject == Subject::Image && event.id == value || shown.is_some_and(same)
}

/// One line. Containers and images also get the three fields of the oldest form, which some clients still read.
pub(crate) fn message(event: &Event, version: ApiVersion) -> EventMessage {
    let legacy = !version.at_least(52) && matches!(event.subject, Subject::Container | Subject::Image);
    let old = |text: &str| if legacy { text.to_owned() } else { String::new() };
    EventMessage {
        status: old(&event.action),
        id: old(&event.id),
        from: old(event.attributes.get("image").map_or("", String::as_str)),
        kind: event.subject.word().to_owned(),
        action: event.action.clone(),
        actor: EventActor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".to_owned(),
        time: event.at.unix_seconds(),
        time_nano: event.at.nanoseconds(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shipway_model::Timestamp;

    use super::*;

    fn event(subject: Subject, action: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Event { at: Timestamp::from_unix(7, 5), subject, action: action.to_owned(), id: "abc123".to_owned(), attributes }
    }

    fn matches(filters: &[(&str, &str)], event: &Event) -> bool {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in filters {
            map.entry((*key).to_owned()).or_default().push((*value).to_owned());
        }
        lets(&Filters::new(map), event)
    }

    #[test]
    fn filters_narrow_as_dockerd_narrows() {
        let start = event(Subject::Container, "exec_create: ls", &[("name", "web"), ("image", "busybox:1"), ("team", "a")]);
        for (filters, expected) in [
            (&[][..], true),
            (&[("type", "container")], true),
            (&[("type", "image")], false),
            (&[("type", "image"), ("type", "container")], true),
            (&[("event", "exec_create")], true),
            (&[("event", "start")], false),
            (&[("container", "web")], true),
            (&[("container", "abc")], true),
            (&[("container", "other")], false),
            (&[("image", "busybox")], true),
            (&[("image", "busybox:1")], true),
            (&[("image", "busybox:2")], false),
            (&[("label", "team=a")], true),
            (&[("label", "team=b")], false),
            (&[("volume", "abc")], false),
            (&[("service", "x")], false),
        ] {
            assert_eq!(matches(filters, &start), expected, "{filters:?}");
        }
    }

    #[test]
    fn the_line_has_both_forms_until_version_1_52() {
        let line = message(&event(Subject::Container, "start", &[("image", "a")]), ApiVersion::new(1, 41));
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"status":"start","id":"abc123","from":"a","Type":"container","Action":"start","Actor":{"ID":"abc123","Attributes":{"image":"a"}},"scope":"local","time":7,"timeNano":7000000005}"#
        );
        assert_eq!(message(&event(Subject::Network, "create", &[]), ApiVersion::new(1, 41)).status, "");
        assert_eq!(message(&event(Subject::Container, "start", &[]), ApiVersion::new(1, 52)).status, "");
    }
}
