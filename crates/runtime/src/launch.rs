//! From a spec to a running container, on the daemon's side.
//!
//! Everything that can fail for a reason of the caller's is done before a monitor is touched: mounts are made detached, devices looked at, the filter
//! compiled. What must stay true: one message carries it all; the cgroup's limits stand before the program starts; whatever fails, nothing is left.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use shipway_model::{Limits, Timestamp, Ulimit};
use shipway_sys::cgroup::{self, Device as Rule, DeviceKind, Group};
use shipway_sys::mount::{DetachedMount, MountBuilder, attribute};
use shipway_sys::overlay::Overlay;
use shipway_sys::probe::Probe;
use shipway_sys::{Error, namespace, rlimit};

use crate::attach::Attachment;
use crate::error::LaunchError;
use crate::handle::Handle;
use crate::message::{
    AttachWish, DevicePart, FilePart, InitPart, Launch, LogPart, MonitorPart, MountPart, MountWhat, Note, Order, Program, World, default_umask,
};
use crate::pool::{Parked, Reserved, Shared, cgroup_view, default_world, unexpected};
use crate::spec::{
    BindSource, ContainerSpec, Device, FileSource, LogConfig, Mount, Namespace, NetNs, ProcessSpec, Propagation, RootFs, SeccompChoice,
};

/// A launched container.
#[derive(Debug)]
pub struct Running {
    /// Host pid of the first process.
    pub pid: i32,
    /// When the program began.
    pub started_at: Timestamp,
    /// What can be done with it.
    pub handle: Handle,
    /// The client asked for in `ContainerSpec::attach`.
    pub attachment: Option<Attachment>,
    /// Mount points that had to be made in the container's own upper folder.
    pub created: Vec<String>,
}

/// What the blocking part of a launch hands to the async one.
pub(crate) struct Launched {
    pub(crate) parked: Parked,
    pub(crate) pid: Pid,
    pub(crate) started: crate::clock::Instant,
    /// Keeps the root mounted until someone has time to unmount it.
    pub(crate) root: OwnedFd,
    pub(crate) bounding: u64,
    pub(crate) created: Vec<String>,
}

/// The handles of a launch message under construction.
#[derive(Default)]
struct Handles(Vec<OwnedFd>);

impl Handles {
    fn add(&mut self, handle: OwnedFd) -> usize {
        self.0.push(handle);
        self.0.len() - 1
    }
}

/// How a monitor is to behave.
pub(crate) enum Duty {
    /// Survive the daemon.
    Container,
    /// Die with it, and be used again.
    Step,
}

/// Launches. Blocks for a few milliseconds.
pub(crate) fn launch(
    shared: &Shared,
    spec: &mut ContainerSpec,
    reserved: Option<Reserved>,
    duty: &Duty,
    first_client: Option<(OwnedFd, AttachWish)>,
) -> Result<Launched, LaunchError> {
    let taken = reserved.map(|reserved| reserved.parked);
    let prepared = match prepare(shared, spec, duty) {
        Ok(prepared) => prepared,
        Err(error) => {
            if let Some(parked) = taken {
                parked.dissolve();
            }
            return Err(error);
        }
    };
    let mut parked = match (taken, duty) {
        (Some(parked), _) => parked,
        (None, Duty::Container) => shared.take()?,
        (None, Duty::Step) => shared.take_for_step()?,
    };
    let program = spec.process.args.first().cloned().unwrap_or_default();
    match carry_out(shared, spec, duty, prepared, &mut parked, first_client) {
        Ok((started, root, bounding, created)) => {
            let pid = parked.init.ok_or(LaunchError::MonitorDied)?;
            parked.disposable = matches!(duty, Duty::Step);
            Ok(Launched { parked, pid, started, root, bounding, created })
        }
        Err(error) => {
            // The order names no program where it fails; the failure of the init side does.
            let error = match error {
                LaunchError::NotFound { text, .. } => LaunchError::NotFound { program, text },
                LaunchError::NotExecutable { text, .. } => LaunchError::NotExecutable { program, text },
                LaunchError::Cwd { text, .. } => LaunchError::Cwd { cwd: spec.process.cwd.clone(), text },
                other => other,
            };
            parked.dissolve();
            Err(error)
        }
    }
}

struct Prepared {
    world: World,
    joins: Vec<OwnedFd>,
    init: InitPart,
    handles: Handles,
    rules: Vec<Rule>,
    limits: cgroup::Limits,
}

fn prepare(shared: &Shared, spec: &mut ContainerSpec, duty: &Duty) -> Result<Prepared, LaunchError> {
    if spec.cgroup_parent.is_some() {
        return Err(LaunchError::Unsupported { what: "a cgroup parent".to_owned() });
    }
    let (world, joins) = world_of(shared, spec)?;
    let mut handles = Handles::default();
    let stubs = if matches!(duty, Duty::Step) { &shared.step_stubs } else { &shared.stubs };
    let root = handles.add(mount_root(&spec.root, stubs)?);
    let mut mounts = Vec::new();
    for mount in std::mem::take(&mut spec.mounts) {
        mounts.push(prepare_mount(mount, &mut handles)?);
    }
    let files = prepare_files(spec, &mut mounts, &mut handles)?;
    let (devices, mut rules) = prepare_devices(spec)?;
    rules.extend(spec.device_rules.iter().copied());
    let mut program = program_of(&spec.process)?;
    program.make_cwd = true;
    program.seccomp = shared.filters.handle(&spec.process.seccomp, spec.process.capabilities.mask())?.map(|filter| handles.add(filter));
    let own_uts = spec.namespaces.uts == Namespace::Private;
    let init = InitPart {
        root,
        standard_mounts: true,
        mounts,
        files,
        devices,
        links: Vec::new(),
        masked: if spec.privileged { Vec::new() } else { spec.masked_paths.clone() },
        readonly: if spec.privileged { Vec::new() } else { spec.readonly_paths.clone() },
        read_only_root: spec.read_only_root,
        hostname: (own_uts && !spec.hostname.is_empty()).then(|| spec.hostname.clone()),
        domainname: spec.domainname.clone().filter(|name| own_uts && !name.is_empty()),
        sysctls: spec.sysctls.clone(),
        shm_size: spec.shm_size,
        reaper: spec.init,
        gate: None,
        program,
    };
    Ok(Prepared { world, joins, init, handles, rules, limits: limits_of(&spec.limits) })
}

type CarriedOut = (crate::clock::Instant, OwnedFd, u64, Vec<String>);

fn carry_out(
    shared: &Shared,
    spec: &ContainerSpec,
    duty: &Duty,
    prepared: Prepared,
    parked: &mut Parked,
    first_client: Option<(OwnedFd, AttachWish)>,
) -> Result<CarriedOut, LaunchError> {
    let Prepared { world, joins, init, handles, rules, limits } = prepared;
    if parked.world != world || parked.init.is_none() {
        let joins: Vec<BorrowedFd<'_>> = joins.iter().map(AsFd::as_fd).collect();
        parked.raise(&world, &joins)?;
    }
    parked.group.limit(&limits).map_err(LaunchError::Cgroup)?;
    if spec.privileged {
        parked.group.allow_devices(&[Rule::all()]).map_err(LaunchError::Cgroup)?;
    } else if !rules.is_empty() {
        let all: Vec<Rule> = cgroup::default_devices().into_iter().chain(rules.iter().copied()).collect();
        parked.group.allow_more_devices(&all, &rules).map_err(LaunchError::Cgroup)?;
    }
    let name = match duty {
        Duty::Container => group_name(shared, spec, &parked.group),
        Duty::Step => parked.group.name().to_owned(),
    };
    let root = rustix::io::fcntl_dupfd_cloexec(&handles.0[init.root], 3).map_err(|errno| Error::new("dup(root)", errno))?;
    let init_handles = handles.0.len();
    let bounding = init.program.bounding;
    let seccomp = init.program.seccomp;
    let mut own: Vec<OwnedFd> = Vec::new();
    let mut add_own = |handle: OwnedFd| {
        own.push(handle);
        own.len() - 1
    };
    let monitor = MonitorPart {
        id: spec.id.to_string(),
        group: name.clone(),
        state_dir: matches!(duty, Duty::Container).then(|| spec.state_dir.to_string_lossy().into_owned()),
        log: log_of(&spec.log),
        terminal: spec.process.terminal.map(|size| (size.rows, size.cols)),
        open_stdin: spec.stdio.open_stdin,
        stdin_once: spec.stdio.stdin_once,
        attach: first_client.map(|(line, wish)| (add_own(line), wish)),
        oom_counter: parked.group.oom_counter().map(&mut add_own),
        seccomp,
        again: matches!(duty, Duty::Step).then(|| default_world(&shared.tree)),
        hold: None,
    };
    let order = Order::Launch(Box::new(Launch { monitor, init, init_handles }));
    let all: Vec<BorrowedFd<'_>> = handles.0.iter().chain(&own).map(AsFd::as_fd).collect();
    parked.order(&order, &all)?;
    // The other side works on the launch meanwhile; nothing in it depends on the group's name.
    if matches!(duty, Duty::Container) {
        parked.group.rename(&name).map_err(LaunchError::Cgroup)?;
    }
    match parked.answer()? {
        Note::Started { at, created } => Ok((at, root, bounding, created)),
        other => Err(unexpected(other)),
    }
}

/// The id, or the id with a number when the group of a run just ended is still there.
fn group_name(shared: &Shared, spec: &ContainerSpec, group: &Group) -> String {
    if !shared.tree.is_version_1() {
        return group.name().to_owned();
    }
    let id = spec.id.to_string();
    let taken = ["memory", "pids", "cpu", "freezer"]
        .iter()
        .find_map(|name| shared.tree.group(&id).folder(name))
        .is_some_and(|folder| folder.exists());
    if taken { format!("{id}.{}", shared.next_number()) } else { id }
}

fn log_of(log: &LogConfig) -> Option<LogPart> {
    match log {
        LogConfig::None => None,
        LogConfig::JsonFile { path, max_size, max_files } => {
            Some(LogPart { path: path.to_string_lossy().into_owned(), max_size: *max_size, max_files: *max_files })
        }
    }
}

/// Which namespaces are fresh, which are entered, and what the standard mounts look like.
fn world_of(shared: &Shared, spec: &mut ContainerSpec) -> Result<(World, Vec<OwnedFd>), LaunchError> {
    let mut world = default_world(&shared.tree);
    let mut joins = Vec::new();
    let mut join = |world: &mut World, kind: u64, handle: Option<OwnedFd>| {
        world.fresh &= !kind;
        if let Some(handle) = handle {
            world.joins.push(kind);
            joins.push(handle);
        }
    };
    match std::mem::take(&mut spec.namespaces.net) {
        NetNs::Private => {}
        NetNs::Host => join(&mut world, namespace::NETWORK, None),
        NetNs::Path(path) => join(&mut world, namespace::NETWORK, Some(open_read(&path)?)),
        NetNs::Fd(handle) => join(&mut world, namespace::NETWORK, Some(handle)),
        NetNs::Container(pid) => join(&mut world, namespace::NETWORK, Some(namespace_of(pid, "net")?)),
    }
    let others = [
        (namespace::PID, &spec.namespaces.pid, "pid"),
        (namespace::IPC, &spec.namespaces.ipc, "ipc"),
        (namespace::UTS, &spec.namespaces.uts, "uts"),
        (namespace::CGROUP, &spec.namespaces.cgroup, "cgroup"),
    ];
    for (kind, wish, name) in others {
        match wish {
            Namespace::Private => {}
            Namespace::Host => join(&mut world, kind, None),
            Namespace::Path(path) => join(&mut world, kind, Some(open_read(path)?)),
            Namespace::Container(pid) => join(&mut world, kind, Some(namespace_of(*pid, name)?)),
        }
    }
    world.own_ipc = spec.namespaces.ipc == Namespace::Private;
    world.privileged = spec.privileged;
    world.cgroups = cgroup_view(&shared.tree);
    world.masked = spec.masked_paths.clone();
    world.readonly = spec.readonly_paths.clone();
    Ok((world, joins))
}

fn namespace_of(pid: i32, name: &str) -> Result<OwnedFd, LaunchError> {
    let pid = Pid::from_raw(pid).ok_or(LaunchError::NotRunning)?;
    Ok(namespace::of_process(pid, name)?)
}

fn open_read(path: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| Error::new(format!("open({path:?})"), errno))
}

/// The root as a detached mount.
fn mount_root(root: &RootFs, stubs: &Path) -> Result<OwnedFd, LaunchError> {
    if let Some(plain) = &root.plain {
        let handle = rustix::fs::open(plain, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::new(format!("open({plain:?})"), errno))?;
        let copy = DetachedMount::copy_of_handle(handle.as_fd(), true)?;
        copy.change(0, 0, Some(Propagation::Private), true)?;
        return Ok(copy.into_handle());
    }
    // The lowest layer holds nothing but mount points, so that none has to be made in the container's own changes.
    let mut lowers = root.lowers.clone();
    lowers.push(stubs.to_path_buf());
    let upper = root.upper.as_ref().map(|(upper, work)| (upper.as_path(), work.as_path()));
    Ok(Overlay { lowers: &lowers, upper, volatile: root.volatile }.mount(0)?.into_handle())
}

fn prepare_mount(mount: Mount, handles: &mut Handles) -> Result<MountPart, LaunchError> {
    match mount {
        Mount::Bind { source, target, read_only, propagation, recursive } => {
            let told = |error: Error| LaunchError::Mount { text: format!("\"{target}\": {error}") };
            let handle = match source {
                BindSource::Fd(handle) => handle,
                BindSource::Path(path) => rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|errno| told(Error::new(format!("open({path:?})"), errno)))?,
            };
            let is_folder = is_folder(&handle).map_err(told)?;
            let copy = DetachedMount::copy_of_handle(handle.as_fd(), recursive).map_err(told)?;
            let set = if read_only { attribute::READ_ONLY } else { 0 };
            copy.change(set, 0, Some(propagation), recursive).map_err(told)?;
            Ok(MountPart { what: MountWhat::Handle(handles.add(copy.into_handle())), target, is_folder })
        }
        Mount::Tmpfs { target, options } => {
            let mounted = mount_tmpfs(&options).map_err(|error| LaunchError::Mount { text: format!("tmpfs to \"{target}\": {error}") })?;
            Ok(MountPart { what: MountWhat::Handle(handles.add(mounted.into_handle())), target, is_folder: true })
        }
    }
}

fn mount_tmpfs(options: &[String]) -> Result<DetachedMount, Error> {
    let mut builder = MountBuilder::new("tmpfs")?.option("source", "tmpfs")?;
    let mut attributes = attribute::NO_SETUID | attribute::NO_DEVICES | attribute::NO_EXEC;
    for option in options.iter().flat_map(|option| option.split(',')).filter(|option| !option.is_empty()) {
        match option {
            "ro" => attributes |= attribute::READ_ONLY,
            "rw" => attributes &= !attribute::READ_ONLY,
            "nosuid" => attributes |= attribute::NO_SETUID,
            "suid" => attributes &= !attribute::NO_SETUID,
            "nodev" => attributes |= attribute::NO_DEVICES,
            "dev" => attributes &= !attribute::NO_DEVICES,
            "noexec" => attributes |= attribute::NO_EXEC,
            "exec" => attributes &= !attribute::NO_EXEC,
            "noatime" => attributes |= attribute::NO_ATIME,
            // Propagation of a fresh filesystem that only this container sees changes nothing.
            "relatime" | "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => {}
            _ => {
                builder = match option.split_once('=') {
                    Some((key, value)) => builder.option(key, value)?,
                    None => builder.flag(option)?,
                }
            }
        }
    }
    builder.mount(attributes)
}

fn is_folder(handle: &OwnedFd) -> Result<bool, Error> {
    let status = rustix::fs::fstat(handle).map_err(|errno| Error::new("fstat(mount source)", errno))?;
    Ok(rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::Directory)
}

/// Files of the host become binds, generated texts travel in the message.
fn prepare_files(spec: &ContainerSpec, mounts: &mut Vec<MountPart>, handles: &mut Handles) -> Result<Vec<FilePart>, LaunchError> {
    let mut files = Vec::new();
    for file in &spec.files {
        match &file.source {
            FileSource::Content(content) => {
                files.push(FilePart { target: file.target.clone(), content: content.clone(), read_only: file.read_only });
            }
            FileSource::Path(path) => mounts.push(prepare_mount(Mount::bind(path, file.target.clone(), file.read_only), handles)?),
        }
    }
    Ok(files)
}

fn prepare_devices(spec: &ContainerSpec) -> Result<(Vec<DevicePart>, Vec<Rule>), LaunchError> {
    let mut parts = Vec::new();
    let mut rules = Vec::new();
    for device in &spec.devices {
        add_device(device, &mut parts, &mut rules)?;
    }
    if spec.privileged {
        add_host_devices(Path::new("/dev"), &mut parts);
    }
    Ok((parts, rules))
}

fn add_device(device: &Device, parts: &mut Vec<DevicePart>, rules: &mut Vec<Rule>) -> Result<(), LaunchError> {
    let path = &device.host_path;
    let told = |text: String| LaunchError::Step { step: "gather device information", errno: 0, text };
    let found = std::fs::metadata(path).map_err(|error| told(format!("{path:?}: {error}")))?;
    if found.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| told(format!("{path:?}: {error}")))?;
        for entry in entries.flatten() {
            let inner = Device {
                host_path: entry.path(),
                container_path: format!("{}/{}", device.container_path, entry.file_name().to_string_lossy()),
                permissions: device.permissions.clone(),
            };
            // A folder of devices may hold links and pipes as well.
            if std::fs::metadata(entry.path()).is_ok_and(|found| found.is_dir() || is_device(&found)) {
                add_device(&inner, parts, rules)?;
            }
        }
        return Ok(());
    }
    if !is_device(&found) {
        return Err(told(format!("{path:?} is not a device node")));
    }
    let part = device_part(device.container_path.clone(), &found);
    let right = |letter: char| device.permissions.contains(letter);
    rules.push(Rule {
        kind: if part.block { DeviceKind::Block } else { DeviceKind::Character },
        major: Some(rustix::fs::major(part.number)),
        minor: Some(rustix::fs::minor(part.number)),
        read: right('r'),
        write: right('w'),
        make: right('m'),
    });
    parts.push(part);
    Ok(())
}

fn is_device(found: &std::fs::Metadata) -> bool {
    found.file_type().is_char_device() || found.file_type().is_block_device()
}

fn device_part(path: String, found: &std::fs::Metadata) -> DevicePart {
    let block = found.file_type().is_block_device();
    DevicePart { path, block, number: found.rdev(), mode: found.mode() & 0o777, uid: found.uid(), gid: found.gid() }
}

/// Every device node of the host, without those of terminals and shared memory, which a container has of its own.
fn add_host_devices(folder: &Path, parts: &mut Vec<DevicePart>) {
    let own = ["pts", "shm", "fd", "mqueue", "console"];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if own.iter().any(|name| path.file_name() == Some(OsStr::new(name))) {
            continue;
        }
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        if found.is_dir() {
            add_host_devices(&path, parts);
        } else if is_device(&found) {
            parts.push(device_part(path.to_string_lossy().into_owned(), &found));
        }
    }
}

/// The program as the init side wants it; the filter is added by the caller.
pub(crate) fn program_of(process: &ProcessSpec) -> Result<Program, LaunchError> {
    let ours = Probe::get().capabilities.permitted;
    // Lowered to what we have (R12).
    let capabilities = process.capabilities.mask() & ours;
    // User 0 has them at once; another user has none, but a set-id program may raise what is bounded.
    let at_once = if process.user.uid == 0 { capabilities } else { 0 };
    Ok(Program {
        args: process.args.clone(),
        env: process.env.clone(),
        cwd: if process.cwd.is_empty() { "/".to_owned() } else { process.cwd.clone() },
        make_cwd: false,
        uid: process.user.uid,
        gid: process.user.gid,
        groups: process.user.additional.clone(),
        bounding: capabilities,
        permitted: at_once,
        effective: at_once,
        inheritable: 0,
        ambient: 0,
        no_new_privileges: process.no_new_privileges,
        seccomp: None,
        rlimits: rlimits_of(&process.rlimits)?,
        oom_score_adj: process.oom_score_adj,
        terminal: process.terminal.is_some(),
        umask: default_umask(),
    })
}

/// Docker's ceiling on open files, taken as far as the host allows when nothing else is asked for.
const OPEN_FILES: u64 = 1 << 20;

fn rlimits_of(wishes: &[Ulimit]) -> Result<Vec<(u32, u64, u64)>, LaunchError> {
    let mut limits: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    limits.extend(rlimit::resource("nofile").map(|resource| (resource, (OPEN_FILES, OPEN_FILES))));
    for wish in wishes {
        let resource = rlimit::resource(&wish.name).ok_or_else(|| LaunchError::Step {
            step: "set limits",
            errno: 0,
            text: format!("there is no limit \"{}\"", wish.name),
        })?;
        let number = |value: i64| if value < 0 { rlimit::UNLIMITED } else { value as u64 };
        limits.insert(resource, (number(wish.soft), number(wish.hard)));
    }
    Ok(limits.into_iter().map(|(resource, (soft, hard))| (resource, soft, hard)).collect())
}

/// The model's limits in the kernel's terms. One more process than asked for: the seat sits in the group too.
pub(crate) fn limits_of(limits: &Limits) -> cgroup::Limits {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let memory = limits.memory.filter(|bytes| *bytes > 0).map(signed);
    let mut quota = (limits.cpu_period, limits.cpu_quota);
    if let Some(billionths) = limits.nano_cpus.filter(|billionths| *billionths > 0) {
        const PERIOD: u64 = 100_000;
        quota = (Some(PERIOD), Some(signed(billionths.saturating_mul(PERIOD) / 1_000_000_000)));
    }
    cgroup::Limits {
        memory,
        // Docker's rule: as much swap again as memory, unless told otherwise.
        memory_and_swap: limits.memory_swap.filter(|bytes| *bytes != 0).or_else(|| memory.map(|bytes| bytes.saturating_mul(2))),
        memory_reservation: limits.memory_reservation.filter(|bytes| *bytes > 0).map(signed),
        swappiness: limits.memory_swappiness.map(u64::from),
        cpu_shares: limits.cpu_shares.filter(|shares| *shares > 0),
        cpu_quota: quota.1.filter(|quota| *quota != 0),
        cpu_period: quota.0.filter(|period| *period != 0),
        cpus: limits.cpuset_cpus.clone().filter(|text| !text.is_empty()),
        memory_nodes: limits.cpuset_mems.clone().filter(|text| !text.is_empty()),
        pids: limits.pids.map(|pids| if pids > 0 { pids.saturating_add(1) } else { -1 }),
        block_weight: limits.blkio_weight.filter(|weight| *weight != 0),
        oom_kill_disable: limits.oom_kill_disable.filter(|disable| *disable),
    }
}

/// Whether a process of this spec may use all system calls.
pub(crate) fn is_confined(choice: &SeccompChoice) -> bool {
    *choice != SeccompChoice::Unconfined
}
