//! FROM: images, their triggers, and the images COPY names.

use std::sync::Arc;

use shipway_dockerfile::scope::StageScope;
use shipway_dockerfile::{BaseImage, Dockerfile, Instruction, InstructionKind, Span, Stage, StageUse, parse_onbuild};
use shipway_model::{Classified, ImageConfig, Platform, Reference};

use super::history::{HistoryEntry, Work};
use super::stages::{Numbering, StageState};
use super::{ImageWish, Lowerer, Recipe, error};
use crate::graph::{ImageOp, Op, VertexIndex};
use crate::ports::ResolvedImage;
use crate::request::BuildOptions;

impl Lowerer<'_> {
    /// The resolved image of this name; none, with a wish or a finding noted, when there is none yet.
    pub(super) fn image(&mut self, name: &str, span: Span) -> Option<Arc<ResolvedImage>> {
        let reference = match parse_reference(name) {
            Ok(reference) => reference,
            Err(diagnostic) => {
                let mut diagnostic = *diagnostic;
                diagnostic.span = span;
                if name.is_empty() {
                    let written = self.recipe.dockerfile.stages.iter().map(|stage| &stage.from.image).find(|word| word.span == span);
                    diagnostic.docker_text = written.map(|word| format!("base name ({}) should not be blank", word.text));
                }
                self.diagnostics.push(diagnostic);
                return None;
            }
        };
        if let Some(found) = self.recipe.images.get(&reference.canonical()) {
            return Some(found.clone());
        }
        if !self.wishes.iter().any(|wish| wish.reference == reference) {
            self.wishes.push(ImageWish { reference, span });
        }
        None
    }

    /// Begins a stage on an image.
    pub(super) fn begin(&mut self, stage: &Stage, image: Arc<ResolvedImage>, numbering: &mut Numbering) -> StageState {
        let vertex = self.image_vertex(&image, stage.from.span, Some(numbering));
        let mut config = image.config.clone();
        config.config.on_build.clear();
        let scope = StageScope::from_image(&config.config.env);
        let history = config
            .history
            .iter()
            .map(|history| HistoryEntry { created_by: history.created_by.clone(), work: Work::Base(Box::new(history.clone())) });
        let history = history.collect();
        StageState { tree: vertex, config, history, scope, base: Some(image), cmd_is_set: false }
    }

    /// Begins a stage on nothing.
    pub(super) fn scratch(&self) -> StageState {
        let platform = self.recipe.platform;
        let mut config = ImageConfig {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        config.config.working_dir = "/".to_owned();
        StageState { tree: None, config, history: Vec::new(), scope: StageScope::default(), base: None, cmd_is_set: false }
    }

    /// The vertex of an image's tree. An image without layers has none: its tree is the empty one.
    fn image_vertex(&mut self, image: &ResolvedImage, span: Span, numbering: Option<&mut Numbering>) -> Option<VertexIndex> {
        let mut full = image.reference.clone().with_default_tag().canonical();
        if let Some(digest) = &image.digest
            && image.reference.digest().is_none()
        {
            full = format!("{full}@{digest}");
        }
        let display = format!("FROM {full}");
        let name = match numbering {
            Some(numbering) => numbering.name(&display),
            None => display.clone(),
        };
        let op = Op::Image(ImageOp { image: image.id, layers: image.layers.as_slice().into() });
        Some(self.add(op, None, name, span, display, false))
    }

    /// The tree `COPY --from` means: none when it cannot be told (noted), an inner none for an empty tree.
    pub(super) fn tree_of(&mut self, stage: usize, from: &str, span: Span) -> Option<Option<VertexIndex>> {
        match self.recipe.dockerfile.stage_use(stage, from) {
            StageUse::Stage(used) if used == stage => {
                self.diagnostics.push(error("E-STAGE-CIRCLE", span, "a stage cannot copy from itself"));
                None
            }
            StageUse::Stage(used) => Some(self.stage(used)?.tree),
            StageUse::Image(name) if name == "scratch" => Some(None),
            StageUse::Image(name) => {
                let image = self.image(&name, span)?;
                Some(self.image_vertex(&image, span, None))
            }
            StageUse::NoSuchIndex(index) => {
                let count = self.recipe.dockerfile.stages.len();
                let mut diagnostic = error("E-STAGE-INDEX", span, format!("there is no stage {index}"));
                diagnostic.reason = Some(format!("stages are counted from 0; this file has {count}"));
                diagnostic.docker_text = Some(format!("invalid from flag value {index}: index out of bounds"));
                self.diagnostics.push(diagnostic);
                None
            }
        }
    }

    /// The triggers that the base of a stage brings, parsed.
    pub(super) fn triggers(&mut self, texts: &[String], stage: &Stage) -> Vec<Instruction> {
        let mut triggers = Vec::new();
        for text in texts {
            match parse_onbuild(text) {
                Ok(instruction) if matches!(instruction.kind, InstructionKind::OnBuild(_) | InstructionKind::Maintainer(_)) => {
                    let message = format!("the base image has the ONBUILD trigger \"{text}\", which is not allowed as a trigger");
                    self.diagnostics.push(error("E-ONBUILD", stage.from.image.span, message));
                }
                Ok(instruction) => triggers.push(instruction),
                Err(diagnostic) => {
                    let message = format!("the ONBUILD trigger \"{text}\" of the base image cannot be built: {}", diagnostic.message);
                    self.diagnostics.push(error("E-ONBUILD", stage.from.image.span, message));
                }
            }
        }
        triggers
    }
}

/// For each stage whether the target surely needs it, with the build arguments given: bases, and copies whose `--from` holds no variable.
pub(crate) fn needed_stages(dockerfile: &Dockerfile, target: usize, options: &BuildOptions, platform: &Platform) -> Vec<bool> {
    let mut global = super::global_scope(options, platform);
    let _ = global.declare_all(dockerfile);
    let mut needed = vec![false; dockerfile.stages.len()];
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        if std::mem::replace(&mut needed[index], true) {
            continue;
        }
        let stage = &dockerfile.stages[index];
        if let Ok(expanded) = global.expand(&stage.from.image, dockerfile.directives.escape)
            && let BaseImage::Stage(base) = dockerfile.base_of(index, &expanded.text)
        {
            open.push(base);
        }
        for instruction in &stage.instructions {
            if let InstructionKind::Copy(copy) = &instruction.kind
                && let Some(from) = copy.from.as_ref().filter(|from| !from.text.contains(['$', '"', '\'']))
                && let StageUse::Stage(used) = dockerfile.stage_use(index, &from.text)
            {
                open.push(used);
            }
        }
    }
    needed
}

/// Images that will be needed as far as the text alone tells, in file order: they can be resolved side by side.
pub(crate) fn image_wishes(recipe: &Recipe<'_>) -> Vec<ImageWish> {
    let mut global = super::global_scope(recipe.options, recipe.platform);
    // What cannot be expanded is reported when lowering comes to it.
    let _ = global.declare_all(recipe.dockerfile);
    let needed = needed_stages(recipe.dockerfile, recipe.target, recipe.options, recipe.platform);
    let mut wishes: Vec<ImageWish> = Vec::new();
    for stage in recipe.dockerfile.stages.iter().filter(|stage| needed[stage.index]) {
        if let Ok(expanded) = global.expand(&stage.from.image, recipe.dockerfile.directives.escape)
            && let BaseImage::Image(name) = recipe.dockerfile.base_of(stage.index, &expanded.text)
            && let Ok(reference) = parse_reference(&name)
            && !wishes.iter().any(|wish| wish.reference == reference)
        {
            wishes.push(ImageWish { reference, span: stage.from.image.span });
        }
    }
    wishes
}

/// Reads an image name; a finding without a place when it is none.
fn parse_reference(name: &str) -> Result<Reference, Box<shipway_dockerfile::Diagnostic>> {
    Reference::parse(name).map(Reference::with_default_tag).map_err(|failure| {
        let position = shipway_dockerfile::Position { line: 1, column: 1 };
        let nowhere = Span { start: position, end: position, start_byte: 0, end_byte: 0 };
        let mut diagnostic = error("E-IMAGE-NAME", nowhere, format!("\"{name}\" is not an image name"));
        diagnostic.docker_text = Some(format!("failed to parse stage name \"{name}\": {failure}"));
        diagnostic.hint = failure.hint();
        diagnostic.reason = Some(failure.to_string());
        Box::new(diagnostic)
    })
}
