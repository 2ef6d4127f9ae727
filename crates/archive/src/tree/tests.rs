use super::*;
use crate::index::IndexEntry;

fn layer(lines: &[&str]) -> Arc<LayerIndex> {
    let mut entries = vec![IndexEntry::new(b"", Node::Directory { opaque: false }, 0o755)];
    for line in lines {
        let (path, what) = line.split_once(' ').expect("path and kind");
        let node = match what {
            "dir" => Node::Directory { opaque: false },
            "opaque" => Node::Directory { opaque: true },
            "gone" => Node::Whiteout,
            text if text.starts_with("-> ") => Node::Symlink { target: text.as_bytes()[3..].to_vec() },
            text => Node::File { size: text.len() as u64, content: *blake3::hash(text.as_bytes()).as_bytes(), hardlink: None },
        };
        entries.push(IndexEntry::new(path, node, 0o755));
    }
    Arc::new(LayerIndex::new(entries).expect("layer"))
}

fn paths(tree: &Tree) -> Vec<String> {
    let all = tree.walk(b"").expect("walk").skip(1);
    all.map(|entry| String::from_utf8_lossy(&entry.expect("read").path).into_owned()).collect()
}

fn count(tree: &Tree, folder: &[u8]) -> usize {
    tree.children(folder).expect("children").collect::<Result<Vec<_>, _>>().expect("read").len()
}

#[test]
fn the_upper_layer_wins_and_marks_hide() {
    let lower = layer(&["a dir", "a/x one", "a/y two", "b dir", "b/x one", "c dir", "c/x one", "d dir", "d/sub dir", "d/sub/x one"]);
    let upper = layer(&["a dir", "a/x gone", "a/z new", "b opaque", "b/y new", "c file-now", "d gone"]);
    let tree = Tree::new(vec![lower.clone(), upper]);
    assert_eq!(paths(&tree), ["a", "a/y", "a/z", "b", "b/y", "c"]);
    for hidden in ["a/x", "b/x", "c/x", "d", "d/sub", "d/sub/x"] {
        assert!(tree.lookup(hidden.as_bytes()).expect("read").is_none(), "{hidden}");
    }
    assert_eq!((count(&tree, b"d/sub"), count(&tree, b"c"), count(&tree, b"a")), (0, 0, 2));
    let again = Tree::new(vec![lower, layer(&["d gone"]), layer(&["d dir", "d/new x"])]);
    assert_eq!(count(&again, b"d"), 1);
    assert!(again.lookup(b"d/sub").expect("read").is_none());
    assert_eq!([&b"a/x"[..], b"d/new", b"d/sub"].map(|path| again.origin(path).expect("read")), [Some(0), Some(2), None]);
}

#[test]
fn symlinks_are_resolved_inside() {
    let tree = Tree::new(vec![layer(&[
        "usr dir",
        "usr/bin dir",
        "usr/bin/sh x",
        "bin -> usr/bin",
        "up -> ../../usr",
        "abs -> /bin/../bin",
        "loop -> loop",
        "bad -> nowhere",
    ])]);
    let check = |path: &str, last, expected: Option<&str>| {
        assert_eq!(
            tree.resolve(path.as_bytes(), last).ok().map(|p| String::from_utf8_lossy(&p).into_owned()).as_deref(),
            expected,
            "{path}"
        );
    };
    check("/bin/sh", Last::Follow, Some("usr/bin/sh"));
    check("bin", Last::Keep, Some("bin"));
    check("bin", Last::Follow, Some("usr/bin"));
    check("up/bin/../../..", Last::Follow, Some(""));
    check("abs/sh", Last::Keep, Some("usr/bin/sh"));
    check("loop", Last::Follow, None);
    check("loop", Last::Keep, Some("loop"));
    check("bad", Last::Follow, None);
    check("usr/bin/sh/x", Last::Follow, None);
}

#[test]
fn patterns_find_paths() {
    let tree = Tree::new(vec![layer(&["a dir", "a/1.go x", "a/2.go x", "a/3.c x", "b dir", "b/1.go x", "l -> a", "we[ird x"])]);
    let check = |pattern: &str, expected: &[&str]| {
        let found = tree.glob(pattern.as_bytes()).expect(pattern);
        assert_eq!(found.iter().map(|p| String::from_utf8_lossy(p)).collect::<Vec<_>>(), expected, "{pattern}");
    };
    check("*/*.go", &["a/1.go", "a/2.go", "b/1.go"]);
    check("/l/*.go", &["a/1.go", "a/2.go"]);
    check("a/./x/../1.go", &["a/1.go"]);
    check("../*", &["a", "b", "l", "we[ird"]);
    check("[ab]", &["a", "b"]);
    check("we\\[ird", &["we[ird"]);
    check("none", &[]);
    check("", &[""]);
    assert!(tree.glob(b"a/[").is_err());
}

#[test]
fn the_digest_does_not_depend_on_how_the_tree_is_layered() {
    let flat = Tree::new(vec![layer(&["a dir", "a/x one", "a/y two"])]);
    let stacked = Tree::new(vec![
        layer(&["a dir", "a/x old", "a/z old", "q old"]),
        layer(&["a opaque", "a/x one", "q gone"]),
        layer(&["a dir", "a/y two"]),
    ]);
    let digest = |tree: &Tree, path: &[u8]| tree.digest(path).expect("digest");
    assert_eq!(digest(&flat, b""), digest(&stacked, b""));
    assert_eq!(digest(&flat, b"a"), digest(&stacked, b"a"));
    assert_ne!(digest(&flat, b"a"), digest(&flat, b"a/x"));
    assert_eq!(digest(&flat, b"none"), None);
}
