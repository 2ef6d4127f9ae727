//! `.dockerignore`: which paths of a context are left out, by which line, and which folders need not be walked.
//!
//! What must stay true: answers are those of BuildKit, which walks from the top and keeps for every pattern whether it matched a parent. The last
//! pattern that matches decides; a pattern is looked at only while it could change the verdict.
//!
//! Source: moby/patternmatcher (`MatchesUsingParentResults`, `ignorefile.ReadAll`), Go `path.Clean`.

use crate::Error;
use crate::error::show;
use crate::glob::Pattern;

/// One pattern of the file.
#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    exception: bool,
    line: usize,
}

/// A parsed ignore file.
#[derive(Debug, Clone, Default)]
pub struct IgnoreFile {
    rules: Vec<Rule>,
    exceptions: bool,
}

/// The answer for one path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Whether the path is left out.
    pub excluded: bool,
    /// Line of the pattern that decided, counted from 1; none when no pattern matched.
    pub line: Option<usize>,
    /// For each pattern whether it matches this path or a folder above it; handed to the paths below.
    matched: Vec<bool>,
}

impl IgnoreFile {
    /// Reads the text of an ignore file.
    ///
    /// # Errors
    /// `Pattern` for a pattern that Go's `filepath.Match` refuses, and for `!` alone.
    pub fn parse(text: &[u8]) -> Result<IgnoreFile, Error> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut file = IgnoreFile::default();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            // Only a `#` in the first column makes a comment.
            if !line.starts_with(b"#") {
                file.add(line, number + 1)?;
            }
        }
        Ok(file)
    }

    /// Makes the same from patterns that stand in no file, e.g. `COPY --exclude`; lines are their places counted from 1.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a [u8]>) -> Result<IgnoreFile, Error> {
        let mut file = IgnoreFile::default();
        for (number, pattern) in patterns.into_iter().enumerate() {
            file.add(pattern, number + 1)?;
        }
        Ok(file)
    }

    fn add(&mut self, text: &[u8], line: usize) -> Result<(), Error> {
        let text = text.trim_ascii();
        let (exception, body) = text.strip_prefix(b"!").map_or((false, text), |rest| (true, rest.trim_ascii()));
        if body.is_empty() {
            return if exception { Err(Error::Pattern { pattern: show(text) }) } else { Ok(()) };
        }
        let mut cleaned = clean(body);
        if cleaned.len() > 1 && cleaned[0] == b'/' {
            cleaned.remove(0);
        }
        // Go checks with its own matcher, for which `**` is nothing special.
        Pattern::parse(&cleaned)?;
        self.rules.push(Rule { pattern: Pattern::parse_spanning(&cleaned)?, exception, line });
        self.exceptions |= exception;
        Ok(())
    }

    /// True when nothing is ever left out.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The verdict on `path` (relative, cleaned) whose folder got `parent`; for a path at the top pass `Verdict::default()`.
    pub fn judge(&self, path: &[u8], parent: &Verdict) -> Verdict {
        let mut verdict = Verdict { excluded: false, line: None, matched: Vec::with_capacity(self.rules.len()) };
        for (number, rule) in self.rules.iter().enumerate() {
            let inherited = parent.matched.get(number).copied().unwrap_or(false);
            // A pattern that would only repeat the verdict is not even tried, and so not handed down either: the reference does it this way.
            let matches = inherited || rule.exception == verdict.excluded && rule.pattern.matches(path);
            verdict.matched.push(matches);
            if matches {
                verdict.excluded = !rule.exception;
                verdict.line = Some(rule.line);
            }
        }
        verdict
    }

    /// The verdict on any path, walked down from the top.
    pub fn judge_alone(&self, path: &[u8]) -> Verdict {
        let mut verdict = Verdict::default();
        for (at, byte) in path.iter().enumerate() {
            if *byte == b'/' {
                verdict = self.judge(&path[..at], &verdict);
            }
        }
        self.judge(path, &verdict)
    }

    /// True when the folder `path` with this verdict is left out with all below it, so that it need not be read.
    pub fn may_skip_dir(&self, path: &[u8], verdict: &Verdict) -> bool {
        if !verdict.excluded {
            return false;
        }
        if !self.exceptions {
            return true;
        }
        let below = [path, b"/"].concat();
        !self
            .rules
            .iter()
            .zip(&verdict.matched)
            .any(|(rule, matched)| rule.exception && (*matched || rule.pattern.could_match_below(&below)))
    }
}

/// Go's `path.Clean`: no double slashes, no `.`, no `..` that can be resolved; the empty path is `.`.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if kept.last().is_some_and(|last| *last != b"..") => {
                kept.pop();
            }
            b".." if rooted => {}
            other => kept.push(other),
        }
    }
    let joined = kept.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, excluded: &[&str], kept: &[&str]) {
        let ignore = IgnoreFile::parse(file.as_bytes()).expect(file);
        for path in excluded {
            assert!(ignore.judge_alone(path.as_bytes()).excluded, "{file:?} should leave out {path:?}");
        }
        for path in kept {
            assert!(!ignore.judge_alone(path.as_bytes()).excluded, "{file:?} should keep {path:?}");
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_to_docker() {
        check("", &[], &["a"]);
        check("node_modules", &["node_modules", "node_modules/x/y"], &["a/node_modules", "node_modules2"]);
        check("**/node_modules", &["node_modules/x", "a/b/node_modules/c"], &["a/nodemodules"]);
        check("*.log", &["a.log", "a.log/x"], &["d/a.log", "a.logs"]);
        check("*/temp*", &["a/temporary.txt", "a/temp"], &["temp", "a/b/temp"]);
        check("/build/\n./dist//\nx/../y", &["build/a", "dist", "y"], &["x"]);
        check("\u{feff}first\n#second\n #third\n  fourth  \r\n\n", &["first", "#third", "fourth"], &["second", "#second"]);
        check("*\n!README.md\n!src", &["a", "docs/README.md"], &["README.md", "src", "src/a/b"]);
        check("*.md\n!README*.md\nREADME-secret.md", &["a.md", "README-secret.md"], &["README.md"]);
        check("!README.md\n*.md", &["README.md"], &[]);
        check("docs\n!docs/keep\n", &["docs", "docs/a", "docs/keeper"], &["docs/keep", "docs/keep/b"]);
        check("**/*.py[co]\n**\\\\x", &["a/b.pyc", "c.pyo"], &["d.py"]);
        check("a/**", &["a/b", "a/b/c"], &["a"]);
        check(".git", &[".git/config"], &["xgit", ".gitignore"]);
        check("a+b(c)|d$e^", &["a+b(c)|d$e^"], &["aab(c)"]);
        check(".", &[], &["a", ".a"]);
        check("..\n../x\n/", &[], &["x", "a"]);
    }

    #[test]
    fn an_exception_for_a_parent_counts_only_where_it_was_tried() {
        // At "a" nothing is excluded yet, so "!a" is not tried there, and it does not match "a/b": the walk of BuildKit leaves "a/b" out.
        check("*/b\n!a", &["a/b"], &["a"]);
    }

    #[test]
    fn the_line_that_decides_is_told() {
        let ignore = IgnoreFile::parse(b"# head\n\nnode_modules\n*.txt\n!keep.txt\n").expect("parse");
        for (path, excluded, line) in
            [("node_modules/a", true, Some(3)), ("a.txt", true, Some(4)), ("keep.txt", false, Some(5)), ("other", false, None)]
        {
            let verdict = ignore.judge_alone(path.as_bytes());
            assert_eq!((verdict.excluded, verdict.line), (excluded, line), "{path}");
        }
    }

    #[test]
    fn broken_patterns_are_errors() {
        for file in ["!", "! ", "[", "a[b", "x\\", "[]", "a\n[-]"] {
            assert!(IgnoreFile::parse(file.as_bytes()).is_err(), "{file:?}");
        }
    }

    #[test]
    fn folders_are_skipped_only_when_nothing_below_can_come_back() {
        for (file, folder, skip) in [
            ("node_modules", "node_modules", true),
            ("node_modules", "src", false),
            ("*\n!src", "docs", true),
            ("*\n!src/a/b", "src", false),
            ("*\n!src/a/b", "src/x", true),
            ("*\n!**/*.md", "docs", false),
            ("*\n!*.md", "docs", true),
            ("docs\n!docs/*/x", "docs/sub", false),
            ("docs\n!docs/*/x", "docs/sub/y", true),
        ] {
            let ignore = IgnoreFile::parse(file.as_bytes()).expect(file);
            let verdict = ignore.judge_alone(folder.as_bytes());
            assert_eq!(ignore.may_skip_dir(folder.as_bytes(), &verdict), skip, "{file:?} {folder}");
        }
    }

    #[test]
    fn clean_is_gos() {
        for (path, expected) in
            [("", "."), ("a//b/./c/..", "a/b"), ("/../a", "/a"), ("../a/../..", "../.."), ("/", "/"), ("a/", "a"), ("./", ".")]
        {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }
}
