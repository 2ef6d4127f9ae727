//! Steps side by side, one run for many builds, and stopping.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shipway_build::{BuildError, BuildOptions, ProgressEvent, build};
use tokio_util::sync::CancellationToken;

use crate::support::Bench;

const SLOW: &str = "FROM diamol/base\nRUN sleep 300; write /counted once\n";

#[tokio::test]
async fn stages_run_side_by_side() {
    let bench = Bench::new();
    let begun = Instant::now();
    bench.build("FROM diamol/base AS a\nRUN sleep 300; write /a 1\nFROM diamol/base AS b\nRUN sleep 300; write /b 1\nFROM a\nCOPY --from=b /b /b\n").await;
    let spans = bench.executor.spans.lock().unwrap().clone();
    assert!(spans[0].0 < spans[1].1 && spans[1].0 < spans[0].1, "the two runs overlap: {:?}", begun.elapsed());
}

#[tokio::test]
async fn stages_nobody_needs_are_never_looked_at() {
    let bench = Bench::new();
    let dockerfile = "FROM no/such/image AS broken\nRUN fail 1\nFROM diamol/base AS wanted\nRUN say yes\nFROM wanted AS last\nRUN fail 1\n";
    bench.build_with(dockerfile, BuildOptions { target: Some("WANTED".into()), ..BuildOptions::default() }).await;
    assert_eq!(bench.runs(), 1);
    assert!(!bench.vertex_names().iter().any(|name| name.contains("no/such")));
}

#[tokio::test]
async fn fifty_equal_builds_run_a_step_once() {
    let bench = Bench::new();
    let outcomes = futures_util::future::join_all((0..50).map(|_| {
        let request = bench.request(SLOW, BuildOptions::default());
        tokio::spawn(build(request, bench.store.clone(), bench.ports.clone(), std::sync::Arc::new(|_| {}), CancellationToken::new()))
    }));
    let images: std::collections::HashSet<_> = outcomes.await.into_iter().map(|outcome| outcome.unwrap().unwrap().image).collect();
    assert_eq!((bench.runs(), images.len(), bench.ports.flights.in_progress()), (1, 1, 0));
}

#[tokio::test]
async fn the_last_of_many_cancelled_builds_still_finishes() {
    let bench = Bench::new();
    let tokens: Vec<CancellationToken> = (0..20).map(|_| CancellationToken::new()).collect();
    let builds: Vec<_> = tokens
        .iter()
        .map(|token| {
            let request = bench.request(SLOW, BuildOptions::default());
            tokio::spawn(build(request, bench.store.clone(), bench.ports.clone(), std::sync::Arc::new(|_| {}), token.clone()))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for token in &tokens[..19] {
        token.cancel();
    }
    let results: Vec<_> = futures_util::future::join_all(builds).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(results.iter().filter(|result| matches!(result, Err(BuildError::Cancelled))).count(), 19);
    assert_eq!((results.iter().filter(|result| result.is_ok()).count(), bench.runs()), (1, 1));
}

#[tokio::test]
async fn a_cancelled_build_kills_its_process_and_leaves_nothing() {
    let bench = Bench::new();
    let token = CancellationToken::new();
    let request = bench.request("FROM diamol/base\nRUN sleep 60000\n", BuildOptions::default());
    let events = bench.events.clone();
    let sink: shipway_build::ProgressSink = std::sync::Arc::new(move |event| events.lock().unwrap().push(event));
    let running = tokio::spawn(build(request, bench.store.clone(), bench.ports.clone(), sink, token.clone()));
    while bench.runs() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked = Instant::now();
    token.cancel();
    assert!(matches!(running.await.unwrap(), Err(BuildError::Cancelled)));
    while bench.executor.killed.load(Ordering::SeqCst) == 0 || bench.ports.flights.in_progress() > 0 {
        assert!(asked.elapsed() < Duration::from_secs(1), "the process is gone within a second");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let active = bench.folder.path().join("store/active");
    while std::fs::read_dir(&active).unwrap().count() > 0 {
        assert!(asked.elapsed() < Duration::from_secs(1), "no snapshot is left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let events = bench.events.lock().unwrap();
    let cancelled =
        |event: &&ProgressEvent| matches!(event, ProgressEvent::Completed { error: Some(error), .. } if error == "context canceled");
    assert_eq!(events.iter().filter(cancelled).count(), 1);
    assert!(matches!(events.last(), Some(ProgressEvent::Finished { image: None, .. })));
}

#[tokio::test]
async fn a_dropped_build_stops_as_a_cancelled_one() {
    let bench = Bench::new();
    let request = bench.request("FROM diamol/base\nRUN sleep 60000\n", BuildOptions::default());
    let running =
        tokio::spawn(build(request, bench.store.clone(), bench.ports.clone(), std::sync::Arc::new(|_| {}), CancellationToken::new()));
    while bench.runs() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.abort();
    let asked = Instant::now();
    while bench.executor.killed.load(Ordering::SeqCst) == 0 {
        assert!(asked.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_failing_step_stops_its_neighbours() {
    let bench = Bench::new();
    let dockerfile =
        "FROM diamol/base AS a\nRUN sleep 60000\nFROM diamol/base AS b\nRUN sleep 100; say before; fail 7\nFROM a\nCOPY --from=b / /b\n";
    let begun = Instant::now();
    let error = bench.try_build(dockerfile).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(
        (error.exit_code(), error.docker_text().0.as_str()),
        (Some(7), "The command '/bin/sh -c sleep 100; say before; fail 7' returned a non-zero code: 7")
    );
    while bench.executor.killed.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.build("FROM diamol/base\nRUN say fine\n").await;
}
