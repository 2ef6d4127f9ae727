//! The two forms of a build request, `POST /build` and `POST /shipway/build`, into the engine's `BuildSpec`.

use std::collections::BTreeMap;

use shipway_engine::builds::{BuildSource, BuildSpec, DockerfileSource};
use shipway_engine::values::{BuildOptions, ExtraHost, ExtraHostAddress, Flavour, RunNetwork};
use shipway_model::{Limits, Reference};
use shipway_wire::build::BuildQuery;
use shipway_wire::containers::UlimitSpec;
use shipway_wire::local_build::{DockerfileChoice, LocalBuildRequest};

use super::host;
use crate::error::ApiError;

/// Name of the Dockerfile when nobody says another.
const DOCKERFILE: &str = "Dockerfile";

/// What a classic build asks for. The body is `source`.
///
/// # Errors
/// For values that cannot be read, and for what only a BuildKit session could carry.
pub(crate) fn classic(query: &BuildQuery, source: BuildSource) -> Result<BuildSpec, ApiError> {
    if query.version == "2" || !query.session.is_empty() {
        return Err(
            ApiError::not_supported_yet("building over a BuildKit session").with_hint("set DOCKER_BUILDKIT=0, or use `shipway build`")
        );
    }
    if !query.remote.is_empty() {
        return Err(ApiError::not_supported_yet("building from a remote context"));
    }
    if !query.outputs.is_empty() {
        return Err(ApiError::not_supported_yet("exporting a build with outputs"));
    }
    if !query.cgroup_parent.is_empty() {
        return Err(ApiError::not_supported_yet("a parent cgroup of a build"));
    }
    if !query.security_options.is_empty() {
        return Err(ApiError::invalid("The daemon on this platform does not support setting security options on build"));
    }
    if !matches!(query.isolation.to_ascii_lowercase().as_str(), "" | "default") {
        return Err(ApiError::invalid(format!("Unsupported isolation: {:?}", query.isolation)));
    }
    let dockerfile = if query.dockerfile.is_empty() { DOCKERFILE } else { &query.dockerfile };
    let options = BuildOptions {
        target: Some(query.target.clone()).filter(|target| !target.is_empty()),
        build_args: query.build_args.clone().into_iter().collect(),
        labels: query.labels.clone().into_iter().collect(),
        no_cache: query.no_cache,
        no_cache_filter: query.no_cache_filter.clone(),
        pull: query.pull,
        network: network(&query.network_mode)?,
        platform: Some(&query.platform).filter(|text| !text.is_empty()).map(|text| text.parse()).transpose()?,
        extra_hosts: query.extra_hosts.iter().map(|text| extra_host(text)).collect::<Result<_, _>>()?,
        shm_size: host::positive(query.shm_size, "SHM size")?,
        ulimits: host::ulimits(&query.ulimits)?,
        limits: Limits {
            memory: host::positive(query.memory, "memory limit")?,
            memory_swap: (query.memory_swap != 0).then_some(query.memory_swap),
            cpu_shares: host::positive(query.cpu_shares, "CPU shares")?,
            cpu_period: host::positive(query.cpu_period, "CPU cfs period")?,
            cpu_quota: (query.cpu_quota != 0).then_some(query.cpu_quota),
            cpuset_cpus: Some(query.cpuset_cpus.clone()).filter(|set| !set.is_empty()),
            cpuset_mems: Some(query.cpuset_mems.clone()).filter(|set| !set.is_empty()),
            ..Limits::default()
        },
        cache_from: query.cache_from.iter().map(|text| Ok(Reference::parse(text)?)).collect::<Result<_, ApiError>>()?,
        squash: query.squash,
        flavour: Flavour::Classic,
        ..BuildOptions::default()
    };
    Ok(BuildSpec {
        source,
        dockerfile: DockerfileSource::Path(dockerfile.to_owned()),
        options,
        tags: tags(&query.tags)?,
        credentials: BTreeMap::new(),
    })
}

/// What a build in place asks for.
///
/// # Errors
/// For values that cannot be read.
pub(crate) fn local(request: LocalBuildRequest) -> Result<BuildSpec, ApiError> {
    let word = |text: &Option<String>| text.clone().unwrap_or_default();
    let size = |number: Option<u64>| number.map_or(0, super::signed);
    let query = BuildQuery {
        tags: request.tags,
        target: word(&request.target),
        build_args: request.build_args,
        labels: request.labels,
        no_cache: request.no_cache,
        no_cache_filter: request.no_cache_filter,
        pull: request.pull,
        network_mode: word(&request.network),
        platform: word(&request.platform),
        extra_hosts: request.extra_hosts,
        shm_size: size(request.shm_size),
        ulimits: request.ulimits.into_iter().map(|limit| UlimitSpec { name: limit.name, hard: limit.hard, soft: limit.soft }).collect(),
        memory: size(request.memory),
        memory_swap: request.memory_swap.unwrap_or(0),
        cpu_shares: size(request.cpu_shares),
        cpu_period: size(request.cpu_period),
        cpu_quota: request.cpu_quota.unwrap_or(0),
        cpuset_cpus: word(&request.cpuset_cpus),
        cpuset_mems: word(&request.cpuset_mems),
        cache_from: request.cache_from,
        squash: request.squash,
        ..BuildQuery::default()
    };
    let source = match request.context {
        Some(context) => BuildSource::Folder { path: context.path.into(), device: context.device, inode: context.inode },
        None => BuildSource::Nothing,
    };
    let mut spec = classic(&query, source)?;
    spec.options.explain = request.explain;
    spec.options.flavour = Flavour::Modern;
    spec.dockerfile = match request.dockerfile {
        DockerfileChoice::Path(path) => DockerfileSource::Path(path),
        DockerfileChoice::Inline { name, text, ignore } => DockerfileSource::Inline { name, text, ignore },
    };
    Ok(spec)
}

fn tags(texts: &[String]) -> Result<Vec<Reference>, ApiError> {
    let mut tags: Vec<Reference> = Vec::with_capacity(texts.len());
    for text in texts {
        let tag = Reference::parse(text)?.with_default_tag();
        if tag.digest().is_some() {
            return Err(ApiError::invalid("build tag cannot contain a digest"));
        }
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn network(mode: &str) -> Result<RunNetwork, ApiError> {
    match mode {
        "" | "default" | "bridge" => Ok(RunNetwork::Default),
        "none" => Ok(RunNetwork::None),
        "host" => Ok(RunNetwork::Host),
        other if other.starts_with("container:") => Err(ApiError::not_supported_yet(&format!("building in network \"{other}\""))),
        name => Ok(RunNetwork::Named(name.to_owned())),
    }
}

/// `name:address`, `name=address`; the address may be `host-gateway` and may stand in brackets.
fn extra_host(text: &str) -> Result<ExtraHost, ApiError> {
    let wrong = || ApiError::invalid(format!("bad format for add-host: {text:?}"));
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    let address = match address.trim_start_matches('[').trim_end_matches(']') {
        "host-gateway" => ExtraHostAddress::HostGateway,
        number => {
            ExtraHostAddress::Ip(number.parse().map_err(|_| ApiError::invalid(format!("invalid IP address in add-host: {address:?}")))?)
        }
    };
    Ok(ExtraHost { name: name.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<BuildSpec, ApiError> {
        classic(&BuildQuery::from_pairs(pairs.iter().copied()).unwrap(), BuildSource::Nothing)
    }

    #[test]
    fn a_classic_query_becomes_a_spec() {
        let spec = query(&[
            ("t", "app"),
            ("t", "app:latest"),
            ("target", "b"),
            ("networkmode", "none"),
            ("extrahosts", "h:::1"),
            ("extrahosts", "g:host-gateway"),
            ("memory", "1048576"),
        ])
        .unwrap();
        assert_eq!(spec.tags.iter().map(Reference::familiar).collect::<Vec<_>>(), ["app:latest"]);
        assert_eq!(spec.options.target.as_deref(), Some("b"));
        assert_eq!(spec.options.network, RunNetwork::None);
        assert_eq!(spec.options.extra_hosts[0].address, ExtraHostAddress::Ip("::1".parse().unwrap()));
        assert_eq!(spec.options.extra_hosts[1].address, ExtraHostAddress::HostGateway);
        assert_eq!(spec.options.limits.memory, Some(1 << 20));
        assert!(matches!(spec.dockerfile, DockerfileSource::Path(path) if path == "Dockerfile"));
    }

    #[test]
    fn what_cannot_be_done_is_said_and_not_ignored() {
        for (pairs, status) in [
            (&[("version", "2")][..], 501),
            (&[("remote", "https://x.invalid/a.git")], 501),
            (&[("outputs", r#"[{"Type":"local"}]"#)], 501),
            (&[("t", "UPPER")], 400),
            (&[("extrahosts", "nothing")], 400),
            (&[("platform", "a/b/c/d/e")], 400),
            (&[("isolation", "hyperv")], 400),
            (&[("cgroupparent", "somewhere")], 501),
            (&[("securityopt", "seccomp=unconfined")], 400),
            (&[("securityopt", r#"["seccomp=unconfined"]"#)], 400),
            (&[("shmsize", "-1")], 400),
        ] {
            assert_eq!(query(pairs).err().map(|error| error.status.as_u16()), Some(status), "{pairs:?}");
        }
    }
}
