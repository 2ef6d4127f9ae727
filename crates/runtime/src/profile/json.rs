//! Profiles in Docker's JSON format (`--security-opt seccomp=FILE`), which contains OCI's.
//!
//! What must stay true: whatever decides about security is known or refused (R7): unknown actions, operators and architectures are errors, never the
//! default.

use serde::Deserialize;
use shipway_model::Capability;
use shipway_sys::probe::Probe;
use shipway_sys::seccomp;

use super::compile::{Action, ArgumentTest, Comparison, Profile, Rule};
use crate::error::LaunchError;

/// Far above any real profile (Docker's own has 13 kB).
const LONGEST: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u16>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchitectureMap>>,
    #[serde(default)]
    syscalls: Option<Vec<Calls>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Calls {
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    name: Option<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Reads a profile for a process with these capabilities.
pub fn parse_profile(text: &[u8], capabilities: u64) -> Result<Profile, LaunchError> {
    let refuse = |text: String| LaunchError::Profile { text };
    if text.len() > LONGEST {
        return Err(refuse(format!("longer than {LONGEST} bytes")));
    }
    let document: Document = serde_json::from_slice(text).map_err(|error| refuse(error.to_string()))?;
    let default = action(&document.default_action, document.default_errno_ret)?;
    let mut rules = Vec::new();
    for calls in document.syscalls.iter().flatten() {
        if applies(calls, capabilities)? {
            let tests = calls.args.iter().flatten().map(argument_test).collect::<Result<_, _>>()?;
            let names = calls.names.iter().flatten().chain(&calls.name).cloned().collect();
            rules.push(Rule { names, action: action(&calls.action, calls.errno_ret)?, tests });
        }
    }
    Ok(Profile { default, with_32_bit: names_32_bit(&document)?, rules })
}

fn action(name: &str, number: Option<u16>) -> Result<Action, LaunchError> {
    let number = number.unwrap_or(1);
    Ok(match name {
        "SCMP_ACT_ALLOW" => seccomp::ALLOW,
        "SCMP_ACT_ERRNO" => seccomp::errno(number),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => seccomp::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => seccomp::KILL_PROCESS,
        "SCMP_ACT_TRAP" => seccomp::TRAP,
        "SCMP_ACT_TRACE" => seccomp::trace(number),
        "SCMP_ACT_LOG" => seccomp::LOG,
        _ => return Err(LaunchError::Profile { text: format!("action \"{name}\" is not supported") }),
    })
}

fn argument_test(argument: &Argument) -> Result<ArgumentTest, LaunchError> {
    let refuse = |text: String| LaunchError::Profile { text };
    if argument.index > 5 {
        return Err(refuse(format!("there is no argument {}", argument.index)));
    }
    let mut value = argument.value;
    let comparison = match argument.op.as_str() {
        "SCMP_CMP_EQ" => Comparison::Equal,
        "SCMP_CMP_NE" => Comparison::NotEqual,
        "SCMP_CMP_LT" => Comparison::Less,
        "SCMP_CMP_LE" => Comparison::LessOrEqual,
        "SCMP_CMP_GT" => Comparison::Greater,
        "SCMP_CMP_GE" => Comparison::GreaterOrEqual,
        "SCMP_CMP_MASKED_EQ" => {
            value = argument.value_two;
            Comparison::MaskedEqual { mask: argument.value }
        }
        other => return Err(refuse(format!("operator \"{other}\" is not supported"))),
    };
    Ok(ArgumentTest { index: argument.index, comparison, value, low_word: false })
}

/// `includes` must hold wholly; one fulfilled exclusion takes the rule out.
fn applies(calls: &Calls, capabilities: u64) -> Result<bool, LaunchError> {
    let includes = calls.includes.as_ref();
    let excludes = calls.excludes.as_ref();
    let here = |name: &String| if cfg!(target_arch = "x86_64") { name == "amd64" || name == "x86" } else { name == "arm64" };
    if let Some(wanted) = includes {
        let architecture = wanted.arches.as_ref().is_none_or(|list| list.is_empty() || list.iter().any(here));
        let caps = wanted.caps.iter().flatten().map(|name| holds(name, capabilities)).collect::<Result<Vec<_>, _>>()?;
        let kernel = wanted.min_kernel.as_deref().map_or(Ok(true), kernel_at_least)?;
        if !architecture || caps.contains(&false) || !kernel {
            return Ok(false);
        }
    }
    if let Some(unwanted) = excludes {
        let caps = unwanted.caps.iter().flatten().map(|name| holds(name, capabilities)).collect::<Result<Vec<_>, _>>()?;
        let kernel = unwanted.min_kernel.as_deref().map_or(Ok(false), kernel_at_least)?;
        if caps.contains(&true) || unwanted.arches.iter().flatten().any(here) || kernel {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(name: &str, capabilities: u64) -> Result<bool, LaunchError> {
    let capability: Capability = name.parse().map_err(|_| LaunchError::Profile { text: format!("there is no capability \"{name}\"") })?;
    Ok(capabilities >> capability.number() & 1 == 1)
}

fn kernel_at_least(version: &str) -> Result<bool, LaunchError> {
    let parsed = version.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let (major, minor) = parsed.ok_or_else(|| LaunchError::Profile { text: format!("\"{version}\" is no kernel version") })?;
    Ok(Probe::get().kernel_at_least(major, minor))
}

/// Whether the profile covers 32-bit programs of this machine. Without any list it covers the native ones only, as libseccomp does.
fn names_32_bit(document: &Document) -> Result<bool, LaunchError> {
    let native = if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" };
    let mut named: Vec<&String> = document.architectures.iter().flatten().collect();
    for map in document.arch_map.iter().flatten() {
        if map.architecture == native {
            named.extend(map.sub_architectures.iter().flatten());
        }
    }
    if let Some(bad) = named.iter().find(|name| !name.starts_with("SCMP_ARCH_")) {
        return Err(LaunchError::Profile { text: format!("there is no architecture \"{bad}\"") });
    }
    Ok(named.iter().any(|name| *name == "SCMP_ARCH_X86"))
}
