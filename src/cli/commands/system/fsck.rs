//! `system fsck`: checks what is stored (our own daemon only).

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::exit::{FAILED, Failure};
use crate::cli::output;
use crate::cli::session::Session;
use serde_json::{Value, json};

/// Check the stored images, layers and records for damage
#[derive(Debug, clap::Parser)]
pub(crate) struct Fsck {
    /// Read every byte and compare it with its digest
    #[arg(long)]
    strict: bool,
    /// Remove or mend what is damaged
    #[arg(long)]
    repair: bool,
}

impl Verb for Fsck {
    const NAMES: &'static [&'static str] = &["system fsck"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let call = Call::post("/shipway/fsck")
            .flag("strict", self.strict)
            .flag("repair", self.repair)
            .json(json!({"strict": self.strict, "repair": self.repair}));
        let report: Value = session.client()?.json(call).await?;
        let findings = report.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
        let text = |finding: &Value, name: &str| match finding.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let mut left = 0;
        for finding in &findings {
            let fixed = finding.get("fixed").and_then(Value::as_bool).unwrap_or_default();
            left += usize::from(!fixed);
            let mark = if fixed { "repaired" } else { "damaged " };
            output::line(format!("{mark}  {}  {}", text(finding, "where"), text(finding, "what")))?;
        }
        match (findings.len(), left) {
            (0, _) => output::line("nothing is damaged"),
            (_, 0) => output::line("everything found was repaired"),
            _ => {
                let failure = Failure::new(format!("{left} damaged")).with_code(FAILED);
                Err(if self.repair { failure } else { failure.hint("shipway system fsck --repair") })
            }
        }
    }
}
