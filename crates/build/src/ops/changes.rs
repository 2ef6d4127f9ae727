//! What a COPY of folders takes now, beside what its former result holds: the names that `--explain` tells.
//!
//! What must stay true: only looked at when somebody asked for explanations; nothing is read from the disk but the former layer's index.

use std::collections::BTreeMap;
use std::path::Path;

use shipway_archive::index::Node;
use shipway_model::LayerId;
use shipway_store::Store;

use crate::graph::CopyOp;
use crate::ops::select::{Excludes, SourceTree, walk};
use crate::ops::selection::Selection;
use crate::ops::writer::bytes_of;

/// Names by what happened to them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) changed: Vec<String>,
    pub(crate) added: Vec<String>,
    pub(crate) gone: Vec<String>,
}

/// What a name leads to, as far as it matters for being the same.
#[derive(PartialEq, Eq)]
enum Thing {
    Folder,
    File([u8; 32]),
    Symlink(Vec<u8>),
    Other,
}

/// Compares the folders that `selection` takes from `tree` with the layer `former`; none where that cannot be told simply.
pub(crate) fn of_folders(store: &Store, former: &LayerId, op: &CopyOp, selection: &Selection, tree: &dyn SourceTree) -> Option<Changes> {
    let roots = selection.context_folders().filter(|_| !op.parents)?;
    let excludes = Excludes::new(&op.exclude).ok()?;
    let mut now: BTreeMap<Vec<u8>, Thing> = BTreeMap::new();
    for root in &roots {
        walk(tree, root, &excludes, &mut |relative, _, node| {
            let thing = match node.content {
                Some(content) => Thing::File(content),
                None if !node.target.is_empty() => Thing::Symlink(node.target.clone()),
                None if node.kind == shipway_sys::path::FileKind::Directory => Thing::Folder,
                None => Thing::Other,
            };
            now.insert(relative.to_vec(), thing);
            Ok(())
        })
        .ok()?;
    }
    let index = store.layer_index(former).ok()?;
    let destination = bytes_of(&shipway_sys::path::clean_inside(Path::new(&op.destination)));
    let skip = if destination.is_empty() { 0 } else { destination.len() + 1 };
    let mut before: BTreeMap<Vec<u8>, Thing> = BTreeMap::new();
    for entry in index.subtree(&destination).ok()? {
        let entry = entry.ok()?;
        let Some(relative) = entry.path.get(skip..).filter(|relative| !relative.is_empty()) else { continue };
        let thing = match &entry.node {
            Node::Directory { .. } => Thing::Folder,
            Node::File { content, .. } => Thing::File(*content),
            Node::Symlink { target } => Thing::Symlink(target.clone()),
            _ => Thing::Other,
        };
        before.insert(relative.to_vec(), thing);
    }
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let mut changes = Changes::default();
    for (name, thing) in &now {
        match before.remove(name.as_slice()) {
            None => changes.added.push(shown(name)),
            Some(former) if former != *thing => changes.changed.push(shown(name)),
            Some(_) => {}
        }
    }
    changes.gone.extend(before.keys().map(|name| shown(name)));
    Some(changes)
}
