//! Parked monitors, made ahead of time.
//!
//! One thread keeps the pool full. Making one costs 2-3 ms of work and, on cgroup version 1, up to 15 ms of waiting; taking one costs a lock. What
//! must stay true: a monitor in the pool holds no container's resources; whoever finds the pool empty makes one in line; everything made here is
//! removed again by [`Parked::dissolve`].

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::Pid;
use shipway_sys::cgroup::{Group, Tree, default_devices};
use shipway_sys::process::{self, Spawn};
use shipway_sys::{namespace, socket};

use crate::error::LaunchError;
use crate::message::{LONGEST, Note, Order, World, to_json};
use crate::monitor::CONTROL;
use crate::personality::MONITOR;
use crate::profile;

/// How long a monitor may take for one answer. Everything it does is local and short; a minute means that something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// After a failure to make one (no memory, no pids), the thread waits before it tries again.
const RETRY: Duration = Duration::from_secs(1);

/// What every launch needs.
pub(crate) struct Shared {
    /// Sealed copy of the binary.
    binary: OwnedFd,
    pub(crate) tree: Tree,
    /// Begins the names of the cgroups of this process's pool; differs from that of any earlier daemon, even one with our pid.
    pub(crate) pool_prefix: String,
    size: usize,
    /// The folder of the tree is ours alone and goes when it is empty.
    pub(crate) owns_tree: bool,
    queue: Mutex<VecDeque<Parked>>,
    /// Ephemeral monitors between two steps.
    steps: Mutex<Vec<Parked>>,
    wake: Condvar,
    stopping: AtomicBool,
    counter: AtomicU64,
    pub(crate) filters: profile::Filters,
    /// Folder whose (empty) content is the lowest layer of every container: mount points that images lack.
    pub(crate) stubs: std::path::PathBuf,
    /// The same for build steps.
    pub(crate) step_stubs: std::path::PathBuf,
}

/// A monitor without a container.
pub(crate) struct Parked {
    pub(crate) control: OwnedFd,
    pub(crate) monitor: Pid,
    pub(crate) seat: Pid,
    pub(crate) init: Option<Pid>,
    pub(crate) world: World,
    /// It stands in a network that is the seat's ([`World::kept`]), in which nothing may be wired.
    pub(crate) keeps_network: bool,
    pub(crate) group: Group,
    /// Still to be taken apart when dropped; false once it serves a container that may outlive us.
    pub(crate) disposable: bool,
}

/// A parked monitor that is promised to one container, so that its network can be wired before the launch.
pub struct Reserved {
    pub(crate) parked: Parked,
}

impl Reserved {
    /// The network namespace its container will have (with loopback up).
    pub fn network_namespace(&self) -> Result<OwnedFd, shipway_sys::Error> {
        namespace::of_process(self.parked.init.unwrap_or(self.parked.seat), "net")
    }

    /// Host pid of the process that will be the container's first.
    pub fn pid(&self) -> i32 {
        self.parked.init.unwrap_or(self.parked.seat).as_raw_pid()
    }

    /// Gives it up.
    pub fn release(self) {
        self.parked.dissolve();
    }
}

impl std::fmt::Debug for Reserved {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Reserved({})", self.pid())
    }
}

/// The world of a container with nothing unusual about its namespaces and paths.
pub(crate) fn default_world(tree: &Tree) -> World {
    World {
        fresh: namespace::MOUNT | namespace::PID | namespace::UTS | namespace::IPC | namespace::NETWORK | namespace::CGROUP,
        joins: Vec::new(),
        privileged: false,
        masked: profile::default_masked_paths(),
        readonly: profile::default_readonly_paths(),
        cgroups: cgroup_view(tree),
        own_ipc: true,
        queues: true,
        bare: false,
        kept: false,
    }
}

pub(crate) fn cgroup_view(tree: &Tree) -> Vec<Vec<String>> {
    if tree.is_version_1() { tree.hierarchies() } else { vec![Vec::new()] }
}

impl Shared {
    pub(crate) fn new(binary: OwnedFd, tree: Tree, size: usize, stubs: std::path::PathBuf, step_stubs: std::path::PathBuf) -> Self {
        Self {
            binary,
            tree,
            pool_prefix: format!("pool-{}-{:08x}-", std::process::id(), crate::clock::Instant::now().nanoseconds),
            size,
            owns_tree: true,
            queue: Mutex::default(),
            steps: Mutex::default(),
            wake: Condvar::new(),
            stopping: AtomicBool::new(false),
            counter: AtomicU64::new(0),
            filters: profile::Filters::default(),
            stubs,
            step_stubs,
        }
    }

    /// Keeps the pool full until [`Shared::stop`].
    pub(crate) fn refill(self: &Arc<Self>) {
        loop {
            {
                let mut queue = lock(&self.queue);
                while queue.len() >= self.size && !self.stopping.load(Ordering::Relaxed) {
                    queue = self.wake.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
            }
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
            match self.make() {
                Ok(parked) => lock(&self.queue).push_back(parked),
                Err(error) => {
                    tracing::warn!(%error, "cannot park a monitor");
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake.notify_all();
    }

    /// Dissolves everything parked.
    pub(crate) fn drain(&self) {
        let parked: Vec<Parked> = lock(&self.queue).drain(..).chain(lock(&self.steps).drain(..)).collect();
        for one in parked {
            one.dissolve();
        }
    }

    /// How many are ready.
    pub(crate) fn ready(&self) -> usize {
        lock(&self.queue).len()
    }

    /// One from the pool, or a fresh one.
    pub(crate) fn take(&self) -> Result<Parked, LaunchError> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(LaunchError::ShuttingDown);
        }
        let found = lock(&self.queue).pop_front();
        self.wake.notify_one();
        match found {
            Some(parked) => Ok(parked),
            None => self.make(),
        }
    }

    /// One that has run build steps before, or any; one with no network but its first process's when `unusual` things are to be done with it.
    pub(crate) fn take_for_step(&self, unusual: bool) -> Result<Parked, LaunchError> {
        let used = {
            let mut steps = lock(&self.steps);
            let fit = steps.iter().rposition(|parked| !(unusual && parked.keeps_network));
            fit.map(|place| steps.remove(place))
        };
        used.map_or_else(|| self.take(), Ok)
    }

    /// Takes one back that has run a build step and stands ready again.
    pub(crate) fn give_back(&self, parked: Parked) {
        if self.stopping.load(Ordering::Relaxed) {
            return parked.dissolve();
        }
        let surplus = {
            let mut steps = lock(&self.steps);
            steps.push(parked);
            // The one that has waited longest: nobody wants its kind any more.
            (steps.len() > self.size.max(2)).then(|| steps.remove(0))
        };
        if let Some(surplus) = surplus {
            surplus.dissolve();
        }
    }

    /// A number never used before in this process.
    pub(crate) fn next_number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    fn make(&self) -> Result<Parked, LaunchError> {
        let name = format!("{}{}", self.pool_prefix, self.next_number());
        let group = self.tree.create(&name).map_err(LaunchError::Cgroup)?;
        let made = self.make_in(&group, &default_world(&self.tree), &[]);
        if made.is_err() {
            let _ = group.remove();
        }
        made
    }

    /// One in a group of its own below the cgroup `parent` of the host, which is made where missing.
    ///
    /// # Cost
    /// Tens of milliseconds on version 1: its seat is moved while somebody waits.
    pub(crate) fn make_below(&self, parent: &str, id: &str) -> Result<Parked, LaunchError> {
        let tree = tree_below(parent)?;
        let name = match tree.names().contains(id) {
            true => format!("{id}.{}", self.next_number()),
            false => id.to_owned(),
        };
        let group = tree.create(&name).map_err(LaunchError::Cgroup)?;
        let made = self.make_in(&group, &default_world(&self.tree), &[]);
        if made.is_err() {
            let _ = group.remove();
        }
        made
    }

    /// The group that a monitor wrote down: a name in our tree, or a path from the top when it stands elsewhere.
    pub(crate) fn group_named(&self, name: &str) -> Group {
        let elsewhere = name.strip_prefix('/').map(|path| path.rsplit_once('/').unwrap_or(("", path)));
        match elsewhere.and_then(|(parent, last)| Some((tree_below(parent).ok()?, last))) {
            Some((tree, last)) => tree.group(last),
            None => self.tree.group(name),
        }
    }

    /// One whose first process waits in `world`, with its seat in `group`.
    pub(crate) fn make_in(&self, group: &Group, world: &World, joins: &[BorrowedFd<'_>]) -> Result<Parked, LaunchError> {
        group.allow_devices(&default_devices()).map_err(LaunchError::Cgroup)?;
        let mut parked = self.seat_in(group)?;
        parked.disposable = true;
        if let Err(error) = parked.raise(world, joins) {
            parked.dissolve();
            return Err(error);
        }
        Ok(parked)
    }

    /// A monitor with nothing but a seat in `group`. Dropping it ends both and leaves the group alone.
    pub(crate) fn seat_in(&self, group: &Group) -> Result<Parked, LaunchError> {
        let (control, theirs) = socket::pair()?;
        set_patience(control.as_fd())?;
        let monitor = self.spawn(theirs.as_fd())?;
        drop(theirs);
        let folder = group.handle()?;
        let mut parked = Parked {
            control,
            monitor,
            seat: monitor,
            init: None,
            world: default_world(&self.tree),
            keeps_network: false,
            group: group.clone(),
            disposable: false,
        };
        parked.take_seat(folder.as_ref().map(AsFd::as_fd), group)?;
        Ok(parked)
    }

    fn spawn(&self, control: BorrowedFd<'_>) -> Result<Pid, LaunchError> {
        use std::os::fd::AsRawFd;
        let arguments = [CString::new(MONITOR).unwrap_or_default(), c"monitor".to_owned()];
        let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
            .map_err(|errno| shipway_sys::Error::new("open(\"/dev/null\")", errno))?;
        // Numbers below four are overwritten one after the other, so neither the sources nor the program may be among them.
        let binary = above_standard(self.binary.as_fd())?;
        let path = CString::new(format!("/proc/self/fd/{}", binary.as_raw_fd())).unwrap_or_default();
        let control = above_standard(control)?;
        let null = above_standard(null.as_fd())?;
        let handles = [(null.as_fd(), 0), (null.as_fd(), 1), (null.as_fd(), 2), (control.as_fd(), CONTROL)];
        Ok(process::spawn(&Spawn { path: &path, arguments: &arguments, environment: &[], handles: &handles })?)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A step that ended during the shutdown has given its monitor back since.
        self.drain();
        if self.owns_tree {
            self.tree.remove_if_empty();
        }
    }
}

fn tree_below(parent: &str) -> Result<Tree, LaunchError> {
    let path = shipway_sys::path::clean_inside(std::path::Path::new(parent));
    Tree::open_path(&shipway_sys::probe::Probe::get().cgroup, &path).map_err(LaunchError::Cgroup)
}

fn above_standard(handle: BorrowedFd<'_>) -> Result<OwnedFd, shipway_sys::Error> {
    rustix::io::fcntl_dupfd_cloexec(handle, CONTROL + 1).map_err(|errno| shipway_sys::Error::new("dup()", errno))
}

fn set_patience(control: BorrowedFd<'_>) -> Result<(), shipway_sys::Error> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    set_socket_timeout(control, Timeout::Recv, Some(PATIENCE)).map_err(|errno| shipway_sys::Error::new("setsockopt(SO_RCVTIMEO)", errno))
}

impl Parked {
    fn take_seat(&mut self, folder: Option<BorrowedFd<'_>>, group: &Group) -> Result<(), LaunchError> {
        self.order(&Order::Seat, folder.as_slice())?;
        match self.answer()? {
            Note::Seated { pid } => self.seat = Pid::from_raw(pid).ok_or(LaunchError::MonitorDied)?,
            other => return Err(unexpected(other)),
        }
        if folder.is_none() {
            group.add(self.seat).map_err(LaunchError::Cgroup)?;
        }
        Ok(())
    }

    /// Has the first process cloned (anew) into `world`.
    pub(crate) fn raise(&mut self, world: &World, joins: &[BorrowedFd<'_>]) -> Result<(), LaunchError> {
        self.init = None;
        self.order(&Order::Raise(world.clone()), joins)?;
        match self.answer()? {
            Note::Raised { pid } => {
                self.init = Pid::from_raw(pid);
                self.world = world.clone();
                Ok(())
            }
            other => Err(unexpected(other)),
        }
    }

    pub(crate) fn order(&self, order: &Order, handles: &[BorrowedFd<'_>]) -> Result<(), LaunchError> {
        socket::send(self.control.as_fd(), &to_json(order), handles)
            .map_err(|error| if error.errno == rustix::io::Errno::PIPE { LaunchError::MonitorDied } else { LaunchError::Sys(error) })
    }

    pub(crate) fn answer(&self) -> Result<Note, LaunchError> {
        match socket::receive(self.control.as_fd(), LONGEST) {
            Ok(Some(message)) => serde_json::from_slice(&message.bytes).map_err(|error| LaunchError::Step {
                step: "talk to the monitor",
                errno: 0,
                text: error.to_string(),
            }),
            Ok(None) => Err(LaunchError::MonitorDied),
            Err(error) if error.errno == rustix::io::Errno::AGAIN => Err(LaunchError::Timeout),
            Err(error) => Err(LaunchError::Sys(error)),
        }
    }

    /// Ends the monitor with all it has, and removes the cgroup. Blocks for a few milliseconds.
    pub(crate) fn dissolve(self) {
        drop(self);
    }

    fn take_apart(&self) {
        // The monitor leaves when its line is closed; what hangs is killed.
        let _ = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Both);
        self.group.kill_all(None);
        if !matches!(process::reap_if_ended(self.monitor), Ok(Some(_))) {
            let _ = process::send_signal(self.monitor, 9);
            let _ = process::reap_blocking(self.monitor);
        }
        if let Err(error) = self.group.remove() {
            tracing::debug!(%error, "cgroup of a parked monitor stays behind");
        }
    }
}

impl Drop for Parked {
    // A step's monitor may be dropped with a task that never came to run; failing silently is harmless, the next boot sweeps.
    fn drop(&mut self) {
        if self.disposable {
            self.take_apart();
        }
    }
}

/// A note that does not answer the order.
pub(crate) fn unexpected(note: Note) -> LaunchError {
    match note {
        Note::Failed(failure) => LaunchError::from_failure(failure, "", ""),
        other => LaunchError::Step { step: "talk to the monitor", errno: 0, text: format!("unexpected answer {other:?}") },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the lock protects is a list that is whole between any two calls.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
