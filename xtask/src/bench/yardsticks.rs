//! What the machine itself needs for the same work, measured in the same rounds: without it a number says nothing about an engine.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::harbour::{Goods, read, stored_form};
use super::invocation::Invocation;
use super::measure::Bench;
use super::workloads::{NOISE_BYTES, NOISE_COPIES};

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
    /// The layers of the large image inflated, both forms hashed, all processors.
    Inflate,
    /// The bytes of the large image's files on a file system of the engines' kind, and synced.
    WriteLarge,
}

impl Yardstick {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Process => "`busybox true` on the host",
            Self::OurHash => "one SHA-256 pass over 1 GiB, our hasher (ring)",
            Self::HostHash => "one SHA-256 pass over 1 GiB, sha256sum",
            Self::HostWrite => "1 GiB written by cat on the host, same kind of file system",
            Self::Inflate => "its layers inflated in memory (libdeflate) and both forms hashed (ring), all processors",
            Self::WriteLarge => "its uncompressed layers written by cat on the host and synced, same kind of file system",
        }
    }

    pub(super) fn measure(self, bench: &Bench<'_>) -> Result<Duration, String> {
        let Bench { options, stage, inputs, .. } = *bench;
        let harbour = || bench.harbour.ok_or_else(|| "no registry was set up".to_owned());
        let copies = || std::iter::repeat_n(inputs.noise.display().to_string(), NOISE_COPIES);
        match self {
            Self::Process => Invocation::new(&options.busybox).arg("true").timed(&stage.log()),
            Self::OurHash => hash(&inputs.noise),
            Self::HostHash => Invocation::new("sha256sum").args(copies()).timed(&stage.log()),
            Self::HostWrite => written(bench, copies().collect(), ""),
            Self::Inflate => inflate(&harbour()?.large),
            Self::WriteLarge => {
                let tars = harbour()?.large.tars.iter().map(|tar| tar.display().to_string());
                written(bench, tars.collect(), " && sync --file-system \"$target\"")
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

/// Writes files one after the other into one on a file system of the engines' kind.
fn written(bench: &Bench<'_>, files: Vec<String>, and_then: &str) -> Result<Duration, String> {
    let target = bench.inputs.scratch.join("large");
    let script = format!("target=$1; shift; cat \"$@\" > \"$target\"{and_then}");
    let call = Invocation::new("sh").args(["-c", &script, "sh"]).path(&target).args(files);
    let took = call.timed(&bench.stage.log());
    std::fs::remove_file(&target).map_err(|error| format!("cannot remove {}: {error}", target.display()))?;
    bench.stage.settle(&bench.inputs.scratch)?;
    took
}

/// What no pull of verified layers can do without; the bytes are in memory before the clock starts.
fn inflate(goods: &Goods) -> Result<Duration, String> {
    let mut layers = Vec::new();
    for tar in &goods.tars {
        let size = std::fs::metadata(tar).map_err(|error| format!("cannot stat {}: {error}", tar.display()))?.len();
        layers.push((read(&stored_form(tar))?, usize::try_from(size).unwrap_or(usize::MAX)));
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut inflater = libdeflater::Decompressor::new();
        while let Some((stored, size)) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut tar = vec![0; *size];
            inflater.gzip_decompress(stored, &mut tar).map_err(|error| error.to_string())?;
            for form in [stored, &tar] {
                std::hint::black_box(ring::digest::digest(&ring::digest::SHA256, form));
            }
        }
        Ok(())
    };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| Err("a worker panicked".to_owned())))
    })?;
    Ok(begun.elapsed())
}
