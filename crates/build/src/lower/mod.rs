//! From a parsed Dockerfile to a graph: stages the target needs, one after the other, each instruction changing the stage's state.
//!
//! What must stay true: nothing is executed, read or fetched here; all findings of all needed stages are collected before anything is said; an image
//! that is needed but not resolved yet is a wish, and lowering is simply done again when it has come.

mod config;
mod copy;
mod from;
pub(crate) mod history;
mod run;
mod stages;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use shipway_dockerfile::scope::{GlobalScope, PlatformNames};
use shipway_dockerfile::{Diagnostic, Dockerfile, Severity, Span};
use shipway_model::{Platform, Reference};

use crate::graph::{BuildGraph, Face, Op, VertexIndex};
use crate::ports::ResolvedImage;
use crate::progress::VertexId;
use crate::request::{BuildOptions, Flavour};

pub(crate) use from::{image_wishes, needed_stages};
pub(crate) use run::SCRIPT_FOLDER;
pub(crate) use stages::StageState;

/// What lowering is given.
pub(crate) struct Recipe<'a> {
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) options: &'a BuildOptions,
    pub(crate) platform: &'a Platform,
    /// Images known by now, by canonical name.
    pub(crate) images: &'a HashMap<String, Arc<ResolvedImage>>,
    /// The stage to build.
    pub(crate) target: usize,
    /// The first vertex id that is free.
    pub(crate) first_id: u32,
    /// There is a build context.
    pub(crate) has_context: bool,
}

/// An image somebody names.
#[derive(Debug, Clone)]
pub(crate) struct ImageWish {
    pub(crate) reference: Reference,
    /// Where it is named first.
    pub(crate) span: Span,
}

/// The outcome of lowering.
pub(crate) enum Lowered {
    /// Everything is known.
    Graph(Box<Plan>),
    /// These images must be resolved first.
    Wishes(Vec<ImageWish>),
}

/// The work, and what the image will be.
pub(crate) struct Plan {
    pub(crate) graph: BuildGraph,
    /// The final stage as it ends.
    pub(crate) end: Arc<StageState>,
    /// Instructions of the stages being built, in file order.
    pub(crate) steps: Vec<StepDraft>,
    /// The vertex of the build context, when some step reads it.
    pub(crate) context: Option<VertexIndex>,
    /// Findings that stop nothing.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// One instruction, before steps are numbered.
pub(crate) struct StepDraft {
    pub(crate) display: String,
    pub(crate) stage: usize,
    pub(crate) vertex: Option<VertexIndex>,
    /// Order in the file.
    pub(crate) place: usize,
    /// The stage right after it, to tell the image id of this step.
    pub(crate) after: Option<Arc<StageState>>,
}

/// Lowers what the target needs.
///
/// # Errors
/// Every finding that stops the build, and the warnings between them, by place.
pub(crate) fn lower(recipe: &Recipe<'_>) -> Result<Lowered, Vec<Diagnostic>> {
    let mut lowerer = Lowerer::new(recipe);
    let end = lowerer.stage(recipe.target);
    if !lowerer.wishes.is_empty() && lowerer.diagnostics.iter().all(|diagnostic| !diagnostic.is_error()) {
        return Ok(Lowered::Wishes(lowerer.wishes));
    }
    let mut diagnostics = lowerer.diagnostics;
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.start_byte);
    diagnostics.dedup();
    match end {
        Some(end) if diagnostics.iter().all(|diagnostic| !diagnostic.is_error()) => {
            let mut steps = lowerer.steps;
            if recipe.options.flavour == Flavour::Classic {
                steps.extend(steps_around(recipe, &end));
            }
            steps.sort_by_key(|step| step.place);
            Ok(Lowered::Graph(Box::new(Plan { graph: lowerer.graph, end, steps, context: lowerer.context, warnings: diagnostics })))
        }
        _ => Err(diagnostics),
    }
}

/// The steps that only the classic display counts: every ARG before the first FROM, and a last LABEL for each `--label`, sorted.
fn steps_around(recipe: &Recipe<'_>, end: &Arc<StageState>) -> Vec<StepDraft> {
    let mut steps: Vec<StepDraft> = recipe
        .dockerfile
        .global_args
        .iter()
        .map(|argument| StepDraft { display: argument.display(), stage: 0, vertex: None, place: argument.span.start_byte, after: None })
        .collect();
    let mut labels: Vec<&(String, String)> = recipe.options.labels.iter().collect();
    labels.sort();
    let mut labelled = (**end).clone();
    for (name, value) in labels {
        labelled.config.config.labels.insert(name.clone(), value.clone());
        let (display, after) = (format!("LABEL {name}={value}"), Some(Arc::new(labelled.clone())));
        steps.push(StepDraft { display, stage: recipe.target, vertex: None, place: usize::MAX, after });
    }
    steps
}

/// The state of lowering one Dockerfile.
struct Lowerer<'a> {
    recipe: &'a Recipe<'a>,
    global: GlobalScope,
    graph: BuildGraph,
    /// Ends of stages lowered so far; the inner none stands for one that cannot be.
    ends: Vec<Option<Option<Arc<StageState>>>>,
    diagnostics: Vec<Diagnostic>,
    wishes: Vec<ImageWish>,
    steps: Vec<StepDraft>,
    context: Option<VertexIndex>,
}

impl<'a> Lowerer<'a> {
    fn new(recipe: &'a Recipe<'a>) -> Self {
        let mut global = global_scope(recipe.options, recipe.platform);
        let mut diagnostics = Vec::new();
        if let Err(error) = global.declare_all(recipe.dockerfile) {
            diagnostics.push(self::error("E-EXPANSION", error.span, error.to_string()));
        }
        Self {
            recipe,
            global,
            graph: BuildGraph::default(),
            ends: vec![None; recipe.dockerfile.stages.len()],
            diagnostics,
            wishes: Vec::new(),
            steps: Vec::new(),
            context: None,
        }
    }

    /// The escape character of the file.
    fn escape(&self) -> char {
        self.recipe.dockerfile.directives.escape
    }

    /// Adds a vertex with the next free id.
    fn add(
        &mut self,
        op: Op,
        parent: Option<VertexIndex>,
        name: String,
        span: Span,
        instruction: String,
        ignore_cache: bool,
    ) -> VertexIndex {
        let id = VertexId(self.recipe.first_id + u32::try_from(self.graph.len()).unwrap_or(u32::MAX));
        self.graph.add(op, parent, Face { id, name, span, ignore_cache, instruction })
    }

    /// The vertex of the build context.
    fn context(&mut self, span: Span) -> VertexIndex {
        if let Some(context) = self.context {
            return context;
        }
        let vertex = self.add(Op::Context, None, "[internal] load build context".to_owned(), span, String::new(), false);
        self.context = Some(vertex);
        vertex
    }
}

/// What holds before the first FROM, its own arguments not declared yet.
fn global_scope(options: &BuildOptions, platform: &Platform) -> GlobalScope {
    let given: BTreeMap<String, String> =
        options.build_args.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    let names = |platform: &Platform| {
        PlatformNames::new(platform.os.clone(), platform.architecture.clone(), platform.variant.clone().unwrap_or_default())
    };
    let target = options.target.as_deref().unwrap_or_default();
    GlobalScope::new(given, &names(&Platform::host()), &names(platform), target)
}

/// A finding that stops the build.
pub(crate) fn error(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic { code, severity: Severity::Error, span, message: message.into(), reason: None, hint: None, docker_text: None }
}

/// A finding about something this version cannot do.
pub(crate) fn unsupported(span: Span, what: impl std::fmt::Display) -> Diagnostic {
    error("E-NOT-SUPPORTED", span, format!("{what} is not supported yet"))
}

#[cfg(test)]
mod tests;
