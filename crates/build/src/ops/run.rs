//! RUN: a process changes a snapshot, and what it changed becomes a layer.
//!
//! What must stay true: the environment is built from scratch (S-412), nothing of the daemon's own reaches the process; what the executor had to put in the
//! way (mount points, a script) is no part of the layer; a cancelled or failed process leaves no layer.

use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::AtFlags;
use shipway_model::Classified;
use shipway_store::{ActiveSnapshot, Lease, Store};
use shipway_sys::path::{FileKind, Root};

use crate::graph::RunOp;
use crate::lower::SCRIPT_FOLDER;
use crate::ops::layer::View;
use crate::ops::missing::program;
use crate::ops::writer::{Below, Clash, Content, Looks, TreeWriter, Xattrs};
use crate::ops::{Cause, Made, OpFailure, OpFinding, Stack, layer, owner, workdir};
use crate::ports::{ExecuteError, LogSink, RunStep};
use crate::solver::{Around, Controls};

/// Paths an executor mounts over and so has to make when the image lacks them. Deepest first.
const MOUNT_POINTS: [&str; 7] = ["etc/resolv.conf", "etc/hosts", "etc/hostname", "etc", "proc", "sys", "dev"];

/// How many lines of output an error repeats, and how many bytes of it are remembered for that.
const LAST_LINES: usize = 20;
const LAST_BYTES: usize = 16 * 1024;

/// Makes the layer of a RUN.
pub(crate) async fn make(around: &Arc<Around>, op: &RunOp, below: &Stack, lease: &Lease, controls: &Controls) -> Result<Made, OpFailure> {
    let flights = &around.ports.flights;
    let prepared = {
        let (around, op, below, lease) = (around.clone(), op.clone(), below.clone(), lease.clone());
        flights.blocking(move || prepare(&around, &op, &below, &lease)).await?
    };
    let Prepared { snapshot, missing, step } = prepared;
    let tail = Arc::new(Tail::default());
    let output: LogSink = {
        let (tail, log) = (tail.clone(), controls.log.clone());
        Arc::new(move |stream, bytes: Bytes| {
            tail.add(&bytes);
            log(stream, bytes);
        })
    };
    let outcome = {
        let _turn = flights.process_turn().await.ok_or(OpFailure::Cancelled)?;
        if controls.cancel.is_cancelled() {
            return Err(OpFailure::Cancelled);
        }
        let _early = around.store.write_early();
        around.ports.executor.run(step, output, controls.cancel.clone()).await
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            let (around, op, below) = (around.clone(), op.clone(), below.clone());
            return Err(flights.blocking(move || Ok(not_run(&around.store, &op, &below, error))).await.unwrap_or_else(|failure| failure));
        }
    };
    if controls.cancel.is_cancelled() {
        return Err(OpFailure::Cancelled);
    }
    if outcome.exit_code != 0 || outcome.oom_killed {
        let command = op.args.join(" ");
        let (around, op, below, output) = (around.clone(), op.clone(), below.clone(), tail.text());
        let cause = flights.blocking(move || Ok(program::cause(&around.store, &op, &below, &output))).await.unwrap_or_default();
        return Err(OpFailure::Process {
            command,
            exit_code: outcome.exit_code,
            oom_killed: outcome.oom_killed,
            last_log: tail.lines(),
            cause,
        });
    }
    let (around, lease) = (around.clone(), lease.clone());
    flights
        .blocking(move || {
            sweep(&snapshot, &missing)?;
            layer::commit(&around, snapshot, None, &lease)
        })
        .await
}

struct Prepared {
    snapshot: ActiveSnapshot,
    /// Mount points the tree below does not have.
    missing: Vec<&'static str>,
    step: RunStep,
}

fn prepare(around: &Arc<Around>, op: &RunOp, below: &Stack, lease: &Lease) -> Result<Prepared, OpFailure> {
    let snapshot = layer::prepare(&around.store, below, lease)?;
    let view = View::of(&around.store, below)?;
    let mut missing = Vec::new();
    for path in MOUNT_POINTS {
        if view.at(Path::new(path))?.is_none() {
            missing.push(path);
        }
    }
    let looks = Looks { mode: 0o755, uid: 0, gid: 0, mtime: layer::time_of_new_things(around), xattrs: Xattrs::new() };
    let mut writer = TreeWriter::new(layer::root(&snapshot)?, &view, Clash::Refuse, looks.clone());
    workdir::make_folder(&mut writer, Path::new(&op.cwd))?;
    if let Some((name, content)) = &op.script {
        let path = PathBuf::from(SCRIPT_FOLDER.trim_start_matches('/')).join(name);
        writer.put_file(&path, &Content::Bytes(content.as_bytes()), &looks)?;
    }
    writer.finish()?;
    let mut env = op.env.clone();
    let sets = |env: &[String], name: &str| env.iter().any(|entry| entry.split_once('=').is_some_and(|(known, _)| known == name));
    if !sets(&env, "HOME") {
        let read = |path: &Path| view.read_small(path);
        env.push(format!("HOME={}", owner::home(&op.user, &read)));
    }
    for (name, value) in proxies(around) {
        if !sets(&env, &name) {
            env.push(format!("{name}={value}"));
        }
    }
    let options = &around.options;
    let step = RunStep {
        lowers: around.store.mount_of(&below.layers),
        upper: snapshot.upper.clone(),
        work: snapshot.work.clone(),
        tree: view.tree().clone(),
        args: op.args.clone(),
        env,
        cwd: op.cwd.clone(),
        user: op.user.clone(),
        network: op.network.clone(),
        extra_hosts: options.extra_hosts.clone(),
        shm_size: op.shm_size,
        ulimits: op.ulimits.clone(),
        limits: options.limits.clone(),
        hostname: op.hostname.clone(),
    };
    Ok(Prepared { snapshot, missing, step })
}

/// Proxy variables: those of the configuration, then those given as build arguments, which win.
fn proxies(around: &Around) -> Vec<(String, String)> {
    let mut proxies: Vec<(String, String)> = Vec::new();
    let given = around.options.build_args.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let given = given.filter(|(name, _)| shipway_dockerfile::scope::PROXY_ARGUMENTS.contains(&name.as_str()));
    for (name, value) in given.chain(around.options.proxies.iter()) {
        if !proxies.iter().any(|(known, _)| known == name) {
            proxies.push((name.clone(), value.clone()));
        }
    }
    proxies
}

/// Takes out of the layer what was only put there for the run.
fn sweep(snapshot: &ActiveSnapshot, missing: &[&str]) -> Result<(), OpFailure> {
    let root: Root = layer::root(snapshot)?;
    root.remove_tree(Path::new(SCRIPT_FOLDER.trim_start_matches('/'))).map_err(OpFailure::sys("remove the script of the step"))?;
    for path in missing {
        let path = Path::new(path);
        let Ok(found) = root.lstat(path) else { continue };
        let flags = match found.kind {
            FileKind::Regular if found.size == 0 => AtFlags::empty(),
            FileKind::Directory => AtFlags::REMOVEDIR,
            _ => continue,
        };
        let (parent, name) = root.resolve_parent(path).map_err(OpFailure::sys("look at the new layer"))?;
        // A folder with something in it stays: the process put that there.
        match rustix::fs::unlinkat(&parent, name.as_os_str().as_bytes(), flags) {
            Ok(()) | Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {}
            Err(errno) => {
                let call = format!("unlink({path:?} in the new layer)");
                return Err(OpFailure::sys("remove a mount point")(shipway_sys::Error::new(call, errno)));
            }
        }
    }
    Ok(())
}

fn not_run(store: &Store, op: &RunOp, below: &Stack, error: ExecuteError) -> OpFailure {
    match error {
        ExecuteError::Cancelled => OpFailure::Cancelled,
        ExecuteError::NotStarted { message, exit_code } => {
            let name = op.args.first().filter(|_| exit_code == 127 && message.contains("executable file not found"));
            let program = name.map(|name| program::missing(store, op, below, name));
            let cause = Cause { first_error: None, program };
            OpFailure::Process { command: op.args.join(" "), exit_code, oom_killed: false, last_log: vec![message], cause }
        }
        ExecuteError::Failed { ref message, kind, .. } => {
            let mut finding = OpFinding::new("E-RUN", kind, format!("cannot run \"{}\": {message}", op.args.join(" ")));
            finding.hint = error.hint();
            finding.docker_text = Some(message.clone());
            finding.into()
        }
    }
}

/// The end of what a process wrote.
#[derive(Default)]
struct Tail {
    bytes: Mutex<VecDeque<u8>>,
}

impl Tail {
    fn add(&self, bytes: &[u8]) {
        let mut kept = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = &bytes[bytes.len().saturating_sub(LAST_BYTES)..];
        kept.extend(bytes);
        let too_many = kept.len().saturating_sub(LAST_BYTES);
        kept.drain(..too_many);
    }

    fn text(&self) -> String {
        let mut kept = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(kept.make_contiguous()).into_owned()
    }

    fn lines(&self) -> Vec<String> {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(|line| line.trim_end_matches('\r').to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_only() {
        let tail = Tail::default();
        for number in 0..5000 {
            tail.add(format!("line {number}\n").as_bytes());
        }
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "line 4980", "line 4999"));
    }
}
