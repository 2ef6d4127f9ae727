//! `network connect` and `network disconnect`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::commands::container::pairs;
use crate::cli::exit::Outcome;
use crate::cli::session::Session;
use serde_json::json;

/// Connect a container to a network
#[derive(Debug, clap::Parser)]
pub(crate) struct Connect {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "strings")]
    alias: Vec<String>,
    /// driver options for the network
    #[arg(long, value_name = "strings")]
    driver_opt: Vec<String>,
    /// Highest gw-priority provides the default gateway. Accepts positive and negative values.
    #[arg(long, value_name = "int")]
    gw_priority: Option<i64>,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(long, value_name = "string")]
    ip: Option<String>,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long, value_name = "string")]
    ip6: Option<String>,
    /// Add link to another container
    #[arg(long, value_name = "list")]
    link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long, value_name = "strings")]
    link_local_ip: Vec<String>,
    #[arg(hide = true)]
    network: String,
    #[arg(hide = true)]
    container: String,
}

/// Disconnect a container from a network
#[derive(Debug, clap::Parser)]
pub(crate) struct Disconnect {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    force: bool,
    #[arg(hide = true)]
    network: String,
    #[arg(hide = true)]
    container: String,
}

impl Verb for Connect {
    const NAMES: &'static [&'static str] = &["network connect"];
    const USAGE: &'static str = "[OPTIONS] NETWORK CONTAINER";
    const WORDS: Words = Words::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        let mut endpoint = json!({"Aliases": self.alias, "Links": self.link, "DriverOpts": pairs(&self.driver_opt, &[])?});
        if self.ip.is_some() || self.ip6.is_some() || !self.link_local_ip.is_empty() {
            endpoint["IPAMConfig"] = json!({"IPv4Address": self.ip.unwrap_or_default(), "IPv6Address": self.ip6.unwrap_or_default(), "LinkLocalIPs": self.link_local_ip});
        }
        if let Some(priority) = self.gw_priority {
            endpoint["GwPriority"] = json!(priority);
        }
        let body = json!({"Container": self.container, "EndpointConfig": endpoint});
        session.client()?.done(Call::post(path(&self.network, "/connect")).json(body)).await.map(drop)
    }
}

impl Verb for Disconnect {
    const NAMES: &'static [&'static str] = &["network disconnect"];
    const USAGE: &'static str = "[OPTIONS] NETWORK CONTAINER";
    const WORDS: Words = Words::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        let body = json!({"Container": self.container, "Force": self.force});
        session.client()?.done(Call::post(path(&self.network, "/disconnect")).json(body)).await.map(drop)
    }
}
