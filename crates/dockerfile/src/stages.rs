//! How stages use each other: bases, copies, mounts; what is wrong with that; what a target needs.
//!
//! A base must stand earlier in the file. A copy or mount may name any stage, also a later one, as long as nothing goes
//! in a circle. Names are compared without case; of several stages with one name the last one before the user counts.

use crate::ast::{Dockerfile, Instruction, InstructionKind, Stage, Word};
use crate::diagnostic::{Diagnostic, Sink};
use crate::nearest::nearest;
use crate::parser::ParseOptions;
use crate::references::check_image_name;
use crate::scope::GlobalScope;
use std::collections::HashMap;

/// What a `FROM` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseImage {
    /// Nothing: `FROM scratch`.
    Scratch,
    /// An earlier stage, by its index.
    Stage(usize),
    /// An image or named context.
    Image(String),
}

/// What `COPY --from` or `--mount=from=` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageUse {
    /// A stage, by its index.
    Stage(usize),
    /// An image or named context.
    Image(String),
    /// A number no stage has.
    NoSuchIndex(String),
}

impl Dockerfile {
    /// What the expanded image text of a stage's `FROM` means.
    pub fn base_of(&self, stage: usize, image: &str) -> BaseImage {
        let earlier = &self.stages[..stage.min(self.stages.len())];
        if let Some(found) = earlier.iter().rfind(|earlier| is_named(earlier, image)) {
            return BaseImage::Stage(found.index);
        }
        if image == "scratch" {
            return BaseImage::Scratch;
        }
        match parse_index(image) {
            Some(index) if index < earlier.len() => BaseImage::Stage(index),
            _ => BaseImage::Image(image.to_owned()),
        }
    }

    /// What the expanded text of a `--from` inside stage `stage` means.
    pub fn stage_use(&self, stage: usize, from: &str) -> StageUse {
        let (earlier, later) = self.stages.split_at((stage + 1).min(self.stages.len()));
        let found = earlier
            .iter()
            .rfind(|candidate| is_named(candidate, from))
            .or_else(|| later.iter().find(|candidate| is_named(candidate, from)));
        match (found, parse_index(from)) {
            (Some(found), _) => StageUse::Stage(found.index),
            (None, Some(index)) if index < self.stages.len() => StageUse::Stage(index),
            (None, Some(_)) => StageUse::NoSuchIndex(from.to_owned()),
            (None, None) => StageUse::Image(from.to_owned()),
        }
    }

    /// The stage a build with `--target` makes: by name or index; the last stage when no target is given.
    pub fn target(&self, target: Option<&str>) -> Option<usize> {
        match target.filter(|target| !target.is_empty()) {
            None => self.stages.len().checked_sub(1),
            Some(name) => {
                let named = self.stages.iter().rfind(|stage| is_named(stage, name)).map(|stage| stage.index);
                named.or_else(|| parse_index(name).filter(|index| *index < self.stages.len()))
            }
        }
    }

    /// Every image the file names without variables, with its place: what a mistyped name elsewhere may have meant.
    pub fn image_names(&self) -> Vec<&Word> {
        let names = Names::new(self);
        let is_image = |stage: &Stage| {
            let text = stage.from.image.text.as_str();
            text != "scratch" && !text.contains('$') && names.before(stage.index, text).is_none()
        };
        self.stages.iter().filter(|stage| is_image(stage)).map(|stage| &stage.from.image).collect()
    }

    /// The stage name nearest to a mistyped one.
    pub fn nearest_stage(&self, name: &str) -> Option<&str> {
        nearest(name, self.stages.iter().filter_map(Stage::name))
    }

    /// For each stage whether building `target` needs it, as far as the text tells: variables in `FROM` take their defaults.
    pub fn reachable(&self, target: usize) -> Vec<bool> {
        let uses = stage_uses(self);
        let mut needed = vec![false; self.stages.len()];
        let mut open = vec![target];
        while let Some(stage) = open.pop() {
            if needed.get(stage) == Some(&false) {
                needed[stage] = true;
                open.extend(uses[stage].iter().map(|(used, _)| *used));
            }
        }
        needed
    }
}

fn is_named(stage: &Stage, name: &str) -> bool {
    stage.name().is_some_and(|own| own.eq_ignore_ascii_case(name))
}

fn parse_index(text: &str) -> Option<usize> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(usize::MAX))
}

/// Finds stages by name without walking the file for each of ten thousand uses.
struct Names<'a> {
    by_name: HashMap<&'a str, Vec<usize>>,
    count: usize,
}

impl<'a> Names<'a> {
    fn new(dockerfile: &'a Dockerfile) -> Self {
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        for stage in &dockerfile.stages {
            if let Some(name) = stage.name() {
                by_name.entry(name).or_default().push(stage.index);
            }
        }
        Self { by_name, count: dockerfile.stages.len() }
    }

    fn before(&self, stage: usize, name: &str) -> Option<usize> {
        let named = self.by_name.get(name.to_ascii_lowercase().as_str()).and_then(|indices| {
            let earlier = indices.partition_point(|index| *index < stage);
            earlier.checked_sub(1).map(|last| indices[last])
        });
        named.or_else(|| parse_index(name).filter(|index| *index < stage))
    }

    fn anywhere(&self, stage: usize, name: &str) -> Option<usize> {
        let indices = self.by_name.get(name.to_ascii_lowercase().as_str());
        let named = indices.and_then(|indices| {
            let up_to = indices.partition_point(|index| *index <= stage);
            indices.get(up_to.saturating_sub(1)).copied()
        });
        named.or_else(|| parse_index(name).filter(|index| *index < self.count))
    }
}

/// Every `--from` of an instruction, with its place. Those of `ONBUILD` triggers belong to another file's build.
fn from_words(instruction: &Instruction) -> Vec<Word> {
    match &instruction.kind {
        InstructionKind::Copy(copy) => copy.from.iter().cloned().collect(),
        InstructionKind::Run(run) => {
            let mounts = run.mounts.iter().filter_map(|mount| mount.from.as_ref().map(|from| (from, mount.flag.span)));
            mounts.map(|(from, span)| Word { text: from.clone(), span }).collect()
        }
        _ => Vec::new(),
    }
}

/// For each stage the stages it uses, with the places that say so.
fn stage_uses(dockerfile: &Dockerfile) -> Vec<Vec<(usize, crate::Span)>> {
    let names = Names::new(dockerfile);
    let scope = GlobalScope::defaults(dockerfile);
    let uses = |stage: &Stage| {
        let image = scope.expand(&stage.from.image, dockerfile.directives.escape).map(|expanded| expanded.text).unwrap_or_default();
        let base = names.before(stage.index, &image).map(|used| (used, stage.from.image.span));
        let copied = stage.instructions.iter().flat_map(from_words).filter_map(|word| {
            let used = names.anywhere(stage.index, &word.text)?;
            Some((used, word.span))
        });
        base.into_iter().chain(copied).collect()
    };
    dockerfile.stages.iter().map(uses).collect()
}

/// Suggestions cost a walk over all names, so only the first mistakes of a file get one.
const SUGGESTION_LIMIT: usize = 32;

/// Reports what is wrong between stages and with the images they name.
pub(crate) fn check(dockerfile: &Dockerfile, options: &ParseOptions<'_>, sink: &mut Sink) {
    let names = Names::new(dockerfile);
    let mut suggestions = SUGGESTION_LIMIT;
    for stage in &dockerfile.stages {
        let image = &stage.from.image;
        let is_plain = !image.text.contains(['$', '"', '\'', dockerfile.directives.escape]);
        if is_plain
            && image.text != "scratch"
            && names.before(stage.index, &image.text).is_none()
            && let Some(diagnostic) = check_image_name(&image.text, image.span)
        {
            sink.push(explain_later_stage(dockerfile, &names, stage, diagnostic));
        }
        for word in stage.instructions.iter().flat_map(from_words) {
            check_from(dockerfile, &names, stage, &word, options, &mut suggestions, sink);
        }
    }
    check_circles(dockerfile, sink);
}

/// `FROM Builder` above the stage `builder`: the name is right, the order is not.
fn explain_later_stage(dockerfile: &Dockerfile, names: &Names<'_>, stage: &Stage, diagnostic: Diagnostic) -> Diagnostic {
    match names.anywhere(stage.index, &stage.from.image.text) {
        Some(later) => {
            let line = dockerfile.stages[later].from.span.start.line;
            diagnostic.because(format!("the stage of this name begins later, on line {line}; FROM sees earlier stages only"))
        }
        None => diagnostic,
    }
}

fn check_from(
    dockerfile: &Dockerfile,
    names: &Names<'_>,
    stage: &Stage,
    word: &Word,
    options: &ParseOptions<'_>,
    suggestions: &mut usize,
    sink: &mut Sink,
) {
    let name = word.text.as_str();
    if name.is_empty() || name.contains(['$', '"', '\'']) || names.anywhere(stage.index, name).is_some() {
        return;
    }
    if parse_index(name).is_some() {
        let count = dockerfile.stages.len();
        sink.push(
            Diagnostic::error("E-STAGE-INDEX", word.span, format!("there is no stage {name}"))
                .because(format!("stages are counted from 0; this file has {count}, the last is {}", count.saturating_sub(1)))
                .docker(format!("invalid from flag value {name}: index out of bounds")),
        );
        return;
    }
    if options.is_known_image.is_some_and(|is_known| is_known(name)) || name == "scratch" {
        return;
    }
    // A name that looks like an image's is taken at its word; a plain one that is almost a stage's is a slip.
    let looks_like_image = name.contains(['/', ':', '@', '.']);
    if !looks_like_image && *suggestions > 0 {
        *suggestions -= 1;
        if let Some(near) = dockerfile.nearest_stage(name) {
            let line = dockerfile.target(Some(near)).map_or(0, |index| dockerfile.stages[index].from.span.start.line);
            sink.push(
                Diagnostic::error("E-STAGE-UNKNOWN", word.span, format!("there is no stage \"{name}\""))
                    .because(format!("the stage \"{near}\" begins on line {line}; an image named \"{name}\" is not known here"))
                    .hint(format!("did you mean {near}? For an image, write its full name: docker.io/library/{name}"))
                    .docker(format!("invalid from flag value {name}: pull access denied for {name}, repository does not exist or may require 'docker login'")),
            );
            return;
        }
    }
    if let Some(diagnostic) = check_image_name(name, word.span) {
        sink.push(diagnostic);
    }
}

/// Reports each circle once, at the place that closes it.
fn check_circles(dockerfile: &Dockerfile, sink: &mut Sink) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let uses = stage_uses(dockerfile);
    let mut marks = vec![Mark::New; uses.len()];
    for start in 0..uses.len() {
        if marks[start] != Mark::New {
            continue;
        }
        marks[start] = Mark::Open;
        let mut path = vec![(start, 0)];
        while let Some((stage, next)) = path.last_mut() {
            let stage = *stage;
            let Some((used, span)) = uses[stage].get(*next) else {
                marks[stage] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[*used] {
                Mark::New => {
                    marks[*used] = Mark::Open;
                    path.push((*used, 0));
                }
                Mark::Open => {
                    let from = path.iter().position(|(open, _)| open == used).unwrap_or(0);
                    let shown = path[from..].iter().take(8).map(|(open, _)| dockerfile.stages[*open].label());
                    let circle = shown.chain([dockerfile.stages[*used].label()]).collect::<Vec<_>>().join(" -> ");
                    let label = dockerfile.stages[*used].label();
                    let message = if *used == stage {
                        format!("stage \"{label}\" copies from itself")
                    } else {
                        format!("stages depend on each other: {circle}")
                    };
                    sink.push(
                        Diagnostic::error("E-STAGE-CIRCLE", *span, message)
                            .because("a stage must be finished before another can use it")
                            .docker(format!("circular dependency detected on stage: {label}")),
                    );
                }
                Mark::Done => {}
            }
        }
    }
}
