#![doc = include_str!("../README.md")]

mod build;
mod checks;
mod clock;
mod context;
mod errors;
mod explain;
mod export;
mod failure;
mod folders;
mod graph;
mod key;
mod lower;
mod ops;
pub mod ports;
mod progress;
mod request;
mod solver;
mod steps;
mod suggestions;

pub use build::build;
pub use errors::{BuildError, StepFailure};
pub use ports::Ports;
pub use progress::{LogStream, PlannedStep, ProgressEvent, ProgressSink, VertexId};
pub use request::{BuildContext, BuildOptions, BuildOutcome, BuildRequest, ExtraHost, ExtraHostAddress, Flavour, RunNetwork};
pub use solver::Flights;
