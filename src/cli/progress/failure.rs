//! What is said after the picture: the end of the failed step's log, and the warnings about the Dockerfile.

use super::plain::stamp;
use super::trace::{Trace, visible};

/// Lines of a failed step's log that are repeated.
const REPEATED: usize = 20;

/// The logs of the vertexes that failed by themselves.
pub(super) fn excerpt(trace: &Trace) -> String {
    let mut out = String::new();
    for step in trace.started().into_iter().filter(|step| step.is_failed()) {
        out.push_str(&format!("------\n > {}:\n", step.name));
        let begun = step.intervals.last().map_or(0, |interval| interval.0);
        let lines = &step.log.lines;
        for (time, line) in lines.iter().skip(lines.len().saturating_sub(REPEATED)) {
            out.push_str(&format!("{} {}\n", stamp(*time - begun), visible(line)));
        }
        if !step.log.partial.is_empty() {
            out.push_str(&format!("{}\n", visible(&String::from_utf8_lossy(&step.log.partial))));
        }
        out.push_str("------\n");
    }
    out
}

/// One line per warning, and below it why it matters and what to write instead.
pub(super) fn warnings(trace: &Trace) -> String {
    let count = trace.warnings.len();
    if count == 0 {
        return String::new();
    }
    let mut out = format!("\n {count} warning{} found:\n", if count == 1 { "" } else { "s" });
    for warning in &trace.warnings {
        let line = warning.range.first().map(|range| range.start.line).filter(|line| *line > 0);
        let place = line.map(|line| format!(" (line {line})")).unwrap_or_default();
        let text = warning.short.text();
        let place = if text.ends_with(&place) { String::new() } else { place };
        out.push_str(&format!(" - {text}{place}\n"));
        for detail in &warning.detail {
            out.push_str(&format!("   {}\n", visible(&detail.text())));
        }
    }
    out
}
