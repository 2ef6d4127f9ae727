//! Layers made here, told as tar and index, and unpacked again.

use crate::build::{Archive, Ground, Raw, read_all};
use shipway_archive::diff::{ScanOptions, commit_scan, commit_scan_showing, write_layer_tar};
use shipway_archive::index::{IndexEntry, LayerIndex, Node};
use shipway_sys::path::{FileKind, Time, set_mode, set_owner, set_times};
use shipway_sys::xattr;
use std::ffi::OsStr;

fn entries(index: &LayerIndex) -> Vec<IndexEntry> {
    index.iter().map(|entry| IndexEntry::clone(&entry.expect("read"))).collect()
}

/// An upper folder with one of everything.
fn furnished() -> Ground {
    let ground = Ground::new();
    let top = ground.root.top().expect("top");
    std::fs::write(ground.path("a-file"), "content").expect("write");
    std::fs::hard_link(ground.path("a-file"), ground.path("z-link")).expect("link");
    std::os::unix::fs::symlink("../x", ground.path("sym")).expect("symlink");
    let dir = top.create_dir(OsStr::new("dir"), 0o2750, Some((7, 8))).expect("mkdir");
    dir.create_node(OsStr::new("gone"), FileKind::CharDevice, 0, (0, 0)).expect("whiteout");
    dir.create_node(OsStr::new("pipe"), FileKind::Fifo, 0o600, (0, 0)).expect("fifo");
    dir.create_node(OsStr::new("null"), FileKind::CharDevice, 0o666, (1, 3)).expect("mknod");
    let opaque = top.create_dir(OsStr::new("opaque"), 0o755, None).expect("mkdir");
    xattr::set(&opaque, b"trusted.overlay.opaque", b"y").expect("xattr");
    xattr::set(&opaque, b"trusted.overlay.origin", b"whatever").expect("xattr");
    let long = opaque.create_dir(OsStr::new(&"l".repeat(120)), 0o700, None).expect("mkdir");
    let file = long.create_file(OsStr::new(&"f".repeat(200)), 0o600).expect("file");
    xattr::set(&file, b"trusted.mine", b"\0binary\xff").expect("xattr");
    set_owner(&file, 3_000_000, 8).expect("chown");
    set_mode(&file, 0o4755).expect("chmod");
    set_times(&file, Time { seconds: -100, nanoseconds: 5 }).expect("times");
    ground
}

#[test]
fn a_layer_is_told_the_same_every_time_and_its_tar_unpacks_to_the_same_layer() {
    let ground = furnished();
    let options = ScanOptions::default();
    let scanned = commit_scan(std::slice::from_ref(&ground.root), &options).expect("scan");
    let mut tar = Vec::new();
    assert_eq!(write_layer_tar(std::slice::from_ref(&ground.root), &scanned.index, &options, &mut tar).expect("tar"), scanned.diff_id);
    assert_eq!(scanned.tar_size, tar.len() as u64);
    assert_eq!(scanned.diff_id.0, shipway_model::digest::Digest::sha256_of(&tar));
    assert_eq!(scanned.content_size, 11, "seven bytes in files, four in the target of a link");

    let copy = Ground::new();
    let summary = copy.layer(&tar).expect("unpack");
    let again = commit_scan(std::slice::from_ref(&copy.root), &options).expect("scan");
    assert_eq!(entries(&summary.index), entries(&again.index));
    assert_eq!(summary.index.digest().expect("digest"), scanned.index.digest().expect("digest"));
    assert_eq!(again.diff_id, scanned.diff_id);
    let stored = tempfile::tempfile().expect("file");
    scanned.index.write_to(&stored).expect("write");
    let opened = LayerIndex::open(stored).expect("open");
    opened.verify().expect("verify");
    assert_eq!(entries(&opened), entries(&scanned.index));
    assert_eq!(opened.digest().expect("digest"), scanned.index.digest().expect("digest"));
}

/// Bodies are read straight into the buffers that are hashed; here they end before, at and after the ends of buffers of half a MiB.
#[test]
fn large_and_small_bodies_keep_their_bytes_across_buffers() {
    let ground = Ground::new();
    let top = ground.root.top().expect("top");
    let sizes = [0, 1, 511, 513_000, 600_000, (512 << 10) - 512, 1, (512 << 10) - 1536, 3 << 20, (5 << 20) + 1, 20_000, 31_000, 2_000_000];
    for (number, size) in sizes.into_iter().enumerate() {
        let mut file = top.create_file(OsStr::new(&format!("file-{number:02}")), 0o644).expect("file");
        let bytes: Vec<u8> = (0..size).map(|at: usize| (at.wrapping_mul(2_654_435_761) >> (number + 3)) as u8).collect();
        std::io::Write::write_all(&mut file, &bytes).expect("write");
    }
    let mut shown = 0;
    let options = ScanOptions::default();
    let scanned = commit_scan_showing(std::slice::from_ref(&ground.root), None, &options, &mut |_| shown += 1).expect("scan");
    assert_eq!(shown, 1, "one file has 4 MiB or more");
    let mut tar = Vec::new();
    write_layer_tar(std::slice::from_ref(&ground.root), &scanned.index, &options, &mut tar).expect("tar");
    assert_eq!(scanned.diff_id.0, shipway_model::digest::Digest::sha256_of(&tar));
    assert_eq!(scanned.tar_size, tar.len() as u64);
    let copy = Ground::new();
    assert_eq!(copy.layer(&tar).expect("unpack").index.digest().expect("digest"), scanned.index.digest().expect("digest"));
}

#[test]
fn the_tar_has_dockers_form() {
    let ground = furnished();
    let mut tar = Vec::new();
    let scanned = commit_scan(std::slice::from_ref(&ground.root), &ScanOptions::default()).expect("scan");
    write_layer_tar(std::slice::from_ref(&ground.root), &scanned.index, &ScanOptions::default(), &mut tar).expect("tar");
    let all = read_all(&tar).expect("read");
    let names: Vec<String> = all
        .iter()
        .map(|(entry, _)| String::from_utf8_lossy(&entry.path).replace(&"l".repeat(120), "L").replace(&"f".repeat(200), "F"))
        .collect();
    assert_eq!(
        names,
        [
            "a-file",
            "dir/",
            "dir/.wh.gone",
            "dir/null",
            "dir/pipe",
            "opaque/",
            "opaque/.wh..wh..opq",
            "opaque/L/",
            "opaque/L/F",
            "sym",
            "z-link"
        ]
    );
    assert!(all.iter().all(|(entry, _)| entry.mtime.nanoseconds == 0 && entry.uname.is_empty()));
    assert_eq!(all[10].0.link, b"a-file");
    assert_eq!(all[8].0.mtime.seconds, -100);
    assert_eq!(all[5].0.xattrs.len(), 0);
    assert!(
        matches!(&scanned.index.lookup(b"z-link").expect("read").expect("link").node, Node::File { hardlink: Some(first), .. } if first == b"a-file")
    );
}

#[test]
fn times_do_not_enter_the_index_and_can_be_capped_in_the_tar() {
    let ground = furnished();
    let before = commit_scan(std::slice::from_ref(&ground.root), &ScanOptions::default()).expect("scan");
    let link = ground.root.top().expect("top").handle(OsStr::new("sym")).expect("handle");
    set_times(&link, Time { seconds: 1, nanoseconds: 0 }).expect("times");
    let after = commit_scan(std::slice::from_ref(&ground.root), &ScanOptions::default()).expect("scan");
    assert_eq!(before.index.digest().expect("digest"), after.index.digest().expect("digest"));
    assert_ne!(before.diff_id, after.diff_id);
    let capped = ScanOptions { newest: Some(1000) };
    let mut tar = Vec::new();
    write_layer_tar(std::slice::from_ref(&ground.root), &after.index, &capped, &mut tar).expect("tar");
    assert!(read_all(&tar).expect("read").iter().all(|(entry, _)| entry.mtime.seconds <= 1000));
}

#[test]
fn a_folder_that_changed_does_not_pass_for_its_index() {
    let ground = furnished();
    let scanned = commit_scan(std::slice::from_ref(&ground.root), &ScanOptions::default()).expect("scan");
    std::fs::write(ground.path("a-file"), "c0ntent").expect("write");
    let error = write_layer_tar(std::slice::from_ref(&ground.root), &scanned.index, &ScanOptions::default(), &mut std::io::sink())
        .expect_err("changed");
    assert!(matches!(error, shipway_archive::Error::Corrupt { .. }));
}

#[test]
fn what_a_layer_cannot_say_is_an_error() {
    for name in [&b"trusted.overlay.redirect"[..], b"trusted.overlay.metacopy"] {
        let ground = Ground::new();
        let dir = ground.root.top().expect("top").create_dir(OsStr::new("d"), 0o755, None).expect("mkdir");
        xattr::set(&dir, name, b"/x").expect("xattr");
        assert!(matches!(
            commit_scan(std::slice::from_ref(&ground.root), &ScanOptions::default()),
            Err(shipway_archive::Error::Unsupported { .. })
        ));
    }
}

#[test]
fn a_large_layer_is_hashed_on_a_thread_with_the_same_result() {
    let ground = Ground::new();
    let content: Vec<u8> = (0..9_000_001u32).map(|n| ((n * 31) >> 3) as u8).collect();
    std::fs::write(ground.path("large"), &content).expect("write");
    std::fs::write(ground.path("small"), "x").expect("write");
    let scanned = commit_scan(std::slice::from_ref(&ground.root), &ScanOptions::default()).expect("scan");
    let mut tar = Vec::new();
    write_layer_tar(std::slice::from_ref(&ground.root), &scanned.index, &ScanOptions::default(), &mut tar).expect("tar");
    assert_eq!(scanned.diff_id.0, shipway_model::digest::Digest::sha256_of(&tar));
    assert!(read_all(&tar).expect("read")[0].1 == content);
}

#[test]
fn two_folders_are_read_as_overlayfs_shows_them() {
    let (base, patch, whole) = (Ground::new(), Ground::new(), Ground::new());
    let write = |ground: &Ground, path: &str, text: &str| {
        std::fs::create_dir_all(ground.path(path).parent().expect("folder")).expect("mkdir");
        std::fs::write(ground.path(path), text).expect("write");
    };
    for (path, text) in [("a/1", "one"), ("a/2", "two"), ("b/3", "three"), ("file", "file"), ("gone/x", "x")] {
        write(&base, path, text);
    }
    for (path, text) in [("a/2", "changed"), ("a/new", "new"), ("file/now", "a folder")] {
        write(&patch, path, text);
    }
    let hide = |name: &str| patch.root.top().expect("top").create_node(OsStr::new(name), FileKind::CharDevice, 0, (0, 0));
    hide("gone").expect("hide");
    hide("below").expect("hide");
    for (path, text) in [("a/1", "one"), ("a/2", "changed"), ("a/new", "new"), ("b/3", "three"), ("file/now", "a folder")] {
        write(&whole, path, text);
    }
    whole.root.top().expect("top").create_node(OsStr::new("below"), FileKind::CharDevice, 0, (0, 0)).expect("hide");
    let options = ScanOptions { newest: Some(0) };
    let merged = [patch.root.try_clone().expect("root"), base.root.try_clone().expect("root")];
    let both = commit_scan(&merged, &options).expect("scan");
    let one = commit_scan(std::slice::from_ref(&whole.root), &options).expect("scan");
    assert_eq!(both.index.digest().expect("digest"), one.index.digest().expect("digest"));
    assert_eq!((both.diff_id, both.content_size), (one.diff_id, one.content_size));
    // Nothing of the base is hashed twice, and nothing of the patch is taken for the base's: "a/2" is a file of another text in both, of equal length
    // or not.
    let base_index = commit_scan(std::slice::from_ref(&base.root), &options).expect("scan").index;
    for text in ["changed", "tow"] {
        write(&patch, "a/2", text);
        let known = commit_scan_showing(&merged, Some(&base_index), &options, &mut |_| {}).expect("scan");
        let unknown = commit_scan(&merged, &options).expect("scan");
        assert_eq!((known.index.digest().expect("digest"), known.diff_id), (unknown.index.digest().expect("digest"), unknown.diff_id));
    }
}

#[test]
fn an_empty_layer_is_two_blocks_of_zeros() {
    let ground = Ground::new();
    let scanned = commit_scan(std::slice::from_ref(&ground.root), &ScanOptions::default()).expect("scan");
    // The digest every empty layer has, see OCI and Docker.
    assert_eq!(scanned.diff_id.to_string(), "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
    assert!(scanned.index.is_empty());
    assert_eq!(Ground::new().layer(&Archive::default().end()).expect("unpack").entries, 0);
}

#[test]
fn an_overlay_mount_of_unpacked_layers_shows_the_tree_of_their_indexes() {
    use shipway_archive::tree::Tree;
    use std::sync::Arc;
    let lower = Ground::new();
    let lower_index = lower
        .layer(&Archive::default().dir("d").file("d/a", "1").file("d/b", "2").dir("e").file("e/x", "3").file("f", "4").end())
        .expect("lower")
        .index;
    let upper = Ground::new();
    let upper_index = upper
        .layer(&Archive::default().file("d/.wh.a", "").file("d/c", "5").dir("e").file("e/.wh..wh..opq", "").file(".wh.f", "").end())
        .expect("upper")
        .index;
    let tree = Tree::new(vec![Arc::new(lower_index), Arc::new(upper_index)]);
    let expected: Vec<String> =
        tree.walk(b"").expect("walk").skip(1).map(|entry| String::from_utf8_lossy(&entry.expect("read").path).into_owned()).collect();
    assert_eq!(expected, ["d", "d/b", "d/c", "e"]);
    let options = format!("lowerdir={}:{}", upper.path("").display(), lower.path("").display());
    let point = tempfile::tempdir_in("/dev/shm").expect("tempdir");
    // The namespace of the child is the only one that ever sees the mount.
    let script = format!(
        "mount --make-rprivate / && mount -t overlay overlay -o {options} {point} && cd {point} && find . -mindepth 1 | LC_ALL=C sort",
        options = options.replace("/:", ":").trim_end_matches('/'),
        point = point.path().display()
    );
    let shown = std::process::Command::new("unshare").args(["-m", "sh", "-c", &script]).output().expect("unshare");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown: Vec<String> = String::from_utf8_lossy(&shown.stdout).lines().map(|line| line[2..].to_owned()).collect();
    assert_eq!(shown, expected);
}

/// From the 64th small file on another thread fills them; names that come again and links to what is not filled yet must not notice.
#[test]
fn many_small_files_come_out_as_they_are_described() {
    let mut archive = Archive::default();
    for number in 0..400_u32 {
        let body = vec![number as u8; number as usize * 7];
        let mut raw = Raw::new(format!("file-{number}").as_bytes(), b'0');
        raw.size(body.len() as u64).set(108, format!("{:07o}\0", number % 3).as_bytes());
        raw.set(100, if number % 5 == 0 { b"0004755\0" } else { b"0000640\0" }).set(136, format!("{number:011o}\0").as_bytes());
        archive = archive.raw(&raw).body(&body);
        if number % 50 == 49 {
            // Linked before, and replaced after, it can be filled.
            archive = archive.raw(Raw::new(format!("link-{number}").as_bytes(), b'1').link(format!("file-{number}").as_bytes()));
            archive = archive.raw(Raw::new(format!("file-{}", number - 1).as_bytes(), b'0').size(3)).body(b"new");
        }
    }
    let ground = Ground::new();
    let summary = ground.layer(&archive.end()).expect("unpack");
    let scanned = commit_scan(std::slice::from_ref(&ground.root), &ScanOptions::default()).expect("scan");
    assert_eq!(entries(&summary.index), entries(&scanned.index));
    let text = |name: &str| std::fs::read(ground.path(name)).expect("read");
    assert_eq!((text("file-98"), text("link-99"), text("file-399")), (b"new".to_vec(), vec![99; 693], vec![399_u32 as u8; 2793]));
    assert_eq!(summary.bytes, (0..400).map(|number| number * 7).sum::<u64>() + 8 * 3);
}
