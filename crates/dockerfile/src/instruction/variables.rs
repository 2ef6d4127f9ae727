//! `ENV`, `LABEL` and `ARG`: names and values.

use super::{LineContext, Request, check_expansion, description};
use crate::ast::{Argument, InstructionKind, Word};
use crate::diagnostic::Diagnostic;
use crate::flags::{FlagKind, Flags};
use crate::words::{RawWord, is_blank, split_quoted};

/// `NAME=VALUE ...`, or the legacy `NAME VALUE`, where the value is the rest of the line.
pub(super) fn parse_pairs(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<Vec<(Word, Word)>> {
    const NONE: [(&str, FlagKind); 0] = [];
    let keyword = request.keyword;
    Flags::check(line, std::mem::take(&mut request.flags), keyword, &NONE)?;
    let words = split_quoted(request.arguments, request.offset, line.escape);
    let Some(first) = words.first() else {
        request.refuse(
            line,
            "E-ARGUMENT-MISSING",
            &format!("{keyword} requires at least one argument"),
            &format!("write {keyword} NAME=VALUE"),
        );
        return None;
    };
    let pairs = if first.text.contains('=') { modern_pairs(line, keyword, words)? } else { vec![legacy_pair(line, request)?] };
    for (name, value) in &pairs {
        if name.text.is_empty() {
            let docker = line.docker(format!("{keyword} names can not be blank"));
            line.report(
                Diagnostic::error("E-NAME-EMPTY", name.span.join(value.span), format!("a name of {keyword} is empty"))
                    .hint("write NAME=VALUE without a blank before \"=\"")
                    .docker(docker),
            );
            return None;
        }
        check_expansion(line, name);
        check_expansion(line, value);
    }
    Some(pairs)
}

fn modern_pairs(line: &mut LineContext<'_>, keyword: &str, words: Vec<RawWord>) -> Option<Vec<(Word, Word)>> {
    let mut pairs = Vec::with_capacity(words.len());
    let mut good = true;
    for word in words {
        match word.text.split_once('=') {
            Some((name, value)) => {
                // Escapes dropped at the end make the text shorter than its place; the name is never affected.
                let middle = word.start + name.len();
                let name = Word { text: name.to_owned(), span: line.span(word.start..middle) };
                pairs.push((name, Word { text: value.to_owned(), span: line.span((middle + 1).min(word.end)..word.end) }));
            }
            None => {
                good = false;
                if line.is_full() {
                    continue;
                }
                let docker = line.docker(format!("Syntax error - can't find = in {:?}. Must be of the form: name=value", word.text));
                line.report(
                    Diagnostic::error(
                        "E-PAIR",
                        line.span(word.start..word.end),
                        format!("\"{}\" is not of the form NAME=VALUE", word.text),
                    )
                    .because(format!("the first part of this {keyword} has \"=\", so every part must; a value with blanks needs quotes"))
                    .hint(format!("quote the whole value, or write {}=VALUE", word.text))
                    .docker(docker),
                );
            }
        }
    }
    good.then_some(pairs)
}

fn legacy_pair(line: &mut LineContext<'_>, request: &Request<'_>) -> Option<(Word, Word)> {
    let keyword = request.keyword;
    let Some(end) = request.arguments.find(is_blank) else {
        request.refuse(
            line,
            "E-ARGUMENT-MISSING",
            &format!("{keyword} must have two arguments"),
            &format!("write {keyword} {}=VALUE", request.arguments),
        );
        return None;
    };
    let name = &request.arguments[..end];
    let value = request.arguments[end..].trim_start_matches(is_blank);
    let value_start = request.offset + request.arguments.len() - value.len();
    let span = request.span;
    line.find(&crate::lint::LEGACY_KEY_VALUE_FORMAT, || {
        let message = format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
        let quoted =
            if value.contains(char::is_whitespace) && !value.starts_with(['"', '\'']) { format!("\"{value}\"") } else { value.to_owned() };
        Diagnostic::warning("LegacyKeyValueFormat", span, message).hint(format!("write {keyword} {name}={quoted}"))
    });
    Some((
        Word { text: name.to_owned(), span: line.span(request.offset..request.offset + end) },
        Word { text: value.to_owned(), span: line.span(value_start..value_start + value.len()) },
    ))
}

/// `ARG NAME[=DEFAULT] ...`.
pub(super) fn parse_arg(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<InstructionKind> {
    Flags::check(line, std::mem::take(&mut request.flags), "ARG", &[])?;
    let words = split_quoted(request.arguments, request.offset, line.escape);
    if words.is_empty() {
        request.refuse(line, "E-ARGUMENT-MISSING", "ARG requires at least one argument", "write ARG NAME or ARG NAME=DEFAULT");
        return None;
    }
    let mut arguments = Vec::with_capacity(words.len());
    for word in words {
        let (name, default) = word.text.split_once('=').map_or((word.text.as_str(), None), |(name, default)| (name, Some(default)));
        let middle = (word.start + name.len()).min(word.end);
        if name.is_empty() {
            let docker = line.docker("ARG names can not be blank");
            line.report(
                Diagnostic::error("E-NAME-EMPTY", line.span(word.start..word.end), "a name of ARG is empty")
                    .hint("write NAME=DEFAULT without a blank before \"=\"")
                    .docker(docker),
            );
            return None;
        }
        let default = default.map(|default| Word { text: default.to_owned(), span: line.span((middle + 1).min(word.end)..word.end) });
        let argument = Argument {
            name: Word { text: name.to_owned(), span: line.span(word.start..middle) },
            default,
            description: description(&request.comments, name),
        };
        check_expansion(line, &argument.name);
        argument.default.iter().for_each(|default| check_expansion(line, default));
        arguments.push(argument);
    }
    Some(InstructionKind::Arg(arguments))
}
