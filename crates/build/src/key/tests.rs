//! S-407: whatever an operation says changes its key, and nothing else does. The lists below must name every field, so a new one cannot be forgotten.

use std::collections::BTreeSet;

use shipway_model::Platform;

use super::*;
use crate::graph::ModeChange;
use crate::request::RunNetwork;

type Change<T> = (&'static str, fn(&mut T));

fn tree() -> ContentKey {
    ContentKey::empty().with_layer(&[1; 32])
}

fn run_op() -> RunOp {
    RunOp {
        args: vec!["/bin/sh".into(), "-c".into(), "make".into()],
        env: vec!["A=1".into()],
        cwd: "/".into(),
        user: String::new(),
        network: RunNetwork::Default,
        extra_host_names: vec![],
        shm_size: None,
        ulimits: vec![],
        hostname: None,
        platform: Platform::new("linux", "amd64", None),
        script: None,
    }
}

const RUN: [Change<RunOp>; 11] = [
    ("args", |op| op.args.push("x".into())),
    ("env", |op| op.env[0] = "A=2".into()),
    ("cwd", |op| op.cwd = "/x".into()),
    ("user", |op| op.user = "node".into()),
    ("network", |op| op.network = RunNetwork::None),
    ("extra_host_names", |op| op.extra_host_names.push("x".into())),
    ("shm_size", |op| op.shm_size = Some(1)),
    ("ulimits", |op| op.ulimits.push("nofile=1:2".parse().unwrap())),
    ("hostname", |op| op.hostname = Some("h".into())),
    ("platform", |op| op.platform = Platform::new("linux", "arm64", None)),
    ("script", |op| op.script = Some(("EOF".into(), "#!/bin/x\n".into()))),
];

fn copy_op() -> CopyOp {
    CopyOp {
        add: false,
        sources: vec![CopySource::Context { pattern: "a".into() }],
        destination: "/x".into(),
        owner: None,
        mode: None,
        parents: false,
        exclude: vec![],
        link: false,
        unpack: None,
        checksum: None,
        platform: Platform::new("linux", "amd64", None),
    }
}

const COPY: [Change<CopyOp>; 11] = [
    ("add", |op| op.add = true),
    ("sources", |op| op.sources[0] = CopySource::Url { url: "http://x".into() }),
    ("destination", |op| op.destination = "/x/".into()),
    ("owner", |op| op.owner = Some("1".into())),
    ("mode", |op| op.mode = Some(ModeChange::Octal(0o644))),
    ("parents", |op| op.parents = true),
    ("exclude", |op| op.exclude.push("x".into())),
    ("link", |op| op.link = true),
    ("unpack", |op| op.unpack = Some(false)),
    ("checksum", |op| op.checksum = Some("sha256:x".into())),
    ("platform", |op| op.platform = Platform::new("linux", "arm64", None)),
];

/// Applies every change alone and compares all keys that come out.
fn check<T: Serialize>(make: impl Fn() -> T, changes: &[Change<T>], key: impl Fn(&T) -> CacheKey) {
    let fields: BTreeSet<String> = serde_json::to_value(make()).unwrap().as_object().unwrap().keys().cloned().collect();
    let named: BTreeSet<String> = changes.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(fields, named, "every field has a change here");
    let mut keys = BTreeSet::from([key(&make())]);
    for (name, change) in changes {
        let mut op = make();
        change(&mut op);
        assert!(keys.insert(key(&op)), "changing {name} changes the key");
        assert_eq!(key(&op), key(&op));
    }
}

#[test]
fn every_field_of_a_run_is_part_of_its_key() {
    check(run_op, &RUN, |op| of_run(op, &tree()).key);
    check(run_op, &RUN, |op| CacheKey(of_run(op, &tree()).weak));
}

#[test]
fn every_field_of_a_copy_is_part_of_its_key() {
    check(copy_op, &COPY, |op| of_copy(op, &tree(), &[vec![]], "/context").key);
    check(copy_op, &COPY, |op| CacheKey(of_copy(op, &tree(), &[vec![]], "/context").weak));
}

#[test]
fn every_field_of_a_workdir_is_part_of_its_key() {
    let make = || WorkdirOp { path: "/w".into(), user: String::new() };
    let changes: [Change<WorkdirOp>; 2] = [("path", |op| op.path = "/v".into()), ("user", |op| op.user = "node".into())];
    check(make, &changes, |op| of_workdir(op, &tree()).key);
}

#[test]
fn the_tree_is_part_of_the_key_and_not_of_the_weak_key() {
    let other = ContentKey::empty().with_layer(&[2; 32]);
    let (one, two) = (of_run(&run_op(), &tree()), of_run(&run_op(), &other));
    assert!(one.key != two.key && one.weak == two.weak);
    let (one, two) = (of_copy(&copy_op(), &tree(), &[], "/c"), of_copy(&copy_op(), &other, &[], "/c"));
    assert!(one.key != two.key && one.weak == two.weak);
    assert_ne!(
        ContentKey::empty().with_layer(&[1; 32]).with_layer(&[2; 32]),
        ContentKey::empty().with_layer(&[2; 32]).with_layer(&[1; 32])
    );
}

#[test]
fn what_a_copy_takes_counts_and_how_it_is_written_does_not() {
    let entry = |name: &str, digest: u8| TakenEntry { name: name.as_bytes().to_vec(), digest: [digest; 32] };
    let key = |op: &CopyOp, taken: &[Vec<TakenEntry>]| of_copy(op, &tree(), taken, "/c").key;
    let mut keys = BTreeSet::new();
    let selections: [&[Vec<TakenEntry>]; 7] = [
        &[vec![]],
        &[vec![], vec![]],
        &[vec![entry("a", 1)]],
        &[vec![entry("a", 2)]],
        &[vec![entry("b", 1)]],
        &[vec![entry("a", 1), entry("b", 1)]],
        &[vec![entry("a", 1)], vec![entry("b", 1)]],
    ];
    for taken in selections {
        assert!(keys.insert(key(&copy_op(), taken)), "{taken:?}");
    }
    let other = CopyOp { sources: vec![CopySource::Context { pattern: "./dir/../a".into() }], ..copy_op() };
    assert_eq!(key(&copy_op(), selections[2]), key(&other, selections[2]));
}

#[test]
fn a_run_and_a_workdir_never_share_a_key() {
    let workdir = WorkdirOp { path: "/".into(), user: String::new() };
    let keys = [of_run(&run_op(), &tree()).key, of_workdir(&workdir, &tree()).key, of_copy(&copy_op(), &tree(), &[], "").key];
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 3);
}
