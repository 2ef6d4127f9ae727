//! Checks that need to know more than the file: the environment of base images, their platforms, `.dockerignore`.
//!
//! The builder calls them once it knows; each answers diagnostics filtered by the rules it is given.

use super::{COPY_IGNORED_FILE, Findings, INVALID_BASE_IMAGE_PLATFORM, UNDEFINED_VAR, parents};
use crate::ast::{Dockerfile, Instruction, InstructionKind, Source, Stage, Word};
use crate::diagnostic::Diagnostic;
use crate::directives::CheckDirective;
use crate::expand::expand;
use crate::nearest::nearest;
use crate::scope::PROXY_ARGUMENTS;
use std::collections::HashSet;
use std::sync::Arc;

/// Reports variables that are used but set nowhere.
///
/// `base_variables` answers the names set by the base image of a stage; a stage whose base it does not know is not judged, nor are
/// stages built on it.
pub fn undefined_variables(
    dockerfile: &Dockerfile,
    rules: &CheckDirective,
    base_variables: &dyn Fn(&Stage) -> Option<Vec<String>>,
) -> Vec<Diagnostic> {
    let mut findings = Findings::new(rules);
    let parents = parents(dockerfile);
    let mut ends: Vec<Option<Arc<HashSet<String>>>> = Vec::with_capacity(dockerfile.stages.len());
    for stage in &dockerfile.stages {
        let known = match parents[stage.index] {
            Some(parent) => ends[parent].clone(),
            None if stage.from.image.text == "scratch" => Some(Arc::new(HashSet::new())),
            None => base_variables(stage).map(|names| Arc::new(names.into_iter().collect())),
        };
        let end = known.map(|mut known| {
            for instruction in &stage.instructions {
                check_instruction(dockerfile, instruction, &known, &mut findings);
                // A stage that sets nothing shares its parent's set, so a long chain of stages stays cheap.
                if let Some(names) = names_set(instruction) {
                    Arc::make_mut(&mut known).extend(names);
                }
            }
            known
        });
        ends.push(end);
    }
    findings.into_diagnostics()
}

fn names_set(instruction: &Instruction) -> Option<Vec<String>> {
    match &instruction.kind {
        InstructionKind::Arg(arguments) => Some(arguments.iter().map(|argument| argument.name.text.clone()).collect()),
        InstructionKind::Env(pairs) => Some(pairs.iter().map(|(name, _)| name.text.clone()).collect()),
        _ => None,
    }
}

/// The words of an instruction in which the builder expands variables.
fn expanded_words(instruction: &Instruction) -> Vec<&Word> {
    match &instruction.kind {
        InstructionKind::Copy(copy) => {
            let sources = copy.sources.iter().filter_map(|source| if let Source::Path(word) = source { Some(word) } else { None });
            sources.chain([&copy.destination]).chain(&copy.from).chain(&copy.chown).chain(&copy.chmod).chain(&copy.exclude).collect()
        }
        InstructionKind::Add(add) => {
            let sources = add.sources.iter().filter_map(|source| if let Source::Path(word) = source { Some(word) } else { None });
            sources.chain([&add.destination]).chain(&add.chown).chain(&add.chmod).chain(&add.checksum).chain(&add.exclude).collect()
        }
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => pairs.iter().flat_map(|(name, value)| [name, value]).collect(),
        InstructionKind::Arg(arguments) => arguments.iter().filter_map(|argument| argument.default.as_ref()).collect(),
        InstructionKind::Workdir(word) | InstructionKind::User(word) | InstructionKind::StopSignal(word) => vec![word],
        InstructionKind::Expose(words) | InstructionKind::Volume(words) => words.iter().collect(),
        InstructionKind::Run(run) => run.mounts.iter().map(|mount| &mount.flag).collect(),
        _ => Vec::new(),
    }
}

fn check_instruction(dockerfile: &Dockerfile, instruction: &Instruction, known: &HashSet<String>, findings: &mut Findings) {
    for word in expanded_words(instruction).into_iter().filter(|word| word.text.contains('$')) {
        let lookup = |name: &str| known.contains(name).then(|| "1".to_owned());
        let Ok(expanded) = expand(word, &lookup, dockerfile.directives.escape) else {
            continue;
        };
        for name in expanded.undefined {
            // PATH is given to every process even when no image sets it.
            if name == "PATH"
                || PROXY_ARGUMENTS.contains(&name.as_str())
                || !name.starts_with(|first: char| first.is_alphabetic() || first == '_')
            {
                continue;
            }
            findings.add(&UNDEFINED_VAR, || {
                let mut names: Vec<&str> = known.iter().map(String::as_str).collect();
                names.sort_unstable();
                let near = nearest(&name, names);
                let suggestion = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
                let global = dockerfile.global_args.iter().any(|global| names_set(global).is_some_and(|names| names.contains(&name)));
                let diagnostic = Diagnostic::warning("", word.span, format!("Usage of undefined variable '${name}'{suggestion}"));
                match (near, global) {
                    (_, true) => diagnostic
                        .because("an ARG before the first FROM is seen by FROM only")
                        .hint(format!("repeat ARG {name} in this stage, before this line")),
                    (Some(near), _) => diagnostic.hint(format!("write ${near}")),
                    (None, false) => diagnostic,
                }
            });
        }
    }
}

/// The finding for a base image of another platform than was asked for.
pub fn base_image_platform(stage: &Stage, rules: &CheckDirective, image: &str, actual: &str, expected: &str) -> Option<Diagnostic> {
    let mut findings = Findings::new(rules);
    findings.add(&INVALID_BASE_IMAGE_PLATFORM, || {
        let message = format!("Base image {image} was pulled with platform {actual:?}, expected {expected:?} for current build");
        Diagnostic::warning("", stage.from.image.span, message).hint(format!("use an image made for {expected}"))
    });
    findings.into_diagnostics().pop()
}

/// The finding for a source that `.dockerignore` excludes; `path` is the source after expansion.
pub fn copy_ignored_file(instruction: &Instruction, word: &Word, rules: &CheckDirective, path: &str) -> Option<Diagnostic> {
    let mut findings = Findings::new(rules);
    findings.add(&COPY_IGNORED_FILE, || {
        let verb = if matches!(instruction.kind, InstructionKind::Add(_)) { "Add" } else { "Copy" };
        Diagnostic::warning("", word.span, format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore"))
    });
    findings.into_diagnostics().pop()
}
