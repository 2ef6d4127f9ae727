//! Variables in `FROM`.

use super::{Findings, INVALID_DEFAULT_ARG_IN_FROM, UNDEFINED_ARG_IN_FROM};
use crate::ast::{Dockerfile, Word};
use crate::diagnostic::Diagnostic;
use crate::nearest::nearest;
use crate::references::check_image_name;
use crate::scope::{GlobalScope, PLATFORM_ARGUMENTS};

pub(super) fn check_from(dockerfile: &Dockerfile, findings: &mut Findings) {
    let scope = GlobalScope::defaults(dockerfile);
    for stage in &dockerfile.stages {
        let all_declared = check_declared(dockerfile, &scope, &stage.from.image, findings);
        if let Some(platform) = &stage.from.platform {
            check_declared(dockerfile, &scope, platform, findings);
        }
        // An undeclared variable is reported as such; what it makes of the name is a consequence.
        if all_declared && stage.from.image.text.contains('$') {
            check_default(dockerfile, &scope, &stage.from.image, findings);
        }
    }
}

fn check_declared(dockerfile: &Dockerfile, scope: &GlobalScope, word: &Word, findings: &mut Findings) -> bool {
    if !word.text.contains('$') {
        return true;
    }
    let Ok(expanded) = scope.expand(word, dockerfile.directives.escape) else {
        return true;
    };
    let undeclared: Vec<_> = expanded.undefined.iter().filter(|name| !scope.is_declared(name)).collect();
    for name in &undeclared {
        findings.add(&UNDEFINED_ARG_IN_FROM, || {
            let candidates = scope.names().iter().map(String::as_str).chain(PLATFORM_ARGUMENTS);
            let near = nearest(name, candidates);
            let suggestion = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            let in_stage = dockerfile.stages.iter().any(|stage| {
                stage.instructions.iter().any(|instruction| {
                    matches!(&instruction.kind, crate::InstructionKind::Arg(arguments) if arguments.iter().any(|argument| argument.name.text == **name))
                })
            });
            let diagnostic = Diagnostic::warning("", word.span, format!("FROM argument '{name}' is not declared{suggestion}"));
            match (near, in_stage) {
                (Some(near), _) => diagnostic.hint(format!("write ${{{near}}}")),
                (None, true) => diagnostic.because("FROM sees only arguments declared before the first FROM").hint(format!("move ARG {name} above the first FROM")),
                (None, false) => diagnostic.hint(format!("add ARG {name}=DEFAULT above the first FROM")),
            }
        });
    }
    undeclared.is_empty()
}

fn check_default(dockerfile: &Dockerfile, scope: &GlobalScope, image: &Word, findings: &mut Findings) {
    let Ok(expanded) = scope.expand(image, dockerfile.directives.escape) else {
        return;
    };
    let is_stage = dockerfile.stages.iter().take(64).any(|stage| stage.name() == Some(expanded.text.to_lowercase().as_str()));
    if !is_stage && (expanded.text.is_empty() || check_image_name(&expanded.text, image.span).is_some()) {
        findings.add(&INVALID_DEFAULT_ARG_IN_FROM, || {
            let message = format!("Default value for ARG {} results in empty or invalid base image name", image.text);
            Diagnostic::warning("", image.span, message)
                .because("a build without --build-arg cannot find its base image")
                .hint("give the ARG a default that names an image")
        });
    }
}
