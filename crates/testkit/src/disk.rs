//! A disk that can lose power: a journaled ext4 in a file, which forgets on demand what no sync has asked for.
//!
//! What must stay true: the journal is committed by syncs alone (`commit=1000`), never by luck; the cut drops it unflushed
//! (`EXT4_IOC_SHUTDOWN`, fs/ext4/ioctl.c), as a plug pulled out would.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A loop-mounted ext4.
#[derive(Debug)]
pub struct Disk {
    file: PathBuf,
    folder: PathBuf,
    home: tempfile::TempDir,
}

/// The ioctl by way of python: unsafe code has no place here, and util-linux has no program for it.
const CUT: &str = "import fcntl, os, struct, sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

impl Disk {
    /// Makes and mounts one of `megabytes`.
    pub fn new(megabytes: u64) -> Self {
        let home = tempfile::Builder::new().prefix("shipway-disk-").tempdir_in("/dev/shm").expect("tempdir");
        let (file, folder) = (home.path().join("image"), home.path().join("mount"));
        std::fs::create_dir(&folder).expect("mkdir");
        std::fs::File::create(&file).and_then(|made| made.set_len(megabytes << 20)).expect("image");
        must(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(&file));
        let disk = Self { file, folder, home };
        disk.mount();
        disk
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// From now on nothing reaches the disk, and what has not reached it is lost.
    pub fn cut_power(&self) {
        must(Command::new("python3").args(["-c", CUT]).arg(&self.folder));
    }

    /// The machine comes back: recovers the journal. Whoever used the disk must be gone.
    ///
    /// What comes back is a copy of the platters: any process with mounts of its own that was started meanwhile keeps the dead
    /// filesystem alive, and mounting the same file again would only show that one.
    pub fn power_up(&self) {
        crate::eventually("unmounting the dead disk", 20, || {
            Command::new("umount").arg(&self.folder).output().ok()?.status.success().then_some(())
        });
        let copy = self.file.with_extension("copy");
        must(Command::new("cp").arg("--sparse=always").arg(&self.file).arg(&copy));
        std::fs::rename(&copy, &self.file).expect("rename");
        self.mount();
    }

    fn mount(&self) {
        must(Command::new("mount").args(["-o", "loop,commit=1000"]).arg(&self.file).arg(&self.folder));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The loop device goes with its last user.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
        let _ = self.home.path();
    }
}

#[track_caller]
fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
