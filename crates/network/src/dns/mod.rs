//! The name server of containers: one for the daemon, heard at 127.0.0.11 in every network namespace that asked for it.
//!
//! What must stay true: a container learns the names of its own networks and of nothing else; a question that no zone answers leaves the machine only
//! when the container's view allows it; every table, wait and answer is bounded; what the engine says twice is the same as said once.
//! Zones and listeners live in memory only: after a daemon restart the engine says them again from its records.
//!
//! # Source
//! RFC 1035; RFC 2308 (a name without such a record is not a missing name); RFC 6891 (EDNS); RFC 7766 (TCP). Docker's embedded server for what is answered.

mod answer;
mod forward;
mod inside;
mod listener;
mod own_thread;
mod question;
mod redirect;
mod resolvers;
mod respond;
mod zone;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use shipway_model::{ContainerId, NetworkId};

use self::forward::Forwarder;
use self::listener::Listener;
use self::own_thread::OwnThread;
pub use self::zone::EndpointNames;
use self::zone::Zones;
use crate::Result;

/// Where containers ask. Docker's address, which programs and images have learnt.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// The port of DNS.
const PORT: u16 = 53;

/// What one container may ask and who answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Networks whose names it sees. The first that knows a name answers.
    pub networks: Vec<NetworkId>,
    /// Names that only this container knows.
    pub links: Vec<Link>,
    /// Where questions go that no zone answers.
    pub outside: Outside,
}

/// A name that one container gave to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The name it gave.
    pub alias: String,
    /// Where both meet.
    pub network: NetworkId,
    /// A name of the other in that network; looked up at each question, so that it survives the other's restarts.
    pub target: String,
}

/// Where questions go that no zone answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Outside {
    /// Nowhere: the name does not exist. For containers with internal networks only.
    #[default]
    Nowhere,
    /// To the resolvers of the host, asked from the host: a resolver on the host's loopback works, and a changed resolv.conf counts at once.
    Host,
    /// To these, asked from inside the container's namespace: they may be containers themselves.
    Servers(Vec<IpAddr>),
}

/// Settings of the name server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The host's resolv.conf(5), followed as it changes.
    pub resolv_conf: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self { resolv_conf: PathBuf::from("/etc/resolv.conf") }
    }
}

/// The name server: all zones and all places where it is heard. Dropping it ends every listener.
#[derive(Debug)]
pub struct NameServer {
    zones: Arc<RwLock<Zones>>,
    forwarder: Arc<Forwarder>,
    listeners: Mutex<HashMap<ContainerId, Listener>>,
    thread: OwnThread,
}

impl NameServer {
    /// A name server without zones, with a thread of its own.
    ///
    /// # Errors
    /// `Kernel` when there is no thread to be had.
    pub fn new(settings: Settings) -> Result<Self> {
        let forwarder = Arc::new(Forwarder::new(settings.resolv_conf));
        Ok(Self { zones: Arc::default(), forwarder, listeners: Mutex::default(), thread: OwnThread::start()? })
    }

    /// Makes the names of one endpoint known in `network`, instead of those it had. `network_name` completes names (`web.nat`).
    pub fn register(&self, network: NetworkId, network_name: &str, endpoint: ContainerId, names: &EndpointNames) {
        self.zones.write().unwrap_or_else(PoisonError::into_inner).register(network, network_name, endpoint, names);
    }

    /// Forgets the names of one endpoint. The zone goes with its last endpoint.
    pub fn unregister(&self, network: NetworkId, endpoint: ContainerId) {
        self.zones.write().unwrap_or_else(PoisonError::into_inner).unregister(network, endpoint);
    }

    /// Starts to answer `container` at [`ADDRESS`], UDP and TCP, inside the network namespace behind `netns`; its loopback must be up.
    /// A container that is heard already keeps its sockets and gets the new view.
    ///
    /// # Errors
    /// `Kernel` when the namespace cannot be entered.
    ///
    /// # Cost
    /// A short-lived thread, two sockets and four rules, some 300 µs. Blocks: cross over from async code.
    pub fn listen(&self, container: ContainerId, netns: OwnedFd, view: View) -> Result<()> {
        if self.change_view(container, view.clone()) {
            return Ok(());
        }
        let sockets = inside::open(&netns)?;
        let listener = Listener::start(self.thread.handle(), sockets, netns, view, Arc::clone(&self.zones), Arc::clone(&self.forwarder))?;
        self.listeners().insert(container, listener);
        Ok(())
    }

    /// Gives a container that is heard another view, for the questions to come. False when it is not heard.
    pub fn change_view(&self, container: ContainerId, view: View) -> bool {
        let listeners = self.listeners();
        let Some(listener) = listeners.get(&container).filter(|listener| listener.lives()) else { return false };
        listener.change_view(view);
        true
    }

    /// Stops answering `container` and lets go of its namespace. Nothing happens when it is not heard.
    pub fn hang_up(&self, container: ContainerId) {
        self.listeners().remove(&container);
    }

    /// How many containers are heard.
    pub fn heard(&self) -> usize {
        self.listeners().len()
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<ContainerId, Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
