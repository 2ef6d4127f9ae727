//! Snippets and what they mean: every instruction, every form, and the mistakes Docker refuses.

use super::{finding, good, kind, parsed};
use shipway_dockerfile::outline;
use shipway_dockerfile::{
    BaseImage, CommandForm, Healthcheck, InstructionKind, MountKind, NetworkMode, Script, SecurityMode, Sharing, Source, StageUse,
    parse_onbuild,
};
use std::time::Duration;

fn shell(text: &str) -> CommandForm {
    CommandForm::Shell(text.to_owned())
}

fn exec(words: &[&str]) -> CommandForm {
    CommandForm::Exec(words.iter().map(|word| (*word).to_owned()).collect())
}

fn path(source: &Source) -> &str {
    match source {
        Source::Path(word) => &word.text,
        Source::Heredoc(_) => "<<",
    }
}

#[test]
fn commands_have_two_forms() {
    for (line, wanted) in [
        ("CMD a b", shell("a b")),
        ("CMD [\"a\", \"b c\"]", exec(&["a", "b c"])),
        ("CMD  [ \"a\" ]  ", exec(&["a"])),
        ("CMD []", exec(&[])),
        ("CMD [ -f x ] && y", shell("[ -f x ] && y")),
        ("cmd [\"\\u0061\\n\"]", exec(&["a\n"])),
        ("CMD a \\\n  # comment\n  b", shell("a   b")),
    ] {
        assert_eq!(kind(line), InstructionKind::Cmd(wanted), "{line}");
    }
    assert_eq!(kind("ENTRYPOINT [\"x\"]"), InstructionKind::Entrypoint(exec(&["x"])));
    assert_eq!(finding("FROM a\nCMD ['a', 'b']\n", "ExecFormInvalid").hint.as_deref(), Some("write CMD [\"a\", \"b\"]"));
    assert_eq!(
        finding("FROM a\nCMD [\"a\", 1]\n", "E-JSON").docker_text.unwrap(),
        "dockerfile parse error on line 2: when using JSON array syntax, arrays must be comprised of strings only"
    );
    assert!(finding("FROM a\nSHELL /bin/sh -c\n", "E-JSON").hint.unwrap().contains("[\"/bin/sh\", \"-c\"]"));
}

#[test]
fn from_takes_platform_image_and_name() {
    let dockerfile = good("ARG V=1\nFROM --platform=$BUILDPLATFORM golang:$V AS Build\nFROM build\nFROM scratch\nFROM 0\n");
    let from = &dockerfile.stages[0].from;
    assert_eq!((from.image.text.as_str(), from.alias.as_deref()), ("golang:$V", Some("build")));
    assert_eq!(from.platform.as_ref().unwrap().text, "$BUILDPLATFORM");
    assert_eq!((from.image.span.start.line, from.image.span.start.column), (2, 32));
    assert_eq!(dockerfile.base_of(1, "build"), BaseImage::Stage(0));
    assert_eq!(dockerfile.base_of(0, "build"), BaseImage::Image("build".into()));
    assert_eq!(dockerfile.base_of(2, "scratch"), BaseImage::Scratch);
    // As in Docker's builders, a stage goes before the reserved name.
    let named = good("FROM scratch AS scratch\nFROM scratch\nCOPY --from=scratch /a /b\n");
    assert_eq!((named.base_of(0, "scratch"), named.base_of(1, "scratch")), (BaseImage::Scratch, BaseImage::Stage(0)));
    assert_eq!(named.stage_use(1, "scratch"), StageUse::Stage(0));
    assert_eq!(dockerfile.base_of(3, "0"), BaseImage::Stage(0));
    assert_eq!(dockerfile.stage_use(2, "BUILD"), StageUse::Stage(0));
    assert_eq!(dockerfile.stage_use(2, "9"), StageUse::NoSuchIndex("9".into()));
    assert_eq!(dockerfile.target(None), Some(3));
    assert_eq!(dockerfile.target(Some("Build")), Some(0));
    assert_eq!(dockerfile.target(Some("nope")), None);
}

#[test]
fn run_takes_mounts_network_security_and_devices() {
    let InstructionKind::Run(run) = kind(
        "RUN --mount=type=cache,id=go,target=/c,sharing=locked,mode=0700,uid=1,ro --mount=target=/s,source=a,from=scratch,rw --mount=type=tmpfs,dst=/t,size=64m --mount=type=secret,id=tok,env=TOK,required --mount=type=ssh --network=none --security=insecure --device=gpu,required go build",
    ) else {
        panic!("not a RUN");
    };
    assert_eq!(run.form, shell("go build"));
    assert_eq!((run.network, run.security), (NetworkMode::None, SecurityMode::Insecure));
    assert!(run.devices[0].required && run.devices[0].name.text == "gpu");
    let [cache, bind, tmpfs, secret, ssh] = run.mounts.as_slice() else { panic!("{:?}", run.mounts) };
    assert_eq!(
        (cache.kind, cache.sharing, cache.mode, cache.uid, cache.read_only),
        (MountKind::Cache, Sharing::Locked, Some(0o700), Some(1), true)
    );
    assert_eq!(
        (bind.kind, bind.read_only, bind.from.as_deref(), bind.source.as_deref()),
        (MountKind::Bind, false, Some("scratch"), Some("a"))
    );
    assert_eq!((tmpfs.kind, tmpfs.size, tmpfs.read_only), (MountKind::Tmpfs, Some(64 << 20), false));
    assert_eq!(
        (secret.effective_id().as_str(), secret.secret_target(), secret.mode_or_default(), secret.required),
        ("tok", None, 0o400, true)
    );
    assert_eq!((ssh.effective_id().as_str(), ssh.mode_or_default()), ("default", 0o600));
}

#[test]
fn mounts_with_variables_are_checked_when_they_are_known() {
    let InstructionKind::Run(run) = kind("RUN --mount=type=cache,target=$HOME/c,id=x-$A,mode=$M x") else { panic!() };
    let env = |name: &str| {
        Some(match name {
            "HOME" => "/root".to_owned(),
            "M" => "0711".to_owned(),
            _ => "1".to_owned(),
        })
    };
    let mount = run.mounts[0].resolve(&env, '\\').unwrap();
    assert_eq!((mount.target.as_deref(), mount.id.as_deref(), mount.mode), (Some("/root/c"), Some("x-1"), Some(0o711)));
    assert!(run.mounts[0].resolve(&|_: &str| Some("zz".into()), '\\').is_err());
}

#[test]
fn mistakes_in_mounts_are_told() {
    for (mount, message, hint) in [
        ("type=cahe,target=/x", "\"cahe\" is not a type of mount", Some("did you mean cache?")),
        ("type=cache,tagret=/x", "a mount has no key \"tagret\"", Some("did you mean target?")),
        ("type=cache,target=/x,sharing=lokced", "\"lokced\" is no value for \"sharing\"", Some("did you mean locked?")),
        ("type=cache", "a cache mount needs a target", Some("add target=/path")),
        ("type=secret", "a secret mount needs an id or a target", Some("add id=NAME; it appears as /run/secrets/NAME")),
        ("type=bind,target=/x,size=1m", "\"size\" is not a key of a bind mount", None),
        ("type=tmpfs,target=/x,mode=7", "\"mode\" is not a key of a tmpfs mount", None),
        ("type=cache,target=/x,mode=9", "\"9\" is no value for \"mode\"", Some("write it octal, as in mode=0400")),
        ("type=bind,target", "\"target\" needs a value", Some("write target=VALUE")),
        ("type=bind,target=/", "a mount cannot cover \"/\"", None),
    ] {
        let found = finding(&format!("FROM a\nRUN --mount={mount} x\n"), "E-MOUNT");
        assert_eq!((found.message.as_str(), found.hint.as_deref()), (message, hint), "{mount}");
    }
}

#[test]
fn copy_and_add_take_all_their_flags() {
    let InstructionKind::Copy(copy) =
        kind("COPY --from=scratch --chown=a:b --chmod=u=rw,go=r --link --parents --exclude=*.o --exclude=\"a b\" a b* /c/")
    else {
        panic!()
    };
    assert_eq!(copy.sources.iter().map(path).collect::<Vec<_>>(), ["a", "b*"]);
    assert_eq!((copy.destination.text.as_str(), copy.link, copy.parents), ("/c/", true, true));
    assert_eq!(copy.exclude.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(), ["*.o", "a b"]);
    let InstructionKind::Copy(copy) = kind("COPY [\"a b\", \"/c d/\"]") else { panic!() };
    assert_eq!((path(&copy.sources[0]), copy.destination.text.as_str()), ("a b", "/c d/"));
    let InstructionKind::Add(add) = kind(
        "ADD --keep-git-dir=true --unpack=false --checksum=sha256:0123456789012345678901234567890123456789012345678901234567890123 https://x/y /z",
    ) else {
        panic!()
    };
    assert_eq!((add.keep_git_dir, add.unpack, add.checksum.is_some()), (Some(true), Some(false), true));
}

#[test]
fn heredocs_end_at_their_word() {
    let dockerfile = good(
        "FROM a\nRUN <<EOF\necho 1\nEOF\nCOPY <<-\"A\" <<B x /d/\n\t$1\n\tA\n2\nB\nRUN python3 <<E && y\nprint(1)\nE\nRUN <<S\n#!/bin/x\r\nS\nCMD [\"x\"]\n",
    );
    let instructions = &dockerfile.stages[0].instructions;
    let script = |index: usize| match &instructions[index].kind {
        InstructionKind::Run(run) => run.script(&instructions[index].heredocs),
        other => panic!("{other:?}"),
    };
    assert_eq!(script(0), Script::Shell("echo 1\n".into()));
    assert_eq!(script(2), Script::Shell("python3 <<E && y\nprint(1)\nE".into()));
    assert_eq!(script(3), Script::File { name: "S".into(), content: "#!/bin/x\n".into() });
    let InstructionKind::Copy(copy) = &instructions[1].kind else { panic!() };
    assert_eq!(copy.sources.iter().map(path).collect::<Vec<_>>(), ["<<", "<<", "x"]);
    let [a, b] = instructions[1].heredocs.as_slice() else { panic!() };
    assert_eq!((a.name.as_str(), a.expand, a.body().as_ref()), ("A", false, "$1\n"));
    assert_eq!((b.expand, b.content.as_str(), b.span.start.line), (true, "2\n", 8));
    assert_eq!(instructions.len(), 5);
}

#[test]
fn an_open_heredoc_is_told_where_its_end_almost_was() {
    let found = finding("FROM a\nRUN <<EOF\necho\n  EOF\nCMD x\n", "E-HEREDOC");
    assert_eq!((found.span.start.line, found.span.start.column), (2, 5));
    assert!(found.hint.unwrap().starts_with("line 4 has"));
    assert_eq!(parsed("FROM a\nRUN <<EOF\nx\n").docker_text(), Some("dockerfile parse error on line 2: unterminated heredoc"));
}

#[test]
fn names_and_values() {
    let pairs = |line: &str| match kind(line) {
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
            pairs.into_iter().map(|(name, value)| (name.text, value.text)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(pairs("ENV A=b C=\"d e\" F=g\\ h"), [pair("A", "b"), pair("C", "\"d e\""), pair("F", "g\\ h")]);
    assert_eq!(pairs("ENV A  b c = d"), [pair("A", "b c = d")]);
    assert_eq!(pairs("LABEL a.b=c \\\n  d=e"), [pair("a.b", "c"), pair("d", "e")]);
    assert_eq!(pairs("ENV A="), [pair("A", "")]);
    assert_eq!(
        finding("FROM a\nENV A b\n", "LegacyKeyValueFormat").message,
        "\"ENV key=value\" should be used instead of legacy \"ENV key value\" format"
    );
    let InstructionKind::Arg(arguments) = kind("ARG A B= C=\"x y\"") else { panic!() };
    let shown = arguments
        .iter()
        .map(|argument| (argument.name.text.as_str(), argument.default.as_ref().map(|word| word.text.as_str())))
        .collect::<Vec<_>>();
    assert_eq!(shown, [("A", None), ("B", Some("")), ("C", Some("\"x y\""))]);
}

#[test]
fn health_checks() {
    let InstructionKind::Healthcheck(Healthcheck::Check(check)) =
        kind("HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 --start-period=0s CMD curl x")
    else {
        panic!()
    };
    assert_eq!(
        (check.command, check.interval, check.timeout, check.retries),
        (shell("curl x"), Some(Duration::from_secs(90)), Some(Duration::from_millis(500)), Some(3))
    );
    assert_eq!(check.start_period, None);
    assert_eq!(kind("HEALTHCHECK none"), InstructionKind::Healthcheck(Healthcheck::None));
    assert_eq!(finding("FROM a\nHEALTHCHECK --interval=30 CMD x\n", "E-DURATION").hint.as_deref(), Some("give a unit: --interval=30s"));
    assert!(parsed("FROM a\nHEALTHCHECK curl x\n").has_errors());
    assert!(parsed("FROM a\nHEALTHCHECK NONE x\n").has_errors());
}

#[test]
fn onbuild_carries_its_instruction() {
    let dockerfile = good("FROM a\nONBUILD  RUN <<E\nx\nE\nonbuild copy . /x\n");
    let InstructionKind::OnBuild(trigger) = &dockerfile.stages[0].instructions[0].kind else { panic!() };
    assert_eq!((trigger.keyword(), trigger.trigger_text().as_str()), ("RUN", "RUN <<E\nx\nE"));
    assert_eq!(parse_onbuild(&trigger.trigger_text()).unwrap().heredocs[0].content, "x\n");
    for (refused, docker) in [
        ("ONBUILD ONBUILD RUN x", "dockerfile parse error on line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM x", "dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD maintainer x", "dockerfile parse error on line 2: MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD", "dockerfile parse error on line 2: ONBUILD requires at least one argument"),
    ] {
        assert_eq!(parsed(&format!("FROM a\n{refused}\n")).docker_text(), Some(docker), "{refused}");
    }
    for refused in ["", "FROM a", "ONBUILD RUN x", "RUN a\nRUN b", "MAINTAINER x", "NOPE", "RUN <<E\nx"] {
        assert!(parse_onbuild(refused).is_err(), "{refused}");
    }
    assert_eq!(parse_onbuild("COPY --from=x . /y").unwrap().display(), "COPY --from=x . /y");
}

#[test]
fn directives_stand_at_the_top() {
    let dockerfile =
        good("# Escape = `\r\n# syntax=docker/dockerfile:1\r\n# check=skip=all\r\n# other=1\nFROM a\nRUN a `\n  b\nWORKDIR c:\\x\n");
    assert_eq!((dockerfile.directives.escape, dockerfile.directives.syntax.as_ref().unwrap().0.as_str()), ('`', "docker/dockerfile:1"));
    let InstructionKind::Run(run) = &dockerfile.stages[0].instructions[0].kind else { panic!() };
    assert_eq!(run.form, shell("a   b"));
    assert_eq!(good("\n# escape=`\nFROM a\n").directives.escape, '\\');
    assert_eq!(good("# a comment\n# escape=`\nFROM a\n").directives.escape, '\\');
    for (text, code) in [
        ("# escape=x\nFROM a\n", "E-DIRECTIVE-ESCAPE"),
        ("# escape=`\n# escape=`\nFROM a\n", "E-DIRECTIVE-DUPLICATE"),
        ("# check=nope\nFROM a\n", "E-DIRECTIVE-CHECK"),
    ] {
        finding(text, code);
    }
}

#[test]
fn text_of_any_origin_is_read() {
    let plain = good("FROM a\nRUN b\n");
    for text in ["\u{feff}FROM a\nRUN b\n", "FROM a\r\nRUN b\r\n", "FROM a\nRUN b", "  FROM a\n\tRUN b  \n", "FROM a\n\n#c\nRUN b\n"] {
        let other = good(text);
        assert_eq!(other.stages[0].instructions[0].kind, plain.stages[0].instructions[0].kind, "{text:?}");
        assert_eq!(other.stages[0].from.image.text, "a");
    }
    assert_eq!(good("\u{feff}FROM a\n").stages[0].from.image.span.start.column, 6);
}

#[test]
fn continuation_lines_keep_their_places() {
    let text = "FROM a\nENV A=1 \\\n\n    # note\n    B=2 \\ \n    C=3\nRUN x \\\\\nUSER y\n";
    let dockerfile = good(text);
    let instruction = &dockerfile.stages[0].instructions[0];
    let InstructionKind::Env(pairs) = &instruction.kind else { panic!() };
    let places = pairs.iter().map(|(name, value)| (name.span.start.line, name.span.start.column, value.text.as_str())).collect::<Vec<_>>();
    assert_eq!(places, [(2, 5, "1"), (5, 5, "2"), (6, 5, "3")]);
    assert_eq!(instruction.span.lines(), (2, 6));
    assert_eq!(instruction.display(), "ENV A=1     B=2     C=3");
    assert_eq!(finding(text, "NoEmptyContinuation").span.start.line, 3);
    assert_eq!(dockerfile.stages[0].instructions.len(), 3);
}

#[test]
fn steps_are_displayed_with_upper_case_keywords() {
    let dockerfile = good("from a as b\nrun  echo hi\n");
    assert_eq!(dockerfile.stages[0].from.display(), "FROM a as b");
    assert_eq!(
        (dockerfile.stages[0].instructions[0].display().as_str(), dockerfile.stages[0].instructions[0].original.as_str()),
        ("RUN  echo hi", "run  echo hi")
    );
}

#[test]
fn targets_and_arguments_carry_their_descriptions() {
    let dockerfile = good(
        "# VERSION which one\nARG VERSION=1\n\n# builder makes things\nFROM a AS builder\n# DEBUG more talk\nARG DEBUG\n# not a description\n\nFROM b AS other\nARG UNUSED\nFROM builder AS Final\nARG VERSION\n",
    );
    let targets = outline::targets(&dockerfile);
    let shown = targets
        .iter()
        .map(|target| (target.name.as_deref().unwrap(), target.description.as_deref(), target.is_default))
        .collect::<Vec<_>>();
    assert_eq!(shown, [("builder", Some("makes things"), false), ("other", None, false), ("Final", None, true)]);
    let arguments = outline::arguments(&dockerfile, 2);
    let shown = arguments
        .iter()
        .map(|argument| (argument.name.as_str(), argument.default.as_deref(), argument.description.as_deref()))
        .collect::<Vec<_>>();
    assert_eq!(shown, [("VERSION", Some("1"), Some("which one")), ("DEBUG", None, Some("more talk"))]);
}
