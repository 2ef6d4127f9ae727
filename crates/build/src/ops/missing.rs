//! What to say about a source that is not there: the nearest thing that is, and which instruction made it.

pub(crate) mod program;

use shipway_model::{ErrorKind, LayerId};
use shipway_store::Store;
use shipway_sys::path::FileKind;

use crate::ops::layer::View;
use crate::ops::select::{self, SourceTree, base_name, join, parent};
use crate::ops::{OpFinding, Stack};
use crate::suggestions;

/// How many entries a search for a file of the same name visits.
const SEARCH_LIMIT: usize = 200_000;

/// Where a COPY --from looked.
pub(crate) struct CopiedFrom<'a> {
    /// The COPY itself, as written.
    pub(crate) instruction: &'a str,
    pub(crate) stack: &'a Stack,
    /// For each layer made in this build, the instruction that made it and its line; none for an image.
    pub(crate) origins: &'a [(LayerId, String, u32)],
}

impl CopiedFrom<'_> {
    /// `stage "builder"`, as the user calls it.
    fn name(&self) -> String {
        let value = self.instruction.split_whitespace().find_map(|word| word.strip_prefix("--from=")).unwrap_or_default();
        match value.trim_matches(['"', '\'']) {
            name if name.is_empty() || name.contains('$') => "the stage copied from".to_owned(),
            name if name.bytes().all(|byte| byte.is_ascii_digit()) => format!("stage {name}"),
            name if self.origins.is_empty() => format!("\"{name}\""),
            name => format!("stage \"{name}\""),
        }
    }

    /// The COPY with the path it should have, when the path stands in it as it was looked up.
    fn corrected(&self, pattern: &str, near: &str) -> Option<String> {
        let mut words: Vec<&str> = self.instruction.split(' ').collect();
        let wrong = words.iter().position(|word| *word == pattern)?;
        words[wrong] = near;
        Some(words.join(" "))
    }

    /// The instruction whose layer `path` is seen from.
    fn maker_of(&self, store: &Store, path: &[u8]) -> Option<String> {
        let layers = self.stack.layers.iter().rev();
        let holder = layers
            .into_iter()
            .find(|layer| store.layer_index(layer).is_ok_and(|index| index.lookup(path).is_ok_and(|entry| entry.is_some())))?;
        let (_, instruction, line) = self.origins.iter().find(|(layer, ..)| layer == holder)?;
        Some(format!("made by \"{instruction}\", line {line}"))
    }
}

/// A path that the tree of a stage does not have (M-15, M-16, M-17).
pub(crate) fn in_tree(store: &Store, view: &View, pattern: &str, from: &CopiedFrom<'_>) -> OpFinding {
    let wanted = clean(pattern);
    let shown = String::from_utf8_lossy(&wanted).into_owned();
    let name = from.name();
    let finding = OpFinding::new("E-COPY-FROM-NOTFOUND", ErrorKind::NotFound, format!("{name} has no \"/{shown}\""))
        .about(pattern)
        .docker(format!("COPY failed: stat {shown}: file does not exist"));
    let Some(near) = nearest_path(view, &wanted).or_else(|| same_name(view, &wanted)) else {
        let finding = finding.because(what_is_there(view, &wanted, &name));
        return if from.origins.is_empty() {
            finding
        } else {
            finding.hint(format!("add the instruction that makes it to {name}, or copy a path that is there"))
        };
    };
    let near = format!("/{}", String::from_utf8_lossy(&near));
    let maker = from.maker_of(store, &near.as_bytes()[1..]).map(|maker| format!(" ({maker})")).unwrap_or_default();
    let advice = from.corrected(pattern, &near).map(|copy| format!(" Use {copy}")).unwrap_or_default();
    finding.because(format!("it has {near}{maker}")).hint(format!("did you mean {near}?{advice}"))
}

/// A path whose every missing name is nearly one that is there.
pub(crate) fn nearest_path(tree: &dyn SourceTree, wanted: &[u8]) -> Option<Vec<u8>> {
    let mut at: Vec<u8> = Vec::new();
    for name in wanted.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let next = join(&at, name);
        if let Ok(Some((real, _))) = select::resolve(tree, &next) {
            at = real;
            continue;
        }
        let names: Vec<String> = tree.names(&at).ok()?.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect();
        let wanted = String::from_utf8_lossy(name).into_owned();
        let near = suggestions::nearest(&wanted, names.iter().map(String::as_str))?;
        at = join(&at, near.as_bytes());
    }
    (!at.is_empty() && at != wanted).then_some(at)
}

/// A path elsewhere in the tree with the same last name, the shortest one.
pub(crate) fn same_name(tree: &dyn SourceTree, wanted: &[u8]) -> Option<Vec<u8>> {
    let name = base_name(wanted);
    let mut open: std::collections::VecDeque<Vec<u8>> = [Vec::new()].into();
    let mut visited = 0;
    while let Some(folder) = open.pop_front() {
        for child in tree.names(&folder).ok()? {
            visited += 1;
            if visited > SEARCH_LIMIT {
                return None;
            }
            let path = join(&folder, &child);
            if child == name && path != wanted {
                return Some(path);
            }
            if tree.node(&path).ok()?.is_some_and(|node| node.kind == FileKind::Directory) {
                open.push_back(path);
            }
        }
    }
    None
}

/// How many names of a folder are listed.
const LISTED: usize = 5;

/// What is not made: the first folder of the path that is missing, and what is there in its place.
fn what_is_there(tree: &dyn SourceTree, wanted: &[u8], name: &str) -> String {
    let mut missing = wanted;
    let mut folder = parent(wanted);
    while !folder.is_empty() && !matches!(select::resolve(tree, folder), Ok(Some(_))) {
        missing = folder;
        folder = parent(folder);
    }
    let names = tree.names(folder).unwrap_or_default();
    let (missing, folder) = (String::from_utf8_lossy(missing), String::from_utf8_lossy(folder));
    let separator = if folder.is_empty() { "" } else { "/" };
    let listed: Vec<String> =
        names.iter().take(LISTED).map(|name| format!("/{folder}{separator}{}", String::from_utf8_lossy(name))).collect();
    let there = match names.len() {
        0 => format!("/{folder} is empty there"),
        1..=LISTED => format!("it has {} only", listed.join(", ")),
        more => format!("it has {} and {} more", listed.join(", "), more - LISTED),
    };
    format!("nothing in {name} creates /{missing}; {there}")
}

fn clean(pattern: &str) -> Vec<u8> {
    let cleaned = shipway_sys::path::clean_inside(std::path::Path::new(pattern));
    super::writer::bytes_of(&cleaned)
}
