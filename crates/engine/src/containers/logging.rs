//! Log drivers: which exist, what their options mean, and what of them is refused in whose words.
//!
//! `json-file` and `local` write the same lines into different places; `none` keeps nothing. Both rotate by default (20 MB, five files), so that no
//! container eats the disk. What must stay true: what a container was created with is complete (the daemon's defaults merged in), so that a
//! daemon with other defaults changes nothing for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use shipway_model::ByteSize;
use shipway_runtime::{DEFAULT_LOG_FILES, DEFAULT_LOG_SIZE, LogConfig};

use super::{ContainerRecord, LogSpec};
use crate::{Engine, Error, Result, filters};

/// Options of every driver that keeps something.
const OPTIONS: &[&str] =
    &["max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"];

/// What the daemon itself was told about logs is judged when it starts.
///
/// # Errors
/// `Invalid`.
pub(crate) fn check_defaults(driver: &str, options: &BTreeMap<String, String>) -> Result<()> {
    let log = LogSpec { driver: driver.to_owned(), options: options.clone() };
    refuse(&log).map_err(|error| Error::invalid(format!("failed to set log opts: {error}")))
}

/// Refuses drivers and options that do not exist, and values that mean nothing, in dockerd's words.
pub(super) fn refuse(log: &LogSpec) -> Result<()> {
    let driver = log.driver.as_str();
    if !matches!(driver, "json-file" | "local" | "none") {
        return Err(Error::InvalidWithHint {
            reason: format!("error looking up logging plugin {driver}: plugin \"{driver}\" not found"),
            hint: "the log drivers are json-file, local and none".to_owned(),
        });
    }
    let mode = log.options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(Error::invalid(format!("logger: logging mode not supported: {mode}")));
    }
    if let Some(size) = log.options.get("max-buffer-size") {
        if mode != "non-blocking" {
            return Err(Error::invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'"));
        }
        size.parse::<ByteSize>().map_err(|error| Error::invalid(format!("error parsing option max-buffer-size: {error}")))?;
    }
    if driver == "none" {
        return Ok(());
    }
    if let Some(option) = log.options.keys().find(|option| !OPTIONS.contains(&option.as_str())) {
        return Err(Error::InvalidWithHint {
            reason: match driver {
                "local" => format!("unknown log opt '{option}' for log driver local"),
                _ => format!("unknown log opt '{option}' for {driver} log driver"),
            },
            hint: format!("its options are {}", OPTIONS.join(", ")),
        });
    }
    for option in ["labels-regex", "env-regex"] {
        pattern(log, option)?;
    }
    let sizes = Sizes::of(log)?;
    let pointless = sizes.max_files < 2 || sizes.max_size == 0;
    if sizes.compress == Some(true) && pointless {
        return Err(Error::invalid(
            "failed to initialize logging driver: compress cannot be true when max-file is less than 2 or max-size is not set",
        ));
    }
    tag(log.options.get("tag").map_or("", String::as_str), &|_| String::new()).map(drop)
}

/// The numbers of a log.
struct Sizes {
    /// 0 is for ever.
    max_size: u64,
    max_files: u32,
    compress: Option<bool>,
}

impl Sizes {
    fn of(log: &LogSpec) -> Result<Self> {
        let wrong = |text: String| Error::invalid(format!("failed to initialize logging driver: {text}"));
        let option = |name: &str| log.options.get(name).map(String::as_str);
        let max_size = match option("max-size") {
            // Docker's way to say "never" in its documents; its json-file has it as default.
            Some("-1") => 0,
            Some(text) => match ByteSize::parse_decimal(text).map_err(|_| wrong(format!("invalid size: '{text}'")))?.0 {
                0 if log.driver == "json-file" => return Err(wrong("max-size must be a positive number".to_owned())),
                size => size,
            },
            None => DEFAULT_LOG_SIZE,
        };
        let max_files = match option("max-file") {
            Some(text) => {
                let count: i64 = text.parse().map_err(|_| wrong(format!("strconv.Atoi: parsing \"{text}\": invalid syntax")))?;
                u32::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| wrong("max-file cannot be less than 1".to_owned()))?
            }
            None => DEFAULT_LOG_FILES,
        };
        let compress = match option("compress") {
            None => None,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Some(false),
            Some(text) => return Err(wrong(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax"))),
        };
        Ok(Self { max_size, max_files, compress })
    }
}

impl Engine {
    /// Fills in what the request leaves to the daemon.
    pub(super) fn complete_log(&self, log: &mut LogSpec) {
        let config = &self.inner.config;
        if log.driver.is_empty() {
            log.driver.clone_from(&config.log_driver);
        }
        if log.driver == config.log_driver {
            for (option, value) in &config.log_options {
                log.options.entry(option.clone()).or_insert_with(|| value.clone());
            }
        }
    }

    /// Where the output of a container is kept, and how.
    pub(super) fn log_config(&self, record: &ContainerRecord) -> Result<LogConfig> {
        let Some(path) = self.log_file(record) else { return Ok(LogConfig::None) };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io(format!("create {}", folder.display())))?;
        }
        let log = &record.spec.host.log;
        let Sizes { max_size, max_files, compress } = Sizes::of(log)?;
        let pointless = max_files < 2 || max_size == 0;
        let compress = compress.unwrap_or(log.driver == "local") && !pointless;
        Ok(LogConfig::JsonFile { path, max_size, max_files, compress, attributes: attributes(record)? })
    }

    /// The newest file of a container's log; `None` when its driver keeps nothing.
    pub(super) fn log_file(&self, record: &ContainerRecord) -> Option<PathBuf> {
        match record.spec.host.log.driver.as_str() {
            "none" => None,
            "local" => Some(self.container_dir(record.id).join("local-logs/container.log")),
            _ => Some(self.log_path(record.id)),
        }
    }
}

/// The regular expression that an option is, where it is given.
fn pattern(log: &LogSpec, option: &str) -> Result<Option<regex::Regex>> {
    let Some(text) = log.options.get(option).filter(|text| !text.is_empty()) else { return Ok(None) };
    match filters::expression(text) {
        Ok(expression) => Ok(Some(expression)),
        Err(_) => Err(Error::invalid(format!("failed to initialize logging driver: error parsing regexp: {option}: `{text}`"))),
    }
}

/// What every line carries besides: chosen labels and variables, and the tag.
fn attributes(record: &ContainerRecord) -> Result<BTreeMap<String, String>> {
    let log = &record.spec.host.log;
    let options = &log.options;
    let variables = record.process.env.iter().filter_map(|entry| entry.split_once('='));
    let labels = record.process.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut attributes = chosen(log, "labels", "labels-regex", labels)?;
    attributes.extend(chosen(log, "env", "env-regex", variables)?);
    let image = || record.image.to_string();
    let tag = tag(options.get("tag").map_or("", String::as_str), &|field| match field {
        "ID" => record.id.short(),
        "FullID" => record.id.to_string(),
        "Name" => record.name.to_string(),
        "ImageID" => image().trim_start_matches("sha256:").chars().take(12).collect(),
        "ImageFullID" => image(),
        "ImageName" => record.spec.image.clone(),
        _ => "docker".to_owned(),
    })?;
    if !tag.is_empty() {
        attributes.insert("tag".to_owned(), tag);
    }
    Ok(attributes)
}

/// Of `known` those that one option lists by name or another's expression matches.
fn chosen<'a>(
    log: &LogSpec,
    list: &str,
    expression: &str,
    known: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<BTreeMap<String, String>> {
    let names: Vec<&str> = log.options.get(list).map_or("", String::as_str).split(',').filter(|name| !name.is_empty()).collect();
    let pattern = pattern(log, expression)?;
    let is_chosen = |name: &str| names.contains(&name) || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name));
    Ok(known.filter(|(name, _)| is_chosen(name)).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Fills the fields of a tag: `{{.Name}}/{{.ID}}`. Of Go's templates only these are spoken.
fn tag(template: &str, value: &dyn Fn(&str) -> String) -> Result<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (field, after) = after.split_once("}}").ok_or_else(|| wrong_tag(" unclosed action"))?;
        let name = field.trim().strip_prefix('.').unwrap_or_default();
        if !["ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName"].contains(&name) {
            if !field.trim_start().starts_with('.') {
                return Err(wrong_tag(&format!(" function \"{}\" not defined", field.trim())));
            }
            let at = template.len() - after.len() - "}}".len() - field.trim_start().len();
            let what = format!("{at}: executing \"log-tag\" at <{}>: can't evaluate field {name} in type *logger.Info", field.trim());
            return Err(wrong_tag(&what));
        }
        out.push_str(before);
        out.push_str(&value(name));
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// In the words of Go's templates, which dockerd reads.
fn wrong_tag(what: &str) -> Error {
    Error::InvalidWithHint {
        reason: format!("failed to initialize logging driver: template: log-tag:1:{what}"),
        hint: "a tag's fields are {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageID}}, {{.ImageFullID}}, {{.ImageName}} and {{.DaemonName}}"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(driver: &str, options: &[(&str, &str)], expected: Option<&str>) {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let said = refuse(&LogSpec { driver: driver.to_owned(), options }).err().map(|error| error.to_string());
        assert_eq!(said.as_deref(), expected);
    }

    #[test]
    fn wrong_logs_are_refused_in_dockerds_words() {
        check("json-file", &[("max-size", "10m"), ("max-file", "3"), ("compress", "true"), ("labels", "a")], None);
        check("local", &[("max-size", "-1")], None);
        check("none", &[], None);
        check("splunk", &[], Some("error looking up logging plugin splunk: plugin \"splunk\" not found"));
        check("json-file", &[("foo", "1")], Some("unknown log opt 'foo' for json-file log driver"));
        check("json-file", &[("labels-regex", "^a"), ("env-regex", "(B|C)$")], None);
        let words = "failed to initialize logging driver: error parsing regexp: env-regex: `(`";
        check("json-file", &[("env-regex", "(")], Some(words));
        check("local", &[("foo", "1")], Some("unknown log opt 'foo' for log driver local"));
        check("json-file", &[("mode", "odd")], Some("logger: logging mode not supported: odd"));
        check("json-file", &[("max-size", "x")], Some("failed to initialize logging driver: invalid size: 'x'"));
        check("json-file", &[("max-file", "0")], Some("failed to initialize logging driver: max-file cannot be less than 1"));
        let words = "failed to initialize logging driver: compress cannot be true when max-file is less than 2 or max-size is not set";
        check("json-file", &[("max-file", "1"), ("compress", "true")], Some(words));
    }

    #[test]
    fn attributes_are_chosen_by_name_and_by_expression() {
        let options = [("env", "A,NOPE"), ("env-regex", "^PRE")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let log = LogSpec { driver: "json-file".to_owned(), options };
        let known = [("A", "1"), ("B", "2"), ("PREFIX", "3"), ("XPRE", "4")];
        let found = chosen(&log, "env", "env-regex", known.into_iter()).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("A".to_owned(), "1".to_owned()), ("PREFIX".to_owned(), "3".to_owned())]);
    }

    #[test]
    fn tags_know_their_fields() {
        let shout = |field: &str| field.to_uppercase();
        assert_eq!(tag("a{{.Name}}/{{ .ID }}", &shout).unwrap(), "aNAME/ID");
        assert_eq!(tag("", &shout).unwrap(), "");
        for (wrong, words) in [
            ("{{.Name", " unclosed action"),
            ("{{.Nope}}", "2: executing \"log-tag\" at <.Nope>: can't evaluate field Nope in type *logger.Info"),
            ("a{{ .No}}", "4: executing \"log-tag\" at <.No>: can't evaluate field No in type *logger.Info"),
            ("{{Name}}", " function \"Name\" not defined"),
        ] {
            let said = tag(wrong, &shout).unwrap_err().to_string();
            assert_eq!(said, format!("failed to initialize logging driver: template: log-tag:1:{words}"), "{wrong}");
        }
    }
}
