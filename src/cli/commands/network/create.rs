//! `network create`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::commands::container::pairs;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::cli::session::Session;
use serde_json::{Map, Value, json};

/// Create a network
#[derive(Debug, clap::Parser)]
pub(crate) struct Create {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses used by Network driver
    #[arg(long, value_name = "map")]
    aux_address: Vec<String>,
    /// The network from which to copy the configuration
    #[arg(long, value_name = "string")]
    config_from: Option<String>,
    /// Create a configuration only network
    #[arg(long)]
    config_only: bool,
    /// Driver to manage the Network
    #[arg(short, long, value_name = "string", default_value = "bridge")]
    driver: String,
    /// IPv4 or IPv6 Gateway for the master subnet
    #[arg(long, value_name = "strings")]
    gateway: Vec<String>,
    /// Do nothing when a network of this name exists
    #[arg(long)]
    if_absent: bool,
    /// Create swarm routing-mesh network
    #[arg(long)]
    ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "strings")]
    ip_range: Vec<String>,
    /// IP Address Management Driver
    #[arg(long, value_name = "string", default_value = "default")]
    ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long, value_name = "map")]
    ipam_opt: Vec<String>,
    /// Enable or disable IPv4 address assignment (default true)
    #[arg(long)]
    ipv4: bool,
    #[arg(long, hide = true)]
    no_ipv4: bool,
    /// Enable or disable IPv6 address assignment
    #[arg(long)]
    ipv6: bool,
    /// Set metadata on a network
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    /// Control the network's scope
    #[arg(long, value_name = "string")]
    scope: Option<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "strings")]
    subnet: Vec<String>,
    #[arg(hide = true)]
    name: String,
}

impl Verb for Create {
    const NAMES: &'static [&'static str] = &["network create"];
    const USAGE: &'static str = "[OPTIONS] NETWORK";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let mut body = json!({
            "Name": self.name, "CheckDuplicate": true, "Driver": self.driver, "Scope": self.scope.clone().unwrap_or_default(), "Internal": self.internal,
            "Attachable": self.attachable, "Ingress": self.ingress, "ConfigOnly": self.config_only, "EnableIPv6": self.ipv6,
            "IPAM": {"Driver": self.ipam_driver, "Options": pairs(&self.ipam_opt, &[])?, "Config": self.pools()?},
            "Options": pairs(&self.opt, &[])?, "Labels": pairs(&self.label, &[])?,
        });
        if self.no_ipv4 {
            body["EnableIPv4"] = Value::from(false);
        }
        if let Some(name) = &self.config_from {
            body["ConfigFrom"] = json!({"Network": name});
        }
        let client = session.client()?;
        match client.json::<Value>(Call::post("/networks/create").json(body)).await {
            Ok(answer) => {
                if let Some(warning) = answer.get("Warning").and_then(Value::as_str).filter(|warning| !warning.is_empty()) {
                    output::note(format!("WARNING: {warning}"));
                }
                output::line(answer.get("Id").and_then(Value::as_str).unwrap_or_default())
            }
            Err(failure) if failure.is_conflict() && self.if_absent => {
                let existing: Value = client.json(Call::get(super::path(&self.name, ""))).await?;
                output::line(existing.get("Id").and_then(Value::as_str).unwrap_or_default())
            }
            // M-21: what is there already, and the flag for scripts.
            Err(failure) if failure.is_conflict() => Err(explain(client, failure, &self.name).await),
            Err(failure) => Err(failure),
        }
    }
}

async fn explain(client: &crate::cli::client::Client, failure: Failure, name: &str) -> Failure {
    if !failure.hints.is_empty() {
        return failure;
    }
    let existing: Value = client.json(Call::get(super::path(name, ""))).await.unwrap_or_default();
    let driver = existing.get("Driver").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let subnet = existing.pointer("/IPAM/Config/0/Subnet").and_then(Value::as_str).unwrap_or_default().to_owned();
    let containers = existing.get("Containers").and_then(Value::as_object).map_or(0, Map::len);
    let place = if subnet.is_empty() { driver } else { format!("{driver} {subnet}") };
    failure.hint(format!("it exists ({place}, {containers} containers): nothing to do, or say --if-absent"))
}

impl Create {
    /// Subnets with the gateway, range and auxiliary addresses given for them, in order.
    fn pools(&self) -> Outcome<Vec<Value>> {
        if self.subnet.is_empty() && !(self.gateway.is_empty() && self.ip_range.is_empty()) {
            return Err(Failure::new("every ip-range or gateway must have a corresponding subnet"));
        }
        let mut pools = Vec::new();
        for (at, subnet) in self.subnet.iter().enumerate() {
            let mut pool = json!({"Subnet": subnet});
            if let Some(gateway) = self.gateway.get(at) {
                pool["Gateway"] = Value::from(gateway.as_str());
            }
            if let Some(range) = self.ip_range.get(at) {
                pool["IPRange"] = Value::from(range.as_str());
            }
            if at == 0 && !self.aux_address.is_empty() {
                pool["AuxiliaryAddresses"] = pairs(&self.aux_address, &[])?;
            }
            pools.push(pool);
        }
        Ok(pools)
    }
}
