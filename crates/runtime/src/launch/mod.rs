//! From a spec to a running container, on the daemon's side.
//!
//! Everything that can fail for a reason of the caller's is done before a monitor is touched: mounts are made detached, devices looked at, the filter
//! compiled. What must stay true: one message carries it all; the cgroup's limits stand before the program starts; whatever fails, nothing is left.

mod devices;
mod mounts;
mod program;
mod world;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use std::path::Path;

use rustix::process::Pid;
use shipway_model::Timestamp;
use shipway_sys::cgroup::{self, Device as Rule, Group};
use shipway_sys::path::clean_inside;
use shipway_sys::{Error, namespace};

use crate::attach::Attachment;
use crate::error::LaunchError;
use crate::handle::Handle;
use crate::message::{AttachWish, InitPart, Launch, LogPart, MonitorPart, Note, Order, World};
use crate::pool::{Parked, Reserved, Shared, default_world, unexpected};
use crate::spec::{ContainerSpec, LogConfig, Namespace};

pub(crate) use mounts::{ReadyMount, make_ready, mount_root};
pub(crate) use program::{is_confined, limits_of, program_of};

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
    let wired = taken.is_some();
    let mut prepared = match prepare(shared, spec, duty, wired) {
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
        (None, Duty::Container) if spec.cgroup_parent.is_some() => below(shared, spec)?,
        (None, Duty::Container) => shared.take()?,
        (None, Duty::Step) => shared.take_for_step(!prepared.keeps_network())?,
    };
    let program = spec.process.args.first().cloned().unwrap_or_default();
    // Kept until the first process has entered the network that was wired there.
    let _left = match wired.then(|| leave_if_unfit(shared, spec, &mut parked, &mut prepared)).transpose() {
        Ok(left) => left,
        Err(error) => {
            parked.dissolve();
            return Err(error);
        }
    };
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
    /// What the monitor is to wait in for the next step.
    again: Option<World>,
    handles: Handles,
    rules: Vec<Rule>,
    limits: cgroup::Limits,
}

impl Prepared {
    /// The next step will stand in the same network.
    fn keeps_network(&self) -> bool {
        self.again.as_ref().is_some_and(|world| world.kept)
    }
}

fn prepare(shared: &Shared, spec: &mut ContainerSpec, duty: &Duty, wired: bool) -> Result<Prepared, LaunchError> {
    let (world, joins) = world::world_of(shared, spec)?;
    let again = matches!(duty, Duty::Step).then(|| {
        let usual = default_world(&shared.tree);
        // After a step with no network but its own, what no step can change stays.
        World { kept: !wired && world == usual, ..usual }
    });
    let mut handles = Handles::default();
    let stubs = if matches!(duty, Duty::Step) { &shared.step_stubs } else { &shared.stubs };
    let root = handles.add(mount_root(&spec.root, stubs)?);
    let mut mounts = Vec::new();
    for mount in std::mem::take(&mut spec.mounts) {
        mounts.push(mounts::prepare_mount(mount, &mut handles)?);
    }
    mounts.extend(mounts::shared_memory(&spec.namespaces.ipc, &mut handles)?);
    let files = mounts::prepare_files(spec, &mut mounts, &mut handles)?;
    let (devices, mut rules) = devices::prepare_devices(spec)?;
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
    Ok(Prepared { world, joins, init, again, handles, rules, limits: limits_of(&spec.limits) })
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
    parked.keeps_network = prepared.keeps_network();
    let Prepared { world, joins, init, again, handles, rules, limits } = prepared;
    if parked.world != world || parked.init.is_none() {
        let joins: Vec<BorrowedFd<'_>> = joins.iter().map(AsFd::as_fd).collect();
        parked.raise(&world, &joins)?;
    }
    parked.group.limit(&limits).map_err(LaunchError::Cgroup)?;
    parked.group.throttle(&spec.throttles).map_err(LaunchError::Cgroup)?;
    if spec.privileged {
        parked.group.allow_devices(&[Rule::all()]).map_err(LaunchError::Cgroup)?;
    } else if !rules.is_empty() {
        let all: Vec<Rule> = cgroup::default_devices().into_iter().chain(rules.iter().copied()).collect();
        parked.group.allow_more_devices(&all, &rules).map_err(LaunchError::Cgroup)?;
    }
    let name = match duty {
        Duty::Container if spec.cgroup_parent.is_some() => elsewhere(spec, &parked.group),
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
        again,
        hold: None,
    };
    let order = Order::Launch(Box::new(Launch { monitor, init, init_handles }));
    let all: Vec<BorrowedFd<'_>> = handles.0.iter().chain(&own).map(AsFd::as_fd).collect();
    parked.order(&order, &all)?;
    // The other side works on the launch meanwhile; nothing in it depends on the group's name.
    if matches!(duty, Duty::Container) && spec.cgroup_parent.is_none() {
        parked.group.rename(&name).map_err(LaunchError::Cgroup)?;
    }
    match parked.answer()? {
        Note::Started { at, created } => Ok((at, root, bounding, created)),
        other => Err(unexpected(other)),
    }
}

/// A monitor in the cgroup that the container was given.
fn below(shared: &Shared, spec: &ContainerSpec) -> Result<Parked, LaunchError> {
    shared.make_below(spec.cgroup_parent.as_deref().unwrap_or_default(), &spec.id.to_string())
}

/// Where the first process cannot stand in the place that was wired for it, it is made anew, in another place if need be, and enters the network that
/// is there. The place that it left must live until then.
fn leave_if_unfit(
    shared: &Shared,
    spec: &ContainerSpec,
    place: &mut Parked,
    prepared: &mut Prepared,
) -> Result<Option<Parked>, LaunchError> {
    let is_elsewhere = spec.cgroup_parent.is_some();
    if !is_elsewhere && prepared.world == place.world {
        return Ok(None);
    }
    enter_network(place, prepared)?;
    is_elsewhere.then(|| Ok(std::mem::replace(place, below(shared, spec)?))).transpose()
}

/// Has the first process enter the network of a place that it will not stand in.
fn enter_network(place: &Parked, prepared: &mut Prepared) -> Result<(), LaunchError> {
    let world = &mut prepared.world;
    if world.fresh & namespace::NETWORK != 0 {
        prepared.joins.push(namespace::of_process(place.init.unwrap_or(place.seat), "net")?);
        world.joins.push(namespace::NETWORK);
        world.fresh &= !namespace::NETWORK;
    }
    Ok(())
}

/// The path of a group outside of our tree, from the top.
fn elsewhere(spec: &ContainerSpec, group: &Group) -> String {
    let parent = clean_inside(Path::new(spec.cgroup_parent.as_deref().unwrap_or_default()));
    Path::new("/").join(parent).join(group.name()).to_string_lossy().into_owned()
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
        LogConfig::JsonFile { path, max_size, max_files, compress, attributes } => Some(LogPart {
            path: path.to_string_lossy().into_owned(),
            max_size: *max_size,
            max_files: *max_files,
            compress: *compress,
            attributes: attributes.clone(),
        }),
    }
}
