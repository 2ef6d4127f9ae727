//! Environment variables and `key=value` lists, with the files they may come from.

use crate::cli::exit::{Failure, Outcome, words};
use crate::cli::session::Session;
use serde_json::{Map, Value};
use shipway_model::Classified;

/// Environment of a container: proxies of the client's configuration, then files, then `-e`, where a bare name takes the value from here.
///
/// # Errors
/// A file that cannot be read, or a line in it that is no variable.
pub(crate) fn environment(session: &Session, files: &[String], given: &[String]) -> Outcome<Vec<String>> {
    let mut entries = Vec::new();
    for file in files {
        let bytes =
            std::fs::read(file).map_err(|error| Failure::usage(format!("failed to open env file: open {file}: {}", words(&error))))?;
        let parsed = shipway_model::env::parse_env_file(&bytes, |name| session.variable(name));
        entries.extend(parsed.map_err(|error| Failure {
            hints: error.hint().into_iter().collect(),
            ..Failure::usage(format!("invalid env file ({file}): {error}"))
        })?);
    }
    for entry in given {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(Failure::usage(format!(
                "invalid argument \"{entry}\" for \"-e, --env\" flag: invalid environment variable: {entry}"
            )));
        }
        entries.push(match environment_value(entry) {
            Some(value) if !entry.contains('=') => format!("{entry}={value}"),
            _ => entry.clone(),
        });
    }
    let mut all: Vec<String> = Vec::new();
    for (name, value) in session.config()?.proxy_variables() {
        if !entries.iter().any(|entry| shipway_model::env::key(entry) == name) {
            all.push(format!("{name}={value}"));
        }
    }
    all.extend(entries);
    Ok(all)
}

/// `key=value` lists (labels, sysctls, options) as an object; a key alone has an empty value.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn pairs(given: &[String], files: &[String]) -> Outcome<Value> {
    let mut object = Map::new();
    let mut add = |entry: &str| {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        object.insert(key.to_owned(), Value::from(value));
    };
    for file in files {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("failed to open label file: open {file}: {}", words(&error))))?;
        text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')).for_each(&mut add);
    }
    given.iter().map(String::as_str).for_each(add);
    Ok(Value::Object(object))
}

/// The value of a variable here, the empty one included.
fn environment_value(name: &str) -> Option<String> {
    crate::cli::session::environment().find(|(known, _)| known == name).map(|(_, value)| value)
}
