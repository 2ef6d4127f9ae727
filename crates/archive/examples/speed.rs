//! Times the three promises of this crate: committing a large file, unpacking many small ones, scanning a remembered context.
//!
//! Usage: `speed FOLDER` with an empty folder on the filesystem to be measured.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use shipway_archive::context::{ContextIndex, ContextScan};
use shipway_archive::diff::{ScanOptions, commit_scan};
use shipway_archive::ignore::IgnoreFile;
use shipway_archive::tar::{Entry, EntryKind, TarWriter};
use shipway_archive::unpack::{NoLower, Options, unpack_layer};
use shipway_model::digest::Sha256Hasher;
use shipway_sys::path::Root;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let folder = std::env::args_os().nth(1).ok_or("usage: speed FOLDER")?;
    let top = Root::open(Path::new(&folder))?;
    large_file(&top)?;
    many_files(&top)?;
    Ok(())
}

/// CPU time of all our threads so far: what a busy machine cannot blur.
fn cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.cast_unsigned(), spent.tv_nsec.cast_unsigned() as u32)
}

fn say(line: std::fmt::Arguments<'_>) -> Outcome {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

fn large_file(top: &Root) -> Outcome {
    let upper = top.create_dir_all(Path::new("large"), 0o755, None)?;
    let mut file = upper.create_file(OsStr::new("file"), 0o644)?;
    let mut block = vec![0u8; 1 << 20];
    for number in 0..512u32 {
        block.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at as u32).wrapping_mul(number | 1) as u8);
        file.write_all(&block)?;
    }
    let started = Instant::now();
    let mut hasher = Sha256Hasher::new();
    for _ in 0..512 {
        hasher.update(&block);
    }
    let _ = hasher.finish();
    let floor = started.elapsed();
    let root = top.open_root(Path::new("large"))?;
    let (started, before) = (Instant::now(), cpu());
    commit_scan(std::slice::from_ref(&root), &ScanOptions::default())?;
    let (whole, spent) = (started.elapsed(), cpu() - before);
    let ratio = whole.as_secs_f64() / floor.as_secs_f64();
    say(format_args!("commit of 512 MiB: {whole:?} (cpu {spent:?}), SHA-256 alone {floor:?}, ratio {ratio:.2}"))?;
    Ok(top.remove_tree(Path::new("large"))?)
}

fn many_files(top: &Root) -> Outcome {
    let mut tar = TarWriter::new(Vec::new());
    for package in 0..2500 {
        tar.start(&Entry::new(format!("pkg-{package}/"), EntryKind::Directory))?;
        for file in 0..20 {
            let mut entry = Entry::new(format!("pkg-{package}/file-{file}.js"), EntryKind::Regular);
            entry.mtime.seconds = 1_700_000_000;
            tar.append(&entry, &vec![b'x'; (package * 7 + file * 911) % 13_000])?;
        }
    }
    let (bytes, size) = tar.finish()?;
    top.create_dir_all(Path::new("many"), 0o755, None)?;
    let root = top.open_root(Path::new("many"))?;
    let (started, before) = (Instant::now(), cpu());
    let (summary, index) = unpack_layer(&bytes[..], &root, &NoLower, &Options::default())?;
    let (whole, spent) = (started.elapsed(), cpu() - before);
    say(format_args!("unpack of {} entries, {} MB: {whole:?} (cpu {spent:?})", summary.entries, size / 1_000_000))?;
    let started = Instant::now();
    commit_scan(std::slice::from_ref(&root), &ScanOptions::default())?;
    say(format_args!("commit of the same: {:?}", started.elapsed()))?;
    let started = Instant::now();
    let file = tempfile::tempfile()?;
    let length = index.write_to(&file)?;
    let index = shipway_archive::index::LayerIndex::open(file)?;
    let read = started.elapsed();
    index.verify()?;
    say(format_args!("index of {length} bytes: write and open {read:?}, verify {:?}", started.elapsed() - read))?;
    context(top, &root)?;
    let started = Instant::now();
    top.remove_tree(Path::new("many"))?;
    say(format_args!("removal: {:?}", started.elapsed()))
}

fn context(top: &Root, root: &Root) -> Outcome {
    let (folder, name) = (top.top()?, OsStr::new("remembered"));
    let scan = |text: &str| -> Outcome<_> { Ok(ContextScan::new(root.try_clone()?, IgnoreFile::parse(text.as_bytes())?)?) };
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(3));
        let (started, before) = (Instant::now(), cpu());
        let seen = scan("pkg-?1*\npkg-??1*\n!pkg-111\n**/*.log")?;
        let (scanned, spent) = (started.elapsed(), cpu() - before);
        let mut known = ContextIndex::load(&folder, name);
        let index = seen.select(&[Vec::new()], &mut known)?;
        let _ = index.digest();
        let selected = started.elapsed() - scanned;
        if !known.is_unchanged() {
            known.save(&seen, &folder, name)?;
        }
        say(format_args!("context of {} entries: scan {scanned:?} (cpu {spent:?}), digests {selected:?}", seen.entries().len()))?;
    }
    Ok(folder.remove_file(name)?)
}
