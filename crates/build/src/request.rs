//! What a build is asked for and what it answers. Plain values: everything was parsed and checked by whoever fills them in.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use shipway_dockerfile::SourceText;
use shipway_model::{BuildId, ImageId, LayerId, Limits, Platform, Reference, Timestamp, Ulimit};
use shipway_sys::path::Root;

/// One build.
pub struct BuildRequest {
    /// The name of this build in records and logs.
    pub id: BuildId,
    /// The Dockerfile with the name messages call it by.
    pub dockerfile: SourceText,
    /// The text of the ignore file in force (`<Dockerfile>.dockerignore` or `.dockerignore`), where one exists.
    pub ignore: Option<String>,
    /// The files COPY and ADD may take.
    pub context: BuildContext,
    /// Everything said with flags.
    pub options: BuildOptions,
}

/// Where the files of COPY and ADD come from.
pub enum BuildContext {
    /// There is none: the Dockerfile came on standard input.
    None,
    /// A folder on this machine, read in place (decision D11).
    Folder {
        /// The folder, open.
        root: Root,
        /// Its path, for messages and for the search of misplaced files.
        path: PathBuf,
        /// The file that remembers content digests between builds of this folder.
        index_file: PathBuf,
    },
    /// A folder made from a received tar; the giver deletes it when the build has ended.
    Unpacked {
        /// The folder, open.
        root: Root,
        /// Its path.
        path: PathBuf,
        /// Whatever must stay alive as long as the folder is read.
        keep: Box<dyn Any + Send + Sync>,
    },
}

/// The settings of one build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// The stage to build; the last one when absent.
    pub target: Option<String>,
    /// `--build-arg`; a value of `None` means "declared without a value" and sets nothing.
    pub build_args: Vec<(String, Option<String>)>,
    /// Labels added to the final image.
    pub labels: Vec<(String, String)>,
    /// The names the caller will give the image. They change nothing in the image; displays show them.
    pub tags: Vec<Reference>,
    /// Runs every step even where its result is known; the new results replace the known ones.
    pub no_cache: bool,
    /// The same for the named stages only.
    pub no_cache_filter: Vec<String>,
    /// Asks the registry even for base images that are here.
    pub pull: bool,
    /// The network of RUN steps that name none themselves.
    pub network: RunNetwork,
    /// The platform to build for; the machine's own when absent.
    pub platform: Option<Platform>,
    /// Lines for /etc/hosts of RUN steps.
    pub extra_hosts: Vec<ExtraHost>,
    /// Size of /dev/shm in bytes in RUN steps.
    pub shm_size: Option<u64>,
    /// Resource limits of the processes of RUN steps.
    pub ulimits: Vec<Ulimit>,
    /// Limits of the RUN steps as a whole.
    pub limits: Limits,
    /// Proxy variables RUN steps see; never part of a key or of the image.
    pub proxies: BTreeMap<String, String>,
    /// Images whose layers may serve as results of steps.
    pub cache_from: Vec<Reference>,
    /// Merges the new layers into one.
    pub squash: bool,
    /// Tells for every step why its result was or was not known (`ProgressEvent::Explained`).
    pub explain: bool,
    /// Which display asked; decides only which events are worth making.
    pub flavour: Flavour,
    /// Host name inside RUN steps; `buildkitsandbox`-like default of the executor when absent.
    pub hostname: Option<String>,
}

impl BuildOptions {
    /// The moment new things claim to be from, when the build argument SOURCE_DATE_EPOCH gives one in seconds since 1970.
    pub(crate) fn source_date_epoch(&self) -> Option<Timestamp> {
        let given = self.build_args.iter().rev().find(|(name, _)| name == "SOURCE_DATE_EPOCH")?;
        given.1.as_ref()?.trim().parse().ok().map(|seconds| Timestamp::from_unix(seconds, 0))
    }
}

/// The network of a RUN step.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunNetwork {
    /// What the executor gives by default.
    #[default]
    Default,
    /// No network but the loopback.
    None,
    /// The network of the machine.
    Host,
    /// A network of the engine, by name.
    Named(String),
}

/// One extra line of /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: ExtraHostAddress,
}

/// The address of an extra host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraHostAddress {
    /// This address.
    Ip(IpAddr),
    /// The address of the machine as containers see it (`host-gateway`).
    HostGateway,
}

/// Which display a build was started for. The image is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavour {
    /// The step-by-step stream of `POST /build`: every instruction gets an image id.
    Classic,
    /// The vertex display.
    #[default]
    Modern,
}

/// What a build made. The image has no name yet: the engine publishes it and its names in one transaction.
#[derive(Debug, Clone)]
pub struct BuildOutcome {
    /// Digest of `config_bytes`.
    pub image: ImageId,
    /// The image config, byte for byte.
    pub config_bytes: Vec<u8>,
    /// The layers, bottom first, one per history entry that is not empty.
    pub layers: Vec<LayerId>,
    /// The image of the base of the final stage, where it has one.
    pub parent: Option<ImageId>,
    /// How many steps (FROM, RUN, COPY, ADD, WORKDIR) came from the cache.
    pub cached_steps: usize,
    /// How many such steps there were.
    pub total_steps: usize,
    /// What is worth knowing though nothing failed: one line each.
    pub warnings: Vec<String>,
    /// `--build-arg` names that no ARG took.
    pub unconsumed_args: Vec<String>,
    /// Keeps the layers alive until the caller has published or dropped the image.
    pub lease: shipway_store::Lease,
}
