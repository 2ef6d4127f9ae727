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
