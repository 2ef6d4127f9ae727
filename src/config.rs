//! Settings of the daemon: flags, then `daemon.json`, then defaults. Names and meanings are dockerd's where it has the same thing.
//!
//! The only file of the product that reads settings; everything below gets finished values. A setting given in both places is an error,
//! as with dockerd, because nobody could tell which one wins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use serde::Deserialize;
use shipway_engine::EngineConfig;
use shipway_model::{ByteSize, Ulimit};

mod network;

/// Where the daemon listens unless told otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "unix:///run/shipway/shipway.sock";
const DEFAULT_DATA_ROOT: &str = "/var/lib/shipway";
const DEFAULT_EXEC_ROOT: &str = "/run/shipway";
const DEFAULT_CONFIG: &str = "/etc/shipway/daemon.json";

/// Build images and run containers for clients of the Docker Engine API
#[derive(Debug, Parser)]
#[command(name = "shipway daemon", disable_version_flag = true)]
struct Flags {
    /// Root directory of persistent data
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// Root directory for sockets and other data of this boot
    #[arg(long, value_name = "DIR")]
    exec_root: Option<PathBuf>,
    /// Socket to listen on (unix://PATH, tcp://HOST:PORT or fd://); may be given several times
    #[arg(short = 'H', long = "host", value_name = "ADDRESS")]
    hosts: Vec<String>,
    /// Group that owns the unix socket
    #[arg(short = 'G', long, value_name = "NAME")]
    group: Option<String>,
    /// Daemon configuration file
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Log more
    #[arg(short = 'D', long)]
    debug: bool,
    /// Log level: debug, info, warn, error or fatal
    #[arg(short = 'l', long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Default driver for container logs: json-file, local or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Default option of the log driver; may be given several times
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    log_opts: Vec<String>,
    /// Label of the daemon; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Default resource limit of containers; may be given several times
    #[arg(long = "default-ulimit", value_name = "NAME=SOFT[:HARD]")]
    default_ulimits: Vec<String>,
    /// Default size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    default_shm_size: Option<String>,
    /// Run an init in containers
    #[arg(long)]
    init: bool,
    /// Set no-new-privileges on containers
    #[arg(long)]
    no_new_privileges: bool,
    /// Leave containers running when the daemon stops (the default here)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    live_restore: Option<bool>,
    /// Seconds that containers get to stop when they are not left running
    #[arg(long, value_name = "SECONDS")]
    shutdown_timeout: Option<u64>,
    /// Cgroup below which containers live
    #[arg(long, value_name = "NAME")]
    cgroup_parent: Option<String>,
    /// DNS server for containers; may be given several times
    #[arg(long = "dns", value_name = "ADDRESS")]
    dns: Vec<String>,
    /// DNS option for containers; may be given several times
    #[arg(long = "dns-opt", value_name = "OPTION")]
    dns_opts: Vec<String>,
    /// DNS search domain for containers; may be given several times
    #[arg(long = "dns-search", value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Folder with descriptions of devices (CDI); may be given several times
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    cdi_spec_dirs: Vec<PathBuf>,
    /// HTTP proxy for build steps
    #[arg(long, value_name = "URL")]
    http_proxy: Option<String>,
    /// HTTPS proxy for build steps
    #[arg(long, value_name = "URL")]
    https_proxy: Option<String>,
    /// Hosts that are reached without proxy
    #[arg(long, value_name = "LIST")]
    no_proxy: Option<String>,
    /// The default network of containers: "shipway0", or "none" for loopback only
    #[arg(short = 'b', long, value_name = "NAME")]
    bridge: Option<String>,
    #[command(flatten)]
    network: network::NetworkFlags,
    /// Registry (host, host:port or network) reached without checking its certificate, by plain http if need be; may be given several times
    #[arg(long = "insecure-registry", value_name = "REGISTRY")]
    insecure_registries: Vec<String>,
    /// Mirror of Docker Hub that is asked first; may be given several times
    #[arg(long = "registry-mirror", value_name = "URL")]
    registry_mirrors: Vec<String>,
    /// Folder with HOST/hosts.toml (mirrors), HOST/signatures.toml (who must have signed), HOST/*.crt and client certificates of registries; may be given several times
    #[arg(long = "registry-dir", value_name = "DIR")]
    registry_dirs: Vec<PathBuf>,
    /// Token server (host or host:port) that may see credentials of registries in other domains; may be given several times
    #[arg(long = "trusted-token-server", value_name = "HOST")]
    trusted_token_servers: Vec<String>,
    /// Registry (host, host:port or network) that also gets layers whose type says that they are not to be distributed; may be given several times
    #[arg(long, value_name = "REGISTRY")]
    allow_nondistributable_artifacts: Vec<String>,
    /// Fetch layers that a registry does not have from the addresses in their manifest, without credentials
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    fetch_foreign_layers: Option<bool>,
    /// Layers downloaded at the same time
    #[arg(long, value_name = "COUNT")]
    max_concurrent_downloads: Option<usize>,
    /// Layers uploaded at the same time
    #[arg(long, value_name = "COUNT")]
    max_concurrent_uploads: Option<usize>,
    /// Parked monitors kept ready for the next containers
    #[arg(long, value_name = "COUNT")]
    pool_size: Option<usize>,
    /// Exit when nothing runs and nobody asked for anything for a while
    #[arg(long)]
    on_demand: bool,
    /// Check the configuration and exit
    #[arg(long)]
    validate: bool,
}

/// `daemon.json`. Keys of features that come later are refused by name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    data_root: Option<PathBuf>,
    exec_root: Option<PathBuf>,
    hosts: Vec<String>,
    group: Option<String>,
    debug: Option<bool>,
    log_level: Option<String>,
    log_driver: Option<String>,
    log_opts: BTreeMap<String, String>,
    labels: Vec<String>,
    default_ulimits: BTreeMap<String, FileUlimit>,
    default_shm_size: Option<String>,
    init: Option<bool>,
    no_new_privileges: Option<bool>,
    live_restore: Option<bool>,
    shutdown_timeout: Option<u64>,
    cgroup_parent: Option<String>,
    dns: Vec<String>,
    dns_opts: Vec<String>,
    dns_search: Vec<String>,
    cdi_spec_dirs: Vec<PathBuf>,
    proxies: FileProxies,
    bridge: Option<String>,
    default_address_pools: Vec<network::FilePool>,
    host_firewall: Option<String>,
    ip_forward: Option<bool>,
    ip: Option<String>,
    icc: Option<bool>,
    mtu: Option<u32>,
    bip: Option<String>,
    insecure_registries: Vec<String>,
    registry_mirrors: Vec<String>,
    registry_dirs: Vec<PathBuf>,
    trusted_token_servers: Vec<String>,
    allow_nondistributable_artifacts: Vec<String>,
    fetch_foreign_layers: Option<bool>,
    max_concurrent_downloads: Option<usize>,
    max_concurrent_uploads: Option<usize>,
    insecure_tcp: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FileUlimit {
    #[serde(default)]
    name: String,
    soft: i64,
    hard: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct FileProxies {
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    no_proxy: Option<String>,
}

/// What the daemon was told.
#[derive(Debug)]
pub(crate) struct DaemonConfig {
    pub(crate) engine: EngineConfig,
    pub(crate) hosts: Vec<String>,
    pub(crate) group: String,
    pub(crate) log_level: String,
    /// Leave after idling; the daemon was started by a client.
    pub(crate) on_demand: bool,
    /// TCP without TLS beyond loopback was asked for in so many words.
    pub(crate) insecure_tcp: bool,
    /// Only the configuration is to be checked.
    pub(crate) validate: bool,
}

/// Why there is no configuration. Usage errors are printed by the flag parser's own rules.
#[derive(Debug)]
pub(crate) enum ConfigError {
    Usage(clap::Error),
    Wrong(String),
}

impl From<String> for ConfigError {
    fn from(reason: String) -> Self {
        Self::Wrong(reason)
    }
}

/// Reads flags and file. `arguments` begin with the program's name.
pub(crate) fn read(arguments: &[OsString]) -> Result<DaemonConfig, ConfigError> {
    let flags = Flags::try_parse_from(arguments).map_err(ConfigError::Usage)?;
    let file = read_file(flags.config_file.as_deref())?;
    Ok(merge(flags, file)?)
}

fn read_file(chosen: Option<&Path>) -> Result<File, String> {
    let path = chosen.unwrap_or(Path::new(DEFAULT_CONFIG));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && chosen.is_none() => return Ok(File::default()),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// A setting from one of its two places.
fn one<T>(name: &str, flag: Option<T>, file: Option<T>) -> Result<Option<T>, String> {
    match (flag, file) {
        (Some(_), Some(_)) => Err(format!("--{name} is given as a flag and in the configuration file; give it once")),
        (flag, file) => Ok(flag.or(file)),
    }
}

fn on(flag: bool) -> Option<bool> {
    flag.then_some(true)
}

fn merge(flags: Flags, file: File) -> Result<DaemonConfig, String> {
    let bridge = one("bridge", flags.bridge, file.bridge)?;
    if bridge.as_deref().is_some_and(|name| !matches!(name, "none" | "shipway0")) {
        return Err("--bridge: somebody else's bridge is not supported yet; leave the flag away or use none".to_owned());
    }
    let data_root = one("data-root", flags.data_root, file.data_root)?.unwrap_or_else(|| DEFAULT_DATA_ROOT.into());
    let exec_root = one("exec-root", flags.exec_root, file.exec_root)?.unwrap_or_else(|| DEFAULT_EXEC_ROOT.into());
    let debug = one("debug", on(flags.debug), file.debug)?.unwrap_or(false);
    let mut engine = EngineConfig::new(absolute(data_root)?, absolute(exec_root)?);
    engine.is_default = engine.data_root == Path::new(DEFAULT_DATA_ROOT);
    engine.bridge = bridge.as_deref() != Some("none");
    engine.debug = debug;
    let of_file = network::File {
        pools: file.default_address_pools,
        host_firewall: file.host_firewall,
        ip_forward: file.ip_forward,
        ip: file.ip,
        icc: file.icc,
        mtu: file.mtu,
        bip: file.bip,
    };
    engine.network = network::merge(flags.network, of_file)?;
    engine.init = one("init", on(flags.init), file.init)?.unwrap_or(false);
    engine.no_new_privileges = one("no-new-privileges", on(flags.no_new_privileges), file.no_new_privileges)?.unwrap_or(false);
    engine.live_restore = one("live-restore", flags.live_restore, file.live_restore)?.unwrap_or(true);
    engine.cgroup_parent = one("cgroup-parent", flags.cgroup_parent, file.cgroup_parent)?;
    if let Some(seconds) = one("shutdown-timeout", flags.shutdown_timeout, file.shutdown_timeout)? {
        engine.shutdown_timeout = Duration::from_secs(seconds);
    }
    if let Some(size) = one("default-shm-size", flags.default_shm_size, file.default_shm_size)? {
        engine.default_shm_size = size.parse::<ByteSize>().map_err(|error| format!("--default-shm-size: {error}"))?.0;
    }
    if let Some(driver) = one("log-driver", flags.log_driver, file.log_driver)? {
        if !["json-file", "local", "none"].contains(&driver.as_str()) {
            return Err(format!("--log-driver: no log driver named '{driver}' is registered; use json-file, local or none"));
        }
        engine.log_driver = driver;
    }
    if let Some(count) = flags.pool_size {
        engine.pool_size = count;
    }
    engine.log_options = file.log_opts;
    engine.log_options.extend(pairs("log-opt", &flags.log_opts)?);
    engine.labels = if flags.labels.is_empty() { file.labels } else { flags.labels };
    engine.default_ulimits = ulimits(&flags.default_ulimits, file.default_ulimits)?;
    engine.dns = if flags.dns.is_empty() { file.dns } else { flags.dns };
    engine.dns_options = if flags.dns_opts.is_empty() { file.dns_opts } else { flags.dns_opts };
    engine.dns_search = if flags.dns_search.is_empty() { file.dns_search } else { flags.dns_search };
    match (flags.cdi_spec_dirs, file.cdi_spec_dirs) {
        (flags, file) if flags.is_empty() && file.is_empty() => {}
        (flags, file) => engine.cdi_spec_dirs = if flags.is_empty() { file } else { flags },
    }
    let either = |flags: Vec<String>, file| if flags.is_empty() { file } else { flags };
    engine.registries.insecure_registries = either(flags.insecure_registries, file.insecure_registries);
    engine.registries.registry_mirrors = either(flags.registry_mirrors, file.registry_mirrors);
    engine.registries.trusted_token_servers = either(flags.trusted_token_servers, file.trusted_token_servers);
    let allowed = either(flags.allow_nondistributable_artifacts, file.allow_nondistributable_artifacts);
    engine.registries.nondistributable_artifacts = allowed;
    engine.registries.fetch_foreign_layers =
        one("fetch-foreign-layers", flags.fetch_foreign_layers, file.fetch_foreign_layers)?.unwrap_or_default();
    let folders = if flags.registry_dirs.is_empty() { file.registry_dirs } else { flags.registry_dirs };
    if !folders.is_empty() {
        engine.registries.hosts_folders.clone_from(&folders);
        engine.registries.certs_folders = folders;
    }
    if let Some(count) = one("max-concurrent-downloads", flags.max_concurrent_downloads, file.max_concurrent_downloads)? {
        engine.max_concurrent_downloads = count;
    }
    if let Some(count) = one("max-concurrent-uploads", flags.max_concurrent_uploads, file.max_concurrent_uploads)? {
        engine.max_concurrent_uploads = count;
    }
    for (name, flag, file) in [
        ("HTTP_PROXY", flags.http_proxy, file.proxies.http_proxy),
        ("HTTPS_PROXY", flags.https_proxy, file.proxies.https_proxy),
        ("NO_PROXY", flags.no_proxy, file.proxies.no_proxy),
    ] {
        if let Some(value) = flag.or(file) {
            engine.proxies.insert(name.to_lowercase(), value.clone());
            engine.proxies.insert(name.to_owned(), value);
        }
    }
    let hosts = if flags.hosts.is_empty() { file.hosts } else { flags.hosts };
    Ok(DaemonConfig {
        hosts: if hosts.is_empty() { vec![DEFAULT_SOCKET.to_owned()] } else { hosts },
        group: one("group", flags.group, file.group)?.unwrap_or_else(|| "docker".to_owned()),
        log_level: level(one("log-level", flags.log_level, file.log_level)?, debug)?,
        on_demand: flags.on_demand,
        insecure_tcp: file.insecure_tcp,
        validate: flags.validate,
        engine,
    })
}

/// dockerd's levels as ours.
fn level(asked: Option<String>, debug: bool) -> Result<String, String> {
    let asked = asked.unwrap_or_else(|| if debug { "debug" } else { "info" }.to_owned());
    match asked.as_str() {
        "fatal" | "panic" => Ok("error".to_owned()),
        "trace" | "debug" | "info" | "warn" | "error" => Ok(asked),
        other => Err(format!("--log-level: \"{other}\" is no level; use debug, info, warn, error or fatal")),
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, String> {
    std::path::absolute(&path).map_err(|error| format!("cannot make {} absolute: {error}", path.display()))
}

fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>, String> {
    let split = |text: &String| {
        text.split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .ok_or_else(|| format!("--{flag}: \"{text}\" is not KEY=VALUE"))
    };
    texts.iter().map(split).collect()
}

fn ulimits(flags: &[String], file: BTreeMap<String, FileUlimit>) -> Result<Vec<Ulimit>, String> {
    let mut limits = Vec::new();
    for (key, limit) in file {
        let name = if limit.name.is_empty() { key } else { limit.name };
        limits
            .push(format!("{name}={}:{}", limit.soft, limit.hard).parse::<Ulimit>().map_err(|error| format!("default-ulimits: {error}"))?);
    }
    for text in flags {
        limits.push(text.parse::<Ulimit>().map_err(|error| format!("--default-ulimit: {error}"))?);
    }
    Ok(limits)
}

#[cfg(test)]
mod tests;
