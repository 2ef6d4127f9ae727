use super::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir_in("/dev/shm").expect("tempdir");
    let path = dir.path().join("ctx");
    fs::create_dir(&path).expect("mkdir");
    (dir, path)
}

fn scan(path: &Path, ignore: &str) -> ContextScan {
    ContextScan::new(Root::open(path).expect("root"), IgnoreFile::parse(ignore.as_bytes()).expect("ignore")).expect("scan")
}

fn age(path: &Path) {
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(path).expect("open").set_modified(old).expect("mtime");
}

fn put(path: PathBuf, content: &str) {
    fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
    fs::write(path, content).expect("write");
}

fn names(scan: &ContextScan) -> Vec<String> {
    scan.entries().iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

#[test]
fn a_scan_leaves_out_what_is_ignored() {
    let (_dir, path) = scratch();
    for file in ["Dockerfile", "src/main.rs", "src/a.log", "node_modules/x/y.js", "docs/a.md", "docs/keep/b.md", "empty/z.log"] {
        put(path.join(file), file);
    }
    symlink("/etc/passwd", path.join("out")).expect("symlink");
    let all = scan(&path, "");
    assert_eq!(all.entries().len(), 14);
    let some = scan(&path, "node_modules\n**/*.log\ndocs\n!docs/keep\n");
    assert_eq!(names(&some), ["Dockerfile", "docs", "docs/keep", "docs/keep/b.md", "empty", "out", "src", "src/main.rs"]);
    assert_eq!(some.verdict(b"node_modules/x").line, Some(1));
    assert_eq!(some.lookup(b"out").expect("link").link, b"/etc/passwd");
    let nothing = scan(&path, "*");
    assert!(nothing.entries().is_empty());
    assert!(nothing.names().lookup(b"").expect("read").is_some());
}

#[test]
fn a_selection_holds_the_subtrees_and_their_parents() {
    let (_dir, path) = scratch();
    for file in ["a/b/one", "a/two", "c"] {
        put(path.join(file), file);
    }
    let (scan, mut known) = (scan(&path, ""), ContextIndex::default());
    let index = scan.select(&[b"a/b".to_vec()], &mut known).expect("select");
    let paths: Vec<_> = index.iter().map(|entry| entry.expect("read").path.clone()).collect();
    assert_eq!(paths, [&b""[..], b"a", b"a/b", b"a/b/one"]);
    let content = *blake3::hash(b"a/b/one").as_bytes();
    assert_eq!(scan.digest_of(b"a/b/one", &mut known).expect("digest"), content);
    assert_eq!(scan.select(&[Vec::new()], &mut known).expect("all").len(), 6);
    assert!(matches!(scan.select(&[b"x".to_vec()], &mut known), Err(Error::NotFound { .. })));
    assert_eq!(scan.names().glob(b"a/*").expect("glob"), [b"a/b".to_vec(), b"a/two".to_vec()]);
}

#[test]
fn the_digest_of_a_selection_forgets_times_and_sees_content_and_mode() {
    let (_dir, path) = scratch();
    put(path.join("f"), "one");
    let digest = || scan(&path, "").select(&[b"f".to_vec()], &mut ContextIndex::default()).expect("select").digest().expect("digest");
    let first = digest();
    age(&path.join("f"));
    assert_eq!(first, digest());
    fs::set_permissions(path.join("f"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    assert_ne!(first, digest());
}

#[test]
fn only_settled_files_are_remembered() {
    let (dir, path) = scratch();
    put(path.join("old"), "old");
    put(path.join("new"), "new");
    let folder = Root::open(dir.path()).expect("root").top().expect("top");
    let name = OsStr::new("index");
    let first = scan(&path, "");
    let mut known = ContextIndex::load(&folder, name);
    first.select(&[Vec::new()], &mut known).expect("select");
    // Both were changed (at least their ctime) less than two seconds before they were hashed.
    assert!(first.entries().iter().all(|entry| known.get(entry).is_none()));
    // The same, told that hashing happened later.
    for entry in first.entries().iter().filter(|entry| entry.path == b"old") {
        known.put_at(entry, *blake3::hash(b"old").as_bytes(), entry.ctime.seconds + 3);
    }
    known.save(&first, &folder, name).expect("save");
    let loaded = ContextIndex::load(&folder, name);
    assert!(loaded.is_unchanged());
    assert_eq!(loaded.get(first.lookup(b"old").expect("old")), Some(*blake3::hash(b"old").as_bytes()));
    assert_eq!(loaded.get(first.lookup(b"new").expect("new")), None);
    put(path.join("old"), "0ld");
    assert_eq!(loaded.get(scan(&path, "").lookup(b"old").expect("old")), None);
    // Damage makes it an empty index.
    let mut bytes = fs::read(dir.path().join("index")).expect("read");
    bytes[30] ^= 1;
    fs::write(dir.path().join("index"), bytes).expect("write");
    assert_eq!(ContextIndex::load(&folder, name).get(first.lookup(b"old").expect("old")), None);
}

#[test]
fn a_file_that_changed_after_the_scan_is_an_error() {
    let (_dir, path) = scratch();
    put(path.join("f"), "one");
    put(path.join("g"), "one");
    let scan = scan(&path, "");
    put(path.join("f"), "other");
    fs::remove_file(path.join("g")).expect("rm");
    for name in [&b"f"[..], b"g"] {
        assert!(matches!(scan.digest_of(name, &mut ContextIndex::default()), Err(Error::Changed { .. })));
    }
}
