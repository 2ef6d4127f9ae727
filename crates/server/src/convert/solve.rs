//! The event log of a build, told as BuildKit's solve status: one object of news for each event.

use std::collections::HashMap;

use shipway_engine::values::{LogStream, ProgressEvent, VertexId};
use shipway_wire::progress::{Base64, LineRange, Place, SolveStatus, Vertex, VertexLog, VertexStatus, VertexWarning};

/// Tells one build; remembers the vertexes, because each piece of news repeats the whole vertex.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    vertexes: HashMap<VertexId, Vertex>,
}

impl Reporter {
    /// The news in `event`; `None` when this form has no words for it.
    pub(crate) fn tell(&mut self, event: ProgressEvent) -> Option<SolveStatus> {
        let status = match event {
            ProgressEvent::Vertex { id, name, inputs, .. } => {
                let vertex = Vertex { digest: digest(id), inputs: inputs.into_iter().map(digest).collect(), name, ..Vertex::default() };
                self.vertexes.insert(id, vertex.clone());
                SolveStatus { vertexes: vec![vertex], ..SolveStatus::default() }
            }
            ProgressEvent::Started { id, at } => self.news(id, |vertex| vertex.started = Some(at.to_rfc3339_nano()))?,
            ProgressEvent::Cached { id } => self.news(id, |vertex| vertex.cached = true)?,
            ProgressEvent::Completed { id, at, cached, error } => self.news(id, |vertex| {
                let at = at.to_rfc3339_nano();
                vertex.started.get_or_insert_with(|| at.clone());
                vertex.completed = Some(at);
                vertex.cached |= cached;
                vertex.error = error.unwrap_or_default();
            })?,
            ProgressEvent::Status { id, status, current, total, started, completed } => SolveStatus {
                statuses: vec![VertexStatus {
                    id: status,
                    vertex: digest(id),
                    name: String::new(),
                    total: total.map_or(0, super::signed),
                    current: super::signed(current),
                    timestamp: Some(completed.unwrap_or(started).to_rfc3339_nano()),
                    started: Some(started.to_rfc3339_nano()),
                    completed: completed.map(|at| at.to_rfc3339_nano()),
                }],
                ..SolveStatus::default()
            },
            ProgressEvent::Log { id, stream, bytes, at } => SolveStatus {
                logs: vec![VertexLog {
                    vertex: digest(id),
                    stream: if stream == LogStream::Stderr { 2 } else { 1 },
                    data: Base64(bytes),
                    timestamp: Some(at.to_rfc3339_nano()),
                }],
                ..SolveStatus::default()
            },
            ProgressEvent::Warning { id, code, message, detail, line } => SolveStatus {
                warnings: vec![VertexWarning {
                    vertex: id.map(digest).unwrap_or_default(),
                    level: 1,
                    short: Base64::from(format!("{code}: {message}").as_str()),
                    detail: detail.lines().map(Base64::from).collect(),
                    url: String::new(),
                    range: line.map(place).into_iter().collect(),
                }],
                ..SolveStatus::default()
            },
            _ => return None,
        };
        Some(status)
    }

    fn news(&mut self, id: VertexId, change: impl FnOnce(&mut Vertex)) -> Option<SolveStatus> {
        let vertex = self.vertexes.get_mut(&id)?;
        change(vertex);
        Some(SolveStatus { vertexes: vec![vertex.clone()], ..SolveStatus::default() })
    }
}

/// BuildKit names vertexes by digests; readers only compare them.
fn digest(id: VertexId) -> String {
    format!("sha256:{:064x}", id.0)
}

fn place(line: u32) -> LineRange {
    let place = Place { line: i32::try_from(line).unwrap_or(i32::MAX), character: 0 };
    LineRange { start: place, end: place }
}

#[cfg(test)]
mod tests {
    use shipway_model::Timestamp;

    use super::*;

    #[test]
    fn each_piece_of_news_repeats_the_vertex() {
        let mut reporter = Reporter::default();
        let id = VertexId(3);
        assert_eq!(reporter.tell(ProgressEvent::Cached { id }), None);
        reporter.tell(ProgressEvent::Vertex { id, name: "[1/2] RUN x".to_owned(), inputs: vec![VertexId(1)], line: None });
        let at = Timestamp::from_unix(1, 0);
        reporter.tell(ProgressEvent::Started { id, at });
        let news = reporter.tell(ProgressEvent::Completed { id, at, cached: true, error: None }).unwrap();
        let vertex = &news.vertexes[0];
        assert_eq!((vertex.name.as_str(), vertex.cached, vertex.inputs.len()), ("[1/2] RUN x", true, 1));
        assert_eq!(vertex.started.as_deref(), Some("1970-01-01T00:00:01Z"));
        assert_eq!(vertex.completed, vertex.started);
        assert_eq!(vertex.digest.len(), "sha256:".len() + 64);
    }
}
