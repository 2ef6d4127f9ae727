//! A new engine on the folders of one that went: what ran still runs, what ended has its code, what was half done is gone.

use std::time::Duration;

use shipway_engine::Engine;
use shipway_engine::containers::{ContainerState, LogOptions, WaitCondition};

use crate::fixture::{home, import_busybox, settings, shell, sweep, within};

/// One life of an engine: everything it owns goes with its executor.
fn life<T>(work: impl Future<Output = T>) -> T {
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = executor.block_on(work);
    executor.shutdown_timeout(Duration::from_secs(10));
    outcome
}

async fn open(home: &tempfile::TempDir) -> Engine {
    // The lock of the life before goes with its last thread.
    for _ in 0..200 {
        match Engine::start(settings(home.path())).await {
            Ok(engine) => return engine,
            Err(error) if error.to_string().contains("in use") || error.to_string().contains("lock") => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the data root stays locked");
}

#[test]
fn containers_outlive_the_engine_and_are_taken_back() {
    let home = home();
    let pid = life(async {
        let engine = open(&home).await;
        import_busybox(&engine, &[]).await;
        for (name, script) in [
            ("runs", "echo before; while [ ! -e /go ]; do sleep 0.05; done; echo after; exit 8"),
            ("ends", "sleep 0.3; exit 4"),
            ("never", "true"),
        ] {
            engine.create_container(shell(name, script)).await.unwrap();
        }
        engine.start_container("runs").await.unwrap();
        engine.start_container("ends").await.unwrap();
        engine.inspect_container("runs", false).await.unwrap().record.state.pid().unwrap()
    });
    std::thread::sleep(Duration::from_millis(600));
    life(async {
        let engine = open(&home).await;
        let state = |name: &'static str| {
            let engine = engine.clone();
            async move { engine.inspect_container(name, false).await.unwrap().record.state }
        };
        assert_eq!(state("runs").await.pid(), Some(pid));
        assert!(matches!(state("ends").await, ContainerState::Exited { code: 4, .. }), "{:?}", state("ends").await);
        assert_eq!(state("never").await, ContainerState::Created { error: None });
        let waiting = engine.wait_container("runs", WaitCondition::NotRunning).await.unwrap();
        std::fs::write(format!("/proc/{pid}/root/go"), "").unwrap();
        assert_eq!(within("the end", waiting.finished()).await.unwrap().code, 8);
        let mut lines = engine.logs("runs", LogOptions { stdout: true, ..LogOptions::default() }).await.unwrap().lines;
        let mut said = Vec::new();
        while let Some(line) = lines.recv().await {
            said.push(line.bytes);
        }
        assert_eq!(said, ["before\n", "after\n"]);
        sweep(&engine).await;
    });
}

#[test]
fn a_machine_that_went_down_leaves_ended_containers_and_no_rubbish() {
    let home = home();
    life(async {
        let engine = open(&home).await;
        import_busybox(&engine, &[]).await;
        engine.create_container(shell("web", "sleep 100")).await.unwrap();
        engine.start_container("web").await.unwrap();
        let mut gone = shell("gone", "sleep 100");
        gone.host.auto_remove = true;
        engine.create_container(gone).await.unwrap();
        engine.start_container("gone").await.unwrap();
    });
    // As a reboot: their processes die unseen, and what lived in memory only is lost.
    life(async {
        let engine = open(&home).await;
        for name in ["web", "gone"] {
            let pid = engine.inspect_container(name, false).await.unwrap().record.state.pid().unwrap();
            assert!(pid > 1);
        }
    });
    let run = home.path().join("run");
    for name in kill_everything_in(home.path()) {
        assert!(!name.is_empty());
    }
    std::fs::remove_dir_all(&run).unwrap();
    std::fs::create_dir_all(home.path().join("data/containers/0000")).unwrap();
    life(async {
        let engine = open(&home).await;
        assert!(matches!(engine.inspect_container("web", false).await.unwrap().record.state, ContainerState::Exited { code: 255, .. }));
        for _ in 0..200 {
            if engine.inspect_container("gone", false).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(engine.inspect_container("gone", false).await.is_err(), "--rm holds over a reboot");
        assert!(!home.path().join("data/containers/0000").exists(), "a folder nobody names is thrown away");
        engine.start_container("web").await.unwrap();
        sweep(&engine).await;
    });
}

/// Kills every process in the cgroups of the engine in `home`, monitors included; the names of the cgroups.
fn kill_everything_in(home: &std::path::Path) -> Vec<String> {
    let ours = home.file_name().unwrap().to_string_lossy().into_owned();
    let mut names = Vec::new();
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        for group in std::fs::read_dir(hierarchy.path().join(&ours)).into_iter().flatten().flatten() {
            let Ok(listed) = std::fs::read_to_string(group.path().join("cgroup.procs")) else { continue };
            for pid in listed.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
                // It may be gone already: the same process is in several hierarchies.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            names.push(group.file_name().to_string_lossy().into_owned());
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    names
}
