//! The work of one build as a graph: vertices are steps, edges say whose tree a step needs. Displays' names and places in the Dockerfile stand beside the
//! operation and never enter an identity.
//!
//! What must stay true: inputs of a vertex have smaller indexes than the vertex, so the graph has no cycle; two vertices with equal operation and equal
//! inputs are one vertex (the first one's name stays).

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use shipway_dockerfile::Span;
use shipway_model::{ImageId, LayerId, Platform, Ulimit};

use crate::key;
use crate::progress::VertexId;
use crate::request::RunNetwork;

/// A place in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub(crate) struct VertexIndex(pub(crate) usize);

/// The work.
#[derive(Debug, Default)]
pub(crate) struct BuildGraph {
    vertices: Vec<Vertex>,
    known: HashMap<[u8; 32], VertexIndex>,
}

/// A unit of work.
#[derive(Debug)]
pub(crate) struct Vertex {
    /// What is done.
    pub(crate) op: Op,
    /// The vertex whose tree is built upon; none for an empty tree.
    pub(crate) parent: Option<VertexIndex>,
    /// What displays show. Not part of the identity.
    pub(crate) face: Face,
    /// Identity in this graph.
    digest: [u8; 32],
}

/// How a vertex shows itself.
#[derive(Debug, Clone)]
pub(crate) struct Face {
    /// The id in events.
    pub(crate) id: VertexId,
    /// `[builder 2/6] RUN make`.
    pub(crate) name: String,
    /// The instruction in the Dockerfile.
    pub(crate) span: Span,
    /// Known results are not looked at.
    pub(crate) ignore_cache: bool,
    /// The instruction as an error or a hint calls it: `RUN go build -o /web/server`.
    pub(crate) instruction: String,
}

/// An operation. Everything that is serialized is part of the vertex' identity.
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Op {
    /// The tree of an image that was resolved already.
    Image(ImageOp),
    /// The files of the build context.
    Context,
    /// A process changes the tree.
    Run(RunOp),
    /// Files are put into the tree (COPY and ADD).
    Copy(CopyOp),
    /// A folder is made (WORKDIR).
    Workdir(WorkdirOp),
}

/// The tree of an image.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ImageOp {
    /// The image.
    pub(crate) image: ImageId,
    /// Its layers, bottom first.
    pub(crate) layers: Arc<[LayerId]>,
}

/// A process changes the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RunOp {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) network: RunNetwork,
    /// Names only: an address is how the machine is reached today, not what the step means.
    pub(crate) extra_host_names: Vec<String>,
    pub(crate) shm_size: Option<u64>,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) hostname: Option<String>,
    pub(crate) platform: Platform,
    /// A script given as a here-document with a `#!` line: file name and content.
    pub(crate) script: Option<(String, String)>,
}

/// Files are put into the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CopyOp {
    /// ADD unpacks and downloads, COPY does not.
    pub(crate) add: bool,
    pub(crate) sources: Vec<CopySource>,
    /// Absolute; a trailing slash says "folder".
    pub(crate) destination: String,
    /// `name|uid[:group|gid]` looked up in the tree being built.
    pub(crate) owner: Option<String>,
    pub(crate) mode: Option<ModeChange>,
    pub(crate) parents: bool,
    pub(crate) exclude: Vec<String>,
    /// `--link`: what is in the way is replaced, symlinks of the tree are not followed.
    pub(crate) link: bool,
    /// `--unpack`; the default depends on the source.
    pub(crate) unpack: Option<bool>,
    /// `--checksum` of a download.
    pub(crate) checksum: Option<String>,
    pub(crate) platform: Platform,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub(crate) enum CopySource {
    /// A path or pattern in the build context.
    Context { pattern: String },
    /// A path or pattern in the tree of a vertex; none is the empty tree.
    Tree { vertex: Option<VertexIndex>, pattern: String },
    /// A here-document.
    Inline { name: String, content: String },
    /// A file to download.
    Url { url: String },
}

/// What `--chmod` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModeChange {
    /// Exactly these bits.
    Octal(u32),
    /// A symbolic change such as `u=rwX,go=rX`, already checked.
    Symbolic(String),
}

/// A folder is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct WorkdirOp {
    pub(crate) path: String,
    /// Owner of folders made here: the USER in force.
    pub(crate) user: String,
}

impl BuildGraph {
    /// Adds a vertex, or finds the equal one that is there already.
    pub(crate) fn add(&mut self, op: Op, parent: Option<VertexIndex>, face: Face) -> VertexIndex {
        let digest = key::vertex_digest(
            &op,
            parent.map(|parent| &self.vertices[parent.0].digest),
            |index| &self.vertices[index.0].digest,
            face.ignore_cache,
        );
        if let Some(known) = self.known.get(&digest) {
            return *known;
        }
        let index = VertexIndex(self.vertices.len());
        self.vertices.push(Vertex { op, parent, face, digest });
        self.known.insert(digest, index);
        index
    }

    /// The vertex at `index`.
    pub(crate) fn vertex(&self, index: VertexIndex) -> &Vertex {
        &self.vertices[index.0]
    }

    /// All vertices in an order in which inputs come first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (VertexIndex, &Vertex)> {
        self.vertices.iter().enumerate().map(|(index, vertex)| (VertexIndex(index), vertex))
    }

    /// How many vertices there are.
    pub(crate) fn len(&self) -> usize {
        self.vertices.len()
    }
}

impl Vertex {
    /// The vertices whose trees this one needs, the parent first.
    pub(crate) fn inputs(&self) -> Vec<VertexIndex> {
        let mut inputs: Vec<_> = self.parent.into_iter().collect();
        if let Op::Copy(copy) = &self.op {
            inputs.extend(copy.sources.iter().filter_map(CopySource::vertex));
        }
        inputs.dedup();
        inputs
    }
}

impl CopySource {
    /// The vertex this source reads from.
    pub(crate) fn vertex(&self) -> Option<VertexIndex> {
        match self {
            Self::Tree { vertex, .. } => *vertex,
            _ => None,
        }
    }
}

impl CopyOp {
    /// True when some source is in the build context.
    pub(crate) fn uses_context(&self) -> bool {
        self.sources.iter().any(|source| matches!(source, CopySource::Context { .. }))
    }
}
