//! Builds through the engine: names, history of the display, and a rebuild that does nothing.

use std::sync::{Arc, Mutex};

use shipway_engine::builds::{BuildFinished, BuildSource, BuildSpec, DockerfileSource};
use shipway_engine::values::{BuildOptions, Flavour, ProgressEvent};
use shipway_engine::{Engine, Error};
use shipway_model::Reference;
use tokio_util::sync::CancellationToken;

use crate::fixture::Fixture;

const DOCKERFILE: &str = "FROM bb\nENV A=1\nRUN echo hi > /x\nCMD cat /x\n";

/// Builds; also which steps were told as cached.
async fn build(engine: &Engine, dockerfile: &str, tags: &[&str]) -> (Result<BuildFinished, Error>, Vec<bool>) {
    let cached = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&cached);
    let spec = BuildSpec {
        source: BuildSource::Nothing,
        dockerfile: DockerfileSource::Inline { name: "Dockerfile".to_owned(), text: dockerfile.to_owned(), ignore: None },
        options: BuildOptions { flavour: Flavour::Classic, ..BuildOptions::default() },
        tags: tags.iter().map(|tag| Reference::parse(tag).unwrap()).collect(),
        credentials: std::collections::BTreeMap::new(),
    };
    let progress = Arc::new(move |event| {
        if let ProgressEvent::StepImage { cached, .. } = event {
            seen.lock().unwrap().push(cached);
        }
    });
    let outcome = engine.build(spec, progress, CancellationToken::new()).await;
    let told = cached.lock().unwrap().clone();
    (outcome, told)
}

#[tokio::test]
async fn a_rebuild_is_all_cache_moves_names_and_syncs_nothing() {
    let it = Fixture::new().await;
    let (first, told) = build(&it.engine, DOCKERFILE, &["app", "app:1"]).await;
    let first = first.unwrap();
    assert_eq!(told, [true, false, false, false], "settings are new the first time too");
    assert_eq!(it.engine.inspect_image("app:1").unwrap().image.id, first.image);
    let before = shipway_sys::durable::counters();
    let (again, told) = build(&it.engine, DOCKERFILE, &["app", "app:1"]).await;
    assert_eq!((again.unwrap().image, told), (first.image, vec![true; 4]));
    assert_eq!(shipway_sys::durable::counters(), before, "a cached build syncs nothing");
    let (other, _) = build(&it.engine, DOCKERFILE, &["other/name"]).await;
    assert_eq!(other.unwrap().image, first.image, "one Dockerfile, one image, whatever it is called");
    let mut spec = crate::fixture::shell("out", "");
    (spec.image, spec.command) = ("app".to_owned(), None);
    it.engine.create_container(spec).await.unwrap();
    it.engine.start_container("out").await.unwrap();
    it.wait("out").await;
    assert_eq!(it.logs("out", Default::default()).await, "hi\n");
    it.finish().await;
}

#[tokio::test]
async fn a_build_that_fails_leaves_its_names_alone_and_its_log_behind() {
    let it = Fixture::new().await;
    let (good, _) = build(&it.engine, DOCKERFILE, &["app"]).await;
    let (bad, _) = build(&it.engine, "FROM bb\nRUN echo why; exit 7\n", &["app"]).await;
    let Error::Build(error) = bad.unwrap_err() else { panic!("not a build's error") };
    assert_eq!(error.docker_text(), ("The command '/bin/sh -c echo why; exit 7' returned a non-zero code: 7".to_owned(), Some(7)));
    assert_eq!(it.engine.inspect_image("app").unwrap().image.id, good.unwrap().image);
    let record = &it.engine.build_history().unwrap()[0];
    let events = it.engine.build_events(&record.id.to_string()).unwrap();
    assert!(events.iter().any(|event| matches!(event, ProgressEvent::Log { bytes, .. } if bytes == b"why\n")), "{events:?}");
    it.finish().await;
}

#[tokio::test]
async fn a_build_that_changes_nothing_leaves_no_file_and_is_told_all_the_same() {
    let it = Fixture::new().await;
    let builds = it.folder().join("data/builds");
    let kept = || std::fs::read_dir(&builds).map_or(0, Iterator::count);
    let (first, _) = build(&it.engine, DOCKERFILE, &["app"]).await;
    let first = first.unwrap();
    assert_eq!((it.engine.build_history().unwrap().len(), kept()), (1, 1));
    let (again, _) = build(&it.engine, DOCKERFILE, &["app"]).await;
    let again = again.unwrap();
    let history = it.engine.build_history().unwrap();
    assert_eq!((history.len(), kept()), (2, 1), "nothing on disk for the second");
    assert_eq!((history[0].id, history[0].cached_steps, history[1].id), (again.id, again.total_steps, first.id));
    let events = it.engine.build_events(&again.id.to_string()).unwrap();
    assert!(matches!(events.first(), Some(ProgressEvent::Begun { build }) if *build == again.id), "{events:?}");
    assert!(matches!(events.last(), Some(ProgressEvent::Finished { image: Some(_), .. })), "{events:?}");
    // A further name is something new.
    let (named, _) = build(&it.engine, DOCKERFILE, &["app:2"]).await;
    named.unwrap();
    assert_eq!((it.engine.build_history().unwrap().len(), kept()), (3, 2));
    let record = it.engine.build_history().unwrap()[2].clone();
    let (events, home) = (it.engine.build_events(&record.id.to_string()).unwrap(), it.stop().await);
    let next = Engine::start(crate::fixture::settings(home.path())).await.unwrap();
    assert_eq!(next.build_history().unwrap().len(), 2, "those that did work are known in the next life");
    assert_eq!(next.build_events(&record.id.to_string()).unwrap(), events);
    crate::fixture::sweep(&next).await;
    next.shutdown().await;
}

/// Builds `folder` in place; the explanations by step.
async fn build_folder(engine: &Engine, folder: &std::path::Path, no_cache: bool) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(folder).unwrap();
    let spec = BuildSpec {
        source: BuildSource::Folder { path: folder.to_owned(), device: found.dev(), inode: found.ino() },
        dockerfile: DockerfileSource::Path("Dockerfile".to_owned()),
        options: BuildOptions { explain: true, no_cache, ..BuildOptions::default() },
        tags: Vec::new(),
        credentials: std::collections::BTreeMap::new(),
    };
    let told = Arc::new(Mutex::new(std::collections::BTreeMap::new()));
    let seen = Arc::clone(&told);
    let progress = Arc::new(move |event| {
        if let ProgressEvent::Explained { id, why } = event {
            seen.lock().unwrap().insert(id, why);
        }
    });
    engine.build(spec, progress, CancellationToken::new()).await.unwrap();
    let told = told.lock().unwrap();
    told.values().cloned().collect()
}

#[tokio::test]
async fn an_explanation_names_what_differs_from_the_last_time() {
    let it = Fixture::new().await;
    let folder = it.folder().join("context");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    std::fs::write(folder.join("Dockerfile"), "FROM bb\nRUN echo 1 > /one\nCOPY . /app/\nRUN cat /app/src/page > /two\n").unwrap();
    std::fs::write(folder.join("src/page"), "1").unwrap();
    let first = build_folder(&it.engine, &folder, false).await;
    assert!(first.len() == 3 && first.iter().all(|why| why.starts_with("not cached: no build ")), "{first:?}");
    let again = build_folder(&it.engine, &folder, false).await;
    assert!(again.iter().all(|why| why.starts_with("cached: made ")), "{again:?}");
    std::fs::write(folder.join("src/page"), "22").unwrap();
    std::fs::write(folder.join("other"), "").unwrap();
    let edited = build_folder(&it.engine, &folder, false).await;
    assert_eq!(
        edited[1..],
        ["not cached: src/page changed, other new", "not cached: the step before it gave another result than the last time"]
    );
    let forced = build_folder(&it.engine, &folder, true).await;
    assert!(forced.iter().all(|why| why.contains("--no-cache")), "{forced:?}");
    it.finish().await;
}

#[tokio::test]
async fn what_is_remembered_of_contexts_is_counted_and_pruned() {
    let it = Fixture::new().await;
    let folder = it.folder().join("context");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("Dockerfile"), "FROM bb\nCOPY . /app/\n").unwrap();
    // Files of the last seconds are not remembered: they could change within one tick of the clock.
    for name in ["Dockerfile", "page"] {
        std::fs::write(folder.join(name), if name == "page" { "1" } else { "FROM bb\nCOPY . /app/\n" }).unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    build_folder(&it.engine, &folder, false).await;
    let usage = it.engine.disk_usage().await.unwrap();
    assert_eq!(usage.contexts.len(), 1);
    let asked = |filters: &[(&str, &str)]| shipway_engine::builds::BuildPruneOptions {
        filters: shipway_engine::Filters::new(filters.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect()),
        ..Default::default()
    };
    let pruned = it.engine.prune_build_cache(asked(&[("until", "1h")])).await.unwrap();
    assert_eq!(pruned.ids, [] as [String; 0], "too young");
    let pruned = it.engine.prune_build_cache(asked(&[("type", "source.local")])).await.unwrap();
    assert_eq!((pruned.ids, pruned.bytes), (vec![usage.contexts[0].name.clone()], usage.contexts[0].bytes));
    assert_eq!(it.engine.disk_usage().await.unwrap().contexts, []);
    it.finish().await;
}

#[tokio::test]
async fn findings_come_before_anything_runs() {
    let it = Fixture::new().await;
    let (refused, told) = build(&it.engine, "FROM bb\nRUN touch /marker\nEVN A=1\nCOPPY a b\n", &["app"]).await;
    let error = refused.unwrap_err();
    let text = match &error {
        Error::Build(error) => error.render(),
        other => panic!("{other:?}"),
    };
    assert!(text.contains("EVN") && text.contains("COPPY"), "both at once: {text}");
    assert_eq!(told, [] as [bool; 0]);
    it.finish().await;
}
