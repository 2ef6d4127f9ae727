//! A Dockerfile and its context become an image: lowering, cache keys, concurrent solving, operations, assembly of the image config.
//!
//! **Lives here**: the build graph and how a Dockerfile becomes one, what enters a cache key, the solver, the work of FROM, RUN, COPY, ADD and
//! WORKDIR, the image config with its history, the one event log of a build.
//! **Never here**: launching processes, pulling, downloading or naming images (see `ports.rs`: the engine fulfils those); HTTP; the terminal.
//! **Nouns**: `BuildRequest`, `BuildGraph`, `Vertex`, `Op`, `CacheKey`, `Flight`, `ProgressEvent`, `BuildOutcome`, `BuildError`.
//! **Invariants**: a cache key says everything the result depends on and nothing else (table in `key.rs`); everything that can be found wrong without
//! running anything is reported at once, before anything runs; equal work of concurrent builds runs once; a step nobody waits for any more stops within
//! a second; the image is returned, never named; a build whose every step is cached writes nothing.
//! **Start reading at**: `request.rs`, then `build.rs` (the journey as a list of steps), `graph.rs`, `key.rs`, `solver/mod.rs`.

mod build;
mod checks;
mod clock;
mod context;
mod errors;
mod export;
mod failure;
mod graph;
mod key;
mod lower;
mod ops;
pub mod ports;
mod progress;
mod request;
mod solver;
mod suggestions;

pub use build::build;
pub use errors::{BuildError, StepFailure};
pub use ports::Ports;
pub use progress::{LogStream, PlannedStep, ProgressEvent, ProgressSink, VertexId};
pub use request::{BuildContext, BuildOptions, BuildOutcome, BuildRequest, ExtraHost, ExtraHostAddress, Flavour, RunNetwork};
pub use solver::Flights;
