use std::io::{Cursor, Read, Write as _};
use std::path::Path;
use std::process::Command;

use shipway_archive::compress::zstd_encoder;
use shipway_archive::index::{IndexEntry, LayerIndex, Node};
use shipway_archive::tar::{Entry, EntryKind, TarWriter};
use shipway_archive::unpack::{NoLower, Options, unpack_layer};
use shipway_model::Classified as _;
use shipway_sys::path::Root;

use super::claims::{Claim, Claims, HELD};
use super::draft::{Draft, ROOM, Room};
use super::moved::{LONGEST_PATH, MOST};
use super::pieces::PATH_LIMIT;
use super::{RecipeTap, replay};
use crate::layers::TarSource;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// Passes `tar` through a tap, as unpacking does, but unpacks nothing.
fn pass(tar: impl Read, folder: &Path, room: Room) -> Draft {
    let mut tap = RecipeTap::new(tar, Draft::with_room(folder, room).unwrap());
    let mut buffer = vec![0; 256 << 10];
    while tap.read(&mut buffer).unwrap() > 0 {}
    tap.finish()
}

/// So many files of one byte with names of some length, made while they are read.
struct OneByteFiles {
    numbers: std::ops::Range<u32>,
    ready: Cursor<Vec<u8>>,
}

impl OneByteFiles {
    fn new(count: u32) -> Self {
        Self { numbers: 0..count, ready: Cursor::new(Vec::new()) }
    }
}

impl Read for OneByteFiles {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let count = self.ready.read(buffer)?;
            if count > 0 || self.numbers.is_empty() {
                return Ok(count);
            }
            let mut tar = TarWriter::new(Vec::new());
            for number in self.numbers.by_ref().take(500) {
                let mut entry = Entry::new(name(number), EntryKind::Regular);
                entry.mtime.seconds = 1_700_000_000 + i64::from(number);
                tar.append(&entry, &[number as u8]).unwrap();
            }
            // Without the two blocks of zeros, which would end the archive.
            let (mut bytes, _) = tar.finish().unwrap();
            bytes.truncate(bytes.len() / 1024 * 1024 - 1024);
            self.ready = Cursor::new(bytes);
        }
    }
}

/// The same bytes again and again.
struct Repeated {
    bytes: Vec<u8>,
    at: usize,
    times: u32,
}

impl Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.bytes.len() && self.times > 1 {
            (self.at, self.times) = (0, self.times - 1);
        }
        let count = (&self.bytes[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

fn name(number: u32) -> String {
    format!("usr/share/some/folder-{}/with-a-name-of-some-length-{number}", number / 100)
}

fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse().unwrap()
}

/// The kernel counts the memory of a whole process, so it is one of its own.
#[test]
fn memory_does_not_grow_with_the_number_of_files() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "portable::recipe::tests::child_that_passes_many_files", "--nocapture", "--test-threads=1"])
        .env("SHIPWAY_RECIPE_CHILD", "1")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("to the end"), "{said}");
}

#[test]
fn child_that_passes_many_files() {
    // A test has no settings of its own to hand down.
    #[allow(clippy::disallowed_methods)]
    if std::env::var("SHIPWAY_RECIPE_CHILD").is_err() {
        return;
    }
    let (small, large) = (scratch(), scratch());
    let mut bytes = Vec::new();
    OneByteFiles::new(1_000).read_to_end(&mut bytes).unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let idle = status("VmRSS");
    drop(pass(OneByteFiles::new(1), small.path(), ROOM));
    let draft = pass(Repeated { bytes, at: 0, times: 200 }, large.path(), ROOM);
    let peak = status("VmHWM").saturating_sub(idle);
    assert!(draft.is_open() && draft.has_spilled());
    assert!(peak < 4096, "{peak} KiB for the recipe of 200,000 files");
    writeln!(std::io::stdout(), "{peak} KiB, to the end").unwrap();
}

#[test]
fn claims_beyond_what_is_kept_in_memory_are_compared_all_the_same() {
    let folder = scratch();
    let mut bytes = Vec::new();
    OneByteFiles::new(6_000).read_to_end(&mut bytes).unwrap();
    std::fs::create_dir(folder.path().join("diff")).unwrap();
    let root = Root::open(folder.path().join("diff")).unwrap();
    let mut tap = RecipeTap::new(bytes.as_slice(), Draft::create(folder.path()).unwrap());
    let (_, index) = unpack_layer(&mut tap, &root, &NoLower, &Options::default()).unwrap();
    let draft = tap.finish();
    assert!(draft.has_spilled());
    assert_eq!(draft.settle(&index).unwrap(), TarSource::Recipe);
    let mut again = Vec::new();
    replay(&folder.path().join("recipe"), bytes.len() as u64, &root, &mut again).unwrap();
    assert!(again == bytes);
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["diff", "recipe"]);
}

#[test]
fn claims_come_back_in_their_order() {
    for count in [0, 3, HELD / 40, HELD / 36 + 1, HELD / 10] {
        let folder = scratch();
        let mut claims = Claims::new(folder.path().to_owned());
        let made = |number: usize| Claim { path: number.to_string().repeat(number % 5).into_bytes(), content: [number as u8; 32] };
        for claim in (0..count).map(made) {
            claims.add(&claim.path, &claim.content).unwrap();
        }
        for _ in 0..2 {
            let (mut claim, mut all) = (Claim::default(), claims.read().unwrap());
            for number in 0..count {
                assert!(all.next(&mut claim).unwrap() && claim == made(number), "{number} of {count}");
            }
            assert!(!all.next(&mut claim).unwrap());
        }
    }
}

/// An index of files `at/<number>` with the contents `0..count`.
fn index_of(count: usize, at: &str) -> LayerIndex {
    let folder = |path: &str| IndexEntry::new(path, Node::Directory { opaque: false }, 0o755);
    let files = (0..count).map(|number| {
        let node = Node::File { size: 1, content: content(number), hardlink: None };
        IndexEntry::new(format!("{at}/{number}"), node, 0o644)
    });
    LayerIndex::new([folder(""), folder(at)].into_iter().chain(files).collect()).unwrap()
}

fn content(number: usize) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

#[test]
fn so_many_bodies_may_be_elsewhere_and_no_more() {
    for (count, expected) in [(MOST, TarSource::Recipe), (MOST + 1, TarSource::Lost)] {
        let folder = scratch();
        let mut draft = Draft::create(folder.path()).unwrap();
        for number in 0..count {
            draft.raw(b"header");
            draft.file(format!("named/{number}").as_bytes(), 1, &content(number));
        }
        assert_eq!(draft.settle(&index_of(count, "found")).unwrap(), expected, "{count}");
        assert_eq!(folder.path().join("recipe").exists(), expected == TarSource::Recipe);
        if expected == TarSource::Recipe {
            let mut pieces = super::PieceReader::open(&folder.path().join("recipe")).unwrap();
            for number in 0..count {
                assert_eq!(pieces.next().unwrap(), Some(super::Piece::Raw(6)));
                pieces.copy_raw(6, &mut std::io::sink()).unwrap();
                let path = format!("found/{number}").into_bytes();
                assert_eq!(pieces.next().unwrap(), Some(super::Piece::File { path, size: 1 }));
            }
            assert_eq!(pieces.next().unwrap(), None);
        }
    }
}

#[test]
fn a_path_too_long_to_be_opened_is_taken_from_elsewhere_or_lost() {
    let long = format!("{}{}", "long/".repeat(LONGEST_PATH / 5), "x".repeat(LONGEST_PATH % 5 + 1));
    for (elsewhere, expected) in [(true, TarSource::Recipe), (false, TarSource::Lost)] {
        let folder = scratch();
        let mut entries = vec![IndexEntry::new("", Node::Directory { opaque: false }, 0o755)];
        for (at, _) in long.match_indices('/') {
            entries.push(IndexEntry::new(&long[..at], Node::Directory { opaque: false }, 0o755));
        }
        let file = Node::File { size: 1, content: [1; 32], hardlink: None };
        entries.push(IndexEntry::new(long.as_str(), file.clone(), 0o644));
        if elsewhere {
            entries.push(IndexEntry::new("short", file, 0o644));
        }
        let mut draft = Draft::create(folder.path()).unwrap();
        draft.file(long.as_bytes(), 1, &[1; 32]);
        assert_eq!(draft.settle(&LayerIndex::new(entries).unwrap()).unwrap(), expected);
    }
}

#[test]
fn a_recipe_of_the_size_allowed_is_kept_and_one_a_byte_larger_is_not() {
    let settle = |room: Room| {
        let folder = scratch();
        let settled = pass(OneByteFiles::new(300), folder.path(), room).settle(&one_byte_index(300)).unwrap();
        (settled, std::fs::metadata(folder.path().join("recipe")).map(|found| found.len()).ok())
    };
    let (settled, size) = settle(ROOM);
    let (TarSource::Recipe, Some(size)) = (settled, size) else { panic!("{settled:?} {size:?}") };
    let passed = 300 * 1024;
    assert_eq!(settle(Room { always: size, share: u64::MAX, most: size }), (TarSource::Recipe, Some(size)));
    assert_eq!(settle(Room { always: size, share: u64::MAX, most: size - 1 }), (TarSource::Lost, None));
    assert_eq!(settle(Room { always: size - 1, share: u64::MAX, most: u64::MAX }), (TarSource::Lost, None));
    assert_eq!(settle(Room { always: 0, share: passed / size, most: u64::MAX }), (TarSource::Recipe, Some(size)));
    assert_eq!(settle(Room { always: 0, share: passed / size + 1, most: u64::MAX }), (TarSource::Lost, None));
}

fn one_byte_index(count: u32) -> LayerIndex {
    let mut entries = vec![IndexEntry::new("", Node::Directory { opaque: false }, 0o755)];
    for number in 0..count {
        let path = name(number);
        for (at, _) in path.match_indices('/').filter(|_| number % 100 == 0) {
            if !entries.iter().any(|entry| entry.path == path.as_bytes()[..at]) {
                entries.push(IndexEntry::new(&path[..at], Node::Directory { opaque: false }, 0o755));
            }
        }
        let content = *blake3::hash(&[number as u8]).as_bytes();
        entries.push(IndexEntry::new(path, Node::File { size: 1, content, hardlink: None }, 0o644));
    }
    LayerIndex::new(entries).unwrap()
}

#[test]
fn what_becomes_too_large_gives_the_disk_back_at_once() {
    let folder = scratch();
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut draft = Draft::with_room(folder.path(), Room { always: 1 << 20, share: u64::MAX, most: u64::MAX }).unwrap();
    let mut bytes = vec![0; 64 << 10];
    let mut noted = 0;
    while draft.is_open() {
        noise.fill(&mut bytes);
        draft.raw(&bytes);
        draft.pass(bytes.len());
        noted += bytes.len();
        assert!(noted < 2 << 20);
    }
    assert!(!folder.path().join("recipe").exists());
    draft.raw(b"more");
    draft.file(b"file", 1, &[0; 32]);
    assert_eq!(draft.settle(&LayerIndex::empty()).unwrap(), TarSource::Lost);
}

#[test]
fn what_the_disk_refuses_is_told_in_the_end_and_stops_no_tap() {
    let folder = scratch();
    let mut draft = Draft::create(folder.path()).unwrap();
    // Claims have nowhere to go any more.
    std::fs::remove_dir_all(folder.path()).unwrap();
    for number in 0..HELD / 32 {
        draft.file(number.to_string().as_bytes(), 1, &content(number));
    }
    assert!(!draft.is_open());
    let error = draft.settle(&LayerIndex::empty()).unwrap_err();
    assert!(error.to_string().contains("write recipe"), "{error}");
}

/// A header block with its checksum.
fn block(flag: u8, size: &str) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..4].copy_from_slice(b"name");
    block[124..124 + size.len()].copy_from_slice(size.as_bytes());
    block[148..156].fill(b' ');
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[test]
fn sizes_that_nothing_has_stop_nobody() {
    for flag in [b'0', b'V', b'S', b'5', b'Q'] {
        let mut tar = block(b'x', "00000000035");
        tar.extend(b"29 size=18446744073709551615\n");
        tar.resize(1024, 0);
        tar.extend(block(flag, "00000000000"));
        tar.extend([7; 5000]);
        let folder = scratch();
        drop(pass(tar.as_slice(), folder.path(), ROOM));
    }
}

/// The first version of the writer made one piece of all between two bodies, with a larger window.
#[test]
fn recipes_of_older_stores_are_read() {
    let folder = scratch();
    std::fs::write(folder.path().join("file"), "body").unwrap();
    let raw = vec![b'h'; 3 << 20];
    let recipe = folder.path().join("recipe");
    std::fs::write(&recipe, packed(&[&[0], &number(raw.len()), &raw, &[1], &number(4), b"file", &number(4), &[0], &number(1), b"e"]))
        .unwrap();
    let root = Root::open(folder.path()).unwrap();
    let mut again = Vec::new();
    replay(&recipe, 5 + (3 << 20), &root, &mut again).unwrap();
    assert!(again == [raw.as_slice(), b"bodye"].concat());
}

fn number(number: usize) -> [u8; 8] {
    (number as u64).to_le_bytes()
}

fn packed(parts: &[&[u8]]) -> Vec<u8> {
    let mut encoder = zstd_encoder(b"SWRECIPE\x01".to_vec(), 3).unwrap();
    encoder.write_all(&parts.concat()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn damaged_recipes_are_told_as_such() {
    let folder = scratch();
    std::fs::write(folder.path().join("file"), "body").unwrap();
    let root = Root::open(folder.path()).unwrap();
    let recipe = folder.path().join("recipe");
    let check = |bytes: &[u8], what: &str| {
        std::fs::write(&recipe, bytes).unwrap();
        let error = replay(&recipe, 100, &root, &mut Vec::new()).expect_err(what);
        assert_eq!(error.kind(), shipway_model::ErrorKind::Corrupt, "{what}: {error}");
    };
    let good: [&[u8]; 6] = [&[0], &number(3), b"abc", &[1], &number(4), b"file"];
    let whole = [good.concat().as_slice(), &number(4)].concat();
    std::fs::write(&recipe, packed(&[&whole])).unwrap();
    replay(&recipe, 100, &root, &mut Vec::new()).unwrap();
    for end in (1..whole.len()).filter(|end| *end != 12) {
        check(&packed(&[&whole[..end]]), &format!("{end} bytes of it"));
    }
    check(b"", "nothing");
    check(b"SWRECIPE\x01", "its beginning");
    check(b"SWRECIPE\x02 and more of it", "another version");
    check(&[b"SWRECIPE\x01".as_slice(), &whole].concat(), "not compressed");
    check(&packed(&[&[2], &number(1), b"a"]), "an unknown piece");
    check(&packed(&[&[0], &number(0)]), "a piece of nothing");
    check(&packed(&[&[1], &number(4), b"file", &number(0)]), "a body of nothing");
    check(&packed(&[&[1], &number(PATH_LIMIT + 1), &[b'x'; PATH_LIMIT + 1], &number(1)]), "a path that nothing has");
    check(&packed(&[&[1], &number(usize::MAX), b"x"]), "a path without an end");
    check(&packed(&[&[0], &number(usize::MAX), b"x"]), "bytes without an end");
    check(&packed(&[&[0], &number(101), &[b'x'; 101]]), "more than the tar had");
    check(&packed(&[&[1], &number(4), b"file", &number(5)]), "a file that is too short");
}
