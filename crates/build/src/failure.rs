//! From a failure of a vertex to an error with a place in the Dockerfile.

mod notes;

use std::sync::Arc;

use shipway_dockerfile::{Diagnostic, Dockerfile, Position, SourceText, Span};

use crate::errors::{BuildError, StepFailure};
use crate::graph::{Op, VertexIndex};
use crate::lower::{ImageWish, error};
use crate::ops::{Cause, MissingProgram, OpFailure, OpFinding};
use crate::ports::{ImageError, ImageSource};
use crate::solver::{Around, Failed};
use crate::suggestions;

/// Puts a finding at its place.
pub(crate) fn diagnostic(finding: &OpFinding, span: Span) -> Diagnostic {
    Diagnostic {
        reason: finding.reason.clone(),
        hint: finding.hint.clone(),
        docker_text: finding.docker_text.clone(),
        ..error(finding.code, span, finding.message.clone())
    }
}

/// The same of an instruction: dockerd's words for a COPY that fails are those for an ADD, but for the name.
pub(crate) fn copying(finding: &OpFinding, span: Span, is_add: bool) -> Diagnostic {
    let mut diagnostic = diagnostic(finding, span);
    if is_add {
        diagnostic.docker_text = diagnostic.docker_text.map(|text| text.replacen("COPY failed: ", "ADD failed: ", 1));
    }
    diagnostic
}

/// How a process ended.
struct FailedProcess<'a> {
    exit_code: i32,
    oom_killed: bool,
    last_log: &'a [String],
    cause: &'a Cause,
}

/// The error of a failed vertex.
pub(crate) fn place(around: &Around, text: &Arc<SourceText>, failed: Failed) -> BuildError {
    let face = &around.graph.vertex(failed.vertex).face;
    match failed.failure {
        OpFailure::Process { command, exit_code, oom_killed, last_log, cause } => {
            let failed_process = FailedProcess { exit_code, oom_killed, last_log: &last_log, cause: &cause };
            let diagnostic = process(around, failed.vertex, &failed_process);
            let vertex = face.name.clone();
            BuildError::Step(Box::new(StepFailure { text: text.clone(), vertex, command, exit_code, oom_killed, last_log, diagnostic }))
        }
        OpFailure::Finding(finding) => BuildError::Operation {
            text: text.clone(),
            vertex: face.name.clone(),
            diagnostic: Box::new(copying(
                &finding,
                narrowed(text, face.span, finding.about.as_deref().unwrap_or_default()),
                matches!(&around.graph.vertex(failed.vertex).op, Op::Copy(copy) if copy.add),
            )),
            kind: finding.kind,
        },
        OpFailure::Store(error) => BuildError::Store(error),
        OpFailure::Cancelled => BuildError::Cancelled,
        OpFailure::Internal { what } => BuildError::Internal { what },
    }
}

/// What the exit code and the output of a process tell about the cause.
fn process(around: &Around, index: VertexIndex, failed: &FailedProcess<'_>) -> Diagnostic {
    let face = &around.graph.vertex(index).face;
    let mut finding = error("E-RUN-FAILED", face.span, format!("\"{}\" ended with exit code {}", face.instruction, failed.exit_code));
    if failed.oom_killed {
        finding.reason = Some("the kernel killed it because the step ran out of memory".to_owned());
        finding.hint = Some("give the step more memory, or let it use less".to_owned());
        return finding;
    }
    let mut reasons = Vec::new();
    if let Some(MissingProgram { name, near }) = &failed.cause.program {
        let is_case = near.as_ref().is_some_and(|near| near.to_lowercase() == name.to_lowercase());
        let case = if is_case { " (commands are case sensitive)" } else { "" };
        reasons.push(format!("\"{name}\" is not a program in this image{case}"));
        finding.hint = Some(match near {
            Some(near) => format!("did you mean {near}?"),
            None => "install it in an earlier RUN, or begin from an image that has it".to_owned(),
        });
        reasons.extend(notes::relative_redirection(around, index));
    } else {
        // The first line that speaks of an error is nearer to the cause than the last one.
        let line = failed.cause.first_error.as_deref().or(failed.last_log.last().map(|line| line.trim()));
        reasons.extend(line.filter(|line| !line.is_empty()).map(str::to_owned));
        finding.hint = notes::little_was_copied(around, index);
    }
    finding.reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    finding
}

/// The part of an instruction's place where `word` stands, or all of it.
pub(crate) fn narrowed(text: &SourceText, span: Span, word: &str) -> Span {
    let whole = text.slice(&span);
    let ends = |at: Option<char>| at.is_none_or(|letter| letter.is_whitespace() || "\"',[]".contains(letter));
    let is_alone = |at: &usize| ends(whole[..*at].chars().next_back()) && ends(whole[at + word.len()..].chars().next());
    let Some(offset) = whole.match_indices(word).map(|(at, _)| at).find(is_alone).filter(|_| !word.is_empty()) else { return span };
    let before = &whole[..offset];
    let line = span.start.line + u32::try_from(before.matches('\n').count()).unwrap_or_default();
    let length = |text: &str| u32::try_from(text.chars().count()).unwrap_or_default();
    let column = match before.rsplit_once('\n') {
        Some((_, rest)) => 1 + length(rest),
        None => span.start.column + length(before),
    };
    let start_byte = span.start_byte + offset;
    Span {
        start: Position { line, column },
        end: Position { line, column: column + length(word) },
        start_byte,
        end_byte: start_byte + word.len(),
    }
}

/// The finding for an image that could not be had (M-06): neighbours in the file come first, then those the image source knows.
pub(crate) fn image(dockerfile: &Dockerfile, wish: &ImageWish, failure: &ImageError, images: &dyn ImageSource) -> Diagnostic {
    let name = wish.reference.familiar();
    let mut finding = error("E-IMAGE-NOTFOUND", wish.span, failure.to_string());
    finding.docker_text = Some(format!(
        "pull access denied for {}, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
        wish.reference.familiar_repository()
    ));
    let plain = |text: &str| text.trim_end_matches(":latest").to_owned();
    let wanted = plain(&name);
    // The tag nobody typed is not repeated to them.
    finding.message = finding.message.replacen(&format!("{wanted}:latest"), &wanted, 1);
    let nearest = match failure {
        ImageError::NotFound { nearest, .. } => nearest.clone(),
        ImageError::Pull { cause, is_here, hint, .. } => {
            finding.docker_text = Some(cause.clone());
            finding.reason = Some(cause.clone());
            if *is_here {
                // Its name is right.
                finding.hint = hint.as_deref().map(str::to_owned);
                return finding;
            }
            Vec::new()
        }
        ImageError::Platform { .. } | ImageError::Other { .. } => {
            finding.docker_text = None;
            return finding;
        }
    };
    let others = dockerfile.stages.iter().map(|stage| &stage.from.image).filter(|word| word.span != wish.span);
    let others: Vec<(String, u32)> = others.map(|word| (plain(&word.text), word.span.start.line)).collect();
    if let Some(near) = suggestions::nearest(&wanted, others.iter().map(|(name, _)| name.as_str())) {
        let line = others.iter().find(|(name, _)| name == near).map_or(0, |(_, line)| *line);
        finding.reason = Some(format!("line {line} uses {near}"));
        finding.hint = Some(format!("did you mean {near}?"));
        return finding;
    }
    let known = if nearest.is_empty() { images.nearest(&wanted) } else { nearest };
    finding.hint = match known.first() {
        Some(near) => Some(format!("did you mean {}?", plain(near))),
        None => match failure {
            ImageError::Pull { hint, .. } => hint.as_deref().map(str::to_owned),
            _ => Some(format!("load it first (docker load), or build an image named {wanted}")),
        },
    };
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_an_instruction_is_found_also_on_its_second_line() {
        let text = SourceText::new("Dockerfile", "FROM a\nCOPY --from=x/server \\\n  /server /b\n");
        let parsed = shipway_dockerfile::parse(&text);
        let span = parsed.dockerfile.stages[0].instructions[0].span;
        let found = narrowed(&text, span, "/server");
        assert_eq!((found.start.line, found.start.column, text.slice(&found)), (3, 3, "/server"));
        assert_eq!(narrowed(&text, span, "nothing"), span);
        let found = narrowed(&text, span, "COPY");
        assert_eq!((found.start.line, found.start.column), (2, 1));
    }
}
