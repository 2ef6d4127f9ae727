//! What the rest of the file has to do with a step that failed: where its output would have gone, how little was copied before it.

use crate::graph::{CopySource, Op, VertexIndex};
use crate::ops::select::{SourceTree, join};
use crate::solver::Around;

/// As many files of a context are counted; more are enough to build something.
const FEW: usize = 2;

/// M-02: a redirection to a relative path writes into the working folder, and a later instruction may look for it.
pub(super) fn relative_redirection(around: &Around, index: VertexIndex) -> Option<String> {
    let Op::Run(run) = &around.graph.vertex(index).op else { return None };
    let target = redirected_to(run.args.last()?)?;
    let written = format!("{}/{target}", run.cwd.trim_end_matches('/'));
    let note = format!("\"> {target}\" writes into the working folder: {written}");
    let base = target.rsplit('/').next().unwrap_or(target);
    let copied = around.graph.iter().find_map(|(_, vertex)| {
        let Op::Copy(copy) = &vertex.op else { return None };
        let pattern = copy.sources.iter().find_map(|source| match source {
            CopySource::Tree { vertex: Some(from), pattern } if comes_from(around, *from, index) => Some(pattern),
            _ => None,
        })?;
        (pattern.rsplit('/').next() == Some(base)).then(|| (vertex.face.span.start.line, pattern.clone()))
    });
    Some(match copied {
        Some((line, path)) if path == written => format!("{note}, which line {line} copies"),
        Some((line, path)) => format!("{note}, but line {line} copies {path}"),
        None => note,
    })
}

/// Whether the tree of `top` has the layer of `below` in it.
fn comes_from(around: &Around, top: VertexIndex, below: VertexIndex) -> bool {
    let mut current = Some(top);
    while let Some(index) = current {
        if index == below {
            return true;
        }
        current = around.graph.vertex(index).parent;
    }
    false
}

/// The plain relative path after the last `>` of a command.
fn redirected_to(command: &str) -> Option<&str> {
    let (before, after) = command.rsplit_once('>')?;
    if before.ends_with(['&', '|', '<', '=', '-']) {
        return None;
    }
    let path = after.trim_start().split([' ', '\t', '\n', ';', '|', '&', ')']).next()?;
    (!path.is_empty() && !path.starts_with(['/', '&', '(']) && !path.contains(['$', '"', '\'', '`', '\\'])).then_some(path)
}

/// M-14: a tool that finds nothing to work on often only lacks its sources.
pub(super) fn little_was_copied(around: &Around, index: VertexIndex) -> Option<String> {
    let context = around.context.as_ref()?;
    let mut current = around.graph.vertex(index).parent;
    while let Some(index) = current {
        let vertex = around.graph.vertex(index);
        current = vertex.parent;
        let Op::Copy(copy) = &vertex.op else { continue };
        for source in &copy.sources {
            let CopySource::Context { pattern } = source else { continue };
            let found = context.find(pattern).ok()?;
            if !found.iter().any(|found| found.is_folder) {
                continue;
            }
            let mut names = Vec::new();
            for found in &found {
                files_below(&**context, &found.real, &mut names);
            }
            let said = match names.len() {
                0 => "no file".to_owned(),
                1 => format!("1 file only, {}", names[0]),
                FEW => format!("{FEW} files only, {}", names.join(" and ")),
                _ => continue,
            };
            return Some(format!(
                "\"{}\" on line {} brought {said}: are the sources in the context?",
                vertex.face.instruction, vertex.face.span.start.line
            ));
        }
    }
    None
}

/// Files at or below a path, up to one more than a few.
fn files_below(tree: &dyn SourceTree, path: &[u8], names: &mut Vec<String>) {
    if names.len() > FEW {
        return;
    }
    match tree.names(path) {
        Ok(children) if tree.node(path).is_ok_and(|node| node.is_some_and(|node| node.kind == shipway_sys::path::FileKind::Directory)) => {
            for child in children {
                files_below(tree, &join(path, &child), names);
            }
        }
        _ => names.push(String::from_utf8_lossy(path).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::redirected_to;

    #[test]
    fn only_plain_relative_targets_are_spoken_of() {
        for (command, expected) in [
            ("ECHO 'Building...' > build.txt", Some("build.txt")),
            ("echo a >> out/b.txt; c", Some("out/b.txt")),
            ("echo a > /build.txt", None),
            ("echo a > $FILE", None),
            ("echo a 2>&1", None),
            ("echo a", None),
            ("echo a >", None),
        ] {
            assert_eq!(redirected_to(command), expected, "{command}");
        }
    }
}
