//! The part of Go's text/template that `--format` needs, over JSON values.
//!
//! Fields, chains, variables, `if`/`else if`/`with`/`range` (with `break` and `continue`), pipelines, parentheses, trim markers, comments, and
//! docker's functions. Errors carry Go's words and byte positions, because scripts and people compare them.
//! What must stay true: rendering never panics and never loops longer than the data is; a template is parsed once and rendered per row.

mod eval;
mod functions;
mod lexer;
mod parser;
mod printf;
mod show;
#[cfg(test)]
mod tests;

use super::exit::Failure;
use serde_json::{Map, Value};

pub(crate) use show::json_text;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<parser::Node>,
    source: String,
}

/// What a template is rendered over.
pub(crate) struct Data<'a> {
    /// The dot.
    pub(crate) dot: &'a Value,
    /// What `.Label "key"` looks into; docker's rows have this one method.
    pub(crate) labels: Option<&'a Map<String, Value>>,
    /// When a header row is rendered, `.Label "a.b-c"` is its title `b c`... of the last part.
    pub(crate) header: bool,
    /// Text for a field that does not exist: the type docker's message names.
    pub(crate) missing: Missing,
}

/// How a missing field is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// `map has no entry for key "Foo"`: inspected objects.
    Key,
    /// `can't evaluate field Foo in type *formatter.ContainerContext`: rows of a list.
    Field(&'static str),
}

impl Template {
    /// Parses `source`.
    ///
    /// # Errors
    /// The position and Go's words, without the prefix the callers put before it.
    pub(crate) fn parse(source: &str) -> Result<Self, Failure> {
        let tokens = lexer::tokens(source).map_err(Failure::new)?;
        let nodes = parser::parse(&tokens, source).map_err(Failure::new)?;
        Ok(Self { nodes, source: source.to_owned() })
    }

    /// Renders over `data`.
    ///
    /// # Errors
    /// A field that is not there, a function given the wrong thing; in Go's words.
    pub(crate) fn render(&self, data: &Data<'_>) -> Result<String, Failure> {
        eval::render(&self.nodes, &self.source, data).map_err(Failure::new)
    }

    /// Renders over an inspected object.
    ///
    /// # Errors
    /// As [`Template::render`], behind docker's `template parsing error: `.
    pub(crate) fn render_object(&self, dot: &Value) -> Result<String, Failure> {
        self.render(&Data { dot, labels: None, header: false, missing: Missing::Key })
            .map_err(|failure| Failure::new(format!("template parsing error: {failure}")))
    }
}
