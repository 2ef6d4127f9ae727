//! Small rules about texts: heads of files, test binaries, unfinished marks, unsafe code, registry hosts.

use std::path::Path;

use super::Source;

/// Marks of unfinished work that must not land.
const UNFINISHED: &[&str] = &["todo!(", "unimplemented!(", "#[ignore", "FIXME"];

/// Everything that is broken, as `path: what`.
pub(super) fn check(root: &Path, files: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        let path = file.path.strip_prefix(root).unwrap_or(&file.path);
        let shown = path.display();
        // This file names the marks it looks for.
        let is_itself = path.ends_with("xtask/src/tidy/rules.rs");
        let has_head = file.text.trim_start().starts_with("//!") || file.text.starts_with("#![doc = include_str!");
        if !has_head && !is_test_file(path) {
            findings.push(format!("{shown}: begins without a head comment saying what lives here"));
        }
        for mark in UNFINISHED.iter().filter(|mark| !is_itself && file.text.contains(**mark)) {
            findings.push(format!("{shown}: contains {mark}"));
        }
        let may_be_unsafe = path.starts_with("crates/sys");
        if !may_be_unsafe
            && !is_itself
            && file
                .text
                .lines()
                .any(|line| line.trim_start().starts_with("unsafe ") || line.contains("= unsafe {") || line.contains("allow(unsafe_code"))
        {
            findings.push(format!("{shown}: unsafe code lives in crate sys"));
        }
    }
    findings.extend(several_test_binaries(root));
    findings
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("tests.rs"))
}

/// One integration binary per crate: every further one links the whole crate again.
fn several_test_binaries(root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    let crates = std::fs::read_dir(root.join("crates")).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in crates.chain([root.to_owned()]) {
        let tests = std::fs::read_dir(folder.join("tests")).into_iter().flatten().flatten();
        let binaries = tests
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs") || entry.path().join("main.rs").exists())
            .count();
        if binaries > 1 {
            findings.push(format!(
                "{}: {binaries} integration binaries, one is enough",
                folder.strip_prefix(root).unwrap_or(&folder).join("tests").display()
            ));
        }
    }
    findings
}
