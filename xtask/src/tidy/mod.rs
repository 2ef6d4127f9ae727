//! The rules of the house that no compiler checks.
//!
//! Fails on a broken rule; reports the longest files, which fail nothing.

mod layers;
mod rules;

use std::path::{Path, PathBuf};

/// Files shown in the report of length.
const LONGEST: usize = 20;

/// Checks every rule and tells all that is broken at once.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let files = sources(root).map_err(|error| format!("cannot read the sources: {error}"))?;
    let mut findings = layers::check(root)?;
    findings.extend(rules::check(root, &files));
    report_length(root, &files);
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if findings.is_empty() { Ok(()) } else { Err(format!("{} broken rules", findings.len())) }
}

/// A Rust file of ours with its text.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

fn sources(root: &Path) -> std::io::Result<Vec<Source>> {
    let mut files = Vec::new();
    for top in ["crates", "src", "tests", "xtask"] {
        gather(&root.join(top), &mut files)?;
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn gather(folder: &Path, files: &mut Vec<Source>) -> std::io::Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(Source { text: std::fs::read_to_string(&path)?, path });
        }
    }
    Ok(())
}

fn report_length(root: &Path, files: &[Source]) {
    let mut lengths: Vec<(usize, &Path)> = files.iter().map(|file| (file.text.lines().count(), file.path.as_path())).collect();
    lengths.sort_by_key(|(lines, _)| std::cmp::Reverse(*lines));
    println!("longest files:");
    for (lines, path) in lengths.iter().take(LONGEST) {
        println!("{lines:6} {}", path.strip_prefix(root).unwrap_or(path).display());
    }
}
