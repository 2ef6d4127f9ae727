//! The functions templates may call: Go's built-in ones and docker's.

use super::show::{json_text, show};
use serde_json::Value;
use std::cmp::Ordering;

/// Names the parser accepts.
const KNOWN: [&str; 25] = [
    "and", "or", "not", "len", "index", "slice", "eq", "ne", "lt", "le", "gt", "ge", "print", "printf", "println", "json", "join", "lower",
    "upper", "title", "split", "pad", "truncate", "html", "urlquery",
];

/// True when `name` is a function.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Go's idea of truth: anything but zero, empty, false and nil.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// The name Go would give this value's type.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Calls `name`. `and` and `or` never come here: they do not evaluate all their arguments.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let count = |wanted: usize| match arguments.len() == wanted {
        true => Ok(()),
        false => Err(format!("wrong number of args for {name}: want {wanted} got {}", arguments.len())),
    };
    let text = |at: usize| match arguments.get(at) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(format!("wrong type for value; expected string; got {}", go_type(other))),
        None => Err(format!("wrong number of args for {name}: want {} got {}", at + 1, arguments.len())),
    };
    let whole = |at: usize| arguments.get(at).and_then(Value::as_i64).ok_or_else(|| "expected an integer".to_owned());
    Ok(match name {
        "not" => {
            count(1)?;
            Value::Bool(!truth(&arguments[0]))
        }
        "len" => {
            count(1)?;
            Value::from(match &arguments[0] {
                Value::String(text) => text.len(),
                Value::Array(items) => items.len(),
                Value::Object(fields) => fields.len(),
                // A list or a map that is nil, as far as JSON tells.
                Value::Null => 0,
                other => return Err(format!("len of type {}", go_type(other))),
            })
        }
        "index" => index(arguments)?,
        "slice" => slice(arguments)?,
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, arguments)?,
        "print" => Value::String(print(arguments)),
        "println" => Value::String(arguments.iter().map(show).collect::<Vec<_>>().join(" ") + "\n"),
        "printf" => Value::String(super::printf::format(text(0)?, &arguments[1..])),
        "json" => {
            count(1)?;
            Value::String(json_text(&arguments[0], false))
        }
        "join" => match arguments.first() {
            Some(Value::Array(items)) => Value::String(items.iter().map(show).collect::<Vec<_>>().join(text(1)?)),
            Some(Value::Null) => Value::String(String::new()),
            _ => return Err("join wants a list and a separator".to_owned()),
        },
        "lower" => Value::String(text(0)?.to_lowercase()),
        "upper" => Value::String(text(0)?.to_uppercase()),
        "title" => Value::String(title(text(0)?)),
        "split" => Value::Array(split(text(0)?, text(1)?)),
        "pad" => {
            let (before, after) = (whole(1)?.clamp(0, 1000), whole(2)?.clamp(0, 1000));
            let source = text(0)?;
            Value::String(if source.is_empty() {
                String::new()
            } else {
                " ".repeat(before as usize) + source + &" ".repeat(after as usize)
            })
        }
        "truncate" => Value::String(text(0)?.chars().take(whole(1)?.max(0) as usize).collect()),
        "html" => Value::String(
            print(arguments).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;").replace('\'', "&#39;"),
        ),
        "urlquery" => Value::String(super::super::client::query_escape(&print(arguments))),
        other => return Err(format!("function \"{other}\" not defined")),
    })
}

/// Go's Sprint: a space between neighbours that are both not strings.
fn print(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in arguments.iter().enumerate() {
        if at > 0 && !value.is_string() && !arguments[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&show(value));
    }
    out
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for letter in text.chars() {
        if start {
            out.extend(letter.to_uppercase());
        } else {
            out.push(letter);
        }
        start = !(letter.is_alphanumeric() || letter == '_' || letter == '\'');
    }
    out
}

fn split(text: &str, separator: &str) -> Vec<Value> {
    if separator.is_empty() {
        return text.chars().map(|letter| Value::String(letter.to_string())).collect();
    }
    text.split(separator).map(|part| Value::String(part.to_owned())).collect()
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let Some((first, keys)) = arguments.split_first() else {
        return Err("wrong number of args for index: want at least 1 got 0".to_owned());
    };
    let mut value = first;
    for key in keys {
        value = match (value, key) {
            (Value::Object(fields), Value::String(key)) => match fields.get(key) {
                Some(found) => found,
                // A missing key of a map of strings is the empty string in Go; that is what index is mostly used for.
                None if fields.values().all(Value::is_string) => return Ok(Value::String(String::new())),
                None => return Ok(Value::Null),
            },
            (Value::Array(items), Value::Number(at)) => {
                let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| items.get(at)).ok_or_else(|| format!("reflect: slice index out of range: {key}"))?
            }
            (Value::Null, Value::String(_)) => return Ok(Value::String(String::new())),
            (Value::Null, _) => return Err("index of untyped nil".to_owned()),
            (other, _) => return Err(format!("can't index item of type {}", go_type(other))),
        };
    }
    Ok(value.clone())
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let bound = |at: usize, default: usize| match arguments.get(at) {
        None => Ok(default),
        Some(value) => {
            value.as_u64().and_then(|value| usize::try_from(value).ok()).ok_or_else(|| "cannot index slice/array with that".to_owned())
        }
    };
    match arguments.first() {
        Some(Value::String(text)) => {
            let (from, to) = (bound(1, 0)?, bound(2, text.len())?);
            text.get(from..to).map(|part| Value::String(part.to_owned())).ok_or_else(|| format!("index out of range: {to}"))
        }
        Some(Value::Array(items)) => {
            let (from, to) = (bound(1, 0)?, bound(2, items.len())?);
            items.get(from..to).map(|part| Value::Array(part.to_vec())).ok_or_else(|| format!("index out of range: {to}"))
        }
        _ => Err("can't slice item".to_owned()),
    }
}

fn compare(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let Some((first, others)) = arguments.split_first() else { return Err("missing argument for comparison".to_owned()) };
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    if name == "eq" {
        return Ok(Value::Bool(others.iter().any(|other| equal(first, other))));
    }
    let other = &others[0];
    if name == "ne" {
        return Ok(Value::Bool(!equal(first, other)));
    }
    let order = match (first, other) {
        (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    };
    let order = order.ok_or_else(|| "incompatible types for comparison".to_owned())?;
    Ok(Value::Bool(match name {
        "lt" => order == Ordering::Less,
        "le" => order != Ordering::Greater,
        "gt" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}
