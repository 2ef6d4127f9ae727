//! Verbs on builds: run one, look at past ones, free their cache.

mod build;
pub(crate) mod changes;
mod context;
mod context_indexes;
mod executor;
mod familiar;
mod fetch;
mod history;
mod images;
mod prune;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use shipway_build::{BuildOptions, Ports};
use shipway_model::{BuildId, ImageId, Reference};
use shipway_registry::Credentials;

pub use context_indexes::ContextIndexUsage;
pub use history::{BuildRecord, BuildStatus};
pub use prune::BuildPruneOptions;

use crate::Engine;
use crate::blocking::ChannelReader;

/// A build as asked for.
pub struct BuildSpec {
    pub source: BuildSource,
    pub dockerfile: DockerfileSource,
    pub options: BuildOptions,
    /// The names the image gets.
    pub tags: Vec<Reference>,
    /// Who the asker is to the registries of base images, by their domains; each is shown to its own registry only, and kept nowhere.
    pub credentials: BTreeMap<String, Credentials>,
}

/// Where the files to build from are.
pub enum BuildSource {
    /// A folder that the client says it sees on this machine; read in place after checking that it is the same one (decision D11).
    Folder { path: PathBuf, device: u64, inode: u64 },
    /// An archive, or a bare Dockerfile, as a stream.
    Stream(ChannelReader),
    /// Nowhere: only the Dockerfile exists.
    Nothing,
}

/// Where the Dockerfile is.
pub enum DockerfileSource {
    /// A path inside the context.
    Path(String),
    /// Its text; `ignore` is the text of the ignore file beside it.
    Inline { name: String, text: String, ignore: Option<String> },
}

/// A build that succeeded.
#[derive(Debug, Clone)]
pub struct BuildFinished {
    pub id: BuildId,
    pub image: ImageId,
    pub tags: Vec<Reference>,
    pub cached_steps: usize,
    pub total_steps: usize,
    pub warnings: Vec<String>,
    pub unconsumed_args: Vec<String>,
}

/// What the builds of this daemon share.
#[derive(Default)]
pub(crate) struct Builds {
    ports: OnceLock<Ports>,
    /// What is remembered of past and running builds.
    pub(crate) history: history::History,
}

impl Engine {
    /// The hands of a build. All builds share them, so that equal steps of concurrent builds run once; only what fetches images is somebody's own.
    fn build_ports(&self, credentials: BTreeMap<String, Credentials>) -> Ports {
        let make = || {
            let executor = Arc::new(executor::StepExecutor::new(self));
            let images = Arc::new(images::LocalImages::new(self, BTreeMap::new()));
            Ports::new(executor, images, Arc::new(fetch::UrlFetcher::new(&self.inner.config)))
        };
        let shared = self.inner.builds.ports.get_or_init(make).clone();
        Ports { images: Arc::new(images::LocalImages::new(self, credentials)), ..shared }
    }
}
