//! Stages: their names, platforms, descriptions and use.

use super::{
    DUPLICATE_STAGE_NAME, FROM_PLATFORM_FLAG_CONST_DISALLOWED, Findings, INVALID_DEFINITION_DESCRIPTION, REDUNDANT_TARGET_PLATFORM,
    RESERVED_STAGE_NAME, UNUSED_STAGE,
};
use crate::ast::{Dockerfile, InstructionKind, Stage};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use std::collections::HashMap;

/// Names `--from` understands without any stage.
const RESERVED: [&str; 2] = ["context", "scratch"];

pub(super) fn check(dockerfile: &Dockerfile, findings: &mut Findings) {
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for stage in &dockerfile.stages {
        check_name(stage, &mut seen, findings);
        check_platform(stage, findings);
    }
    check_descriptions(dockerfile, findings);
    if findings.is_enabled(&UNUSED_STAGE) {
        check_use(dockerfile, findings);
    }
}

fn check_name<'a>(stage: &'a Stage, seen: &mut HashMap<&'a str, u32>, findings: &mut Findings) {
    let (Some(name), Some(word)) = (stage.name(), &stage.from.alias_word) else {
        return;
    };
    if RESERVED.contains(&name) {
        findings.add(&RESERVED_STAGE_NAME, || {
            Diagnostic::warning("", word.span, format!("Stage name should not use the same name as reserved stage {name:?}"))
        });
    }
    if let Some(line) = seen.insert(name, stage.from.span.start.line) {
        findings.add(&DUPLICATE_STAGE_NAME, || {
            let message = format!("Duplicate stage name {:?}, stage names should be unique", word.text);
            Diagnostic::warning("", word.span, message).because(format!("line {line} names a stage so too; later lines mean this one"))
        });
    }
}

fn check_platform(stage: &Stage, findings: &mut Findings) {
    let Some(platform) = &stage.from.platform else {
        return;
    };
    if matches!(platform.text.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
        findings.add(&REDUNDANT_TARGET_PLATFORM, || {
            let message = format!("Setting platform to predefined {} in FROM is redundant as this is the default behavior", platform.text);
            Diagnostic::warning("", platform.span, message).hint("leave --platform away")
        });
    } else if !platform.text.contains('$') {
        // A stage that carries the platform in its name means exactly that platform.
        let is_named_after = |name: &str| platform.text.split('/').any(|part| !part.is_empty() && name.contains(part));
        if !stage.name().is_some_and(is_named_after) {
            findings.add(&FROM_PLATFORM_FLAG_CONST_DISALLOWED, || {
                let message = format!("FROM --platform flag should not use constant value {:?}", platform.text);
                Diagnostic::warning("", platform.span, message)
                    .because("a build for another platform would still get this one")
                    .hint("use $BUILDPLATFORM or $TARGETPLATFORM, or give the platform to the build")
            });
        }
    }
}

fn check_descriptions(dockerfile: &Dockerfile, findings: &mut Findings) {
    if !findings.is_enabled(&INVALID_DEFINITION_DESCRIPTION) {
        return;
    }
    let mut check = |comments: &[String], keyword: &str, name: &str, span: Span| {
        if !comments.is_empty() && crate::instruction::description(comments, name).is_none() {
            findings.add(&INVALID_DEFINITION_DESCRIPTION, || {
                Diagnostic::warning("", span, format!("Comment for {keyword} should follow the format: `# {name} <description>`"))
                    .hint("put a blank line below a comment that is not a description")
            });
        }
    };
    for instruction in dockerfile.global_args.iter().chain(dockerfile.stages.iter().flat_map(|stage| &stage.instructions)) {
        if let InstructionKind::Arg(arguments) = &instruction.kind
            && let [argument] = arguments.as_slice()
        {
            check(&instruction.comments, "ARG", &argument.name.text, argument.name.span);
        }
    }
    for stage in &dockerfile.stages {
        if let Some(word) = &stage.from.alias_word
            && stage.comment.is_none()
        {
            check(&stage.from.comments, "FROM", &word.text, word.span);
        }
    }
}

fn check_use(dockerfile: &Dockerfile, findings: &mut Findings) {
    let Some(target) = dockerfile.target(None) else {
        return;
    };
    let reachable = dockerfile.reachable(target);
    for stage in dockerfile.stages.iter().filter(|stage| !reachable[stage.index]) {
        findings.add(&UNUSED_STAGE, || {
            Diagnostic::warning("", stage.from.span, format!("Stage {:?} is not used by the last stage", stage.label()))
                .because("it is built only when --target names it or a stage that uses it")
        });
    }
}
