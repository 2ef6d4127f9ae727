//! The live picture: a header with counts, a line per started vertex, its statuses, and a window of the log of what runs.
//!
//! What must stay true: never more than the terminal's rows minus two lines until the last frame, which has everything; what runs stays visible.

use super::colours::Colours;
use super::trace::{Part, Step, Trace, progress_of};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Lines of a log window.
const WINDOW: usize = 6;
/// Narrower names are not worth a line.
const NARROWEST: usize = 12;

/// Draws frames over each other.
pub(super) struct Picture {
    colours: Colours,
    drawn: usize,
}

/// A line of a frame and whether it may be dropped when there are too many.
struct Line {
    text: String,
    unfinished: bool,
}

impl Picture {
    /// Nothing is drawn yet.
    pub(super) fn new(colours: Colours) -> Self {
        Self { colours, drawn: 0 }
    }

    /// The bytes that replace the last frame by the current one.
    pub(super) fn redraw(&mut self, trace: &Trace, now: i64, size: (usize, usize), last: bool) -> String {
        if trace.beginning().is_none() {
            return String::new();
        }
        let lines = self.frame(trace, now, size, last);
        let mut out = String::from("\x1b[?25l");
        if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A\r\x1b[J", self.drawn));
        }
        for line in &lines {
            out.push_str(line);
            out.push('\n');
        }
        out.push_str("\x1b[?25h");
        self.drawn = if last { 0 } else { lines.len() };
        out
    }

    /// The lines of a frame.
    pub(super) fn frame(&self, trace: &Trace, now: i64, (rows, columns): (usize, usize), last: bool) -> Vec<String> {
        let finished = last && trace.vertexes.iter().all(|step| step.order.is_none() || step.completed.is_some());
        let now = if finished { trace.end().unwrap_or(now) } else { now };
        let height = rows.saturating_sub(2).max(3);
        let mut body: Vec<Line> = Vec::new();
        for step in trace.started() {
            self.step(&mut body, step, now, columns);
        }
        if !last {
            self.windows(&mut body, trace, now, (height, columns));
            body = fit(body, height.saturating_sub(1));
        }
        let mut lines = vec![header(trace, now, columns, finished)];
        lines.extend(body.into_iter().map(|line| line.text));
        lines
    }

    fn step(&self, body: &mut Vec<Line>, step: &Step, now: i64, columns: usize) {
        let prefix = match () {
            () if step.is_cancelled() => "CANCELED ",
            () if step.is_failed() => "ERROR ",
            () if step.cached => "CACHED ",
            () => "",
        };
        let colour = match () {
            () if step.completed.is_none() => "",
            () if step.is_cancelled() => &self.colours.cancelled,
            () if step.is_failed() => &self.colours.failed,
            () => &self.colours.done,
        };
        let unfinished = step.completed.is_none();
        if let Some(text) = timed(" => ", &format!("{prefix}{}", step.name), "", step.seconds(now), columns) {
            body.push(Line { text: Colours::paint(colour, &text), unfinished });
        }
        for part in &step.statuses {
            let seconds = seconds_of(part, now);
            if let Some(text) = timed(" => => ", &part.id, &progress_of(part), seconds, columns) {
                let colour = if part.completed.is_some() || step.completed.is_some() { self.colours.done.as_str() } else { "" };
                body.push(Line { text: Colours::paint(colour, &text), unfinished: unfinished && part.completed.is_none() });
            }
        }
    }

    /// Puts log windows below the running vertexes that write, as long as there is room.
    fn windows(&self, body: &mut Vec<Line>, trace: &Trace, now: i64, (height, columns): (usize, usize)) {
        let mut free = height.saturating_sub(body.len() + 1);
        for step in trace.started().into_iter().rev() {
            if !step.is_running() || free <= WINDOW + 3 {
                continue;
            }
            let tail = step.log.tail(WINDOW);
            if tail.is_empty() {
                continue;
            }
            let Some(head) = timed(" => ", &step.name, "", step.seconds(now), columns) else { continue };
            let Some(at) = body.iter().position(|line| line.text == head) else { continue };
            let below = at + 1 + step.statuses.len().min(body.len() - at - 1);
            let lines = tail.iter().map(|line| {
                let text = cut(&format!(" => => # {line}"), columns.saturating_sub(1));
                Line { text: Colours::paint(&self.colours.faint, &text), unfinished: true }
            });
            free -= tail.len();
            body.splice(below..below, lines);
        }
    }
}

/// Keeps `height` lines: the newest ones, but running ones that fell off take the place of finished ones.
fn fit(body: Vec<Line>, height: usize) -> Vec<Line> {
    if body.len() <= height {
        return body;
    }
    let mut surplus = body.len() - height;
    let mut kept: Vec<Line> = Vec::with_capacity(height);
    for line in body {
        if surplus > 0 && !line.unfinished {
            surplus -= 1;
        } else {
            kept.push(line);
        }
    }
    let too_many = kept.len().saturating_sub(height);
    kept.drain(..too_many);
    kept
}

fn header(trace: &Trace, now: i64, columns: usize, finished: bool) -> String {
    let seconds = (now - trace.beginning().unwrap_or(now)).max(0) as f64 / 1e9;
    let done = trace.vertexes.iter().filter(|step| step.completed.is_some()).count();
    let mark = if finished { " FINISHED" } else { "" };
    let left = format!("[+] Building {seconds:.1}s ({done}/{}){mark}", trace.vertexes.len());
    let right = "shipway:default";
    if left.len() + right.len() + 2 > columns {
        return cut(&left, columns.saturating_sub(1));
    }
    let gap = columns - 1 - left.len() - right.len();
    format!("{left}{}{right}", " ".repeat(gap))
}

/// ` => name   status   0.4s`, the time in the last columns; none when the terminal is too narrow to say anything.
fn timed(prefix: &str, name: &str, status: &str, seconds: f64, columns: usize) -> Option<String> {
    let timer = format!("{:3.1}s", if seconds < 0.05 { 0.0 } else { seconds });
    let mut left = columns.checked_sub(prefix.len() + timer.len() + 3)?;
    let mut shown = "";
    if !status.is_empty() && left > 20 {
        shown = status;
        left = left.checked_sub(status.len() + 1)?;
    }
    if left < NARROWEST {
        return None;
    }
    let mut text = format!("{prefix}{}", cut(name, left));
    if !shown.is_empty() {
        text.push(' ');
        text.push_str(shown);
    }
    let gap = (columns - 1).saturating_sub(text.width() + timer.len());
    Some(format!("{text}{}{timer}", " ".repeat(gap)))
}

fn seconds_of(part: &Part, now: i64) -> f64 {
    part.started.map_or(0.0, |started| (part.completed.unwrap_or(now) - started).max(0) as f64 / 1e9)
}

/// The first `most` columns of a text.
fn cut(text: &str, most: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|letter| {
            used += letter.width().unwrap_or(0);
            used <= most
        })
        .collect()
}
