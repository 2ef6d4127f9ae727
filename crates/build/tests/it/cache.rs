//! When a step's result is known: equal content, whatever its time, its name or the way it came to be.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use shipway_build::{BuildOptions, ProgressEvent};
use shipway_sys::durable;

use crate::support::{Bench, age, chmod, config_of, put};

const APP: &str = "FROM diamol/base AS builder
WORKDIR /src
COPY . .
RUN write /src/out built
FROM diamol/base
COPY --from=builder /src/out /app/out
RUN say done
CMD [\"/app/out\"]
";

#[tokio::test]
async fn an_unchanged_rebuild_runs_nothing_writes_nothing_and_gives_the_same_image() {
    let bench = Bench::new();
    bench.file("main.go", "package main");
    let first = bench.build(APP).await;
    assert_eq!(bench.runs(), 2);
    bench.store.publish(|_| Ok(())).unwrap();
    let listing = |path: &str| std::fs::read_dir(bench.folder.path().join("store").join(path)).unwrap().count();
    let (before, layers, active) = (durable::counters(), listing("layers"), listing("active"));
    let second = bench.build(APP).await;
    assert_eq!(first.image, second.image);
    assert_eq!((bench.runs(), second.cached_steps, second.total_steps), (2, 6, 6));
    assert_eq!((listing("layers"), listing("active")), (layers, active));
    bench.store.publish(|_| Ok(())).unwrap();
    // Other tests of this binary run in processes of their own, so the counters are ours.
    assert_eq!(durable::counters(), before, "a cached build syncs nothing, nor does acknowledging it");
}

#[tokio::test]
async fn the_digests_of_a_context_are_remembered_in_a_folder_that_is_made_when_needed() {
    let bench = Bench::new();
    bench.file("a", "text");
    let place = bench.folder.path().join("contexts/one");
    let mut request = bench.request("FROM diamol/base\nCOPY a /a\n", BuildOptions::default());
    if let shipway_build::BuildContext::Folder { index_file, .. } = &mut request.context {
        index_file.clone_from(&place);
    }
    let progress = std::sync::Arc::new(|_| {});
    let outcome = shipway_build::build(request, bench.store.clone(), bench.ports.clone(), progress, Default::default()).await;
    assert!(outcome.is_ok() && place.is_file());
}

#[tokio::test]
async fn a_touched_file_is_the_same_file() {
    let bench = Bench::new();
    bench.file("a", "text");
    let first = bench.build(APP).await;
    age(&bench.context().join("a"), 1_600_000_000);
    let second = bench.build(APP).await;
    assert_eq!((first.image, bench.runs()), (second.image, 2));
}

#[tokio::test]
async fn another_build_argument_runs_the_steps_that_see_it_and_no_others() {
    let bench = Bench::new();
    let dockerfile = "FROM diamol/base\nRUN say one\nARG V=1\nRUN say two\nARG UNUSED\n";
    let with = |value: &str| BuildOptions { build_args: vec![("V".into(), Some(value.into()))], ..BuildOptions::default() };
    bench.build_with(dockerfile, with("1")).await;
    assert_eq!(bench.runs(), 2);
    bench.build(dockerfile).await;
    assert_eq!(bench.runs(), 2, "the default is the same value");
    bench.build_with(dockerfile, with("2")).await;
    assert_eq!(bench.runs(), 3);
    let proxy = BuildOptions { build_args: vec![("HTTP_PROXY".into(), Some("http://p".into()))], ..BuildOptions::default() };
    bench.build_with(dockerfile, proxy).await;
    assert_eq!(bench.runs(), 3, "a proxy is not part of any key");
}

#[tokio::test]
async fn a_result_that_comes_out_the_same_stops_the_rebuild_there() {
    let bench = Bench::new();
    bench.file("a", "text");
    let dockerfile = "FROM diamol/base\nCOPY --chmod=644 a /a\nRUN say after\n";
    let first = bench.build(dockerfile).await;
    chmod(&bench.context().join("a"), 0o600);
    let second = bench.build(dockerfile).await;
    assert_eq!(bench.runs(), 1, "the COPY gave the same layer, so the RUN after it is known");
    assert_eq!(first.image, second.image);
    chmod(&bench.context().join("a"), 0o755);
    bench.build("FROM diamol/base\nCOPY a /a\nRUN say after\n").await;
    assert_eq!(bench.runs(), 2, "without the flag the mode counts");
}

#[tokio::test]
async fn a_generated_file_that_comes_out_the_same_stops_the_rebuild_there() {
    let bench = Bench::new();
    let dockerfile = |comment: &str| format!("FROM diamol/base\nRUN write /out same; say {comment}\nRUN say after\n");
    bench.build(&dockerfile("one")).await;
    bench.build(&dockerfile("two")).await;
    assert_eq!(bench.runs(), 3, "the first step ran again, the second did not");
}

#[tokio::test]
async fn one_edited_file_costs_one_copy_and_the_rest_is_not_written() {
    let bench = Bench::new();
    for number in 0..300 {
        bench.file(&format!("lib/d{}/f{number}", number % 7), &format!("content {number}"));
    }
    let dockerfile = "FROM diamol/base\nCOPY . /app/\n";
    let first = bench.build(dockerfile).await;
    bench.file("lib/d1/f1", "edited");
    let second = bench.build(dockerfile).await;
    assert_ne!(first.image, second.image);
    let inode = |outcome: &shipway_build::BuildOutcome, path: &str| bench.host_path(&outcome.layers, path).metadata().unwrap().ino();
    assert_eq!(inode(&first, "app/lib/d2/f2"), inode(&second, "app/lib/d2/f2"));
    assert_ne!(inode(&first, "app/lib/d1/f1"), inode(&second, "app/lib/d1/f1"));
    assert_eq!(std::fs::read_to_string(bench.host_path(&second.layers, "app/lib/d1/f1")).unwrap(), "edited");
    assert_eq!(std::fs::read_to_string(bench.host_path(&first.layers, "app/lib/d1/f1")).unwrap(), "content 1");
    assert_eq!(files_written(&bench, &second), ["app/lib/d1/f1"]);
    // Next time what was new then is shared too, and what is gone is gone.
    bench.file("lib/d1/new", "new");
    std::fs::remove_file(bench.context().join("lib/d3/f3")).unwrap();
    let third = bench.build(dockerfile).await;
    assert_eq!(files_written(&bench, &third), ["app/lib/d1/f1", "app/lib/d1/new", "app/lib/d3/f3 is hidden"]);
    assert_eq!(inode(&second, "app/lib/d1/f1"), inode(&third, "app/lib/d1/f1"));
    let listing = bench.listing(&third.layers);
    assert!(listing.contains(&"app/lib/d1/new 644 0:0 = new".to_owned()) && !listing.iter().any(|line| line.starts_with("app/lib/d3/f3 ")));
    std::fs::remove_file(bench.context().join("lib/d1/new")).unwrap();
    bench.file("lib/d3/f3", "content 3");
    // A patched layer is packed as a copied one would be.
    let fresh = Bench::new();
    for number in 0..300 {
        fresh.file(&format!("lib/d{}/f{number}", number % 7), &if number == 1 { "edited".to_owned() } else { format!("content {number}") });
    }
    for number in 0..7 {
        age(&fresh.context().join(format!("lib/d{number}")), 5);
        age(&bench.context().join(format!("lib/d{number}")), 5);
    }
    age(&fresh.context().join("lib"), 5);
    age(&bench.context().join("lib"), 5);
    let epoch = || BuildOptions {
        build_args: vec![("SOURCE_DATE_EPOCH".into(), Some("1800000000".into()))],
        no_cache: true,
        ..BuildOptions::default()
    };
    let (patched, copied) = (bench.build_with(dockerfile, epoch()).await, fresh.build_with(dockerfile, epoch()).await);
    assert_eq!(config_of(&patched).rootfs.diff_ids[1], config_of(&copied).rootfs.diff_ids[1]);
    assert!(bench.store.layer(&patched.layers[1]).unwrap().base.is_some() && fresh.store.layer(&copied.layers[1]).unwrap().base.is_none());
    let report = bench.store.fsck(shipway_store::FsckOptions { strict: true, ..Default::default() }).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

/// The files in the folder of the uppermost layer itself, sorted.
fn files_written(bench: &Bench, outcome: &shipway_build::BuildOutcome) -> Vec<String> {
    let top = bench.store.folders_of(outcome.layers.last().unwrap()).remove(0);
    let (mut waiting, mut files) = (vec![top.clone()], Vec::new());
    while let Some(folder) = waiting.pop() {
        for entry in folder.read_dir().unwrap().map(Result::unwrap) {
            let name = entry.path().strip_prefix(&top).unwrap().display().to_string();
            let kind = entry.file_type().unwrap();
            match (kind.is_dir(), kind.is_char_device()) {
                (true, _) => waiting.push(entry.path()),
                (_, true) => files.push(format!("{name} is hidden")),
                _ => files.push(name),
            }
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn a_file_gone_from_the_context_that_the_image_below_has_shows_again() {
    let bench = Bench::new();
    bench.image("below", &[("app/f3", "from below")]);
    for number in 0..300 {
        bench.file(&format!("f{number}"), &format!("content {number}"));
    }
    let dockerfile = "FROM below\nCOPY . /app/\n";
    bench.build(dockerfile).await;
    std::fs::remove_file(bench.context().join("f3")).unwrap();
    let second = bench.build(dockerfile).await;
    assert_eq!(bench.store.layer(second.layers.last().unwrap()).unwrap().base, None, "hiding the file would hide the one below too");
    assert!(bench.listing(&second.layers).contains(&"app/f3 644 0:0 = from below".to_owned()));
}

#[tokio::test]
async fn files_that_are_not_copied_do_not_count() {
    let bench = Bench::new();
    bench.file("a", "1");
    bench.file("b", "1");
    let dockerfile = "FROM diamol/base\nCOPY a /a\nRUN say x\n";
    let first = bench.build(dockerfile).await;
    bench.file("b", "2");
    assert_eq!((bench.build(dockerfile).await.image, bench.runs()), (first.image, 1));
}

#[tokio::test]
async fn no_cache_runs_everything_again_and_a_filter_only_its_stage() {
    let bench = Bench::new();
    let dockerfile = "FROM diamol/base AS a\nRUN write /a 1\nFROM diamol/base AS b\nRUN write /b 1\nFROM a\nCOPY --from=b /b /b\n";
    bench.build(dockerfile).await;
    assert_eq!(bench.runs(), 2);
    bench.build_with(dockerfile, BuildOptions { no_cache: true, ..BuildOptions::default() }).await;
    assert_eq!(bench.runs(), 4);
    bench.build_with(dockerfile, BuildOptions { no_cache_filter: vec!["B".into()], ..BuildOptions::default() }).await;
    assert_eq!(bench.runs(), 5);
}

#[tokio::test]
async fn an_image_that_claims_a_step_in_its_history_is_no_cache() {
    let bench = Bench::new();
    let mut config = shipway_model::ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..Default::default() };
    config.history = vec![shipway_model::History { created_by: "RUN /bin/sh -c say x # buildkit".into(), ..Default::default() }];
    bench.image_with("evil", &[("evil", "yes")], config);
    let outcome = bench.build("FROM scratch\nRUN say x\n").await;
    assert_eq!(bench.runs(), 1);
    assert!(bench.listing(&outcome.layers).is_empty());
}

#[tokio::test]
async fn equal_steps_of_two_stages_are_one_vertex() {
    let bench = Bench::new();
    bench.build("FROM diamol/base AS a\nRUN write /x 1\nFROM diamol/base AS b\nRUN write /x 1\nFROM a\nCOPY --from=b /x /y\n").await;
    assert_eq!(bench.runs(), 1);
}

#[tokio::test]
async fn a_reopened_store_still_knows_the_steps() {
    let mut bench = Bench::new();
    bench.file("a", "1");
    let dockerfile = "FROM scratch\nCOPY a /a\nRUN say x\n";
    let first = bench.build(dockerfile).await;
    bench.store.publish(|_| Ok(())).unwrap();
    let (image, runs) = (first.image, bench.runs());
    drop(first);
    let root = bench.folder.path().join("store");
    let empty = tempfile::tempdir_in("/dev/shm").unwrap();
    let other = shipway_store::Store::open(shipway_store::StoreConfig { root: empty.path().join("x") }).unwrap();
    bench.store = other.clone();
    bench.images = std::sync::Arc::new(crate::support::FakeImages::empty(other));
    bench.ports = shipway_build::Ports::new(bench.executor.clone(), bench.images.clone(), std::sync::Arc::new(crate::support::FakeFetcher));
    bench.store = loop {
        match shipway_store::Store::open(shipway_store::StoreConfig { root: root.clone() }) {
            Ok(store) => break store,
            Err(shipway_store::Error::Locked { .. }) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let second = bench.build(dockerfile).await;
    assert_eq!((second.image, bench.runs()), (image, runs));
}

#[tokio::test]
async fn a_file_written_right_before_the_build_is_hashed_again_each_time() {
    let bench = Bench::new();
    put(&bench.context().join("a"), "one");
    let first = bench.build("FROM scratch\nCOPY a /a\n").await;
    put(&bench.context().join("a"), "two");
    let second = bench.build("FROM scratch\nCOPY a /a\n").await;
    assert_ne!(first.image, second.image);
    let cached = bench.events.lock().unwrap().iter().filter(|event| matches!(event, ProgressEvent::Cached { .. })).count();
    assert_eq!(cached, 0);
}
