//! What Docker refuses, in its words, and what the checks say, in BuildKit's.

use super::{finding, parsed, summary};

#[test]
fn what_docker_refuses_is_refused_in_its_words() {
    let parse = |text: &str| format!("dockerfile parse error on line 2: {text}");
    for (line, docker) in [
        ("RUNN a", parse("unknown instruction: RUNN")),
        ("FROM", parse("FROM requires either one or three arguments")),
        ("FROM a b", parse("FROM requires either one or three arguments")),
        ("FROM a AS", parse("FROM requires either one or three arguments")),
        ("FROM a AS 1x", parse("invalid name for build stage: \"1x\", name can't start with a number or contain symbols")),
        ("COPY x", parse("COPY requires at least two arguments, but only one was provided. Destination could not be determined")),
        ("ADD", parse("ADD requires at least two arguments, but only one was provided. Destination could not be determined")),
        ("ENV", parse("ENV requires at least one argument")),
        ("ENV A", parse("ENV must have two arguments")),
        ("ENV A=b C", parse("Syntax error - can't find = in \"C\". Must be of the form: name=value")),
        ("LABEL =b", parse("LABEL names can not be blank")),
        ("ARG", parse("ARG requires at least one argument")),
        ("ARG =x", parse("ARG names can not be blank")),
        ("EXPOSE", parse("EXPOSE requires at least one argument")),
        ("EXPOSE abc", "invalid containerPort: abc".to_owned()),
        ("EXPOSE 80/xyz", "invalid proto: xyz".to_owned()),
        ("USER", parse("USER requires exactly one argument")),
        ("WORKDIR", parse("WORKDIR requires exactly one argument")),
        ("STOPSIGNAL", parse("STOPSIGNAL requires exactly one argument")),
        ("VOLUME []", parse("VOLUME requires at least one argument")),
        ("SHELL []", parse("SHELL requires at least one argument")),
        ("HEALTHCHECK CMD", parse("Missing command after HEALTHCHECK CMD")),
        ("COPY --nope a b", parse("unknown flag: --nope")),
        ("COPY --from a b", parse("missing a value on flag: --from")),
        ("COPY --link=maybe a b", parse("expecting boolean value for flag --link, not: maybe")),
        ("COPY --chown=a --chown=b a b", parse("duplicate flag specified: --chown")),
        ("COPY --chmod=999 a b", parse("invalid chmod parameter: '999'. it should be octal string and between 0 and 07777")),
        ("COPY --from=3 a b", "invalid from flag value 3: index out of bounds".to_owned()),
        ("COPY --from=0 a b", "circular dependency detected on stage: 0".to_owned()),
        ("WORKDIR ${a", parse("failed to process \"${a\": syntax error: missing '}'")),
    ] {
        let parsed = parsed(&format!("FROM a\n{line}\n"));
        assert_eq!(parsed.docker_text(), Some(docker.as_str()), "{line}: {:#?}", parsed.diagnostics);
    }
    assert_eq!(parsed("").docker_text(), Some("the Dockerfile (Dockerfile) cannot be empty"));
    assert_eq!(parsed("# only\n\n").docker_text(), Some("failed to parse Dockerfile: file with no instructions"));
    assert_eq!(parsed("RUN x\n").docker_text(), Some("no build stage in current context"));
    assert_eq!(parsed("ARG a=b\n").docker_text(), Some("no build stage in current context"));
}

#[test]
fn circles_between_stages_are_shown() {
    let text = "FROM x AS a\nCOPY --from=b / /\nFROM x AS b\nCOPY --from=c / /\nFROM x AS c\nRUN --mount=from=a,target=/m y\n";
    assert_eq!(finding(text, "E-STAGE-CIRCLE").message, "stages depend on each other: a -> b -> c -> a");
    assert!(!parsed("FROM x AS a\nCOPY --from=b / /\nFROM x AS b\nRUN y\n").has_errors());
}

#[test]
fn checks_of_style_and_safety() {
    for (text, wanted) in [
        (
            "FROM a AS x\nFROM b AS X\nRUN y\n",
            vec![
                "2:11 StageNameCasing Stage name 'X' should be lowercase",
                "2:11 DuplicateStageName Duplicate stage name \"X\", stage names should be unique",
            ],
        ),
        ("FROM a AS context\n", vec!["1:11 ReservedStageName Stage name should not use the same name as reserved stage \"context\""]),
        (
            "FROM a\nrun x\nUSER y\n",
            vec!["2:1 ConsistentInstructionCasing Command 'run' should match the case of the command majority (uppercase)"],
        ),
        (
            "from a\nrun x\nEntrypoint [\"y\"]\n",
            vec!["3:1 ConsistentInstructionCasing Command 'Entrypoint' should match the case of the command majority (lowercase)"],
        ),
        ("FROM a\nMAINTAINER me\n", vec!["2:1 MaintainerDeprecated Maintainer instruction is deprecated in favor of using label"]),
        ("FROM a:$TAGG\n", vec!["1:6 UndefinedArgInFrom FROM argument 'TAGG' is not declared"]),
        ("ARG TAG=1\nFROM a:$TAGG\n", vec!["2:6 UndefinedArgInFrom FROM argument 'TAGG' is not declared (did you mean TAG?)"]),
        ("ARG B\nFROM $B\n", vec!["2:6 InvalidDefaultArgInFrom Default value for ARG $B results in empty or invalid base image name"]),
        ("ARG V\nFROM a:$V\n", vec!["2:6 InvalidDefaultArgInFrom Default value for ARG a:$V results in empty or invalid base image name"]),
        ("ARG V=1\nFROM a:${V}\n", vec![]),
        (
            "FROM --platform=$TARGETPLATFORM a\n",
            vec![
                "1:17 RedundantTargetPlatform Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
            ],
        ),
        (
            "FROM --platform=linux/amd64 a\n",
            vec!["1:17 FromPlatformFlagConstDisallowed FROM --platform flag should not use constant value \"linux/amd64\""],
        ),
        ("FROM --platform=linux/amd64 a AS build_amd64\n", vec![]),
        (
            "FROM a\nARG API_TOKEN\nENV PUBLIC_KEY=1 MONKEY=2\n",
            vec!["2:5 SecretsUsedInArgOrEnv Do not use ARG or ENV instructions for sensitive data (ARG \"API_TOKEN\")"],
        ),
        (
            "FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n",
            vec![
                "2:1 MultipleInstructionsDisallowed Multiple CMD instructions should not be used in the same stage because only the last one will be used",
            ],
        ),
        ("FROM a\nEXPOSE 80/TcP\n", vec!["2:8 ExposeProtoCasing Defined protocol '80/TcP' in EXPOSE instruction should be lowercase"]),
        (
            "FROM a\nEXPOSE 127.0.0.1:80:80\n",
            vec![
                "2:8 ExposeInvalidFormat EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
            ],
        ),
        (
            "# check=experimental=UnusedStage\nFROM a AS x\nFROM b AS y\nFROM x\n",
            vec!["3:1 UnusedStage Stage \"y\" is not used by the last stage"],
        ),
        (
            "# check=experimental=CacheUnfriendlyOrder\nFROM a\nCOPY . .\nRUN npm install\n",
            vec!["3:1 CacheUnfriendlyOrder The whole context is copied before \"npm install\" on line 4"],
        ),
        ("# check=experimental=CacheUnfriendlyOrder\nFROM a\nCOPY package.json .\nRUN npm install\nCOPY . .\n", vec![]),
        (
            "# check=experimental=AptWithoutUpdate\nFROM a\nRUN apt-get -y install x\nRUN apt-get update && apt-get install y\n",
            vec!["3:1 AptWithoutUpdate Packages are installed without updating the package lists in the same instruction"],
        ),
        ("# check=experimental=RootUser\nFROM a AS x\nUSER me\nFROM x\n", vec![]),
        (
            "# check=experimental=RootUser\nFROM a\nUSER root:x\n",
            vec!["3:6 RootUser The final image runs as root unless its base image says otherwise"],
        ),
        (
            "# check=experimental=InvalidDefinitionDescription\n# some words\n\n# wrong words\nFROM a AS x\n",
            vec!["5:11 InvalidDefinitionDescription Comment for FROM should follow the format: `# x <description>`"],
        ),
    ] {
        assert_eq!(summary(text), wanted, "{text:?}");
    }
}
