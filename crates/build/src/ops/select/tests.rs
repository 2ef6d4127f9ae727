//! Finding sources in a made-up tree.

use std::collections::BTreeMap;

use super::*;

/// Paths with `/` at the end are folders, with `->` symlinks, others files.
struct Made(BTreeMap<Vec<u8>, SourceNode>);

impl Made {
    fn new(paths: &[&str]) -> Self {
        let mut nodes = BTreeMap::from([(Vec::new(), node(FileKind::Directory, ""))]);
        for path in paths {
            let (path, made) = match path.split_once("->") {
                Some((path, target)) => (path, node(FileKind::Symlink, target)),
                None if path.ends_with('/') => (path.trim_end_matches('/'), node(FileKind::Directory, "")),
                None => (*path, node(FileKind::Regular, "")),
            };
            nodes.insert(path.as_bytes().to_vec(), made);
        }
        Self(nodes)
    }
}

fn node(kind: FileKind, target: &str) -> SourceNode {
    SourceNode {
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 0,
        device: (0, 0),
        target: target.as_bytes().to_vec(),
        xattrs: Xattrs::new(),
        content: Some([0; 32]),
    }
}

impl SourceTree for Made {
    fn node(&self, path: &[u8]) -> Result<Option<SourceNode>, OpFailure> {
        Ok(self.0.get(path).cloned())
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, OpFailure> {
        let direct = self.0.keys().filter(|known| !known.is_empty() && parent(known) == path);
        Ok(direct.map(|known| base_name(known).to_vec()).collect())
    }

    fn digest_below(&self, _path: &[u8]) -> Result<Option<[u8; 32]>, OpFailure> {
        Ok(None)
    }
}

const TREE: [&str; 10] =
    ["a.txt", "b.txt", "[x]", "dir/", "dir/one", "dir/sub/", "dir/sub/two", "to->dir/sub", "up->../../a.txt", "loop->loop"];

fn check(pattern: &str, expected: &[(&str, &str)]) {
    let tree = Made::new(&TREE);
    let found = find(&tree, pattern).unwrap_or_else(|failure| panic!("{pattern}: {}", failure.line()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found: Vec<(String, String)> = found.iter().map(|found| (text(&found.written), text(&found.real))).collect();
    let expected: Vec<(String, String)> = expected.iter().map(|(written, real)| ((*written).to_owned(), (*real).to_owned())).collect();
    assert_eq!(found, expected, "{pattern}");
}

#[test]
fn patterns_find_what_go_s_would() {
    check("a.txt", &[("a.txt", "a.txt")]);
    check("/./a.txt", &[("a.txt", "a.txt")]);
    check("dir/../a.txt", &[("a.txt", "a.txt")]);
    check("*.txt", &[("a.txt", "a.txt"), ("b.txt", "b.txt")]);
    check("?.txt", &[("a.txt", "a.txt"), ("b.txt", "b.txt")]);
    check("[a].txt", &[("a.txt", "a.txt")]);
    check("\\[x]", &[("[x]", "[x]")]);
    check("d*/s*/t*", &[("dir/sub/two", "dir/sub/two")]);
    check("nothing", &[]);
    check("dir/one/below", &[]);
    for top in ["", ".", "/", "./", "dir/.."] {
        check(top, &[("", "")]);
    }
}

#[test]
fn symlinks_are_followed_inside_the_tree() {
    check("to", &[("to", "dir/sub")]);
    check("to/two", &[("to/two", "dir/sub/two")]);
    check("up", &[("up", "a.txt")]);
    assert!(find(&Made::new(&TREE), "loop").is_err());
}

#[test]
fn leading_outside_is_told_from_the_text() {
    for (pattern, outside) in [("a/../b", false), ("../a", true), ("a/../../b", true), ("/..", true), ("...", false)] {
        assert_eq!(leads_outside(pattern), outside, "{pattern}");
    }
}

#[test]
fn what_is_left_out_is_not_visited_unless_something_in_it_comes_back() {
    let tree = Made::new(&["keep", "out/", "out/a", "out/back/", "out/back/x", "gone/", "gone/y"]);
    let visited = |patterns: &[&str]| {
        let excludes = Excludes::new(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>()).unwrap();
        let mut seen = Vec::new();
        walk(&tree, b"", &excludes, &mut |name, _, _| {
            seen.push(String::from_utf8_lossy(name).into_owned());
            Ok(())
        })
        .unwrap();
        seen.join(" ")
    };
    assert_eq!(visited(&[]), "gone gone/y keep out out/a out/back out/back/x");
    assert_eq!(visited(&["out", "gone/y"]), "gone keep");
    assert_eq!(visited(&["out", "!out/back/x", "gone"]), "keep out out/back out/back/x");
}
