//! Registries that mean harm, or do harm without meaning it: security.md S-503 to S-512, the client's side. Each case is a line of a table where it can be.

mod bundles;
mod credentials;
mod mirrors;
mod pulls;
mod signatures;
mod transport;

use std::time::Duration;

use shipway_model::Secret;
use shipway_registry::{Access, Credentials, HostSettings, Hosts, Registry, Retries, Timeouts, TokenCache, Transport, TransportConfig};
use shipway_testkit::BadRegistry;

/// The password that must not get anywhere else, and its form in a header: printf 'user:hunter2T0KEN' | base64
const PASSWORD: &str = "hunter2T0KEN";
const BASIC: &str = "dXNlcjpodW50ZXIyVDBLRU4=";

/// Settings with so little patience that every case ends soon.
fn settings() -> TransportConfig {
    TransportConfig {
        timeouts: Timeouts { connect: Duration::from_secs(3), idle: Duration::from_millis(700) },
        retries: Retries { count: 2, first_pause: Duration::from_millis(2), longest_pause: Duration::from_millis(500) },
        ..TransportConfig::default()
    }
}

fn somebody() -> Credentials {
    Credentials::basic("user", Secret::new(PASSWORD))
}

/// A registry spoken to as `access`, with the settings of an ordinary daemon.
fn registry(server: &BadRegistry, access: &Access) -> Registry {
    with(settings(), &server.domain(), access)
}

fn with(config: TransportConfig, domain: &str, access: &Access) -> Registry {
    let hosts = Hosts::new(&HostSettings::default()).unwrap();
    Registry::new(Transport::new(config).unwrap(), &hosts, domain, access, false).unwrap()
}

/// Whether any request to any of `servers` carried something of the password.
fn leaked(servers: &[&BadRegistry]) -> bool {
    servers.iter().any(|server| server.saw(PASSWORD) || server.saw(BASIC))
}

fn trusting(token_servers: &[&str]) -> Access {
    Access::trusting(Some(somebody()), &TokenCache::default(), token_servers.iter().map(|host| (*host).to_owned()).collect())
}
