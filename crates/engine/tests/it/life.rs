//! The life of a container: its states, what ends a wait, what a name is good for, what prune takes.

use std::time::Duration;

use shipway_engine::containers::{ContainerFilter, ContainerState, RemoveOptions, RestartPolicy, StopOptions, WaitCondition};
use shipway_engine::{Error, Filters};
use shipway_model::{Classified, ErrorKind, Signal};

use crate::fixture::{Fixture, shell, within};

fn filters(pairs: &[(&str, &str)]) -> Filters {
    Filters::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect())
}

#[tokio::test]
async fn a_container_goes_through_its_states_and_comes_back() {
    let it = Fixture::new().await;
    it.create("web", "echo $((1 + $(cat /n 2>/dev/null || echo 0))) > /n; exit $(cat /n)").await;
    assert_eq!(it.state("web").await, ContainerState::Created { error: None });
    it.engine.start_container("web").await.unwrap();
    assert_eq!(it.wait("web").await, 1);
    assert!(matches!(it.state("web").await, ContainerState::Exited { code: 1, .. }));
    // Its own layer is still there: the second run sees what the first wrote.
    it.engine.start_container("web").await.unwrap();
    assert_eq!(it.wait("web").await, 2);
    it.engine.rename_container("web", "shop").await.unwrap();
    assert_eq!(it.engine.inspect_container("web", false).await.unwrap_err().kind(), ErrorKind::NotFound);
    it.engine.remove_container("shop", RemoveOptions::default()).await.unwrap();
    assert_eq!(it.engine.inspect_container("shop", false).await.unwrap_err().kind(), ErrorKind::NotFound);
    it.finish().await;
}

#[tokio::test]
async fn a_running_container_is_in_the_way_of_what_would_hurt_it() {
    let it = Fixture::new().await;
    it.start("web", "sleep 100").await;
    assert_eq!(it.engine.start_container("web").await.unwrap_err().kind(), ErrorKind::Unchanged);
    assert_eq!(it.engine.remove_container("web", RemoveOptions::default()).await.unwrap_err().kind(), ErrorKind::Conflict);
    let taken = it.engine.create_container(shell("web", "true")).await.unwrap_err();
    assert!(taken.to_string().contains("is already in use by container"), "{taken}");
    let stop = StopOptions { signal: None, timeout: Some(Duration::ZERO) };
    it.engine.stop_container("web", stop).await.unwrap();
    assert!(matches!(it.state("web").await, ContainerState::Exited { code: 137, .. }));
    assert_eq!(it.engine.stop_container("web", stop).await.unwrap_err().kind(), ErrorKind::Unchanged);
    it.finish().await;
}

#[tokio::test]
async fn a_start_that_fails_is_no_exit() {
    let it = Fixture::new().await;
    let mut spec = shell("bad", "");
    spec.command = Some(vec!["nosuch".to_owned()]);
    it.engine.create_container(spec).await.unwrap();
    let waiting = it.engine.wait_container("bad", WaitCondition::NextExit).await.unwrap();
    let error = it.engine.start_container("bad").await.unwrap_err();
    assert!(matches!(&error, Error::StartFailed { code: 127, .. }), "{error:?}");
    assert!(error.to_string().contains("executable file not found in $PATH"), "{error}");
    assert!(matches!(it.state("bad").await, ContainerState::Created { error: Some(failure) } if failure.code == 127));
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting.finished()).await.is_err(), "nothing ran, so nothing ended");
    assert_eq!(it.wait("bad").await, 127);
    it.finish().await;
}

#[tokio::test]
async fn with_rm_a_failed_start_removes_and_that_ends_the_wait() {
    let it = Fixture::new().await;
    let mut spec = shell("bad", "");
    spec.command = Some(vec!["nosuch".to_owned()]);
    spec.host.auto_remove = true;
    it.engine.create_container(spec).await.unwrap();
    let waiting = it.engine.wait_container("bad", WaitCondition::Removed).await.unwrap();
    it.engine.start_container("bad").await.unwrap_err();
    let outcome = within("the removal", waiting.finished()).await.unwrap();
    assert_eq!((outcome.code, outcome.error), (127, None));
    it.finish().await;
}

#[tokio::test]
async fn each_wait_ends_by_its_own_condition() {
    let it = Fixture::new().await;
    it.create("job", "exit 5").await;
    let next = it.engine.wait_container("job", WaitCondition::NextExit).await.unwrap();
    let gone = it.engine.wait_container("job", WaitCondition::Removed).await.unwrap();
    // It does not run: the plain wait ends at once.
    assert_eq!(it.wait("job").await, 0);
    it.engine.start_container("job").await.unwrap();
    assert_eq!(within("the exit", next.finished()).await.unwrap().code, 5);
    let still = tokio::spawn(gone.finished());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!still.is_finished(), "an exit is no removal");
    it.remove("job").await;
    assert_eq!(within("the removal", still).await.unwrap().unwrap().code, 5);
    it.finish().await;
}

#[tokio::test]
async fn a_restart_policy_runs_it_again_until_it_is_told_to_stop() {
    let it = Fixture::new().await;
    let mut spec = shell("twice", "echo x; exit 3");
    spec.host.restart = RestartPolicy::OnFailure(2);
    it.engine.create_container(spec).await.unwrap();
    it.engine.start_container("twice").await.unwrap();
    assert_eq!(it.wait("twice").await, 3);
    assert_eq!(it.logs("twice", Default::default()).await, "x\nx\nx\n");
    let mut spec = shell("always", "exit 0");
    spec.host.restart = RestartPolicy::Always;
    it.engine.create_container(spec).await.unwrap();
    it.engine.start_container("always").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Between two lives or in one: either way it is over.
    let _ = it.engine.stop_container("always", StopOptions::default()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(matches!(it.state("always").await, ContainerState::Exited { .. }));
    it.finish().await;
}

#[tokio::test]
async fn lists_are_narrowed_by_filters_and_unknown_ones_name_the_nearest() {
    let it = Fixture::new().await;
    let mut spec = shell("one", "exit 4");
    spec.labels.insert("tier".to_owned(), "db".to_owned());
    it.engine.create_container(spec).await.unwrap();
    it.engine.start_container("one").await.unwrap();
    it.wait("one").await;
    it.start("two", "sleep 100").await;
    it.create("three", "true").await;
    for (all, pairs, expected) in [
        (false, &[][..], &["two"][..]),
        (true, &[], &["three", "two", "one"]),
        (false, &[("status", "exited")], &["one"]),
        (false, &[("exited", "4")], &["one"]),
        (false, &[("status", "created")], &["three"]),
        (true, &[("label", "tier=db")], &["one"]),
        (true, &[("name", "^t")], &["three", "two"]),
        (true, &[("since", "one")], &["three", "two"]),
        (true, &[("before", "two")], &["one"]),
        (true, &[("ancestor", "bb")], &["three", "two", "one"]),
        (true, &[("ancestor", "other")], &[]),
    ] {
        let filter = ContainerFilter { all, filters: filters(pairs), ..ContainerFilter::default() };
        let names: Vec<String> =
            it.engine.list_containers(&filter).await.unwrap().iter().map(|view| view.record.name.to_string()).collect();
        assert_eq!(names, expected, "{pairs:?}");
    }
    let wrong = ContainerFilter { filters: filters(&[("statsu", "x")]), ..ContainerFilter::default() };
    let error = it.engine.list_containers(&wrong).await.unwrap_err();
    assert!(error.hint().unwrap().starts_with("did you mean status?"), "{:?}", error.hint());
    let pruned = it.engine.prune_containers(&Filters::default()).await.unwrap();
    assert_eq!(pruned.ids.len(), 2, "the running one stays");
    it.finish().await;
}

#[tokio::test]
async fn signals_reach_the_program_and_limits_and_mounts_hold() {
    let it = Fixture::new().await;
    std::fs::create_dir(it.folder().join("shared")).unwrap();
    let mut spec = shell(
        "limited",
        "trap 'exit 9' HUP; ulimit -n > /shared/files; cat /proc/self/status | grep NoNewPrivs > /shared/privs; touch /x 2>/dev/null || echo ro > /shared/root; while :; do sleep 0.05; done",
    );
    let shared = it.folder().join("shared");
    spec.host.mounts = vec![shipway_model::mount::parse_volume_flag(&format!("{}:/shared", shared.display())).unwrap()];
    spec.host.ulimits = vec![shipway_model::Ulimit::new("nofile", 77, 77).unwrap()];
    spec.host.security.no_new_privileges = true;
    spec.host.read_only_root = true;
    it.engine.create_container(spec).await.unwrap();
    it.engine.start_container("limited").await.unwrap();
    let read = |name: &str| std::fs::read_to_string(shared.join(name)).unwrap_or_default();
    for _ in 0..500 {
        if !read("root").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    it.engine.kill_container("limited", Some(Signal::HUP)).await.unwrap();
    assert_eq!(it.wait("limited").await, 9);
    assert_eq!((read("files").trim(), read("privs").trim(), read("root").trim()), ("77", "NoNewPrivs:\t1", "ro"));
    it.finish().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_is_made() {
    type Change = fn(&mut shipway_engine::containers::CreateSpec);
    let it = Fixture::new().await;
    let cases: [(Change, &str); 7] = [
        (|spec| spec.image = "nope".to_owned(), "No such image: nope:latest"),
        (|spec| spec.working_dir = Some("rel".to_owned()), "the working directory 'rel' is invalid, it needs to be an absolute path"),
        (|spec| spec.env = vec!["=x".to_owned()], "invalid environment variable: =x"),
        (|spec| spec.host.cap_add = vec!["NOPE".to_owned()], "invalid CapAdd: unknown capability: \"CAP_NOPE\""),
        (|spec| spec.host.limits.memory = Some(1), "Minimum memory limit allowed is 6MB"),
        (
            |spec| (spec.host.auto_remove, spec.host.restart) = (true, RestartPolicy::Always),
            "can't create 'AutoRemove' container with restart policy",
        ),
        (|spec| spec.host.log.driver = "nope".to_owned(), "error looking up logging plugin nope: plugin \"nope\" not found"),
    ];
    for (change, expected) in cases {
        let mut spec = shell("never", "true");
        change(&mut spec);
        assert_eq!(it.engine.create_container(spec).await.unwrap_err().to_string(), expected);
    }
    assert!(it.engine.list_containers(&ContainerFilter { all: true, ..ContainerFilter::default() }).await.unwrap().is_empty());
    it.finish().await;
}

/// security.md section 8: what the kernel and the folders hold is what the records say, and what is not can be put right.
#[tokio::test]
async fn fsck_finds_strangers_and_ends_that_nobody_saw_and_repairs_them() {
    use shipway_engine::values::FsckOptions;
    let it = Fixture::new().await;
    it.start("web", "sleep 100").await;
    it.create("idle", "true").await;
    let check = |repair: bool| it.engine.fsck(FsckOptions { strict: false, repair });
    let report = check(false).await.unwrap();
    assert_eq!((report.findings, report.containers), (vec![], 2));
    let stranger = "ab".repeat(32);
    let (durable, passing) = (it.folder().join("data/containers").join(&stranger), it.folder().join("run/containers").join(&stranger));
    for folder in [&durable, &passing] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let layers = it.folder().join("data/layers");
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(std::fs::read_dir(&layers).unwrap().next().unwrap().unwrap().path())
        .status();
    assert!(mount.unwrap().success());
    let group = it.group("pids").join(&stranger);
    std::fs::create_dir(&group).unwrap();
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    std::fs::write(group.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    let report = check(false).await.unwrap();
    let mut kinds: Vec<&str> = report.findings.iter().map(|finding| finding.kind.as_str()).collect();
    kinds.sort_unstable();
    // The layer below the mount cannot be seen either, which is the store's to say.
    kinds.retain(|kind| *kind != "layer");
    assert_eq!(kinds, ["folder", "folder", "mount", "process"], "{:?}", report.findings);
    assert!(!report.is_clean());
    let report = check(true).await.unwrap();
    assert!(report.findings.len() == 4 && report.is_clean(), "the layer is seen again: {:?}", report.findings);
    assert!(!sleeper.wait().unwrap().success(), "a process of nobody was ended");
    assert!(!durable.exists() && !passing.exists() && !group.exists());
    assert!(matches!(it.state("web").await, ContainerState::Running { .. }), "what runs goes on");
    it.finish().await;
}
