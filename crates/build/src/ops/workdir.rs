//! WORKDIR: makes the folder, owned by the USER in force. A folder that is there already stays as it is, and the layer is empty.

use std::path::Path;
use std::sync::Arc;

use shipway_store::Lease;
use shipway_sys::path::FileKind;

use crate::graph::WorkdirOp;
use crate::ops::layer::View;
use crate::ops::writer::{Clash, Looks, NOT_A_FOLDER, TreeWriter, Xattrs};
use crate::ops::{Made, OpFailure, OpFinding, Stack, layer, owner};
use crate::solver::Around;

/// Makes the layer of a WORKDIR.
pub(crate) async fn make(around: &Arc<Around>, op: &WorkdirOp, below: &Stack, lease: &Lease) -> Result<Made, OpFailure> {
    let (around, op, below, lease) = (around.clone(), op.clone(), below.clone(), lease.clone());
    let flights = around.ports.flights.clone();
    flights
        .blocking(move || {
            let snapshot = layer::prepare(&around.store, &below, &lease)?;
            let view = View::of(&around.store, &below)?;
            let read = |path: &Path| view.read_small(path);
            let (uid, gid) = owner::resolve(&op.user, &read)?;
            let looks = Looks { mode: 0o755, uid, gid, mtime: layer::time_of_new_things(&around), xattrs: Xattrs::new() };
            let mut writer = TreeWriter::new(layer::root(&snapshot)?, &view, Clash::Refuse, looks);
            make_folder(&mut writer, Path::new(&op.path))?;
            writer.finish()?;
            layer::commit(&around, snapshot, None, &lease)
        })
        .await
}

/// Makes sure that `path` is a folder; makes nothing when it is one.
pub(crate) fn make_folder(writer: &mut TreeWriter<'_>, path: &Path) -> Result<(), OpFailure> {
    let resolved = writer.resolve(path, true)?;
    match writer.at(&resolved)? {
        Some(node) if node.kind == FileKind::Directory => Ok(()),
        Some(node) => {
            let message = format!("\"{}\" exists in the image and is a {}, not a folder", path.display(), node.kind);
            let finding = OpFinding::new("E-WORKDIR", shipway_model::ErrorKind::Invalid, message);
            Err(finding.docker(format!("Cannot mkdir: {} is not a directory", path.display())).into())
        }
        None => writer.folder(&resolved).map(drop).map_err(|failure| file_on_the_way(failure, path)),
    }
}

/// The writer's words for a file on the way to a folder speak of COPY.
fn file_on_the_way(failure: OpFailure, path: &Path) -> OpFailure {
    match failure {
        OpFailure::Finding(finding) if finding.code == NOT_A_FOLDER => OpFinding::new("E-WORKDIR", finding.kind, finding.message)
            .because(format!("the folder \"{}\" is to be below it", path.display()))
            .hint("give another folder, or remove the file with RUN rm first")
            .docker(format!("Cannot mkdir: {}: not a directory", path.display()))
            .into(),
        other => other,
    }
}
