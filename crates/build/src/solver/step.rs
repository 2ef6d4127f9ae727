//! One vertex: what it depends on, whether that is known, and if not, the work.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use shipway_store::{CacheKey, CacheRecord, Lease, Store};

use super::report::OpenVertex;
use super::{Around, Controls, Inputs, Landing, Output, TreeOutput};
use crate::explain::{self, Question};
use crate::graph::{ImageOp, Op, Vertex, VertexIndex};
use crate::key::{self, StepKey, TakenEntry};
use crate::ops::select::SourceTree;
use crate::ops::{Made, OpFailure, Stack, copy, run, selection, workdir};
use crate::ports::LogSink;
use crate::{clock, progress::LogStream};

/// An image's tree: its layers are here already.
pub(super) fn image(around: &Arc<Around>, image: &ImageOp) -> Result<Output, OpFailure> {
    for layer in image.layers.iter() {
        if !around.lease.add_layer(layer) {
            return Err(OpFailure::internal(format!("layer {layer} of image {} is gone", image.image)));
        }
    }
    let stack = Stack::of(&around.store, &image.layers)?;
    Ok(Output::Tree(TreeOutput { stack, made: None, cached: true }))
}

/// The build context: finds out the content of every file some step will take.
pub(super) async fn context(around: &Arc<Around>, open: &OpenVertex) -> Result<Output, OpFailure> {
    let context = around.context.clone().ok_or_else(|| OpFailure::internal("there is no build context"))?;
    let patterns = around.graph.iter().filter_map(|(_, vertex)| match &vertex.op {
        Op::Copy(copy) => Some(copy.clone()),
        _ => None,
    });
    let copies: Vec<_> = patterns.filter(|copy| copy.uses_context()).collect();
    let bytes = around.ports.flights.blocking(move || context.learn(&copies)).await?;
    open.status("transferring context:", bytes);
    Ok(Output::Context)
}

/// RUN, COPY, ADD, WORKDIR: looks for a known result, joins whoever is making it, or makes it.
pub(super) async fn work(around: &Arc<Around>, index: VertexIndex, inputs: &Inputs) -> Result<Output, OpFailure> {
    let vertex = around.graph.vertex(index);
    let below = inputs.tree(vertex.parent)?;
    let step = Step::prepare(around, vertex, inputs, &below).await?;
    if !vertex.face.ignore_cache
        && let Some(made) = known(&around.store, &step.key.key, &around.lease)
    {
        if around.options.explain {
            around.report.explained(vertex.face.id, explain::known(&around.store, &step.key));
        }
        return Ok(tree(&below, made, true));
    }
    // Asked before the work: its own result would be the newest.
    let why = around.options.explain.then(|| step.explain(around, vertex, &below));
    let log: LogSink = {
        let (report, id) = (around.report.clone(), vertex.face.id);
        Arc::new(move |stream: LogStream, bytes: Bytes| report.log(id, stream, &bytes))
    };
    let flight_key = if vertex.face.ignore_cache { clock::random() } else { step.key.key.0 };
    let lookup = || if vertex.face.ignore_cache { None } else { known(&around.store, &step.key.key, &around.lease) };
    let started = || {
        if matches!(vertex.op, Op::Run(_)) {
            around.report.running(vertex.face.id);
        }
    };
    let doing = {
        let (around, step, below) = (around.clone(), step.clone(), below.clone());
        move |controls: Controls| make(around, index, step, below, controls).boxed()
    };
    let landing = around.ports.flights.join(flight_key, log, lookup, started, doing).await?;
    let (made, cached) = match landing {
        Landing::Known(made) => (made, true),
        Landing::Made(made) => (made, false),
    };
    if let Some(why) = why {
        around.report.explained(vertex.face.id, if cached { explain::shared() } else { why });
    }
    if !around.lease.add_layer(&made.layer) {
        return Err(OpFailure::internal(format!("layer {} is gone right after it was made", made.layer)));
    }
    Ok(tree(&below, made, cached))
}

fn tree(below: &Stack, made: Made, cached: bool) -> Output {
    Output::Tree(TreeOutput { stack: below.with(&made), made: Some(made), cached })
}

/// What was found out about a step before doing it.
#[derive(Clone)]
struct Step {
    key: Arc<StepKey>,
    /// What a COPY takes, per source.
    selection: Option<Arc<selection::Selection>>,
}

impl Step {
    async fn prepare(around: &Arc<Around>, vertex: &Vertex, inputs: &Inputs, below: &Stack) -> Result<Self, OpFailure> {
        match &vertex.op {
            Op::Run(op) => Ok(Self { key: Arc::new(key::of_run(op, &below.content)), selection: None }),
            Op::Workdir(op) => Ok(Self { key: Arc::new(key::of_workdir(op, &below.content)), selection: None }),
            Op::Copy(op) => {
                let selection = selection::select(around, op, &vertex.face.instruction, inputs).await?;
                let origin = around.context.as_ref().map(|context| context.origin()).unwrap_or_default();
                let key = key::of_copy(op, &below.content, &selection.taken(), &origin);
                Ok(Self { key: Arc::new(key), selection: Some(Arc::new(selection)) })
            }
            Op::Image(_) | Op::Context => Err(OpFailure::internal("this vertex is not a step")),
        }
    }

    /// Why this step has to be done.
    fn explain(&self, around: &Around, vertex: &Vertex, below: &Stack) -> String {
        if vertex.face.ignore_cache {
            return explain::unasked();
        }
        let on_image = vertex.parent.is_none_or(|parent| matches!(around.graph.vertex(parent).op, Op::Image(_)));
        let taken = self.selection.as_ref().map(|selection| selection.taken()).unwrap_or_default();
        let question = Question {
            op: &vertex.op,
            key: &self.key,
            below: &below.content,
            taken: &taken,
            selection: self.selection.as_deref(),
            context: around.context.as_deref().map(|context| context as &dyn SourceTree),
            on_image,
        };
        explain::unknown(&around.store, &question)
    }
}

/// A result from the cache whose layer is here, kept by `lease`.
fn known(store: &Store, key: &CacheKey, lease: &Lease) -> Option<Made> {
    let record = store.cache().lookup(key)?;
    let id = record.result?;
    // The order matters: first keep it, then look at it.
    if !lease.add_layer(&id) {
        return None;
    }
    let layer = store.layer(&id)?;
    store.cache().touch(key);
    Some(Made { layer: id, tree_digest: layer.tree_digest, _lease: lease.clone() })
}

async fn make(around: Arc<Around>, index: VertexIndex, step: Step, below: Stack, controls: Controls) -> Result<Made, OpFailure> {
    let vertex = around.graph.vertex(index);
    // The flight's own lease: it may outlive the build that started it.
    let lease = around.store.lease();
    let made = match &vertex.op {
        Op::Run(op) => run::make(&around, op, &below, &lease, &controls).await?,
        Op::Workdir(op) => workdir::make(&around, op, &below, &lease).await?,
        Op::Copy(op) => {
            let selection = step.selection.clone().ok_or_else(|| OpFailure::internal("a copy without its selection"))?;
            copy::make(&around, op, selection, &below, &lease, &controls, step.key.weak).await?
        }
        Op::Image(_) | Op::Context => return Err(OpFailure::internal("this vertex is not a step")),
    };
    let taken: Vec<Vec<TakenEntry>> = step.selection.as_ref().map(|selection| selection.taken()).unwrap_or_default();
    let size = around.store.layer(&made.layer).map_or(0, |layer| layer.content_size);
    around.store.cache().record(CacheRecord {
        key: step.key.key,
        result: Some(made.layer),
        weak_key: Some(step.key.weak),
        parts: key::parts(&vertex.op, &below.content, &taken),
        description: vertex.face.instruction.clone(),
        created: clock::now(),
        last_used: clock::now(),
        uses: 0,
        size,
        imported: false,
    });
    around.store.publish_soon();
    Ok(made)
}
