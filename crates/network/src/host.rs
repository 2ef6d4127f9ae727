//! The host's network as this daemon shapes it: bridges, endpoints, the firewall, and a watcher that puts the firewall back.
//!
//! What must stay true: what is kept in memory here can always be told again by `reconcile`; the firewall knows a bridge before the bridge exists;
//! the lock of the rules is held over one batch, never over the making of a link.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::io::Errno;
use shipway_sys::netlink::nft::Batch;
use shipway_sys::netlink::{Family, Request, Socket};

use crate::endpoint::{Attachment, EndpointSpec};
use crate::firewall::{self, Firewall, SegmentRules, respect};
use crate::naming::{InterfaceName, Naming};
use crate::plan::InUse;
use crate::ports::Published;
use crate::segment::Segment;
use crate::subnet::Subnet;
use crate::{Error, bridge, forwarding, wire};

mod background;
mod reconcile;

/// What the admin decides about the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostSettings {
    pub forwarding: Forwarding,
    pub host_firewall: HostFirewall,
}

/// Whether the rules that admins write for packets to this host also decide who reaches published ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostFirewall {
    /// They do: who may not reach port 8080 of this host does not reach what is published there.
    #[default]
    Respect,
    /// They do not, as with Docker: publishing opens a port to everyone.
    Bypass,
}

/// Whether this daemon may make the host forward packets (`--ip-forward`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Forwarding {
    /// When a segment needs it; strangers' packets are still not forwarded if nothing was before.
    #[default]
    Enable,
    LeaveAlone,
}

/// The host's network. Copies are the same host.
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
    /// Ends the background threads with the last copy.
    _threads: Arc<background::Threads>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) naming: Naming,
    pub(crate) settings: HostSettings,
    /// A socket each for links and for rules; a request and its answers may not be mixed with another's.
    pub(crate) links: Mutex<Socket>,
    pub(crate) rules: Mutex<Rules>,
    /// Numbers of bridges and parents, and whether their ports need the hairpin.
    known: RwLock<HashMap<InterfaceName, Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    index: u32,
    hairpin: bool,
}

#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) socket: Socket,
    pub(crate) firewall: Firewall,
    host_firewall: HostFirewall,
    /// Copies of the host's own rules that are in force.
    copies: respect::Tables,
    /// Whether the table was put into the kernel by this `Host`; before, the first change replaces whatever is there.
    installed: bool,
}

impl Host {
    /// Opens the calling thread's network namespace. Nothing in the kernel changes before the first segment.
    ///
    /// # Errors
    /// Without the right to open netlink sockets or start threads.
    pub fn open(naming: Naming, settings: HostSettings) -> Result<Self, Error> {
        let kernel = || Error::kernel("open the host's network");
        let links = Socket::open(Family::Route).map_err(kernel())?;
        let socket = Socket::open(Family::Netfilter).map_err(kernel())?;
        let host_firewall = settings.host_firewall;
        let rules = Rules { socket, firewall: Firewall::default(), host_firewall, copies: respect::Tables::new(), installed: false };
        let inner = Arc::new(Inner { naming, settings, links: Mutex::new(links), rules: Mutex::new(rules), known: RwLock::default() });
        let threads = background::start(&inner).map_err(kernel())?;
        Ok(Self { inner, _threads: Arc::new(threads) })
    }

    /// How this daemon names things.
    pub fn naming(&self) -> &Naming {
        &self.inner.naming
    }

    /// The subnets that the host's own interfaces and routes use, for choosing a network's subnet. Bridges of ours are left out.
    pub fn subnets_in_use(&self) -> Result<Vec<InUse>, Error> {
        let kernel = || Error::kernel("list the host's routes");
        let socket = lock(&self.inner.links);
        let links = socket.links().map_err(kernel())?;
        let name = |index: u32| links.iter().find(|link| link.index == index);
        let ours = |index: u32| name(index).is_some_and(|link| bridge::is_ours(&self.inner.naming, link));
        let told = |what: &str, index: u32| format!("{what} of {}", name(index).map_or("an interface", |link| link.name.as_str()));
        let addresses = socket.addresses().map_err(kernel())?.into_iter().filter(|own| !ours(own.link));
        let mut used: Vec<InUse> = addresses
            .map(|own| InUse { subnet: Subnet::around(own.address, own.prefix), owner: told("address", own.link), of_host: true })
            .collect();
        const LOCAL_TABLE: u32 = 255;
        for route in socket.routes().map_err(kernel())? {
            let Some(link) = route.link.filter(|link| !ours(*link)) else { continue };
            // A default route, or the halves by which VPNs override it, says nothing about who is behind it.
            if route.table != LOCAL_TABLE && route.prefix > 1 {
                let subnet = Subnet::around(route.destination, route.prefix);
                used.push(InUse { subnet, owner: told("route", link), of_host: true });
            }
        }
        used.sort_by_key(|entry| entry.subnet);
        used.dedup_by_key(|entry| entry.subnet);
        Ok(used)
    }

    /// Makes or repairs a segment: its rules, its bridge, the bridge's addresses.
    ///
    /// # Errors
    /// `Unsupported` when an interface of that name exists and is no bridge.
    ///
    /// # Cost
    /// About a millisecond the first time.
    pub fn apply_segment(&self, segment: &Segment) -> Result<(), Error> {
        let inner = &self.inner;
        if forwarding::prepare(inner.settings.forwarding, segment)? {
            inner.guard()?;
        }
        inner.set_segment(segment)?;
        let index = bridge::apply(&lock(&inner.links), &inner.naming, segment)?;
        inner.remember(&segment.bridge, index);
        Ok(())
    }

    /// Removes a segment: its bridge unless somebody else made it, then its rules. Twice is fine.
    pub fn withdraw_segment(&self, segment: &Segment) -> Result<(), Error> {
        let inner = &self.inner;
        self.forget(&segment.bridge);
        bridge::withdraw(&lock(&inner.links), &inner.naming, segment)?;
        inner.unset_segment(&segment.bridge)
    }

    /// The next endpoint looks for the interface anew.
    pub(crate) fn forget(&self, outer: &InterfaceName) {
        self.inner.known.write().unwrap_or_else(PoisonError::into_inner).remove(outer);
    }

    /// Gives a container its interface in a network. After an error nothing is left behind.
    ///
    /// # Cost
    /// About a millisecond; no link is deleted and nothing waited for.
    pub fn attach(&self, netns: BorrowedFd<'_>, spec: &EndpointSpec) -> Result<(), Error> {
        let inner = &self.inner;
        let outer = match &spec.attachment {
            Attachment::Bridge { bridge, .. } => bridge,
            Attachment::Macvlan { parent, .. } | Attachment::Ipvlan { parent, .. } => parent,
        };
        let known = inner.find(outer)?;
        let made = wire::create(&lock(&inner.links), netns, spec, known.index, known.hairpin);
        if let Err(error) = made {
            // The bridge was made anew under its name, perhaps: its number is another then.
            let again = inner.look_up(outer)?;
            if again.index == known.index {
                return Err(error);
            }
            wire::create(&lock(&inner.links), netns, spec, again.index, again.hairpin)?;
        }
        wire::furnish(netns, spec).inspect_err(|_| {
            if let Err(error) = wire::remove(netns, spec) {
                tracing::warn!(%error, "an interface stays behind in a container's network");
            }
        })
    }

    /// Tries whether an endpoint of this kind can be made, in a namespace that goes at once with what is made in it.
    ///
    /// # Errors
    /// `NoInterface`; `Unsupported` by the kernel; what else it says.
    pub fn try_attachment(&self, attachment: &Attachment) -> Result<(), Error> {
        let kernel = || Error::kernel("try a network driver");
        let make = || {
            shipway_sys::namespace::leave(shipway_sys::namespace::NETWORK)?;
            let path = "/proc/thread-self/ns/net";
            std::fs::File::open(path).map_err(|error| shipway_sys::Error::from_io(format!("open({path})"), &error))
        };
        let namespace = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("new-netns".to_owned()).spawn_scoped(scope, make);
            let thread = thread.map_err(|error| shipway_sys::Error::from_io("start a thread", &error))?;
            thread.join().unwrap_or_else(|_| Err(shipway_sys::Error::from_io("unshare(CLONE_NEWNET)", &std::io::Error::other("panic"))))
        });
        let namespace = namespace.map_err(kernel())?;
        let spec = EndpointSpec {
            name: InterfaceName::ethernet(0),
            slot: 0,
            attachment: attachment.clone(),
            mac: crate::naming::MacAddress::of_seed("try"),
            addresses: Vec::new(),
            gateways: Vec::new(),
            mtu: 0,
            routes: Vec::new(),
            settings: Vec::new(),
        };
        self.attach(std::os::fd::AsFd::as_fd(&namespace), &spec)
    }

    /// Gives an endpoint that exists the default routes of its spec, whoever had them before.
    pub fn take_gateways(&self, netns: BorrowedFd<'_>, spec: &EndpointSpec) -> Result<(), Error> {
        wire::take_gateways(netns, spec)
    }

    /// Takes an interface out of a running container. Waits for the kernel (about 20 ms). Twice is fine.
    pub fn detach(&self, netns: BorrowedFd<'_>, spec: &EndpointSpec) -> Result<(), Error> {
        wire::remove(netns, spec)
    }

    /// Sees to it, in the background, that the host's end of an exited container's endpoint goes away, even when something else still holds the
    /// container's network namespace open.
    pub fn forget_endpoint(&self, host_end: &InterfaceName) {
        self._threads.forget(host_end.clone());
    }

    /// Forwards host ports to containers; entries that are there already are left.
    ///
    /// # Cost
    /// One batch, about 15 microseconds an entry; for UDP also a walk over the tracked connections.
    pub fn publish(&self, published: &[Published]) -> Result<(), Error> {
        self.inner.publish(published)
    }

    /// Ends forwardings; those that are not there are passed over.
    pub fn unpublish(&self, published: &[Published]) -> Result<(), Error> {
        self.inner.unpublish(published)
    }
}

impl Inner {
    fn find(&self, outer: &InterfaceName) -> Result<Known, Error> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(outer).copied();
        known.map_or_else(|| self.look_up(outer), Ok)
    }

    fn look_up(&self, outer: &InterfaceName) -> Result<Known, Error> {
        let link = lock(&self.links).link(outer.as_str()).map_err(Error::kernel(format!("find interface {outer}")))?;
        let link = link.ok_or_else(|| Error::NoInterface { name: outer.clone() })?;
        Ok(self.remember(outer, link.index))
    }

    fn remember(&self, outer: &InterfaceName, index: u32) -> Known {
        let known = Known { index, hairpin: forwarding::bridges_ask_the_firewall() };
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(outer.clone(), known);
        known
    }

    /// From now on nothing but our containers' packets is forwarded.
    fn guard(&self) -> Result<(), Error> {
        let mut rules = lock(&self.rules);
        if !rules.firewall.guard {
            rules.firewall.guard = true;
            rules.replace(&self.naming)?;
        }
        Ok(())
    }

    fn set_segment(&self, segment: &Segment) -> Result<(), Error> {
        let mut rules = lock(&self.rules);
        let wanted = SegmentRules::from(segment);
        let before = rules.firewall.segments.insert(segment.bridge.clone(), wanted.clone());
        match before {
            Some(before) if before == wanted && rules.installed => Ok(()),
            None if rules.installed => {
                let mut batch = Batch::new(&self.naming.table());
                firewall::add_entries(&mut batch, firewall::segment_entries(&segment.bridge, &wanted));
                rules.commit(&self.naming, batch)
            }
            _ => rules.replace(&self.naming),
        }?;
        // The copies have to know which interfaces are not outside.
        if rules.copies.is_empty() { Ok(()) } else { rules.copy_hosts_rules(&self.naming) }
    }

    fn unset_segment(&self, bridge: &InterfaceName) -> Result<(), Error> {
        let mut rules = lock(&self.rules);
        let Some(before) = rules.firewall.segments.remove(bridge) else { return Ok(()) };
        let mut batch = Batch::new(&self.naming.table());
        firewall::delete_entries(&mut batch, firewall::segment_entries(bridge, &before));
        rules.commit(&self.naming, batch)
    }

    fn publish(&self, published: &[Published]) -> Result<(), Error> {
        let mut rules = lock(&self.rules);
        let missing: BTreeSet<Published> = published.iter().filter(|entry| !rules.firewall.published.contains(entry)).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        rules.firewall.published.extend(&missing);
        let mut batch = Batch::new(&self.naming.table());
        firewall::add_entries(&mut batch, missing.iter().map(firewall::published_entry).collect());
        respect::add(&mut batch, &rules.copies, &missing);
        if let Err(error) = rules.commit(&self.naming, batch) {
            rules.firewall.published.retain(|entry| !missing.contains(entry));
            return Err(error);
        }
        rules.forget_connections(&missing);
        Ok(())
    }

    fn unpublish(&self, published: &[Published]) -> Result<(), Error> {
        let mut rules = lock(&self.rules);
        let there: BTreeSet<Published> = published.iter().filter(|entry| rules.firewall.published.contains(entry)).copied().collect();
        if there.is_empty() {
            return Ok(());
        }
        rules.firewall.published.retain(|entry| !there.contains(entry));
        let mut batch = Batch::new(&self.naming.table());
        firewall::delete_entries(&mut batch, there.iter().map(firewall::published_entry).collect());
        respect::remove(&mut batch, &rules.copies, &there, &rules.firewall.published);
        rules.commit(&self.naming, batch)?;
        rules.forget_connections(&there);
        Ok(())
    }
}

impl Rules {
    /// Puts a change into effect; when the table is not as remembered, all of it is put back.
    fn commit(&mut self, naming: &Naming, batch: Batch) -> Result<(), Error> {
        if !self.installed {
            return self.replace(naming);
        }
        match self.socket.commit(batch) {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, table = naming.table(), "the firewall is not as this daemon left it; putting it back");
                self.replace(naming)
            }
        }
    }

    /// Makes the table in the kernel equal to the one in memory.
    fn replace(&mut self, naming: &Naming) -> Result<(), Error> {
        let doing = || Error::kernel(format!("write the firewall table {}", naming.table()));
        // The gates first, so that nothing is open before its gate is there.
        self.copy_hosts_rules(naming)?;
        if self.firewall.is_empty() {
            self.installed = false;
            if self.socket.has_table(&naming.table()).map_err(doing())? {
                let mut batch = Batch::new(&naming.table());
                batch.delete_table();
                self.socket.commit(batch).map_err(doing())?;
            }
            return Ok(());
        }
        if self.socket.commit(self.firewall.replacement(&naming.table())).is_err() {
            self.socket.commit(self.firewall.fresh(&naming.table())).map_err(doing())?;
        }
        self.installed = true;
        Ok(())
    }

    /// Makes the copies of the host's own rules equal to their originals, and removes copies whose original is gone.
    pub(crate) fn copy_hosts_rules(&mut self, naming: &Naming) -> Result<(), Error> {
        let doing = || Error::kernel("follow the host's own firewall");
        let ours = naming.table();
        let wanted = self.host_firewall == HostFirewall::Respect && !self.firewall.is_empty();
        let originals = if wanted { respect::respected(&self.socket).map_err(doing())? } else { Vec::new() };
        let mut copies = respect::Tables::new();
        for (chain, copy) in &originals {
            copies.insert((copy.family(), respect::table_of(&ours, chain)));
            let Err(error) = self.socket.commit(respect::copy(&ours, chain, copy, &self.firewall)) else { continue };
            let chain_name = format!("{} {} {}", chain.family, chain.table, chain.chain);
            if chain.drops {
                tracing::warn!(%error, chain = chain_name, "the host's rules cannot be copied: published ports are closed to the outside");
                self.socket.commit(respect::closed(&ours, chain, copy.family(), &self.firewall)).map_err(doing())?;
            } else {
                tracing::warn!(%error, chain = chain_name, "the host's rules cannot be copied: they do not hold for published ports");
                copies.remove(&(copy.family(), respect::table_of(&ours, chain)));
            }
        }
        let mut batch = Batch::new(&ours);
        let prefix = format!("{ours}.");
        for (family, table) in self.socket.tables().map_err(doing())? {
            if table.starts_with(&prefix) && !copies.contains(&(family, table.clone())) {
                batch.turn_to(family, &table);
                batch.delete_table();
            }
        }
        if !batch.is_empty() {
            self.socket.commit(batch).map_err(doing())?;
        }
        self.copies = copies;
        Ok(())
    }

    /// Tracked UDP connections know no end: one begun before a port was forwarded, or to a container now gone, would go on as it was.
    fn forget_connections(&self, changed: &BTreeSet<Published>) {
        let mut request = Request::new();
        let ports: BTreeSet<(bool, u8, u16)> = changed
            .iter()
            .filter(|entry| entry.protocol == shipway_model::Protocol::Udp)
            .map(|entry| (entry.target.is_ipv6(), firewall::protocol_number(entry.protocol), entry.host_port))
            .collect();
        for (v6, protocol, port) in ports {
            request.forget_port(v6, protocol, port);
        }
        match self.socket.forget(request) {
            Ok(()) => {}
            Err(error) if error.errno == Errno::NOENT => {}
            Err(error) => tracing::warn!(%error, "old UDP connections may go to the wrong place for a while"),
        }
    }
}

/// The value behind a lock; every holder leaves it whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
