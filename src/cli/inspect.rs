//! `inspect` of anything: raw JSON indented, or a template over it; names that do not exist are reported after those that do.

mod absent;

use super::exit::{Failure, Outcome};
use super::output;
use super::template::Template;
use serde_json::Value;

/// Prints the documents found and fails when some names were not.
///
/// `found` are documents as the daemon wrote them; `failures` one per missing name.
pub(crate) fn print(format: Option<&str>, found: &[String], failures: &[Failure]) -> Outcome {
    match format {
        None | Some("") => output::line(pretty(found))?,
        Some("json") => {
            let compact: Vec<String> = found.iter().map(|document| compact(document)).collect();
            output::line(format!("[{}]", compact.join(",")))?;
        }
        Some(format) => templated(format, found)?,
    }
    if failures.is_empty() {
        return Ok(());
    }
    for failure in failures {
        output::note(match failure.daemon_message() {
            Some(_) => format!("shipway: {failure}"),
            None => format!("Error: {failure}"),
        });
        for hint in &failure.hints {
            output::note(format!("  hint: {hint}"));
        }
    }
    Err(Failure::ended(super::exit::FAILED))
}

fn templated(format: &str, found: &[String]) -> Outcome {
    let template = Template::parse(format).map_err(|failure| Failure::new(format!("template parsing error: {failure}")))?;
    for document in found {
        let mut value: Value =
            serde_json::from_str(document).map_err(|error| Failure::new(format!("cannot understand the daemon's answer: {error}")))?;
        absent::fill(&mut value);
        output::line(template.render_object(&value)?)?;
    }
    Ok(())
}

/// The documents as one list, indented by four spaces, with every byte of their values as the daemon sent it.
pub(crate) fn pretty(documents: &[String]) -> String {
    indent(&format!("[{}]", documents.join(",")))
}

/// Indents JSON text as Go's `json.Indent` does, without parsing numbers or strings anew.
pub(crate) fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut quoted = false;
    let mut escaped = false;
    let mut letters = json.chars().peekable();
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth * 4));
    };
    while let Some(letter) = letters.next() {
        if quoted {
            out.push(letter);
            quoted = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            continue;
        }
        match letter {
            '"' => {
                quoted = true;
                out.push(letter);
            }
            letter if letter.is_ascii_whitespace() => {}
            '{' | '[' => {
                while letters.next_if(char::is_ascii_whitespace).is_some() {}
                out.push(letter);
                if let Some(close) = letters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                    continue;
                }
                depth += 1;
                newline(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            letter => out.push(letter),
        }
    }
    out
}

fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut quoted = false;
    let mut escaped = false;
    for letter in json.chars() {
        if quoted {
            quoted = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            out.push(letter);
        } else if !letter.is_ascii_whitespace() {
            quoted = letter == '"';
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_indented_as_docker_does() {
        let document = r#"{"Id":"a","List":[],"Map":{},"Cmd":["sh","-c \"x: {y},\\"],"N":1.50}"#;
        let expected = "[\n    {\n        \"Id\": \"a\",\n        \"List\": [],\n        \"Map\": {},\n        \"Cmd\": [\n            \"sh\",\n            \"-c \\\"x: {y},\\\\\"\n        ],\n        \"N\": 1.50\n    }\n]";
        assert_eq!(pretty(&[document.to_owned()]), expected);
        assert_eq!(pretty(&[]), "[]");
        assert_eq!(compact("{ \"a b\" : [ 1, 2 ] }\n"), "{\"a b\":[1,2]}");
    }
}
