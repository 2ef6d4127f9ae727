//! What a relative WORKDIR comes to (M-18): the check of the file alone cannot know the base image's folder, the graph does.

use shipway_dockerfile::Diagnostic;

use crate::graph::{BuildGraph, Op};

/// The name of the check in the Dockerfile's table of checks.
const CHECK: &str = "WorkdirRelativePath";

/// Whether a warning is about a relative WORKDIR.
pub(crate) fn is_about_a_relative_one(warning: &Diagnostic) -> bool {
    warning.code == CHECK
}

/// The warning with the folder it leads to here, where a graph tells it; stages that are not built have none. Other warnings are as they were.
pub(crate) fn resolved(warning: &Diagnostic, graph: Option<&BuildGraph>) -> Diagnostic {
    if !is_about_a_relative_one(warning) {
        return warning.clone();
    }
    let line = warning.span.start.line;
    let folder = graph.into_iter().flat_map(BuildGraph::iter).find_map(|(_, vertex)| match &vertex.op {
        Op::Workdir(workdir) if vertex.face.span.start.line == line => Some((workdir.path.as_str(), vertex.face.instruction.as_str())),
        _ => None,
    });
    let Some((path, instruction)) = folder else { return warning.clone() };
    Diagnostic {
        reason: Some(format!("{instruction} is {path} here; it changes if the base image changes")),
        hint: Some(format!("write WORKDIR {path}")),
        ..warning.clone()
    }
}
