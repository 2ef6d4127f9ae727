//! `/shipway/networks/doctor`: what is reachable from where, and why not.

use serde::Serialize;
use shipway_engine::networks::Diagnosis;
use shipway_engine::values::{NetworkFacts, NetworkFinding, Origin, PublishedFacts, Reach, Severity};

use crate::answer;
use crate::error::ApiResult;
use crate::router::Api;

#[derive(Serialize)]
struct Answer {
    /// Nothing is broken.
    healthy: bool,
    networks: Vec<Network>,
    ports: Vec<PortAnswer>,
    findings: Vec<FindingAnswer>,
}

#[derive(Serialize)]
struct Network {
    name: String,
    bridge: String,
    subnets: Vec<String>,
    up: bool,
    internal: bool,
    /// Its containers reach each other.
    open: bool,
    masquerade: bool,
    mtu: u32,
    /// Interfaces of the host by which containers are reached at their own addresses.
    trusted: Vec<String>,
}

#[derive(Serialize)]
struct PortAnswer {
    container: String,
    host_ip: Option<String>,
    host_port: u16,
    protocol: String,
    target: String,
    ways: Vec<Way>,
}

#[derive(Serialize)]
struct Way {
    from: &'static str,
    at: String,
    reach: &'static str,
    because: String,
}

#[derive(Serialize)]
struct FindingAnswer {
    severity: &'static str,
    what: String,
    because: String,
    mend: Option<String>,
}

pub(crate) async fn diagnose(api: &Api) -> ApiResult {
    let Diagnosis { networks, ports, findings, .. } = api.engine.diagnose_networks().await?;
    Ok(answer::ok(&Answer {
        healthy: findings.iter().all(|finding| finding.severity != Severity::Broken),
        networks: networks.iter().map(|(record, facts)| network(record.name.to_string(), facts)).collect(),
        ports: ports.into_iter().map(port).collect(),
        findings: findings.into_iter().map(finding).collect(),
    }))
}

fn network(name: String, facts: &NetworkFacts) -> Network {
    Network {
        name,
        bridge: facts.bridge.to_string(),
        subnets: facts.subnets.iter().map(ToString::to_string).collect(),
        up: facts.up,
        internal: facts.internal,
        open: facts.open,
        masquerade: facts.subnets.iter().any(|subnet| if subnet.is_v6() { facts.masquerade_v6 } else { facts.masquerade_v4 }),
        mtu: facts.mtu,
        trusted: facts.trusted.iter().map(ToString::to_string).collect(),
    }
}

fn port((container, facts): (String, PublishedFacts)) -> PortAnswer {
    let ways = facts.ways.into_iter().map(|way| Way {
        from: match way.from {
            Origin::Host => "host",
            Origin::Outside => "outside",
            Origin::Containers => "containers",
            Origin::InternalContainers => "internal containers",
        },
        at: way.at,
        reach: match way.reach {
            Reach::Yes => "yes",
            Reach::No => "no",
            Reach::Depends => "depends",
        },
        because: way.because,
    });
    PortAnswer {
        container,
        host_ip: facts.published.host_ip.map(|address| address.to_string()),
        host_port: facts.published.host_port,
        protocol: facts.published.protocol.to_string(),
        target: facts.published.target.to_string(),
        ways: ways.collect(),
    }
}

fn finding(finding: NetworkFinding) -> FindingAnswer {
    FindingAnswer {
        severity: match finding.severity {
            Severity::Broken => "broken",
            Severity::Doubtful => "doubtful",
            Severity::Remark => "remark",
        },
        what: finding.what,
        because: finding.because,
        mend: finding.mend,
    }
}
