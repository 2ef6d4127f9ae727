//! What the sources of a COPY or ADD bring, found out before the key is known: paths matched, entries with digests, downloads.
//!
//! What must stay true: nothing is written into any layer here; a source without wildcards that brings nothing is a finding.

use std::sync::Arc;

use crate::graph::{CopyOp, CopySource, VertexIndex};
use crate::key::TakenEntry;
use crate::ops::layer::View;
use crate::ops::select::{self, Excludes, Match, SourceTree, base_name};
use crate::ops::{OpFailure, Stack, add, missing};
use crate::solver::{Around, Inputs};

/// What a COPY takes.
pub(crate) struct Selection {
    pub(super) sources: Vec<Selected>,
}

/// What one source of a COPY brings.
pub(super) struct Selected {
    pub(super) origin: SelectedFrom,
    pub(super) matches: Vec<Match>,
    taken: Vec<TakenEntry>,
}

/// Where it is.
#[derive(Clone)]
pub(super) enum SelectedFrom {
    Context,
    Tree(Stack),
    Inline {
        name: String,
        content: String,
    },
    /// Downloaded already, unless its checksum is known: then only when it is needed.
    Url {
        url: String,
        download: Option<Arc<add::Download>>,
    },
}

impl Selection {
    /// Whether all of it is one folder.
    pub(crate) fn is_one_folder(&self) -> bool {
        matches!(self.sources.as_slice(), [Selected { matches, .. }] if matches!(matches.as_slice(), [Match { is_folder: true, .. }]))
    }

    /// The entries for the key, per source.
    pub(crate) fn taken(&self) -> Vec<Vec<TakenEntry>> {
        self.sources.iter().map(|source| source.taken.clone()).collect()
    }

    /// The folders of the context that are taken; none when anything else is taken too.
    pub(super) fn context_folders(&self) -> Option<Vec<Vec<u8>>> {
        let is_context = |source: &Selected| matches!(source.origin, SelectedFrom::Context);
        let mut matches = self.sources.iter().flat_map(|source| &source.matches);
        (self.sources.iter().all(is_context) && matches.all(|found| found.is_folder))
            .then(|| self.sources.iter().flat_map(|source| &source.matches).map(|found| found.real.clone()).collect())
    }
}

/// Looks up what the sources bring.
///
/// # Errors
/// A source that brings nothing, with what is there instead.
pub(crate) async fn select(around: &Arc<Around>, op: &CopyOp, instruction: &str, inputs: &Inputs) -> Result<Selection, OpFailure> {
    let mut trees: Vec<(Option<VertexIndex>, Stack)> = Vec::new();
    for source in &op.sources {
        if let CopySource::Tree { vertex, .. } = source {
            trees.push((*vertex, inputs.tree(*vertex)?));
        }
    }
    let excludes = Excludes::new(&op.exclude)?;
    let mut sources = Vec::new();
    for source in &op.sources {
        sources.push(match source {
            CopySource::Context { pattern } => {
                let context = around.context.as_ref().ok_or_else(|| OpFailure::internal("there is no build context"))?;
                let matches = context.find(pattern)?;
                if matches.is_empty() && !is_wildcard(pattern) {
                    return Err(context.missing(pattern).into());
                }
                chosen(op, SelectedFrom::Context, context.as_ref(), matches, pattern, &excludes)?
            }
            CopySource::Tree { vertex, pattern } => {
                let stack = trees.iter().find(|(known, _)| known == vertex).map(|(_, stack)| stack.clone()).unwrap_or_else(Stack::empty);
                let view = View::of(&around.store, &stack)?;
                let matches = select::find(&view, pattern)?;
                if matches.is_empty() && !is_wildcard(pattern) {
                    let origins = crate::solver::origins(around, inputs, *vertex);
                    let from = missing::CopiedFrom { instruction, stack: &stack, origins: &origins };
                    return Err(missing::in_tree(&around.store, &view, pattern, &from).into());
                }
                chosen(op, SelectedFrom::Tree(stack), &view, matches, pattern, &excludes)?
            }
            CopySource::Inline { name, content } => {
                let digest = blake3::hash(content.as_bytes()).into();
                let taken = vec![TakenEntry { name: name.clone().into_bytes(), digest }];
                Selected { origin: SelectedFrom::Inline { name: name.clone(), content: content.clone() }, matches: Vec::new(), taken }
            }
            CopySource::Url { url } if op.checksum.is_some() => {
                Selected { origin: SelectedFrom::Url { url: url.clone(), download: None }, matches: Vec::new(), taken: Vec::new() }
            }
            // What an address leads to may change, so only its bytes tell whether the result is known.
            CopySource::Url { url } => {
                let download = add::download(around, url, None).await?;
                let taken = vec![TakenEntry { name: url.clone().into_bytes(), digest: download.digest() }];
                Selected { origin: SelectedFrom::Url { url: url.clone(), download: Some(Arc::new(download)) }, matches: Vec::new(), taken }
            }
        });
    }
    Ok(Selection { sources })
}

fn chosen(
    op: &CopyOp,
    origin: SelectedFrom,
    tree: &dyn SourceTree,
    matches: Vec<Match>,
    pattern: &str,
    excludes: &Excludes,
) -> Result<Selected, OpFailure> {
    let mut taken = Vec::new();
    for found in &matches {
        let name = if op.parents {
            below_pivot(pattern, &found.written)
        } else if found.is_folder {
            Vec::new()
        } else {
            base_name(&found.written).to_vec()
        };
        if !found.is_folder && excludes.excludes(base_name(&found.written)) {
            continue;
        }
        taken.extend(select::taken(tree, found, &name, excludes)?);
    }
    Ok(Selected { origin, matches, taken })
}

/// The path of a match that `--parents` keeps: what stands after the `./` of the pattern, or all of it.
pub(super) fn below_pivot(pattern: &str, written: &[u8]) -> Vec<u8> {
    let pivot = match pattern.find("/./") {
        Some(at) => pattern[..at].split('/').filter(|part| !part.is_empty() && *part != ".").count(),
        None => 0,
    };
    let parts: Vec<&[u8]> = written.split(|byte| *byte == b'/').collect();
    parts.get(pivot..).unwrap_or_default().join(&b'/')
}

fn is_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}
