//! YAML as far as it says what JSON can say: what device vendors' tools write (`nvidia-ctk cdi generate`).
//!
//! What must stay true: the text is walked once and nothing is copied from elsewhere in it (aliases are refused), so a small file cannot grow; nesting
//! is bounded.
//!
//! Source: YAML 1.2.2, 10.3 "Core Schema".

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Collections within collections that are followed.
const DEEPEST: usize = 64;

/// Reads the first document of `text`; an empty one is null.
///
/// # Errors
/// What is wrong, and where.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut reader = Reader { events: Parser::new_from_str(text) };
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(Value::Null),
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            event => return reader.value(event, 0),
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, String> {
        match self.events.next() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the text ends early".to_owned()),
        }
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("nested too deep".to_owned());
        }
        match event {
            // A tag decides what a text is; nobody writes them here, and a wrong guess would be silent.
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                Err("tags are not read".to_owned())
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => Ok(plain(&text)),
            Event::Scalar(text, ..) => Ok(Value::String(text.into_owned())),
            Event::SequenceStart(..) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Value::Array(list)),
                        event => list.push(self.value(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut object = Map::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => return Ok(Value::Object(object)),
                        Event::Scalar(text, ..) => text.into_owned(),
                        _ => return Err("a key that is no text".to_owned()),
                    };
                    let event = self.next()?;
                    let value = self.value(event, depth + 1)?;
                    if object.insert(key.clone(), value).is_some() {
                        return Err(format!("\"{key}\" stands there twice"));
                    }
                }
            }
            Event::Alias(_) => Err("aliases are not read".to_owned()),
            other => Err(format!("unexpected {other:?}")),
        }
    }
}

/// What a text without quotes means.
fn plain(text: &str) -> Value {
    let number = |digits: &str, base| i64::from_str_radix(digits, base).ok().map(Number::from);
    let is_decimal =
        text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) && text.contains(|c: char| c.is_ascii_digit());
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let found = match (text.strip_prefix("0o"), text.strip_prefix("0x")) {
        (Some(digits), _) => number(digits, 8),
        (_, Some(digits)) => number(digits, 16),
        _ if is_decimal => number(text, 10).or_else(|| text.parse().ok().and_then(Number::from_f64)),
        _ => None,
    };
    found.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_vendors_write_is_read_as_the_same_json() {
        let text = "---\n# made by a tool\ncdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    deviceNodes:\n    \
                    - path: /dev/nvidia0\n      major: 195\n    additionalGids: [44, 0x10]\n- name: all\n  containerEdits: {}\ncontainerEdits:\n  \
                    env:\n    - NVIDIA_VISIBLE_DEVICES=void\n    - 'A=it''s'\n  hooks: ~\n";
        let expected = json!({
            "cdiVersion": "0.5.0", "kind": "nvidia.com/gpu",
            "devices": [
                {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "major": 195}], "additionalGids": [44, 16]}},
                {"name": "all", "containerEdits": {}},
            ],
            "containerEdits": {"env": ["NVIDIA_VISIBLE_DEVICES=void", "A=it's"], "hooks": null},
        });
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read("").unwrap(), Value::Null);
        assert_eq!(read("{\"a\": [true, 1.5, -7, 1.2.3, 0o17]}").unwrap(), json!({"a": [true, 1.5, -7, "1.2.3", 15]}));
    }

    #[test]
    fn what_could_grow_or_surprise_is_refused() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        for (text, words) in [
            ("a: &x 1\nb: *x", "aliases are not read"),
            ("a: !!str 1", "tags are not read"),
            ("a: 1\na: 2", "\"a\" stands there twice"),
            (deep.as_str(), "nested too deep"),
            ("a: [1", ""),
            ("? [a]\n: b", "a key that is no text"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
