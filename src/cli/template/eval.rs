//! Nodes over data into text.

use super::functions;
use super::parser::{Command, Node, Operand, Pipeline, What};
use super::show::{show, show_null};
use super::{Data, Missing};
use serde_json::{Number, Value};

/// Objects whose keys are the user's, not fields: a key that is not there is empty, not an error.
const OPEN_MAPS: [&str; 14] = [
    "Labels",
    "Annotations",
    "Options",
    "Networks",
    "Ports",
    "PortBindings",
    "ExposedPorts",
    "Volumes",
    "Sysctls",
    "Tmpfs",
    "Containers",
    "Details",
    "DriverOpts",
    "Attributes",
];

/// Renders `nodes`.
pub(super) fn render(nodes: &[Node], source: &str, data: &Data<'_>) -> Result<String, String> {
    let mut run = Run { source, data, variables: vec![("".to_owned(), data.dot.clone())], out: String::new() };
    run.list(nodes, data.dot)?;
    Ok(run.out)
}

/// What a list of nodes ended with.
enum Flow {
    On,
    Break,
    Continue,
}

struct Run<'a> {
    source: &'a str,
    data: &'a Data<'a>,
    variables: Vec<(String, Value)>,
    out: String,
}

impl Run<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        let scope = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if !matches!(flow, Flow::On) {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    match (&value, self.data.missing, field_of(pipeline)) {
                        (Value::Null, Missing::Key, Some(field)) => self.out.push_str(show_null(field)),
                        _ => self.out.push_str(&show(&value)),
                    }
                }
            }
            Node::If { pipeline, then, otherwise } => {
                let scope = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                let flow = self.list(if functions::truth(&value) { then } else { otherwise }, dot)?;
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::With { pipeline, then, otherwise } => {
                let scope = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                let flow = if functions::truth(&value) { self.list(then, &value)? } else { self.list(otherwise, dot)? };
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::Range { pipeline, body, otherwise } => return self.range(pipeline, body, otherwise, dot),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn range(&mut self, pipeline: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow, String> {
        let scope = self.variables.len();
        let plain = Pipeline { variables: Vec::new(), declares: false, commands: pipeline.commands.clone() };
        let pairs: Vec<(Value, Value)> = match self.pipeline(&plain, dot)? {
            Value::Array(items) => items.into_iter().enumerate().map(|(at, item)| (Value::from(at), item)).collect(),
            Value::Object(fields) => {
                let mut pairs: Vec<(String, Value)> = fields.into_iter().collect();
                pairs.sort_by(|left, right| left.0.cmp(&right.0));
                pairs.into_iter().map(|(key, value)| (Value::String(key), value)).collect()
            }
            Value::Null => Vec::new(),
            other => {
                let at = pipeline.commands.first().and_then(|command| command.operands.first()).map_or(0, |operand| operand.at);
                return Err(self.wrong(at, "range", &format!("range can't iterate over {}", show(&other))));
            }
        };
        if pairs.is_empty() {
            return self.list(otherwise, dot);
        }
        for (key, item) in pairs {
            match pipeline.variables.as_slice() {
                [value] => self.variables.push((value.clone(), item.clone())),
                [index, value, ..] => {
                    self.variables.push((index.clone(), key));
                    self.variables.push((value.clone(), item.clone()));
                }
                [] => {}
            }
            let flow = self.list(body, &item)?;
            self.variables.truncate(scope);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Null);
        for name in &pipeline.variables {
            if pipeline.declares {
                self.variables.push((name.clone(), value.clone()));
            } else if let Some(slot) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                slot.1 = value.clone();
            }
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Value, piped: Option<Value>) -> Result<Value, String> {
        let Some((first, rest)) = command.operands.split_first() else { return Ok(Value::Null) };
        if let What::Function(name) = &first.what {
            return self.call(name, first, rest, dot, piped);
        }
        if rest.is_empty() && piped.is_none() {
            return self.operand(first, dot);
        }
        if first.chain.last().is_some_and(|name| name == "Label") {
            let key = match (rest.first(), piped) {
                (Some(operand), _) => self.operand(operand, dot)?,
                (None, Some(piped)) => piped,
                (None, None) => Value::Null,
            };
            return Ok(self.label(key.as_str().unwrap_or_default()));
        }
        let name = first.chain.last().map_or_else(|| "value".to_owned(), |name| format!(".{name}"));
        Err(self.wrong(first.at, &name, &format!("{} has arguments but cannot be invoked as function", name.trim_start_matches('.'))))
    }

    fn call(&mut self, name: &str, first: &Operand, rest: &[Operand], dot: &Value, piped: Option<Value>) -> Result<Value, String> {
        // `and` and `or` stop at the first answer, so that `and .A .A.B` does not fail when A is empty.
        if name == "and" || name == "or" {
            let mut last = Value::Null;
            for operand in rest {
                last = self.operand(operand, dot)?;
                if functions::truth(&last) == (name == "or") {
                    return Ok(last);
                }
            }
            return Ok(piped.unwrap_or(last));
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        let mut value =
            functions::call(name, &arguments).map_err(|message| self.wrong(first.at, name, &format!("error calling {name}: {message}")))?;
        for field in &first.chain {
            value = self.field(&value, field, "", first.at, first)?;
        }
        Ok(value)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        let mut value = match &operand.what {
            What::Dot => dot.clone(),
            What::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => value.clone(),
                None => return Err(super::lexer::error(self.source, operand.at, &format!("undefined variable \"${name}\""))),
            },
            What::Function(name) => {
                return functions::call(name, &[])
                    .map_err(|message| self.wrong(operand.at, name, &format!("error calling {name}: {message}")));
            }
            What::Text(text) => Value::String(text.clone()),
            What::Number(text) => {
                number(text).ok_or_else(|| super::lexer::error(self.source, operand.at, &format!("bad number syntax: {text:?}")))?
            }
            What::Truth(truth) => Value::Bool(*truth),
            What::Nil => Value::Null,
            What::Group(pipeline) => self.pipeline(&pipeline.clone(), dot)?,
        };
        let mut parent = "";
        for field in &operand.chain {
            if value.is_null() && self.is_nothing_in_open_map(operand, parent) {
                return Ok(Value::Null);
            }
            value = self.field(&value, field, parent, operand.at, operand)?;
            parent = field;
        }
        Ok(value)
    }

    fn field(&self, value: &Value, name: &str, parent: &str, at: usize, operand: &Operand) -> Result<Value, String> {
        let shown = || format!(".{}", operand.chain.join("."));
        match value {
            Value::Object(fields) => {
                if let Some(found) = fields.get(name) {
                    return Ok(found.clone());
                }
                // Docker's Go fields are named ID, URL, IPAM where its JSON says Id, Url: one spelling opens both.
                if let Some((_, found)) = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)) {
                    return Ok(found.clone());
                }
                if OPEN_MAPS.contains(&parent) {
                    return Ok(Value::Null);
                }
                Err(self.wrong(
                    at,
                    &shown(),
                    &match self.data.missing {
                        Missing::Key => format!("map has no entry for key \"{name}\""),
                        Missing::Field(kind) => format!("can't evaluate field {name} in type {kind}"),
                    },
                ))
            }
            Value::Null => Err(self.wrong(at, &shown(), &format!("nil pointer evaluating interface {{}}.{name}"))),
            other => {
                let kind = functions::go_type(other);
                Err(self.wrong(at, &shown(), &format!("can't evaluate field {name} in type {kind}")))
            }
        }
    }

    /// True when `field` of a chain is the key of somebody's own map: what is not there has no fields, and that is no mistake.
    fn is_nothing_in_open_map(&self, operand: &Operand, field: &str) -> bool {
        let before =
            operand.chain.iter().position(|name| name == field).and_then(|at| at.checked_sub(1)).map(|at| operand.chain[at].as_str());
        self.data.missing == Missing::Key && before.is_some_and(|before| OPEN_MAPS.contains(&before))
    }

    fn label(&self, key: &str) -> Value {
        if self.data.header {
            let last = key.rsplit('.').next().unwrap_or(key);
            return Value::String(last.replace(['-', '_'], " "));
        }
        let found = self.data.labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        Value::String(found.unwrap_or_default().to_owned())
    }

    /// Go's form of a failure while executing: `template: :1:2: executing "" at <.Foo>: message`.
    fn wrong(&self, at: usize, shown: &str, message: &str) -> String {
        let before = &self.source[..at.min(self.source.len())];
        let line = 1 + before.matches('\n').count();
        let column = before.rfind('\n').map_or(at, |newline| at - newline - 1);
        format!("template: :{line}:{column}: executing \"\" at <{shown}>: {message}")
    }
}

/// The last name of a pipeline that is nothing but a field.
fn field_of(pipeline: &Pipeline) -> Option<&str> {
    let [command] = pipeline.commands.as_slice() else { return None };
    let [operand] = command.operands.as_slice() else { return None };
    operand.chain.last().map(String::as_str)
}

fn number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Value::from(whole));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(Value::from);
    }
    text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
}
