//! What a file offers: its targets and arguments, with the descriptions written above them.

use crate::ast::{Argument, Dockerfile, InstructionKind, Stage};
use crate::source::Position;

/// A stage somebody may build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub index: usize,
    /// As typed after `AS`; absent for stages without a name.
    pub name: Option<String>,
    pub description: Option<String>,
    /// The image or stage it begins with, not expanded.
    pub base: String,
    pub platform: Option<String>,
    /// The stage that is built when no target is given.
    pub is_default: bool,
    pub place: Position,
}

/// An argument somebody may give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedArgument {
    pub name: String,
    /// Not expanded.
    pub default: Option<String>,
    pub description: Option<String>,
    pub place: Position,
    /// The stage that declares it; none for global ones.
    pub stage: Option<usize>,
}

/// All stages in the order of the file.
pub fn targets(dockerfile: &Dockerfile) -> Vec<Target> {
    let last = dockerfile.stages.len().saturating_sub(1);
    let target = |stage: &Stage| Target {
        index: stage.index,
        name: stage.from.alias_word.as_ref().map(|word| word.text.clone()),
        description: stage.comment.clone(),
        base: stage.from.image.text.clone(),
        platform: stage.from.platform.as_ref().map(|word| word.text.clone()),
        is_default: stage.index == last,
        place: stage.from.span.start,
    };
    dockerfile.stages.iter().map(target).collect()
}

/// The arguments a build of `target` can use: global ones, then those of every stage it needs, in the order of the file. A name that
/// is declared more than once is listed where it has a description or default first.
pub fn arguments(dockerfile: &Dockerfile, target: usize) -> Vec<OfferedArgument> {
    let needed = dockerfile.reachable(target);
    let stages = dockerfile.stages.iter().filter(|stage| needed.get(stage.index) == Some(&true));
    let in_stages = stages.flat_map(|stage| stage.instructions.iter().map(|instruction| (Some(stage.index), instruction)));
    let all = dockerfile.global_args.iter().map(|instruction| (None, instruction)).chain(in_stages);
    let mut offered: Vec<OfferedArgument> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (stage, instruction) in all {
        let InstructionKind::Arg(arguments) = &instruction.kind else {
            continue;
        };
        for argument in arguments {
            match places.get(&argument.name.text) {
                Some(place) => complete(&mut offered[*place], argument),
                None => {
                    places.insert(argument.name.text.clone(), offered.len());
                    offered.push(OfferedArgument {
                        name: argument.name.text.clone(),
                        default: argument.default.as_ref().map(|word| word.text.clone()),
                        description: argument.description.clone(),
                        place: argument.name.span.start,
                        stage,
                    });
                }
            }
        }
    }
    offered
}

fn complete(offered: &mut OfferedArgument, argument: &Argument) {
    if offered.default.is_none() {
        offered.default = argument.default.as_ref().map(|word| word.text.clone());
    }
    if offered.description.is_none() {
        offered.description.clone_from(&argument.description);
    }
}
