//! `network doctor`: what is reachable from where, and the command that mends what is not (our own daemon only).

use serde_json::Value;

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::{FAILED, Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;

/// Show what is reachable from where, why not, and how to mend it
#[derive(Debug, clap::Parser)]
pub(crate) struct Doctor {
    /// Format output: 'json'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
}

impl Verb for Doctor {
    const NAMES: &'static [&'static str] = &["network doctor"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let report: Value = session.client()?.json(Call::get("/shipway/networks/doctor")).await?;
        match self.format.as_deref() {
            Some("json") => output::line(report.to_string())?,
            Some(other) => return Err(Failure::usage(format!("unknown format \"{other}\": there is json"))),
            None => {
                networks(&report)?;
                ports(&report)?;
                findings(&report)?;
            }
        }
        let broken = list(&report, "findings").iter().filter(|finding| text(finding, "severity") == "broken").count();
        if broken == 0 { Ok(()) } else { Err(Failure::new(format!("{broken} broken")).with_code(FAILED)) }
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn is(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn networks(report: &Value) -> Outcome {
    if list(report, "networks").is_empty() {
        return output::line("no container is in a network with a bridge");
    }
    output::line("NETWORKS")?;
    for network in list(report, "networks") {
        let subnets: Vec<&str> = list(network, "subnets").iter().filter_map(Value::as_str).collect();
        let words = [
            if is(network, "up") { "up" } else { "DOWN" },
            if is(network, "open") { "its containers reach each other" } else { "its containers do not reach each other" },
            match (is(network, "internal"), is(network, "masquerade")) {
                (true, _) => "nothing outside is reached",
                (false, true) => "outside seen under the host's address",
                (false, false) => "outside seen under their own addresses",
            },
        ];
        let (name, bridge, mtu) = (text(network, "name"), text(network, "bridge"), text(network, "mtu"));
        let trusted: Vec<&str> = list(network, "trusted").iter().filter_map(Value::as_str).collect();
        let trusting = if trusted.is_empty() { String::new() } else { format!(", trusts {}", trusted.join(" and ")) };
        output::line(format!("  {name}  ({bridge}, {}, MTU {mtu})  {}{trusting}", subnets.join(" "), words.join(", ")))?;
    }
    Ok(())
}

fn ports(report: &Value) -> Outcome {
    for (index, port) in list(report, "ports").iter().enumerate() {
        if index == 0 {
            output::line("PORTS")?;
        }
        let (number, protocol) = (text(port, "host_port"), text(port, "protocol"));
        output::line(format!("  {number}/{protocol} -> {} ({})", text(port, "container"), text(port, "target")))?;
        for way in list(port, "ways") {
            let from = match text(way, "from").as_str() {
                "host" => "this host",
                "outside" => "other machines",
                "containers" => "containers",
                _ => "internal networks",
            };
            output::line(format!("    from {from:<17} {:<7} at {}: {}", text(way, "reach"), text(way, "at"), text(way, "because")))?;
        }
    }
    Ok(())
}

fn findings(report: &Value) -> Outcome {
    if list(report, "findings").is_empty() {
        return output::line("nothing is wrong");
    }
    output::line("FINDINGS")?;
    for finding in list(report, "findings") {
        output::line(format!("  {:<8}  {}", text(finding, "severity"), text(finding, "what")))?;
        output::line(format!("            {}", text(finding, "because")))?;
        if !text(finding, "mend").is_empty() {
            output::line(format!("            mend: {}", text(finding, "mend")))?;
        }
    }
    Ok(())
}
