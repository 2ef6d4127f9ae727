//! One logical line becomes one instruction: keyword, flags, here-documents, then the instruction's own grammar.

mod copy;
mod exec;
mod from;
mod health;
mod simple;
mod variables;

use crate::ast::{FromInstruction, Heredoc, Instruction, InstructionKind, Word};
use crate::diagnostic::{Diagnostic, Sink};
use crate::expand::expand;
use crate::flags::{self, Flag};
use crate::heredoc::{self, Announcement};
use crate::lexer::{LineReader, LogicalLine};
use crate::lint::{Check, Findings};
use crate::nearest::nearest;
use crate::source::{LineIndex, Span};
use crate::words::{RawWord, is_blank};
use std::ops::Range;

/// The keywords of the language, in the order suggestions prefer.
pub(crate) const KEYWORDS: [&str; 18] = [
    "FROM",
    "RUN",
    "CMD",
    "COPY",
    "ADD",
    "ENV",
    "ARG",
    "ENTRYPOINT",
    "WORKDIR",
    "EXPOSE",
    "LABEL",
    "USER",
    "VOLUME",
    "HEALTHCHECK",
    "SHELL",
    "STOPSIGNAL",
    "ONBUILD",
    "MAINTAINER",
];

/// What one line turned out to be.
pub(crate) enum Parsing {
    From(Box<FromInstruction>),
    Instruction(Box<Instruction>),
    /// Nothing usable; what is wrong with it was reported.
    Nothing,
}

/// The line being parsed and where its findings go.
pub(crate) struct LineContext<'a> {
    line: &'a LogicalLine,
    index: &'a LineIndex<'a>,
    pub(crate) escape: char,
    sink: &'a mut Sink,
    findings: &'a mut Findings,
    /// The stage's shell reads POSIX grammar, so its commands can be checked.
    pub(crate) shell_is_posix: bool,
    /// The line is an `ONBUILD`: what is wrong with a trigger's command fails another build, not this one.
    in_trigger: bool,
}

impl<'a> LineContext<'a> {
    pub(crate) fn new(
        line: &'a LogicalLine,
        index: &'a LineIndex<'a>,
        escape: char,
        sink: &'a mut Sink,
        findings: &'a mut Findings,
    ) -> Self {
        Self { line, index, escape, sink, findings, shell_is_posix: escape == '\\', in_trigger: false }
    }

    /// The span of a range of the joined text.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        self.line.span(self.index, range)
    }

    pub(crate) fn word(&self, raw: RawWord) -> Word {
        Word { span: self.span(raw.start..raw.end), text: raw.text }
    }

    /// Whether one more error would only be counted; if so, it now is.
    pub(crate) fn is_full(&mut self) -> bool {
        self.sink.count_if_full()
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.sink.push(diagnostic);
    }

    /// Files what a check found, unless the check is off.
    pub(crate) fn find(&mut self, check: &Check, diagnostic: impl FnOnce() -> Diagnostic) {
        self.findings.add(check, diagnostic);
    }

    /// Docker's frame around an error of this line.
    pub(crate) fn docker(&self, text: impl AsRef<str>) -> String {
        format!("dockerfile parse error on line {}: {}", self.line.number, text.as_ref())
    }

    pub(crate) fn is_keyword(&self, keyword: &str) -> bool {
        split_keyword(&self.line.text, 0).0.text.eq_ignore_ascii_case(keyword)
    }

    /// Whether the first word is the keyword or an unknown word that was probably meant as it.
    pub(crate) fn is_almost_keyword(&self, keyword: &str) -> bool {
        let (first, _) = split_keyword(&self.line.text, 0);
        let is_known = |word: &str| KEYWORDS.iter().any(|known| known.eq_ignore_ascii_case(word));
        first.text.eq_ignore_ascii_case(keyword) || (!is_known(&first.text) && nearest(&first.text, KEYWORDS) == Some(keyword))
    }
}

/// A line taken apart as far as all instructions have in common.
pub(crate) struct Request<'t> {
    pub(crate) keyword: &'static str,
    pub(crate) keyword_word: Word,
    /// The whole instruction.
    pub(crate) span: Span,
    pub(crate) flags: Vec<Flag>,
    /// What follows the flags, trimmed.
    pub(crate) arguments: &'t str,
    /// Where the arguments stand in the joined text.
    pub(crate) offset: usize,
    pub(crate) announced: Vec<(Announcement, Heredoc)>,
    pub(crate) comments: Vec<String>,
}

impl Request<'_> {
    /// Reports an error at the keyword in Docker's words, which are also good enough for people.
    pub(crate) fn refuse(&self, line: &mut LineContext<'_>, code: &'static str, text: &str, hint: &str) {
        let docker = line.docker(text);
        let message = text.trim_end_matches('.');
        line.report(Diagnostic::error(code, self.keyword_word.span, message).hint(hint).docker(docker));
    }

    pub(crate) fn arguments_span(&self, line: &LineContext<'_>) -> Span {
        line.span(self.offset..self.offset + self.arguments.len())
    }
}

/// Parses a logical line; takes the bodies of its here-documents from the reader.
pub(crate) fn parse_line(line: &mut LineContext<'_>, reader: &mut LineReader<'_, '_>) -> Parsing {
    if let Some(blank) = line.line.empty_continuation {
        let range = line.index.line_range(blank);
        let span = line.index.span(range);
        line.find(&crate::lint::NO_EMPTY_CONTINUATION, || Diagnostic::warning("NoEmptyContinuation", span, "Empty continuation line"));
    }
    let text = line.line.text.as_str();
    let (keyword, rest) = split_keyword(text, 0);
    if keyword.text.is_empty() {
        return Parsing::Nothing;
    }
    let Some(announced) = read_heredocs(line, reader, &keyword, rest) else {
        return Parsing::Nothing;
    };
    parse_instruction(line, 0, announced, Nesting::Top)
}

/// Whether an instruction stands by itself or inside `ONBUILD`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nesting {
    Top,
    Trigger,
}

/// Parses the instruction that starts at `start` of the joined text.
fn parse_instruction(line: &mut LineContext<'_>, start: usize, announced: Vec<(Announcement, Heredoc)>, nesting: Nesting) -> Parsing {
    let logical = line.line;
    let end = logical.text.trim_end().len();
    let (keyword, rest) = split_keyword(&logical.text[..end], start);
    let keyword_word = line.word(keyword.clone());
    let Some(known) = KEYWORDS.into_iter().find(|known| keyword.text.eq_ignore_ascii_case(known)) else {
        report_unknown(line, &keyword.text, keyword_word.span);
        return Parsing::Nothing;
    };
    let (flags, after_flags) = flags::extract(&logical.text[rest..end], rest);
    let arguments_start = (rest + after_flags).min(end);
    let arguments = logical.text[arguments_start..end].trim_start();
    let offset = end - arguments.len();
    let comments = if nesting == Nesting::Top { logical.comments.clone() } else { Vec::new() };
    let span = line.span(keyword.start..end);
    let mut request = Request { keyword: known, keyword_word, span, flags, arguments, offset, announced, comments };
    if known == "FROM" {
        return if nesting == Nesting::Top { from::parse(line, request, original(logical, keyword.start)) } else { Parsing::Nothing };
    }
    let Some(kind) = parse_kind(line, &mut request) else {
        return Parsing::Nothing;
    };
    let heredocs = request.announced.into_iter().map(|(_, heredoc)| heredoc).collect::<Vec<_>>();
    let span = heredocs.last().map_or(request.span, |last| request.span.join(last.span));
    Parsing::Instruction(Box::new(Instruction {
        span,
        keyword_word: request.keyword_word,
        original: original(logical, keyword.start),
        kind,
        heredocs,
        comments: request.comments,
    }))
}

fn parse_kind(line: &mut LineContext<'_>, request: &mut Request<'_>) -> Option<InstructionKind> {
    match request.keyword {
        "RUN" => exec::parse_run(line, request),
        "CMD" => exec::parse_command(line, request).map(InstructionKind::Cmd),
        "ENTRYPOINT" => exec::parse_command(line, request).map(InstructionKind::Entrypoint),
        "SHELL" => exec::parse_shell(line, request),
        "COPY" => copy::parse_copy(line, request),
        "ADD" => copy::parse_add(line, request),
        "ENV" => variables::parse_pairs(line, request).map(InstructionKind::Env),
        "LABEL" => variables::parse_pairs(line, request).map(InstructionKind::Label),
        "ARG" => variables::parse_arg(line, request),
        "HEALTHCHECK" => health::parse(line, request),
        "EXPOSE" => simple::parse_expose(line, request),
        "VOLUME" => simple::parse_volume(line, request),
        "ONBUILD" => simple::parse_onbuild(line, request),
        _ => simple::parse_single(line, request),
    }
}

fn original(line: &LogicalLine, start: usize) -> String {
    line.text[start..].trim().to_owned()
}

/// The word at `start` (blanks before it are skipped) and where the rest begins.
fn split_keyword(text: &str, start: usize) -> (RawWord, usize) {
    let rest = &text[start..];
    let first = start + (rest.len() - rest.trim_start().len());
    let length = text[first..].find(is_blank).unwrap_or(text.len() - first);
    let end = first + length;
    (RawWord { text: text[first..end].to_owned(), start: first, end }, end)
}

/// Reads the here-documents of RUN, COPY and ADD, also behind ONBUILD. None when one is not closed.
fn read_heredocs(
    line: &mut LineContext<'_>,
    reader: &mut LineReader<'_, '_>,
    keyword: &RawWord,
    rest: usize,
) -> Option<Vec<(Announcement, Heredoc)>> {
    let text = line.line.text.as_str();
    let takes_heredocs = |word: &str| ["RUN", "COPY", "ADD"].iter().any(|taker| word.eq_ignore_ascii_case(taker));
    let mut start = rest;
    let mut word = keyword.clone();
    if word.text.eq_ignore_ascii_case("ONBUILD") {
        (word, start) = split_keyword(text, rest);
    }
    if !takes_heredocs(&word.text) {
        return Some(Vec::new());
    }
    let mut heredocs = Vec::new();
    for announced in heredoc::find(&text[start..], start, line.escape) {
        let (range, closed) = reader.take_heredoc(&announced.name, announced.strip_tabs);
        if !closed {
            report_unterminated(line, &announced, range);
            return None;
        }
        let span = line.index.span(range.clone());
        let content = line.index.text()[range].to_owned();
        let Announcement { name, file_descriptor, strip_tabs, expand, .. } = &announced;
        let heredoc =
            Heredoc { name: name.clone(), file_descriptor: *file_descriptor, content, strip_tabs: *strip_tabs, expand: *expand, span };
        heredocs.push((announced, heredoc));
    }
    Some(heredocs)
}

fn report_unterminated(line: &mut LineContext<'_>, announced: &Announcement, rest: Range<usize>) {
    let name = &announced.name;
    // The usual cause: the closing word is there, but with blanks around it.
    let body = line.index.text().get(rest.clone()).unwrap_or("");
    let almost = body.split_inclusive('\n').scan(rest.start, |offset, text| {
        let start = *offset;
        *offset += text.len();
        Some((start, text))
    });
    let almost = almost.into_iter().find(|(_, text)| text.trim() == name).map(|(start, _)| line.index.position(start).line);
    let hint = match almost {
        Some(number) => format!(
            "line {number} has \"{name}\" with blanks around it: write it at the start of the line, or use <<-{name} to allow tabs before it"
        ),
        None => format!("end it with a line that holds only {name}"),
    };
    let docker = line.docker("unterminated heredoc");
    let span = line.span(announced.start..announced.end);
    line.report(
        Diagnostic::error("E-HEREDOC", span, format!("the here-document \"{name}\" is not closed"))
            .because("everything to the end of the file would belong to it")
            .hint(hint)
            .docker(docker),
    );
}

fn report_unknown(line: &mut LineContext<'_>, word: &str, span: Span) {
    if line.is_full() {
        return;
    }
    let shown: String = word.chars().take(60).collect();
    let docker = line.docker(format!("unknown instruction: {word}"));
    if let Some(mark) = ["--", "//", "/*", ";", "%"].into_iter().find(|mark| word.starts_with(mark)) {
        let rest = line.line.text.trim().strip_prefix(mark).unwrap_or("").trim();
        let rest: String = rest.chars().take(60).collect();
        line.report(
            Diagnostic::error("E-COMMENT", span, format!("\"{mark}\" does not start a comment in a Dockerfile; use \"#\""))
                .hint(format!("write # {rest}"))
                .docker(docker),
        );
        return;
    }
    let hint = nearest(word, KEYWORDS).map(|keyword| format!("did you mean {keyword}?"));
    let mut diagnostic =
        Diagnostic::error("E-INSTRUCTION-UNKNOWN", span, format!("unknown instruction: \"{shown}\"")).docker(docker).hint_if(hint);
    if diagnostic.hint.is_none() {
        diagnostic = diagnostic
            .hint("each line starts with an instruction; end a line with \\ when the next one continues it, start it with # for a comment");
    }
    line.report(diagnostic);
}

/// Reports what may not be an `ONBUILD` trigger.
pub(crate) fn check_trigger(line: &mut LineContext<'_>, instruction: &Instruction) {
    if matches!(instruction.kind, InstructionKind::OnBuild(_) | InstructionKind::Maintainer(_)) {
        line.report(refused_trigger(instruction.keyword_word.span, instruction.keyword()));
    }
}

pub(crate) fn refused_trigger(span: Span, keyword: &str) -> Diagnostic {
    let docker = match keyword {
        "ONBUILD" => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
        _ => format!("{keyword} isn't allowed as an ONBUILD trigger"),
    };
    Diagnostic::error("E-ONBUILD", span, format!("{keyword} cannot be an ONBUILD trigger"))
        .because("a trigger runs in the build that uses this image as its base, inside one stage")
        .docker(docker)
}

/// The description in comments of the form `name what it is`.
pub(crate) fn description(comments: &[String], name: &str) -> Option<String> {
    comments.iter().find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' ').map(|text| text.trim().to_owned()))
}

/// Reports an error in the quotes or variables of a word; what the variables hold does not matter for it.
pub(crate) fn check_expansion(line: &mut LineContext<'_>, word: &Word) {
    if !word.text.contains(['$', '"', '\'']) {
        return;
    }
    let any_value = |_: &str| Some("1".to_owned());
    if let Err(error) = expand(word, &any_value, line.escape) {
        let docker = line.docker(error.to_string());
        line.report(Diagnostic::error("E-EXPANSION", error.span, error.fault.to_string()).hint_if(error.fault.hint()).docker(docker));
    }
}
