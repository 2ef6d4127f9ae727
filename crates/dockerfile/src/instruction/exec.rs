//! Instructions that carry a command: `RUN`, `CMD`, `ENTRYPOINT`, and `SHELL`, which says how their text form is run.

use super::{LineContext, Request, check_expansion};
use crate::ast::{CommandForm, Device, InstructionKind, NetworkMode, Run, SecurityMode, Word};
use crate::diagnostic::Diagnostic;
use crate::flags::{FlagKind, Flags};
use crate::json::{self, JsonForm};
use crate::mount::Mount;
use crate::nearest::nearest;
use crate::shell_syntax;

pub(super) fn parse_run(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<InstructionKind> {
    let known = [("mount", FlagKind::Repeated), ("network", FlagKind::Text), ("security", FlagKind::Text), ("device", FlagKind::Repeated)];
    let flags = Flags::check(line, std::mem::take(&mut request.flags), "RUN", &known);
    let form = parse_form(line, request);
    check_shell(line, request, form.as_ref());
    if request.arguments.is_empty() || matches!(&form, Some(CommandForm::Exec(arguments)) if arguments.is_empty()) {
        request.refuse(line, "E-ARGUMENT-MISSING", "RUN requires at least one argument", "write the command to run after RUN");
        return None;
    }
    let (flags, form) = (flags?, form?);
    let mut good = true;
    let mut mounts = Vec::new();
    for word in flags.repeated(line, "mount") {
        check_expansion(line, &word);
        let span = word.span;
        match Mount::parse(word) {
            Ok(mount) => mounts.push(mount),
            Err(error) => {
                good = false;
                line.report(Diagnostic::error("E-MOUNT", span, error.to_string()).hint_if(error.hint()));
            }
        }
    }
    let network = flags.text(line, "network");
    let network =
        choose(line, "network", network, &[("default", NetworkMode::Default), ("none", NetworkMode::None), ("host", NetworkMode::Host)]);
    let security = flags.text(line, "security");
    let security = choose(line, "security", security, &[("sandbox", SecurityMode::Sandbox), ("insecure", SecurityMode::Insecure)]);
    let devices = flags.repeated(line, "device").into_iter().map(parse_device).collect();
    let (network, security) = (network?, security?);
    good.then(|| InstructionKind::Run(Box::new(Run { form, mounts, network, security, devices })))
}

pub(super) fn parse_command(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<CommandForm> {
    let flags = Flags::check(line, std::mem::take(&mut request.flags), request.keyword, &[]);
    let form = parse_form(line, request);
    check_shell(line, request, form.as_ref());
    flags.and(form)
}

pub(super) fn parse_shell(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<InstructionKind> {
    Flags::check(line, std::mem::take(&mut request.flags), "SHELL", &[])?;
    match json::parse(request.arguments) {
        JsonForm::Strings(arguments) if !arguments.is_empty() => Some(InstructionKind::Shell(arguments)),
        JsonForm::NotStrings => {
            report_not_strings(line, request);
            None
        }
        JsonForm::Strings(_) => {
            request.refuse(line, "E-ARGUMENT-MISSING", "SHELL requires at least one argument", "write SHELL [\"/bin/sh\", \"-c\"]");
            None
        }
        JsonForm::Text if request.arguments.is_empty() => {
            request.refuse(line, "E-ARGUMENT-MISSING", "SHELL requires at least one argument", "write SHELL [\"/bin/sh\", \"-c\"]");
            None
        }
        JsonForm::Text => {
            let words = request.arguments.split_whitespace().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
            let hint = json::repaired(request.arguments).unwrap_or_else(|| format!("[{words}]"));
            request.refuse(line, "E-JSON", "SHELL requires the arguments to be in JSON form", &format!("write SHELL {hint}"));
            None
        }
    }
}

/// Reads the JSON form or takes the text as it stands; reports text that was probably meant as JSON.
pub(super) fn parse_form(line: &mut LineContext<'_>, request: &Request<'_>) -> Option<CommandForm> {
    match json::parse(request.arguments) {
        JsonForm::Strings(arguments) => Some(CommandForm::Exec(arguments)),
        JsonForm::NotStrings => {
            report_not_strings(line, request);
            None
        }
        JsonForm::Text => {
            if json::looks_intended(request.arguments) {
                find_broken_json(line, request);
            }
            Some(CommandForm::Shell(request.arguments.to_owned()))
        }
    }
}

/// Reports text the stage's shell cannot read. Such a `RUN` is certain to fail, so it is an error; a `CMD` fails only when it is run.
fn check_shell(line: &mut LineContext<'_>, request: &Request<'_>, form: Option<&CommandForm>) {
    let Some(CommandForm::Shell(command)) = form else {
        return;
    };
    if !line.shell_is_posix || !request.announced.is_empty() || json::looks_intended(command) {
        return;
    }
    let Some(problem) = shell_syntax::find_problem(command) else {
        return;
    };
    let span = line.span(request.offset + problem.range.start..request.offset + problem.range.end);
    let stops = request.keyword == "RUN" && !line.in_trigger;
    line.find(&crate::lint::SHELL_SYNTAX, || {
        let new = if stops { Diagnostic::error } else { Diagnostic::warning };
        new("", span, problem.message).because("the shell would refuse the whole command").hint(problem.hint)
    });
}

fn find_broken_json(line: &mut LineContext<'_>, request: &Request<'_>) {
    let span = request.arguments_span(line);
    line.find(&crate::lint::EXEC_FORM_INVALID, || {
        let hint = json::repaired(request.arguments).map(|fixed| format!("write {} {fixed}", request.keyword));
        Diagnostic::warning(
            "ExecFormInvalid",
            span,
            format!("The arguments of {} look like a JSON array but are not valid JSON", request.keyword),
        )
        .because("they are run as text by the shell, brackets and all")
        .hint("strings stand in double quotes, parted by commas, with no comma after the last")
        .hint_if(hint)
    });
}

pub(super) fn report_not_strings(line: &mut LineContext<'_>, request: &Request<'_>) {
    let docker = line.docker("when using JSON array syntax, arrays must be comprised of strings only");
    let span = request.arguments_span(line);
    line.report(
        Diagnostic::error("E-JSON", span, format!("the JSON form of {} holds strings only", request.keyword))
            .hint("put every element in double quotes, also numbers")
            .docker(docker),
    );
}

fn choose<T: Copy + Default>(line: &mut LineContext<'_>, flag: &str, word: Option<Word>, choices: &[(&str, T)]) -> Option<T> {
    let Some(word) = word else {
        return Some(T::default());
    };
    let chosen = choices.iter().find(|(name, _)| *name == word.text).map(|(_, value)| *value);
    if chosen.is_none() {
        let names = choices.iter().map(|(name, _)| *name);
        let hint = nearest(&word.text, names.clone())
            .map_or_else(|| format!("use one of {}", names.collect::<Vec<_>>().join(", ")), |name| format!("did you mean {name}?"));
        let docker = line.docker(format!("unsupported {flag} mode: {:?}", word.text));
        line.report(
            Diagnostic::error("E-FLAG-VALUE", word.span, format!("--{flag} cannot be \"{}\"", word.text)).hint(hint).docker(docker),
        );
    }
    chosen
}

/// `name[,required]`; a device that is not required may be absent.
fn parse_device(word: Word) -> Device {
    let mut required = false;
    let mut name = word.text.as_str();
    for (position, part) in word.text.split(',').enumerate() {
        match part.split_once('=') {
            None if part == "required" => required = true,
            Some(("required", value)) => required = value == "true",
            Some(("name", value)) => name = value,
            _ if position == 0 => name = part,
            _ => {}
        }
    }
    Device { name: Word { text: name.to_owned(), span: word.span }, required }
}
