//! Health checks: a command run now and then inside the container, and what its exit codes say.
//!
//! The rules are dockerd's (first run after one interval, three failures in a row make it unhealthy, failures within the start period do not
//! count). A probe is the command itself, born in the container by its monitor: no helper process, no record, no exec events. What must stay
//! true: a probe that takes too long is killed with everything in its process group; one whose daemon dies is killed too; what is known survives the
//! daemon.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shipway_model::{ExecId, Healthcheck, Timestamp};
use shipway_runtime::{AttachOptions, ExecSpec, Handle, ProcessSpec};
use tokio::time::Instant;

use super::{Container, ContainerRecord, ContainerState, ResolvedProcess};
use crate::{Engine, Result, blocking, clock};

/// dockerd's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// How many results are kept.
const KEPT: usize = 5;
/// Bytes kept of what a probe says.
const LONGEST_OUTPUT: usize = 4096;
/// The exit code told of a probe that could not be run or was cut off.
const NO_CODE: i32 = -1;

/// What is known of a container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub status: HealthStatus,
    /// Failures in a row that count.
    pub failing_streak: u32,
    /// The last results, the oldest first.
    pub log: Vec<HealthResult>,
}

/// One word about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthStatus {
    /// No probe has succeeded yet, and not too many have failed.
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

/// One run of the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    pub start: Timestamp,
    pub end: Timestamp,
    pub exit_code: i32,
    pub output: String,
}

impl HealthStatus {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl Health {
    /// Takes one more result. `excused`: its failure does not count.
    fn take(&mut self, result: HealthResult, retries: u32, excused: bool) {
        let failed = result.exit_code != 0;
        self.log.push(result);
        let surplus = self.log.len().saturating_sub(KEPT);
        self.log.drain(..surplus);
        if !failed {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if self.status != HealthStatus::Starting || !excused {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
    }

    /// A new process begins without a verdict.
    pub(super) fn begin(before: Option<Self>) -> Self {
        Self { status: HealthStatus::Starting, failing_streak: 0, log: before.map(|before| before.log).unwrap_or_default() }
    }
}

/// A health check with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

impl Plan {
    /// `None` when nothing is to be checked.
    fn of(process: &ResolvedProcess) -> Option<Self> {
        let check = process.healthcheck.as_ref()?;
        let (kind, words) = check.test.split_first()?;
        let command = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" => {
                let shell = ["/bin/sh".to_owned(), "-c".to_owned()];
                let shell = if process.shell.is_empty() { &shell[..] } else { &process.shell };
                shell.iter().chain(words).cloned().collect()
            }
            _ => return None,
        };
        let or = |nanoseconds: i64, default: Duration| match u64::try_from(nanoseconds) {
            Ok(0) | Err(_) => default,
            Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
        };
        (!command.is_empty()).then(|| Self {
            command,
            interval: or(check.interval, INTERVAL),
            timeout: or(check.timeout, TIMEOUT),
            start_period: or(check.start_period, Duration::ZERO),
            start_interval: or(check.start_interval, START_INTERVAL),
            retries: u32::try_from(check.retries).ok().filter(|retries| *retries > 0).unwrap_or(RETRIES),
        })
    }

    fn wait(&self, status: HealthStatus, alive: Duration) -> Duration {
        if status == HealthStatus::Starting && alive < self.start_period { self.start_interval } else { self.interval }
    }
}

/// True when the container has a health check that runs.
pub(super) fn is_checked(process: &ResolvedProcess) -> bool {
    Plan::of(process).is_some()
}

/// The check of a container: what the request leaves open is the image's.
pub(super) fn merge(asked: Option<&Healthcheck>, image: Option<&Healthcheck>) -> Option<Healthcheck> {
    let (Some(asked), Some(image)) = (asked, image) else { return asked.or(image).cloned() };
    let or = |asked: i64, image: i64| if asked == 0 { image } else { asked };
    Some(Healthcheck {
        test: if asked.test.is_empty() { image.test.clone() } else { asked.test.clone() },
        interval: or(asked.interval, image.interval),
        timeout: or(asked.timeout, image.timeout),
        start_period: or(asked.start_period, image.start_period),
        start_interval: or(asked.start_interval, image.start_interval),
        retries: or(asked.retries, image.retries),
    })
}

impl Engine {
    /// Runs the container's health check in a task of its own until the process behind `handle` ends.
    pub(super) fn watch_health(&self, container: &Arc<Container>, handle: Handle) {
        let record = container.record();
        let Some(plan) = Plan::of(&record.process) else { return };
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move {
            let watched = engine.probe_until_end(&container, &handle, &plan);
            tokio::select! {
                outcome = watched => if let Err(error) = outcome {
                    tracing::warn!(container = %container.id, %error, "its health cannot be checked");
                },
                _ = handle.wait() => {}
            }
        });
    }

    async fn probe_until_end(&self, container: &Arc<Container>, handle: &Handle, plan: &Plan) -> Result<()> {
        let process = self.probe_process(container, plan).await?;
        let started = container.record().started_at.unwrap_or_else(clock::now);
        loop {
            let status = container.record().health.map_or(HealthStatus::Starting, |health| health.status);
            tokio::time::sleep(plan.wait(status, clock::now().since(started))).await;
            if matches!(container.state(), ContainerState::Paused { .. }) {
                continue;
            }
            let result = probe(handle, &process, plan).await;
            if !handle.is_running() {
                return Ok(());
            }
            let excused = result.start.since(started) < plan.start_period;
            self.note_probe(container, result, plan.retries, excused);
        }
    }

    fn note_probe(&self, container: &Arc<Container>, result: HealthResult, retries: u32, excused: bool) {
        let mut verdict = None;
        container.change(|record| {
            let health = record.health.get_or_insert_default();
            let before = health.status;
            health.take(result, retries, excused);
            verdict = (health.status != before).then_some(health.status);
        });
        if let Some(status) = verdict {
            self.save_lazily(container);
            self.publish_container(container, &format!("health_status: {}", status.word()), std::collections::BTreeMap::new());
        }
    }

    /// The command as the container's own user, with its environment; worked out once for all probes of a life.
    async fn probe_process(&self, container: &Arc<Container>, plan: &Plan) -> Result<ProcessSpec> {
        let (engine, container, args) = (self.clone(), Arc::clone(container), plan.command.clone());
        blocking::files(move || {
            let record: ContainerRecord = container.record();
            let user = engine.accounts_of(&record)?.resolve(&record.process.user, &record.spec.host.group_add)?;
            Ok(ProcessSpec { args, terminal: None, ..engine.process_of(&record, &user)? })
        })
        .await
    }
}

/// Runs the command once.
async fn probe(handle: &Handle, process: &ProcessSpec, plan: &Plan) -> HealthResult {
    let start = clock::now();
    let until = Instant::now() + plan.timeout;
    let spec = ExecSpec {
        id: ExecId::from_random(clock::random()),
        process: process.clone(),
        attach: AttachOptions::OUTPUT,
        privileged: false,
        tied: true,
    };
    let done = |exit_code: i32, output: String| HealthResult { start, end: clock::now(), exit_code, output };
    let mut program = match handle.exec(spec).await {
        Ok(program) => program,
        Err(error) => return done(NO_CODE, format!("OCI runtime exec failed: {error}")),
    };
    let mut said = Said::default();
    let mut frames = program.attachment.take().map(|attachment| attachment.output);
    let ended = async {
        while let Some(frame) = match &mut frames {
            Some(frames) => frames.recv().await,
            None => None,
        } {
            said.take(&frame.bytes);
        }
        program.wait().await.code
    };
    match tokio::time::timeout_at(until, ended).await {
        Ok(code) => done(code, said.text()),
        Err(_) => {
            // It may just have ended by itself.
            let _ = program.kill_group().await;
            program.wait().await;
            let text = said.text();
            let shown = go_duration(plan.timeout);
            let separator = if text.is_empty() { "" } else { ": " };
            done(NO_CODE, format!("Health check exceeded timeout ({shown}){separator}{text}"))
        }
    }
}

/// The beginning of what a probe says.
#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    cut: bool,
}

impl Said {
    fn take(&mut self, bytes: &[u8]) {
        let room = LONGEST_OUTPUT - self.bytes.len();
        self.cut |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn text(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.bytes), if self.cut { "..." } else { "" })
    }
}

/// A length of time as Go prints it: `1m30s`, `1.5s`, `250ms`.
fn go_duration(length: Duration) -> String {
    if length < Duration::from_secs(1) {
        return format!("{}ms", length.as_nanos() as f64 / 1e6);
    }
    let (minutes, rest) = (length.as_secs() / 60, length.as_secs() % 60);
    let seconds = f64::from(u32::try_from(rest).unwrap_or(0)) + f64::from(length.subsec_nanos()) / 1e9;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(exit_code: i32) -> HealthResult {
        HealthResult { start: clock::now(), end: clock::now(), exit_code, output: String::new() }
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_unhealthy_and_one_success_heals() {
        let mut health = Health::default();
        let mut words = Vec::new();
        for (code, excused) in [(1, true), (1, true), (1, true), (1, false), (0, false), (1, true), (1, false), (1, false), (0, false)] {
            health.take(result(code), 3, excused);
            words.push((health.status.word(), health.failing_streak));
        }
        assert_eq!(
            words,
            [
                ("starting", 0),
                ("starting", 0),
                ("starting", 0),
                ("starting", 1),
                ("healthy", 0),
                ("healthy", 1),
                ("healthy", 2),
                ("unhealthy", 3),
                ("healthy", 0)
            ]
        );
        assert_eq!(health.log.len(), KEPT);
    }

    #[test]
    fn what_the_request_leaves_open_is_the_images() {
        let check = |test: &[&str], interval: i64, retries: i64| Healthcheck {
            test: test.iter().map(|word| (*word).to_owned()).collect(),
            interval,
            retries,
            ..Healthcheck::default()
        };
        let image = check(&["CMD", "true"], 5, 7);
        assert_eq!(merge(None, Some(&image)), Some(image.clone()));
        assert_eq!(merge(Some(&check(&[], 9, 0)), Some(&image)), Some(check(&["CMD", "true"], 9, 7)));
        assert_eq!(merge(Some(&check(&["NONE"], 0, 0)), None), Some(check(&["NONE"], 0, 0)));
        assert_eq!(merge(None, None), None);
    }

    #[test]
    fn shells_and_defaults_are_filled_in() {
        let plan = |test: &[&str], shell: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            let check = Healthcheck { test: words(test), start_period: 4_000_000_000, ..Healthcheck::default() };
            Plan::of(&ResolvedProcess { healthcheck: Some(check), shell: words(shell), ..ResolvedProcess::default() })
        };
        assert_eq!(plan(&["CMD-SHELL", "a b"], &[]).unwrap().command, ["/bin/sh", "-c", "a b"]);
        assert_eq!(plan(&["CMD-SHELL", "a b"], &["/bin/bash", "-lc"]).unwrap().command, ["/bin/bash", "-lc", "a b"]);
        for nothing in [&["NONE"][..], &[], &["CMD"], &["ODD", "x"]] {
            assert_eq!(plan(nothing, &[]), None, "{nothing:?}");
        }
        let plan = plan(&["CMD", "x"], &[]).unwrap();
        assert_eq!((plan.interval, plan.timeout, plan.retries), (INTERVAL, TIMEOUT, RETRIES));
        assert_eq!(plan.wait(HealthStatus::Starting, Duration::from_secs(1)), START_INTERVAL);
        assert_eq!(plan.wait(HealthStatus::Healthy, Duration::from_secs(1)), INTERVAL);
        assert_eq!(plan.wait(HealthStatus::Starting, Duration::from_secs(5)), INTERVAL);
    }

    #[test]
    fn output_is_bounded_and_times_are_gos() {
        let mut said = Said::default();
        said.take(&[b'x'; 5000]);
        said.take(b"more");
        assert_eq!((said.text().len(), said.text().ends_with("x...")), (LONGEST_OUTPUT + 3, true));
        for (length, text) in [(250, "250ms"), (1000, "1s"), (1500, "1.5s"), (90_000, "1m30s"), (3_600_000, "1h0m0s")] {
            assert_eq!(go_duration(Duration::from_millis(length)), text);
        }
    }
}
