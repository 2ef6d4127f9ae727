//! `HEALTHCHECK [flags] CMD command` and `HEALTHCHECK NONE`.

use super::{LineContext, Request, exec};
use crate::ast::{CommandForm, HealthTest, Healthcheck, InstructionKind, Word};
use crate::diagnostic::Diagnostic;
use crate::flags::{FlagKind, Flags};
use crate::words::is_blank;
use shipway_model::GoDuration;
use std::time::Duration;

const DURATIONS: [&str; 4] = ["interval", "timeout", "start-period", "start-interval"];

pub(super) fn parse(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<InstructionKind> {
    let known = DURATIONS.map(|name| (name, FlagKind::Text)).into_iter().chain([("retries", FlagKind::Text)]).collect::<Vec<_>>();
    let flags = Flags::check(line, std::mem::take(&mut request.flags), "HEALTHCHECK", &known);
    let length = request.arguments.find(is_blank).unwrap_or(request.arguments.len());
    let (kind, rest) = request.arguments.split_at(length);
    let rest = rest.trim_start();
    match kind.to_ascii_uppercase().as_str() {
        "" => {
            request.refuse(
                line,
                "E-ARGUMENT-MISSING",
                "HEALTHCHECK requires at least one argument",
                "write HEALTHCHECK CMD command, or HEALTHCHECK NONE",
            );
            None
        }
        "NONE" if rest.is_empty() => flags.map(|_| InstructionKind::Healthcheck(Healthcheck::None)),
        "NONE" => {
            request.refuse(
                line,
                "E-HEALTHCHECK",
                "HEALTHCHECK NONE takes no arguments",
                "write HEALTHCHECK CMD for a check, HEALTHCHECK NONE for none",
            );
            None
        }
        "CMD" if rest.is_empty() => {
            request.refuse(line, "E-ARGUMENT-MISSING", "Missing command after HEALTHCHECK CMD", "write the command after CMD");
            None
        }
        "CMD" => {
            request.offset += request.arguments.len() - rest.len();
            request.arguments = rest;
            let command = exec::parse_form(line, request)?;
            if matches!(&command, CommandForm::Exec(arguments) if arguments.is_empty()) {
                request.refuse(line, "E-ARGUMENT-MISSING", "Missing command after HEALTHCHECK CMD", "write the command after CMD");
                return None;
            }
            parse_rhythm(line, &flags?, command)
        }
        other => {
            let text = format!("Unknown type {other:?} in HEALTHCHECK (try CMD)");
            request.refuse(line, "E-HEALTHCHECK", &text, &format!("write HEALTHCHECK CMD {}", request.arguments));
            None
        }
    }
}

fn parse_rhythm(line: &mut LineContext<'_>, flags: &Flags, command: CommandForm) -> Option<InstructionKind> {
    let mut durations = [None; 4];
    let mut good = true;
    for (slot, name) in durations.iter_mut().zip(DURATIONS) {
        if let Some(word) = flags.text(line, name) {
            match parse_duration(&word.text) {
                Some(duration) if !duration.is_zero() && duration < SHORTEST => {
                    good = false;
                    let docker = line.docker(format!("Interval \"{name}\" cannot be less than 1ms"));
                    line.report(Diagnostic::error("E-DURATION", word.span, format!("--{name} cannot be less than 1ms")).docker(docker));
                }
                Some(duration) => *slot = Some(duration).filter(|duration| !duration.is_zero()),
                None => {
                    good = false;
                    report_duration(line, name, &word);
                }
            }
        }
    }
    let retries = match flags.text(line, "retries") {
        None => None,
        Some(word) => match word.text.parse::<i32>() {
            Ok(retries) if retries >= 0 => Some(retries.unsigned_abs()),
            _ => {
                good = false;
                let docker = line.docker(match word.text.parse::<i32>() {
                    Ok(negative) => format!("--retries cannot be negative ({negative})"),
                    Err(_) => format!("strconv.ParseInt: parsing {:?}: invalid syntax", word.text),
                });
                line.report(
                    Diagnostic::error("E-FLAG-VALUE", word.span, format!("--retries is a number, 0 or more, not \"{}\"", word.text))
                        .docker(docker),
                );
                None
            }
        },
    };
    let [interval, timeout, start_period, start_interval] = durations;
    good.then_some(InstructionKind::Healthcheck(Healthcheck::Check(HealthTest {
        command,
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
    })))
}

/// Docker refuses anything shorter but zero, which means "not set".
const SHORTEST: Duration = Duration::from_millis(1);

fn report_duration(line: &mut LineContext<'_>, name: &str, word: &Word) {
    let docker = line.docker(format!("time: invalid duration {:?}", word.text));
    let hint = match word.text.parse::<f64>() {
        Ok(_) => format!("give a unit: --{name}={}s", word.text),
        Err(_) => format!("write it as in --{name}=30s or --{name}=1m30s"),
    };
    line.report(Diagnostic::error("E-DURATION", word.span, format!("\"{}\" is not a duration", word.text)).hint(hint).docker(docker));
}

/// Reads Go's duration text (`1h30m`, `1.5s`, `300ms`); none for anything else, also for negative ones.
fn parse_duration(text: &str) -> Option<Duration> {
    if text.starts_with('-') {
        return None;
    }
    text.parse::<GoDuration>().ok().map(GoDuration::to_duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, wanted) in [
            ("30s", Some(30_000)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1_500)),
            ("300ms", Some(300)),
            ("0", Some(0)),
            ("30", None),
            ("", None),
            ("-1s", None),
            ("1x", None),
            ("s", None),
            ("9999999999h", None),
        ] {
            assert_eq!(parse_duration(text), wanted.map(Duration::from_millis), "{text}");
        }
    }
}
