//! Fields that an inspected document leaves out because they are empty: a template may ask for them all the same, as with docker, which prints typed
//! values. What must stay true: only templates see them; the JSON that is shown is what the daemon wrote.

use serde_json::{Value, json};

/// Where, which fields, and what they are when they are not said.
type Fields = (&'static str, &'static [&'static str], Empty);

/// The kinds of emptiness.
#[derive(Clone, Copy)]
enum Empty {
    Text,
    False,
    /// A list, a map or a pointer: nil.
    Nothing,
}

const CONTAINER: &[Fields] = &[
    ("", &["SizeRw", "SizeRootFs"], Empty::Nothing),
    ("/State", &["Health"], Empty::Nothing),
    ("/Config", &["Healthcheck", "ExposedPorts", "StopTimeout", "Shell"], Empty::Nothing),
    ("/Config", &["StopSignal", "MacAddress"], Empty::Text),
    ("/Config", &["ArgsEscaped", "NetworkDisabled"], Empty::False),
    ("/HostConfig", &["Annotations", "Init", "Mounts", "StorageOpt", "Sysctls", "Tmpfs"], Empty::Nothing),
];

const IMAGE: &[Fields] = &[
    ("", &["Author", "Comment", "OsVersion", "Parent", "Variant"], Empty::Text),
    ("/Config", &["User", "WorkingDir", "StopSignal"], Empty::Text),
    ("/Config", &["ArgsEscaped"], Empty::False),
    ("/Config", &["Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild", "Shell", "Volumes"], Empty::Nothing),
];

/// Adds what a container or an image leaves out. Other documents leave nothing out.
pub(super) fn fill(document: &mut Value) {
    let table = match document {
        Value::Object(fields) if fields.contains_key("HostConfig") => CONTAINER,
        Value::Object(fields) if fields.contains_key("RootFS") => IMAGE,
        _ => return,
    };
    for (place, names, empty) in table {
        let Some(Value::Object(fields)) = document.pointer_mut(place) else { continue };
        for name in *names {
            fields.entry(*name).or_insert_with(|| match empty {
                Empty::Text => json!(""),
                Empty::False => json!(false),
                Empty::Nothing => Value::Null,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::template::Template;

    fn check(document: &Value, template: &str, expected: &str) {
        let mut document = document.clone();
        fill(&mut document);
        assert_eq!(Template::parse(template).unwrap().render_object(&document).unwrap(), expected, "{template}");
    }

    #[test]
    fn what_is_left_out_can_be_asked_for_as_with_docker() {
        let container = json!({"State": {}, "Config": {"Labels": {}, "OnBuild": null}, "HostConfig": {"Binds": null}, "ExecIDs": null,
            "NetworkSettings": {"Networks": {}}});
        for (template, expected) in [
            ("{{.State.Health}} {{json .State.Health}}", "<nil> null"),
            ("{{if .State.Health}}checked{{else}}unchecked{{end}}", "unchecked"),
            ("{{.ExecIDs}} {{.HostConfig.Binds}} {{.HostConfig.Mounts}} {{.Config.OnBuild}}", "[] [] [] []"),
            ("{{.HostConfig.Tmpfs}} {{json .Config.ExposedPorts}}", "map[] null"),
            ("[{{.Config.StopSignal}}] {{.Config.ArgsEscaped}} {{.SizeRw}}", "[] false <nil>"),
            ("{{len .HostConfig.Mounts}}{{range .HostConfig.Mounts}}x{{end}}", "0"),
            ("{{.NetworkSettings.Networks.none.IPAddress}}", "<no value>"),
        ] {
            check(&container, template, expected);
        }
        let image = json!({"RootFS": {}, "Config": {}});
        check(&image, "{{.Config.Labels}} {{json .Config.Labels}} {{index .Config.Labels \"a\"}}", "map[] null ");
        check(&image, "{{.Config.Entrypoint}}{{.Config.Cmd}}{{.Config.Healthcheck}}{{.Variant}}", "[][]<nil>");
        let volume = json!({"Name": "a"});
        let mut same = volume.clone();
        fill(&mut same);
        assert_eq!(same, volume);
    }
}
