//! What the machine itself needs for the same work, measured in the same rounds: without it a number says nothing about an engine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::invocation::Invocation;
use super::options::Options;
use super::stage::Stage;
use super::workloads::{Inputs, NOISE_BYTES, NOISE_COPIES};

/// One thing timed beside the engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Yardstick {
    /// A process that does nothing, started on the host.
    Process,
    /// One pass of our hasher (ring, one thread) over 1 GiB in memory.
    OurHash,
    /// The same by sha256sum, from the page cache.
    HostHash,
    /// 1 GiB written with cat on a file system of the engines' kind.
    HostWrite,
}

impl Yardstick {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Process => "`busybox true` on the host",
            Self::OurHash => "one SHA-256 pass over 1 GiB, our hasher (ring)",
            Self::HostHash => "one SHA-256 pass over 1 GiB, sha256sum",
            Self::HostWrite => "1 GiB written by cat on the host, same kind of file system",
        }
    }

    pub(super) fn measure(self, options: &Options, stage: &Stage, inputs: &Inputs) -> Result<Duration, String> {
        let copies = || std::iter::repeat_n(inputs.noise.display().to_string(), NOISE_COPIES);
        match self {
            Self::Process => Invocation::new(&options.busybox).arg("true").timed(&stage.log()),
            Self::OurHash => hash(&inputs.noise),
            Self::HostHash => Invocation::new("sha256sum").args(copies()).timed(&stage.log()),
            Self::HostWrite => {
                let target = inputs.scratch.join("large");
                let script = Invocation::new("sh").args(["-c", "target=$1; shift; cat \"$@\" > \"$target\"", "sh"]);
                let took = script.path(&target).args(copies()).timed(&stage.log());
                std::fs::remove_file(&target).map_err(|error| format!("cannot remove {}: {error}", target.display()))?;
                stage.settle(&inputs.scratch)?;
                took
            }
        }
    }
}

fn hash(noise: &PathBuf) -> Result<Duration, String> {
    let bytes = std::fs::read(noise).map_err(|error| format!("cannot read {}: {error}", noise.display()))?;
    debug_assert_eq!(bytes.len(), NOISE_BYTES);
    let begun = Instant::now();
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for _ in 0..NOISE_COPIES {
        context.update(&bytes);
    }
    // The digest must be used, or a compiler may leave the work away.
    std::hint::black_box(context.finish());
    Ok(begun.elapsed())
}
