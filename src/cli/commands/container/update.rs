//! `update`.

use super::flags::restart_policy;
use super::{each, path};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::human;
use crate::cli::output;
use crate::cli::session::Session;
use serde_json::{Map, Value};

/// Update configuration of one or more containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Update {
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long, value_name = "uint16")]
    blkio_weight: Option<u16>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int")]
    cpu_period: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Limit the CPU real-time period in microseconds
    #[arg(long, value_name = "int")]
    cpu_rt_period: Option<i64>,
    /// Limit the CPU real-time runtime in microseconds
    #[arg(long, value_name = "int")]
    cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int")]
    cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal")]
    cpus: Option<f64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// Kernel memory limit (deprecated: kernels do not have it any more)
    #[arg(long, value_name = "bytes", hide = true)]
    kernel_memory: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes")]
    memory: Option<String>,
    /// Memory soft limit
    #[arg(long, value_name = "bytes")]
    memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, value_name = "bytes")]
    memory_swap: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "string")]
    restart: Option<String>,
    #[arg(hide = true)]
    containers: Vec<String>,
}

impl Verb for Update {
    const NAMES: &'static [&'static str] = &["container update", "update"];
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let body = self.body()?;
        if body.is_empty() {
            return Err(Failure::new("you must provide one or more flags when using this command"));
        }
        let client = session.client()?;
        each(&self.containers, async |name| {
            let answer: Value = client.json(Call::post(path(name, "/update")).json(Value::Object(body.clone()))).await?;
            for warning in answer.get("Warnings").and_then(Value::as_array).into_iter().flatten() {
                output::note(warning.as_str().unwrap_or_default());
            }
            Ok(())
        })
        .await
    }
}

impl Update {
    fn body(&self) -> Outcome<Map<String, Value>> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        let bytes = |text: &Option<String>| -> Outcome<Option<Value>> {
            match text.as_deref() {
                Some("-1") => Ok(Some(Value::from(-1))),
                Some(text) => human::bytes(text).map(|bytes| Some(Value::from(bytes))),
                None => Ok(None),
            }
        };
        put("BlkioWeight", self.blkio_weight.map(Value::from));
        put("CpuPeriod", self.cpu_period.map(Value::from));
        put("CpuQuota", self.cpu_quota.map(Value::from));
        put("CpuRealtimePeriod", self.cpu_rt_period.map(Value::from));
        put("CpuRealtimeRuntime", self.cpu_rt_runtime.map(Value::from));
        put("CpuShares", self.cpu_shares.map(Value::from));
        put("NanoCpus", self.cpus.map(|cpus| Value::from((cpus * 1e9).round() as i64)));
        put("CpusetCpus", self.cpuset_cpus.clone().map(Value::from));
        put("CpusetMems", self.cpuset_mems.clone().map(Value::from));
        put("KernelMemory", bytes(&self.kernel_memory)?);
        put("Memory", bytes(&self.memory)?);
        put("MemoryReservation", bytes(&self.memory_reservation)?);
        put("MemorySwap", bytes(&self.memory_swap)?);
        put("PidsLimit", self.pids_limit.map(Value::from));
        put("RestartPolicy", self.restart.as_deref().map(restart_policy).transpose()?);
        Ok(body)
    }
}
