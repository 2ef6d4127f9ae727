//! The promises of the feature map, one test each; the names carry their numbers.

use super::{finding, good, parsed, source, summary};
use shipway_dockerfile::lint::context::undefined_variables;
use shipway_dockerfile::{CheckDirective, ParseOptions, Severity, parse_with, scope};

#[test]
fn m01_an_uppercase_image_is_answered_with_its_lowercase_name() {
    let found = finding("FROM DIAMOL/BASE AS BUILD-STAGE\n", "E-REFERENCE-CASE");
    assert_eq!((found.span.start.line, found.span.start.column), (1, 6));
    assert_eq!(found.message, "image names are lowercase: DIAMOL/BASE -> diamol/base");
    let docker = found.docker_text.unwrap();
    assert!(docker.starts_with("invalid reference format: repository name (") && docker.ends_with("BASE) must be lowercase"), "{docker}");
    // No false warning about an ARG; the stage's name is only a matter of style.
    assert_eq!(
        summary("FROM DIAMOL/BASE AS BUILD-STAGE\n"),
        [
            "1:6 E-REFERENCE-CASE image names are lowercase: DIAMOL/BASE -> diamol/base",
            "1:21 StageNameCasing Stage name 'BUILD-STAGE' should be lowercase"
        ]
    );
    assert!(!parsed("FROM a AS Base\nFROM BASE\nFROM host:5000/a:TAG\n").has_errors());
}

#[test]
fn m03_a_redirection_without_target_is_found_before_anything_runs() {
    let text = "FROM diamol/base AS build\nRUN echo 'Building...' > build.txt\n\n\nRUN echo 'Testing...'  >\n";
    let found = finding(text, "ShellSyntax");
    assert_eq!((found.severity, found.span.start.line, found.span.start.column), (Severity::Error, 5, 24));
    assert_eq!(found.message, "the redirection \">\" has no file name after it");
    assert!(!parsed("FROM a\nSHELL [\"powershell\", \"-command\"]\nRUN echo 'a >\n").has_errors());
    assert!(!parsed("FROM a AS x\nSHELL [\"powershell\", \"-command\"]\nFROM x\nRUN echo 'a >\n").has_errors());
    assert!(parsed("FROM a\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN echo 'a\n").has_errors());
    assert_eq!(finding("FROM a\nRUN a && \\\n  b \\\n  'c\n", "ShellSyntax").span.start.line, 4);
}

#[test]
fn m04_every_line_that_tries_to_comment_with_dashes_is_listed_at_once() {
    let text = "--기반 이미지\nFROM a\n-- 빌더 이미지\nRUN x\n// done\n";
    assert_eq!(
        summary(text),
        [
            "1:1 E-COMMENT \"--\" does not start a comment in a Dockerfile; use \"#\"",
            "3:1 E-COMMENT \"--\" does not start a comment in a Dockerfile; use \"#\"",
            "5:1 E-COMMENT \"//\" does not start a comment in a Dockerfile; use \"#\"",
        ]
    );
    let parsed = parsed(text);
    assert_eq!(parsed.docker_text(), Some("dockerfile parse error on line 1: unknown instruction: --기반"));
    assert_eq!(parsed.diagnostics[0].hint.as_deref(), Some("write # 기반 이미지"));
}

#[test]
fn m05_a_mistyped_instruction_gets_its_neighbour() {
    let found = finding("FROM a\nEVN A=b\n", "E-INSTRUCTION-UNKNOWN");
    assert_eq!(found.hint.as_deref(), Some("did you mean ENV?"));
    assert_eq!(found.docker_text.as_deref(), Some("dockerfile parse error on line 2: unknown instruction: EVN"));
    assert_eq!(finding("FROM a\nRUNN x\n", "E-INSTRUCTION-UNKNOWN").hint.as_deref(), Some("did you mean RUN?"));
    assert_eq!(finding("FROM a\nCOPY --form=b x y\n", "E-FLAG-UNKNOWN").hint.as_deref(), Some("did you mean --from?"));
}

#[test]
fn m06_the_images_a_file_names_are_at_hand_for_suggestions() {
    let dockerfile = good("FROM diamol/base AS x\nFROM x\nFROM scratch\nFROM a:$V\nFROM diamlo/base\n");
    let names = dockerfile.image_names().into_iter().map(|word| (word.text.as_str(), word.span.start.line)).collect::<Vec<_>>();
    assert_eq!(names, [("diamol/base", 1), ("diamlo/base", 5)]);
}

#[test]
fn one_wrong_from_is_one_error() {
    for text in ["FORM a\nRUN x\nCMD [\"y\"]\n", "FROM\nRUN x\nUSER y\n", "RUN x\nCMD [\"y\"]\nUSER z\n", "FROM a b\nRUN x\n"] {
        assert_eq!(parsed(text).errors().count(), 1, "{text:?} {:?}", summary(text));
    }
    assert_eq!(parsed("FROM a # base\n").diagnostics[0].hint.as_deref(), Some("a comment stands on a line of its own"));
}

#[test]
fn m12_and_m32_an_unconsumed_build_argument_gets_its_neighbour() {
    let dockerfile = good("FROM a\nARG FOO=1\n");
    let found = scope::unconsumed_build_args(&dockerfile, ["FOOO", "FOO", "http_proxy", "BUILDKIT_INLINE_CACHE", "TARGETARCH", "ZZ"]);
    assert_eq!(found.iter().map(|unconsumed| unconsumed.name.as_str()).collect::<Vec<_>>(), ["FOOO", "ZZ"]);
    assert_eq!(found[0].hint().as_deref(), Some("did you mean FOO (ARG on line 2)?"));
    assert_eq!(found[1].hint(), None);
}

#[test]
fn m18_a_relative_workdir_is_shown_resolved() {
    let found = finding("FROM a\nWORKDIR web\nWORKDIR deeper\n", "WorkdirRelativePath");
    assert_eq!(found.message, "Relative workdir \"web\" can have unexpected results if the base image changes");
    assert_eq!(found.hint.as_deref(), Some("write WORKDIR /web"));
    assert_eq!(found.span.start.column, 9);
    assert!(summary("FROM a\nWORKDIR /web\nWORKDIR deeper\n").is_empty());
    assert!(summary("FROM a AS x\nWORKDIR /web\nFROM x\nWORKDIR deeper\n").is_empty());
}

#[test]
fn m24_a_digest_after_a_colon_is_answered_with_the_at_form() {
    let found = finding("FROM centos:sha256:76d24f3ba3317fa945743bb3746fbaf3a0b752f10b10376960de01da70685fbd\n", "E-REFERENCE-DIGEST");
    assert_eq!(found.span.start.column, 6);
    assert!(found.message.starts_with("a digest is written with @: centos@sha256:76d2"), "{}", found.message);
    assert_eq!(found.docker_text.as_deref(), Some("invalid reference format"));
}

#[test]
fn m29_as_beside_an_upper_case_from_is_a_matter_of_style() {
    let found = finding("FROM a as builder\n", "FromAsCasing");
    assert_eq!((found.message.as_str(), found.severity), ("'as' and 'FROM' keywords' casing do not match", Severity::Warning));
    assert!(summary("from a as b\nrun x\n").is_empty());
}

#[test]
fn m30_a_shell_form_command_is_told_why() {
    let found = finding("FROM a\nCMD cat /build.txt\n", "JSONArgsRecommended");
    assert_eq!(found.message, "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals");
    assert!(found.reason.unwrap().contains("10 seconds"));
    assert_eq!(found.hint.as_deref(), Some("write CMD [\"cat\", \"/build.txt\"]"));
    assert!(summary("FROM a\nSHELL [\"/bin/bash\", \"-c\"]\nCMD cat x\n").is_empty());
}

#[test]
fn m31_a_stage_name_with_swapped_letters_is_decided_without_any_network() {
    let text = "FROM a AS builder\nFROM b\nCOPY --from=bulider /x /y\n";
    let found = finding(text, "E-STAGE-UNKNOWN");
    assert_eq!((found.span.start.line, found.span.start.column), (3, 13));
    assert!(found.hint.unwrap().starts_with("did you mean builder?"));
    assert!(!parsed("FROM a AS builder\nFROM b\nCOPY --from=me/bulider /x /y\nCOPY --from=nginx /x /y\n").has_errors());
    let known = |name: &str| name == "bulider";
    assert!(!parse_with(&source(text), &ParseOptions { is_known_image: Some(&known), check: None }).has_errors());
    assert!(parsed("FROM a AS builder\nFROM b\nRUN --mount=from=bulider,target=/x y\n").has_errors());
}

#[test]
fn all_errors_of_a_file_come_in_one_answer_in_order() {
    let text = "FROM Foo\nRUNN a\nCOPY x\nENV A\nRUN echo 'a\nCOPY --from=7 a b\nUSER\n";
    let codes = summary(text).iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    assert_eq!(
        codes,
        [
            "1:6 E-REFERENCE-CASE",
            "2:1 E-INSTRUCTION-UNKNOWN",
            "3:1 E-ARGUMENT-MISSING",
            "4:1 E-ARGUMENT-MISSING",
            "5:10 ShellSyntax",
            "6:13 E-STAGE-INDEX",
            "7:1 E-ARGUMENT-MISSING"
        ]
    );
}

#[test]
fn a_finding_is_printed_with_line_caret_reason_and_hint() {
    let text = source("FROM a\nENV 이름=\"값\" OHNE\n");
    let found = &shipway_dockerfile::parse(&text).diagnostics[0];
    assert_eq!(
        found.render(&text),
        "Dockerfile:2:12: error: \"OHNE\" is not of the form NAME=VALUE [E-PAIR]\n   2 | ENV 이름=\"값\" OHNE\n     |               ^^^^\n  why: the first part of this ENV has \"=\", so every part must; a value with blanks needs quotes\n  hint: quote the whole value, or write OHNE=VALUE\n"
    );
}

#[test]
fn nothing_printed_carries_control_characters() {
    let text = source("FROM a\nX\u{1b}[31m\u{202e}Y\u{0}\tz\n");
    let shown = shipway_dockerfile::parse(&text).diagnostics[0].render(&text);
    assert!(shown.chars().all(|letter| letter == '\n' || !letter.is_control()), "{shown:?}");
    assert!(!shown.contains('\u{202e}'));
}

#[test]
fn checks_can_be_skipped_woken_and_made_fatal() {
    let text = |check: &str| format!("# check={check}\nFROM a as b\nCMD x y\n");
    assert!(summary(&text("skip=FromAsCasing,JSONArgsRecommended")).is_empty());
    assert!(summary(&text("skip=all")).is_empty());
    assert!(parsed(&text("error=true")).has_errors());
    assert!(!parsed(&text("skip=all;error=true")).has_errors());
    assert!(summary(&text("skip=all;experimental=UnpinnedBase")).is_empty());
    assert_eq!(
        summary(&text("skip=FromAsCasing,JSONArgsRecommended;experimental=UnpinnedBase")),
        ["2:6 UnpinnedBase Base image \"a\" is not pinned to a version"]
    );
    let rules = CheckDirective::parse("skip=all").unwrap();
    assert!(parse_with(&source(&text("error=true")), &ParseOptions { check: Some(&rules), is_known_image: None }).diagnostics.is_empty());
}

#[test]
fn undefined_variables_are_judged_only_where_the_base_is_known() {
    let dockerfile = good(
        "ARG GLOBAL=1\nFROM a AS x\nENV FOO=1\nCOPY $FO $PATH $BASE/\nRUN echo $NOT_OURS\nFROM x\nCOPY $GLOBAL ${FOO:-a} ${BAR:-b} /\nFROM unknown\nCOPY $X /\n",
    );
    let base = |stage: &shipway_dockerfile::Stage| (stage.from.image.text == "a").then(|| vec!["BASE".to_owned()]);
    let found = undefined_variables(&dockerfile, &CheckDirective::default(), &base);
    let messages = found.iter().map(|found| found.message.as_str()).collect::<Vec<_>>();
    assert_eq!(messages, ["Usage of undefined variable '$FO'", "Usage of undefined variable '$GLOBAL'"]);
    assert_eq!(found[1].hint.as_deref(), Some("repeat ARG GLOBAL in this stage, before this line"));
}
