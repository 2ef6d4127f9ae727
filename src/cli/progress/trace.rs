//! What is known about a build: its vertexes with their times, statuses, logs and warnings, in the order they began.

use crate::cli::human;
use shipway_wire::progress::{SolveStatus, Vertex, VertexLog, VertexStatus, VertexWarning};
use std::collections::HashMap;

/// Lines of a vertex's log kept for displays; the whole log is the daemon's (`build history logs`).
const KEPT_LINES: usize = 2000;

/// What BuildKit says of what nobody waits for any more.
const CANCELLED: &str = "context canceled";

/// Everything shown so far.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// In the order of announcement.
    pub(super) vertexes: Vec<Step>,
    by_digest: HashMap<String, usize>,
    /// Warnings, in order.
    pub(super) warnings: Vec<VertexWarning>,
    /// Numbers handed out at the first start.
    next_order: usize,
}

/// A vertex and what happened to it.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) name: String,
    /// Place among the started ones; none before the start.
    pub(super) order: Option<usize>,
    /// Begin and end of each interval of work, in nanoseconds.
    pub(super) intervals: Vec<(i64, Option<i64>)>,
    pub(super) completed: Option<i64>,
    pub(super) cached: bool,
    pub(super) error: String,
    pub(super) statuses: Vec<Part>,
    pub(super) log: Log,
    /// Indexes of statuses with news the plain display has not printed.
    pub(super) changed: Vec<usize>,
}

/// Countable work inside a vertex.
#[derive(Debug, Default, Clone)]
pub(super) struct Part {
    pub(super) id: String,
    pub(super) current: i64,
    pub(super) total: i64,
    pub(super) started: Option<i64>,
    pub(super) completed: Option<i64>,
}

/// Lines a program wrote.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Whole lines with the time of their end.
    pub(super) lines: Vec<(i64, String)>,
    /// How many lines were dropped from the front.
    pub(super) dropped: usize,
    /// A line without its end yet.
    pub(super) partial: Vec<u8>,
}

impl Trace {
    /// Takes in one line of events.
    pub(super) fn apply(&mut self, status: &SolveStatus) {
        for vertex in &status.vertexes {
            self.vertex(vertex);
        }
        for status in &status.statuses {
            self.status(status);
        }
        for log in &status.logs {
            self.log(log);
        }
        self.warnings.extend(status.warnings.iter().cloned());
    }

    fn step(&mut self, digest: &str) -> &mut Step {
        let at = match self.by_digest.get(digest) {
            Some(at) => *at,
            None => {
                self.vertexes.push(Step::default());
                self.by_digest.insert(digest.to_owned(), self.vertexes.len() - 1);
                self.vertexes.len() - 1
            }
        };
        &mut self.vertexes[at]
    }

    fn vertex(&mut self, vertex: &Vertex) {
        let started = nanoseconds(vertex.started.as_deref());
        let completed = nanoseconds(vertex.completed.as_deref());
        let order = self.next_order;
        let step = self.step(&vertex.digest);
        step.name = vertex.name.replace(['\t', '\n'], " ");
        let is_first_start = started.is_some() && step.order.is_none();
        if is_first_start {
            step.order = Some(order);
        }
        if let Some(started) = started {
            match step.intervals.last_mut() {
                Some(last) if last.0 == started => last.1 = completed,
                _ => step.intervals.push((started, completed)),
            }
        }
        step.completed = completed;
        step.cached |= vertex.cached;
        if !vertex.error.is_empty() {
            step.error.clone_from(&vertex.error);
        }
        if is_first_start {
            self.next_order += 1;
        }
    }

    fn status(&mut self, status: &VertexStatus) {
        let part = Part {
            id: status.id.clone(),
            current: status.current,
            total: status.total,
            started: nanoseconds(status.started.as_deref()),
            completed: nanoseconds(status.completed.as_deref()),
        };
        let step = self.step(&status.vertex);
        let at = match step.statuses.iter().position(|known| known.id == part.id) {
            Some(at) => {
                step.statuses[at] = part;
                at
            }
            None => {
                step.statuses.push(part);
                step.statuses.len() - 1
            }
        };
        if !step.changed.contains(&at) {
            step.changed.push(at);
        }
    }

    fn log(&mut self, log: &VertexLog) {
        let at = nanoseconds(log.timestamp.as_deref()).unwrap_or_default();
        let step = self.step(&log.vertex);
        step.log.push(at, &log.data.0);
    }

    /// Ends at `now` what still runs: nobody waits for it any more.
    pub(super) fn cancel(&mut self, now: i64) {
        for step in self.vertexes.iter_mut().filter(|step| step.is_running()) {
            step.completed = Some(now);
            step.intervals.last_mut().into_iter().for_each(|interval| interval.1 = Some(now));
            CANCELLED.clone_into(&mut step.error);
        }
    }

    /// Started vertexes in the order they started.
    pub(super) fn started(&self) -> Vec<&Step> {
        let mut started: Vec<&Step> = self.vertexes.iter().filter(|step| step.order.is_some()).collect();
        started.sort_by_key(|step| step.order);
        started
    }

    /// When the first vertex started.
    pub(super) fn beginning(&self) -> Option<i64> {
        self.vertexes.iter().filter_map(|step| step.intervals.first()).map(|interval| interval.0).min()
    }

    /// When the last one ended.
    pub(super) fn end(&self) -> Option<i64> {
        self.vertexes.iter().filter_map(|step| step.completed).max()
    }
}

impl Step {
    /// True while work goes on.
    pub(super) fn is_running(&self) -> bool {
        self.order.is_some() && self.completed.is_none()
    }

    /// Stopped because something else failed or the person asked.
    pub(super) fn is_cancelled(&self) -> bool {
        self.error.ends_with(CANCELLED)
    }

    /// Failed by itself.
    pub(super) fn is_failed(&self) -> bool {
        !self.error.is_empty() && !self.is_cancelled()
    }

    /// Seconds of work until `now`, overlapping intervals counted once.
    pub(super) fn seconds(&self, now: i64) -> f64 {
        let mut spans: Vec<(i64, i64)> = self.intervals.iter().map(|(start, end)| (*start, end.unwrap_or(now).max(*start))).collect();
        spans.sort_unstable();
        let (mut total, mut covered) = (0, i64::MIN);
        for (start, end) in spans {
            total += (end - start.max(covered)).max(0);
            covered = covered.max(end);
        }
        total as f64 / 1e9
    }
}

impl Log {
    fn push(&mut self, at: i64, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.lines.push((at, String::from_utf8_lossy(line.trim_ascii_end()).into_owned()));
        }
        if self.lines.len() > 2 * KEPT_LINES {
            let surplus = self.lines.len() - KEPT_LINES;
            self.lines.drain(..surplus);
            self.dropped += surplus;
        }
    }

    /// The last `most` lines as a terminal would show them: the last overwriting of each, without escapes.
    pub(super) fn tail(&self, most: usize) -> Vec<String> {
        let partial = String::from_utf8_lossy(&self.partial).into_owned();
        let lines = self.lines.iter().map(|(_, line)| line.as_str()).chain((!partial.is_empty()).then_some(partial.as_str()));
        let all: Vec<&str> = lines.collect();
        all.iter().skip(all.len().saturating_sub(most)).map(|line| visible(line)).collect()
    }
}

/// A line without control sequences; after a carriage return only what followed it.
pub(super) fn visible(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut out = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            if letters.next_if_eq(&'[').is_some() {
                while letters.next_if(|next| !next.is_ascii_alphabetic()).is_some() {}
            }
            letters.next();
        } else if letter == '\t' {
            out.push_str("    ");
        } else if !letter.is_control() {
            out.push(letter);
        }
    }
    out
}

fn nanoseconds(text: Option<&str>) -> Option<i64> {
    human::parse(text?).map(|moment| moment.nanoseconds())
}

/// `3.15MB`: two decimals above a kilobyte, as BuildKit prints amounts.
pub(super) fn amount(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

/// `3.15MB / 10.20MB`, or `393B` when the whole is unknown.
pub(super) fn progress_of(part: &Part) -> String {
    match (part.total, part.current) {
        (0, 0) => String::new(),
        (0, current) => amount(current),
        (total, current) => format!("{} / {}", amount(current), amount(total)),
    }
}
