//! What can be found wrong before anything is pulled or run, gathered into one answer.

use std::sync::Arc;

use shipway_dockerfile::{Diagnostic, Instruction, InstructionKind, Parsed, Source, SourceText, Span, Word};

use crate::context::ContextFiles;
use crate::errors::BuildError;
use crate::failure::{copying, narrowed};
use crate::graph::{BuildGraph, CopySource, Op};
use crate::lower::{error, unsupported};
use crate::ops::OpFailure;
use crate::request::BuildOptions;

/// The stage to build.
///
/// # Errors
/// The file's own errors when it has no stage at all; a target it does not have.
pub(crate) fn target(text: &Arc<SourceText>, parsed: &Parsed, options: &BuildOptions) -> Result<usize, BuildError> {
    let dockerfile = &parsed.dockerfile;
    if let Some(target) = dockerfile.target(options.target.as_deref()) {
        return Ok(target);
    }
    let mut diagnostics = parsed.diagnostics.clone();
    if let (Some(name), Some(last)) = (&options.target, dockerfile.stages.last()) {
        let mut finding = error("E-TARGET", last.from.span, format!("there is no stage \"{name}\" to build"));
        let names: Vec<&str> = dockerfile.stages.iter().filter_map(|stage| stage.name()).collect();
        finding.reason = Some(if names.is_empty() {
            format!("the file has {} stages without names; --target takes their numbers from 0", dockerfile.stages.len())
        } else {
            format!("the stages are {}", names.join(", "))
        });
        finding.hint = dockerfile.nearest_stage(name).map(|near| format!("did you mean --target {near}?"));
        finding.docker_text = Some(format!("failed to reach build target {name} in Dockerfile"));
        diagnostics.push(finding);
    }
    Err(BuildError::Dockerfile { text: text.clone(), diagnostics })
}

/// Everything the text and the context tell without expanding variables of images: the parser's errors, sources that are not there, what is not supported.
///
/// # Errors
/// All findings of the file, when one of them is an error.
pub(crate) fn before_anything_runs(
    text: &Arc<SourceText>,
    parsed: &Parsed,
    needed: &[bool],
    context: Option<&ContextFiles>,
    options: &BuildOptions,
) -> Result<(), BuildError> {
    let mut diagnostics = parsed.diagnostics.clone();
    diagnostics.extend(frontend(text, parsed, options));
    // With a stage misspelled, which stages are needed is not known; one answer with too much in it beats two.
    let is_guess = parsed.diagnostics.iter().any(|diagnostic| diagnostic.is_error() && diagnostic.code.starts_with("E-STAGE"));
    for stage in parsed.dockerfile.stages.iter().filter(|stage| is_guess || needed[stage.index]) {
        for instruction in &stage.instructions {
            diagnostics.extend(plain_sources(instruction, context));
        }
    }
    finish(text, diagnostics)
}

/// The sources of every COPY and ADD of the graph, now that all variables are known.
///
/// # Errors
/// All that are not there.
pub(crate) fn sources(text: &Arc<SourceText>, graph: &BuildGraph, context: Option<&ContextFiles>) -> Result<(), BuildError> {
    let Some(context) = context else { return Ok(()) };
    let mut diagnostics = Vec::new();
    for (_, vertex) in graph.iter() {
        let Op::Copy(copy) = &vertex.op else { continue };
        for source in &copy.sources {
            if let CopySource::Context { pattern } = source {
                diagnostics.extend(missing(context, pattern, narrowed(text, vertex.face.span, pattern), copy.add));
            }
        }
    }
    finish(text, diagnostics)
}

fn finish(text: &Arc<SourceText>, mut diagnostics: Vec<Diagnostic>) -> Result<(), BuildError> {
    if !diagnostics.iter().any(Diagnostic::is_error) {
        return Ok(());
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.start_byte);
    Err(BuildError::Dockerfile { text: text.clone(), diagnostics })
}

/// Sources of an instruction that can be looked up as they are written.
fn plain_sources(instruction: &Instruction, context: Option<&ContextFiles>) -> Vec<Diagnostic> {
    let (sources, is_add) = match &instruction.kind {
        InstructionKind::Copy(copy) if copy.from.is_none() => (&copy.sources, false),
        InstructionKind::Add(add) => (&add.sources, true),
        _ => return Vec::new(),
    };
    let paths = sources.iter().filter_map(|source| match source {
        Source::Path(word) if is_plain(word) && !word.text.contains("://") && !word.text.starts_with("git@") => Some(word),
        _ => None,
    });
    match context {
        Some(context) => paths.filter_map(|word| missing(context, &word.text, word.span, is_add)).collect(),
        None => paths.take(1).map(|word| no_context(&word.text, word.span, is_add)).collect(),
    }
}

/// M-27: there is nothing to copy from.
pub(crate) fn no_context(pattern: &str, span: Span, is_add: bool) -> Diagnostic {
    let keyword = if is_add { "ADD" } else { "COPY" };
    let docker =
        format!("{keyword} failed: file not found in build context or excluded by .dockerignore: stat {pattern}: file does not exist");
    Diagnostic {
        reason: Some("the Dockerfile came on standard input, so there are no files to copy".to_owned()),
        hint: Some("add the context directory: shipway build -f - . < Dockerfile".to_owned()),
        docker_text: Some(docker),
        ..error("E-NO-CONTEXT", span, format!("this build has no context, so there is no \"{pattern}\" in it"))
    }
}

/// Whether expanding would change nothing.
fn is_plain(word: &Word) -> bool {
    !word.text.contains(['$', '"', '\'', '\\', '`'])
}

fn missing(context: &ContextFiles, pattern: &str, span: Span, is_add: bool) -> Option<Diagnostic> {
    let is_wildcard = pattern.contains(['*', '?', '[']);
    match context.find(pattern) {
        Ok(found) if !found.is_empty() || is_wildcard => None,
        Ok(_) => Some(copying(&context.missing(pattern), span, is_add)),
        Err(OpFailure::Finding(finding)) => Some(copying(&finding, span, is_add)),
        Err(failure) => Some(error("E-CONTEXT", span, failure.line())),
    }
}

/// `# syntax=`: every version of docker/dockerfile is the built-in one; others would have to be run as containers.
fn frontend(text: &Arc<SourceText>, parsed: &Parsed, options: &BuildOptions) -> Option<Diagnostic> {
    let given = options.build_args.iter().rev().find(|(name, _)| name == "BUILDKIT_SYNTAX").and_then(|(_, value)| value.clone());
    let (syntax, span) = match (given, &parsed.dockerfile.directives.syntax) {
        (Some(given), directive) => {
            let start = shipway_dockerfile::Position { line: 1, column: 1 };
            let top = Span { start, end: start, start_byte: 0, end_byte: 0 };
            (given, directive.as_ref().map_or(top, |(_, span)| *span))
        }
        (None, Some((syntax, span))) => (syntax.clone(), *span),
        (None, None) => return None,
    };
    let _ = text;
    let name = syntax.split_whitespace().next().unwrap_or_default();
    let repository = name.trim_start_matches("docker.io/").split(['@', ':']).next().unwrap_or_default();
    let built_in = ["docker/dockerfile", "docker/dockerfile-upstream", "dockerfile.v0", ""];
    (!built_in.contains(&repository)).then(|| unsupported(span, format!("the Dockerfile syntax \"{name}\"")))
}
