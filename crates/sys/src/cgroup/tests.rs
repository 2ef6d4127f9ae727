//! Groups on this machine's own hierarchies; needs root.

use super::*;
use crate::process::{Spawn, reap_blocking, spawn};

fn tree(name: &str) -> Tree {
    Tree::open(&crate::probe::Probe::get().cgroup, &format!("shipway-test-{name}-{}", std::process::id())).expect("cgroups")
}

fn sleeper() -> Pid {
    let arguments = [c"sleep".to_owned(), c"100".to_owned()];
    spawn(&Spawn { path: c"/bin/busybox", arguments: &arguments, environment: &[], handles: &[] }).expect("spawn")
}

#[test]
fn a_group_lives_is_renamed_kills_and_goes() {
    let tree = tree("life");
    let mut group = tree.create("first").expect("create");
    let pid = sleeper();
    group.add(pid).expect("add");
    group.rename("second").expect("rename");
    assert_eq!(group.processes(), [pid]);
    assert_eq!(group.usage().pids, 1);
    group.freeze().expect("freeze");
    group.kill_all(Some(pid));
    assert_eq!(group.processes(), [pid], "the spared one lives");
    crate::process::send_signal(pid, libc::SIGKILL).expect("kill");
    assert_eq!(reap_blocking(pid).expect("wait").map(|ended| ended.code()), Some(137));
    group.remove().expect("remove");
    group.remove().expect("again");
    assert!(tree.names().is_empty());
    tree.remove_if_empty();
}

#[test]
fn limits_reach_the_kernel_in_either_direction() {
    let tree = tree("limits");
    let group = tree.create("one").expect("create");
    for memory in [64 << 20, 256 << 20, 32 << 20] {
        let limits =
            Limits { memory: Some(memory), memory_and_swap: Some(memory), pids: Some(7), cpu_quota: Some(50_000), ..Limits::default() };
        group.limit(&limits).expect("limit");
        assert_eq!(group.usage().memory_limit, memory as u64);
        assert_eq!(group.usage().pids_limit, Some(7));
    }
    group.allow_devices(&default_devices()).expect("devices");
    group.remove().expect("remove");
    tree.remove_if_empty();
}

#[test]
fn device_rules_read_like_the_kernels() {
    assert_eq!(Device::character(136, None).rule(), "c 136:* rwm");
    assert_eq!(Device::all().rule(), "a *:* rwm");
}

#[test]
fn the_device_program_passes_the_verifier_on_a_version_2_mount() {
    let Some(top) = crate::probe::Probe::get().cgroup.v2.clone() else { return };
    let folder = top.join(format!("shipway-test-bpf-{}", std::process::id()));
    make_folder(&folder).expect("mkdir");
    let answer = devices::attach_program(&folder, &default_devices());
    let again = devices::attach_program(&folder, &[Device::all()]);
    remove_folder(&folder).expect("rmdir");
    answer.expect("attach");
    again.expect("replace");
}
