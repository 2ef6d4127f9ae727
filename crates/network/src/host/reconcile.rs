//! Boot: the kernel is made equal to what the records say, and what of ours nobody speaks of is removed.

use std::collections::BTreeSet;

use shipway_sys::netlink::Request;

use super::{Host, lock};
use crate::bridge;
use crate::firewall::{self, SegmentRules};
use crate::naming::InterfaceName;
use crate::ports::Published;
use crate::segment::Segment;
use crate::{Error, forwarding};

impl Host {
    /// Makes the kernel equal to these segments and forwardings, and removes strays of this daemon: bridges, and ends of endpoints not among
    /// `live_host_ends`. Answers what it removed, for the log. To be called once, before anything else.
    ///
    /// # Errors
    /// The first failure; the rest is done all the same.
    pub fn reconcile(&self, segments: &[Segment], live_host_ends: &[InterfaceName], published: &[Published]) -> Result<Vec<String>, Error> {
        let inner = &self.inner;
        let mut outcome = Ok(());
        let mut note = |result: Result<(), Error>| {
            if let (Err(error), true) = (result, outcome.is_ok()) {
                outcome = Err(error);
            }
        };
        // The rules first: nothing is open, not even for a moment, that should be closed.
        note(self.rewrite_rules(segments, published));
        let removed = self.remove_strays(segments, live_host_ends);
        let removed = removed.unwrap_or_else(|error| {
            note(Err(error));
            Vec::new()
        });
        for segment in segments {
            let applied = bridge::apply(&lock(&inner.links), &inner.naming, segment);
            note(applied.map(|index| {
                inner.remember(&segment.bridge, index);
            }));
        }
        outcome.map(|()| removed)
    }

    fn rewrite_rules(&self, segments: &[Segment], published: &[Published]) -> Result<(), Error> {
        let inner = &self.inner;
        let mut made_a_router = false;
        for segment in segments {
            made_a_router |= forwarding::prepare(inner.settings.forwarding, segment)?;
        }
        let table = inner.naming.table();
        let mut rules = lock(&inner.rules);
        // Asked of the kernel: the daemon before this one may have made the host a router.
        let note = firewall::interface(firewall::GUARD_NOTE);
        let guarded = rules.socket.has_element(&table, firewall::NOTES.name, &note).unwrap_or(false);
        rules.firewall.guard |= guarded || made_a_router;
        rules.firewall.segments = segments.iter().map(|segment| (segment.bridge.clone(), SegmentRules::from(segment))).collect();
        rules.firewall.published = published.iter().copied().collect();
        rules.replace(&inner.naming)
    }

    fn remove_strays(&self, segments: &[Segment], live_host_ends: &[InterfaceName]) -> Result<Vec<String>, Error> {
        let kernel = || Error::kernel("remove strays");
        let inner = &self.inner;
        let socket = lock(&inner.links);
        let wanted: BTreeSet<&str> =
            segments.iter().map(|segment| segment.bridge.as_str()).chain(live_host_ends.iter().map(InterfaceName::as_str)).collect();
        let mut removed = Vec::new();
        for link in socket.links().map_err(kernel())? {
            let ours = bridge::is_ours(&inner.naming, &link) || (link.kind == "veth" && inner.naming.owns(&link.name));
            if !ours || wanted.contains(link.name.as_str()) {
                continue;
            }
            let mut request = Request::new();
            request.delete_link(link.index);
            match socket.perform(request) {
                Err(error) if error.errno != rustix::io::Errno::NODEV => return Err(kernel()(error)),
                _ => removed.push(format!("{} {}", link.kind, link.name)),
            }
        }
        Ok(removed)
    }
}
