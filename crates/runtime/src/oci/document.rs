//! Documents we write: a configuration to begin with, and what is supported.
//!
//! What must stay true: `spec` writes nothing that `create` would refuse.

use std::path::Path;

use serde_json::{Value, json};
use shipway_model::{Capability, CapabilitySet};

use super::arguments::{Flag, parse};
use super::error::Error;
use super::{SPEC_VERSION, say};
use crate::profile;

/// `oci spec`.
pub(super) fn spec(words: &[String]) -> Result<u8, Error> {
    let parsed = parse(words, &[Flag::short_value("bundle", 'b'), Flag::switch("rootless")])?;
    if parsed.has("rootless") {
        return Err(Error::unsupported("--rootless"));
    }
    let path = Path::new(parsed.text("bundle").unwrap_or(".")).join("config.json");
    if path.exists() {
        return Err(Error::refused(format!("file {} exists; remove it first", path.display())));
    }
    std::fs::write(&path, format!("{:#}\n", beginning())).map_err(|error| Error::file("write", &path, &error))?;
    Ok(0)
}

/// Docker's posture around a shell.
pub(super) fn beginning() -> Value {
    let capabilities = CapabilitySet::default_set().names();
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    json!({
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "shipway",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": (["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }))),
            "maskedPaths": profile::default_masked_paths(),
            "readonlyPaths": profile::default_readonly_paths(),
        },
    })
}

/// `oci features`.
///
/// Source: OCI runtime-spec 1.2, features.md.
pub(super) fn features() -> Result<u8, Error> {
    let capabilities: Vec<String> = Capability::EVERY.iter().map(ToString::to_string).collect();
    let native = if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" };
    let archs: &[&str] = if cfg!(target_arch = "x86_64") { &[native, "SCMP_ARCH_X86"] } else { &[native] };
    let document = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "poststart", "poststop"],
        "mountOptions": [
            "async", "atime", "bind", "defaults", "dev", "diratime", "exec", "noatime", "nodev", "nodiratime", "noexec", "norelatime",
            "nostrictatime", "nosuid", "nosymfollow", "private", "ratime", "rbind", "rdev", "rdiratime", "relatime", "rexec", "rnoatime", "rnodev",
            "rnodiratime", "rnoexec", "rnosuid", "rnosymfollow", "ro", "rprivate", "rro", "rrw", "rshared", "rslave", "rsuid", "rsymfollow", "rw",
            "shared", "slave", "strictatime", "suid", "symfollow",
        ],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "uts"],
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false },
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
                    "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
                ],
                "archs": archs,
            },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": false } },
        },
    });
    say(&format!("{document:#}\n"))?;
    Ok(0)
}
