//! Who sees which variable.

use super::good;
use shipway_dockerfile::scope::{GlobalScope, PlatformNames, StageScope, VariableOrigin};
use shipway_dockerfile::{Dockerfile, InstructionKind};
use std::collections::BTreeMap;

fn global(dockerfile: &Dockerfile, build_args: &[(&str, &str)]) -> GlobalScope {
    let given: BTreeMap<String, String> = build_args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut scope = GlobalScope::new(given, &PlatformNames::new("linux", "amd64", ""), &PlatformNames::new("linux", "arm64", "v8"), "");
    scope.declare_all(dockerfile).expect("the defaults expand");
    scope
}

/// Runs the variable instructions of a stage.
fn run_stage(dockerfile: &Dockerfile, global: &GlobalScope, stage: usize, mut scope: StageScope) -> StageScope {
    for instruction in &dockerfile.stages[stage].instructions {
        match &instruction.kind {
            InstructionKind::Arg(arguments) => {
                arguments.iter().for_each(|argument| scope.declare_arg(global, argument, '\\').expect("the default expands"))
            }
            InstructionKind::Env(pairs) => {
                scope.apply_env(pairs, '\\').expect("the values expand");
            }
            _ => {}
        }
    }
    scope
}

#[test]
fn from_sees_global_arguments_and_platforms_only() {
    let dockerfile = good("ARG BASE=busybox\nARG TAG=${BASE}-1\nFROM $BASE:$TAG\n");
    let scope = global(&dockerfile, &[("TAG", "9")]);
    assert_eq!(scope.expand(&dockerfile.stages[0].from.image, '\\').unwrap().text, "busybox:9");
    assert_eq!(scope.lookup("TARGETPLATFORM").as_deref(), Some("linux/arm64/v8"));
    assert_eq!(scope.lookup("BUILDARCH").as_deref(), Some("amd64"));
    assert_eq!(scope.lookup("HTTP_PROXY"), None);
}

#[test]
fn a_stage_gets_a_global_argument_by_declaring_it() {
    let dockerfile = good("ARG V=1\nARG W=1\nFROM a\nARG V\nARG W=2\nARG X=$V$W$Y\nARG TARGETARCH\nARG Y\n");
    let scope = global(&dockerfile, &[]);
    let stage = run_stage(&dockerfile, &scope, 0, StageScope::default());
    let value = |name| stage.lookup(name);
    assert_eq!((value("V"), value("W"), value("X"), value("Y")), (Some("1".into()), Some("2".into()), Some("12".into()), None));
    assert_eq!(value("TARGETARCH").as_deref(), Some("arm64"));
    assert_eq!(value("TARGETOS"), None);
    assert!(stage.is_declared("Y") && !stage.is_declared("Z"));
}

#[test]
fn build_arguments_win_over_defaults_and_env_over_both() {
    let dockerfile = good("ARG G=1\nFROM a\nARG G=2\nARG L=3\nENV E=4\nARG E=5\n");
    let scope = global(&dockerfile, &[("G", "g"), ("L", "l"), ("E", "e")]);
    let stage = run_stage(&dockerfile, &scope, 0, StageScope::default());
    assert_eq!((stage.lookup("G"), stage.lookup("L"), stage.lookup("E")), (Some("g".into()), Some("l".into()), Some("4".into())));
}

#[test]
fn values_of_one_env_see_what_held_before_it() {
    let dockerfile = good("FROM a\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n");
    let stage = run_stage(&dockerfile, &global(&dockerfile, &[]), 0, StageScope::default());
    assert_eq!((stage.lookup("def"), stage.lookup("ghi")), (Some("hello".into()), Some("bye".into())));
}

#[test]
fn stages_inherit_from_stages_but_not_from_neighbours() {
    let dockerfile = good("FROM a AS x\nARG A=1\nENV B=2\nFROM x\nFROM c\n");
    let scope = global(&dockerfile, &[]);
    let first = run_stage(&dockerfile, &scope, 0, StageScope::default());
    let child = StageScope::from_stage(&first);
    let neighbour = StageScope::from_image(&["PATH=/bin".to_owned()]);
    assert_eq!((child.lookup("A"), child.lookup("B")), (Some("1".into()), Some("2".into())));
    assert_eq!((neighbour.lookup("A"), neighbour.lookup("PATH")), (None, Some("/bin".into())));
}

#[test]
fn run_gets_environment_then_arguments_then_proxies() {
    let dockerfile = good("FROM a\nARG Z=1\nENV E=2\nARG A\nARG E=3\nARG EMPTY=\nARG NONE\n");
    let scope = global(&dockerfile, &[("http_proxy", "p"), ("A", "a"), ("UNDECLARED", "u")]);
    let stage = run_stage(&dockerfile, &scope, 0, StageScope::from_image(&["PATH=/bin".to_owned()]));
    let shown =
        stage.run_environment(&scope).into_iter().map(|variable| (variable.name, variable.value, variable.origin)).collect::<Vec<_>>();
    let wanted = [
        ("PATH", "/bin", VariableOrigin::Environment),
        ("E", "2", VariableOrigin::Environment),
        ("Z", "1", VariableOrigin::Argument),
        ("A", "a", VariableOrigin::Argument),
        ("EMPTY", "", VariableOrigin::Argument),
        ("http_proxy", "p", VariableOrigin::Proxy),
    ];
    assert_eq!(shown, wanted.map(|(name, value, origin)| (name.to_owned(), value.to_owned(), origin)));
}

#[test]
fn a_declared_proxy_is_an_ordinary_argument() {
    let dockerfile = good("FROM a\nARG http_proxy\n");
    let scope = global(&dockerfile, &[("http_proxy", "p")]);
    let stage = run_stage(&dockerfile, &scope, 0, StageScope::default());
    assert_eq!(stage.run_environment(&scope)[0].origin, VariableOrigin::Argument);
}

#[test]
fn doubling_arguments_stop_at_the_limit() {
    let mut text = "ARG A0=xxxxxxxxxxxxxxxx\n".to_owned();
    (1..40).for_each(|n| text.push_str(&format!("ARG A{n}=$A{}$A{}\n", n - 1, n - 1)));
    text.push_str("FROM a\n");
    let dockerfile = good(&text);
    let host = PlatformNames::new("linux", "amd64", "");
    assert!(GlobalScope::new(BTreeMap::new(), &host, &host, "").declare_all(&dockerfile).is_err());
}
