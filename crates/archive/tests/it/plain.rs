//! Merging archives into a tree that is already there.

use crate::build::{Archive, Ground};
use shipway_archive::unpack::{Options, Ownership, unpack_plain};

#[test]
fn folders_are_merged_and_everything_else_is_replaced() {
    let ground = Ground::new();
    std::fs::create_dir_all(ground.path("d/kept")).expect("mkdir");
    std::fs::write(ground.path("d/f"), "old").expect("write");
    std::fs::create_dir_all(ground.path("was-dir/sub")).expect("mkdir");
    std::os::unix::fs::symlink("/outside/witness", ground.path("link")).expect("symlink");
    let archive = Archive::default().dir("d").file("d/f", "new").file("was-dir", "file").file("link", "file too").file("d/kept/x", "1");
    let summary = ground.plain(&archive.end()).expect("unpack");
    assert_eq!(ground.listing(), ["d d", "f d/f new", "d d/kept", "f d/kept/x 1", "f link file too", "f was-dir file"]);
    assert_eq!(summary.entries, 5);
}

#[test]
fn symlinked_folders_that_are_there_are_followed_inside() {
    let ground = Ground::new();
    std::fs::create_dir_all(ground.path("usr/bin")).expect("mkdir");
    std::os::unix::fs::symlink("usr/bin", ground.path("bin")).expect("symlink");
    ground.plain(&Archive::default().file("bin/tool", "x").end()).expect("unpack");
    assert_eq!(ground.listing(), ["l bin usr/bin", "d usr", "d usr/bin", "f usr/bin/tool x"]);
}

#[test]
fn the_owner_can_be_fixed_and_the_root_stays_as_it_is() {
    let ground = Ground::new();
    let mut root = crate::build::Raw::new(b"./", b'5');
    root.set(100, b"0000700\0").set(108, b"0000005\0");
    let mut file = crate::build::Raw::new(b"d/f", b'0');
    file.set(108, b"0000005\0");
    let before = ground.root.stat("/".as_ref()).expect("stat").mode;
    let options = Options { ownership: Ownership::Fixed(11, 12), ..Options::default() };
    unpack_plain(&Archive::default().raw(&root).raw(&file).end()[..], &ground.root, &options).expect("unpack");
    assert_eq!(ground.root.stat("/".as_ref()).expect("stat").mode, before);
    for path in ["d", "d/f"] {
        let found = ground.root.stat(path.as_ref()).expect("stat");
        assert_eq!((found.uid, found.gid), (11, 12), "{path}");
    }
}

#[test]
fn times_of_folders_survive_what_is_put_into_them() {
    let ground = Ground::new();
    let mut dir = crate::build::Raw::new(b"d", b'5');
    dir.set(136, b"00000000144\0").set(100, b"0000755\0");
    ground.plain(&Archive::default().raw(&dir).file("d/a", "1").file("d/b/c", "2").end()).expect("unpack");
    assert_eq!(ground.root.stat("d".as_ref()).expect("stat").mtime.seconds, 100);
}

#[test]
fn setgid_folders_do_not_leak_their_group() {
    let ground = Ground::new();
    let mut dir = crate::build::Raw::new(b"d", b'5');
    dir.set(100, b"0002775\0").set(116, b"0000062\0");
    let mut sub = crate::build::Raw::new(b"d/sub", b'5');
    sub.set(100, b"0000755\0");
    ground.layer(&Archive::default().raw(&dir).raw(&sub).file("d/f", "1").end()).expect("unpack");
    let stat = |path: &str| ground.root.stat(path.as_ref()).map(|found| (found.mode, found.gid)).expect("stat");
    assert_eq!(stat("d"), (0o2775, 50));
    assert_eq!(stat("d/sub"), (0o755, 0));
    assert_eq!(stat("d/f"), (0o644, 0));
}
