#![doc = include_str!("../README.md")]

mod ast;
mod diagnostic;
mod directives;
mod expand;
mod flags;
mod heredoc;
mod instruction;
mod json;
mod lexer;
pub mod lint;
mod mount;
mod nearest;
pub mod outline;
mod parser;
mod pattern;
mod references;
pub mod scope;
mod secrets;
mod shell_syntax;
mod source;
mod stages;
mod words;

pub use ast::{
    Add, Argument, CommandForm, Copy, Device, Dockerfile, FromInstruction, HealthTest, Healthcheck, Heredoc, Instruction, InstructionKind,
    NetworkMode, Run, Script, SecurityMode, Source, Stage, Word,
};
pub use diagnostic::{Diagnostic, Severity};
pub use directives::{CheckDirective, Directives};
pub use expand::{EXPANSION_LIMIT, ExpandError, ExpandFault, Expanded, expand, expand_heredoc, expand_words};
pub use mount::{Mount, MountError, MountKind, Sharing};
pub use parser::{ParseOptions, Parsed, parse, parse_onbuild, parse_with};
pub use secrets::without_secrets;
pub use source::{Position, SourceText, Span};
pub use stages::{BaseImage, StageUse};
