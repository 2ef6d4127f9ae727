//! Letter case: stage names are lower, instructions are all of one case.

use super::{CONSISTENT_INSTRUCTION_CASING, Findings, STAGE_NAME_CASING};
use crate::ast::{Dockerfile, Word};
use crate::diagnostic::Diagnostic;

pub(super) fn check(dockerfile: &Dockerfile, findings: &mut Findings) {
    for stage in &dockerfile.stages {
        if let Some(name) = &stage.from.alias_word
            && name.text != name.text.to_lowercase()
        {
            findings.add(&STAGE_NAME_CASING, || {
                let message = format!("Stage name '{}' should be lowercase", name.text);
                Diagnostic::warning("", name.span, message).hint(format!("write {}", name.text.to_lowercase()))
            });
        }
    }
    check_keywords(dockerfile, findings);
}

fn keywords(dockerfile: &Dockerfile) -> impl Iterator<Item = &Word> {
    let global = dockerfile.global_args.iter().map(|instruction| &instruction.keyword_word);
    let stages = dockerfile.stages.iter().flat_map(|stage| {
        let from = std::iter::once(&stage.from.keyword);
        from.chain(stage.instructions.iter().map(|instruction| &instruction.keyword_word))
    });
    global.chain(stages)
}

fn check_keywords(dockerfile: &Dockerfile, findings: &mut Findings) {
    let is_lower = |word: &Word| word.text.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_upper = |word: &Word| word.text.bytes().all(|byte| byte.is_ascii_uppercase());
    let (lower, upper) = keywords(dockerfile)
        .fold((0, 0), |(lower, upper), word| (lower + usize::from(is_lower(word)), upper + usize::from(is_upper(word))));
    let wants_lower = lower > upper;
    for word in keywords(dockerfile) {
        if if wants_lower { is_lower(word) } else { is_upper(word) } {
            continue;
        }
        findings.add(&CONSISTENT_INSTRUCTION_CASING, || {
            let (case, right) = if wants_lower { ("lowercase", word.text.to_lowercase()) } else { ("uppercase", word.text.to_uppercase()) };
            let message = format!("Command '{}' should match the case of the command majority ({case})", word.text);
            Diagnostic::warning("", word.span, message).hint(format!("write {right}"))
        });
    }
}
