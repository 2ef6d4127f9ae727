//! Lists: the `--format` choices every listing command shares, over rows of named fields.
//!
//! A list is a default template (`table {{.ID}}\t{{.Image}}`), the titles of its fields, and rows. Everything else - JSON, `table TEMPLATE`, plain
//! templates - follows from those.

use super::exit::{Failure, Outcome};
use super::output;
use super::table;
use super::template::{Data, Missing, Template, json_text};
use serde_json::{Map, Value};

/// A row: its fields by name, and labels for `.Label "key"`.
#[derive(Debug, Default)]
pub(crate) struct Row {
    fields: Map<String, Value>,
    labels: Option<Map<String, Value>>,
}

impl Row {
    /// An empty row.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Adds the labels, as the joined text field `Labels` and for the method `Label`.
    pub(crate) fn with_labels(mut self, labels: Option<&Map<String, Value>>) -> Self {
        self.fields.insert("Labels".to_owned(), Value::from(joined_labels(labels)));
        self.labels = labels.cloned();
        self
    }

    #[cfg(test)]
    pub(crate) fn field(&self, name: &str) -> &Value {
        &self.fields[name]
    }
}

/// `a=1,b=2`, by key.
pub(crate) fn joined_labels(labels: Option<&Map<String, Value>>) -> String {
    let Some(labels) = labels else { return String::new() };
    let mut pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.sort();
    pairs.join(",")
}

/// The shape of a list.
pub(crate) struct Listing {
    /// Template of the table, without the word `table`.
    pub(crate) table: String,
    /// Titles by field name.
    pub(crate) titles: &'static [(&'static str, &'static str)],
    /// The Go type docker names when a field does not exist.
    pub(crate) kind: &'static str,
}

impl Listing {
    /// Prints `rows` in the given format; an empty format is the table.
    pub(crate) fn print(&self, format: &str, rows: &[Row]) -> Outcome {
        output::text(&self.render(format, rows)?)
    }

    /// As [`Listing::print`], into text.
    pub(crate) fn render(&self, format: &str, rows: &[Row]) -> Outcome<String> {
        let format = format.trim_matches(' ');
        if format == "json" {
            return Ok(rows.iter().map(json_line).collect());
        }
        let table = match format {
            "" | "table" => Some(self.table.as_str()),
            other => other.strip_prefix("table").filter(|rest| rest.starts_with([' ', '\t', '{', '\\'])).map(str::trim_start),
        };
        let source = table.unwrap_or(format).replace("\\t", "\t").replace("\\n", "\n");
        let source = source.trim_matches(' ');
        let template = Template::parse(source).map_err(|failure| {
            let about = if source.contains("{{") { "" } else { " (a template is written with {{.Field}})" };
            Failure::new(format!("failed to parse template: {failure}{about}"))
        })?;
        let mut text = String::new();
        if table.is_some() {
            let titles: Map<String, Value> = self.titles.iter().map(|(field, title)| ((*field).to_owned(), Value::from(*title))).collect();
            text.push_str(&self.one(&template, &Value::Object(titles), None, true)?);
            text.push('\n');
        }
        for row in rows {
            text.push_str(&self.one(&template, &Value::Object(row.fields.clone()), row.labels.as_ref(), false)?);
            text.push('\n');
        }
        Ok(if table.is_some() { table::align(&text) } else { text })
    }

    fn one(&self, template: &Template, dot: &Value, labels: Option<&Map<String, Value>>, header: bool) -> Outcome<String> {
        let data = Data { dot, labels, header, missing: Missing::Field(self.kind) };
        template.render(&data).map_err(|failure| {
            let mut failure = Failure::new(format!("failed to execute template: {failure}"));
            let names: Vec<&str> = self.titles.iter().map(|(name, _)| *name).collect();
            failure.hints.push(format!("fields are {}", names.join(", ")));
            failure
        })
    }
}

/// One row as docker's JSON: keys sorted, `<` and `>` escaped.
fn json_line(row: &Row) -> String {
    let mut fields: Vec<(&String, &Value)> = row.fields.iter().collect();
    fields.sort_by(|left, right| left.0.cmp(right.0));
    let sorted: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut line = json_text(&Value::Object(sorted), true);
    line.push('\n');
    line
}

/// Cuts text to `most` columns with an ellipsis at the end, as docker's tables do.
pub(crate) fn ellipsis(text: &str, most: usize) -> String {
    use unicode_width::UnicodeWidthChar as _;
    use unicode_width::UnicodeWidthStr as _;
    if text.width() <= most {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for letter in text.chars() {
        let width = letter.width().unwrap_or(0);
        if used + width > most.saturating_sub(1) {
            break;
        }
        used += width;
        out.push(letter);
    }
    out.push('…');
    out
}

/// The short form of an id: twelve digits, without `sha256:`.
pub(crate) fn short_id(id: &str) -> String {
    let bare = id.split_once(':').map_or(id, |(_, bare)| bare);
    bare.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        Listing {
            table: "{{.ID}}\t{{.Names}}".to_owned(),
            titles: &[("ID", "CONTAINER ID"), ("Names", "NAMES")],
            kind: "*formatter.ContainerContext",
        }
    }

    fn rows() -> Vec<Row> {
        let labels = serde_json::json!({"b": "2", "a": "1"});
        vec![
            Row::new().with("ID", "cdb53a20144f").with("Names", "web").with_labels(labels.as_object()),
            Row::new().with("ID", "<none>").with("Names", "x").with_labels(None),
        ]
    }

    #[test]
    fn every_format_renders() {
        let table = [
            ("", "CONTAINER ID   NAMES\ncdb53a20144f   web\n<none>         x\n"),
            ("table {{.Names}}\\t{{.ID}}", "NAMES     CONTAINER ID\nweb       cdb53a20144f\nx         <none>\n"),
            ("{{.Names}}:{{.Label \"a\"}}", "web:1\nx:\n"),
            (
                "json",
                "{\"ID\":\"cdb53a20144f\",\"Labels\":\"a=1,b=2\",\"Names\":\"web\"}\n{\"ID\":\"\\u003cnone\\u003e\",\"Labels\":\"\",\"Names\":\"x\"}\n",
            ),
        ];
        for (format, expected) in table {
            assert_eq!(listing().render(format, &rows()).unwrap(), expected, "{format}");
        }
    }

    #[test]
    fn wrong_templates_get_dockers_text() {
        let failure = listing().render("{{.Foo}}", &rows()).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "failed to execute template: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
        );
        assert_eq!(listing().render("{{.ID", &rows()).unwrap_err().to_string(), "failed to parse template: template: :1: unclosed action");
    }

    #[test]
    fn long_text_is_cut_by_columns() {
        assert_eq!(ellipsis("\"/docker-entrypoint.sh nginx\"", 20), "\"/docker-entrypoint…");
        assert_eq!(ellipsis("short", 20), "short");
        assert_eq!(ellipsis("이미지이미지", 6), "이미…");
    }
}
