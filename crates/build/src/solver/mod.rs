//! Solving: every vertex of the graph becomes a shared future that waits for its inputs, looks for a known result, and does the work when there is none.
//!
//! What must stay true: a vertex starts as soon as its inputs are done, whatever its stage; a vertex is worked on once however many need it; the first
//! failure ends the build at once, and what only this build wanted is cancelled by dropping it; nothing of the store is read or written for a step
//! whose result is known, beyond looking into memory.

mod flights;
mod report;
mod step;

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, try_join_all};
use shipway_model::LayerId;
use shipway_store::{Lease, Store};

pub use flights::Flights;
pub(crate) use flights::{Controls, Landing};
pub(crate) use report::Reporter;

use crate::context::ContextFiles;
use crate::graph::{BuildGraph, Op, VertexIndex};
use crate::ops::{Made, OpFailure, Stack};
use crate::ports::Ports;
use crate::request::BuildOptions;
use crate::steps::StepTeller;

/// What every step of one build may use.
pub(crate) struct Around {
    pub(crate) store: Store,
    pub(crate) ports: Ports,
    pub(crate) options: Arc<BuildOptions>,
    pub(crate) report: Reporter,
    /// The build context, where there is one.
    pub(crate) context: Option<Arc<ContextFiles>>,
    /// Keeps the results of this build.
    pub(crate) lease: Lease,
    pub(crate) graph: BuildGraph,
    /// Tells image ids step by step, for the display that shows them.
    pub(crate) steps: Option<StepTeller>,
}

/// What a vertex gives.
#[derive(Clone)]
pub(crate) enum Output {
    /// A tree.
    Tree(TreeOutput),
    /// The context is ready to be read.
    Context,
}

/// A tree, and the layer this vertex added to its parent's.
#[derive(Clone)]
pub(crate) struct TreeOutput {
    pub(crate) stack: Stack,
    /// None for an image.
    pub(crate) made: Option<Made>,
    /// It was known already.
    pub(crate) cached: bool,
}

/// Why a vertex gave nothing.
#[derive(Clone)]
pub(crate) struct Failed {
    pub(crate) vertex: VertexIndex,
    pub(crate) failure: OpFailure,
}

/// The coming output of a vertex.
type Coming = Shared<BoxFuture<'static, Result<Output, Failed>>>;

/// Solves the graph as far as `target` needs it and gives the outputs of all vertices it needed, by index.
///
/// # Errors
/// The first failure. Dropping the future gives everything up.
pub(crate) async fn solve(
    around: &Arc<Around>,
    target: Option<VertexIndex>,
    context: Option<VertexIndex>,
) -> Result<Vec<Option<Output>>, Failed> {
    if let Some(steps) = &around.steps {
        steps.done(None, &Output::Context, &around.store, &around.report);
    }
    let Some(target) = target else { return Ok(vec![None; around.graph.len()]) };
    let mut coming: Vec<Coming> = Vec::with_capacity(around.graph.len());
    for (index, vertex) in around.graph.iter() {
        let mut needed = vertex.inputs();
        if let Op::Copy(copy) = &vertex.op
            && copy.uses_context()
        {
            needed.extend(context);
        }
        // Inputs have smaller indexes, so their futures exist.
        let inputs: Vec<(VertexIndex, Coming)> = needed.into_iter().map(|input| (input, coming[input.0].clone())).collect();
        coming.push(vertex_future(around.clone(), index, inputs).boxed().shared());
    }
    coming[target.0].clone().await?;
    Ok(coming.iter().map(|coming| coming.peek().and_then(|output| output.clone().ok())).collect())
}

async fn vertex_future(around: Arc<Around>, index: VertexIndex, inputs: Vec<(VertexIndex, Coming)>) -> Result<Output, Failed> {
    let outputs = try_join_all(inputs.into_iter().map(|(input, coming)| async move { coming.await.map(|output| (input, output)) })).await?;
    let inputs = Inputs { outputs };
    let vertex = around.graph.vertex(index);
    let open = around.report.start(vertex.face.id);
    let result = match &vertex.op {
        Op::Image(image) => step::image(&around, image),
        Op::Context => step::context(&around, &open).await,
        Op::Run(_) | Op::Copy(_) | Op::Workdir(_) => step::work(&around, index, &inputs).await,
    };
    match result {
        Ok(output) => {
            open.done(matches!(&output, Output::Tree(tree) if tree.cached));
            if let Some(steps) = &around.steps {
                steps.done(Some(index), &output, &around.store, &around.report);
            }
            Ok(output)
        }
        Err(failure) => {
            open.failed(&failure.line());
            Err(Failed { vertex: index, failure })
        }
    }
}

/// The outputs a vertex was given.
pub(crate) struct Inputs {
    outputs: Vec<(VertexIndex, Output)>,
}

impl Inputs {
    /// The tree of an input; the empty tree for none.
    pub(crate) fn tree(&self, vertex: Option<VertexIndex>) -> Result<Stack, OpFailure> {
        let Some(vertex) = vertex else { return Ok(Stack::empty()) };
        let found = self.outputs.iter().find_map(|(index, output)| match output {
            Output::Tree(tree) if *index == vertex => Some(tree.stack.clone()),
            _ => None,
        });
        found.ok_or_else(|| OpFailure::internal(format!("vertex {} has no tree", vertex.0)))
    }
}

/// For each layer made in this graph below `vertex`, the instruction that made it and its line, newest first.
pub(crate) fn origins(around: &Around, inputs: &Inputs, vertex: Option<VertexIndex>) -> Vec<(LayerId, String, u32)> {
    let Some(top) = vertex else { return Vec::new() };
    let layers = inputs.tree(vertex).map(|stack| stack.layers).unwrap_or_else(|_| Arc::from([]));
    let mut origins = Vec::new();
    let mut current = Some(top);
    let mut position = layers.len();
    while let Some(index) = current {
        let vertex = around.graph.vertex(index);
        if matches!(vertex.op, Op::Image(_)) {
            break;
        }
        // Every vertex but the image at the bottom adds exactly one layer.
        let Some(below) = position.checked_sub(1) else { break };
        position = below;
        origins.push((layers[position], vertex.face.instruction.clone(), vertex.face.span.start.line));
        current = vertex.parent;
    }
    origins
}
