//! A build from request to image config, as a list of steps.
//!
//! ```text
//! look at the context -> parse -> everything that can be found wrong without running -> images -> lower -> check sources -> solve -> assemble
//! ```
//! What must stay true: nothing is pulled before the file alone was checked, nothing runs before every needed stage was lowered; whatever way a build ends,
//! the last event is `Finished`.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use shipway_dockerfile::scope::unconsumed_build_args;
use shipway_dockerfile::{Diagnostic, Dockerfile, ParseOptions, Parsed, SourceText, parse_with};
use shipway_model::{Platform, Timestamp};
use shipway_store::Store;
use tokio_util::sync::CancellationToken;

use crate::checks;
use crate::clock;
use crate::context::ContextFiles;
use crate::errors::BuildError;
use crate::export::image::{Assembled, assemble};
use crate::failure;
use crate::folders;
use crate::graph::Op;
use crate::lower::{ImageWish, Lowered, Plan, Recipe, image_wishes, lower, needed_stages};
use crate::ports::{Ports, ResolvedImage};
use crate::progress::{PlannedStep, ProgressEvent, ProgressSink, VertexId};
use crate::request::{BuildOptions, BuildOutcome, BuildRequest, Flavour};
use crate::solver::{Around, Output, Reporter, solve};
use crate::steps::StepTeller;

/// Builds an image. It is not named: the caller publishes it and its names in one transaction.
///
/// # Errors
/// See [`BuildError`]. When `cancel` fires, or the future is dropped, work that only this build wanted is stopped within a second.
///
/// # Durability
/// None by itself: layers and cache records become durable with the caller's publish, or a little later in the background.
///
/// # Cost
/// A build whose steps are all known lists the context, looks into memory once per step and writes nothing.
pub async fn build(
    request: BuildRequest,
    store: Store,
    ports: Ports,
    progress: ProgressSink,
    cancel: CancellationToken,
) -> Result<BuildOutcome, BuildError> {
    let report = Reporter::new(progress);
    let journey = Journey::new(request, store, ports, report.clone());
    let result = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(BuildError::Cancelled),
        result = journey.run() => result,
    };
    let (image, error) = match &result {
        Ok(outcome) => (Some(outcome.image), None),
        Err(error) => (None, Some(error.to_string())),
    };
    report.send(ProgressEvent::Finished { at: clock::now(), image, error });
    result
}

struct Journey {
    text: Arc<SourceText>,
    ignore: Option<String>,
    context: Option<crate::request::BuildContext>,
    options: Arc<BuildOptions>,
    platform: Platform,
    store: Store,
    ports: Ports,
    report: Reporter,
    next_id: u32,
}

impl Journey {
    fn new(request: BuildRequest, store: Store, ports: Ports, report: Reporter) -> Self {
        let platform = request.options.platform.clone().unwrap_or_else(Platform::host);
        Self {
            text: Arc::new(request.dockerfile),
            ignore: request.ignore,
            context: Some(request.context),
            options: Arc::new(request.options),
            platform,
            store,
            ports,
            report,
            next_id: 0,
        }
    }

    async fn run(mut self) -> Result<BuildOutcome, BuildError> {
        if self.options.squash {
            return Err(BuildError::Squash);
        }
        self.loaded(format!("[internal] load build definition from {}", self.text.name), "transferring dockerfile:", self.text.text.len());
        let ignore_size = self.ignore.as_ref().map_or(2, String::len);
        self.loaded("[internal] load .dockerignore".to_owned(), "transferring context:", ignore_size);
        let images = self.ports.images.clone();
        let is_known = |name: &str| images.is_known(name);
        let parsed = parse_with(&self.text, &ParseOptions { check: None, is_known_image: Some(&is_known) });
        // Also of a file that has errors: everything that can be said is said at once.
        let warnings: Vec<&Diagnostic> = parsed.diagnostics.iter().filter(|diagnostic| !diagnostic.is_error()).collect();
        // What a relative folder comes to is known when the base image is; what stands after it keeps its place.
        let ready = warnings.iter().position(|warning| folders::is_about_a_relative_one(warning)).unwrap_or(warnings.len());
        for warning in &warnings[..ready] {
            self.warn(warning);
        }
        let planned = self.plan(&parsed).await;
        for warning in &warnings[ready..] {
            self.warn(&folders::resolved(warning, planned.as_ref().ok().map(|(plan, _)| &plan.graph)));
        }
        let (plan, context) = planned?;
        self.announce(&plan);
        let Plan { graph, end, steps, context: context_vertex, warnings } = plan;
        for warning in &warnings {
            self.warn(warning);
        }
        let lease = self.store.lease();
        let steps = (self.options.flavour == Flavour::Classic).then(|| StepTeller::new(steps, graph.len(), self.epoch()));
        let around = Arc::new(Around {
            store: self.store.clone(),
            ports: self.ports.clone(),
            options: self.options.clone(),
            report: self.report.clone(),
            context,
            lease: lease.clone(),
            graph,
            steps,
        });
        let outputs = solve(&around, end.tree, context_vertex).await.map_err(|failed| failure::place(&around, &self.text, failed))?;
        let assembled = self.export(&end, &outputs)?;
        let (warnings, unconsumed) = self.closing_words(&parsed.dockerfile, &parsed.diagnostics);
        let total = around.graph.iter().filter(|(_, vertex)| !matches!(vertex.op, Op::Context)).count();
        Ok(BuildOutcome {
            image: assembled.id,
            config_bytes: assembled.bytes,
            layers: assembled.layers,
            parent: end.base.as_ref().map(|base| base.id),
            cached_steps: self.report.cached(),
            total_steps: total,
            warnings,
            unconsumed_args: unconsumed,
            lease,
        })
    }

    /// Everything before the first step: what the file alone tells, the context, the images, the graph.
    async fn plan(&mut self, parsed: &Parsed) -> Result<(Plan, Option<Arc<ContextFiles>>), BuildError> {
        let target = checks::target(&self.text, parsed, &self.options)?;
        let context = self.look_at_context().await?;
        let needed = needed_stages(&parsed.dockerfile, target, &self.options, &self.platform);
        checks::before_anything_runs(&self.text, parsed, &needed, context.as_deref(), &self.options)?;
        if !self.options.cache_from.is_empty() {
            let message = "--cache-from is not supported yet and changes nothing".to_owned();
            let detail = "results of builds on this machine are reused without it, whatever image they belong to".to_owned();
            self.report.send(ProgressEvent::Warning { id: None, code: "CacheFromIgnored".to_owned(), message, detail, line: None });
        }
        let plan = self.lower(&parsed.dockerfile, target, context.is_some()).await?;
        checks::sources(&self.text, &plan.graph, context.as_deref())?;
        Ok((plan, context))
    }

    /// A vertex for something that is here already.
    fn loaded(&mut self, name: String, status: &str, bytes: usize) {
        let id = self.vertex(name);
        let open = self.report.start(id);
        open.status(status, bytes as u64);
        open.done(false);
    }

    fn vertex(&mut self, name: String) -> VertexId {
        let id = VertexId(self.next_id);
        self.next_id += 1;
        self.report.send(ProgressEvent::Vertex { id, name, inputs: Vec::new(), line: None });
        id
    }

    fn warn(&self, warning: &Diagnostic) {
        let detail: Vec<&str> = warning.reason.iter().chain(&warning.hint).map(String::as_str).collect();
        self.report.send(ProgressEvent::Warning {
            id: None,
            code: warning.code.to_owned(),
            message: warning.message.clone(),
            detail: detail.join("\n"),
            line: Some(warning.span.start.line),
        });
    }

    async fn look_at_context(&mut self) -> Result<Option<Arc<ContextFiles>>, BuildError> {
        let Some(context) = self.context.take() else { return Ok(None) };
        let ignore = self.ignore.take();
        let looked = self.ports.flights.blocking(move || Ok(ContextFiles::look(context, ignore.as_deref()))).await;
        match looked {
            Ok(result) => Ok(result?.map(Arc::new)),
            Err(failure) => Err(BuildError::internal(failure.line())),
        }
    }

    /// Lowers the target, resolving images as they turn out to be needed.
    async fn lower(&mut self, dockerfile: &Dockerfile, target: usize, has_context: bool) -> Result<Plan, BuildError> {
        let mut images: HashMap<String, Arc<ResolvedImage>> = HashMap::new();
        let (options, platform) = (self.options.clone(), self.platform.clone());
        let mut wishes = Vec::new();
        loop {
            let first_id = self.next_id;
            let recipe = Recipe { dockerfile, options: &options, platform: &platform, images: &images, target, first_id, has_context };
            if images.is_empty() && wishes.is_empty() {
                wishes = image_wishes(&recipe);
            }
            if !wishes.is_empty() {
                let asked = std::mem::take(&mut wishes);
                self.resolve(dockerfile, asked, &mut images).await?;
                continue;
            }
            match lower(&recipe) {
                Ok(Lowered::Graph(plan)) => return Ok(*plan),
                Ok(Lowered::Wishes(more)) => wishes = more,
                Err(diagnostics) => return Err(BuildError::Dockerfile { text: self.text.clone(), diagnostics }),
            }
        }
    }

    async fn resolve(
        &mut self,
        dockerfile: &Dockerfile,
        wishes: Vec<ImageWish>,
        images: &mut HashMap<String, Arc<ResolvedImage>>,
    ) -> Result<(), BuildError> {
        let mut asked = Vec::new();
        for wish in &wishes {
            let id = self.vertex(format!("[internal] load metadata for {}", wish.reference.canonical()));
            let (report, source, platform, pull) =
                (self.report.clone(), self.ports.images.clone(), self.platform.clone(), self.options.pull);
            asked.push(async move {
                let open = report.start(id);
                let result = source.resolve(&wish.reference, &platform, pull).await;
                match &result {
                    Ok(_) => open.done(false),
                    Err(error) => open.failed(&error.to_string()),
                }
                result
            });
        }
        let answers = join_all(asked).await;
        let mut missing = Vec::new();
        for (wish, answer) in wishes.iter().zip(answers) {
            match answer {
                Ok(image) => drop(images.insert(wish.reference.canonical(), Arc::new(image))),
                Err(error) => missing.push((wish, error)),
            }
        }
        let diagnostics: Vec<Diagnostic> =
            missing.iter().map(|(wish, error)| failure::image(dockerfile, wish, error, &*self.ports.images)).collect();
        match missing.into_iter().next() {
            Some((_, error)) => Err(BuildError::Image { text: self.text.clone(), diagnostics, error }),
            None => Ok(()),
        }
    }

    /// Announces steps and vertices.
    fn announce(&mut self, plan: &Plan) {
        let id_of = |index| plan.graph.vertex(index).face.id;
        let steps: Vec<PlannedStep> = plan
            .steps
            .iter()
            .enumerate()
            .map(|(number, step)| PlannedStep {
                number: number + 1,
                total: plan.steps.len(),
                display: step.display.clone(),
                stage: step.stage,
                vertex: step.vertex.map(id_of),
            })
            .collect();
        let numbers = steps.iter().filter_map(|step| Some((step.vertex?, step.number))).collect();
        self.report.number_steps(numbers);
        self.report.send(ProgressEvent::Plan { steps });
        for (_, vertex) in plan.graph.iter() {
            let mut inputs: Vec<VertexId> = vertex.inputs().into_iter().map(id_of).collect();
            if let Op::Copy(copy) = &vertex.op
                && copy.uses_context()
            {
                inputs.extend(plan.context.map(id_of));
            }
            let line = Some(vertex.face.span.start.line);
            self.report.send(ProgressEvent::Vertex { id: vertex.face.id, name: vertex.face.name.clone(), inputs, line });
        }
        self.next_id += u32::try_from(plan.graph.len()).unwrap_or(u32::MAX);
    }

    fn epoch(&self) -> Option<Timestamp> {
        self.options.source_date_epoch()
    }

    fn export(&mut self, end: &crate::lower::StageState, outputs: &[Option<Output>]) -> Result<Assembled, BuildError> {
        let id = self.vertex("exporting to image".to_owned());
        let open = self.report.start(id);
        open.status("exporting layers", 0);
        match assemble(&self.store, end, outputs, &self.options.labels, self.epoch()) {
            Ok(assembled) => {
                open.status(format!("writing image {}", assembled.id), 0);
                for tag in &self.options.tags {
                    open.status(format!("naming to {}", tag.clone().with_default_tag().canonical()), 0);
                }
                open.done(false);
                Ok(assembled)
            }
            Err(error) => {
                open.failed(&error.to_string());
                Err(error)
            }
        }
    }

    fn closing_words(&self, dockerfile: &Dockerfile, diagnostics: &[Diagnostic]) -> (Vec<String>, Vec<String>) {
        let warnings = diagnostics.iter().filter(|diagnostic| !diagnostic.is_error());
        let mut warnings: Vec<String> =
            warnings.map(|warning| format!("{}: {} (line {})", warning.code, warning.message, warning.span.start.line)).collect();
        let unconsumed = unconsumed_build_args(dockerfile, self.options.build_args.iter().map(|(name, _)| name.as_str()));
        for argument in &unconsumed {
            let message = format!("build argument \"{}\" is not used by any ARG", argument.name);
            let detail = argument.hint().unwrap_or_default();
            warnings.push(if detail.is_empty() { message.clone() } else { format!("{message}: {detail}") });
            self.report.send(ProgressEvent::Warning { id: None, code: "UnconsumedBuildArg".to_owned(), message, detail, line: None });
        }
        (warnings, unconsumed.into_iter().map(|argument| argument.name).collect())
    }
}
