//! `FROM [--platform=P] image [AS name]`.

use super::{LineContext, Parsing, Request, check_expansion};
use crate::ast::{FromInstruction, Word};
use crate::diagnostic::Diagnostic;
use crate::flags::{FlagKind, Flags};
use crate::words::split_blanks;

pub(super) fn parse(line: &mut LineContext<'_>, request: Request<'_>, original: String) -> Parsing {
    let mut words = split_blanks(request.arguments, request.offset).into_iter().map(|word| line.word(word)).collect::<Vec<_>>();
    let platform =
        Flags::check(line, request.flags.clone(), "FROM", &[("platform", FlagKind::Text)]).map(|flags| flags.text(line, "platform"));
    let alias_word = match words.as_slice() {
        [_] => None,
        [_, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => Some((keyword.clone(), name.clone())),
        _ => {
            report_shape(line, &request, &words);
            return Parsing::Nothing;
        }
    };
    let image = words.remove(0);
    let Some(platform) = platform else {
        return Parsing::Nothing;
    };
    check_expansion(line, &image);
    platform.iter().for_each(|platform| check_expansion(line, platform));
    if let Some((keyword, name)) = &alias_word {
        check_casing(line, &request.keyword_word, keyword);
        if !is_stage_name(&name.text) {
            report_stage_name(line, name);
            return Parsing::Nothing;
        }
    }
    let alias_word = alias_word.map(|(_, name)| name);
    Parsing::From(Box::new(FromInstruction {
        image,
        platform,
        alias: alias_word.as_ref().map(|name| name.text.to_lowercase()),
        alias_word,
        span: request.span,
        keyword: request.keyword_word,
        original,
        comments: request.comments,
    }))
}

fn report_shape(line: &mut LineContext<'_>, request: &Request<'_>, words: &[Word]) {
    let span = match words {
        [] => request.keyword_word.span,
        [only] => only.span,
        [_, rest @ ..] => rest.iter().skip(1).fold(rest[0].span, |span, word| span.join(word.span)),
    };
    let hint = match words {
        [] => "name an image: FROM image, or FROM scratch to begin with nothing".to_owned(),
        [image, second] if second.text.eq_ignore_ascii_case("as") => format!("give the stage a name: FROM {} AS name", image.text),
        [_, second, ..] if second.text.starts_with('#') => "a comment stands on a line of its own".to_owned(),
        [image, name] => format!("to name the stage, write FROM {} AS {}", image.text, name.text),
        _ => "write FROM image, or FROM image AS name".to_owned(),
    };
    let docker = line.docker("FROM requires either one or three arguments");
    line.report(Diagnostic::error("E-FROM", span, "FROM requires either one or three arguments").hint(hint).docker(docker));
}

fn report_stage_name(line: &mut LineContext<'_>, name: &Word) {
    let reason = "a stage name begins with a letter and holds letters, digits, \"-\", \"_\" and \".\"";
    let docker = line.docker(format!("invalid name for build stage: {:?}, name can't start with a number or contain symbols", name.text));
    line.report(
        Diagnostic::error("E-STAGE-NAME", name.span, format!("\"{}\" cannot name a stage", name.text)).because(reason).docker(docker),
    );
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn check_casing(line: &mut LineContext<'_>, from: &Word, keyword: &Word) {
    let is_upper = |word: &str| word.chars().all(char::is_uppercase);
    let is_lower = |word: &str| word.chars().all(char::is_lowercase);
    // A FROM of mixed case is the business of another check.
    let same = if is_upper(&from.text) {
        is_upper(&keyword.text)
    } else if is_lower(&from.text) {
        is_lower(&keyword.text)
    } else {
        true
    };
    if !same {
        line.find(&crate::lint::FROM_AS_CASING, || {
            let message = format!("'{}' and '{}' keywords' casing do not match", keyword.text, from.text);
            let right = if is_upper(&from.text) { "AS" } else { "as" };
            Diagnostic::warning("FromAsCasing", keyword.span, message).hint(format!("write {right}"))
        });
    }
}
