//! Beginning, end, codes, signals, adoption, leftovers.

use std::time::Duration;

use shipway_model::{Classified, ErrorKind, Limits, Signal};
use shipway_runtime::{Adopted, LaunchError};

use crate::fixture::{Fixture, drain, until, within};

#[tokio::test]
async fn exit_codes_are_those_of_the_program() {
    let fixture = Fixture::with_pool(1);
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$; exit 1", 1), ("sh -c 'kill -TERM $$'; exit $?", 143)] {
        let outcome = fixture.run(fixture.shell(script)).await;
        assert_eq!(outcome.status.code, code, "{script}");
        assert!(!outcome.status.oom_killed);
    }
}

#[tokio::test]
async fn what_cannot_run_says_why() {
    let fixture = Fixture::new();
    for (program, code, text) in [
        ("nonsense", 127, "exec: \"nonsense\": executable file not found in $PATH"),
        ("/no/such", 127, "exec: \"/no/such\": stat /no/such: no such file or directory"),
        ("/bin/plain", 126, "exec: \"/bin/plain\": permission denied"),
        ("/etc", 126, "exec: \"/etc\": is a directory"),
        ("/bin/lost", 127, "exec: \"/bin/lost\": no such file or directory"),
        ("", 127, "exec: \"\": executable file not found in $PATH"),
    ] {
        let error = fixture.refusal(fixture.spec(&[program])).await;
        assert_eq!(error.exit_code(), Some(code), "{program}: {error}");
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(fixture.cgroups(), Vec::<String>::new(), "a refused launch leaves no cgroup");
}

#[tokio::test]
async fn signals_reach_the_first_process() {
    let fixture = Fixture::new();
    let mut running = fixture.start(fixture.shell("trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.05; done")).await;
    let mut attachment = running.attachment.take().expect("attached");
    until(&mut attachment, "ready").await;
    running.handle.signal(Signal::USR1).await.expect("signal");
    let (rest, _) = drain(attachment).await;
    assert_eq!(rest, "got\n");
    assert_eq!(running.handle.wait().await.code, 5);
    within("gone", running.handle.gone()).await;
    assert!(running.handle.signal(Signal::USR1).await.is_err(), "it has ended");
}

#[tokio::test]
async fn kill_all_ends_everything_even_when_paused() {
    let fixture = Fixture::new();
    let running = fixture.start(fixture.shell("sleep 100 & sleep 100 & wait")).await;
    within("three processes", async {
        while running.handle.processes().len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    running.handle.pause().await.expect("pause");
    let state = std::fs::read_to_string(format!("/proc/{}/wchan", running.pid)).unwrap_or_default();
    assert!(state.contains("refrigerator") || state.contains("freez") || state.is_empty() || state == "0", "{state}");
    running.handle.kill_all().await;
    assert_eq!(within("end", running.handle.wait()).await.code, 137);
    within("gone", running.handle.gone()).await;
    assert_eq!(fixture.cgroups(), Vec::<String>::new());
}

#[tokio::test]
async fn pausing_stops_and_resuming_continues() {
    let fixture = Fixture::new();
    let mut running = fixture.start(fixture.shell("while :; do echo tick; sleep 0.02; done")).await;
    let mut attachment = running.attachment.take().expect("attached");
    until(&mut attachment, "tick").await;
    running.handle.pause().await.expect("pause");
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(200), attachment.output.recv()).await {}
    running.handle.resume().await.expect("resume");
    until(&mut attachment, "tick").await;
    running.handle.kill_all().await;
    drop(attachment);
    within("gone", running.handle.gone()).await;
}

#[tokio::test]
async fn running_out_of_memory_is_told_apart() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec(&["/bin/sh", "-c", "x=$(dd if=/dev/zero bs=1M count=200 2>/dev/null | tr '\\0' 'x'); echo survived"]);
    spec.limits = Limits { memory: Some(32 << 20), memory_swap: Some(32 << 20), ..Limits::default() };
    let outcome = fixture.run(spec).await;
    assert!(outcome.status.oom_killed, "{outcome:?}");
    assert!(!outcome.stdout.contains("survived"), "{outcome:?}");
}

#[tokio::test]
async fn the_number_of_processes_is_limited_to_exactly_what_was_asked() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("for i in 1 2 3 4 5 6; do sleep 5 & done; echo $(ls -d /proc/[0-9]* | wc -l)");
    spec.limits = Limits { pids: Some(4), ..Limits::default() };
    let outcome = fixture.run(spec).await;
    assert!(outcome.stderr.contains("fork"), "{outcome:?}");
    let mut spec = fixture.shell("sleep 0.1 & sleep 0.1 & sleep 0.1 & wait; echo fine");
    spec.limits = Limits { pids: Some(4), ..Limits::default() };
    assert_eq!(fixture.run(spec).await.stdout, "fine\n");
}

#[tokio::test]
async fn limits_and_counters_are_the_containers_own() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("sleep 100");
    spec.limits = Limits { memory: Some(64 << 20), nano_cpus: Some(500_000_000), pids: Some(10), ..Limits::default() };
    let running = fixture.start(spec).await;
    let stats = running.handle.stats();
    assert_eq!((stats.usage.memory_limit, stats.usage.pids, stats.usage.pids_limit), (64 << 20, 1, Some(10)));
    assert_eq!(running.handle.processes(), [running.pid]);
    running.handle.update_limits(&Limits { memory: Some(128 << 20), ..Limits::default() }).await.expect("update");
    assert_eq!(running.handle.stats().usage.memory_limit, 128 << 20);
    running.handle.kill_all().await;
    within("gone", running.handle.gone()).await;
}

#[tokio::test]
async fn a_container_outlives_the_daemon_and_is_adopted() {
    let mut fixture = Fixture::new();
    let mut spec = fixture.shell("echo before; while ! test -e /tmp/go; do sleep 0.02; done; echo after; exit 9");
    let log = fixture.with_log(&mut spec);
    let (id, state_dir) = (spec.id, spec.state_dir.clone());
    let upper = spec.root.upper.clone().expect("upper").0;
    let running = fixture.start(spec).await;
    let pid = running.pid;
    drop(running);
    fixture.runtime = None;
    let runtime = fixture.start_runtime(0);
    let Adopted::Running(adopted) = runtime.adopt(id, &state_dir).await.expect("adopt") else { panic!("it runs") };
    assert_eq!(adopted.pid, pid);
    let attachment = adopted.handle.attach(shipway_runtime::AttachOptions::OUTPUT).await.expect("attach");
    let _ = upper;
    let spec = shipway_runtime::ExecSpec {
        id: shipway_model::ExecId::from_random([7; 32]),
        process: shipway_runtime::ProcessSpec { args: vec!["/bin/touch".to_owned(), "/tmp/go".to_owned()], ..Default::default() },
        attach: shipway_runtime::AttachOptions::NONE,
        privileged: false,
        tied: false,
    };
    adopted.handle.exec(spec).await.expect("exec");
    let (rest, _) = drain(attachment).await;
    assert_eq!(rest, "after\n");
    assert_eq!(within("end", adopted.handle.wait()).await.code, 9);
    within("gone", adopted.handle.gone()).await;
    let logged = std::fs::read_to_string(&log).expect("log");
    assert!(logged.contains("before\\n") && logged.contains("after\\n"), "{logged}");
    let Adopted::Exited(status) = runtime.adopt(id, &state_dir).await.expect("adopt again") else { panic!("it has ended") };
    assert_eq!(status.code, 9);
    fixture.runtime = Some(runtime);
    assert_eq!(fixture.cgroups(), Vec::<String>::new());
}

#[tokio::test]
async fn a_killed_monitor_leaves_a_container_that_adoption_cleans_up() {
    let mut fixture = Fixture::new();
    let spec = fixture.shell("sleep 100");
    let (id, state_dir) = (spec.id, spec.state_dir.clone());
    let running = fixture.start(spec).await;
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(state_dir.join("state")).expect("state")).expect("JSON");
    fixture.runtime = None;
    let monitor = rustix::process::Pid::from_raw(state["monitor"].as_i64().expect("pid") as i32).expect("pid");
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).expect("kill");
    assert_eq!(within("end", running.handle.wait()).await.code, 137);
    within("gone", running.handle.gone()).await;
    let runtime = fixture.start_runtime(0);
    assert!(matches!(runtime.adopt(id, &state_dir).await.expect("adopt"), Adopted::Gone));
    // Whoever inherits orphans on this machine may take a moment to bury it.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid)).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    fixture.runtime = Some(runtime);
}

#[tokio::test]
async fn nothing_is_left_after_many_runs() {
    let fixture = Fixture::with_pool(2);
    // Of ours: the machine has others, which come and go.
    let image = fixture.image().display().to_string();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo").matches(&image).count();
    let before = mounts();
    for _ in 0..5 {
        assert_eq!(fixture.run(fixture.shell("echo hi")).await.stdout, "hi\n");
    }
    assert_eq!(mounts(), before);
    let pooled = fixture.cgroups().iter().all(|path| path.contains("/pool-"));
    assert!(pooled, "{:?}", fixture.cgroups());
}

#[tokio::test]
async fn a_shut_down_runtime_refuses_and_leaves_no_cgroup() {
    let mut fixture = Fixture::with_pool(2);
    within("pool", async {
        while fixture.runtime().parked() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let spec = fixture.shell("true");
    let mut runtime = fixture.runtime.take().expect("runtime");
    runtime.shutdown();
    assert!(matches!(runtime.launch(spec).await, Err(LaunchError::ShuttingDown)));
    assert_eq!(fixture.cgroups(), Vec::<String>::new());
}

#[tokio::test]
async fn the_sweep_removes_strangers_and_spares_the_known() {
    let fixture = Fixture::new();
    let known = fixture.start(fixture.shell("sleep 100")).await;
    let stranger = fixture.start(fixture.shell("sleep 100")).await;
    let removed = fixture.runtime().sweep(&[*known.handle.id()].into());
    assert_eq!(removed, [stranger.handle.id().to_string()]);
    within("end", stranger.handle.wait()).await;
    assert!(known.handle.is_running());
    known.handle.kill_all().await;
    within("gone", known.handle.gone()).await;
}

#[tokio::test]
async fn with_init_orphans_are_buried_and_signals_forwarded() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("sh -c 'sleep 0.05 & exit' ; trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done");
    spec.init = true;
    let mut running = fixture.start(spec).await;
    let mut attachment = running.attachment.take().expect("attached");
    until(&mut attachment, "ready").await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    for pid in running.handle.processes() {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(!state.contains(") Z "), "a zombie: {state}");
    }
    running.handle.signal(Signal::TERM).await.expect("signal");
    drop(attachment);
    assert_eq!(within("end", running.handle.wait()).await.code, 3);
    within("gone", running.handle.gone()).await;
}
