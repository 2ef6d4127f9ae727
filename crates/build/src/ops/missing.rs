//! What to say about a source that is not there: the nearest thing that is, and which instruction made it.

use shipway_model::{ErrorKind, LayerId};
use shipway_store::Store;
use shipway_sys::path::FileKind;

use crate::ops::layer::View;
use crate::ops::select::{self, SourceTree, base_name, join, parent};
use crate::ops::{OpFinding, Stack};
use crate::suggestions;

/// How many entries a search for a file of the same name visits.
const SEARCH_LIMIT: usize = 200_000;

/// A path that the tree of a stage does not have (M-15, M-16, M-17).
pub(crate) fn in_tree(store: &Store, view: &View, pattern: &str, stack: &Stack, origins: &[(LayerId, String)]) -> OpFinding {
    let wanted = clean(pattern);
    let shown = String::from_utf8_lossy(&wanted).into_owned();
    let finding = OpFinding::new("E-COPY-FROM-NOTFOUND", ErrorKind::NotFound, format!("the tree copied from has no \"/{shown}\""))
        .docker(format!("COPY failed: stat {shown}: file does not exist"));
    let Some(near) = nearest_path(view, &wanted).or_else(|| same_name(view, &wanted)) else {
        return finding.because(what_is_there(view, &wanted, origins.is_empty()));
    };
    let near_text = String::from_utf8_lossy(&near).into_owned();
    let maker = maker_of(store, stack, origins, &near).map(|made_by| format!(" (made by \"{made_by}\")")).unwrap_or_default();
    finding.because(format!("it has /{near_text}{maker}")).hint(format!("did you mean /{near_text}?"))
}

/// The instruction whose layer `path` is seen from.
fn maker_of(store: &Store, stack: &Stack, origins: &[(LayerId, String)], path: &[u8]) -> Option<String> {
    let holder = stack.layers.iter().rev().find(|layer| store.layer_index(layer).is_ok_and(|index| index.lookup(path).is_some()))?;
    origins.iter().find(|(layer, _)| layer == holder).map(|(_, instruction)| instruction.clone())
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

/// The nearest folder above that exists, and what is in it.
fn what_is_there(tree: &dyn SourceTree, wanted: &[u8], is_image: bool) -> String {
    let maker = if is_image { "that image" } else { "that stage" };
    let mut folder = parent(wanted);
    while !folder.is_empty() && !matches!(select::resolve(tree, folder), Ok(Some(_))) {
        folder = parent(folder);
    }
    let names = tree.names(folder).unwrap_or_default();
    let shown = String::from_utf8_lossy(folder).into_owned();
    if names.is_empty() {
        return format!("nothing in {maker} creates it; /{shown} is empty there");
    }
    let listed: Vec<String> = names.iter().take(LISTED).map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let more = if names.len() > LISTED { format!(" and {} more", names.len() - LISTED) } else { String::new() };
    format!("nothing in {maker} creates it; /{shown} there has {}{more}", listed.join(", "))
}

fn clean(pattern: &str) -> Vec<u8> {
    let cleaned = shipway_sys::path::clean_inside(std::path::Path::new(pattern));
    super::writer::bytes_of(&cleaned)
}
