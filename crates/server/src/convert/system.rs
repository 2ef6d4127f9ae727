//! `info`, `version` and disk use, with the differences between API versions.

use std::collections::BTreeMap;

use shipway_engine::Engine;
use shipway_engine::builds::ContextIndexUsage;
use shipway_engine::system::{CacheUsage, DiskUsage as Usage, SystemInfo, VersionInfo};
use shipway_engine::values;
use shipway_model::Timestamp;
use shipway_wire::ApiVersion;
use shipway_wire::system::{
    BuildCacheItem, Commit, Component, DiskUsage, IndexConfig, Info, Plugins, RegistryConfig, RegistryUsage, RuntimeInfo, Version,
    VersionPlatform,
};
use shipway_wire::volumes::{Volume, VolumeUsage};

use super::{container, image, signed, until};

/// What `docker info` calls the snapshot driver.
pub(crate) const DRIVER: &str = "overlay";
/// What it calls our runtime.
pub(crate) const RUNTIME: &str = "shipway";

/// Answer to version.
pub(crate) fn version(info: &VersionInfo) -> Version {
    let details = BTreeMap::from([
        ("ApiVersion".to_owned(), ApiVersion::MAX.to_string()),
        ("Arch".to_owned(), info.arch.clone()),
        ("BuildTime".to_owned(), String::new()),
        ("Experimental".to_owned(), "false".to_owned()),
        ("GitCommit".to_owned(), info.commit.clone()),
        ("GoVersion".to_owned(), String::new()),
        ("KernelVersion".to_owned(), info.kernel.clone()),
        ("MinAPIVersion".to_owned(), ApiVersion::MIN.to_string()),
        ("Os".to_owned(), info.os.to_owned()),
    ]);
    Version {
        platform: VersionPlatform { name: "Shipway".to_owned() },
        components: vec![Component { name: "Engine".to_owned(), version: info.version.clone(), details }],
        version: info.version.clone(),
        api_version: ApiVersion::MAX.to_string(),
        min_api_version: ApiVersion::MIN.to_string(),
        git_commit: info.commit.clone(),
        // Clients print it; there is no Go here.
        go_version: String::new(),
        os: info.os.to_owned(),
        arch: info.arch.clone(),
        kernel_version: info.kernel.clone(),
        experimental: false,
        build_time: String::new(),
    }
}

/// Answer to info.
pub(crate) fn info(engine: &Engine, facts: &SystemInfo, now: Timestamp, version: ApiVersion) -> Info {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let config = engine.config();
    let proxy = |name: &str| config.proxies.get(name).map(|value| without_credentials(value)).unwrap_or_default();
    let pool = |pool: &values::AddressPool| serde_json::json!({"Base": pool.base.to_string(), "Size": pool.size});
    let pools = &config.network.pools;
    Info {
        default_address_pools: (!pools.is_empty()).then(|| pools.iter().map(pool).collect()),
        id: facts.id.clone(),
        containers: count(facts.containers),
        containers_running: count(facts.running),
        containers_paused: count(facts.paused),
        containers_stopped: count(facts.stopped),
        images: count(facts.images),
        driver: DRIVER.to_owned(),
        driver_status: Vec::new(),
        plugins: Plugins {
            volume: words(&["local"]),
            network: words(&["bridge", "host", "null"]),
            authorization: None,
            log: words(&["json-file", "local", "none"]),
        },
        memory_limit: true,
        swap_limit: true,
        kernel_memory: until(version, 41, false),
        kernel_memory_tcp: until(version, 41, false),
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: true,
        cpu_set: true,
        pids_limit: true,
        ipv4_forwarding: true,
        bridge_nf_iptables: until(version, 49, false),
        bridge_nf_ip6tables: until(version, 49, false),
        debug: facts.debug,
        file_descriptors: count(facts.open_files),
        oom_kill_disable: facts.cgroup_version == 1,
        tasks: 0,
        system_time: now.to_rfc3339_nano(),
        logging_driver: config.log_driver.clone(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: facts.cgroup_version.to_string(),
        event_listeners: count(facts.event_listeners),
        kernel_version: facts.kernel.clone(),
        operating_system: facts.operating_system.clone(),
        os_version: facts.os_version.clone(),
        os_type: "linux".to_owned(),
        architecture: facts.arch.clone(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: RegistryConfig {
            insecure_registry_cidrs: words(&["::1/128", "127.0.0.0/8"]),
            index_configs: BTreeMap::from([(
                "docker.io".to_owned(),
                IndexConfig { name: "docker.io".to_owned(), mirrors: Vec::new(), secure: true, official: true },
            )]),
            allow_nondistributable_artifacts_cidrs: until(version, 48, Vec::new()),
            allow_nondistributable_artifacts_hostnames: until(version, 48, Vec::new()),
            mirrors: Vec::new(),
        },
        cpus: count(facts.cpus),
        mem_total: signed(facts.memory),
        docker_root_dir: facts.root_dir.display().to_string(),
        http_proxy: proxy("HTTP_PROXY"),
        https_proxy: proxy("HTTPS_PROXY"),
        no_proxy: proxy("NO_PROXY"),
        name: facts.name.clone(),
        labels: facts.labels.clone(),
        server_version: facts.version.clone(),
        runtimes: BTreeMap::from([(RUNTIME.to_owned(), RuntimeInfo { path: RUNTIME.to_owned() })]),
        default_runtime: RUNTIME.to_owned(),
        live_restore_enabled: facts.live_restore,
        init_binary: RUNTIME.to_owned(),
        containerd_commit: commit(version),
        runc_commit: commit(version),
        init_commit: commit(version),
        security_options: words(&["name=seccomp,profile=builtin"]),
        warnings: (!facts.warnings.is_empty()).then(|| facts.warnings.clone()),
        ..Info::default()
    }
}

/// We have no containerd, runc or tini.
fn commit(version: ApiVersion) -> Commit {
    Commit { id: String::new(), expected: until(version, 48, String::new()) }
}

/// A proxy address as it may be shown.
fn without_credentials(address: &str) -> String {
    match (address.find("://"), address.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}xxxxx:xxxxx{}", &address[..scheme + 3], &address[at..]),
        _ => address.to_owned(),
    }
}

/// Which parts of the disk use were asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) images: bool,
    pub(crate) containers: bool,
    pub(crate) volumes: bool,
    pub(crate) cache: bool,
}

/// Answer to disk use.
pub(crate) fn disk_usage(engine: &Engine, usage: &Usage, parts: Parts, now: Timestamp, version: ApiVersion) -> DiskUsage {
    let by_links = engine.names_by_links();
    DiskUsage {
        layers_size: parts.images.then_some(signed(usage.layers_size)),
        images: parts
            .images
            .then(|| usage.images.iter().map(|usage| image::summary(&usage.view, Some(usage.shared), true, version)).collect()),
        containers: parts
            .containers
            .then(|| usage.containers.iter().map(|view| container::summary(engine, view, &by_links, now, version)).collect()),
        volumes: parts.volumes.then(|| {
            let sized = |usage: &shipway_engine::system::VolumeUsage| Volume {
                usage_data: Some(VolumeUsage { ref_count: i64::try_from(usage.users).unwrap_or(i64::MAX), size: signed(usage.size) }),
                ..volume(engine, &usage.volume)
            };
            usage.volumes.iter().map(sized).collect()
        }),
        build_cache: parts.cache.then(|| {
            usage
                .cache
                .iter()
                .map(|item| cache_item(item, version))
                .chain(usage.contexts.iter().map(|index| context_item(index, version)))
                .collect()
        }),
        builder_size: until(
            version,
            41,
            usage.cache.iter().map(|item| item.record.size).chain(usage.contexts.iter().map(|index| index.bytes)).map(signed).sum(),
        ),
        registry: usage.registry.filter(|_| parts.images).map(|registry| RegistryUsage {
            blobs: registry.blobs,
            shared_blobs: registry.shared_blobs,
            size: signed(registry.bytes),
            own_size: signed(registry.own_bytes),
        }),
    }
}

fn cache_item(item: &CacheUsage, version: ApiVersion) -> BuildCacheItem {
    let record = &item.record;
    BuildCacheItem {
        id: record.key.to_string(),
        parent: until(version, 41, String::new()),
        parents: None,
        kind: "regular".to_owned(),
        description: record.description.clone(),
        in_use: false,
        shared: item.shared,
        size: signed(record.size),
        created_at: record.created.to_rfc3339_nano(),
        last_used_at: Some(record.last_used.to_rfc3339_nano()),
        usage_count: record.uses,
    }
}

/// What is remembered of a build context, under BuildKit's word for one.
fn context_item(index: &ContextIndexUsage, version: ApiVersion) -> BuildCacheItem {
    BuildCacheItem {
        id: index.name.clone(),
        parent: until(version, 41, String::new()),
        parents: None,
        kind: ContextIndexUsage::KIND.to_owned(),
        description: ContextIndexUsage::DESCRIPTION.to_owned(),
        in_use: false,
        shared: false,
        size: signed(index.bytes),
        created_at: index.last_used.to_rfc3339_nano(),
        last_used_at: Some(index.last_used.to_rfc3339_nano()),
        usage_count: 0,
    }
}

/// A volume as list and inspect answer it.
pub(crate) fn volume(engine: &Engine, volume: &values::Volume) -> Volume {
    Volume {
        created_at: volume.created.to_rfc3339(),
        driver: volume.driver.clone(),
        labels: (!volume.labels.is_empty()).then(|| volume.labels.clone()),
        mountpoint: engine.store().volumes().path(&volume.name).display().to_string(),
        name: volume.name.to_string(),
        options: (!volume.options.is_empty()).then(|| volume.options.clone()),
        scope: "local".to_owned(),
        usage_data: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_passwords_are_not_shown() {
        assert_eq!(without_credentials("http://user:secret@proxy:3128"), "http://xxxxx:xxxxx@proxy:3128");
        assert_eq!(without_credentials("http://proxy:3128"), "http://proxy:3128");
        assert_eq!(without_credentials(""), "");
    }
}
