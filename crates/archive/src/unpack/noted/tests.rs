use std::collections::BTreeMap;

use super::*;
use crate::index::Node;

fn notes(folder: &tempfile::TempDir) -> Notes {
    let top = shipway_sys::path::Root::open(folder.path()).expect("open").top().expect("top");
    Notes::new(&top).expect("notes")
}

fn file(path: &str, size: u64) -> Noted {
    Noted::new(IndexEntry::new(path, Node::File { size, content: [7; 32], hardlink: None }, 0o644))
}

fn dir(path: &str) -> Noted {
    let mtime = Some(Time { seconds: -5, nanoseconds: 7 });
    Noted { mtime, ..Noted::new(IndexEntry::new(path, Node::Directory { opaque: false }, 0o755)) }
}

fn in_order(notes: Notes) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    let each = |noted: Noted| {
        let size = if let Node::File { size, .. } = noted.entry.node { size } else { u64::MAX };
        assert_eq!(noted.mtime.is_some(), noted.entry.is_dir());
        all.push((String::from_utf8(noted.entry.path).expect("text"), size));
        Ok(())
    };
    notes.in_order(each).expect("read");
    all
}

/// Whatever is put, replaced and cleared, and whenever notes go to the disk: what counts is what a map would have.
#[test]
fn notes_on_the_disk_are_as_good_as_those_in_memory() {
    for seed in 0..40u64 {
        let folder = tempfile::tempdir().expect("folder");
        let mut notes = notes(&folder);
        let mut expected: BTreeMap<PathKey, u64> = BTreeMap::new();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for step in 0..600u64 {
            // The folders a, b, c; in each folders and files; in those files.
            let top = ["a", "b", "c"][random(3) as usize];
            let path = match random(3) {
                0 => top.to_owned(),
                1 => format!("{top}/{}", random(4)),
                _ => format!("{top}/{}/{}", random(4), random(4)),
            };
            let is_dir = path.matches('/').count() < 2 && random(4) > 0;
            let key = PathKey(path.clone().into_bytes());
            // As the unpacker does: what is in the way goes with all below it, but for a folder that stays a folder.
            let there = expected.get(&key).copied();
            if there.is_some_and(|size| !(size == u64::MAX && is_dir)) {
                notes.clear(path.as_bytes());
                expected.retain(|found, _| !is_within(&found.0, path.as_bytes()));
            }
            // What has no folder above it is not placed.
            let parent = crate::index::parent(path.as_bytes()).to_vec();
            if !parent.is_empty() && expected.get(&PathKey(parent)) != Some(&u64::MAX) {
                if there.is_some() {
                    unreachable!("what is there has its folder");
                }
                continue;
            }
            notes.put(if is_dir { dir(&path) } else { file(&path, step) }).expect("put");
            expected.insert(key, if is_dir { u64::MAX } else { step });
            if random(20) == 0 {
                notes.spill().expect("spill");
            }
            if random(10) == 0 {
                for (path, size) in &expected {
                    let noted = notes.get(&path.0).expect("read").expect("it is there");
                    assert_eq!(noted.entry.is_dir(), *size == u64::MAX);
                }
            }
        }
        let expected: Vec<(String, u64)> =
            expected.into_iter().map(|(path, size)| (String::from_utf8(path.0).expect("text"), size)).collect();
        assert_eq!(in_order(notes), expected, "seed {seed}");
    }
}

#[test]
fn notes_without_number_take_little_memory() {
    let folder = tempfile::tempdir_in("/dev/shm").expect("folder");
    let mut notes = notes(&folder);
    for number in 0..120_000u64 {
        // In no order.
        let name = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        notes.put(file(&format!("{name:016x}-and-so-on"), number)).expect("put");
        assert!(notes.weight <= HELD);
    }
    assert!(notes.runs.len() > 2);
    let tables: usize = notes.runs.iter().map(|run| run.records.weight() + run.filter.words.len() * 8).sum();
    assert!(tables < 16 << 20, "{tables}");
    for number in (0..120_000u64).step_by(7_919) {
        let name = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let found = notes.get(format!("{name:016x}-and-so-on").as_bytes()).expect("read").expect("it is there");
        assert!(matches!(found.entry.node, Node::File { size, .. } if size == number));
    }
    assert!(notes.get(b"0-and-so-on").expect("read").is_none());
    assert_eq!(in_order(notes).len(), 120_000);
    assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 0);
}

#[test]
fn a_filter_misses_nothing_and_finds_little_that_is_not_there() {
    let hashing = RandomState::new();
    let mut filter = Filter::of(1000);
    (0..1000u32).for_each(|number| filter.add(hashing.hash_one(number)));
    assert!((0..1000u32).all(|number| filter.may_have(hashing.hash_one(number))));
    let wrong = (1000..11_000u32).filter(|number| filter.may_have(hashing.hash_one(number))).count();
    assert!(wrong < 500, "{wrong} of 10000");
}
