//! The study notes' lessons, as far as they go without a network: those on busybox in full, the others up to their first program.
//!
//! `examples/` has the files. The bases that need packages of a distribution are made by `make demo`, which checks every lesson to its end; here
//! their names mean busybox, which is enough to see how a Dockerfile is read, planned and shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use shipway_testkit::Daemon;

use crate::BINARY;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

/// A daemon with `busybox` and, made with the product itself, `diamol/base`.
fn school() -> Daemon {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("busybox");
    fine(&daemon.shipway(&["build", "-q", "-t", "diamol/base", &example("bases/diamol-base").display().to_string()]));
    daemon
}

#[track_caller]
fn fine(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Names of the vertices that a build shows, whether it ends well or not.
fn vertices(daemon: &Daemon, lesson: &str) -> BTreeMap<String, String> {
    let output = daemon.shipway(&["build", "--progress", "rawjson", &example("lessons").join(lesson).display().to_string()]);
    let text = [output.stdout, output.stderr].concat();
    let mut names = BTreeMap::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        for vertex in line["vertexes"].as_array().into_iter().flatten() {
            names.insert(vertex["digest"].as_str().unwrap().to_owned(), vertex["name"].as_str().unwrap().to_owned());
        }
    }
    names
}

#[test]
fn the_multi_stage_lesson_builds_runs_and_rebuilds_from_cache() {
    let daemon = school();
    let lesson = example("lessons/multi-stage").display().to_string();
    let built = daemon.shipway(&["build", "--progress", "plain", "-t", "multi-stage", &lesson]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert_eq!(fine(&daemon.shipway(&["run", "--rm", "multi-stage"])), "Building...\nTesting...\n");
    assert_eq!(vertices(&daemon, "multi-stage").len(), 9);

    let again = daemon.shipway(&["build", "--progress", "plain", "-t", "multi-stage", &lesson]);
    let shown = String::from_utf8_lossy(&again.stderr).into_owned() + &String::from_utf8_lossy(&again.stdout);
    assert_eq!(shown.matches(" CACHED").count(), 5, "FROM, two RUNs and two COPYs: {shown}");
    daemon.remove_all_containers();
    daemon.assert_sound();
}

#[test]
fn one_dockerfile_under_three_names_is_one_image_for_both_clients() {
    let daemon = school();
    let lesson = example("lessons/multi-stage").display().to_string();
    let mut ids = Vec::new();
    for name in ["sample_image", "sample_iamge", "sample:2"] {
        ids.push(fine(&daemon.shipway(&["build", "-q", "-t", name, &lesson])).trim().to_owned());
    }
    if let Some(output) = daemon.docker(&["build", "-q", "-t", "by-docker", &lesson]) {
        ids.push(fine(&output).trim().to_owned());
    }
    assert!(ids[0].starts_with("sha256:") && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn the_classic_display_is_the_notes() {
    let daemon = school();
    let Some(output) = daemon.docker(&["build", "-t", "multi-stage", &example("lessons/multi-stage").display().to_string()]) else {
        return;
    };
    let text = fine(&output);
    let words: Vec<&str> = text.lines().map(|line| line.split_at(line.len().min(18)).0.trim_end()).collect();
    for expected in
        ["Sending build cont", "Step 1/8 : FROM di", "Step 8/8 : CMD cat", "Removing intermedi", "Successfully built", "Successfully tagge"]
    {
        assert!(words.contains(&expected), "{expected}: {text}");
    }
    assert!(text.contains("\n ---> Running in ") && text.ends_with("Successfully tagged multi-stage:latest\n"), "{text}");
    let again = fine(&daemon.docker(&["build", "-t", "multi-stage", &example("lessons/multi-stage").display().to_string()]).unwrap());
    assert_eq!((again.matches(" ---> Using cache\n").count(), again.matches("Running in").count()), (5, 0), "{again}");
}

#[test]
fn the_other_lessons_show_as_many_steps_as_the_notes() {
    let daemon = school();
    for base in ["node", "golang", "maven", "openjdk"] {
        // Images of their own: two names of one image would be one FROM.
        let folder = daemon.scratch().join(base);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("Dockerfile"), format!("FROM busybox\nLABEL stands-for={base}\n")).unwrap();
        fine(&daemon.shipway(&["build", "-q", "-t", &format!("diamol/{base}"), &folder.display().to_string()]));
    }
    // "exporting to image" is the last one, and these builds do not get there: busybox has no npm, go or mvn.
    for (lesson, steps) in [("access-log", 12), ("image-gallery", 14), ("image-of-the-day", 15)] {
        let names = vertices(&daemon, lesson);
        assert_eq!(names.len() + 1, steps, "{lesson}: {names:#?}");
    }
}

#[test]
fn a_mistake_of_the_notes_is_answered_before_anything_runs() {
    let daemon = school();
    let folder = daemon.scratch().join("mistakes");
    std::fs::create_dir_all(&folder).unwrap();
    for (dockerfile, words) in [
        ("FROM DIAMOL/BASE AS BUILD-STAGE\n", &["1:6", "diamol/base"][..]),
        ("FROM diamlo/base\n", &["1:6", "diamol/base"]),
        ("EVN A=1\nFROM diamol/base\n", &["1:1", "ENV"]),
        ("FROM diamol/base\nCOPY pom.xml .\n", &["2:6", "pom.xml"]),
        ("FROM diamol/base:sha256:76d2\n", &["@"]),
    ] {
        std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
        let output = daemon.shipway(&["build", "--progress", "plain", &folder.display().to_string()]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{dockerfile}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{dockerfile}: {text}");
    }
}
