//! One flight per key, whoever comes and goes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

fn silent() -> LogSink {
    Arc::new(|_, _| {})
}

async fn fly(flights: Flights, key: u8, runs: Arc<AtomicUsize>, cancelled: Arc<AtomicUsize>) -> Result<Landing, OpFailure> {
    let work = move |controls: Controls| -> BoxFuture<'static, Result<Made, OpFailure>> {
        runs.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            (controls.log)(LogStream::Stdout, Bytes::from_static(b"hello"));
            tokio::select! {
                () = controls.cancel.cancelled() => { cancelled.fetch_add(1, Ordering::SeqCst); Err(OpFailure::Cancelled) }
                () = tokio::time::sleep(Duration::from_millis(100)) => Err(OpFailure::internal("landed")),
            }
        })
    };
    flights.join([key; 32], silent(), || None, || {}, work).await
}

#[tokio::test]
async fn many_who_want_the_same_start_it_once() {
    let (flights, runs, cancelled) = (Flights::default(), Arc::default(), Arc::default());
    let all = (0..50).map(|_| fly(flights.clone(), 1, Arc::clone(&runs), Arc::clone(&cancelled)));
    for result in futures_util::future::join_all(all).await {
        assert!(matches!(result, Err(OpFailure::Internal { what }) if what == "landed"));
    }
    assert_eq!((runs.load(Ordering::SeqCst), flights.in_progress()), (1, 0));
}

#[tokio::test]
async fn the_last_to_leave_cancels_and_only_the_last() {
    let (flights, runs, cancelled) = (Flights::default(), Arc::default(), Arc::<AtomicUsize>::default());
    let mut waiters: Vec<_> = (0..5).map(|_| tokio::spawn(fly(flights.clone(), 2, Arc::clone(&runs), Arc::clone(&cancelled)))).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let last = waiters.pop().unwrap();
    for waiter in waiters {
        waiter.abort();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 0, "one build still waits");
    last.abort();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!((cancelled.load(Ordering::SeqCst), flights.in_progress()), (1, 0));
}

#[tokio::test]
async fn a_newcomer_after_a_cancelled_flight_starts_afresh() {
    let (flights, runs, cancelled) = (Flights::default(), Arc::<AtomicUsize>::default(), Arc::default());
    let first = tokio::spawn(fly(flights.clone(), 3, Arc::clone(&runs), Arc::clone(&cancelled)));
    tokio::time::sleep(Duration::from_millis(10)).await;
    first.abort();
    let _ = first.await;
    let second = fly(flights.clone(), 3, Arc::clone(&runs), cancelled).await;
    assert!(matches!(second, Err(OpFailure::Internal { .. })), "not cancelled with the first");
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn who_joins_late_sees_what_was_written_before() {
    let flights = Flights::default();
    let first = tokio::spawn(fly(flights.clone(), 4, Arc::default(), Arc::default()));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    let sink: LogSink = {
        let seen = seen.clone();
        Arc::new(move |_, bytes| lock(&seen).extend_from_slice(&bytes))
    };
    let _ = flights.join([4; 32], sink, || None, || {}, |_| Box::pin(async { Err(OpFailure::internal("second flight")) })).await;
    assert_eq!(lock(&seen).as_slice(), b"hello");
    let _ = first.await;
}

#[tokio::test]
async fn a_panic_is_an_error_and_leaves_no_flight() {
    let flights = Flights::default();
    let result = flights.join([5; 32], silent(), || None, || {}, |_| Box::pin(async { panic!("made up") })).await;
    assert!(matches!(result, Err(OpFailure::Internal { .. })));
    assert_eq!(flights.in_progress(), 0);
}
