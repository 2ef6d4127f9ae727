//! From source text to stages: reads logical lines, hands each to its instruction's parser, and files the result.
//!
//! Total and linear: whatever is wrong is reported and left out, and reading goes on with the next line.

use crate::ast::{Dockerfile, FromInstruction, Instruction, InstructionKind, Stage};
use crate::diagnostic::{Diagnostic, Sink};
use crate::directives::{self, CheckDirective};
use crate::instruction::{self, LineContext, Parsing};
use crate::lexer::LineReader;
use crate::source::{LineIndex, SourceText};
use crate::{lint, shell_syntax, stages};
use std::collections::HashMap;

/// A Dockerfile and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub dockerfile: Dockerfile,
    /// Errors and warnings in the order of the file. A build stops when any is an error.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// The findings that stop the build.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.is_error())
    }

    /// Whether the build must stop.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// The one text dockerd's classic builder would answer: that of the first error that has one.
    pub fn docker_text(&self) -> Option<&str> {
        self.errors().find_map(|diagnostic| diagnostic.docker_text.as_deref())
    }
}

/// What the caller of a parse may know beyond the text.
#[derive(Default, Clone, Copy)]
pub struct ParseOptions<'a> {
    /// Replaces the file's `# check=` directive (build argument `BUILDKIT_DOCKERFILE_CHECK`).
    pub check: Option<&'a CheckDirective>,
    /// Whether a name is an image in the local store or a named build context. Such a name is never taken for a mistyped stage.
    pub is_known_image: Option<&'a dyn Fn(&str) -> bool>,
}

/// Parses a Dockerfile.
///
/// # Cost
/// Linear in the length of the text.
pub fn parse(source: &SourceText) -> Parsed {
    parse_with(source, &ParseOptions::default())
}

/// Parses a Dockerfile with what the caller knows.
pub fn parse_with(source: &SourceText, options: &ParseOptions<'_>) -> Parsed {
    let index = LineIndex::new(&source.text);
    let mut sink = Sink::default();
    let (directives, first_line) = directives::read(&index, &mut sink);
    let check = options.check.unwrap_or(&directives.check).clone();
    let mut dockerfile = Dockerfile { directives, ..Dockerfile::default() };
    let mut findings = lint::Findings::new(&check);
    let saw_from = read_instructions(&index, first_line, &mut dockerfile, &mut sink, &mut findings);
    if !saw_from {
        report_no_stage(source, &index, &dockerfile, &mut sink);
    }
    stages::check(&dockerfile, options, &mut sink);
    lint::run(&dockerfile, &mut findings);
    findings.into_sink(&mut sink);
    Parsed { dockerfile, diagnostics: sink.finish() }
}

/// Parses a trigger kept in an image by `ONBUILD`, as it was stored: keyword first.
///
/// # Errors
/// The first thing wrong with it; also when it is empty or holds more than one instruction.
#[expect(clippy::result_large_err, reason = "called once per trigger; callers put the finding beside those of the file")]
pub fn parse_onbuild(trigger: &str) -> Result<Instruction, Diagnostic> {
    let index = LineIndex::new(trigger);
    let mut sink = Sink::default();
    let mut findings = lint::Findings::new(&CheckDirective::default());
    let mut reader = LineReader::new(&index, '\\', 0);
    let mut found = None;
    let whole = index.span(0..trigger.len());
    while let Some(line) = reader.next_logical() {
        if found.is_some() {
            return Err(Diagnostic::error("E-ONBUILD", line.span(&index, 0..line.text.len()), "an ONBUILD trigger is one instruction"));
        }
        let mut context = LineContext::new(&line, &index, '\\', &mut sink, &mut findings);
        found = match instruction::parse_line(&mut context, &mut reader) {
            Parsing::Instruction(instruction) => {
                instruction::check_trigger(&mut context, &instruction);
                Some(instruction)
            }
            Parsing::From(_) => return Err(instruction::refused_trigger(whole, "FROM")),
            Parsing::Nothing => break,
        };
    }
    if let Some(error) = sink.finish().into_iter().find(Diagnostic::is_error) {
        return Err(error);
    }
    found.map(|instruction| *instruction).ok_or_else(|| Diagnostic::error("E-ONBUILD", whole, "the ONBUILD trigger is empty"))
}

/// Reads the file to its end; answers whether any line was meant as a FROM.
fn read_instructions(
    index: &LineIndex<'_>,
    first_line: usize,
    dockerfile: &mut Dockerfile,
    sink: &mut Sink,
    findings: &mut lint::Findings,
) -> bool {
    let escape = dockerfile.directives.escape;
    let mut reader = LineReader::new(index, escape, first_line);
    // When a FROM could not be read, what follows it belongs to a stage we do not have: it is parsed for its errors only.
    let mut lost_stage = false;
    let mut saw_from = false;
    let mut guesses = 32;
    let mut shells = Shells { by_stage: HashMap::new(), default: escape == '\\', current: escape == '\\' };
    while let Some(line) = reader.next_logical() {
        let mut context = LineContext::new(&line, index, escape, sink, findings);
        saw_from |= context.is_keyword("FROM");
        context.shell_is_posix = shells.current;
        match instruction::parse_line(&mut context, &mut reader) {
            Parsing::From(from) => {
                lost_stage = false;
                shells.enter(&from);
                dockerfile.stages.push(new_stage(dockerfile.stages.len(), *from));
            }
            Parsing::Instruction(instruction) => {
                if let InstructionKind::Shell(shell) = &instruction.kind {
                    shells.set(shell_syntax::is_posix_shell(shell), dockerfile.stages.last());
                }
                match dockerfile.stages.last_mut() {
                    Some(stage) if !lost_stage => stage.instructions.push(*instruction),
                    None if matches!(instruction.kind, InstructionKind::Arg(_)) => dockerfile.global_args.push(*instruction),
                    None if !lost_stage => {
                        // Said once: it is one mistake, however many lines follow.
                        lost_stage = true;
                        report_before_from(&mut context, &instruction);
                    }
                    _ => {}
                }
            }
            Parsing::Nothing if context.is_keyword("FROM") => lost_stage = true,
            Parsing::Nothing if dockerfile.stages.is_empty() && guesses > 0 => {
                // A mistyped first FROM; a file of garbage is not compared line by line.
                guesses -= 1;
                lost_stage |= context.is_almost_keyword("FROM");
            }
            Parsing::Nothing => {}
        }
    }
    saw_from
}

/// Which grammar the shell of each stage reads; stages built on a stage inherit its shell.
struct Shells {
    by_stage: HashMap<String, bool>,
    default: bool,
    current: bool,
}

impl Shells {
    fn enter(&mut self, from: &FromInstruction) {
        self.current = self.by_stage.get(&from.image.text.to_lowercase()).copied().unwrap_or(self.default);
        if let Some(alias) = &from.alias {
            self.by_stage.insert(alias.clone(), self.current);
        }
    }

    fn set(&mut self, is_posix: bool, stage: Option<&Stage>) {
        self.current = is_posix;
        if let Some(alias) = stage.and_then(|stage| stage.from.alias.as_ref()) {
            self.by_stage.insert(alias.clone(), is_posix);
        }
    }
}

fn new_stage(index: usize, from: FromInstruction) -> Stage {
    let described = from.alias_word.as_ref().map(|word| word.text.as_str()).into_iter().chain(from.alias.as_deref());
    let comment = described.filter_map(|name| instruction::description(&from.comments, name)).next();
    Stage { index, from, instructions: Vec::new(), comment }
}

fn report_before_from(line: &mut LineContext<'_>, instruction: &Instruction) {
    let keyword = instruction.keyword();
    line.report(
        Diagnostic::error("E-NO-STAGE", instruction.keyword_word.span, format!("{keyword} stands before the first FROM"))
            .because("only ARG may stand before FROM; every other instruction works on the image that FROM names")
            .hint("begin the file with FROM and an image, for example FROM scratch")
            .docker("no build stage in current context"),
    );
}

fn report_no_stage(source: &SourceText, index: &LineIndex<'_>, dockerfile: &Dockerfile, sink: &mut Sink) {
    let end = index.span(source.text.len()..source.text.len());
    let hint = "begin the file with FROM and an image, for example FROM scratch";
    let diagnostic = if source.text.is_empty() {
        Diagnostic::error("E-EMPTY", end, "the file is empty")
            .hint(hint)
            .docker(format!("the Dockerfile ({}) cannot be empty", source.name))
    } else if !sink.is_empty() {
        // Something is there and already reported; "no FROM" on top of it would only add noise.
        return;
    } else if dockerfile.global_args.is_empty() {
        Diagnostic::error("E-EMPTY", end, "the file has no instructions")
            .hint(hint)
            .docker("failed to parse Dockerfile: file with no instructions")
    } else {
        Diagnostic::error("E-NO-STAGE", end, "the file has no FROM").hint(hint).docker("no build stage in current context")
    };
    sink.push(diagnostic);
}
