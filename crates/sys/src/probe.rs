//! What this kernel and this process can do, asked once.
//!
//! What must stay true: asking changes nothing on the machine, and every answer comes from trying, not from a version number, wherever trying is possible.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::FsOpenFlags;
use rustix::process::PidfdFlags;

use crate::{Error, fd};

/// /proc/self/mountinfo of a host with thousands of containers stays far below this.
const MOUNTINFO_LIMIT: usize = 64 << 20;

/// The answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Kernel version, e.g. (6, 18, 44).
    pub kernel: (u32, u32, u32),
    /// Overlayfs takes its lower folders one by one (`lowerdir+`, kernel 6.7), so their number and names are no longer limited by one page of text.
    pub overlay_append_lower: bool,
    /// How control groups are mounted.
    pub cgroup: CgroupLayout,
    /// pidfd_open(2), kernel 5.3.
    pub pidfd: bool,
    /// openat2(2), kernel 5.6; nothing of Shipway runs without it.
    pub openat2: bool,
    /// mount_setattr(2) exists, with it idmapped mounts (kernel 5.12); whether a filesystem plays along shows when mounting.
    pub idmapped_mounts: bool,
    /// Capabilities of this process.
    pub capabilities: CapabilitySets,
}

/// Where the control groups are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupLayout {
    /// Version 1: controller (or `name=systemd`) to the folder of its hierarchy. Joint hierarchies appear once per controller.
    pub v1: BTreeMap<String, PathBuf>,
    /// Version 2: the folder of the unified hierarchy, where mounted.
    pub v2: Option<PathBuf>,
    /// Controllers that the unified hierarchy offers at its root.
    pub v2_controllers: Vec<String>,
}

/// Which layout of control groups a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupMode {
    /// Version 2 alone.
    Unified,
    /// Version 1 with an empty or nearly empty version 2 beside it.
    Hybrid,
    /// Version 1 alone.
    Legacy,
    /// None mounted.
    Absent,
}

impl CgroupLayout {
    /// Names the layout; hierarchies of version 1 that carry no controller do not count.
    pub fn mode(&self) -> CgroupMode {
        let controllers_on_v1 = self.v1.keys().any(|name| !name.starts_with("name="));
        match (controllers_on_v1, &self.v2) {
            (false, Some(_)) => CgroupMode::Unified,
            (true, Some(_)) => CgroupMode::Hybrid,
            (true, None) => CgroupMode::Legacy,
            (false, None) => CgroupMode::Absent,
        }
    }
}

/// Capability sets as bit masks, bit n being capability number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySets {
    /// What the process may do now.
    pub effective: u64,
    /// What it may take up.
    pub permitted: u64,
    /// What its children can ever get.
    pub bounding: u64,
}

impl CapabilitySets {
    /// Whether capability number `number` (`CAP_SYS_ADMIN` is 21) is effective.
    pub fn has(&self, number: u32) -> bool {
        number < 64 && self.effective & (1 << number) != 0
    }
}

impl Probe {
    /// The answers for this process, asked at the first call.
    pub fn get() -> &'static Probe {
        static PROBE: OnceLock<Probe> = OnceLock::new();
        PROBE.get_or_init(Probe::ask)
    }

    fn ask() -> Probe {
        let openat2 = rustix::fs::openat2(CWD, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT).is_ok();
        Probe {
            kernel: parse_release(&rustix::system::uname().release().to_string_lossy()),
            overlay_append_lower: overlay_append_lower(),
            cgroup: cgroup_layout().unwrap_or_default(),
            pidfd: rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).is_ok(),
            openat2,
            idmapped_mounts: mount_setattr_exists(),
            capabilities: fd::read_host_file("/proc/self/status", 64 * 1024).map(|text| parse_capabilities(&text)).unwrap_or_default(),
        }
    }

    /// True from kernel `major.minor` on.
    pub fn kernel_at_least(&self, major: u32, minor: u32) -> bool {
        (self.kernel.0, self.kernel.1) >= (major, minor)
    }
}

/// Whether files in `folder` can share their blocks (`FICLONE`); tried with two nameless files.
///
/// # Errors
/// As open(2) with `O_TMPFILE`.
pub fn reflink_works(folder: &Path) -> Result<bool, Error> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let nameless =
        || rustix::fs::open(folder, flags, Mode::from(0o600)).map_err(|e| Error::new(format!("open(O_TMPFILE in {folder:?})"), e));
    let (one, other) = (nameless()?, nameless()?);
    rustix::io::write(&one, &[1; 4096]).map_err(|e| Error::new(format!("write(in {folder:?})"), e))?;
    Ok(rustix::fs::ioctl_ficlone(&other, &one).is_ok())
}

fn overlay_append_lower() -> bool {
    let Ok(context) = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) else { return false };
    // Nothing gets mounted: the context goes away with its descriptor.
    rustix::mount::fsconfig_set_string(context.as_fd(), "lowerdir+", "/").is_ok()
}

fn mount_setattr_exists() -> bool {
    // SAFETY: the descriptor -1 makes the kernel answer EBADF (or ENOSYS) before it looks at the null attribute pointer of size 0.
    let answer = unsafe { libc::syscall(libc::SYS_mount_setattr, -1, c"".as_ptr(), libc::AT_EMPTY_PATH, std::ptr::null::<u8>(), 0usize) };
    answer == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// Reads the layout of the control groups of this mount namespace.
pub fn cgroup_layout() -> Result<CgroupLayout, Error> {
    let text = fd::read_host_file("/proc/self/mountinfo", MOUNTINFO_LIMIT)?;
    let mut layout = parse_mountinfo(&String::from_utf8_lossy(&text));
    if let Some(root) = &layout.v2 {
        let path = root.join("cgroup.controllers");
        let names = fd::read_host_file(&path.to_string_lossy(), 4096).unwrap_or_default();
        layout.v2_controllers = String::from_utf8_lossy(&names).split_whitespace().map(str::to_owned).collect();
    }
    Ok(layout)
}

/// # Source
/// proc_pid_mountinfo(5): mount point is field 5; after the separating `-` come filesystem type, source and the options of the filesystem.
fn parse_mountinfo(text: &str) -> CgroupLayout {
    const NOT_CONTROLLERS: [&str; 8] = ["rw", "ro", "xattr", "clone_children", "noprefix", "none", "all", "cpuset_v2_mode"];
    let mut layout = CgroupLayout::default();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4) else { continue };
        let mut right = right.split(' ');
        match (right.next(), right.nth(1)) {
            (Some("cgroup2"), _) if layout.v2.is_none() => layout.v2 = Some(unescape(point)),
            (Some("cgroup"), Some(options)) => {
                for option in options.split(',').filter(|option| !NOT_CONTROLLERS.contains(option) && !option.starts_with("release_agent="))
                {
                    layout.v1.entry(option.to_owned()).or_insert_with(|| unescape(point));
                }
            }
            _ => {}
        }
    }
    layout
}

/// Space, tab, newline and backslash stand as three octal digits in mountinfo.
fn unescape(text: &str) -> PathBuf {
    let text = text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    PathBuf::from(text)
}

fn parse_release(text: &str) -> (u32, u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn parse_capabilities(status: &[u8]) -> CapabilitySets {
    let status = String::from_utf8_lossy(status);
    let mask = |key: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("0");
        u64::from_str_radix(value.trim(), 16).unwrap_or(0)
    };
    CapabilitySets { effective: mask("CapEff:"), permitted: mask("CapPrm:"), bounding: mask("CapBnd:") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_layout_is_read_from_mountinfo() {
        let text = "24 1 0:21 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
            25 24 0:22 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
            26 24 0:23 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            27 24 0:24 / /sys/fs/cgroup/cpu\\040x rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";
        let layout = parse_mountinfo(text);
        assert_eq!(layout.mode(), CgroupMode::Hybrid);
        assert_eq!(layout.v2, Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(layout.v1["cpuacct"], PathBuf::from("/sys/fs/cgroup/cpu x"));
        assert_eq!(layout.v1.keys().collect::<Vec<_>>(), ["cpu", "cpuacct", "name=systemd"]);
        assert_eq!(parse_mountinfo("").mode(), CgroupMode::Absent);
    }

    #[test]
    fn release_and_capabilities_are_parsed() {
        assert_eq!(parse_release("6.18.44-fc-v657"), (6, 18, 44));
        assert_eq!(parse_release("5.10"), (5, 10, 0));
        let sets = parse_capabilities(b"Name:\tx\nCapPrm:\t0000000000200001\nCapEff:\t0000000000200000\nCapBnd:\t000001ffffffffff\n");
        assert_eq!(sets, CapabilitySets { effective: 1 << 21, permitted: 1 << 21 | 1, bounding: (1 << 41) - 1 });
        assert!(sets.has(21) && !sets.has(0) && !sets.has(64));
    }

    #[test]
    fn this_machine_answers() {
        let probe = Probe::get();
        assert!(probe.openat2 && probe.pidfd);
        assert!(probe.kernel_at_least(5, 6) && !probe.kernel_at_least(99, 0));
        assert!(!reflink_works(Path::new("/dev/shm")).expect("tmpfs has O_TMPFILE"));
    }
}
