//! `COPY` and `ADD`.

use super::{LineContext, Request, check_expansion};
use crate::ast::{Add, Copy, InstructionKind, Source, Word};
use crate::diagnostic::Diagnostic;
use crate::flags::{FlagKind, Flags};
use crate::heredoc;
use crate::json::{self, JsonForm};
use crate::words::split_blanks;

pub(super) fn parse_copy(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<InstructionKind> {
    use FlagKind::{Repeated, Switch, Text};
    let known = [("from", Text), ("chown", Text), ("chmod", Text), ("link", Switch), ("parents", Switch), ("exclude", Repeated)];
    let flags = Flags::check(line, std::mem::take(&mut request.flags), "COPY", &known);
    let (sources, destination) = sources_and_destination(line, request)?;
    let flags = flags?;
    let copy = Copy {
        sources,
        destination,
        from: flags.text(line, "from"),
        chown: flags.text(line, "chown"),
        chmod: flags.text(line, "chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.repeated(line, "exclude"),
    };
    let words = [&copy.from, &copy.chown, &copy.chmod].into_iter().flatten().chain(&copy.exclude);
    words.for_each(|word| check_expansion(line, word));
    check_mode(line, copy.chmod.as_ref());
    Some(InstructionKind::Copy(Box::new(copy)))
}

pub(super) fn parse_add(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<InstructionKind> {
    use FlagKind::{Repeated, Switch, Text};
    let known = [
        ("chown", Text),
        ("chmod", Text),
        ("link", Switch),
        ("exclude", Repeated),
        ("keep-git-dir", Switch),
        ("checksum", Text),
        ("unpack", Switch),
    ];
    let flags = Flags::check(line, std::mem::take(&mut request.flags), "ADD", &known);
    let (sources, destination) = sources_and_destination(line, request)?;
    let flags = flags?;
    let add = Add {
        sources,
        destination,
        chown: flags.text(line, "chown"),
        chmod: flags.text(line, "chmod"),
        link: flags.switch("link").unwrap_or(false),
        exclude: flags.repeated(line, "exclude"),
        keep_git_dir: flags.switch("keep-git-dir"),
        checksum: flags.text(line, "checksum"),
        unpack: flags.switch("unpack"),
    };
    let words = [&add.chown, &add.chmod, &add.checksum].into_iter().flatten().chain(&add.exclude);
    words.for_each(|word| check_expansion(line, word));
    check_mode(line, add.chmod.as_ref());
    check_checksum(line, add.checksum.as_ref());
    Some(InstructionKind::Add(Box::new(add)))
}

/// Words of the JSON form all point at the whole array: decoding loses where each element stood.
pub(super) fn json_or_words(line: &mut LineContext<'_>, request: &Request<'_>) -> Option<Vec<Word>> {
    match json::parse(request.arguments) {
        JsonForm::Strings(strings) => {
            let span = request.arguments_span(line);
            Some(strings.into_iter().map(|text| Word { text, span }).collect())
        }
        JsonForm::NotStrings => {
            super::exec::report_not_strings(line, request);
            None
        }
        JsonForm::Text => Some(split_blanks(request.arguments, request.offset).into_iter().map(|word| line.word(word)).collect()),
    }
}

fn sources_and_destination(line: &mut LineContext<'_>, request: &Request<'_>) -> Option<(Vec<Source>, Word)> {
    let keyword = request.keyword;
    let words = if request.announced.is_empty() { json_or_words(line, request)? } else { split_with_heredocs(line, request) };
    let mut words = words;
    let destination = words.pop();
    let (Some(destination), false) = (destination, words.is_empty()) else {
        let text = format!("{keyword} requires at least two arguments, but only one was provided. Destination could not be determined");
        request.refuse(line, "E-ARGUMENT-MISSING", &text, &format!("write {keyword} SOURCE... DESTINATION"));
        return None;
    };
    if heredoc::announcement(&destination.text, 0, line.escape).is_some() {
        let docker = line.docker(format!("{keyword} cannot accept a heredoc as a destination"));
        line.report(
            Diagnostic::error("E-HEREDOC", destination.span, format!("{keyword} cannot copy to a here-document"))
                .hint("end the line with the destination path")
                .docker(docker),
        );
        return None;
    }
    let mut announced = 0;
    let mut sources = Vec::with_capacity(words.len());
    for word in words {
        let is_heredoc = request.announced.get(announced).is_some_and(|(found, _)| line.span(found.start..found.end) == word.span);
        if is_heredoc {
            sources.push(Source::Heredoc(announced));
            announced += 1;
        } else {
            check_expansion(line, &word);
            sources.push(Source::Path(word));
        }
    }
    check_expansion(line, &destination);
    Some((sources, destination))
}

/// Words of a line with here-documents: their names may be quoted and hold blanks.
fn split_with_heredocs(line: &LineContext<'_>, request: &Request<'_>) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut take = |from: usize, to: usize| {
        let text = request.arguments.get(from..to).unwrap_or("");
        words.extend(split_blanks(text, request.offset + from).into_iter().map(|word| line.word(word)));
    };
    let mut heredoc_words = Vec::new();
    for (found, _) in &request.announced {
        let Some(from) = found.start.checked_sub(request.offset) else {
            continue;
        };
        let to = found.end - request.offset;
        take(start, from);
        heredoc_words.push(Word { text: request.arguments[from..to].to_owned(), span: line.span(found.start..found.end) });
        start = to;
    }
    take(start, request.arguments.len());
    words.extend(heredoc_words);
    words.sort_by_key(|word| word.span.start_byte);
    words
}

fn check_mode(line: &mut LineContext<'_>, mode: Option<&Word>) {
    let Some(mode) = mode.filter(|mode| !mode.text.contains('$')) else {
        return;
    };
    let octal = !mode.text.is_empty() && mode.text.len() <= 5 && u32::from_str_radix(&mode.text, 8).is_ok_and(|mode| mode <= 0o7777);
    if !octal && !is_symbolic_mode(&mode.text) {
        let docker = line.docker(format!("invalid chmod parameter: '{}'. it should be octal string and between 0 and 07777", mode.text));
        line.report(
            Diagnostic::error("E-CHMOD", mode.span, format!("\"{}\" is not a file mode", mode.text))
                .hint("write it octal, as in --chmod=644, or symbolic, as in --chmod=u=rw,go=r")
                .docker(docker),
        );
    }
}

/// `[ugoa]*[+-=][rwxXst]*`, joined by commas, as chmod(1) reads it.
fn is_symbolic_mode(mode: &str) -> bool {
    !mode.is_empty()
        && mode.split(',').all(|clause| {
            let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
            let permissions = |text: &str| text.chars().all(|letter| "rwxXstugo".contains(letter));
            actions.starts_with(['+', '-', '=']) && actions.split(['+', '-', '=']).all(permissions)
        })
}

fn check_checksum(line: &mut LineContext<'_>, checksum: Option<&Word>) {
    let Some(checksum) = checksum.filter(|checksum| !checksum.text.contains('$')) else {
        return;
    };
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let good = match checksum.text.split_once(':') {
        Some(("sha256", hex)) => is_hex(hex, 64),
        Some(("sha384", hex)) => is_hex(hex, 96),
        Some(("sha512", hex)) => is_hex(hex, 128),
        Some(_) => false,
        // A git commit may be abbreviated.
        None => (7..=64).contains(&checksum.text.len()) && is_hex(&checksum.text, checksum.text.len()),
    };
    if !good {
        line.report(
            Diagnostic::error("E-CHECKSUM", checksum.span, format!("\"{}\" is not a checksum", checksum.text))
                .hint("write sha256: and 64 hexadecimal digits, or the commit for a git source"),
        );
    }
}
