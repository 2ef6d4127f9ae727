//! One stage: where it begins, and its instructions from top to bottom.
//!
//! What must stay true: a stage that failed to lower gives no end and one finding per mistake, not one per user; numbering counts what makes a vertex, as
//! BuildKit's display does, so that vertex counts and names are those people know.

use std::sync::Arc;

use shipway_dockerfile::scope::StageScope;
use shipway_dockerfile::{BaseImage, Instruction, InstructionKind, Span, Stage, StageUse, Word};
use shipway_model::ImageConfig;

use super::history::HistoryEntry;
use super::{Lowerer, StepDraft, error};
use crate::graph::VertexIndex;
use crate::ports::ResolvedImage;

/// What `PATH` is when the base image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage at one place of it.
#[derive(Debug, Clone)]
pub(crate) struct StageState {
    /// The vertex whose tree this stage has by now; none for an empty tree.
    pub(crate) tree: Option<VertexIndex>,
    /// The image config by now; its environment is in `scope`.
    pub(crate) config: ImageConfig,
    pub(crate) history: Vec<HistoryEntry>,
    pub(crate) scope: StageScope,
    /// The image at the bottom.
    pub(crate) base: Option<Arc<ResolvedImage>>,
    /// CMD was given in this stage, so ENTRYPOINT does not reset it.
    pub(super) cmd_is_set: bool,
}

impl StageState {
    /// The image config with the environment filled in.
    pub(crate) fn full_config(&self) -> ImageConfig {
        let mut config = self.config.clone();
        config.config.env = self.scope.environment().iter().map(|(name, value)| format!("{name}={value}")).collect();
        config
    }
}

/// How steps of a stage are named and numbered.
pub(super) struct Numbering {
    stage: Option<String>,
    next: usize,
    total: usize,
}

impl Numbering {
    /// `[builder 2/6] RUN make`.
    pub(super) fn name(&mut self, display: &str) -> String {
        let width = self.total.to_string().len();
        let stage = self.stage.as_ref().map(|stage| format!("{stage} ")).unwrap_or_default();
        let name = format!("[{stage}{:>width$}/{}] {display}", self.next, self.total);
        self.next += 1;
        name
    }
}

/// Where an instruction stands, and what is true for its whole stage.
pub(super) struct Here<'s> {
    pub(super) stage: usize,
    pub(super) ignore_cache: bool,
    /// Prefix of displays: `ONBUILD ` for triggers.
    pub(super) prefix: &'static str,
    pub(super) instruction: &'s Instruction,
    /// Where findings point: the instruction, or the FROM whose image brought the trigger.
    pub(super) trigger_span: Option<Span>,
}

impl Here<'_> {
    /// The place of a word, unless it stands in a trigger of another file.
    pub(super) fn at(&self, span: Span) -> Span {
        self.trigger_span.unwrap_or(span)
    }

    /// The place of the instruction.
    pub(super) fn span(&self) -> Span {
        self.at(self.instruction.span)
    }

    /// The instruction in one line, as written.
    pub(super) fn display(&self) -> String {
        format!("{}{}", self.prefix, self.instruction.display())
    }
}

impl Lowerer<'_> {
    /// Lowers a stage unless that was done already. None when it cannot be lowered (yet).
    pub(super) fn stage(&mut self, index: usize) -> Option<Arc<StageState>> {
        if let Some(done) = &self.ends[index] {
            return done.clone();
        }
        // Circles were reported by the parser; this keeps a circle it could not see from recursing for ever.
        self.ends[index] = Some(None);
        let end = self.lower_stage(index).map(Arc::new);
        self.ends[index] = Some(end.clone());
        end
    }

    fn lower_stage(&mut self, index: usize) -> Option<StageState> {
        let dockerfile = self.recipe.dockerfile;
        let stage = &dockerfile.stages[index];
        let image = self.expand_from(&stage.from.image)?;
        let base = dockerfile.base_of(index, &image);
        for used in self.stages_copied_from(stage) {
            self.stage(used);
        }
        let resolved = match &base {
            BaseImage::Image(name) => {
                let found = self.image(name, stage.from.image.span);
                if found.is_none() {
                    // Other stages and copies are still looked at, so that all wishes and findings come at once.
                    self.visit_uses(stage);
                }
                Some(found?)
            }
            _ => None,
        };
        let parent = match base {
            BaseImage::Stage(parent) => Some(self.stage(parent)?),
            _ => None,
        };
        let triggers = match (&resolved, &parent) {
            (Some(image), _) => self.triggers(&image.config.config.on_build, stage),
            (None, Some(parent)) => self.triggers(&parent.config.config.on_build, stage),
            (None, None) => Vec::new(),
        };
        let mut numbering = self.numbering(stage, resolved.is_some(), &triggers);
        let mut state = match (resolved, parent) {
            (Some(image), _) => self.begin(stage, image, &mut numbering),
            (None, Some(parent)) => {
                let scope = StageScope::from_stage(&parent.scope);
                let mut state = StageState { scope, cmd_is_set: false, ..(*parent).clone() };
                state.config.config.on_build.clear();
                state
            }
            (None, None) => self.scratch(),
        };
        self.note_step(stage.from.display(), stage, stage.from.span.start_byte, state.tree, &state);
        if state.scope.lookup("PATH").is_none() {
            state.scope.set_env("PATH", DEFAULT_PATH);
        }
        let ignore_cache = self.ignores_cache(stage);
        for trigger in &triggers {
            let here =
                Here { stage: index, ignore_cache, prefix: "ONBUILD ", instruction: trigger, trigger_span: Some(stage.from.image.span) };
            self.step(&here, &mut state, &mut numbering, stage.from.span.start_byte + 1);
        }
        for instruction in &stage.instructions {
            let here = Here { stage: index, ignore_cache, prefix: "", instruction, trigger_span: None };
            self.step(&here, &mut state, &mut numbering, instruction.span.start_byte);
        }
        Some(state)
    }

    /// Earlier stages a stage surely copies from. Lowering them first gives vertices and wishes the order of the file.
    fn stages_copied_from(&self, stage: &Stage) -> Vec<usize> {
        let copies = stage.instructions.iter().filter_map(|instruction| match &instruction.kind {
            InstructionKind::Copy(copy) => copy.from.as_ref().filter(|from| !from.text.contains(['$', '"', '\''])),
            _ => None,
        });
        let used = copies.filter_map(|from| match self.recipe.dockerfile.stage_use(stage.index, &from.text) {
            StageUse::Stage(used) if used < stage.index => Some(used),
            _ => None,
        });
        let mut used: Vec<usize> = used.collect();
        used.sort_unstable();
        used
    }

    /// Lowers what a stage copies from, though the stage itself cannot be lowered.
    fn visit_uses(&mut self, stage: &Stage) {
        let scope = StageScope::default();
        for instruction in &stage.instructions {
            if let InstructionKind::Copy(copy) = &instruction.kind
                && let Some(from) = &copy.from
                && let Ok(expanded) = scope.expand(from, self.escape())
                && expanded.undefined.is_empty()
            {
                self.tree_of(stage.index, &expanded.text, from.span);
            }
        }
    }

    fn step(&mut self, here: &Here<'_>, state: &mut StageState, numbering: &mut Numbering, place: usize) {
        let vertices_before = state.tree;
        self.instruction(here, state, numbering);
        let vertex = if state.tree == vertices_before { None } else { state.tree };
        let stage = &self.recipe.dockerfile.stages[here.stage];
        self.note_step(here.display(), stage, place, vertex, state);
    }

    fn note_step(&mut self, display: String, stage: &Stage, place: usize, vertex: Option<VertexIndex>, state: &StageState) {
        let after = (self.recipe.options.flavour == crate::request::Flavour::Classic).then(|| Arc::new(state.clone()));
        self.steps.push(StepDraft { display, stage: stage.index, vertex, place, after });
    }

    fn instruction(&mut self, here: &Here<'_>, state: &mut StageState, numbering: &mut Numbering) {
        match &here.instruction.kind {
            InstructionKind::Run(run) => self.run(here, run, state, numbering),
            InstructionKind::Copy(copy) => self.copy(here, copy, state, numbering),
            InstructionKind::Add(add) => self.add_files(here, add, state, numbering),
            InstructionKind::Workdir(path) => self.workdir(here, path, state, numbering),
            _ => self.configure(here, state),
        }
    }

    fn numbering(&self, stage: &Stage, has_from: bool, triggers: &[Instruction]) -> Numbering {
        let counted = |instruction: &&Instruction| {
            matches!(
                instruction.kind,
                InstructionKind::Run(_) | InstructionKind::Copy(_) | InstructionKind::Add(_) | InstructionKind::Workdir(_)
            )
        };
        let total = usize::from(has_from) + stage.instructions.iter().chain(triggers).filter(counted).count();
        let name = match &stage.from.alias_word {
            Some(alias) => Some(alias.text.to_lowercase()),
            None if self.recipe.dockerfile.stages.len() > 1 => Some(format!("stage-{}", stage.index)),
            None => None,
        };
        Numbering { stage: name, next: 1, total }
    }

    fn ignores_cache(&self, stage: &Stage) -> bool {
        let options = self.recipe.options;
        let named =
            |wanted: &String| stage.name().is_some_and(|name| name.eq_ignore_ascii_case(wanted)) || *wanted == stage.index.to_string();
        options.no_cache || options.no_cache_filter.iter().any(named)
    }

    /// Expands a word of FROM; a word that cannot be is a finding.
    fn expand_from(&mut self, word: &Word) -> Option<String> {
        match self.global.expand(word, self.escape()) {
            Ok(expanded) => Some(expanded.text),
            Err(failure) => {
                self.diagnostics.push(error("E-EXPANSION", failure.span, failure.to_string()));
                None
            }
        }
    }

    /// Expands a word of a stage's instruction; a word that cannot be is a finding.
    pub(super) fn expand(&mut self, here: &Here<'_>, state: &StageState, word: &Word) -> Option<String> {
        match state.scope.expand(word, self.escape()) {
            Ok(expanded) => Some(expanded.text),
            Err(failure) => {
                self.diagnostics.push(error("E-EXPANSION", here.at(failure.span), failure.to_string()));
                None
            }
        }
    }

    /// Expands several words; none when one of them cannot be.
    pub(super) fn expand_all(&mut self, here: &Here<'_>, state: &StageState, words: &[Word]) -> Option<Vec<String>> {
        let expanded: Vec<Option<String>> = words.iter().map(|word| self.expand(here, state, word)).collect();
        expanded.into_iter().collect()
    }
}
