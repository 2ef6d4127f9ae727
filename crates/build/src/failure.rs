//! From a failure of a vertex to an error with a place in the Dockerfile.

use std::sync::Arc;

use shipway_dockerfile::{Diagnostic, Dockerfile, SourceText, Span};

use crate::errors::{BuildError, StepFailure};
use crate::lower::{ImageWish, error};
use crate::ops::{OpFailure, OpFinding};
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

/// The error of a failed vertex.
pub(crate) fn place(around: &Around, text: &Arc<SourceText>, failed: Failed) -> BuildError {
    let face = &around.graph.vertex(failed.vertex).face;
    match failed.failure {
        OpFailure::Process { command, exit_code, oom_killed, last_log } => {
            let diagnostic = process(face.span, &face.instruction, exit_code, oom_killed, &last_log);
            let vertex = face.name.clone();
            BuildError::Step(Box::new(StepFailure { text: text.clone(), vertex, command, exit_code, oom_killed, last_log, diagnostic }))
        }
        OpFailure::Finding(finding) => BuildError::Operation {
            text: text.clone(),
            vertex: face.name.clone(),
            diagnostic: Box::new(diagnostic(&finding, face.span)),
            kind: finding.kind,
        },
        OpFailure::Store(error) => BuildError::Store(error),
        OpFailure::Cancelled => BuildError::Cancelled,
        OpFailure::Internal { what } => BuildError::Internal { what },
    }
}

/// What the exit code and the output of a process tell about the cause.
fn process(span: Span, instruction: &str, exit_code: i32, oom_killed: bool, last_log: &[String]) -> Diagnostic {
    let mut finding = error("E-RUN-FAILED", span, format!("\"{instruction}\" ended with exit code {exit_code}"));
    if oom_killed {
        finding.reason = Some("the kernel killed it because the step ran out of memory".to_owned());
        finding.hint = Some("give the step more memory, or let it use less".to_owned());
        return finding;
    }
    if let Some(program) = last_log.iter().rev().find_map(|line| not_found(line)) {
        finding.reason = Some(format!("the image has no program \"{program}\""));
        let lower = program.to_lowercase();
        finding.hint = Some(if lower == program {
            "install it in an earlier RUN, or begin from an image that has it".to_owned()
        } else {
            format!("commands are case sensitive: did you mean {lower}?")
        });
        return finding;
    }
    // The first line that speaks of an error is nearer to the cause than the last one.
    let first = last_log.iter().find(|line| is_error_line(line)).or(last_log.last());
    finding.reason = first.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty());
    finding
}

fn is_error_line(line: &str) -> bool {
    let line = line.to_lowercase();
    ["error", "fatal", "cannot ", "can't ", "failed", "no such file"].iter().any(|word| line.contains(word))
}

/// The program a shell did not find: `/bin/sh: ECHO: not found`, `/bin/sh: 1: ECHO: not found`, `bash: line 1: ECHO: command not found`.
fn not_found(line: &str) -> Option<String> {
    let before = line.trim_end().strip_suffix(": not found").or_else(|| line.trim_end().strip_suffix(": command not found"))?;
    let program = before.rsplit(": ").next()?;
    (!program.is_empty() && !program.contains([' ', '/'])).then(|| program.to_owned())
}

/// The finding for an image that could not be had (M-06): neighbours in the file come first, then those the image source knows.
pub(crate) fn image(dockerfile: &Dockerfile, wish: &ImageWish, failure: &ImageError, images: &dyn ImageSource) -> Diagnostic {
    let name = wish.reference.familiar();
    let mut finding = error("E-IMAGE-NOTFOUND", wish.span, failure.to_string());
    finding.docker_text = Some(format!(
        "pull access denied for {}, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
        wish.reference.familiar_repository()
    ));
    let nearest = match failure {
        ImageError::NotFound { nearest, .. } | ImageError::PullUnsupported { nearest, .. } => nearest.clone(),
        ImageError::Platform { .. } | ImageError::Other { .. } => {
            finding.docker_text = None;
            return finding;
        }
    };
    let plain = |text: &str| text.trim_end_matches(":latest").to_owned();
    let wanted = plain(&name);
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
        Some(near) => Some(format!("did you mean {near}?")),
        None => Some(format!("load it first (docker load), or build an image named {wanted}")),
    };
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_tell_which_program_is_missing() {
        for (line, expected) in [
            ("/bin/sh: ECHO: not found", Some("ECHO")),
            ("/bin/sh: 1: mvn: not found", Some("mvn")),
            ("bash: line 1: gcc: command not found", Some("gcc")),
            ("error: package foo not found", None),
            ("sh: /x/y: not found", None),
        ] {
            assert_eq!(not_found(line).as_deref(), expected, "{line}");
        }
    }
}
