use super::*;
use rustix::fs::{AtFlags, FileType};
use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder in memory that goes away with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> (Scratch, Root) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = PathBuf::from(format!("/dev/shm/shipway-path-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&path).expect("mkdir");
        let root = Root::open(&path).expect("root");
        (Scratch(path), root)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn p(text: &str) -> &Path {
    Path::new(text)
}

#[test]
fn symlinks_and_dots_stay_inside() {
    let (scratch, root) = Scratch::new();
    std::fs::create_dir(scratch.0.join("etc")).expect("mkdir");
    std::fs::write(scratch.0.join("etc/hostname"), "inside").expect("write");
    symlink("/etc/hostname", scratch.0.join("absolute")).expect("symlink");
    symlink("../../../../etc", scratch.0.join("etc/up")).expect("symlink");
    for path in ["etc/hostname", "/etc/hostname", "absolute", "../../etc/hostname", "etc/up/hostname", "/etc/up/up/../etc/hostname"] {
        assert_eq!(root.read_limited(p(path), 100).expect(path), b"inside", "{path}");
    }
    assert_eq!(root.lstat(p("absolute")).expect("lstat").kind, FileKind::Symlink);
    assert_eq!(root.stat(p("absolute")).expect("stat").kind, FileKind::Regular);
    assert_eq!(root.read_link(p("absolute")).expect("readlink"), p("/etc/hostname"));
    assert!(!root.exists(p("etc/passwd")).expect("exists"));
}

#[test]
fn magic_links_are_refused() {
    let root = Root::open("/proc").expect("root");
    let error = root.open_file(p("self/root"), OFlags::PATH, Mode::empty()).expect_err("magic");
    assert_eq!(error.errno, Errno::LOOP);
}

#[test]
fn only_regular_files_are_opened_for_reading() {
    let (scratch, root) = Scratch::new();
    let top = root.top().expect("top");
    top.create_node(OsStr::new("fifo"), FileKind::Fifo, 0o600, (0, 0)).expect("mkfifo");
    rustix::fs::mknodat(&top, "zero", FileType::CharacterDevice, Mode::from(0o600), rustix::fs::makedev(1, 5)).expect("mknod (needs root)");
    std::fs::create_dir(scratch.0.join("folder")).expect("mkdir");
    symlink("fifo", scratch.0.join("link")).expect("symlink");
    for (name, errno) in
        [("fifo", Errno::INVAL), ("zero", Errno::INVAL), ("folder", Errno::ISDIR), ("link", Errno::INVAL), ("none", Errno::NOENT)]
    {
        assert_eq!(root.open_regular(p(name)).expect_err(name).errno, errno, "{name}");
    }
    assert_eq!(top.open_regular(OsStr::new("link")).expect_err("link").errno, Errno::LOOP);
    assert_eq!(top.open_regular(OsStr::new("fifo")).expect_err("fifo").errno, Errno::INVAL);
}

#[test]
fn a_file_beyond_the_limit_is_not_read() {
    let (scratch, root) = Scratch::new();
    File::create(scratch.0.join("group")).expect("create").set_len(2 << 30).expect("sparse");
    assert_eq!(root.read_limited(p("etc/../group"), 10).expect_err("etc").errno, Errno::NOENT);
    assert_eq!(root.read_limited(p("group"), 1 << 20).expect_err("limit").errno, Errno::FBIG);
}

#[test]
fn folders_are_made_inside_with_mode_and_owner() {
    let (scratch, root) = Scratch::new();
    std::fs::create_dir(scratch.0.join("real")).expect("mkdir");
    symlink("/real", scratch.0.join("alias")).expect("symlink");
    root.create_dir_all(p("/alias/../alias/a//b/."), 0o2751, Some((12, 34))).expect("create");
    let made = root.stat(p("real/a/b")).expect("stat");
    assert_eq!((made.mode, made.uid, made.gid), (0o2751, 12, 34));
    assert_eq!(root.stat(p("real")).expect("stat").uid, 0);
    root.create_dir_all(p("../../x"), 0o755, None).expect("clamped");
    assert!(scratch.0.join("x").is_dir());
    std::fs::write(scratch.0.join("file"), "").expect("write");
    assert_eq!(root.create_dir_all(p("file/x"), 0o755, None).expect_err("file").errno, Errno::NOTDIR);
    symlink("/nowhere", scratch.0.join("dangling")).expect("symlink");
    assert_eq!(root.create_dir_all(p("dangling/x"), 0o755, None).expect_err("dangling").errno, Errno::EXIST);
    root.create_dir_all(p("/"), 0o755, None).expect("root itself");
}

#[test]
fn the_parent_is_resolved_and_the_last_name_is_not() {
    let (scratch, root) = Scratch::new();
    std::fs::create_dir(scratch.0.join("real")).expect("mkdir");
    symlink("real", scratch.0.join("alias")).expect("symlink");
    let (parent, name) = root.resolve_parent(p("/alias/leaf/")).expect("parent");
    assert_eq!(name, "leaf");
    assert_eq!(metadata(&parent).expect("stat").ino, root.stat(p("real")).expect("stat").ino);
    assert_eq!(root.resolve_parent(p("/alias")).expect("parent").1, "alias");
    assert_eq!(root.resolve_parent(p("/")).expect_err("none").errno, Errno::INVAL);
    assert_eq!(root.resolve_parent(p("a/..")).expect_err("none").errno, Errno::INVAL);
}

#[test]
fn a_dir_takes_single_names_only() {
    let (_scratch, root) = Scratch::new();
    let top = root.top().expect("top");
    for name in ["", ".", "..", "a/b", "/", "a\0"] {
        assert_eq!(top.create_file(OsStr::new(name), 0o600).expect_err("name").errno, Errno::INVAL, "{name:?}");
        assert_eq!(top.remove_tree(OsStr::new(name)).expect_err("name").errno, Errno::INVAL, "{name:?}");
    }
}

#[test]
fn metadata_changes_reach_symlinks_and_not_their_targets() {
    let (scratch, root) = Scratch::new();
    std::fs::write(scratch.0.join("target"), "").expect("write");
    symlink("target", scratch.0.join("link")).expect("symlink");
    let before = root.stat(p("target")).expect("stat");
    let link = root.top().expect("top").handle(OsStr::new("link")).expect("handle");
    set_owner(&link, 7, 8).expect("chown");
    set_times(&link, Time { seconds: -5, nanoseconds: 1 }).expect("times");
    assert_eq!(set_mode(&link, 0o600).expect_err("symlinks have no mode").errno, Errno::OPNOTSUPP);
    let after = metadata(&link).expect("stat");
    assert_eq!((after.uid, after.gid, after.mtime), (7, 8, Time { seconds: -5, nanoseconds: 1 }));
    assert_eq!(root.stat(p("target")).expect("stat"), before);
    let target = root.open_file(p("target"), OFlags::PATH, Mode::empty()).expect("handle");
    set_mode(&target, 0o4711).expect("chmod by path handle");
    assert_eq!(metadata(&target).expect("stat").mode, 0o4711);
    assert_eq!(set_owner(&target, u32::MAX, 0).expect_err("all ones").errno, Errno::INVAL);
}

#[test]
fn a_deep_tree_is_removed_and_symlinks_are_not_followed() {
    let (scratch, root) = Scratch::new();
    std::fs::create_dir(scratch.0.join("outside")).expect("mkdir");
    std::fs::write(scratch.0.join("outside/kept"), "").expect("write");
    let mut dir = root.create_dir_all(p("tree"), 0o755, None).expect("create");
    for level in 0..1500 {
        if level % 100 == 0 {
            dir.create_symlink(OsStr::new("link"), OsStr::new("/outside")).expect("symlink");
            dir.create_file(OsStr::new("file"), 0o600).expect("file");
        }
        dir = dir.create_dir(OsStr::new("d"), 0o755, None).expect("mkdir");
    }
    drop(dir);
    root.remove_tree(p("tree")).expect("remove");
    root.remove_tree(p("tree")).expect("again");
    root.remove_tree(p("not/there")).expect("nothing");
    let names: Vec<_> = root.read_dir(p("/")).expect("list").into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["outside"]);
    assert!(root.exists(p("outside/kept")).expect("exists"));
}

#[test]
fn removal_stops_at_a_mount_and_takes_the_rest() {
    // A mount namespace of its own, in a thread of its own, so that nobody else sees the mount.
    let work = || {
        let (_scratch, root) = Scratch::new();
        // SAFETY: a new mount namespace for this thread only (with its own fs struct); no descriptor of any other thread changes meaning.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS | rustix::thread::UnshareFlags::FS) }
            .expect("unshare (needs root)");
        rustix::mount::mount_change("/", rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC)
            .expect("private");
        root.create_dir_all(p("tree/mounted"), 0o755, None).expect("create");
        root.create_dir_all(p("tree/z/sub"), 0o755, None).expect("create");
        root.create_dir_all(p("kept/inner"), 0o755, None).expect("create");
        rustix::mount::mount_bind(root.label().join("kept"), root.label().join("tree/mounted")).expect("bind");
        let inside = Root::open(root.label()).expect("root");
        assert!(inside.remove_tree(p("tree")).is_err());
        assert!(inside.exists(p("kept/inner")).expect("exists"));
        assert!(!inside.exists(p("tree/z")).expect("exists"));
        rustix::mount::unmount(root.label().join("tree/mounted"), rustix::mount::UnmountFlags::DETACH).expect("umount");
        inside.remove_tree(p("tree")).expect("now it goes");
    };
    std::thread::Builder::new().name("own-mounts".to_owned()).spawn(work).expect("thread").join().expect("thread");
}

#[test]
fn entries_come_sorted_with_their_kinds() {
    let (scratch, root) = Scratch::new();
    std::fs::write(scratch.0.join("b"), "").expect("write");
    std::fs::create_dir(scratch.0.join("a")).expect("mkdir");
    symlink("b", scratch.0.join("c")).expect("symlink");
    let top = root.top().expect("top");
    for _ in 0..2 {
        let entries: Vec<_> = top.entries().expect("list").into_iter().map(|e| (e.name.into_string().expect("utf8"), e.kind)).collect();
        assert_eq!(entries, [("a".into(), FileKind::Directory), ("b".into(), FileKind::Regular), ("c".into(), FileKind::Symlink)]);
    }
    assert_eq!(rustix::fs::accessat(&top, "a", rustix::fs::Access::EXISTS, AtFlags::empty()), Ok(()));
}
