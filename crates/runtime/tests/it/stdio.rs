//! Input, output, terminals, logs, slow and vanishing clients.

use bytes::Bytes;
use shipway_runtime::{AttachOptions, LogConfig, Stdio, TerminalSize};

use crate::fixture::{Fixture, drain, until, within};

#[tokio::test]
async fn both_outputs_arrive_apart_and_complete() {
    let fixture = Fixture::new();
    let outcome = fixture.run(fixture.shell("echo out; echo err >&2; seq 1 50000 | tail -n 1")).await;
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n50000\n", "err\n"));
}

#[tokio::test]
async fn large_output_arrives_whole_at_a_slow_client_and_in_the_log() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("seq 1 300000");
    let log = fixture.with_log(&mut spec);
    let mut running = fixture.start(spec).await;
    let mut attachment = running.attachment.take().expect("attached");
    let mut length = 0;
    while let Some(frame) = attachment.output.recv().await {
        length += frame.bytes.len();
        if length < 1 << 18 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    assert_eq!(length, 1_988_895);
    within("gone", running.handle.gone()).await;
    assert_eq!(std::fs::read_to_string(log).expect("log").lines().count(), 300_000);
}

#[tokio::test]
async fn input_is_fed_and_its_end_is_seen() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("cat; echo done");
    spec.stdio = Stdio { open_stdin: true, stdin_once: true };
    spec.attach = Some(AttachOptions::ALL);
    let mut running = fixture.start(spec).await;
    let mut attachment = running.attachment.take().expect("attached");
    let input = attachment.input.take().expect("input");
    input.send(Bytes::from_static(b"one\n")).await.expect("send");
    until(&mut attachment, "one").await;
    input.send(Bytes::from(vec![b'x'; 300_000])).await.expect("send");
    drop(input);
    let (rest, _) = drain(attachment).await;
    assert_eq!(rest.len(), 300_000 + "done\n".len());
    within("gone", running.handle.gone()).await;
}

#[tokio::test]
async fn without_input_there_is_nothing_to_read() {
    let fixture = Fixture::new();
    assert_eq!(fixture.said("cat; readlink /proc/self/fd/0").await, "/dev/null\n");
}

#[tokio::test]
async fn several_clients_hear_the_same_and_may_leave() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("read word; echo $word; read word; echo $word");
    spec.stdio = Stdio { open_stdin: true, stdin_once: false };
    spec.attach = None;
    let running = fixture.start(spec).await;
    let mut first = running.handle.attach(AttachOptions::ALL).await.expect("attach");
    let second = running.handle.attach(AttachOptions::OUTPUT).await.expect("attach");
    // The second attach is known to be in place once something asked later has been answered.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    first.input.take().expect("input").send(Bytes::from_static(b"alpha\n")).await.expect("send");
    until(&mut first, "alpha").await;
    drop(first);
    let third = running.handle.attach(AttachOptions::ALL).await.expect("attach");
    third.input.as_ref().expect("input").send(Bytes::from_static(b"beta\n")).await.expect("send");
    let (heard, _) = drain(second).await;
    assert_eq!(heard, "alpha\nbeta\n");
    drop(third);
    within("gone", running.handle.gone()).await;
}

#[tokio::test]
async fn a_terminal_is_a_terminal() {
    let fixture = Fixture::new();
    let mut spec = fixture
        .shell("tty; stty size; test -t 0 && test -t 1 && echo both; stat -c %t:%T /dev/console; read word; echo got $word; stty size");
    spec.process.terminal = Some(TerminalSize { rows: 40, cols: 100 });
    spec.stdio = Stdio { open_stdin: true, stdin_once: false };
    spec.attach = Some(AttachOptions::ALL);
    let mut running = fixture.start(spec).await;
    let mut attachment = running.attachment.take().expect("attached");
    let seen = until(&mut attachment, "88:").await;
    // S-108: the console is our own pty (major 136 = 0x88).
    assert!(seen.starts_with("/dev/pts/0\r\n40 100\r\nboth\r\n88:"), "{seen:?}");
    running.handle.resize(50, 120).await.expect("resize");
    attachment.input.as_ref().expect("input").send(Bytes::from_static(b"hi\r")).await.expect("send");
    let (rest, errors) = drain(attachment).await;
    assert!(rest.ends_with("hi\r\ngot hi\r\n50 120\r\n"), "{rest:?}");
    assert_eq!(errors, "");
    within("gone", running.handle.gone()).await;
}

#[tokio::test]
async fn output_can_be_opened_again_by_another_user() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("echo again > /dev/stdout; echo err > /proc/self/fd/2");
    spec.process.user.uid = 1000;
    let outcome = fixture.run(spec).await;
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("again\n", "err\n"));
}

#[tokio::test]
async fn logs_are_dockers_json_lines_and_complete_when_the_end_is_told() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("echo one; echo two >&2; printf three");
    spec.attach = None;
    let log = fixture.with_log(&mut spec);
    let running = fixture.start(spec).await;
    running.handle.wait().await;
    let text = std::fs::read_to_string(log).expect("log");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut told: Vec<(&str, &str)> =
        lines.iter().map(|line| (line["stream"].as_str().expect("s"), line["log"].as_str().expect("l"))).collect();
    told.sort_unstable();
    assert_eq!(told, [("stderr", "two\n"), ("stdout", "one\n"), ("stdout", "three")]);
    within("gone", running.handle.gone()).await;
}

#[tokio::test]
async fn a_full_log_disk_does_not_stop_the_container() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("seq 1 1000; echo fine >&2");
    spec.log = LogConfig::JsonFile { path: "/dev/full".into(), max_size: 0, max_files: 1, compress: false, attributes: Default::default() };
    let outcome = fixture.run(spec).await;
    assert_eq!((outcome.status.code, outcome.stderr.as_str()), (0, "fine\n"));
}
