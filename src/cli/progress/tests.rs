//! Whole frames of recorded builds.

use super::trace::{progress_of, visible};
use super::*;

/// A small build: two loads, a cached FROM, a RUN that writes, an export.
const EVENTS: &str = r#"
{"vertexes":[{"digest":"a","name":"[internal] load build definition from Dockerfile"},{"digest":"b","name":"[1/2] FROM docker.io/library/busybox"},{"digest":"c","name":"[2/2] RUN echo hi"},{"digest":"d","name":"exporting to image"}]}
{"vertexes":[{"digest":"a","name":"[internal] load build definition from Dockerfile","started":"2026-11-21T10:00:00Z"}],"statuses":[{"id":"transferring dockerfile:","vertex":"a","current":393,"total":0,"started":"2026-11-21T10:00:00Z","completed":"2026-11-21T10:00:00.01Z"}]}
{"vertexes":[{"digest":"a","name":"[internal] load build definition from Dockerfile","started":"2026-11-21T10:00:00Z","completed":"2026-11-21T10:00:00.1Z"}]}
{"vertexes":[{"digest":"b","name":"[1/2] FROM docker.io/library/busybox","started":"2026-11-21T10:00:00.1Z","completed":"2026-11-21T10:00:00.1Z","cached":true}]}
{"vertexes":[{"digest":"c","name":"[2/2] RUN echo hi","started":"2026-11-21T10:00:00.1Z"}],"logs":[{"vertex":"c","stream":1,"data":"aGkKd29y","timestamp":"2026-11-21T10:00:01.1Z"}]}
"#;

const END: &str = r#"
{"vertexes":[{"digest":"c","name":"[2/2] RUN echo hi","started":"2026-11-21T10:00:00.1Z","completed":"2026-11-21T10:00:02.1Z"}]}
{"vertexes":[{"digest":"d","name":"exporting to image","started":"2026-11-21T10:00:02.1Z","completed":"2026-11-21T10:00:02.2Z"}]}
"#;

const FAILED: &str = r#"
{"vertexes":[{"digest":"c","name":"[2/2] RUN echo hi","started":"2026-11-21T10:00:00.1Z","completed":"2026-11-21T10:00:02.1Z","error":"process \"/bin/sh -c echo hi\" did not complete successfully: exit code: 7"}],"warnings":[{"vertex":"a","level":1,"short":"RnJvbUFzQ2FzaW5nOiB4","range":[{"start":{"line":1},"end":{"line":1}}]}]}
"#;

fn events(text: &str) -> Vec<SolveStatus> {
    text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn trace(text: &str) -> Trace {
    let mut trace = Trace::default();
    events(text).iter().for_each(|event| trace.apply(event));
    trace
}

fn at(seconds: &str) -> i64 {
    human::parse(&format!("2026-11-21T10:00:{seconds}Z")).unwrap().nanoseconds()
}

fn frame(trace: &Trace, now: &str, rows: usize, last: bool) -> String {
    let picture = terminal::Picture::new(Colours::none());
    picture.frame(trace, at(now), (rows, 60), last).join("\n")
}

#[test]
fn a_running_build_shows_counts_times_and_the_log() {
    let expected = "\
[+] Building 1.6s (2/4)                     shipway:default
 => [internal] load build definition from Dockerfile   0.1s
 => => transferring dockerfile: 393B                   0.0s
 => CACHED [1/2] FROM docker.io/library/busybox        0.0s
 => [2/2] RUN echo hi                                  1.5s
 => => # hi
 => => # wor";
    assert_eq!(frame(&trace(EVENTS), "01.6", 24, false), expected);
}

#[test]
fn a_small_terminal_keeps_what_runs() {
    let expected = "\
[+] Building 1.6s (2/4)                     shipway:default
 => CACHED [1/2] FROM docker.io/library/busybox        0.0s
 => [2/2] RUN echo hi                                  1.5s";
    assert_eq!(frame(&trace(EVENTS), "01.6", 5, false), expected);
}

#[test]
fn the_last_frame_has_everything() {
    let whole = format!("{EVENTS}{END}");
    let expected = "\
[+] Building 2.2s (4/4) FINISHED            shipway:default
 => [internal] load build definition from Dockerfile   0.1s
 => => transferring dockerfile: 393B                   0.0s
 => CACHED [1/2] FROM docker.io/library/busybox        0.0s
 => [2/2] RUN echo hi                                  2.0s
 => exporting to image                                 0.1s";
    assert_eq!(frame(&trace(&whole), "09", 4, true), expected);
}

#[test]
fn a_redraw_replaces_the_lines_before() {
    let mut picture = terminal::Picture::new(Colours::usual());
    let trace = trace(EVENTS);
    assert!(!picture.redraw(&trace, at("01"), (24, 60), false).contains("\x1b[J"));
    let second = picture.redraw(&trace, at("02"), (24, 60), false);
    assert!(second.starts_with("\x1b[?25l\x1b[7A\r\x1b[J[+] Building"), "{second:?}");
    assert!(second.contains("\x1b[34m => CACHED"));
}

#[test]
fn plain_lines_are_numbered_and_kept_together() {
    let mut trace = Trace::default();
    let mut plain = plain::Plain::default();
    let mut text = String::new();
    for event in events(&format!("{EVENTS}{END}")) {
        trace.apply(&event);
        text.push_str(&plain.advance(&mut trace, false));
    }
    text.push_str(&plain.advance(&mut trace, true));
    let expected = "\
#0 building with \"default\" instance using shipway driver

#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 393B done
#1 DONE 0.1s

#2 [1/2] FROM docker.io/library/busybox
#2 CACHED

#3 [2/2] RUN echo hi
#3 1.000 hi
#3 2.000 wor
#3 DONE 2.0s

#4 exporting to image
#4 DONE 0.1s
";
    assert_eq!(text, expected);
}

#[test]
fn a_failure_repeats_the_log_and_lists_warnings() {
    let trace = trace(&format!("{EVENTS}{FAILED}"));
    assert_eq!(failure::excerpt(&trace), "------\n > [2/2] RUN echo hi:\n1.000 hi\nwor\n------\n");
    assert_eq!(failure::warnings(&trace), "\n 1 warning found:\n - FromAsCasing: x (line 1)\n");
}

#[test]
fn control_sequences_never_reach_the_display() {
    assert_eq!(visible("\x1b[31mred\x1b[0m 10%\r100%\r"), "100%");
    assert_eq!(visible("a\tb\x07"), "a    b");
    let part = trace::Part { current: 3_150_000, total: 10_200_000, ..trace::Part::default() };
    assert_eq!(progress_of(&part), "3.15MB / 10.20MB");
}

#[test]
fn what_runs_when_a_person_interrupts_is_cancelled() {
    let mut interrupted = trace(EVENTS);
    interrupted.cancel(at("01.6"));
    let expected = "\
[+] Building 1.6s (3/4) FINISHED            shipway:default
 => [internal] load build definition from Dockerfile   0.1s
 => => transferring dockerfile: 393B                   0.0s
 => CACHED [1/2] FROM docker.io/library/busybox        0.0s
 => CANCELED [2/2] RUN echo hi                         1.5s";
    assert_eq!(frame(&interrupted, "02.6", 24, true), expected);
    let plain = plain::Plain::default().advance(&mut interrupted, true);
    assert!(
        plain.ends_with("[2/2] RUN echo hi\n#3 0.000 hi\n#3 1.500 wor\n#3 CANCELED\n") || plain.ends_with("wor\n#3 CANCELED\n"),
        "{plain}"
    );
}
