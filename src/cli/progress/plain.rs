//! Plain lines: one vertex at a time, numbered at its first line, finished ones before running ones.
//!
//! What must stay true: lines of one vertex stay together until it is done or keeps the others waiting; no line is printed twice.

use super::trace::{Step, Trace, progress_of, visible};

/// A running vertex that has been shown this long gives way to another one with news.
const TURN_NANOSECONDS: i64 = 5_000_000_000;

/// What was printed so far.
#[derive(Debug, Default)]
pub(super) struct Plain {
    begun: bool,
    current: Option<usize>,
    /// When the current vertex got its turn.
    turn_began: i64,
    next_number: usize,
    shown: Vec<Shown>,
}

/// What was printed of one vertex.
#[derive(Debug, Default, Clone)]
struct Shown {
    number: usize,
    lines: usize,
    done: bool,
}

impl Plain {
    /// The lines that are new. With `last` everything is printed, in whatever order is left.
    pub(super) fn advance(&mut self, trace: &mut Trace, last: bool) -> String {
        let mut out = String::new();
        if !self.begun && trace.vertexes.iter().any(|step| step.order.is_some()) {
            self.begun = true;
            out.push_str("#0 building with \"default\" instance using shipway driver\n");
        }
        self.shown.resize(trace.vertexes.len(), Shown::default());
        let now = latest(trace);
        while let Some(next) = self.choose(trace, now, last) {
            if self.current != Some(next) {
                self.leave(&mut out);
                self.current = Some(next);
                self.turn_began = now;
                self.enter(&mut out, &trace.vertexes[next], next);
            }
            self.print(&mut out, &mut trace.vertexes[next], next, last);
        }
        out
    }

    /// The vertex to print now: the current one while it has news and its turn lasts, then finished ones, then running ones.
    fn choose(&self, trace: &Trace, now: i64, last: bool) -> Option<usize> {
        let has_news = |at: &usize| self.has_news(&trace.vertexes[*at], *at);
        if let Some(current) = self.current {
            if has_news(&current) {
                return Some(current);
            }
            let step = &trace.vertexes[current];
            let turn_is_over = step.completed.is_some() || last || now - self.turn_began > TURN_NANOSECONDS;
            if !turn_is_over {
                return None;
            }
        }
        let mut waiting: Vec<usize> = (0..trace.vertexes.len()).filter(|at| trace.vertexes[*at].order.is_some()).filter(has_news).collect();
        waiting.sort_by_key(|at| (trace.vertexes[*at].completed.is_none(), trace.vertexes[*at].completed, trace.vertexes[*at].order));
        waiting.first().copied()
    }

    fn has_news(&self, step: &Step, at: usize) -> bool {
        let shown = &self.shown[at];
        let lines = step.log.lines.len() + step.log.dropped;
        shown.number == 0 || lines > shown.lines || !step.changed.is_empty() || (step.completed.is_some() && !shown.done)
    }

    fn leave(&self, out: &mut String) {
        if let Some(current) = self.current
            && !self.shown[current].done
        {
            out.push_str(&format!("#{} ...\n", self.shown[current].number));
        }
    }

    fn enter(&mut self, out: &mut String, step: &Step, at: usize) {
        if self.shown[at].number == 0 {
            self.next_number += 1;
            self.shown[at].number = self.next_number;
        }
        out.push_str(&format!("\n#{} {}\n", self.shown[at].number, step.name));
    }

    fn print(&mut self, out: &mut String, step: &mut Step, at: usize, last: bool) {
        let shown = &mut self.shown[at];
        let number = shown.number;
        for index in std::mem::take(&mut step.changed) {
            let part = &step.statuses[index];
            let mut line = format!("#{number} {}", part.id);
            let progress = progress_of(part);
            if !progress.is_empty() {
                line.push(' ');
                line.push_str(&progress);
            }
            if let (Some(started), Some(completed)) = (part.started, part.completed) {
                if completed - started >= 50_000_000 {
                    line.push_str(&format!(" {:.1}s", (completed - started) as f64 / 1e9));
                }
                line.push_str(" done");
            }
            out.push_str(&line);
            out.push('\n');
        }
        let begun = step.intervals.last().map_or(0, |interval| interval.0);
        if (last || step.completed.is_some()) && !step.log.partial.is_empty() {
            let rest = std::mem::take(&mut step.log.partial);
            step.log.lines.push((step.completed.unwrap_or(begun), String::from_utf8_lossy(&rest).into_owned()));
        }
        for (time, text) in step.log.lines.iter().skip(shown.lines.saturating_sub(step.log.dropped)) {
            out.push_str(&format!("#{number} {} {}\n", stamp(*time - begun), visible(text)));
        }
        shown.lines = step.log.lines.len() + step.log.dropped;
        if step.completed.is_some() && !shown.done {
            shown.done = true;
            let end = match () {
                () if step.is_cancelled() => "CANCELED".to_owned(),
                () if step.is_failed() => format!("ERROR: {}", step.error),
                () if step.cached => "CACHED".to_owned(),
                () => format!("DONE {:.1}s", step.seconds(0)),
            };
            out.push_str(&format!("#{number} {end}\n"));
        }
    }
}

/// Seconds into the vertex: three decimals below ten, two below a hundred, else one.
pub(super) fn stamp(nanoseconds: i64) -> String {
    let seconds = nanoseconds.max(0) as f64 / 1e9;
    match seconds {
        ..10.0 => format!("{seconds:.3}"),
        ..100.0 => format!("{seconds:.2}"),
        _ => format!("{seconds:.1}"),
    }
}

/// The latest time any event carries: the display's clock, so that replays turn as the build did.
fn latest(trace: &Trace) -> i64 {
    let of_step = |step: &Step| {
        let log = step.log.lines.last().map(|line| line.0);
        let interval = step.intervals.last().map(|interval| interval.1.unwrap_or(interval.0));
        log.into_iter().chain(interval).chain(step.completed).max()
    };
    trace.vertexes.iter().filter_map(of_step).max().unwrap_or_default()
}
