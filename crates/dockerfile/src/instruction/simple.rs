//! Instructions with plain arguments: `WORKDIR USER STOPSIGNAL MAINTAINER EXPOSE VOLUME ONBUILD`.

use super::{
    LineContext, Nesting, Parsing, Request, check_expansion, check_trigger, copy, parse_instruction, refused_trigger, split_keyword,
};
use crate::ast::{InstructionKind, Word};
use crate::diagnostic::Diagnostic;
use crate::flags::Flags;
use crate::words::split_blanks;
use shipway_model::Signal;

/// Instructions whose argument is the whole rest of the line.
pub(super) fn parse_single(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<InstructionKind> {
    let keyword = request.keyword;
    Flags::check(line, std::mem::take(&mut request.flags), keyword, &[])?;
    if request.arguments.is_empty() {
        let example = match keyword {
            "WORKDIR" => "WORKDIR /app",
            "USER" => "USER name or USER name:group",
            "STOPSIGNAL" => "STOPSIGNAL SIGTERM",
            _ => "LABEL org.opencontainers.image.authors=\"name <address>\"",
        };
        request.refuse(line, "E-ARGUMENT-MISSING", &format!("{keyword} requires exactly one argument"), &format!("write {example}"));
        return None;
    }
    let word = Word { text: request.arguments.to_owned(), span: request.arguments_span(line) };
    if keyword == "MAINTAINER" {
        return Some(InstructionKind::Maintainer(word));
    }
    check_expansion(line, &word);
    Some(match keyword {
        "WORKDIR" => InstructionKind::Workdir(word),
        "USER" => InstructionKind::User(word),
        _ => {
            check_signal(line, &word);
            InstructionKind::StopSignal(word)
        }
    })
}

fn check_signal(line: &mut LineContext<'_>, word: &Word) {
    if word.text.contains(['$', '"', '\'', line.escape]) || word.text.parse::<Signal>().is_ok() {
        return;
    }
    let docker = format!("invalid signal: {}", word.text);
    let message = format!("\"{}\" is not a signal", word.text);
    line.report(Diagnostic::error("E-SIGNAL", word.span, message).hint("write a name, as in SIGTERM, or a number").docker(docker));
}

pub(super) fn parse_expose(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<InstructionKind> {
    Flags::check(line, std::mem::take(&mut request.flags), "EXPOSE", &[])?;
    let words = split_blanks(request.arguments, request.offset).into_iter().map(|word| line.word(word)).collect::<Vec<_>>();
    if words.is_empty() {
        request.refuse(line, "E-ARGUMENT-MISSING", "EXPOSE requires at least one argument", "write EXPOSE 80 or EXPOSE 53/udp");
        return None;
    }
    for word in &words {
        check_expansion(line, word);
        check_port(line, word);
    }
    Some(InstructionKind::Expose(words))
}

fn check_port(line: &mut LineContext<'_>, word: &Word) {
    if word.text.contains(['$', '"', '\'', line.escape]) {
        return;
    }
    let container = word.text.rsplit(':').next().unwrap_or("");
    let (ports, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse::<u16>().ok() } else { None };
    if !["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str()) {
        let docker = format!("invalid proto: {protocol}");
        let message = format!("\"{protocol}\" is not a protocol of a port");
        line.report(Diagnostic::error("E-PORT", word.span, message).hint("use tcp, udp or sctp").docker(docker));
    } else if !matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last) {
        let docker = format!("invalid containerPort: {ports}");
        let message = format!("\"{ports}\" is not a port");
        line.report(
            Diagnostic::error("E-PORT", word.span, message)
                .hint("write a number up to 65535, a range such as 8000-8010, and a protocol, as in 53/udp")
                .docker(docker),
        );
    }
}

pub(super) fn parse_volume(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<InstructionKind> {
    Flags::check(line, std::mem::take(&mut request.flags), "VOLUME", &[])?;
    let words = copy::json_or_words(line, request)?;
    if words.is_empty() {
        request.refuse(line, "E-ARGUMENT-MISSING", "VOLUME requires at least one argument", "write VOLUME /path");
        return None;
    }
    if words.iter().any(|word| word.text.trim().is_empty()) {
        request.refuse(line, "E-VOLUME", "VOLUME specified can not be an empty string", "name a path");
        return None;
    }
    words.iter().for_each(|word| check_expansion(line, word));
    Some(InstructionKind::Volume(words))
}

pub(super) fn parse_onbuild(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<InstructionKind> {
    Flags::check(line, std::mem::take(&mut request.flags), "ONBUILD", &[])?;
    if request.arguments.is_empty() {
        request.refuse(
            line,
            "E-ARGUMENT-MISSING",
            "ONBUILD requires at least one argument",
            "write the instruction to run in the child build after ONBUILD",
        );
        return None;
    }
    let (inner, _) = split_keyword(&line.line.text, request.offset);
    // Refused before it is parsed: a chain of ten thousand ONBUILDs must not recurse.
    if ["ONBUILD", "FROM", "MAINTAINER"].iter().any(|refused| inner.text.eq_ignore_ascii_case(refused)) {
        let span = line.span(inner.start..inner.end);
        let mut diagnostic = refused_trigger(span, &inner.text.to_ascii_uppercase());
        diagnostic.docker_text = diagnostic.docker_text.map(|text| line.docker(text));
        line.report(diagnostic);
        return None;
    }
    let announced = std::mem::take(&mut request.announced);
    line.in_trigger = true;
    match parse_instruction(line, request.offset, announced, Nesting::Trigger) {
        Parsing::Instruction(instruction) => {
            check_trigger(line, &instruction);
            Some(InstructionKind::OnBuild(instruction))
        }
        _ => None,
    }
}
