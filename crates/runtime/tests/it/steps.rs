//! Build steps.

use std::time::Duration;

use shipway_runtime::{BuildStepSpec, ExitStatus, LaunchError, Mount, OutputFrame, ProcessSpec};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, within};

fn step(fixture: &Fixture, script: &str) -> (BuildStepSpec, std::path::PathBuf) {
    let id = fixture.id();
    let mut root = fixture.root(&id);
    root.volatile = true;
    let upper = root.upper.clone().expect("upper").0;
    let process = ProcessSpec {
        args: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        env: vec!["PATH=/bin".to_owned()],
        ..ProcessSpec::default()
    };
    (BuildStepSpec::new(id, root, process), upper)
}

async fn run(fixture: &Fixture, spec: BuildStepSpec, cancel: CancellationToken) -> (Result<ExitStatus, LaunchError>, String) {
    let (sender, mut receiver) = mpsc::channel::<OutputFrame>(16);
    let collect = async {
        let mut text = String::new();
        while let Some(frame) = receiver.recv().await {
            text.push_str(&String::from_utf8_lossy(&frame.bytes));
        }
        text
    };
    within("step", async { tokio::join!(fixture.runtime().run_step(spec, sender, cancel), collect) }).await
}

#[tokio::test]
async fn steps_follow_each_other_on_the_same_monitor() {
    let fixture = Fixture::with_pool(1);
    for number in 0..5 {
        let (spec, upper) = step(&fixture, &format!("echo step {number}; echo {number} > /made; readlink /proc/self/fd/0; exit {number}"));
        let (status, text) = run(&fixture, spec, CancellationToken::new()).await;
        assert_eq!(status.expect("runs").code, number);
        assert_eq!(text, format!("step {number}\n/dev/null\n"));
        let names: Vec<_> = std::fs::read_dir(upper).expect("list").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["made"], "only what the step did is in its layer");
    }
}

#[tokio::test]
async fn a_cancelled_step_is_killed() {
    let fixture = Fixture::new();
    let (spec, _) = step(&fixture, "sleep 100 & sleep 100");
    let cancel = CancellationToken::new();
    let trigger = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        trigger.cancel();
    });
    let (status, _) = run(&fixture, spec, cancel).await;
    assert!(matches!(status, Err(LaunchError::Cancelled)), "{status:?}");
}

#[tokio::test]
async fn mount_points_made_for_a_step_are_not_left_in_its_layer() {
    let fixture = Fixture::new();
    let cache = fixture.folder.path().join("cache");
    std::fs::create_dir_all(&cache).expect("mkdir");
    let (mut spec, upper) = step(&fixture, "echo x > /var/cache/thing/file");
    spec.mounts = vec![Mount::bind(&cache, "/var/cache/thing", false)];
    let (status, _) = run(&fixture, spec, CancellationToken::new()).await;
    assert_eq!(status.expect("runs").code, 0);
    assert!(cache.join("file").exists());
    assert!(!upper.join("var/cache/thing").exists());
}

#[tokio::test]
async fn a_step_that_cannot_start_says_why() {
    let fixture = Fixture::new();
    let (mut spec, _) = step(&fixture, "");
    spec.process.args = vec!["/no/shell".to_owned()];
    let (status, _) = run(&fixture, spec, CancellationToken::new()).await;
    assert_eq!(status.expect_err("refused").exit_code(), Some(127));
}
