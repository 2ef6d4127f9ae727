//! Single instructions that do something else than they seem to.

use super::{
    EXPOSE_INVALID_FORMAT, EXPOSE_PROTO_CASING, Findings, JSON_ARGS_RECOMMENDED, MAINTAINER_DEPRECATED, MULTIPLE_INSTRUCTIONS_DISALLOWED,
    SECRETS_USED_IN_ARG_OR_ENV, WORKDIR_RELATIVE_PATH, parents,
};
use crate::ast::{CommandForm, Dockerfile, Instruction, InstructionKind, Stage, Word};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use std::collections::HashMap;

/// What later instructions, and stages built on this one, inherit.
#[derive(Clone, Copy, Default)]
struct Inherited {
    has_shell: bool,
    has_workdir: bool,
}

pub(super) fn check(dockerfile: &Dockerfile, findings: &mut Findings) {
    for instruction in &dockerfile.global_args {
        check_secrets(instruction, findings);
    }
    let parents = parents(dockerfile);
    let mut ends: Vec<Inherited> = Vec::with_capacity(dockerfile.stages.len());
    for stage in &dockerfile.stages {
        let mut inherited = parents[stage.index].map(|parent| ends[parent]).unwrap_or_default();
        check_stage(stage, &mut inherited, findings);
        ends.push(inherited);
    }
}

fn check_stage(stage: &Stage, inherited: &mut Inherited, findings: &mut Findings) {
    let mut used: HashMap<&str, Span> = HashMap::new();
    for instruction in &stage.instructions {
        match &instruction.kind {
            InstructionKind::Shell(_) => inherited.has_shell = true,
            InstructionKind::Workdir(path) => check_workdir(path, inherited, findings),
            InstructionKind::Cmd(form) | InstructionKind::Entrypoint(form) => check_form(instruction, form, inherited.has_shell, findings),
            InstructionKind::Maintainer(author) => findings.add(&MAINTAINER_DEPRECATED, || {
                Diagnostic::warning("", instruction.span, "Maintainer instruction is deprecated in favor of using label")
                    .hint(format!("write LABEL org.opencontainers.image.authors={:?}", author.text))
            }),
            InstructionKind::Expose(ports) => check_ports(ports, findings),
            InstructionKind::Arg(_) | InstructionKind::Env(_) => check_secrets(instruction, findings),
            _ => {}
        }
        if matches!(instruction.keyword(), "CMD" | "ENTRYPOINT" | "HEALTHCHECK")
            && let Some(ignored) = used.insert(instruction.keyword(), instruction.span)
        {
            findings.add(&MULTIPLE_INSTRUCTIONS_DISALLOWED, || {
                let keyword = instruction.keyword();
                let message =
                    format!("Multiple {keyword} instructions should not be used in the same stage because only the last one will be used");
                Diagnostic::warning("", ignored, message).because(format!("line {} replaces this one", instruction.span.start.line))
            });
        }
    }
}

fn check_form(instruction: &Instruction, form: &CommandForm, has_shell: bool, findings: &mut Findings) {
    let CommandForm::Shell(text) = form else {
        return;
    };
    // Whoever chose the shell meant the shell.
    if has_shell || text.is_empty() {
        return;
    }
    findings.add(&JSON_ARGS_RECOMMENDED, || {
        let keyword = instruction.keyword();
        let message = format!("JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals");
        Diagnostic::warning("", instruction.span, message)
            .because("the shell stands between the container and the program: a stop signal reaches the shell only, and stopping takes 10 seconds")
            .hint_if(as_json(text).map(|json| format!("write {keyword} {json}")))
    });
}

/// The JSON form of a command that needs no shell; none when it uses any of the shell's services.
fn as_json(text: &str) -> Option<String> {
    if text.len() > 200 || text.contains(|letter: char| "$|&;<>(){}[]*?!~#`'\"\\=\n".contains(letter)) {
        return None;
    }
    let words = text.split_whitespace().map(|word| format!("{word:?}")).collect::<Vec<_>>();
    Some(format!("[{}]", words.join(", ")))
}

fn check_workdir(path: &Word, inherited: &mut Inherited, findings: &mut Findings) {
    let text = path.text.trim_matches(['"', '\'']);
    let is_drive = text.len() > 2 && text.as_bytes()[0].is_ascii_alphabetic() && text.as_bytes()[1] == b':';
    // What a variable holds is not known here.
    let is_relative = !text.starts_with(['/', '\\', '$']) && !is_drive;
    if is_relative && !inherited.has_workdir {
        findings.add(&WORKDIR_RELATIVE_PATH, || {
            let clean = text.trim_start_matches("./");
            let message = format!("Relative workdir {:?} can have unexpected results if the base image changes", path.text);
            Diagnostic::warning("", path.span, message)
                .because(format!(
                    "WORKDIR {} is /{clean} when the base image sets no folder of its own; it changes when the base image does",
                    path.text
                ))
                .hint(format!("write WORKDIR /{clean}"))
        });
    }
    inherited.has_workdir = true;
}

fn check_ports(ports: &[Word], findings: &mut Findings) {
    for port in ports.iter().filter(|port| !port.text.contains('$')) {
        if let Some((_, protocol)) = port.text.split_once('/')
            && protocol != protocol.to_lowercase()
        {
            findings.add(&EXPOSE_PROTO_CASING, || {
                let message = format!("Defined protocol '{}' in EXPOSE instruction should be lowercase", port.text);
                Diagnostic::warning("", port.span, message).hint(format!("write {}", port.text.to_lowercase()))
            });
        }
        if let Some((_, container)) = port.text.rsplit_once(':') {
            findings.add(&EXPOSE_INVALID_FORMAT, || {
                let message = format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{}'", port.text);
                Diagnostic::warning("", port.span, message)
                    .because("EXPOSE only notes the container's port; addresses and host ports are chosen by run --publish")
                    .hint(format!("write EXPOSE {container}"))
            });
        }
    }
}

/// Parts of a name, between underscores, that say its value is secret; and the one that says it is not.
const SECRET_PARTS: [&str; 10] = ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const PUBLIC_PART: &str = "public";

fn check_secrets(instruction: &Instruction, findings: &mut Findings) {
    let names: Vec<&Word> = match &instruction.kind {
        InstructionKind::Arg(arguments) => arguments.iter().map(|argument| &argument.name).collect(),
        InstructionKind::Env(pairs) => pairs.iter().map(|(name, _)| name).collect(),
        _ => return,
    };
    for name in names {
        let lower = name.text.to_lowercase();
        if lower.split('_').any(|part| SECRET_PARTS.contains(&part)) && !lower.split('_').any(|part| part == PUBLIC_PART) {
            findings.add(&SECRETS_USED_IN_ARG_OR_ENV, || {
                let message = format!("Do not use ARG or ENV instructions for sensitive data ({} {:?})", instruction.keyword(), name.text);
                Diagnostic::warning("", name.span, message)
                    .because("its value stays readable in the image's configuration or history")
                    .hint(format!("use RUN --mount=type=secret,id={},env={} and give the secret to the build", lower, name.text))
            });
        }
    }
}
