//! What a client hears: attached before the start, from the log afterwards, from a second process.

use bytes::Bytes;
use shipway_engine::Error;
use shipway_engine::containers::{ExecSpec, LogOptions};
use shipway_model::{Classified, ErrorKind};

use crate::fixture::{Fixture, drain, everything, shell, within};

#[tokio::test]
async fn who_attaches_before_the_start_misses_nothing_and_is_heard() {
    let it = Fixture::new().await;
    let mut spec = shell("talk", "echo first; echo aside >&2; read word; echo \"heard $word\"");
    (spec.open_stdin, spec.stdin_once) = (true, true);
    it.engine.create_container(spec).await.unwrap();
    let mut attachment = it.engine.attach("talk", everything()).await.unwrap();
    let input = attachment.input.take().unwrap();
    input.write(Bytes::from_static(b"you\n")).await.unwrap();
    it.engine.start_container("talk").await.unwrap();
    let (out, err) = drain(attachment).await;
    assert_eq!((out.as_str(), err.as_str()), ("first\nheard you\n", "aside\n"));
    assert_eq!(it.wait("talk").await, 0);
    it.finish().await;
}

#[tokio::test]
async fn a_start_that_fails_lets_waiting_clients_go() {
    let it = Fixture::new().await;
    let mut spec = shell("bad", "");
    spec.command = Some(vec!["nosuch".to_owned()]);
    it.engine.create_container(spec).await.unwrap();
    let attachment = it.engine.attach("bad", everything()).await.unwrap();
    it.engine.start_container("bad").await.unwrap_err();
    assert_eq!(within("the end of the streams", drain(attachment)).await, (String::new(), String::new()));
    it.finish().await;
}

#[tokio::test]
async fn logs_are_told_from_the_end_from_a_moment_and_as_they_come() {
    let it = Fixture::new().await;
    it.run("said", "for i in 1 2 3 4 5; do echo $i; done").await;
    let tail = |count| LogOptions { tail: Some(count), ..LogOptions::default() };
    assert_eq!(it.logs("said", LogOptions::default()).await, "1\n2\n3\n4\n5\n");
    assert_eq!(it.logs("said", tail(2)).await, "4\n5\n");
    assert_eq!(it.logs("said", tail(0)).await, "");
    let now = shipway_engine::clock::now();
    assert_eq!(it.logs("said", LogOptions { since: Some(now), ..LogOptions::default() }).await, "");
    assert_eq!(it.logs("said", LogOptions { until: Some(now), ..tail(1) }).await, "5\n");
    it.start("slow", "for i in 1 2 3; do echo $i; sleep 0.1; done; printf end").await;
    assert_eq!(it.logs("slow", LogOptions { follow: true, ..LogOptions::default() }).await, "1\n2\n3\nend");
    it.finish().await;
}

#[tokio::test]
async fn a_rotated_log_keeps_the_newest_lines_in_order() {
    let it = Fixture::new().await;
    let mut spec = shell("much", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
    spec.host.log.options = [("max-size".to_owned(), "40k".to_owned()), ("max-file".to_owned(), "3".to_owned())].into();
    it.engine.create_container(spec).await.unwrap();
    it.engine.start_container("much").await.unwrap();
    it.wait("much").await;
    let said = it.logs("much", LogOptions::default()).await;
    let numbers: Vec<u32> = said.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert_eq!(numbers.last(), Some(&2999));
    assert!(numbers[0] > 0, "the oldest file went");
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "nothing is missing between the files");
    let view = it.engine.inspect_container("much", false).await.unwrap();
    let files = std::fs::read_dir(view.log_path.unwrap().parent().unwrap()).unwrap().flatten();
    assert!(files.filter(|file| file.file_name().to_string_lossy().contains("-json.log")).count() <= 3);
    it.finish().await;
}

#[tokio::test]
async fn the_log_driver_none_keeps_nothing_and_says_so() {
    let it = Fixture::new().await;
    let mut spec = shell("mute", "echo x");
    spec.host.log.driver = "none".to_owned();
    it.engine.create_container(spec).await.unwrap();
    it.engine.start_container("mute").await.unwrap();
    it.wait("mute").await;
    let error = it.engine.logs("mute", LogOptions { stdout: true, ..LogOptions::default() }).await.err().unwrap();
    assert_eq!(error.to_string(), "configured logging driver does not support reading");
    it.finish().await;
}

#[tokio::test]
async fn a_second_process_has_its_own_settings_output_and_code() {
    let it = Fixture::new().await;
    let mut spec = shell("host", "sleep 100");
    spec.env = vec!["A=1".to_owned()];
    it.engine.create_container(spec).await.unwrap();
    it.engine.start_container("host").await.unwrap();
    let exec = |args: &[&str]| ExecSpec {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        attach_stdout: true,
        attach_stderr: true,
        ..ExecSpec::default()
    };
    let wanted = ExecSpec {
        env: vec!["B=2".to_owned()],
        user: Some("user".to_owned()),
        working_dir: Some("/tmp".to_owned()),
        ..exec(&["sh", "-c", "echo $A$B $(pwd) $(id -un); exit 6"])
    };
    let id = it.engine.create_exec("host", wanted).await.unwrap().to_string();
    let attachment = it.engine.start_exec(&id, false).await.unwrap().unwrap();
    assert_eq!(drain(attachment).await.0, "12 /tmp user\n");
    for _ in 0..200 {
        if it.engine.inspect_exec(&id).unwrap().exit_code.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(it.engine.inspect_exec(&id).unwrap().exit_code, Some(6));
    assert_eq!(it.engine.start_exec(&id, false).await.err().unwrap().kind(), ErrorKind::Conflict);
    for (spec, code) in [
        (exec(&["nosuch"]), 127),
        (exec(&["/etc/passwd"]), 126),
        (ExecSpec { user: Some("nobody-here".to_owned()), ..exec(&["true"]) }, 126),
    ] {
        let id = it.engine.create_exec("host", spec).await.unwrap().to_string();
        let error = it.engine.start_exec(&id, false).await.err().unwrap();
        assert!(!matches!(error, Error::Internal { .. }), "{error}");
        assert_eq!(it.engine.inspect_exec(&id).unwrap().exit_code, Some(code), "{error}");
    }
    it.create("idle", "true").await;
    assert_eq!(it.engine.create_exec("idle", exec(&["true"])).await.unwrap_err().kind(), ErrorKind::Conflict);
    it.finish().await;
}
