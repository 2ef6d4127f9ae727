//! The parsed recipe: a Dockerfile is stages, a stage is instructions, an instruction holds words not yet expanded.

use crate::directives::Directives;
use crate::mount::Mount;
use crate::source::Span;
use std::borrow::Cow;
use std::time::Duration;

/// A parsed Dockerfile. What was wrong is not in here but in the diagnostics beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dockerfile {
    pub directives: Directives,
    /// `ARG` instructions before the first `FROM`.
    pub global_args: Vec<Instruction>,
    pub stages: Vec<Stage>,
}

/// One `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Place in the file, counted from 0; `COPY --from=0` means it.
    pub index: usize,
    pub from: FromInstruction,
    pub instructions: Vec<Instruction>,
    /// The description comment (`# name what it is for`) above the `FROM`, without the name.
    pub comment: Option<String>,
}

impl Stage {
    /// The lower-cased name given with `AS`.
    pub fn name(&self) -> Option<&str> {
        self.from.alias.as_deref()
    }

    /// The name, or the index as `COPY --from` would write it.
    pub fn label(&self) -> String {
        self.name().map_or_else(|| self.index.to_string(), str::to_owned)
    }
}

/// A `FROM` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromInstruction {
    /// Image or stage, not expanded.
    pub image: Word,
    pub platform: Option<Word>,
    /// The stage's name, lower-cased: names of stages are compared without case.
    pub alias: Option<String>,
    /// The stage's name as typed.
    pub alias_word: Option<Word>,
    pub span: Span,
    /// The keyword as typed, for checks of its case.
    pub keyword: Word,
    /// As typed, continuation lines joined.
    pub original: String,
    /// Comments directly above.
    pub comments: Vec<String>,
}

/// A piece of source: quotes, escapes and variables as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub span: Span,
}

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    pub span: Span,
    /// The keyword as typed.
    pub keyword_word: Word,
    /// As typed, continuation lines joined, without here-documents.
    pub original: String,
    pub kind: InstructionKind,
    /// Here-documents that follow the line, in order.
    pub heredocs: Vec<Heredoc>,
    /// Comments directly above.
    pub comments: Vec<String>,
}

impl Instruction {
    /// The keyword in upper case.
    pub fn keyword(&self) -> &'static str {
        match &self.kind {
            InstructionKind::Run(_) => "RUN",
            InstructionKind::Cmd(_) => "CMD",
            InstructionKind::Entrypoint(_) => "ENTRYPOINT",
            InstructionKind::Copy(_) => "COPY",
            InstructionKind::Add(_) => "ADD",
            InstructionKind::Env(_) => "ENV",
            InstructionKind::Arg(_) => "ARG",
            InstructionKind::Workdir(_) => "WORKDIR",
            InstructionKind::Expose(_) => "EXPOSE",
            InstructionKind::Label(_) => "LABEL",
            InstructionKind::User(_) => "USER",
            InstructionKind::Volume(_) => "VOLUME",
            InstructionKind::Healthcheck(_) => "HEALTHCHECK",
            InstructionKind::Shell(_) => "SHELL",
            InstructionKind::StopSignal(_) => "STOPSIGNAL",
            InstructionKind::OnBuild(_) => "ONBUILD",
            InstructionKind::Maintainer(_) => "MAINTAINER",
        }
    }

    /// One line for step displays: keyword in upper case, the rest as typed; the secrets in addresses are hidden.
    pub fn display(&self) -> String {
        let text = upper_keyword(self.keyword(), &self.original);
        if matches!(self.kind, InstructionKind::Add(_)) { crate::without_secrets(&text) } else { text }
    }

    /// The text an image keeps when this instruction is an `ONBUILD` trigger: the line and its here-documents.
    pub fn trigger_text(&self) -> String {
        let mut text = self.original.clone();
        for heredoc in &self.heredocs {
            text.push('\n');
            text.push_str(&heredoc.content);
            text.push_str(&heredoc.name);
        }
        text
    }
}

impl FromInstruction {
    /// One line for step displays: keyword in upper case, the rest as typed.
    pub fn display(&self) -> String {
        upper_keyword("FROM", &self.original)
    }
}

fn upper_keyword(keyword: &str, original: &str) -> String {
    format!("{keyword}{}", original.get(keyword.len()..).unwrap_or(""))
}

/// What an instruction asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    Run(Box<Run>),
    Cmd(CommandForm),
    Entrypoint(CommandForm),
    Copy(Box<Copy>),
    Add(Box<Add>),
    Env(Vec<(Word, Word)>),
    Arg(Vec<Argument>),
    Workdir(Word),
    Expose(Vec<Word>),
    Label(Vec<(Word, Word)>),
    User(Word),
    Volume(Vec<Word>),
    Healthcheck(Healthcheck),
    Shell(Vec<String>),
    StopSignal(Word),
    OnBuild(Box<Instruction>),
    Maintainer(Word),
}

/// The two ways to write a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandForm {
    /// A JSON array: run as it stands.
    Exec(Vec<String>),
    /// Text for the stage's shell.
    Shell(String),
}

/// A `RUN` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub form: CommandForm,
    pub mounts: Vec<Mount>,
    pub network: NetworkMode,
    pub security: SecurityMode,
    pub devices: Vec<Device>,
}

/// What a `RUN` with here-documents really executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// Run these arguments as they stand.
    Exec(Vec<String>),
    /// Give this text to the stage's shell.
    Shell(String),
    /// Put this text into an executable file and run it: it names its interpreter in its first line.
    File { name: String, content: String },
}

impl Run {
    /// Applies the here-document rules: a lone here-document is the script itself, run by its `#!` line or by the shell; otherwise the
    /// bodies follow the command line, as the shell expects them.
    pub fn script(&self, heredocs: &[Heredoc]) -> Script {
        let line = match &self.form {
            CommandForm::Exec(arguments) => return Script::Exec(arguments.clone()),
            CommandForm::Shell(line) => line,
        };
        if let [only] = heredocs
            && crate::heredoc::is_lone_heredoc(line)
        {
            let content = only.body().into_owned();
            return if content.starts_with("#!") { Script::File { name: only.name.clone(), content } } else { Script::Shell(content) };
        }
        let mut script = line.clone();
        for heredoc in heredocs {
            script.push('\n');
            script.push_str(&heredoc.content.replace("\r\n", "\n"));
            script.push_str(&heredoc.name);
        }
        Script::Shell(script)
    }
}

/// `RUN --network`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkMode {
    #[default]
    Default,
    None,
    Host,
}

/// `RUN --security`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SecurityMode {
    #[default]
    Sandbox,
    Insecure,
}

/// `RUN --device`: a CDI device by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub name: Word,
    pub required: bool,
}

/// Where `COPY` or `ADD` takes something from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path, pattern or (for `ADD`) address, not expanded.
    Path(Word),
    /// The n-th here-document of the instruction.
    Heredoc(usize),
}

/// A `COPY` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub sources: Vec<Source>,
    pub destination: Word,
    /// Stage, index, image or named context; the build context when absent.
    pub from: Option<Word>,
    pub chown: Option<Word>,
    pub chmod: Option<Word>,
    pub link: bool,
    pub parents: bool,
    pub exclude: Vec<Word>,
}

/// An `ADD` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    pub sources: Vec<Source>,
    pub destination: Word,
    pub chown: Option<Word>,
    pub chmod: Option<Word>,
    pub link: bool,
    pub exclude: Vec<Word>,
    pub keep_git_dir: Option<bool>,
    pub checksum: Option<Word>,
    /// Whether archives are unpacked; absent means local ones are, fetched ones are not.
    pub unpack: Option<bool>,
}

/// One name of an `ARG` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    pub name: Word,
    pub default: Option<Word>,
    /// The description comment above, without the name.
    pub description: Option<String>,
}

/// A `HEALTHCHECK` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// Switches an inherited check off.
    None,
    Check(HealthTest),
}

/// The command of a health check and its rhythm; absent values are inherited or Docker's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthTest {
    pub command: CommandForm,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub start_period: Option<Duration>,
    pub start_interval: Option<Duration>,
    pub retries: Option<u32>,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, without quotes.
    pub name: String,
    /// `3<<EOF` feeds descriptor 3; 0 when not written.
    pub file_descriptor: u32,
    /// As typed, with line ends; leading tabs are still there.
    pub content: String,
    /// Written `<<-`: leading tabs of each line do not count.
    pub strip_tabs: bool,
    /// The name is not quoted: variables are expanded (by us in `COPY` and `ADD`, by the shell in `RUN`).
    pub expand: bool,
    /// The lines of the content.
    pub span: Span,
}

impl Heredoc {
    /// The content as it is used: tabs stripped when asked for, line ends of Windows files made plain.
    pub fn body(&self) -> Cow<'_, str> {
        let content = if self.content.contains("\r\n") {
            Cow::Owned(self.content.replace("\r\n", "\n"))
        } else {
            Cow::Borrowed(self.content.as_str())
        };
        if !self.strip_tabs {
            return content;
        }
        Cow::Owned(content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect())
    }
}
