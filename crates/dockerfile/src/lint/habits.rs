//! Our own checks of habits that cost time or safety. All are opt-in: they are opinions, not mistakes.

use super::{APT_WITHOUT_UPDATE, CACHE_UNFRIENDLY_ORDER, Findings, ROOT_USER, UNPINNED_BASE, parents};
use crate::ast::{CommandForm, Dockerfile, Instruction, InstructionKind, Source, Stage, Word};
use crate::diagnostic::Diagnostic;

pub(super) fn check(dockerfile: &Dockerfile, findings: &mut Findings) {
    let parents = parents(dockerfile);
    for stage in &dockerfile.stages {
        if parents[stage.index].is_none() {
            check_base(stage, findings);
        }
        check_order(stage, findings);
        for instruction in &stage.instructions {
            check_apt(instruction, findings);
        }
    }
    check_user(dockerfile, &parents, findings);
}

fn check_base(stage: &Stage, findings: &mut Findings) {
    let image = &stage.from.image;
    if image.text == "scratch" || image.text.contains(['$', '@']) {
        return;
    }
    let last = image.text.rsplit('/').next().unwrap_or("");
    let tag = last.split_once(':').map(|(_, tag)| tag);
    if matches!(tag, None | Some("latest")) {
        findings.add(&UNPINNED_BASE, || {
            Diagnostic::warning("", image.span, format!("Base image {:?} is not pinned to a version", image.text))
                .because("the same file may give another image tomorrow")
                .hint("add a tag of a version, or a digest: name@sha256:…")
        });
    }
}

/// Commands that fetch dependencies, and the files that name them.
const INSTALLERS: [(&str, &str); 12] = [
    ("npm install", "package.json package-lock.json"),
    ("npm ci", "package.json package-lock.json"),
    ("yarn install", "package.json yarn.lock"),
    ("pnpm install", "package.json pnpm-lock.yaml"),
    ("pip install -r", "requirements.txt"),
    ("pip3 install -r", "requirements.txt"),
    ("go mod download", "go.mod go.sum"),
    ("bundle install", "Gemfile Gemfile.lock"),
    ("composer install", "composer.json composer.lock"),
    ("mvn dependency:", "pom.xml"),
    ("mvn -B dependency:", "pom.xml"),
    ("cargo fetch", "Cargo.toml Cargo.lock"),
];

fn check_order(stage: &Stage, findings: &mut Findings) {
    let mut whole_copy: Option<&Instruction> = None;
    for instruction in &stage.instructions {
        if copies_everything(instruction) {
            whole_copy.get_or_insert(instruction);
        }
        let Some(command) = shell_text(instruction) else {
            continue;
        };
        let Some((installer, files)) = INSTALLERS.into_iter().find(|(installer, _)| command.contains(installer)) else {
            continue;
        };
        if let Some(copy) = whole_copy {
            findings.add(&CACHE_UNFRIENDLY_ORDER, || {
                Diagnostic::warning(
                    "",
                    copy.span,
                    format!("The whole context is copied before {installer:?} on line {}", instruction.span.start.line),
                )
                .because("any changed file makes the dependencies install again")
                .hint(format!("copy {files} first, install, then copy the rest"))
            });
        }
        // Later installs of the stage are not repeated because of this copy alone.
        return;
    }
}

fn copies_everything(instruction: &Instruction) -> bool {
    let sources = match &instruction.kind {
        InstructionKind::Copy(copy) if copy.from.is_none() => &copy.sources,
        InstructionKind::Add(add) => &add.sources,
        _ => return false,
    };
    sources.iter().any(|source| matches!(source, Source::Path(Word { text, .. }) if text == "." || text == "./"))
}

fn shell_text(instruction: &Instruction) -> Option<&str> {
    match &instruction.kind {
        InstructionKind::Run(run) => match &run.form {
            CommandForm::Shell(text) => Some(text),
            CommandForm::Exec(_) => None,
        },
        _ => None,
    }
}

fn check_apt(instruction: &Instruction, findings: &mut Findings) {
    let Some(command) = shell_text(instruction) else {
        return;
    };
    let bodies = instruction.heredocs.iter().map(|heredoc| heredoc.content.as_str());
    let uses = |verb: &str| {
        std::iter::once(command).chain(bodies.clone()).any(|text| {
            let mut words = text.split(|letter: char| letter.is_whitespace() || ";&|()".contains(letter)).filter(|word| !word.is_empty());
            let mut after_apt = false;
            words.any(|word| {
                let found = after_apt && word == verb;
                after_apt = matches!(word, "apt-get" | "apt") || (after_apt && word.starts_with('-'));
                found
            })
        })
    };
    let (updates, installs) = (uses("update"), uses("install"));
    if installs && !updates {
        findings.add(&APT_WITHOUT_UPDATE, || {
            Diagnostic::warning("", instruction.span, "Packages are installed without updating the package lists in the same instruction")
                .because("a cached layer may hold lists that name packages no longer served")
                .hint("write RUN apt-get update && apt-get install …")
        });
    }
}

fn check_user(dockerfile: &Dockerfile, parents: &[Option<usize>], findings: &mut Findings) {
    let Some(target) = dockerfile.target(None) else {
        return;
    };
    let mut stage = Some(target);
    let user = loop {
        let Some(index) = stage else { break None };
        let users = dockerfile.stages[index].instructions.iter().rev();
        let found =
            users.filter_map(|instruction| if let InstructionKind::User(word) = &instruction.kind { Some(word) } else { None }).next();
        if found.is_some() {
            break found;
        }
        stage = parents[index];
    };
    let name = user.map(|word| word.text.split(':').next().unwrap_or("").to_owned());
    if matches!(name.as_deref(), None | Some("root" | "0")) {
        let span = user.map_or(dockerfile.stages[target].from.span, |word| word.span);
        findings.add(&ROOT_USER, || {
            Diagnostic::warning("", span, "The final image runs as root unless its base image says otherwise")
                .because("a program that breaks out of its box then does so as root")
                .hint("add USER with a name or number before CMD")
        });
    }
}
