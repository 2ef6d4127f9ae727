//! RUN and WORKDIR.

use shipway_dockerfile::scope::VariableOrigin;
use shipway_dockerfile::{NetworkMode, Run, Script, SecurityMode, Word};

use super::config::shell;
use super::history::{self, HistoryEntry};
use super::stages::{Here, Numbering, StageState};
use super::{Lowerer, unsupported};
use crate::graph::{Op, RunOp, WorkdirOp};
use crate::request::RunNetwork;

/// Where a here-document with a `#!` line stands while it runs. The folder exists only during the step.
pub(crate) const SCRIPT_FOLDER: &str = "/.shipway-script";

impl Lowerer<'_> {
    pub(super) fn run(&mut self, here: &Here<'_>, run: &Run, state: &mut StageState, numbering: &mut Numbering) {
        if self.refuse_unsupported(here, run) {
            return;
        }
        let (args, script) = match run.script(&here.instruction.heredocs) {
            Script::Exec(args) => (args, None),
            Script::Shell(text) => ([shell(state), vec![text]].concat(), None),
            Script::File { name, content } => (vec![format!("{SCRIPT_FOLDER}/{name}")], Some((name, content))),
        };
        let options = self.recipe.options;
        let variables = state.scope.run_environment(&self.global);
        let visible = variables.iter().filter(|variable| variable.origin != VariableOrigin::Proxy);
        let env = visible.map(|variable| format!("{}={}", variable.name, variable.value)).collect();
        let arguments = variables.iter().filter(|variable| variable.origin == VariableOrigin::Argument);
        let arguments: Vec<(String, String)> = arguments.map(|variable| (variable.name.clone(), variable.value.clone())).collect();
        let op = RunOp {
            args: args.clone(),
            env,
            cwd: working_dir(state),
            user: state.config.config.user.clone(),
            network: match run.network {
                NetworkMode::Default => options.network.clone(),
                NetworkMode::None => RunNetwork::None,
                NetworkMode::Host => RunNetwork::Host,
            },
            extra_host_names: options.extra_hosts.iter().map(|host| host.name.clone()).collect(),
            shm_size: options.shm_size,
            ulimits: options.ulimits.clone(),
            hostname: options.hostname.clone(),
            platform: self.recipe.platform.clone(),
            script,
        };
        let display = here.display();
        let name = numbering.name(&display);
        let vertex = self.add(Op::Run(op), state.tree, name, here.span(), display, here.ignore_cache);
        state.tree = Some(vertex);
        state.history.push(HistoryEntry::layer(history::run(&args, &arguments), vertex));
    }

    fn refuse_unsupported(&mut self, here: &Here<'_>, run: &Run) -> bool {
        let before = self.diagnostics.len();
        for mount in &run.mounts {
            let mut diagnostic = unsupported(here.at(mount.flag.span), format!("RUN --mount=type={}", mount.kind.name()));
            diagnostic.hint = Some(match mount.kind {
                shipway_dockerfile::MountKind::Bind => "COPY the files before the RUN".to_owned(),
                shipway_dockerfile::MountKind::Cache => "without the flag the step works, it only starts from an empty folder".to_owned(),
                _ => "do this step outside of the build".to_owned(),
            });
            self.diagnostics.push(diagnostic);
        }
        if run.security == SecurityMode::Insecure {
            self.diagnostics.push(unsupported(here.span(), "RUN --security=insecure"));
        }
        for device in &run.devices {
            self.diagnostics.push(unsupported(here.at(device.name.span), "RUN --device"));
        }
        self.diagnostics.len() > before
    }

    pub(super) fn workdir(&mut self, here: &Here<'_>, word: &Word, state: &mut StageState, numbering: &mut Numbering) {
        let Some(written) = self.expand(here, state, word) else { return };
        let path = join(&working_dir(state), &written);
        state.config.config.working_dir.clone_from(&path);
        if path == "/" {
            state.history.push(HistoryEntry::config("WORKDIR /"));
            return;
        }
        let display = here.display();
        let name = numbering.name(&display);
        let op = WorkdirOp { path: path.clone(), user: state.config.config.user.clone() };
        let vertex = self.add(Op::Workdir(op), state.tree, name, here.span(), display, here.ignore_cache);
        state.tree = Some(vertex);
        state.history.push(HistoryEntry::layer(format!("WORKDIR {path}"), vertex));
    }
}

/// The folder instructions are relative to.
pub(super) fn working_dir(state: &StageState) -> String {
    match state.config.config.working_dir.as_str() {
        "" => "/".to_owned(),
        set => join("/", set),
    }
}

/// `path` seen from `folder`, absolute and without `.`, `..` and double slashes.
pub(super) fn join(folder: &str, path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    let from = if path.starts_with('/') { "" } else { folder };
    for name in from.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}
