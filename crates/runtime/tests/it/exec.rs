//! Later programs.

use bytes::Bytes;
use shipway_model::{CapabilitySet, ExecId, Signal};
use shipway_runtime::{AttachOptions, ExecHandle, ExecSpec, LaunchError, ProcessSpec, Running, TerminalSize};

use crate::fixture::{Fixture, drain, until, within};

fn exec(number: u8, args: &[&str]) -> ExecSpec {
    let process = ProcessSpec {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec!["PATH=/bin".to_owned()],
        ..ProcessSpec::default()
    };
    ExecSpec { id: ExecId::from_random([number; 32]), process, attach: AttachOptions::OUTPUT, privileged: false, tied: false }
}

async fn finish(mut handle: ExecHandle) -> (i32, String, String) {
    let (stdout, stderr) = drain(handle.attachment.take().expect("attached")).await;
    (within("exec", handle.wait()).await.code, stdout, stderr)
}

async fn sleeper(fixture: &Fixture) -> Running {
    let mut spec = fixture.shell("trap exit TERM; while :; do sleep 1; done");
    spec.attach = None;
    fixture.start(spec).await
}

async fn end(running: Running) {
    running.handle.kill_all().await;
    within("gone", running.handle.gone()).await;
}

#[tokio::test]
async fn it_runs_inside_with_the_containers_identity() {
    let fixture = Fixture::with_pool(1);
    let running = sleeper(&fixture).await;
    let names = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];
    let script = names.map(|name| format!("readlink /proc/self/ns/{name}; readlink /proc/1/ns/{name}")).join(";");
    let handle = running.handle.exec(exec(1, &["sh", "-c", &script])).await.expect("exec");
    let (code, stdout, stderr) = finish(handle).await;
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 2 * names.len(), "{stdout}");
    assert!(lines.chunks(2).all(|pair| pair[0] == pair[1]), "{stdout}");
    let status = "grep -E 'Cap|Seccomp:' /proc/self/status; ls /proc/self/fd; grep -E 'pids|memory' /proc/self/cgroup";
    let handle = running.handle.exec(exec(2, &["sh", "-c", status])).await.expect("exec");
    let (_, stdout, _) = finish(handle).await;
    assert!(stdout.contains("CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\n"), "{stdout}");
    assert!(stdout.contains("Seccomp:\t2\n0\n1\n2\n3\n"), "{stdout}");
    assert!(stdout.lines().filter(|line| line.contains("pids") || line.contains("memory")).all(|line| line.ends_with(":/")), "{stdout}");
    end(running).await;
}

#[tokio::test]
async fn refusals_are_those_of_a_first_program() {
    let fixture = Fixture::new();
    let running = sleeper(&fixture).await;
    for (program, code) in [("nonsense", Some(127)), ("/bin/plain", Some(126)), ("/bin/lost", Some(127))] {
        let error = running.handle.exec(exec(1, &[program])).await.expect_err("refused");
        assert_eq!(error.exit_code(), code, "{error}");
    }
    let mut spec = exec(2, &["pwd"]);
    spec.process.cwd = "/not/there".to_owned();
    assert!(matches!(running.handle.exec(spec).await, Err(LaunchError::Cwd { .. })));
    let handle = running.handle.exec(exec(3, &["true"])).await.expect("still works");
    assert_eq!(finish(handle).await.0, 0);
    end(running).await;
}

#[tokio::test]
async fn more_rights_need_to_be_said() {
    // S-112.
    let fixture = Fixture::new();
    let running = sleeper(&fixture).await;
    for (privileged, expected) in [(false, "00000000a80425fb"), (true, "000001ff")] {
        let mut spec = exec(1, &["grep", "CapEff", "/proc/self/status"]);
        spec.process.capabilities = CapabilitySet::from_mask(u64::MAX);
        spec.privileged = privileged;
        let (_, stdout, _) = finish(running.handle.exec(spec).await.expect("exec")).await;
        assert!(stdout.contains(expected), "{privileged}: {stdout}");
    }
    end(running).await;
}

#[tokio::test]
async fn codes_signals_input_and_terminals_work() {
    let fixture = Fixture::new();
    let running = sleeper(&fixture).await;
    let (code, ..) = finish(running.handle.exec(exec(1, &["sh", "-c", "exit 42"])).await.expect("exec")).await;
    assert_eq!(code, 42);
    let handle = running.handle.exec(exec(2, &["sleep", "100"])).await.expect("exec");
    handle.signal(Signal::KILL).await.expect("signal");
    assert_eq!(finish(handle).await.0, 137);
    let mut spec = exec(3, &["cat"]);
    spec.attach = AttachOptions::ALL;
    let mut handle = running.handle.exec(spec).await.expect("exec");
    let input = handle.attachment.as_mut().and_then(|attachment| attachment.input.take()).expect("input");
    input.send(Bytes::from_static(b"fed")).await.expect("send");
    drop(input);
    assert_eq!(finish(handle).await.1, "fed");
    let mut spec = exec(4, &["sh", "-c", "tty; stty size; read x; stty size"]);
    spec.process.terminal = Some(TerminalSize { rows: 10, cols: 20 });
    spec.attach = AttachOptions::ALL;
    let mut handle = running.handle.exec(spec).await.expect("exec");
    let mut attachment = handle.attachment.take().expect("attached");
    let seen = until(&mut attachment, "10 20").await;
    assert!(seen.starts_with("/dev/pts/"), "{seen:?}");
    handle.resize(11, 22).await.expect("resize");
    attachment.input.as_ref().expect("input").send(Bytes::from_static(b"\r")).await.expect("send");
    assert!(drain(attachment).await.0.contains("11 22"));
    assert_eq!(within("exec", handle.wait()).await.code, 0);
    end(running).await;
}

#[tokio::test]
async fn many_at_once_and_none_seen_from_outside_the_count() {
    let fixture = Fixture::new();
    let running = sleeper(&fixture).await;
    let mut handles = Vec::new();
    for number in 0..20 {
        handles.push(running.handle.exec(exec(number, &["sh", "-c", &format!("echo {number}")])).await.expect("exec"));
    }
    for (number, handle) in handles.into_iter().enumerate() {
        let (code, stdout, _) = finish(handle).await;
        assert_eq!((code, stdout), (0, format!("{number}\n")));
    }
    end(running).await;
}

#[tokio::test]
async fn the_end_of_the_container_ends_it() {
    let fixture = Fixture::new();
    let running = sleeper(&fixture).await;
    let handle = running.handle.exec(exec(1, &["sleep", "100"])).await.expect("exec");
    running.handle.signal(Signal::KILL).await.expect("kill");
    assert_eq!(finish(handle).await.0, 137);
    within("gone", running.handle.gone()).await;
    assert!(matches!(running.handle.exec(exec(2, &["true"])).await, Err(LaunchError::NotRunning)));
}
