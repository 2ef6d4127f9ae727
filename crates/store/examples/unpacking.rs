//! Times taking in layers: one of large files, one of many small ones. Usage: `unpacking FOLDER` with an empty folder on the filesystem to be measured.

use std::io::Write as _;
use std::time::{Duration, Instant};

use shipway_archive::tar::{Entry, EntryKind, TarWriter};
use shipway_model::{Sha256Hasher, Timestamp};
use shipway_store::{LayerOrigin, Store, StoreConfig, UnpackRequest};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let folder = std::path::PathBuf::from(std::env::args_os().nth(1).ok_or("usage: unpacking FOLDER")?);
    let large = large_files()?;
    let small = small_files()?;
    for (what, tar) in [("large files", &large), ("small files", &small)] {
        for round in 0..5 {
            let root = folder.join(format!("{}-{round}", &what[..5]));
            let store = Store::open(StoreConfig { root: root.clone() })?;
            let (started, before) = (Instant::now(), cpu());
            let layer = store.unpack_layer(&tar[..], &request())?.layer;
            let (whole, spent) = (started.elapsed(), cpu() - before);
            let recipe = std::fs::metadata(root.join(format!("layers/{}/recipe", layer.id))).map_or(0, |found| found.len());
            let started = Instant::now();
            store.write_layer(&layer.id, &mut std::io::sink())?;
            writeln!(
                std::io::stdout(),
                "{what}, {} MB: {whole:?} (cpu {spent:?}), again {:?}, recipe {recipe}",
                tar.len() / 1_000_000,
                started.elapsed()
            )?;
            drop(store);
            std::fs::remove_dir_all(&root)?;
        }
    }
    let mut hasher = Sha256Hasher::new();
    let started = Instant::now();
    hasher.update(&large);
    let _ = hasher.finish();
    let sha = started.elapsed();
    let started = Instant::now();
    let _ = blake3::hash(&large);
    writeln!(std::io::stdout(), "SHA-256 of the large one {sha:?}, BLAKE3 {:?}", started.elapsed())?;
    Ok(())
}

fn request() -> UnpackRequest {
    let created = Timestamp::from_unix(1_700_000_000, 0);
    UnpackRequest { expected: None, origin: LayerOrigin::Loaded, created, lower: Vec::new(), lease: None }
}

fn cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.cast_unsigned(), spent.tv_nsec.cast_unsigned() as u32)
}

fn large_files() -> Outcome<Vec<u8>> {
    let mut tar = TarWriter::new(Vec::new());
    let mut block = vec![0u8; 5 << 20];
    for number in 0..100u32 {
        block.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at as u32).wrapping_mul(number | 1) as u8);
        tar.append(&Entry::new(format!("file-{number}"), EntryKind::Regular), &block)?;
    }
    Ok(tar.finish()?.0)
}

fn small_files() -> Outcome<Vec<u8>> {
    let mut tar = TarWriter::new(Vec::new());
    for package in 0..2500 {
        tar.append(&Entry::new(format!("pkg-{package}/"), EntryKind::Directory), &[])?;
        for file in 0..20 {
            let mut entry = Entry::new(format!("pkg-{package}/file-{file}.js"), EntryKind::Regular);
            entry.mtime.seconds = 1_700_000_000 + i64::from(package * 31 + file);
            tar.append(&entry, &vec![b'x'; ((package * 7 + file * 911) % 13_000) as usize])?;
        }
    }
    Ok(tar.finish()?.0)
}
