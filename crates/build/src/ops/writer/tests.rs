//! Writing into an upper folder over a made-up tree below.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

struct Made(BTreeMap<PathBuf, BelowNode>);

impl Below for Made {
    fn at(&self, path: &Path) -> Result<Option<BelowNode>, OpFailure> {
        Ok(self.0.get(path).cloned())
    }

    fn folder_time(&self, _path: &Path) -> Option<Time> {
        Some(Time { seconds: 55, nanoseconds: 0 })
    }
}

fn below(entries: &[(&str, FileKind, u32, &str)]) -> Made {
    let node = |(path, kind, mode, target): &(&str, FileKind, u32, &str)| {
        (PathBuf::from(path), BelowNode { kind: *kind, mode: *mode, uid: 3, gid: 4, xattrs: Xattrs::new(), target: PathBuf::from(target) })
    };
    Made(entries.iter().map(node).collect())
}

fn looks(mode: u32) -> Looks {
    Looks { mode, uid: 1, gid: 2, mtime: Time { seconds: 99, nanoseconds: 5 }, xattrs: Xattrs::new() }
}

fn writer<'a>(folder: &Path, below: &'a Made, clash: Clash) -> TreeWriter<'a> {
    TreeWriter::new(Root::open(folder).unwrap(), below, clash, looks(0o755))
}

fn looks_of(path: &Path) -> (u32, u32, u32, i64) {
    let found = path.symlink_metadata().unwrap();
    (found.mode() & 0o7777, found.uid(), found.gid(), found.mtime())
}

#[test]
fn folders_on_the_way_look_as_below_and_new_ones_as_asked() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let below = below(&[("a", FileKind::Directory, 0o710, "")]);
    let mut writer = writer(folder.path(), &below, Clash::Refuse);
    writer.put_file(Path::new("a/b/c"), &Content::Bytes(b"text"), &looks(0o4755)).unwrap();
    writer.finish().unwrap();
    assert_eq!(looks_of(&folder.path().join("a")), (0o710, 3, 4, 55));
    assert_eq!(looks_of(&folder.path().join("a/b")), (0o755, 1, 2, 99));
    assert_eq!(looks_of(&folder.path().join("a/b/c")), (0o4755, 1, 2, 99));
}

#[test]
fn symlinks_above_and_below_stay_inside() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    symlink("/../../real", folder.path().join("up")).unwrap();
    let below = below(&[
        ("real", FileKind::Directory, 0o755, ""),
        ("link", FileKind::Symlink, 0o777, "up/../other"),
        ("round", FileKind::Symlink, 0o777, "round"),
    ]);
    let writer = writer(folder.path(), &below, Clash::Refuse);
    for (path, resolved) in [("up/x", "real/x"), ("link", "other"), ("a/../b", "b"), ("../../x", "x"), ("up", "real")] {
        assert_eq!(writer.resolve(Path::new(path), true).unwrap(), Path::new(resolved), "{path}");
    }
    assert_eq!(writer.resolve(Path::new("up"), false).unwrap(), Path::new("up"));
    assert!(writer.resolve(Path::new("round/x"), true).is_err());
}

#[test]
fn a_folder_replaced_and_made_again_hides_what_was_below() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let below = below(&[("a", FileKind::Directory, 0o755, ""), ("a/old", FileKind::Regular, 0o644, "")]);
    let mut writer = writer(folder.path(), &below, Clash::Replace);
    writer.put_file(Path::new("a"), &Content::Bytes(b""), &looks(0o644)).unwrap();
    assert!(writer.at(Path::new("a/old")).unwrap().is_none());
    writer.put_folder(Path::new("a"), &looks(0o700)).unwrap();
    writer.finish().unwrap();
    let made = File::open(folder.path().join("a")).unwrap();
    assert_eq!(xattr::get(&made, b"trusted.overlay.opaque").unwrap().as_deref(), Some(&b"y"[..]));
    let strict_folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut strict = TreeWriter::new(Root::open(strict_folder.path()).unwrap(), &below, Clash::Refuse, looks(0o755));
    assert!(strict.put_file(Path::new("a"), &Content::Bytes(b""), &looks(0o644)).is_err());
    assert!(strict.put_folder(Path::new("a/old"), &looks(0o755)).is_err());
    assert!(strict.put_file(Path::new("a/old/x"), &Content::Bytes(b""), &looks(0o644)).is_err());
}

#[test]
fn a_device_that_means_deleted_is_refused() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let below = below(&[]);
    let mut writer = writer(folder.path(), &below, Clash::Refuse);
    assert!(writer.put_node(Path::new("x"), FileKind::CharDevice, (0, 0), &looks(0o600)).is_err());
    writer.put_node(Path::new("null"), FileKind::CharDevice, (1, 3), &looks(0o666)).unwrap();
    assert_eq!(looks_of(&folder.path().join("null")).0, 0o666);
}

#[test]
fn more_folders_than_are_kept_open_work() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let below = below(&[]);
    let mut writer = writer(folder.path(), &below, Clash::Refuse);
    for number in 0..OPEN_FOLDERS * 3 {
        writer.put_file(&PathBuf::from(format!("d{number}/e/f")), &Content::Bytes(b"x"), &looks(0o644)).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(looks_of(&folder.path().join("d0/e")).3, 99);
}
