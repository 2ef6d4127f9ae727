//! `build`: what is to be built is worked out here, then handed to our own daemon in place (D11), or to any daemon as a tar.

mod classic;
mod local;
mod plan;
#[cfg(test)]
mod tests;

use crate::cli::catalog::{Verb, Words};
use crate::cli::credentials;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::human;
use crate::cli::output;
use crate::cli::progress::Mode;
use crate::cli::session::{Session, environment};
use plan::{Context, Dockerfile, Plan};
use shipway_model::Reference;
use shipway_model::limits::Ulimit;
use shipway_wire::local_build::{LocalBuildRequest, LocalUlimit};
use std::collections::BTreeMap;
use std::str::FromStr as _;

/// Build an image from a Dockerfile
#[derive(Debug, Default, clap::Parser)]
pub(crate) struct Build {
    /// Add a custom host-to-IP mapping ("host:ip")
    #[arg(long, value_name = "list")]
    add_host: Vec<String>,
    /// Set build-time variables
    #[arg(long, value_name = "list")]
    build_arg: Vec<String>,
    /// Images to consider as cache sources
    #[arg(long, value_name = "strings")]
    cache_from: Vec<String>,
    /// Cache export destinations (not supported yet)
    #[arg(long, value_name = "strings", hide = true)]
    cache_to: Vec<String>,
    /// Set the parent cgroup for the "RUN" instructions during build
    #[arg(long, value_name = "string")]
    cgroup_parent: Option<String>,
    /// Compress the build context using gzip
    #[arg(long)]
    compress: bool,
    /// Limit the CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int")]
    cpu_period: Option<u64>,
    /// Limit the CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int")]
    cpu_quota: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int")]
    cpu_shares: Option<u64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// Skip image verification
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Say for every step why its result was or was not known
    #[arg(long)]
    explain: bool,
    /// Name of the Dockerfile (Default is "PATH/Dockerfile")
    #[arg(short, long, value_name = "string")]
    file: Option<String>,
    /// Always remove intermediate containers
    #[arg(long)]
    force_rm: bool,
    /// Write the image ID to the file
    #[arg(long, value_name = "string")]
    iidfile: Option<String>,
    /// Container isolation technology
    #[arg(long, value_name = "string", hide = true)]
    isolation: Option<String>,
    /// Set metadata for an image
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Store the result in the engine's images (always done)
    #[arg(long, hide = true)]
    load: bool,
    /// Memory limit
    #[arg(short, long, value_name = "bytes")]
    memory: Option<String>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, value_name = "bytes")]
    memory_swap: Option<String>,
    /// Set the networking mode for the RUN instructions during build
    #[arg(long, value_name = "string", default_value = "default")]
    network: String,
    /// Do not use cache when building the image
    #[arg(long)]
    no_cache: bool,
    /// Do not cache specified stages
    #[arg(long, value_name = "stringArray")]
    no_cache_filter: Vec<String>,
    /// Output destination (not supported yet)
    #[arg(short, long, value_name = "stringArray", hide = true)]
    output: Vec<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Set type of progress output ("auto", "plain", "quiet", "rawjson", "tty")
    #[arg(long, value_name = "string")]
    progress: Option<String>,
    /// Always attempt to pull a newer version of the image
    #[arg(long)]
    pull: bool,
    /// Push the result to a registry (not supported yet)
    #[arg(long, hide = true)]
    push: bool,
    /// Suppress the build output and print image ID on success
    #[arg(short, long)]
    quiet: bool,
    /// Remove intermediate containers after a successful build (default true)
    #[arg(long)]
    rm: bool,
    #[arg(long, hide = true)]
    no_rm: bool,
    /// Secret to expose to the build (not supported yet)
    #[arg(long, value_name = "stringArray", hide = true)]
    secret: Vec<String>,
    /// Security options
    #[arg(long, value_name = "strings")]
    security_opt: Vec<String>,
    /// Size of "/dev/shm"
    #[arg(long, value_name = "bytes")]
    shm_size: Option<String>,
    /// Squash newly built layers into a single new layer
    #[arg(long)]
    squash: bool,
    /// SSH agent socket or keys to expose to the build (not supported yet)
    #[arg(long, value_name = "stringArray", hide = true)]
    ssh: Vec<String>,
    /// Name and optionally a tag in the "name:tag" format
    #[arg(short, long, value_name = "list")]
    tag: Vec<String>,
    /// Set the target build stage to build
    #[arg(long, value_name = "string")]
    target: Option<String>,
    /// Ulimit options
    #[arg(long, value_name = "ulimit")]
    ulimit: Vec<String>,
    #[arg(hide = true)]
    path: String,
}

impl Verb for Build {
    const NAMES: &'static [&'static str] = &["image build", "build", "builder build"];
    const USAGE: &'static str = "[OPTIONS] PATH | URL | -";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        self.refuse_unsupported()?;
        let request = self.request(session)?;
        let mode = self.mode(session)?;
        let plan = Plan::of(&self.path, self.file.as_deref())?;
        // Which registries the Dockerfile names is known to the daemon only, so it hears of all of them.
        let credentials = credentials::header_for_all(session).await?;
        let built = match local::build(session, &self, &plan, &request, mode, credentials.as_deref()).await? {
            local::Attempt::Built(image) => image,
            local::Attempt::NotHere => classic::build(session, &self, plan, &request, credentials.as_deref()).await?,
        };
        if let (Some(file), Some(image)) = (&self.iidfile, &built) {
            std::fs::write(file, image).map_err(|error| Failure::new(format!("cannot write \"{file}\": {error}")))?;
        }
        match built {
            Some(image) if mode == Mode::Quiet => output::line(image),
            _ => Ok(()),
        }
    }
}

impl Build {
    fn refuse_unsupported(&self) -> Outcome {
        let unsupported = [
            (!self.secret.is_empty(), "--secret"),
            (!self.ssh.is_empty(), "--ssh"),
            (!self.output.is_empty(), "--output"),
            (!self.cache_to.is_empty(), "--cache-to"),
            (self.push, "--push"),
        ];
        match unsupported.iter().find(|(given, _)| *given) {
            Some((_, flag)) => Err(Failure::usage(format!("{flag} is not supported yet"))),
            None => Ok(()),
        }
    }

    fn mode(&self, session: &Session) -> Outcome<Mode> {
        if self.quiet {
            return Ok(Mode::Quiet);
        }
        let wanted = self.progress.clone().or_else(|| session.variable("BUILDKIT_PROGRESS")).unwrap_or_default();
        Mode::parse(&wanted)
    }

    /// Everything but context and Dockerfile, checked.
    fn request(&self, session: &Session) -> Outcome<LocalBuildRequest> {
        for tag in &self.tag {
            Reference::parse(tag).map_err(|error| Failure::argument(tag, "-t, --tag", &error))?;
        }
        let size = |text: &Option<String>, flag: &str| match text.as_deref() {
            None => Ok(None),
            Some(text) => human::bytes(text).map(Some).map_err(|failure| Failure {
                hints: failure.hints.clone(),
                ..Failure::usage(format!("invalid argument \"{text}\" for \"{flag}\" flag: {failure}"))
            }),
        };
        let mut ulimits = Vec::new();
        for text in &self.ulimit {
            let ulimit = Ulimit::from_str(text).map_err(|error| Failure::argument(text, "--ulimit", &error))?;
            ulimits.push(LocalUlimit { name: ulimit.name, soft: ulimit.soft, hard: ulimit.hard });
        }
        let memory_swap = match self.memory_swap.as_deref() {
            Some("-1") => Some(-1),
            _ => size(&self.memory_swap, "--memory-swap")?.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        };
        Ok(LocalBuildRequest {
            tags: self.tag.clone(),
            target: self.target.clone(),
            build_args: self.build_arguments(session)?,
            labels: self
                .label
                .iter()
                .map(|label| label.split_once('=').unwrap_or((label, "")))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            no_cache: self.no_cache,
            no_cache_filter: self.no_cache_filter.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect(),
            pull: self.pull,
            network: (self.network != "default").then(|| self.network.clone()),
            platform: self.platform.clone().or_else(|| session.variable("DOCKER_DEFAULT_PLATFORM")),
            extra_hosts: crate::cli::commands::container::extra_hosts(&self.add_host)?,
            shm_size: size(&self.shm_size, "--shm-size")?,
            ulimits,
            memory: size(&self.memory, "-m, --memory")?,
            memory_swap,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            cache_from: self.cache_from.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect(),
            squash: self.squash,
            explain: self.explain,
            ..LocalBuildRequest::default()
        })
    }

    /// `K=V`; a bare `K` takes the value from the environment, or leaves the variable unset. Proxies of the client's configuration come first.
    fn build_arguments(&self, session: &Session) -> Outcome<BTreeMap<String, Option<String>>> {
        let mut arguments: BTreeMap<String, Option<String>> =
            session.config()?.proxy_variables().into_iter().map(|(name, value)| (name, Some(value))).collect();
        for argument in &self.build_arg {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), environment().find(|(name, _)| name == argument).map(|(_, value)| value)),
            };
            if name.is_empty() {
                let reason = format!("invalid argument \"{argument}\" for \"--build-arg\" flag: invalid environment variable: {argument}");
                return Err(Failure::usage(reason));
            }
            arguments.insert(name.to_owned(), value);
        }
        Ok(arguments)
    }
}
