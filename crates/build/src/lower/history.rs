//! The words history entries are written in: those of BuildKit's Dockerfile frontend, which took them from Go's `%q` and `%v`.
//!
//! What must stay true: the text of an entry depends on the instruction alone (expanded), so equal builds have equal history.

use shipway_model::History;

use crate::graph::VertexIndex;

/// The comment of every entry made by this builder.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// One line of an image's history, before its time is known.
#[derive(Debug, Clone)]
pub(crate) struct HistoryEntry {
    /// The instruction's words.
    pub(crate) created_by: String,
    /// What it did to the tree.
    pub(crate) work: Work,
}

/// What an instruction did to the tree.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// It came with the base image.
    Base(Box<History>),
    /// Nothing: it changed the config.
    Config,
    /// The layer of this vertex.
    Layer(VertexIndex),
}

impl HistoryEntry {
    /// An entry without a layer.
    pub(crate) fn config(words: impl Into<String>) -> Self {
        Self { created_by: words.into(), work: Work::Config }
    }

    /// The entry of a step.
    pub(crate) fn layer(words: impl Into<String>, vertex: VertexIndex) -> Self {
        Self { created_by: words.into(), work: Work::Layer(vertex) }
    }

    /// The entry as the image config has it, with its time still missing.
    pub(crate) fn to_history(&self) -> History {
        match &self.work {
            Work::Base(history) => (**history).clone(),
            work => History {
                created_by: self.created_by.clone(),
                comment: COMMENT.to_owned(),
                empty_layer: matches!(work, Work::Config),
                ..History::default()
            },
        }
    }
}

/// `["node" "server.js"]`: a list as Go's `%q` prints it.
pub(crate) fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// A text as Go's `%q` prints it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            control if control.is_ascii_control() => out.push_str(&format!("\\x{:02x}", control as u32)),
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A small number as Go's `%q` prints it: the character with that code, quoted.
pub(crate) fn quoted_number(number: u32) -> String {
    match char::from_u32(number) {
        Some('\'') => "'\\''".to_owned(),
        Some(letter) if letter.is_ascii_graphic() || letter == ' ' => format!("'{letter}'"),
        _ => {
            let quoted = quoted(&char::from_u32(number).unwrap_or('\u{fffd}').to_string());
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// `NAME=value NAME=value`.
pub(crate) fn pairs(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}

/// `RUN /bin/sh -c echo hi # buildkit`, with the build arguments in sight before the command: `RUN |1 V=1 /bin/sh ...`.
pub(crate) fn run(args: &[String], build_args: &[(String, String)]) -> String {
    let command = args.join(" ");
    if build_args.is_empty() {
        return format!("RUN {command} # buildkit");
    }
    format!("RUN |{} {} {command} # buildkit", build_args.len(), pairs(build_args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_go() {
        assert_eq!(quoted_list(&["node".into(), "a\"b\n".into()]), r#"["node" "a\"b\n"]"#);
        assert_eq!(quoted("한글 \u{1}"), "\"한글 \\x01\"");
        assert_eq!((quoted_number(3).as_str(), quoted_number(65).as_str(), quoted_number(0).as_str()), ("'\\x03'", "'A'", "'\\x00'"));
        assert_eq!(run(&["/bin/sh".into(), "-c".into(), "true".into()], &[]), "RUN /bin/sh -c true # buildkit");
        assert_eq!(run(&["true".into()], &[("V".into(), "1".into())]), "RUN |1 V=1 true # buildkit");
    }
}
