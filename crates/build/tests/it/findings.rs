//! What the learner's mistakes are answered with (features.md section 2), and that everything is said at once, before anything runs.

use shipway_build::{BuildContext, BuildOptions, build};
use shipway_model::{Classified, ErrorKind};
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, put};

fn contains(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is not in:\n{error}");
    }
}

#[tokio::test]
async fn m_13_a_missing_source_says_what_is_there_and_where_it_is_instead() {
    let bench = Bench::new();
    bench.file("App.js", "x");
    bench.file("deep/er/pom.xml", "x");
    bench.file("secret.key", "x");
    bench.file(".dockerignore", "# keys\n*.key\n");
    put(&bench.folder.path().join("beside/build.gradle"), "x");
    let error = |source: &str| format!("FROM diamol/base\n\nCOPY {source} /x\n");
    contains(&bench.error(&error("pom.xml")).await, &["Dockerfile:3:6", "\"pom.xml\" is not in the build context", "deep/er/pom.xml"]);
    contains(&bench.error(&error("app.js")).await, &["case sensitive", "App.js"]);
    contains(&bench.error(&error("App.jss")).await, &["did you mean App.js?"]);
    contains(&bench.error(&error("secret.key")).await, &["left out of the build context by line 2 of the ignore file", "!secret.key"]);
    contains(&bench.error(&error("../other/x")).await, &["lies outside of the build context"]);
    contains(&bench.error(&error("build.gradle")).await, &["it exists at ../beside/build.gradle"]);
    assert_eq!(bench.runs(), 0);
    let failure = bench.try_build(&error("pom.xml")).await.unwrap_err();
    contains(
        &failure.docker_text().0,
        &["file not found in build context or excluded by .dockerignore: stat pom.xml: file does not exist"],
    );
}

#[tokio::test]
async fn everything_wrong_is_said_at_once_before_anything_is_looked_up() {
    let bench = Bench::new();
    let error = bench.error("FROM no/such AS builder\nEVN A=b\nCOPY nothing /x\nCOPY --from=bulider /x /y\nRUN --mount=type=cache,target=/c say x\nCOPY gone /z\n").await;
    contains(&error, &["EVN", "did you mean ENV", "\"nothing\" is not in", "bulider", "did you mean builder?", "\"gone\" is not in"]);
    assert!(!bench.vertex_names().iter().any(|name| name.contains("load metadata")), "no image was asked for");
}

#[tokio::test]
async fn m_16_and_m_17_a_missing_path_of_a_stage_names_the_nearest_and_who_made_it() {
    let bench = Bench::new();
    let stage =
        "FROM diamol/base AS builder\nRUN write /web/server binary\nRUN write /target/iotd-service-0.1.0.jar jar\nFROM diamol/base\n";
    let error = bench.error(&format!("{stage}COPY --from=builder /server .\n")).await;
    contains(
        &error,
        &[
            "Dockerfile:5",
            "no \"/server\"",
            "/web/server",
            "made by \"RUN write /web/server binary\", line 2",
            "Use COPY --from=builder /web/server .",
            "did you mean /web/server?",
        ],
    );
    let error = bench.error(&format!("{stage}COPY --from=builder /target/iotd-service-0.1.0jar .\n")).await;
    contains(&error, &["did you mean /target/iotd-service-0.1.0.jar?", "RUN write /target"]);
    let error = bench.error(&format!("{stage}COPY --from=builder /web/nothing/at/all .\n")).await;
    contains(&error, &["nothing in stage \"builder\" creates /web/nothing; it has /web/server only"]);
}

#[tokio::test]
async fn m_06_an_unknown_image_is_answered_with_the_nearest_in_the_file_or_here() {
    let bench = Bench::new();
    let error = bench.error("FROM diamol/base AS one\nRUN say x\n\nFROM diamlo/base\nCOPY --from=one /x /y\n").await;
    contains(&error, &["Dockerfile:4:6", "line 1 uses diamol/base", "did you mean diamol/base?"]);
    let failure = bench.try_build("FROM diamol/bases\n").await.unwrap_err();
    contains(&failure.render(), &["did you mean diamol/base?"]);
    assert_eq!((failure.kind(), bench.runs()), (ErrorKind::NotFound, 0));
}

#[tokio::test]
async fn a_file_where_workdir_wants_a_folder_is_named_and_copy_is_not() {
    let bench = Bench::new();
    bench.image("with/file", &[("etc/passwd", "root")]);
    for path in ["/etc/passwd", "/etc/passwd/deep/er"] {
        let error = bench.error(&format!("FROM with/file\nWORKDIR {path}\n")).await;
        contains(&error, &["Dockerfile:2", "E-WORKDIR", "\"/etc/passwd\" exists in the image and is", "not a folder"]);
        assert!(!error.contains("COPY"), "{error}");
    }
    let error = bench.error("FROM with/file\nWORKDIR /etc/passwd/deep/er\n").await;
    contains(&error, &["the folder \"/etc/passwd/deep/er\" is to be below it"]);
}

#[tokio::test]
async fn m_24_and_m_31_are_decided_without_asking_for_any_image() {
    let bench = Bench::new();
    let digest = "a".repeat(64);
    contains(&bench.error(&format!("FROM centos:sha256:{digest}\n")).await, &["@"]);
    contains(&bench.error("FROM diamol/base AS builder\nFROM diamol/base\nCOPY --from=bulider /x /y\n").await, &["did you mean builder?"]);
    assert!(!bench.vertex_names().iter().any(|name| name.contains("metadata")));
}

#[tokio::test]
async fn m_27_a_build_without_context_says_so() {
    let bench = Bench::new();
    let mut request = bench.request("FROM diamol/base\nCOPY a /x\n", BuildOptions::default());
    request.context = BuildContext::None;
    let result = build(request, bench.store.clone(), bench.ports.clone(), std::sync::Arc::new(|_| {}), CancellationToken::new()).await;
    contains(&result.unwrap_err().render(), &["this build has no context", "shipway build -f - . < Dockerfile"]);
}

#[tokio::test]
async fn m_02_a_shouted_command_is_answered_with_the_quiet_one() {
    let bench = Bench::new();
    let failure = bench.try_build("FROM diamol/base\nRUN say /bin/sh: ECHO: not found; fail 127\n").await.unwrap_err();
    contains(
        &failure.render(),
        &["Dockerfile:2", "exit code 127", "\"ECHO\" is not a program in this image (commands are case sensitive)", "did you mean echo?"],
    );
    assert_eq!(failure.exit_code(), Some(127));
}

#[tokio::test]
async fn a_target_that_does_not_exist_is_answered_with_the_nearest() {
    let bench = Bench::new();
    let options = BuildOptions { target: Some("bilder".into()), ..BuildOptions::default() };
    let failure = bench.try_build_with("FROM diamol/base AS builder\n", options).await.unwrap_err();
    contains(&failure.render(), &["there is no stage \"bilder\"", "did you mean --target builder?"]);
}

#[tokio::test]
async fn what_is_not_supported_yet_says_so_with_its_line() {
    let bench = Bench::new();
    for (dockerfile, words) in [
        ("FROM diamol/base\nRUN --mount=type=cache,target=/c say x\n", "RUN --mount=type=cache is not supported yet"),
        ("FROM diamol/base\nADD https://github.com/a/b.git /x\n", "ADD of a git repository is not supported yet"),
        ("# syntax=example/own:1\nFROM diamol/base\n", "the Dockerfile syntax \"example/own:1\" is not supported yet"),
    ] {
        contains(&bench.error(dockerfile).await, &[words]);
    }
    bench.build("# syntax=docker/dockerfile:1.7-labs\nFROM diamol/base\n").await;
    assert_eq!(bench.runs(), 0);
}
