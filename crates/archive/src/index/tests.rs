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

fn names<'a>(entries: impl Iterator<Item = &'a IndexEntry>) -> Vec<String> {
    entries.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

#[test]
fn a_folder_is_followed_by_what_is_in_it() {
    let index = LayerIndex::new(sample()).expect("index");
    assert_eq!(names(index.iter())[..7], ["", "a", "a/b", "a/b/é", "a/b.txt", "a/gone", "a/link"]);
    assert_eq!(names(index.children(b"")), ["a", "a-b", "dev", "disk", "hidden", "pipe"]);
    assert_eq!(names(index.children(b"a")), ["a/b", "a/b.txt", "a/gone", "a/link"]);
    assert_eq!(names(index.children(b"a-b")), Vec::<String>::new());
    assert_eq!(names(index.children(b"nothing")), Vec::<String>::new());
    assert_eq!(names(index.subtree(b"a/b").iter()), ["a/b", "a/b/é"]);
    assert!(index.lookup(b"a/b.txt").is_some() && index.lookup(b"a/b.tx").is_none());
}

#[test]
fn the_file_form_round_trips_and_any_damage_is_found() {
    let index = LayerIndex::new(sample()).expect("index");
    let bytes = index.encode();
    assert_eq!(LayerIndex::decode(&bytes).expect("decode"), index);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(LayerIndex::decode(&damaged).is_err(), "byte {at}");
        assert!(LayerIndex::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_right_checksum_over_nonsense_is_still_corrupt() {
    let index = LayerIndex::new(sample()).expect("index").encode();
    let content = &index[..index.len() - 32];
    for at in 5..content.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut forged = content.to_vec();
            forged[at] = value;
            let checksum = *blake3::hash(&forged).as_bytes();
            forged.extend_from_slice(&checksum);
            // Either consistent or refused, never a panic.
            if let Ok(read) = LayerIndex::decode(&forged) {
                assert!(!read.digest().is_empty());
            }
        }
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
        LayerIndex::new(entries).expect("index").digest()
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
    assert_ne!(one.digest_at(b"a/b"), other.digest_at(b"a/b"));
    assert_ne!(one.digest_at(b"a"), other.digest_at(b"a"));
    assert_eq!(one.digest_at(b"a-b"), other.digest_at(b"a-b"));
    assert_eq!(one.digest_at(b"x"), None);
    let moved = LayerIndex::new(vec![dir(""), dir("q"), file("q/b.txt", "dot too")]).expect("index");
    assert_eq!(moved.digest_at(b"q/b.txt"), one.digest_at(b"a/b.txt"));
}
