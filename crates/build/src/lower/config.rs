//! Instructions that change nothing but the image config: ENV, ARG, CMD, ENTRYPOINT, LABEL, EXPOSE, USER, VOLUME, HEALTHCHECK, SHELL, STOPSIGNAL, ONBUILD,
//! MAINTAINER. Each leaves an entry without a layer in the history.

use std::time::Duration;

use shipway_dockerfile::scope::PROXY_ARGUMENTS;
use shipway_dockerfile::{Argument, CommandForm, HealthTest, Healthcheck, InstructionKind, Word};
use shipway_model::duration::GoDuration;
use shipway_model::{Healthcheck as StoredHealthcheck, Port, Signal};

use super::history::{self, HistoryEntry};
use super::stages::{Here, StageState};
use super::{Lowerer, error};

impl Lowerer<'_> {
    /// Applies an instruction that only changes the config.
    pub(super) fn configure(&mut self, here: &Here<'_>, state: &mut StageState) {
        let words = match &here.instruction.kind {
            InstructionKind::Env(pairs) => self.env(here, pairs, state),
            InstructionKind::Arg(arguments) => self.arg(here, arguments, state),
            InstructionKind::Cmd(form) => {
                let command = command(form, state);
                let words = format!("CMD {}", history::quoted_list(&command));
                state.config.config.args_escaped = matches!(form, CommandForm::Shell(_));
                state.config.config.cmd = Some(command);
                state.cmd_is_set = true;
                Some(words)
            }
            InstructionKind::Entrypoint(form) => {
                let command = command(form, state);
                let words = format!("ENTRYPOINT {}", history::quoted_list(&command));
                state.config.config.entrypoint = Some(command);
                if !state.cmd_is_set {
                    state.config.config.cmd = None;
                }
                Some(words)
            }
            InstructionKind::Label(pairs) => self.label(here, pairs, state),
            InstructionKind::Expose(words) => self.expose(here, words, state),
            InstructionKind::User(word) => self.expand(here, state, word).map(|user| {
                let words = format!("USER {user}");
                state.config.config.user = user;
                words
            }),
            InstructionKind::Volume(words) => self.volume(here, words, state),
            InstructionKind::Healthcheck(check) => Some(healthcheck(check, state)),
            InstructionKind::Shell(shell) => {
                state.config.config.shell = Some(shell.clone());
                Some(format!("SHELL [{}]", shell.join(" ")))
            }
            InstructionKind::StopSignal(word) => self.stop_signal(here, word, state),
            InstructionKind::OnBuild(trigger) => {
                let text = trigger.trigger_text();
                let words = format!("ONBUILD {text}");
                state.config.config.on_build.push(text);
                Some(words)
            }
            InstructionKind::Maintainer(word) => {
                state.config.author.clone_from(&word.text);
                Some(format!("MAINTAINER {}", word.text))
            }
            InstructionKind::Run(_) | InstructionKind::Copy(_) | InstructionKind::Add(_) | InstructionKind::Workdir(_) => None,
        };
        if let Some(words) = words {
            state.history.push(HistoryEntry::config(words));
        }
    }

    fn env(&mut self, here: &Here<'_>, pairs: &[(Word, Word)], state: &mut StageState) -> Option<String> {
        match state.scope.apply_env(pairs, self.escape()) {
            Ok(expanded) => Some(format!("ENV {}", history::pairs(&expanded))),
            Err(failure) => {
                self.diagnostics.push(error("E-EXPANSION", here.at(failure.span), failure.to_string()));
                None
            }
        }
    }

    fn arg(&mut self, here: &Here<'_>, arguments: &[Argument], state: &mut StageState) -> Option<String> {
        let mut words = Vec::new();
        for argument in arguments {
            if let Err(failure) = state.scope.declare_arg(&self.global, argument, self.escape()) {
                self.diagnostics.push(error("E-EXPANSION", here.at(failure.span), failure.to_string()));
                return None;
            }
            let name = self.expand(here, state, &argument.name)?;
            let given = self.recipe.options.build_args.iter().rev().find(|(known, _)| *known == name).and_then(|(_, value)| value.clone());
            // A proxy is how this machine reaches the network, no property of the image.
            let given = given.filter(|_| !PROXY_ARGUMENTS.contains(&name.as_str()));
            words.push(match (given, &argument.default) {
                (Some(given), _) => format!("{name}={given}"),
                (None, Some(default)) => format!("{name}={}", self.expand(here, state, default)?),
                (None, None) => name,
            });
        }
        Some(format!("ARG {}", words.join(" ")))
    }

    fn label(&mut self, here: &Here<'_>, pairs: &[(Word, Word)], state: &mut StageState) -> Option<String> {
        let mut expanded = Vec::new();
        for (name, value) in pairs {
            expanded.push((self.expand(here, state, name)?, self.expand(here, state, value)?));
        }
        let words = format!("LABEL {}", history::pairs(&expanded));
        state.config.config.labels.extend(expanded);
        Some(words)
    }

    fn expose(&mut self, here: &Here<'_>, words: &[Word], state: &mut StageState) -> Option<String> {
        let mut exposed = std::collections::BTreeSet::new();
        for word in words {
            let texts = match shipway_dockerfile::expand_words(word, &|name| state.scope.lookup(name), self.escape()) {
                Ok(texts) => texts,
                Err(failure) => {
                    self.diagnostics.push(error("E-EXPANSION", here.at(failure.span), failure.to_string()));
                    return None;
                }
            };
            for text in texts {
                // Addresses and ports of the host mean nothing here, as in Docker; a check tells so.
                match Port::parse_range(text.rsplit(':').next().unwrap_or_default()) {
                    Ok(ports) => exposed.extend(ports),
                    Err(failure) => {
                        let mut diagnostic = error("E-EXPOSE", here.at(word.span), format!("\"{text}\" is not a port: {failure}"));
                        diagnostic.hint =
                            Some("write a port or a range, with the protocol where it is not tcp: 80, 53/udp, 8000-8010".to_owned());
                        diagnostic.docker_text = Some(format!("invalid containerPort: {text}"));
                        self.diagnostics.push(diagnostic);
                    }
                }
            }
        }
        // Go prints maps sorted by the text of their keys.
        let mut listed: Vec<String> = exposed.iter().map(|port: &Port| format!("{port}:{{}}")).collect();
        listed.sort_unstable();
        state.config.config.exposed_ports.extend(exposed);
        Some(format!("EXPOSE map[{}]", listed.join(" ")))
    }

    fn volume(&mut self, here: &Here<'_>, words: &[Word], state: &mut StageState) -> Option<String> {
        let paths = self.expand_all(here, state, words)?;
        if paths.iter().any(String::is_empty) {
            self.diagnostics.push(error("E-VOLUME", here.span(), "the path of a volume is empty"));
            return None;
        }
        let words = format!("VOLUME [{}]", paths.join(" "));
        state.config.config.volumes.extend(paths);
        Some(words)
    }

    fn stop_signal(&mut self, here: &Here<'_>, word: &Word, state: &mut StageState) -> Option<String> {
        let text = self.expand(here, state, word)?;
        if let Err(failure) = text.parse::<Signal>() {
            self.diagnostics.push(error("E-STOPSIGNAL", here.at(word.span), format!("\"{text}\" is not a signal: {failure}")));
            return None;
        }
        let words = format!("STOPSIGNAL {text}");
        state.config.config.stop_signal = Some(text);
        Some(words)
    }
}

/// The shell of a stage: that of SHELL, here or in the base.
pub(super) fn shell(state: &StageState) -> Vec<String> {
    match &state.config.config.shell {
        Some(shell) if !shell.is_empty() => shell.clone(),
        _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
    }
}

/// A command as it will be run: exec form as it stands, shell form behind the stage's shell.
fn command(form: &CommandForm, state: &StageState) -> Vec<String> {
    match form {
        CommandForm::Exec(arguments) => arguments.clone(),
        CommandForm::Shell(line) => {
            let mut command = shell(state);
            command.push(line.clone());
            command
        }
    }
}

fn healthcheck(check: &Healthcheck, state: &mut StageState) -> String {
    let stored = match check {
        Healthcheck::None => StoredHealthcheck { test: vec!["NONE".to_owned()], ..StoredHealthcheck::default() },
        Healthcheck::Check(test) => StoredHealthcheck {
            test: health_command(test),
            interval: nanoseconds(test.interval),
            timeout: nanoseconds(test.timeout),
            start_period: nanoseconds(test.start_period),
            start_interval: nanoseconds(test.start_interval),
            retries: test.retries.unwrap_or_default().into(),
        },
    };
    let times = [stored.interval, stored.timeout, stored.start_period, stored.start_interval];
    let times: Vec<String> = times.iter().map(|time| history::quoted(&GoDuration(*time).to_string())).collect();
    let retries = history::quoted_number(u32::try_from(stored.retries).unwrap_or_default());
    let words = format!("HEALTHCHECK &{{{} {} {retries}}}", history::quoted_list(&stored.test), times.join(" "));
    state.config.config.healthcheck = Some(stored);
    words
}

fn health_command(test: &HealthTest) -> Vec<String> {
    match &test.command {
        CommandForm::Exec(arguments) => [vec!["CMD".to_owned()], arguments.clone()].concat(),
        CommandForm::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
    }
}

fn nanoseconds(time: Option<Duration>) -> i64 {
    time.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}
