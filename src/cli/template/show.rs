//! Values as text: as Go's `%v` prints them, and as its JSON encoder writes them.

use serde_json::Value;

/// `%v` of a value. Missing things are `<no value>`, lists `[a b]`, maps `map[k:v]` by key.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => {
            let shown: Vec<String> = items.iter().map(inner).collect();
            format!("[{}]", shown.join(" "))
        }
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            let shown: Vec<String> = keys.into_iter().map(|key| format!("{key}:{}", inner(&fields[key]))).collect();
            format!("map[{}]", shown.join(" "))
        }
    }
}

/// `%v` of a field that is null, by the type that docker gives the field.
pub(super) fn show_null(field: &str) -> &'static str {
    match field {
        "Binds" | "Cmd" | "Devices" | "Entrypoint" | "Env" | "ExecIDs" | "ExtraHosts" | "Links" | "Mounts" | "OnBuild" | "Shell"
        | "Ulimits" | "VolumesFrom" | "CapAdd" | "CapDrop" | "Dns" | "GroupAdd" | "SecurityOpt" => "[]",
        "Annotations" | "Data" | "ExposedPorts" | "Labels" | "Options" | "StorageOpt" | "Sysctls" | "Tmpfs" | "Volumes" => "map[]",
        "Health" | "Healthcheck" | "Init" | "MemorySwappiness" | "OomKillDisable" | "PidsLimit" | "SizeRootFs" | "SizeRw"
        | "StopTimeout" => "<nil>",
        _ => "<no value>",
    }
}

/// Inside a list or map, Go writes `<nil>`.
fn inner(value: &Value) -> String {
    if value.is_null() { "<nil>".to_owned() } else { show(value) }
}

/// Compact JSON as Go's encoder writes it. With `escape_html`, `<`, `>` and `&` become `\u003c` and so on: docker's rows escape, its `json`
/// function does not.
pub(crate) fn json_text(value: &Value, escape_html: bool) -> String {
    let plain = value.to_string();
    let mut out = String::with_capacity(plain.len());
    for letter in plain.chars() {
        match letter {
            '<' if escape_html => out.push_str("\\u003c"),
            '>' if escape_html => out.push_str("\\u003e"),
            '&' if escape_html => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            letter => out.push(letter),
        }
    }
    out
}
