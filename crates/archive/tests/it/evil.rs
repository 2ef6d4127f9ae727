//! The evil corpus (security.md 4.6): every vector either unpacks to a tree inside the root or is refused, and never touches what is outside.

use crate::build::{Archive, Ground, Raw, read_all};
use shipway_archive::unpack::Lower;
use shipway_archive::{Error, Limits};

fn tar() -> Archive {
    Archive::default()
}

/// Unpacks as a layer and compares the tree.
fn layer(archive: Archive, expected: &[&str]) {
    let ground = Ground::new();
    ground.layer(&archive.end()).expect("unpack");
    assert_eq!(ground.listing(), expected);
}

/// Unpacks plainly and compares the tree.
fn plain(archive: Archive, expected: &[&str]) {
    let ground = Ground::new();
    ground.plain(&archive.end()).expect("unpack");
    assert_eq!(ground.listing(), expected);
}

/// Both ways of unpacking refuse.
fn refused(archive: Archive) {
    let bytes = archive.end();
    assert!(Ground::new().layer(&bytes).is_err());
    assert!(Ground::new().plain(&bytes).is_err());
}

/// Reading alone refuses.
fn unreadable(bytes: &[u8]) {
    assert!(read_all(bytes).is_err());
    refused(Archive(bytes.to_vec()));
}

#[test]
fn symlinks_that_point_out_lead_back_in() {
    for target in ["/outside", "../outside", "../../../../outside", "a/../../../outside"] {
        let archive = tar().dir("a").symlink("out", target).file("out/x", "caught");
        let ground = Ground::new();
        ground.layer(&archive.clone().end()).expect("unpack");
        assert!(ground.listing().contains(&"f outside/x caught".to_owned()), "{target}: {:?}", ground.listing());
    }
    plain(tar().symlink("abs", "/etc").file("abs/shadow", "x"), &["l abs /etc", "d etc", "f etc/shadow x"]);
    layer(tar().dir("d").symlink("d/a", "b").symlink("d/b", "../..").file("d/a/x", "1"), &["d d", "l d/a b", "l d/b ../..", "f x 1"]);
}

#[test]
fn a_symlink_and_a_folder_take_turns() {
    layer(tar().dir("a").symlink("a", "/outside").file("a/x", "1"), &["l a /outside", "d outside", "f outside/x 1"]);
    layer(tar().symlink("a", "/outside").dir("a").file("a/x", "1"), &["d a", "f a/x 1"]);
    layer(tar().dir("a").file("a/y", "0").symlink("a", "b").dir("a").file("a/x", "1"), &["d a", "f a/x 1"]);
}

#[test]
fn symlinks_of_odd_shape() {
    refused(tar().symlink("empty", ""));
    refused(tar().symlink(".", "x"));
    refused(tar().symlink("./", "x"));
    layer(tar().symlink("slash/", "x"), &["l slash x"]);
    let loops = tar().symlink("a", "b").symlink("b", "a").file("a/x", "1");
    refused(loops);
}

#[test]
fn hardlinks_stay_inside_and_need_their_target() {
    layer(tar().file("f", "1").hardlink("abs", "/f").hardlink("up", "../../f"), &["f abs 1", "f f 1", "f up 1"]);
    refused(tar().hardlink("a", "../outside/witness"));
    refused(tar().hardlink("a", "/outside/witness"));
    refused(tar().hardlink("a", "later").file("later", "x"));
    refused(tar().dir("d").hardlink("a", "d"));
    refused(tar().hardlink("a", "a"));
    refused(tar().hardlink("a", "/"));
    layer(tar().symlink("l", "/outside/witness").hardlink("h", "l"), &["l h /outside/witness", "l l /outside/witness"]);
    // Writing to one name of an inode replaces that name only.
    layer(tar().file("a", "old").hardlink("b", "a").file("b", "new"), &["f a old", "f b new"]);
    layer(tar().file("a", "1").hardlink("b", "a").hardlink("b", "a"), &["f a 1", "f b 1"]);
}

#[test]
fn twenty_thousand_hardlinks_are_fine() {
    let mut archive = tar().file("f", "x");
    for number in 0..20_000 {
        archive = archive.hardlink(&format!("d/{number}"), "f");
    }
    let ground = Ground::new();
    let summary = ground.layer(&archive.end()).expect("unpack");
    assert_eq!((summary.entries, summary.index.content_size()), (20_001, 1));
}

#[test]
fn the_node_tar_chain_leads_nowhere() {
    let archive = tar()
        .dir("a/b/c")
        .symlink("a/b/c/up", "../..")
        .symlink("escape", "a/b/c/up/../..")
        .file("escape/x", "1")
        .symlink("exfil", "escape/outside/witness");
    let ground = Ground::new();
    ground.layer(&archive.clone().end()).expect("unpack");
    assert!(ground.path("x").exists());
    assert!(Ground::new().layer(&archive.hardlink("copy", "escape/outside/witness").end()).is_err());
}

#[test]
fn metadata_never_goes_through_a_symlink() {
    // A folder entry for a name that is a symlink replaces the symlink; its mode and owner never reach the target.
    let archive = tar().symlink("l", "/outside").raw(Raw::new(b"l", b'5').set(100, b"0007777\0").set(108, b"0001750\0"));
    let ground = Ground::new();
    ground.layer(&archive.end()).expect("unpack");
    assert_eq!(ground.listing(), ["d l"]);
}

#[test]
fn whiteouts_of_impossible_names_are_refused() {
    for name in [".wh..", ".wh...", ".wh.", "a/.wh..", ".wh.x/y"] {
        let ground = Ground::new();
        assert!(ground.layer(&tar().dir("a").file(name, "").end()).is_err(), "{name}");
    }
    layer(tar().dir("a").file(".wh..wh.plnk", "").dir(".wh..wh.aufs").file(".wh..wh.orph/x", "").file("b", ""), &["d a", "f b "]);
    // In a plain archive they are names.
    plain(tar().file(".wh.x", "1").file(".wh..", "2"), &["f .wh.. 2", "f .wh.x 1"]);
}

#[test]
fn whiteouts_touch_lower_layers_only() {
    layer(tar().file(".wh.gone", ""), &["w gone"]);
    layer(tar().file("f", "kept").file(".wh.f", ""), &["f f kept"]);
    layer(tar().file(".wh.f", "").file("f", "kept"), &["f f kept"]);
    layer(tar().dir(".wh.x"), &["w x"]);
    layer(tar().file(".wh.d", "").file("d/x", "1"), &["d d", "f d/x 1"]);
    let opaque = |archive: Archive, path: &[u8]| {
        let ground = Ground::new();
        let summary = ground.layer(&archive.end()).expect("unpack");
        let node = summary.index.lookup(path).expect("read").expect("entry").node.clone();
        assert_eq!(node, shipway_archive::index::Node::Directory { opaque: true });
        let folder = ground.root.open_dir(std::path::Path::new(std::str::from_utf8(path).expect("utf8"))).expect("dir");
        assert_eq!(shipway_sys::xattr::get(&folder, b"trusted.overlay.opaque").expect("xattr"), Some(b"y".to_vec()));
    };
    opaque(tar().file(".wh.d", "").dir("d").file("d/x", "1"), b"d");
    opaque(tar().dir("d").file("d/x", "1").file(".wh.d", ""), b"d");
    opaque(tar().dir("d").file("d/x", "1").file("d/.wh..wh..opq", ""), b"d");
    opaque(tar().dir("d").file("d/.wh..wh..opq", "").file("d/x", "1").dir("d"), b"d");
    opaque(tar().file(".wh..wh..opq", ""), b"");
    opaque(tar().dir("d").symlink("l", "d").file("l/.wh..wh..opq", ""), b"d");
    // A file that becomes a folder hides the folder that lower layers may have there.
    opaque(tar().file("d", "").dir("d"), b"d");
}

#[test]
fn what_steers_overlayfs_is_refused() {
    for name in
        ["trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.origin", "user.overlay.opaque"]
    {
        refused(tar().pax(&[(&format!("SCHILY.xattr.{name}"), b"y")]).dir("d"));
        refused(tar().pax(&[(&format!("SCHILY.xattr.{name}"), b"y")]).file("f", ""));
    }
    refused(tar().raw(&Raw::new(b"w", b'3')));
}

#[test]
fn special_files_and_bits_are_kept() {
    let mut mem = Raw::new(b"mem", b'3');
    mem.set(329, b"0000001\0").set(337, b"0000001\0");
    let mut disk = Raw::new(b"disk", b'4');
    disk.set(329, b"0000010\0").set(337, b"0000000\0");
    let mut bits = Raw::new(b"bits", b'0');
    bits.set(100, b"0007777\0").set(108, b"0000001\0");
    let ground = Ground::new();
    let archive = tar().raw(&mem).raw(&disk).raw(&Raw::new(b"pipe", b'6')).raw(&bits);
    let summary = ground.layer(&archive.end()).expect("unpack");
    assert_eq!(ground.listing(), ["f bits ", "block device disk", "character device mem", "FIFO pipe"]);
    let found = ground.root.lstat("bits".as_ref()).expect("stat");
    assert_eq!((found.mode, found.uid), (0o7777, 1));
    assert_eq!(ground.root.lstat("disk".as_ref()).expect("stat").rdev, (8, 0));
    assert_eq!(summary.index.lookup(b"bits").expect("read").expect("entry").mode, 0o7777);
}

#[test]
fn capabilities_are_kept_and_labels_of_the_host_are_not_forced() {
    // Version 2 capability, net_bind_service.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let archive = tar().pax(&[
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.security.selinux", b"system_u"),
        ("SCHILY.xattr.trusted.x", b""),
    ]);
    let ground = Ground::new();
    let summary = ground.layer(&archive.file("f", "x").end()).expect("unpack");
    let file = std::fs::File::open(ground.path("f")).expect("open");
    assert_eq!(shipway_sys::xattr::get(&file, b"security.capability").expect("get").as_deref(), Some(&capability[..]));
    assert_eq!(shipway_sys::xattr::get(&file, b"trusted.x").expect("get"), Some(Vec::new()));
    assert_eq!(summary.index.lookup(b"f").expect("read").expect("f").xattrs.len() as u64 + summary.skipped_xattrs, 3);
}

#[test]
fn ids_and_times_at_the_edges() {
    let ground = Ground::new();
    let archive = tar()
        .pax(&[("mtime", b"-1.5"), ("uid", b"4294967294")])
        .file("early", "")
        .pax(&[("mtime", b"253402300799.123456789")])
        .file("late", "");
    ground.layer(&archive.end()).expect("unpack");
    let early = ground.root.lstat("early".as_ref()).expect("stat");
    assert_eq!((early.mtime.seconds, early.mtime.nanoseconds, early.uid), (-2, 500_000_000, 4_294_967_294));
    assert_eq!(ground.root.lstat("late".as_ref()).expect("stat").mtime.nanoseconds, 123_456_789);
    for records in [
        [("uid", &b"4294967295"[..])],
        [("uid", b"4294967296")],
        [("gid", b"-1")],
        [("mtime", b"now")],
        [("size", b"-1")],
        [("size", b"99999999999999999999")],
    ] {
        refused(tar().pax(&records).file("f", ""));
    }
}

#[test]
fn of_two_entries_with_one_path_the_last_wins() {
    layer(tar().file("a", "1").file("a", "2"), &["f a 2"]);
    layer(tar().file("a", "1").dir("a").file("a/b", "2"), &["d a", "f a/b 2"]);
    layer(tar().dir("a").file("a/b", "2").file("a", "1"), &["f a 1"]);
    let ground = Ground::new();
    let summary = ground.layer(&tar().dir("a").file("a/b", "x").file("a", "1").end()).expect("unpack");
    assert_eq!(summary.index.len(), 2);
}

#[test]
fn names_of_odd_shape_are_cleaned() {
    layer(
        tar().dir("./").file("//a", "1").file("b/./c", "2").file("x/../d", "3").file("../../e", "4"),
        &["f a 1", "d b", "f b/c 2", "f d 3", "f e 4"],
    );
    refused(tar().file("", "x"));
    refused(tar().file("..", "x"));
    let ground = Ground::new();
    ground.layer(&tar().raw(&Raw::new(b"\xff\xfe", b'0')).end()).expect("unpack");
    assert!(
        ground.path("").join(std::path::Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\xfe"))).exists()
    );
    refused(tar().pax(&[("path", b"a\0b")]).file("x", ""));
    // More than a path of the kernel, and a component longer than a name may be.
    refused(tar().pax(&[("path", &[b'a'; 4097])]).file("x", ""));
    refused(tar().pax(&[("path", &[b'a'; 256])]).file("x", ""));
    let longest = "a/".repeat(2047) + "b";
    assert_eq!(read_all(&tar().pax(&[("path", longest.as_bytes())]).file("x", "").end()).expect("read")[0].0.path.len(), 4095);
    let deep = "d/".repeat(300) + "f";
    let ground = Ground::new();
    assert_eq!(ground.layer(&tar().pax(&[("path", deep.as_bytes())]).file("x", "1").end()).expect("unpack").index.len(), 302);
}

#[test]
fn extended_headers_in_doubt_are_refused() {
    unreadable(&tar().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("x", "").end());
    unreadable(&tar().pax(&[("path", b"a")]).entry(b'L', "././@LongLink", b"b\0").file("x", "").end());
    unreadable(&tar().entry(b'L', "././@LongLink", b"a\0").entry(b'L', "././@LongLink", b"b\0").file("x", "").end());
    unreadable(&tar().pax(&[("path", b"a")]).end());
    unreadable(&tar().entry(b'x', "x", b"12 path=abc").file("x", "").end());
    unreadable(&tar().entry(b'x', "x", b"99999999999 path=abc\n").file("x", "").end());
    unreadable(&tar().entry(b'g', "x", b"10 path=ab\n").file("x", "").end());
    unreadable(&tar().entry(b'g', "x", b"9 size=9\n").file("x", "").end());
    let both = tar()
        .entry(b'L', "././@LongLink", b"long name\0")
        .entry(b'K', "././@LongLink", b"long link\0")
        .raw(Raw::new(b"n", b'2').link(b"t"));
    let (entry, _) = read_all(&both.end()).expect("read").remove(0);
    assert_eq!((entry.path, entry.link), (b"long name".to_vec(), b"long link".to_vec()));
    let global = tar().entry(b'g', "pax_global_header", b"13 comment=x\n").file("x", "1");
    assert_eq!(read_all(&global.end()).expect("read").len(), 1);
}

#[test]
fn the_size_in_pax_wins_both_ways() {
    // The header says 0 or 1024, PAX says 5: the five bytes are the file and the next entry comes right after.
    for said in [0, 1024] {
        let archive = tar().pax(&[("size", b"5")]).raw(Raw::new(b"a", b'0').size(said)).body(b"hello").file("b", "x");
        let all = read_all(&archive.end()).expect("read");
        assert_eq!(
            all.iter().map(|(e, b)| (e.path.clone(), b.clone())).collect::<Vec<_>>(),
            [(b"a".to_vec(), b"hello".to_vec()), (b"b".to_vec(), b"x".to_vec())]
        );
    }
}

#[test]
fn numbers_in_base_256() {
    let mut size = Raw::new(b"a", b'0');
    size.set(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x05");
    assert_eq!(read_all(&tar().raw(&size).body(b"hello").end()).expect("read")[0].1, b"hello");
    size.set(124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    unreadable(&tar().raw(&size).end());
    size.set(124, b"\x80\0\0\x7f\xff\xff\xff\xff\xff\xff\xff\xff");
    unreadable(&tar().raw(&size).end());
}

#[test]
fn broken_and_shortened_archives() {
    let whole = tar().file("a", "hello").end();
    assert_eq!(read_all(&whole[..1024]).expect("no end blocks").len(), 1);
    assert_eq!(read_all(&whole[..1536]).expect("one end block").len(), 1);
    assert_eq!(read_all(&[]).expect("empty").len(), 0);
    for length in [1, 511, 513, 516, 1100] {
        assert!(read_all(&whole[..length]).is_err(), "{length}");
    }
    // Padding that is missing at the very end is missing in what docker's client sends for `build -f - .`.
    for length in [517, 600, 1023] {
        assert_eq!(read_all(&whole[..length]).expect("no padding")[0].1, b"hello", "{length}");
    }
    let garbage = [&whole[..], &[7; 3000]].concat();
    assert_eq!(read_all(&garbage).expect("garbage after the end").len(), 1);
    let mut checksum = whole.clone();
    checksum[0] ^= 1;
    unreadable(&checksum);
    let mut middle = tar().file("a", "").0;
    middle.extend([0; 512]);
    unreadable(&Archive(middle).file("b", "").end());
    unreadable(&tar().entry(b'M', "multi", b"").end());
    unreadable(&tar().entry(b'5', "dir", b"body").end());
    assert_eq!(read_all(&tar().entry(b'V', "label", b"").file("a", "").end()).expect("label").len(), 1);
    assert_eq!(read_all(&tar().entry(b'7', "contiguous", b"x").end()).expect("7")[0].1, b"x");
    assert_eq!(read_all(&tar().entry(0, "old/", b"").end()).expect("v7")[0].0.kind, shipway_archive::tar::EntryKind::Directory);
}

#[test]
fn sparse_files_of_all_four_forms() {
    let expected = [&[0u8; 1000][..], b"hello", &[0; 995]].concat();
    let check = |archive: Archive| {
        let bytes = archive.end();
        let all = read_all(&bytes).expect("read");
        assert_eq!((all[0].0.path.as_slice(), all[0].1.as_slice()), (&b"s"[..], &expected[..]));
        let ground = Ground::new();
        let summary = ground.layer(&bytes).expect("unpack");
        assert_eq!(std::fs::read(ground.path("s")).expect("read"), expected);
        let node = &summary.index.lookup(b"s").expect("read").expect("s").node;
        assert!(matches!(node, shipway_archive::index::Node::File { size: 2000, content, .. } if *content == *blake3(&expected)));
    };
    let mut gnu = Raw::new(b"s", b'S');
    gnu.size(5)
        .set(257, b"ustar  \0")
        .set(386, b"00000001750\x0000000000005\0")
        .set(410, b"00000003720\x0000000000000\0")
        .set(483, b"00000003720\0");
    check(tar().raw(&gnu).body(b"hello"));
    check(
        tar()
            .pax(&[
                ("GNU.sparse.size", b"2000"),
                ("GNU.sparse.numblocks", b"1"),
                ("GNU.sparse.offset", b"1000"),
                ("GNU.sparse.numbytes", b"5"),
            ])
            .file("s", "hello"),
    );
    check(
        tar()
            .pax(&[("GNU.sparse.size", b"2000"), ("GNU.sparse.name", b"s"), ("GNU.sparse.map", b"1000,5,2000,0")])
            .file("GNUSparseFile/s", "hello"),
    );
    let mut body = b"2\n1000\n5\n2000\n0\n".to_vec();
    body.resize(512, 0);
    body.extend(b"hello");
    let one = [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0"), ("GNU.sparse.name", b"s"), ("GNU.sparse.realsize", b"2000")];
    check(tar().pax(&one).entry(b'0', "x", &body));
    // Maps that overlap, run backwards, exceed the file or do not fit the body.
    for map in ["0,5,3,5", "10,5,0,5", "1999,5", "0,4", "18446744073709551615,5", "1,2,3", "x,5"] {
        unreadable(&tar().pax(&[("GNU.sparse.size", b"2000"), ("GNU.sparse.map", map.as_bytes())]).file("s", "hello").end());
    }
    unreadable(&tar().pax(&one).entry(b'0', "x", b"99999999\n").end());
    unreadable(&tar().pax(&one).entry(b'0', "x", &[b'1'; 600]).end());
}

fn blake3(bytes: &[u8]) -> Box<[u8; 32]> {
    let ground = Ground::new();
    std::fs::write(ground.path("x"), bytes).expect("write");
    let scanned = shipway_archive::diff::commit_scan(std::slice::from_ref(&ground.root), &Default::default()).expect("scan");
    match scanned.index.lookup(b"x").expect("read").expect("x").node {
        shipway_archive::index::Node::File { content, .. } => Box::new(content),
        _ => unreachable!("a file was written"),
    }
}

#[test]
fn limits_hold_at_the_bound_and_fail_beyond() {
    let read = |bytes: &[u8], limits: Limits| {
        let mut reader = shipway_archive::tar::TarReader::new(bytes, limits);
        loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    let check = |bytes: &[u8], good: Limits, bad: Limits| {
        assert!(read(bytes, good).is_ok());
        assert!(matches!(read(bytes, bad), Err(Error::Limit { .. })));
    };
    let three = tar().file("a", "12345").file("b", "").file("c", "67890").end();
    check(&three, Limits { entries: 3, ..Limits::default() }, Limits { entries: 2, ..Limits::default() });
    check(&three, Limits { total_bytes: 10, ..Limits::default() }, Limits { total_bytes: 9, ..Limits::default() });
    let name = tar().pax(&[("path", &[b'n'; 200])]).file("x", "").end();
    check(&name, Limits { name_bytes: 200, ..Limits::default() }, Limits { name_bytes: 199, ..Limits::default() });
    check(&name, Limits { extension_bytes: 210, ..Limits::default() }, Limits { extension_bytes: 209, ..Limits::default() });
    // A file of 10 PB that stores nothing.
    unreadable(&tar().pax(&[("GNU.sparse.size", b"10000000000000000"), ("GNU.sparse.map", b"0,5")]).file("s", "hello").end());
    unreadable(&tar().raw(Raw::new(b"x", b'x').size(2 << 20)).end());
}

/// One file in the layer below.
struct OneFile(std::path::PathBuf);

impl Lower for OneFile {
    fn lookup(&self, path: &[u8]) -> Result<Option<shipway_archive::index::IndexEntry>, Error> {
        use shipway_archive::index::{IndexEntry, Node};
        let mut entry = match path {
            b"etc" => IndexEntry::new(b"etc", Node::Directory { opaque: false }, 0o750),
            b"etc/file" => IndexEntry::new(b"etc/file", Node::File { size: 5, content: *blake3(b"below"), hardlink: None }, 0o640),
            b"bin" => IndexEntry::new(b"bin", Node::Symlink { target: b"etc".to_vec() }, 0o777),
            _ => return Ok(None),
        };
        entry.uid = 42;
        Ok(Some(entry))
    }

    fn open(&self, path: &[u8]) -> Result<Option<std::fs::File>, Error> {
        Ok((path == b"etc/file").then(|| std::fs::File::open(&self.0).expect("open")))
    }
}

#[test]
fn the_layers_below_give_folders_symlinks_and_link_targets() {
    let below = Ground::new();
    std::fs::write(below.path("file"), "below").expect("write");
    let lower = OneFile(below.path("file"));
    let ground = Ground::new();
    let summary = ground.layer_over(&tar().hardlink("copy", "etc/file").file("bin/x", "1").end(), &lower).expect("unpack");
    assert_eq!(ground.listing(), ["f copy below", "d etc", "f etc/file below", "f etc/x 1"]);
    let etc = ground.root.lstat("etc".as_ref()).expect("stat");
    assert_eq!((etc.mode, etc.uid), (0o750, 42));
    assert_eq!(ground.root.lstat("copy".as_ref()).expect("stat").nlink, 2);
    assert_eq!(summary.index.lookup(b"etc").expect("read").expect("etc").mode, 0o750);
    // A file that this layer removes is no target any more.
    let ground = Ground::new();
    assert!(ground.layer_over(&tar().file("etc/.wh.file", "").hardlink("copy", "etc/file").end(), &lower).is_err());
}
