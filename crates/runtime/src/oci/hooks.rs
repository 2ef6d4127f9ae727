//! Programs of the host that a configuration wants called as its container comes and goes.
//!
//! What must stay true: a hook reads the state on its input and inherits no handle of ours; one that outlives its time is killed.
//!
//! Source: OCI runtime-spec, config.md, "POSIX-platform Hooks".

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::config::Hook;
use super::error::Error;

/// How often a hook with a time limit is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Calls the hooks in their order; the first that fails ends it.
pub(super) fn call(kind: &'static str, hooks: &[Hook], state: &serde_json::Value) -> Result<(), Error> {
    let text = state.to_string();
    for hook in hooks {
        one(hook, &text).map_err(|text| Error::Hook { kind, path: hook.path.clone(), text })?;
    }
    Ok(())
}

fn one(hook: &Hook, state: &str) -> Result<(), String> {
    let mut command = Command::new(&hook.path);
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).current_dir("/");
    command.envs(hook.env.iter().filter_map(|entry| entry.split_once('=')));
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // A hook need not read its state.
        let _ = input.write_all(state.as_bytes());
    }
    let mut words = child.stderr.take();
    let status = wait(&mut child, hook.timeout)?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(words) = &mut words {
        let _ = words.take(4096).read_to_string(&mut said);
    }
    Err(format!("{status}: {}", said.trim()))
}

fn wait(child: &mut Child, timeout: Option<u64>) -> Result<std::process::ExitStatus, String> {
    let Some(seconds) = timeout else { return child.wait().map_err(|error| error.to_string()) };
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(LOOK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("took longer than {seconds} seconds"));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
