//! The image config: settings, history, times.

use shipway_build::BuildOptions;

use crate::support::{Bench, config_of, ids};

#[tokio::test]
async fn settings_and_history_are_written_as_buildkit_writes_them() {
    let bench = Bench::new();
    bench.file("a.txt", "a");
    let dockerfile = "FROM diamol/base
MAINTAINER me
ARG V=1
ENV A=b \"C D\"=e
LABEL z=1 a=\"two words\"
EXPOSE 80 443 53/udp
USER node
VOLUME [\"/data\", \"/more\"]
STOPSIGNAL SIGINT
WORKDIR /app
COPY --chown=1 a.txt ./
RUN say hi
SHELL [\"/bin/bash\", \"-c\"]
HEALTHCHECK --interval=30s --retries=3 CMD curl -f http://localhost
ONBUILD RUN say child
ENTRYPOINT [\"node\", \"server.js\"]
CMD echo $A
";
    let outcome =
        bench.build_with(dockerfile, BuildOptions { labels: vec![("from".into(), "flag".into())], ..BuildOptions::default() }).await;
    let config = config_of(&outcome);
    let told: Vec<String> =
        config.history[1..].iter().map(|entry| format!("{}{}", entry.created_by, if entry.empty_layer { "" } else { " *" })).collect();
    assert_eq!(
        told,
        [
            "MAINTAINER me",
            "ARG V=1",
            "ENV A=b C D=e",
            "LABEL z=1 a=two words",
            "EXPOSE map[443/tcp:{} 53/udp:{} 80/tcp:{}]",
            "USER node",
            "VOLUME [/data /more]",
            "STOPSIGNAL SIGINT",
            "WORKDIR /app *",
            "COPY --chown=1 a.txt ./ # buildkit *",
            "RUN |1 V=1 /bin/sh -c say hi # buildkit *",
            "SHELL [/bin/bash -c]",
            "HEALTHCHECK &{[\"CMD-SHELL\" \"curl -f http://localhost\"] \"30s\" \"0s\" \"0s\" \"0s\" '\\x03'}",
            "ONBUILD RUN say child",
            "ENTRYPOINT [\"node\" \"server.js\"]",
            "CMD [\"/bin/bash\" \"-c\" \"echo $A\"]",
        ]
    );
    assert!(config.history[1..].iter().all(|entry| entry.comment == "buildkit.dockerfile.v0" && entry.created.is_some()));
    let expected = serde_json::json!({
        "User": "node", "ExposedPorts": {"443/tcp": {}, "53/udp": {}, "80/tcp": {}},
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=b", "C D=e"],
        "Entrypoint": ["node", "server.js"], "Cmd": ["/bin/bash", "-c", "echo $A"], "ArgsEscaped": true,
        "Volumes": {"/data": {}, "/more": {}}, "WorkingDir": "/app", "Labels": {"a": "two words", "from": "flag", "z": "1"},
        "StopSignal": "SIGINT", "Healthcheck": {"Test": ["CMD-SHELL", "curl -f http://localhost"], "Interval": 30_000_000_000_i64, "Retries": 3},
        "OnBuild": ["RUN say child"], "Shell": ["/bin/bash", "-c"],
    });
    assert_eq!(serde_json::to_value(&config.config).unwrap(), expected);
    assert_eq!((config.author.as_str(), config.rootfs.diff_ids.len(), outcome.layers.len()), ("me", 4, 4));
}

#[tokio::test]
async fn triggers_of_the_base_run_in_the_child_and_only_there() {
    let bench = Bench::new();
    bench.file("a", "1");
    let parent = bench.build("FROM diamol/base\nONBUILD COPY a /from-child\nONBUILD RUN say triggered\n").await;
    assert_eq!(bench.runs(), 0);
    bench.adopt("parent", &parent);
    let child = bench.build("FROM parent\nRUN say own\n").await;
    assert_eq!((bench.runs(), bench.listing(&child.layers)), (2, vec!["from-child 644 0:0 = 1".to_owned()]));
    assert!(config_of(&child).config.on_build.is_empty());
    assert!(bench.vertex_names().contains(&"[2/4] ONBUILD COPY a /from-child".to_owned()), "{:?}", bench.vertex_names());
    bench.adopt("child", &child);
    bench.build("FROM child\n").await;
    assert_eq!(bench.runs(), 2);
}

#[tokio::test]
async fn triggers_of_a_stage_run_in_the_stages_built_on_it() {
    let bench = Bench::new();
    bench.file("a", "1");
    let dockerfile = "FROM diamol/base AS parent
ONBUILD ARG WHERE=/from
ONBUILD COPY a $WHERE-parent
ONBUILD ENV X=1
FROM parent AS child
RUN say $X
FROM child
LABEL last=1
";
    let outcome = bench.build(dockerfile).await;
    assert_eq!(bench.listing(&outcome.layers), ["from-parent 644 0:0 = 1"]);
    let config = config_of(&outcome).config;
    assert_eq!((config.on_build.len(), config.env.last().map(String::as_str)), (0, Some("X=1")), "once, in the child");
    assert!(bench.vertex_names().contains(&"[child 1/2] ONBUILD COPY a $WHERE-parent".to_owned()), "{:?}", bench.vertex_names());
}

#[tokio::test]
async fn a_port_mapping_in_expose_means_the_port_of_the_container() {
    let config = config_of(&Bench::new().build("FROM scratch\nEXPOSE 8080:80 127.0.0.1:53:5353/udp\n").await);
    assert_eq!(config.config.exposed_ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["80/tcp", "5353/udp"]);
}

#[tokio::test]
async fn an_entrypoint_resets_an_inherited_command_but_not_its_own_stage_s() {
    let bench = Bench::new();
    let parent = bench.build("FROM scratch\nCMD [\"x\"]\n").await;
    bench.adopt("parent", &parent);
    assert_eq!(config_of(&bench.build("FROM parent\nENTRYPOINT [\"e\"]\n").await).config.cmd, None);
    assert_eq!(config_of(&bench.build("FROM parent\nCMD [\"y\"]\nENTRYPOINT [\"e\"]\n").await).config.cmd, Some(vec!["y".to_owned()]));
}

#[tokio::test]
async fn a_run_sees_its_environment_and_nothing_of_the_daemon() {
    let bench = Bench::new();
    bench.build("FROM diamol/base\nENV A=1\nARG B=2\nARG A=ignored\nUSER node\nWORKDIR /w\nRUN say x\n").await;
    let steps = bench.executor.steps.lock().unwrap();
    let step = &steps[0];
    assert_eq!(step.args, ["/bin/sh", "-c", "say x"]);
    assert_eq!(step.env, ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=1", "B=2", "HOME=/home/node"]);
    assert_eq!((step.cwd.as_str(), step.user.as_str(), step.lowers.len()), ("/w", "node", 2));
}

#[tokio::test]
async fn a_date_given_is_the_date_of_everything_new() {
    let options = || BuildOptions { build_args: vec![("SOURCE_DATE_EPOCH".into(), Some("1600000000".into()))], ..BuildOptions::default() };
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let bench = Bench::new();
        bench.file("d/a", "1");
        outcomes.push(bench.build_with("FROM scratch\nWORKDIR /w\nCOPY d d\nCOPY <<x /h\nhi\nx\nCMD [\"x\"]\n", options()).await);
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    }
    let config = config_of(&outcomes[0]);
    assert_eq!(config.created.unwrap().nanoseconds(), 1_600_000_000_000_000_000);
    let images = ids(&outcomes);
    assert_eq!(images[0], images[1], "two stores, two times, one image");
}

#[tokio::test]
async fn stages_by_name_number_and_case_and_scratch_work() {
    let bench = Bench::new();
    let outcome = bench
        .build("FROM diamol/base AS Builder\nENV X=1\nARG Y=2\nRUN write /f x\nFROM BUILDER AS second\nRUN say $X\nFROM scratch\nCOPY --from=builder /f /a\nCOPY --from=1 /f /b\nCOPY --from=diamol/base /bin/sh /c\n")
        .await;
    let listing = bench.listing(&outcome.layers);
    assert_eq!(listing, ["a 644 0:0 = x", "b 644 0:0 = x", "c 644 0:0 = shell"]);
    let steps = bench.executor.steps.lock().unwrap();
    assert!(steps.iter().any(|step| step.env.contains(&"Y=2".to_owned()) && step.env.contains(&"X=1".to_owned())));
}

#[tokio::test]
async fn a_relative_path_and_an_argument_in_from_are_resolved() {
    let bench = Bench::new();
    let dockerfile = "ARG BASE=wrong\nFROM diamol/$BASE\nWORKDIR /a\nWORKDIR b/../c\n";
    let outcome = bench
        .build_with(dockerfile, BuildOptions { build_args: vec![("BASE".into(), Some("base".into()))], ..BuildOptions::default() })
        .await;
    assert_eq!(config_of(&outcome).config.working_dir, "/a/c");
}

#[tokio::test]
async fn arguments_nobody_takes_are_told_with_the_nearest_name() {
    let bench = Bench::new();
    let outcome = bench
        .build_with(
            "FROM diamol/base\nARG FOO\n",
            BuildOptions { build_args: vec![("FOOO".into(), Some("1".into()))], ..BuildOptions::default() },
        )
        .await;
    assert_eq!(outcome.unconsumed_args, ["FOOO"]);
    assert!(outcome.warnings.iter().any(|warning| warning.contains("did you mean FOO (ARG on line 2)?")), "{:?}", outcome.warnings);
}

#[tokio::test]
async fn a_script_with_its_own_interpreter_is_there_while_it_runs_and_gone_after() {
    let bench = Bench::new();
    let outcome = bench.build("FROM diamol/base\nRUN <<EOF\n#!/usr/bin/python\nprint(1)\nEOF\n").await;
    assert_eq!(bench.executor.steps.lock().unwrap()[0].args, ["/.shipway-script/EOF"]);
    assert!(bench.listing(&outcome.layers).is_empty());
}

#[tokio::test]
async fn a_stage_that_an_argument_deselects_is_not_looked_at() {
    let bench = Bench::new();
    let dockerfile = "ARG KIND=dev\nFROM no/such AS dev\nCOPY missing /x\nFROM diamol/base AS prod\nRUN say prod\nFROM $KIND\n";
    bench.build_with(dockerfile, BuildOptions { build_args: vec![("KIND".into(), Some("prod".into()))], ..BuildOptions::default() }).await;
    assert_eq!(bench.runs(), 1);
}

#[tokio::test]
async fn mount_points_of_the_executor_are_no_part_of_the_layer() {
    let bench = Bench::new();
    let outcome = bench.build("FROM scratch\nRUN mkdir /proc; mkdir /dev; mkdir /sys; write /etc/hosts ; write /kept x\n").await;
    let tree = bench.store.tree(&outcome.layers).unwrap();
    let paths: Vec<String> = tree.walk(b"").unwrap().map(|entry| String::from_utf8_lossy(&entry.unwrap().path).into_owned()).collect();
    assert_eq!(paths, ["", "kept"]);
    let proxies = [("http_proxy".to_owned(), "http://p".to_owned())].into();
    bench.build_with("FROM scratch\nRUN say x\n", BuildOptions { proxies, ..BuildOptions::default() }).await;
    assert!(bench.executor.steps.lock().unwrap()[1].env.contains(&"http_proxy=http://p".to_owned()));
}
