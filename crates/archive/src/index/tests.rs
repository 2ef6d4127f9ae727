use std::os::unix::fs::FileExt as _;

use super::*;

fn file(path: &str, content: &str) -> IndexEntry {
    let node = Node::File { size: content.len() as u64, content: *blake3::hash(content.as_bytes()).as_bytes(), hardlink: None };
    IndexEntry::new(path, node, 0o644)
}

fn dir(path: &str) -> IndexEntry {
    IndexEntry::new(path, Node::Directory { opaque: false }, 0o755)
}

fn sample() -> Vec<IndexEntry> {
    let mut odd = file("a/b/\u{e9}", "odd");
    odd.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2]);
    odd.uid = u32::MAX - 1;
    vec![
        dir(""),
        dir("a"),
        dir("a/b"),
        odd,
        file("a-b", "minus sorts before slash in bytes"),
        file("a/b.txt", "dot too"),
        IndexEntry::new("a/gone", Node::Whiteout, 0),
        IndexEntry::new("a/link", Node::Symlink { target: b"../x".to_vec() }, 0o777),
        IndexEntry::new("dev", Node::CharDevice(1, 3), 0o666),
        IndexEntry::new("disk", Node::BlockDevice(8, 1), 0o660),
        IndexEntry::new("hidden", Node::Directory { opaque: true }, 0o700),
        IndexEntry::new("pipe", Node::Fifo, 0o600),
    ]
}

fn names(entries: impl Iterator<Item = Result<EntryRef, Error>>) -> Vec<String> {
    entries.map(|entry| String::from_utf8_lossy(&entry.expect("read").path).into_owned()).collect()
}

fn children(index: &LayerIndex, folder: &[u8]) -> Vec<String> {
    names(index.children(folder).expect("children"))
}

fn all(index: &LayerIndex) -> Vec<IndexEntry> {
    index.iter().map(|entry| IndexEntry::clone(&entry.expect("read"))).collect()
}

/// The file form.
fn bytes(index: &LayerIndex) -> Vec<u8> {
    let file = tempfile::tempfile().expect("file");
    let length = index.write_to(&file).expect("write");
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

fn open(bytes: &[u8]) -> Result<LayerIndex, Error> {
    let file = tempfile::tempfile().expect("file");
    file.write_all_at(bytes, 0).expect("write");
    LayerIndex::open(file)
}

#[test]
fn a_folder_is_followed_by_what_is_in_it() {
    let index = LayerIndex::new(sample()).expect("index");
    assert_eq!(names(index.iter())[..7], ["", "a", "a/b", "a/b/é", "a/b.txt", "a/gone", "a/link"]);
    assert_eq!(children(&index, b""), ["a", "a-b", "dev", "disk", "hidden", "pipe"]);
    assert_eq!(children(&index, b"a"), ["a/b", "a/b.txt", "a/gone", "a/link"]);
    assert_eq!(children(&index, b"a-b"), Vec::<String>::new());
    assert_eq!(children(&index, b"nothing"), Vec::<String>::new());
    assert_eq!(names(index.subtree(b"a/b").expect("subtree")), ["a/b", "a/b/é"]);
    assert!(index.lookup(b"a/b.txt").expect("read").is_some() && index.lookup(b"a/b.tx").expect("read").is_none());
}

#[test]
fn the_file_form_round_trips_and_any_damage_is_found() {
    let index = LayerIndex::new(sample()).expect("index");
    let bytes = bytes(&index);
    let opened = open(&bytes).expect("open");
    assert_eq!(all(&opened), all(&index));
    assert_eq!((opened.digest().expect("digest"), opened.content_size()), (index.digest().expect("digest"), index.content_size()));
    opened.verify().expect("verify");
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(open(&damaged).is_err(), "byte {at}");
        assert!(open(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_right_checksum_over_nonsense_is_still_corrupt() {
    let whole = bytes(&LayerIndex::new(sample()).expect("index"));
    let table_length = u64::from_le_bytes(whole[whole.len() - 40..whole.len() - 32].try_into().expect("eight")) as usize;
    let table_at = whole.len() - 40 - table_length;
    // The table ends with the checksum of the only block.
    let block_sum = whole.len() - 40 - 32;
    for at in 5..whole.len() - 32 {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut forged = whole.clone();
            forged[at] = value;
            let block = *blake3::hash(&forged[5..table_at]).as_bytes();
            forged[block_sum..block_sum + 32].copy_from_slice(&block);
            let end = forged.len() - 32;
            let table = *blake3::hash(&forged[table_at..end]).as_bytes();
            forged[end..].copy_from_slice(&table);
            // Either consistent or refused, never a panic.
            if let Ok(read) = open(&forged) {
                let _ = read.verify();
            }
        }
    }
}

#[test]
fn the_first_form_is_still_read() {
    let index = LayerIndex::new(many()).expect("index");
    let mut first = b"SWLX\x01".to_vec();
    number(&mut first, index.len());
    let mut former = Vec::new();
    for entry in all(&index) {
        let shared = entry.path.iter().zip(&former).take_while(|(a, b)| a == b).count();
        number(&mut first, shared as u64);
        codec::bytes(&mut first, &entry.path[shared..]);
        entry.encode(&mut first);
        former = entry.path;
    }
    let checksum = *blake3::hash(&first).as_bytes();
    first.extend_from_slice(&checksum);
    let read = open(&first).expect("open");
    read.verify().expect("verify");
    assert_eq!(all(&read), all(&index));
    for at in [4, 5, 6, 100, first.len() / 2, first.len() - 40, first.len() - 1] {
        let mut damaged = first.clone();
        damaged[at] ^= 1;
        assert!(open(&damaged).is_err(), "byte {at}");
        assert!(open(&first[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn paths_are_ordered_with_the_slash_first_wherever_they_differ() {
    for long in 0..20 {
        let same = "x".repeat(long);
        let sorted: Vec<String> =
            ["", "/", "/x", "\u{1}", "-", ".", "a", "a/", "a/b", "a-", "aa", "b"].map(|end| format!("{same}{end}")).to_vec();
        for (at, one) in sorted.iter().enumerate() {
            for (other_at, other) in sorted.iter().enumerate() {
                assert_eq!(compare_paths(one.as_bytes(), other.as_bytes()), at.cmp(&other_at), "{one:?} {other:?}");
            }
        }
    }
}

/// So many entries that they go through a file.
fn many() -> Vec<IndexEntry> {
    let mut entries = vec![dir("")];
    for folder in 0..200 {
        entries.push(dir(&format!("folder-{folder:03}")));
        for number in 0..200 {
            entries.push(file(&format!("folder-{folder:03}/a-file-with-a-name-of-some-length-{number:03}"), &format!("{folder}.{number}")));
        }
    }
    entries
}

#[test]
fn a_large_index_answers_from_its_file_what_a_small_one_answers_from_memory() {
    let folder = tempfile::tempdir().expect("folder");
    let scratch = shipway_sys::path::Root::open(folder.path()).expect("open").top().expect("top");
    let held = LayerIndex::new(many()).expect("index");
    let mut builder = IndexBuilder::new(&scratch);
    for entry in many() {
        builder.push(entry).expect("push");
    }
    assert_eq!(builder.path_of(0).expect("root"), b"");
    assert_eq!(builder.path_of(202).expect("second folder"), b"folder-001");
    assert_eq!(builder.path_of(40_200).expect("last"), b"folder-199/a-file-with-a-name-of-some-length-199");
    assert!(builder.path_of(40_201).is_err());
    let built = builder.finish().expect("finish");
    let opened = open(&bytes(&built)).expect("open");
    // Without a name the file is nowhere to be seen.
    assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 0);
    for index in [&built, &opened] {
        assert!(matches!(index.entries, Sequence::Stored(_)), "it is too small to try this");
        assert!(index.weight() * 4 < held.weight(), "{} {}", index.weight(), held.weight());
        index.verify().expect("verify");
        assert_eq!(all(index), all(&held));
        assert_eq!((index.len(), index.content_size()), (held.len(), held.content_size()));
        assert_eq!(index.digest().expect("digest"), held.digest_at(b"").expect("digest").expect("root"));
        for path in
            ["", "folder-000", "folder-150", "folder-150/a-file-with-a-name-of-some-length-007", "folder-199", "folder-2", "zzz", "a"]
        {
            let path = path.as_bytes();
            assert_eq!(index.lookup(path).expect("read").as_deref(), held.lookup(path).expect("read").as_deref());
            assert_eq!(children(index, path), children(&held, path));
            assert_eq!(names(index.subtree(path).expect("subtree")), names(held.subtree(path).expect("subtree")));
            assert_eq!(index.digest_at(path).expect("digest"), held.digest_at(path).expect("digest"));
        }
    }
    // What was read may be damaged only where nobody looks.
    let mut damaged = bytes(&built);
    damaged[1_000_000] ^= 1;
    let damaged = open(&damaged).expect("the table is sound");
    assert!(damaged.lookup(b"folder-000").expect("read").is_some());
    assert!(damaged.verify().is_err());
    assert!(damaged.iter().any(|entry| entry.is_err()) && damaged.digest_at(b"").is_err());
}

#[test]
fn no_length_of_a_path_makes_a_block_large() {
    // Each path shares all but its end with the one before, so that it takes next to nothing in the file.
    let deep = "d/".repeat(2000);
    let mut entries: Vec<IndexEntry> =
        (0..2000).map(|depth| dir(deep.get(..(2 * depth as usize).saturating_sub(1)).unwrap_or_default())).collect();
    entries.extend((0..3000).map(|number| file(&format!("{}{number}", &deep[..3998]), "")));
    entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
    let mut done = 0;
    while done < entries.len() {
        let next = blocks::next_block(&entries[done..]);
        assert!(next > 0 && entries[done..done + next].iter().map(Record::weight).sum::<usize>() <= 64 << 10);
        done += next;
    }
}

#[test]
fn inconsistent_entries_are_refused() {
    for entries in [
        vec![],
        vec![dir("a")],
        vec![file("", "x")],
        vec![dir(""), file("a/b", "x")],
        vec![dir(""), file("a", "x"), file("a/b", "x")],
        vec![dir(""), file("a", "x"), file("a", "y")],
        vec![dir(""), dir("a"), file("a/..", "x")],
        vec![dir(""), file("/a", "x")],
        vec![dir(""), file("a\0", "x")],
    ] {
        assert!(LayerIndex::new(entries).is_err());
    }
}

#[test]
fn digests_see_every_field() {
    let digest = |change: &dyn Fn(&mut IndexEntry)| {
        let mut entries = sample();
        change(&mut entries[3]);
        LayerIndex::new(entries).expect("index").digest().expect("digest")
    };
    let plain = digest(&|_| {});
    assert_eq!(plain, digest(&|_| {}));
    let changes: [&dyn Fn(&mut IndexEntry); 7] = [
        &|e| e.mode = 0o600,
        &|e| e.uid = 1,
        &|e| e.gid = 1,
        &|e| e.xattrs.clear(),
        &|e| e.path.push(b'x'),
        &|e| e.node = Node::Fifo,
        &|e| e.node = Node::Symlink { target: b"x".to_vec() },
    ];
    for (number, change) in changes.iter().enumerate() {
        assert_ne!(plain, digest(change), "{number}");
    }
}

#[test]
fn a_folder_digest_covers_what_is_below_and_nothing_else() {
    let one = LayerIndex::new(sample()).expect("index");
    let mut changed = sample();
    changed[3].mode = 0o600;
    let other = LayerIndex::new(changed).expect("index");
    let digest = |index: &LayerIndex, path: &[u8]| index.digest_at(path).expect("digest");
    assert_ne!(digest(&one, b"a/b"), digest(&other, b"a/b"));
    assert_ne!(digest(&one, b"a"), digest(&other, b"a"));
    assert_eq!(digest(&one, b"a-b"), digest(&other, b"a-b"));
    assert_eq!(digest(&one, b"x"), None);
    let moved = LayerIndex::new(vec![dir(""), dir("q"), file("q/b.txt", "dot too")]).expect("index");
    assert_eq!(digest(&moved, b"q/b.txt"), digest(&one, b"a/b.txt"));
}
