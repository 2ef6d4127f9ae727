//! Identities: of a vertex in its graph, of a tree's content, of a step's result.
//!
//! | part of a step | vertex digest | cache key |
//! |---|---|---|
//! | kind of operation, and the version of its semantics | yes | yes |
//! | RUN: args, env (declared ARGs included), cwd, user, network, host names, shm size, ulimits, hostname, platform, script | yes | yes |
//! | RUN: addresses of extra hosts, proxies, memory and cpu limits | no | no |
//! | COPY/ADD: destination, owner, mode, parents, exclude, link, unpack, checksum, platform, here-documents, addresses | yes | yes |
//! | COPY/ADD: source paths as written | yes | no: the names and digests of what they matched |
//! | WORKDIR: path, user | yes | yes |
//! | tree built upon | the vertex it comes from | its content: type, mode, owner, xattrs, link, device, bytes; no times |
//! | trees copied from | the vertex they come from | digests of the matched entries only |
//! | image a tree comes from: name, id, config, layer ids | its id | no: its content |
//! | names of stages, text of the instruction, place in the file, tags, labels, display | no | no |
//! | `--no-cache` | yes | no: only whether the key is looked up |
//!
//! A key of content is never equal to a key of another kind: every hash starts with a domain name and a version.

use serde::Serialize;
use serde_json::{Value, json};
use shipway_dockerfile::without_secrets;
use shipway_store::CacheKey;

use crate::graph::{CopyOp, CopySource, Op, RunOp, VertexIndex, WorkdirOp};

/// What is in a tree, whatever its times and however it came to be: the digests of its layers, bottom to top.
///
/// Equal keys mean equal trees as a process sees them (times aside); equal trees made of other layers may have other keys, which only costs a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ContentKey([u8; 32]);

impl ContentKey {
    /// The tree with nothing in it.
    pub(crate) fn empty() -> Self {
        Self(hasher("shipway.tree.v1").finalize().into())
    }

    /// The tree with one more layer of the given digest on top.
    pub(crate) fn with_layer(self, tree_digest: &[u8; 32]) -> Self {
        let mut hasher = hasher("shipway.tree.v1");
        hasher.update(&self.0);
        hasher.update(tree_digest);
        Self(hasher.finalize().into())
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The key of a step's result, what it was made from, and the key of "the same instruction, whatever its input".
pub(crate) struct StepKey {
    /// The key of the result.
    pub(crate) key: CacheKey,
    /// The same operation regardless of inputs: finds the former result that an explanation compares with and files are linked from.
    pub(crate) weak: [u8; 32],
}

/// One entry that a COPY takes: its name below the destination, and the digest of what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenEntry {
    /// Where it will be, relative to the destination; empty for the destination itself. Bytes: file names need not be text.
    pub(crate) name: Vec<u8>,
    /// Digest of type, mode, owner, xattrs, link target, device and bytes; of everything below for a folder.
    pub(crate) digest: [u8; 32],
}

/// Which version of what the operations do made a result. Raised when RUN, COPY or WORKDIR change their outcome for equal input.
const SEMANTICS: u32 = 2;

fn hasher(domain: &str) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(domain.as_bytes());
    hasher.update(&[0]);
    hasher.update(&SEMANTICS.to_le_bytes());
    hasher
}

/// Adds a field with its length, so that two fields never read as one.
fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// Adds a value in its canonical JSON form: field order is that of the type, maps are sorted before they come here.
fn value(hasher: &mut blake3::Hasher, value: &impl Serialize) {
    // Serializing plain structs of strings and numbers cannot fail; a failure must not make two values equal, so its text is hashed.
    let bytes = serde_json::to_vec(value).unwrap_or_else(|error| format!("unserializable: {error}").into_bytes());
    field(hasher, &bytes);
}

/// Identity of a vertex in its graph.
pub(crate) fn vertex_digest<'a>(
    op: &Op,
    parent: Option<&[u8; 32]>,
    digest_of: impl Fn(VertexIndex) -> &'a [u8; 32],
    ignore_cache: bool,
) -> [u8; 32] {
    let mut hasher = hasher("shipway.vertex.v1");
    value(&mut hasher, op);
    hasher.update(&[u8::from(ignore_cache), u8::from(parent.is_some())]);
    if let Some(parent) = parent {
        hasher.update(parent);
    }
    if let Op::Copy(copy) = op {
        for source in copy.sources.iter().filter_map(CopySource::vertex) {
            hasher.update(digest_of(source));
        }
    }
    hasher.finalize().into()
}

/// The key of a RUN on a tree.
pub(crate) fn of_run(op: &RunOp, tree: &ContentKey) -> StepKey {
    let mut weak = hasher("shipway.run.v1");
    value(&mut weak, op);
    finish(weak, |key| {
        key.update(tree.bytes());
    })
}

/// The key of a WORKDIR on a tree.
pub(crate) fn of_workdir(op: &WorkdirOp, tree: &ContentKey) -> StepKey {
    let mut weak = hasher("shipway.workdir.v1");
    value(&mut weak, op);
    finish(weak, |key| {
        key.update(tree.bytes());
    })
}

/// The key of a COPY or ADD: `taken` holds, for each source in order, what it matched.
///
/// `origin` tells instructions of different projects apart in the weak key (the path of the context).
pub(crate) fn of_copy(op: &CopyOp, tree: &ContentKey, taken: &[Vec<TakenEntry>], origin: &str) -> StepKey {
    let mut strong = hasher("shipway.copy.v1");
    value(&mut strong, &CopyMeaning::of(op));
    strong.update(tree.bytes());
    strong.update(&(taken.len() as u64).to_le_bytes());
    for source in taken {
        strong.update(&(source.len() as u64).to_le_bytes());
        for entry in source {
            field(&mut strong, &entry.name);
            strong.update(&entry.digest);
        }
    }
    let mut weak = hasher("shipway.copy.weak.v1");
    value(&mut weak, op);
    field(&mut weak, origin.as_bytes());
    StepKey { key: CacheKey(strong.finalize().into()), weak: weak.finalize().into() }
}

fn finish(weak: blake3::Hasher, inputs: impl FnOnce(&mut blake3::Hasher)) -> StepKey {
    let mut strong = weak.clone();
    inputs(&mut strong);
    StepKey { key: CacheKey(strong.finalize().into()), weak: weak.finalize().into() }
}

/// What a COPY does, without the way its sources are written.
#[derive(Serialize)]
struct CopyMeaning<'a> {
    add: bool,
    destination: &'a str,
    owner: &'a Option<String>,
    mode: &'a Option<crate::graph::ModeChange>,
    parents: bool,
    exclude: &'a [String],
    link: bool,
    unpack: Option<bool>,
    checksum: &'a Option<String>,
    platform: &'a shipway_model::Platform,
    /// Kind of each source, and the address of downloads.
    sources: Vec<(&'static str, &'a str)>,
}

impl<'a> CopyMeaning<'a> {
    fn of(op: &'a CopyOp) -> Self {
        // Every field of the operation is named here, so that a new one cannot be forgotten.
        let CopyOp { add, sources, destination, owner, mode, parents, exclude, link, unpack, checksum, platform } = op;
        let sources = sources
            .iter()
            .map(|source| match source {
                // A file of the context is owned by root, one of a tree keeps its owner: the difference is in the taken digests' owner too.
                CopySource::Context { .. } => ("context", ""),
                CopySource::Tree { .. } => ("tree", ""),
                CopySource::Inline { .. } => ("inline", ""),
                CopySource::Url { url } => ("url", url.as_str()),
            })
            .collect();
        Self { add: *add, destination, owner, mode, parents: *parents, exclude, link: *link, unpack: *unpack, checksum, platform, sources }
    }
}

/// How many entries of a COPY are written into its record; beyond it the layer's own index tells more.
const RECORDED_ENTRIES: usize = 512;

/// What a result was made from, for `--explain`.
pub(crate) fn parts(op: &Op, tree: &ContentKey, taken: &[Vec<TakenEntry>]) -> Value {
    let entries: Vec<Value> = taken
        .iter()
        .flatten()
        .take(RECORDED_ENTRIES)
        .map(|entry| json!([without_secrets(&String::from_utf8_lossy(&entry.name)), hex(&entry.digest)]))
        .collect();
    let mut parts = json!({ "op": op, "tree": hex(tree.bytes()) });
    // A record is kept, and told: an address is written into it without its secrets.
    for source in parts["op"]["sources"].as_array_mut().into_iter().flatten() {
        if let Some(Value::String(url)) = source.get_mut("url") {
            *url = without_secrets(url);
        }
    }
    if !taken.is_empty() {
        parts["entries"] = Value::Array(entries);
        parts["entry_count"] = json!(taken.iter().map(Vec::len).sum::<usize>());
    }
    parts
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "key/tests.rs"]
mod tests;
