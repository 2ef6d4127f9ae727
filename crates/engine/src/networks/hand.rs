//! The engine's side of the network hand: what of addresses, ports, names and kernel objects is in use now.
//!
//! Nothing here is durable: at boot `restore.rs` says it again from the records. All functions block; async code crosses in `blocking`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shipway_model::{Classified, ContainerId, ErrorKind, NetworkId, PortBinding};
use shipway_network::dns::NameServer;
use shipway_network::segment::SegmentAddress;
use shipway_network::{
    AddressPool, AddressSpace, Attachment, ClaimedPort, EndpointSpec, Host, HostSettings, InUse, InterfaceAddress, InterfaceName,
    IsolationBetween, MacAddress, Naming, PlanRequest, PortClaims, Published, Segment, SubnetPlan,
};

use super::options::{BridgeOptions, GatewayMode};
use super::record::{AddressRecord, AttachedEndpoint, EndpointWish, NetworkDriver, NetworkRecord, PoolRecord};
use super::stacked::{self, Stacked};
use crate::{EngineConfig, Error, Result};

/// RFC 3927 2.8 and RFC 4291 2.5.6.
const LINK_LOCAL_PREFIX_V4: u8 = 16;
const LINK_LOCAL_PREFIX_V6: u8 = 64;

/// The hand, with what is claimed.
pub(crate) struct Hand {
    pub(super) host: Host,
    naming: Naming,
    pub(super) ports: PortClaims,
    pub(super) names: NameServer,
    pools: Vec<AddressPool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who has which address, by network; one space per range.
    spaces: HashMap<NetworkId, Vec<AddressSpace>>,
    /// Networks whose bridge is known to be as it should.
    applied: BTreeSet<NetworkId>,
}

/// The addresses that an endpoint got.
pub(super) struct Addresses {
    pub(super) ipv4: Option<AddressRecord<Ipv4Addr>>,
    pub(super) ipv6: Option<AddressRecord<Ipv6Addr>>,
}

impl Hand {
    /// A hand for a data root. Changes nothing in the kernel.
    pub(crate) fn open(config: &EngineConfig) -> Result<Self> {
        let seed = config.data_root.display().to_string();
        let naming = if config.is_default { Naming::plain() } else { Naming::tagged(&seed) };
        let network = &config.network;
        let mut pools = if network.pools.is_empty() { AddressPool::defaults() } else { network.pools.clone() };
        pools.push(AddressPool::unique_local(&seed));
        let settings = shipway_network::dns::Settings { resolv_conf: PathBuf::from("/etc/resolv.conf") };
        Ok(Self {
            host: Host::open(naming.clone(), HostSettings { forwarding: network.forwarding, host_firewall: network.host_firewall })?,
            naming,
            ports: PortClaims::new(),
            names: NameServer::new(settings)?,
            pools,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ranges of a new network: what was asked for, checked, and what was not, chosen.
    pub(super) fn plan(&self, record: &NetworkRecord, asked: &[PlanRequest], others: &[Arc<NetworkRecord>]) -> Result<Vec<PoolRecord>> {
        let mut taken: Vec<InUse> = others
            .iter()
            .flat_map(|other| other.pools.iter().map(move |pool| (other, pool.plan.subnet)))
            .map(|(other, subnet)| InUse { subnet, owner: format!("network \"{}\"", other.name), of_host: false })
            .collect();
        let mut plans = Vec::new();
        for request in asked.iter().filter(|request| request.subnet.is_some() || request.gateway.is_some() || request.ip_range.is_some()) {
            let plan = SubnetPlan::checked(request, &taken)?;
            taken.push(InUse { subnet: plan.subnet, owner: "the network itself".to_owned(), of_host: false });
            let has_family = |pool: &PoolRecord| pool.plan.subnet.is_v6() == plan.subnet.is_v6();
            if !record.driver.is_stacked() && plans.iter().any(has_family) {
                return Err(Error::InvalidWithHint {
                    reason: "bridge driver doesn't support multiple subnets".to_owned(),
                    hint: "one of IPv4 and one of IPv6 is possible; macvlan and ipvlan take several".to_owned(),
                });
            }
            plans.push(PoolRecord { plan, chosen: true });
        }
        let families = [(false, record.ipv4), (true, record.ipv6)];
        for (v6, _) in families.into_iter().filter(|(_, wanted)| *wanted) {
            if plans.iter().any(|pool| pool.plan.subnet.is_v6() == v6) {
                continue;
            }
            if taken.iter().all(|other| !other.of_host) {
                taken.extend(self.host.subnets_in_use()?);
            }
            plans.push(PoolRecord { plan: SubnetPlan::chosen(&self.pools, v6, &taken)?, chosen: false });
        }
        plans.sort_by_key(|pool| pool.plan.subnet.is_v6());
        Ok(plans)
    }

    /// Whether this kernel and its interfaces can make endpoints of a network; tried with one that goes at once. Makes the interface that the network is
    /// on, where people asked for one that does not exist; after an error it is gone again.
    pub(super) fn try_driver(&self, network: &NetworkRecord) -> Result<()> {
        if !network.driver.is_stacked() {
            return Ok(());
        }
        let stacked = stacked::of(network)?;
        let unsupported = |what: String| {
            move |error: shipway_network::Error| match error.kind() {
                ErrorKind::Unsupported => Error::NotSupportedYet { what },
                _ => error.into(),
            }
        };
        self.host.apply_parent(&stacked.parent).map_err(unsupported(format!("a VLAN such as {} by this kernel", stacked.parent.name())))?;
        let tried = self.host.try_attachment(&stacked.attachment);
        tried.map_err(unsupported(format!("network driver \"{}\" by this kernel", network.driver.word()))).inspect_err(|_| {
            if let Err(error) = self.host.withdraw_parent(&stacked.parent) {
                tracing::warn!(%error, "an interface of a network that was not made stays behind");
            }
        })
    }

    /// What the kernel's default bridge is called.
    pub(super) fn default_bridge_name(&self) -> String {
        self.naming.default_bridge().to_string()
    }

    /// What a network's kernel bridge is called.
    pub(super) fn bridge_name(&self, network: &NetworkRecord) -> Result<InterfaceName> {
        match BridgeOptions::read(&network.options)?.name {
            Some(name) => Ok(name.parse()?),
            None => Ok(self.naming.bridge(network.id)),
        }
    }

    /// A network's kernel form.
    pub(super) fn segment(&self, network: &NetworkRecord) -> Result<Segment> {
        let options = BridgeOptions::read(&network.options)?;
        let plans: Vec<SubnetPlan> = network.pools.iter().map(|pool| pool.plan.clone()).collect();
        let mut segment = Segment::new(network.id, self.bridge_name(network)?, &plans);
        segment.mtu = options.mtu.unwrap_or(0);
        segment.between = if options.icc { IsolationBetween::Open } else { IsolationBetween::Closed };
        segment.internal = network.internal;
        segment.routed = options.routed();
        segment.trusted.clone_from(&options.trusted);
        segment.masquerade_v4 = options.masquerade && !segment.routed.v4;
        segment.masquerade_v6 = options.masquerade && !segment.routed.v6;
        segment.unprotected_v4 = options.gateway_v4 == GatewayMode::NatUnprotected;
        segment.unprotected_v6 = options.gateway_v6 == GatewayMode::NatUnprotected;
        let has_gateway = |own: &SegmentAddress| match own.address {
            IpAddr::V4(_) => !options.inhibit_ipv4 && options.gateway_v4 != GatewayMode::Isolated,
            IpAddr::V6(_) => options.gateway_v6 != GatewayMode::Isolated,
        };
        segment.addresses.retain(has_gateway);
        Ok(segment)
    }

    /// Makes the bridge of `network`, or the interface that it is on, unless it is known to be there.
    pub(super) fn apply_network(&self, network: &NetworkRecord) -> Result<()> {
        if !network.driver.is_wired() || self.state().applied.contains(&network.id) {
            return Ok(());
        }
        if network.driver.is_stacked() {
            self.host.apply_parent(&stacked::of(network)?.parent)?;
        } else {
            self.host.apply_segment(&self.segment(network)?)?;
        }
        self.state().applied.insert(network.id);
        Ok(())
    }

    /// Notes that the bridge of a network is as it should be.
    pub(super) fn note_applied(&self, network: NetworkId) {
        self.state().applied.insert(network);
    }

    /// Takes the bridge of a removed network away, or the interface that was made for it.
    pub(super) fn withdraw_network(&self, network: &NetworkRecord) -> Result<()> {
        {
            let mut state = self.state();
            state.applied.remove(&network.id);
            state.spaces.remove(&network.id);
        }
        if network.driver.is_stacked() {
            return Ok(self.host.withdraw_parent(&stacked::of(network)?.parent)?);
        }
        if network.driver != NetworkDriver::Bridge {
            return Ok(());
        }
        Ok(self.host.withdraw_segment(&self.segment(network)?)?)
    }

    /// Claims an address of each family for `owner`: those wished for, else the lowest free ones.
    pub(super) fn claim_addresses(&self, network: &NetworkRecord, wish: &EndpointWish, owner: &str) -> Result<Addresses> {
        let mut state = self.state();
        let spaces = spaces_of(&mut state, network);
        let mut found: Vec<(IpAddr, u8, Option<IpAddr>)> = Vec::new();
        let is_routed = network.driver.is_stacked() && stacked::of(network)?.is_routed();
        let has_gateway = !network.internal && !is_routed;
        for v6 in [false, true] {
            let wanted = if v6 { wish.ipv6.map(IpAddr::from) } else { wish.ipv4.map(IpAddr::from) };
            match claim_of_family(network, spaces, (v6, has_gateway), wanted, owner) {
                Ok(claimed) => found.extend(claimed),
                Err(error) => {
                    for (address, ..) in found {
                        release(spaces, address);
                    }
                    return Err(error);
                }
            }
        }
        let mut addresses = Addresses { ipv4: None, ipv6: None };
        for (address, prefix, gateway) in found {
            match (address, gateway) {
                (IpAddr::V4(address), Some(IpAddr::V4(gateway))) => {
                    addresses.ipv4 = Some(AddressRecord { address, prefix, gateway: Some(gateway) });
                }
                (IpAddr::V6(address), Some(IpAddr::V6(gateway))) => {
                    addresses.ipv6 = Some(AddressRecord { address, prefix, gateway: Some(gateway) });
                }
                (IpAddr::V4(address), _) => addresses.ipv4 = Some(AddressRecord { address, prefix, gateway: None }),
                (IpAddr::V6(address), _) => addresses.ipv6 = Some(AddressRecord { address, prefix, gateway: None }),
            }
        }
        Ok(addresses)
    }

    /// Takes the addresses of an endpoint that lives already (boot).
    pub(super) fn reclaim_addresses(&self, network: &NetworkRecord, attached: &AttachedEndpoint, owner: &str) {
        let mut state = self.state();
        let spaces = spaces_of(&mut state, network);
        for address in addresses_of(attached) {
            for space in spaces.iter_mut().filter(|space| space.subnet().contains(address)) {
                if let Err(error) = space.claim(address, owner) {
                    tracing::warn!(%error, owner, "two containers have one address");
                }
            }
        }
    }

    /// Gives the addresses of an endpoint back.
    pub(super) fn release_addresses(&self, network: NetworkId, attached: &AttachedEndpoint) {
        let mut state = self.state();
        let Some(spaces) = state.spaces.get_mut(&network) else { return };
        for address in addresses_of(attached) {
            release(spaces, address);
        }
    }

    /// A fresh name for the host's end of an endpoint in `network`; empty where the host has none.
    pub(super) fn host_end(&self, network: &NetworkRecord) -> String {
        if network.driver != NetworkDriver::Bridge {
            return String::new();
        }
        let random = crate::clock::random();
        let mut eight = [0; 8];
        eight.copy_from_slice(&random[..8]);
        self.naming.endpoint(eight).to_string()
    }

    /// Makes the interface of `attached` inside `netns`.
    pub(super) fn attach(&self, netns: &OwnedFd, network: &NetworkRecord, attached: &AttachedEndpoint) -> Result<()> {
        self.apply_network(network)?;
        let spec = self.endpoint_spec(network, attached)?;
        let made = self.host.attach(netns.as_fd(), &spec);
        if made.is_err() {
            // Somebody may have deleted the bridge under us: it is made again for the next one.
            self.state().applied.remove(&network.id);
        }
        Ok(made?)
    }

    /// Gives the default route to an endpoint that exists.
    pub(super) fn promote(&self, netns: &OwnedFd, network: &NetworkRecord, attached: &AttachedEndpoint) -> Result<()> {
        Ok(self.host.take_gateways(netns.as_fd(), &self.endpoint_spec(network, attached)?)?)
    }

    /// The value that the hand makes an interface from.
    pub(super) fn endpoint_spec(&self, network: &NetworkRecord, attached: &AttachedEndpoint) -> Result<EndpointSpec> {
        let options = BridgeOptions::read(&network.options)?;
        let addresses = [
            attached.ipv4.map(|own| InterfaceAddress { address: own.address.into(), prefix: own.prefix }),
            attached.ipv6.map(|own| InterfaceAddress { address: own.address.into(), prefix: own.prefix }),
        ];
        let mut gateways =
            [attached.ipv4.and_then(|own| own.gateway).map(IpAddr::from), attached.ipv6.and_then(|own| own.gateway).map(IpAddr::from)];
        let link_local = attached.link_local.iter().map(|address| InterfaceAddress {
            address: *address,
            prefix: if address.is_ipv4() { LINK_LOCAL_PREFIX_V4 } else { LINK_LOCAL_PREFIX_V6 },
        });
        let between = if options.icc { IsolationBetween::Open } else { IsolationBetween::Closed };
        let stacked = network.driver.is_stacked().then(|| stacked::of(network)).transpose()?;
        let is_routed = stacked.as_ref().is_some_and(Stacked::is_routed);
        let attachment = match stacked {
            Some(stacked) => stacked.attachment,
            None => Attachment::Bridge { bridge: self.bridge_name(network)?, host_end: attached.host_end.parse()?, between },
        };
        if is_routed && !network.internal {
            gateways = [attached.ipv4.map(|_| Ipv4Addr::UNSPECIFIED.into()), attached.ipv6.map(|_| Ipv6Addr::UNSPECIFIED.into())];
        }
        Ok(EndpointSpec {
            name: attached.interface.parse()?,
            slot: attached.slot,
            attachment,
            // On ipvlan it is the parent's.
            mac: attached.mac.unwrap_or_else(|| MacAddress::of_seed(&attached.interface)),
            addresses: addresses.into_iter().flatten().chain(link_local).collect(),
            gateways: if attached.is_default { gateways.into_iter().flatten().collect() } else { Vec::new() },
            mtu: options.mtu.unwrap_or(0),
            routes: Vec::new(),
            settings: attached.settings.iter().map(|text| text.parse()).collect::<shipway_network::Result<_>>()?,
        })
    }

    /// Claims host ports for the container `owner`. No process exists yet.
    pub(super) fn claim_ports(
        &self,
        owner: &str,
        network: &NetworkRecord,
        bindings: &[PortBinding],
    ) -> shipway_network::Result<Vec<ClaimedPort>> {
        if bindings.is_empty() || network.internal || network.driver != NetworkDriver::Bridge {
            return Ok(Vec::new());
        }
        let Ok(options) = BridgeOptions::read(&network.options) else { return Ok(Vec::new()) };
        let fallback = options.host_binding.filter(|address| !address.is_unspecified());
        let routed = options.routed();
        // Where every family of a binding is reached at the container's own address, no port of the host is taken.
        let families = [(false, network.ipv4 && !routed.v4), (true, network.ipv6 && !routed.v6)];
        let takes_port = |binding: &PortBinding| {
            let meant = |v6: bool| binding.host_ip.is_none_or(|address| address.is_ipv6() == v6);
            !(routed.v4 || routed.v6) || families.iter().any(|(v6, forwarded)| *forwarded && meant(*v6))
        };
        let bindings = bindings.iter().map(|binding| PortBinding { host_ip: binding.host_ip.or(fallback), ..binding.clone() });
        let (forwarded, direct): (Vec<PortBinding>, Vec<PortBinding>) = bindings.partition(takes_port);
        let mut claimed = self.ports.claim(owner, &forwarded)?;
        claimed.extend(direct.into_iter().map(|PortBinding { host_ip, container, .. }| ClaimedPort { host_ip, host_port: 0, container }));
        Ok(claimed)
    }

    /// What the firewall forwards for an endpoint.
    pub(super) fn published(attached: &AttachedEndpoint) -> Vec<Published> {
        let (v4, v6) = (attached.ipv4.map(|own| own.address), attached.ipv6.map(|own| own.address));
        attached.published.iter().flat_map(|port| port.published(v4, v6, attached.routed)).collect()
    }

    /// Has the firewall forward the ports of an endpoint.
    pub(super) fn publish(&self, attached: &AttachedEndpoint) -> Result<()> {
        let entries = Self::published(attached);
        if entries.is_empty() { Ok(()) } else { Ok(self.host.publish(&entries)?) }
    }

    /// Has the firewall forward to `now` what it forwarded to `before`.
    pub(super) fn move_published(&self, before: &AttachedEndpoint, now: &AttachedEndpoint) -> Result<()> {
        let entries = Self::published(before);
        if !entries.is_empty() {
            self.host.unpublish(&entries)?;
        }
        self.publish(now)
    }

    /// Takes everything of an endpoint away; goes on after failures, which are logged: boot finds what stays.
    pub(super) fn withdraw(&self, container: &str, network: NetworkId, attached: &AttachedEndpoint) {
        let entries = Self::published(attached);
        if !entries.is_empty()
            && let Err(error) = self.host.unpublish(&entries)
        {
            tracing::warn!(%error, container, "cannot take published ports back; the next boot will");
        }
        // A port may be claimed and lead nowhere: one of IPv6 in a network without.
        self.ports.release(container, &attached.published);
        if let Ok(end) = attached.host_end.parse() {
            self.host.forget_endpoint(&end);
        }
        self.release_addresses(network, attached);
    }

    /// Stops answering the questions of a container.
    pub(super) fn hang_up(&self, container: ContainerId) {
        self.names.hang_up(container);
    }
}

fn spaces_of<'a>(state: &'a mut State, network: &NetworkRecord) -> &'a mut Vec<AddressSpace> {
    let make = || network.pools.iter().map(|pool| AddressSpace::new(&pool.plan)).collect();
    state.spaces.entry(network.id).or_insert_with(make)
}

/// An address with the prefix of its subnet and the way out: the one wished for, else the lowest free one of the first subnet that has any. `None` where
/// the network has no subnet of the family.
fn claim_of_family(
    network: &NetworkRecord,
    spaces: &mut [AddressSpace],
    (v6, has_gateway): (bool, bool),
    wanted: Option<IpAddr>,
    owner: &str,
) -> Result<Option<(IpAddr, u8, Option<IpAddr>)>> {
    let mut exhausted = None;
    for pool in network.pools.iter().filter(|pool| pool.plan.subnet.is_v6() == v6) {
        let subnet = pool.plan.subnet;
        let Some(space) = spaces.iter_mut().find(|space| space.subnet() == subnet) else { continue };
        let claimed = match wanted {
            Some(address) if !subnet.contains(address) => continue,
            // An address that a dying endpoint of the same container still holds is another's all the same: owners differ by attachment.
            Some(address) => space.claim(address, owner).map(|()| address),
            None => space.claim_any(owner),
        };
        match claimed {
            Ok(address) => return Ok(Some((address, subnet.prefix(), has_gateway.then_some(pool.plan.gateway)))),
            Err(error) => exhausted = Some(error),
        }
    }
    exhausted.map_or(Ok(None), |error| Err(error.into()))
}

/// Gives an address back, whoever has it: names of owners change, addresses do not.
fn release(spaces: &mut [AddressSpace], address: IpAddr) {
    for space in spaces.iter_mut().filter(|space| space.subnet().contains(address)) {
        if let Some(owner) = space.owner(address).map(str::to_owned) {
            space.release(address, &owner);
        }
    }
}

fn addresses_of(attached: &AttachedEndpoint) -> impl Iterator<Item = IpAddr> {
    attached.ipv4.map(|own| own.address.into()).into_iter().chain(attached.ipv6.map(|own| own.address.into()))
}

/// The hardware address of an endpoint; none where it has that of the host's interface.
pub(super) fn mac_of(network: &NetworkRecord, wish: &EndpointWish, addresses: &Addresses, seed: &str) -> Option<MacAddress> {
    if network.driver == NetworkDriver::Ipvlan {
        return None;
    }
    Some(match (wish.mac, &addresses.ipv4) {
        (Some(mac), _) => mac,
        (None, Some(own)) => MacAddress::of_address(own.address),
        (None, None) => MacAddress::of_seed(seed),
    })
}

/// Bindings for `-P`: a free port for every exposed one that has none.
pub(super) fn with_exposed(bindings: &[PortBinding], exposed: impl Iterator<Item = shipway_model::Port>) -> Vec<PortBinding> {
    let mut all: BTreeMap<shipway_model::Port, Vec<PortBinding>> = BTreeMap::new();
    for binding in bindings {
        all.entry(binding.container).or_default().push(binding.clone());
    }
    for port in exposed {
        all.entry(port).or_insert_with(|| vec![PortBinding { host_ip: None, host_port: None, host_port_last: None, container: port }]);
    }
    all.into_values().flatten().collect()
}
