//! The mistakes of the study notes (features.md section 2), typed as the notes typed them: each is answered with its place, why, the nearest right
//! thing and a stable code, and ends with the right exit code. Whole texts are compared; only folders, times and ids are filtered.
//!
//! What must stay true: what can be found without running is found before anything runs, all of it at once; advice stands once; dockerd's own line is
//! still there, word for word, for clients that match on it.

use std::io::{BufRead as _, Read as _};
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use shipway_testkit::{Daemon, eventually};

use crate::BINARY;

/// A daemon with the images of the notes, and folders to build in.
struct Notes {
    daemon: Daemon,
    folders: AtomicU32,
}

/// What a command said and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    text: String,
    code: i32,
}

impl Notes {
    fn new() -> Self {
        let daemon = Daemon::start(BINARY);
        daemon.import_busybox("diamol/base");
        for name in ["golang", "diamol/ch03-web-ping"] {
            assert!(daemon.shipway(&["tag", "diamol/base", name]).status.success());
        }
        Self { daemon, folders: AtomicU32::new(0) }
    }

    /// A folder with these files in it.
    fn folder(&self, files: &[(&str, &str)]) -> PathBuf {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        let folder = self.daemon.scratch().join(format!("case{number}/here"));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    /// `shipway build -q FLAGS FOLDER`: what a person reads when progress is left out.
    fn build(&self, files: &[(&str, &str)], flags: &[&str]) -> Said {
        let folder = self.folder(files);
        let place = folder.to_str().unwrap();
        let arguments: Vec<&str> = ["build", "-q"].into_iter().chain(flags.iter().copied()).chain([place]).collect();
        self.said(&self.daemon.shipway(&arguments), place)
    }

    /// The end of the plain display: the warnings.
    fn warnings(&self, files: &[(&str, &str)], flags: &[&str]) -> Said {
        let folder = self.folder(files);
        let place = folder.to_str().unwrap();
        let arguments: Vec<&str> = ["build", "--progress", "plain"].into_iter().chain(flags.iter().copied()).chain([place]).collect();
        let said = self.said(&self.daemon.shipway(&arguments), place);
        let lines: Vec<&str> = said.text.lines().collect();
        let begin = lines.iter().position(|line| line.contains(" found:")).unwrap_or(lines.len());
        Said { text: lines[begin..].join("\n") + "\n", code: said.code }
    }

    /// The same build by docker's own client: its two streams, without what it says about itself. None where it is not installed.
    fn docker_build(&self, files: &[(&str, &str)], flags: &[&str]) -> Option<(String, Said)> {
        let folder = self.folder(files);
        let place = folder.to_str().unwrap();
        let arguments: Vec<&str> = ["build"].into_iter().chain(flags.iter().copied()).chain([place]).collect();
        let output = self.daemon.docker(&arguments)?;
        let about_itself =
            ["DEPRECATED", "BuildKit is currently", "environment-variable", "Install the buildx", "docs.docker.com/go/buildx"];
        let said = self.said(&output, place);
        let lines = said.text.lines().filter(|line| !line.is_empty() && !about_itself.iter().any(|words| line.contains(words)));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        Some((String::from_utf8_lossy(&output.stdout).into_owned(), Said { text, code: said.code }))
    }

    /// Any command.
    fn shipway(&self, arguments: &[&str]) -> Said {
        self.said(&self.daemon.shipway(arguments), "nowhere")
    }

    /// Standard error, filtered, and the exit code.
    fn said(&self, output: &Output, folder: &str) -> Said {
        let text = String::from_utf8_lossy(&output.stderr).replace(folder, "CONTEXT");
        let text = text.replace(self.daemon.scratch().to_str().unwrap(), "SCRATCH");
        let lines = text.lines().map(without_time).map(|line| match line.split_once(" history logs ") {
            Some((before, id)) if id.len() == 12 => format!("{before} history logs ID"),
            _ => line,
        });
        Said { text: lines.map(|line| format!("{line}\n")).collect(), code: output.status.code().unwrap() }
    }
}

/// `0.014 hello` -> `TIME hello`.
fn without_time(line: &str) -> String {
    match line.split_once(' ') {
        Some((first, rest)) if first.contains('.') && first.parse::<f64>().is_ok() => format!("TIME {rest}"),
        _ => line.to_owned(),
    }
}

#[track_caller]
fn check(said: &Said, code: i32, text: &str) {
    assert_eq!(said.text.trim_end(), text.trim_matches('\n').trim_end(), "\n--- what was said:\n{}", said.text);
    assert_eq!(said.code, code);
}

#[test]
fn m_01_an_image_name_in_capitals() {
    let said = Notes::new().build(&[("Dockerfile", "FROM DIAMOL/BASE AS BUILD-STAGE\nRUN echo hi\n")], &[]);
    check(
        &said,
        1,
        r##"
Dockerfile:1:6: error: image names are lowercase: DIAMOL/BASE -> diamol/base [E-REFERENCE-CASE]
   1 | FROM DIAMOL/BASE AS BUILD-STAGE
     |      ^^^^^^^^^^^
  why: names of stages may be of any case, names of images may not; no stage of this file has this name
  hint: write diamol/base
shipway: build failed: line 1: image names are lowercase: DIAMOL/BASE -> diamol/base
"##,
    );
}

#[test]
fn m_02_a_shouted_command_is_answered_with_the_quiet_one_and_where_its_output_goes() {
    let said = Notes::new().build(&[("Dockerfile", "FROM diamol/base AS build-stage\nrun ECHO 'Building...' > build.txt\n\nFROM diamol/base\nCOPY --from=build-stage /build.txt /build.txt\nCMD cat /build.txt\n")], &[]);
    check(
        &said,
        127,
        r##"
------
 > [build-stage 2/2] RUN ECHO 'Building...' > build.txt:
TIME /bin/sh: ECHO: not found
------
Dockerfile:2:1: error: "RUN ECHO 'Building...' > build.txt" ended with exit code 127 [E-RUN-FAILED]
   2 | run ECHO 'Building...' > build.txt
     | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  why: "ECHO" is not a program in this image (commands are case sensitive); "> build.txt" writes into the working folder: /build.txt, which line 5 copies
  hint: did you mean echo?
shipway: build failed: process "/bin/sh -c ECHO 'Building...' > build.txt" did not complete successfully: exit code: 127
  hint: the whole log: shipway build history logs ID
"##,
    );
}

#[test]
fn m_03_a_redirection_without_a_file_is_found_before_anything_runs() {
    let said = Notes::new().build(&[("Dockerfile", "FROM diamol/base AS build-stage\nRUN echo 'Building...' > /build.txt\n\nFROM diamol/base AS test-stage\nRUN echo 'Testing...'  >\n")], &[]);
    check(
        &said,
        1,
        r##"
Dockerfile:5:24: error: the redirection ">" has no file name after it [ShellSyntax]
   5 | RUN echo 'Testing...'  >
     |                        ^
  why: the shell would refuse the whole command
  hint: write a file name after >, or take it away
shipway: build failed: line 5: the redirection ">" has no file name after it
"##,
    );
}

#[test]
fn m_04_all_lines_that_are_meant_as_comments_are_listed_at_once() {
    let said = Notes::new().build(&[("Dockerfile", "--기반 이미지\nFROM diamol/base\n-- 빌더 이미지\nRUN echo hi\n")], &[]);
    check(
        &said,
        1,
        r##"
Dockerfile:1:1: error: "--" does not start a comment in a Dockerfile; use "#" [E-COMMENT]
   1 | --기반 이미지
     | ^^^^^^
  hint: write # 기반 이미지
Dockerfile:3:1: error: "--" does not start a comment in a Dockerfile; use "#" [E-COMMENT]
   3 | -- 빌더 이미지
     | ^^
  hint: write # 빌더 이미지
shipway: build failed: line 1: "--" does not start a comment in a Dockerfile; use "#" (and 1 more)
"##,
    );
}

#[test]
fn m_05_mistyped_instructions_are_listed_at_once_with_the_right_ones() {
    let said = Notes::new().build(&[("Dockerfile", "FROM diamol/base\nEVN A=b\nRUNN echo hi\n")], &[]);
    check(
        &said,
        1,
        r##"
Dockerfile:2:1: error: unknown instruction: "EVN" [E-INSTRUCTION-UNKNOWN]
   2 | EVN A=b
     | ^^^
  hint: did you mean ENV?
Dockerfile:3:1: error: unknown instruction: "RUNN" [E-INSTRUCTION-UNKNOWN]
   3 | RUNN echo hi
     | ^^^^
  hint: did you mean RUN?
shipway: build failed: line 2: unknown instruction: "EVN" (and 1 more)
"##,
    );
}

#[test]
fn m_06_a_mistyped_image_is_answered_with_the_one_used_above() {
    let said = Notes::new()
        .build(&[("Dockerfile", "FROM diamol/base AS builder\nRUN echo hi > /x\n\nFROM diamlo/base\nCOPY --from=builder /x /x\n")], &[]);
    check(
        &said,
        1,
        r##"
------
 > [internal] load metadata for docker.io/diamlo/base:latest:
------
Dockerfile:4:6: error: image "diamlo/base" is not here, and the registry docker.io could not be reached [E-IMAGE-NOTFOUND]
   4 | FROM diamlo/base
     |      ^^^^^^^^^^^
  why: line 1 uses diamol/base
  hint: did you mean diamol/base?
shipway: build failed: image "diamlo/base:latest" is not here, and the registry docker.io could not be reached
"##,
    );
}

/// Nothing listens at port 1 of this machine.
#[test]
fn a_registry_that_cannot_be_reached_is_named_and_an_image_that_is_here_is_not_denied() {
    let notes = Notes::new();
    let said = notes.build(&[("Dockerfile", "FROM 127.0.0.1:1/team/app:2\n")], &[]);
    check(
        &said,
        1,
        r##"
------
 > [internal] load metadata for 127.0.0.1:1/team/app:2:
------
Dockerfile:1:6: error: image "127.0.0.1:1/team/app:2" is not here, and the registry 127.0.0.1:1 could not be reached [E-IMAGE-NOTFOUND]
   1 | FROM 127.0.0.1:1/team/app:2
     |      ^^^^^^^^^^^^^^^^^^^^^^
  why: cannot pull 127.0.0.1:1/team/app:2: cannot connect to 127.0.0.1:1 at 127.0.0.1: Connection refused (os error 111)
  hint: nothing listens there; a registry of your own: shipway registry serve --addr 127.0.0.1:1 --storage FOLDER
shipway: build failed: image "127.0.0.1:1/team/app:2" is not here, and the registry 127.0.0.1:1 could not be reached
"##,
    );
    assert!(notes.daemon.shipway(&["tag", "diamol/base", "127.0.0.1:1/team/app:2"]).status.success());
    let said = notes.build(&[("Dockerfile", "FROM 127.0.0.1:1/team/app:2\n")], &["--pull"]);
    check(
        &said,
        1,
        r##"
------
 > [internal] load metadata for 127.0.0.1:1/team/app:2:
------
Dockerfile:1:6: error: image "127.0.0.1:1/team/app:2" could not be pulled anew: the registry 127.0.0.1:1 could not be reached [E-IMAGE-NOTFOUND]
   1 | FROM 127.0.0.1:1/team/app:2
     |      ^^^^^^^^^^^^^^^^^^^^^^
  why: cannot pull 127.0.0.1:1/team/app:2: cannot connect to 127.0.0.1:1 at 127.0.0.1: Connection refused (os error 111)
  hint: the image that is here serves without --pull
shipway: build failed: image "127.0.0.1:1/team/app:2" could not be pulled anew: the registry 127.0.0.1:1 could not be reached
"##,
    );
}

#[test]
fn m_13_files_that_are_not_in_the_context_say_where_they_are() {
    let said = Notes::new().build(&[("Dockerfile", "FROM diamol/base\nWORKDIR /usr/src/iotd\nCOPY pom.xml .\nCOPY app.js .\nCOPY secret.txt .\nCOPY ../outside .\nRUN echo hi\n"), ("App.js", ""), ("secret.txt", ""), (".dockerignore", "secret.txt\n"), ("../image-of-the-day/pom.xml", "")], &[]);
    check(
        &said,
        1,
        r##"
Dockerfile:3:6: error: "pom.xml" is not in the build context [E-COPY-NOTFOUND]
   3 | COPY pom.xml .
     |      ^^^^^^^
  why: the context CONTEXT has .dockerignore, App.js, Dockerfile
  hint: it exists at ../image-of-the-day/pom.xml: run the build there, or pass that folder as context
Dockerfile:4:6: error: "app.js" is not in the build context [E-COPY-NOTFOUND]
   4 | COPY app.js .
     |      ^^^^^^
  why: names are case sensitive: the context has "App.js"
  hint: write App.js
Dockerfile:5:6: error: "secret.txt" is left out of the build context by line 1 of the ignore file [E-COPY-NOTFOUND]
   5 | COPY secret.txt .
     |      ^^^^^^^^^^
  why: the context CONTEXT has it, but the ignore file excludes it
  hint: add a line "!secret.txt" to the ignore file, or change that line
Dockerfile:6:6: error: "../outside" lies outside of the build context [E-COPY-OUTSIDE]
   6 | COPY ../outside .
     |      ^^^^^^^^^^
  why: a build reads nothing but the context CONTEXT
  hint: pass a folder further up as context, and name the Dockerfile with -f
shipway: build failed: line 3: "pom.xml" is not in the build context (and 3 more)
"##,
    );
}

#[test]
fn m_14_the_first_error_of_a_tool_is_repeated_and_how_little_was_copied() {
    let said = Notes::new().build(&[("Dockerfile", "FROM diamol/base\nWORKDIR /src\nCOPY . .\nRUN echo '[INFO] Scanning'; echo '[ERROR] no sources to compile'; echo '[ERROR] Re-run Maven'; exit 1\n")], &[]);
    check(
        &said,
        1,
        r##"
------
 > [4/4] RUN echo '[INFO] Scanning'; echo '[ERROR] no sources to compile'; echo '[ERROR] Re-run Maven'; exit 1:
TIME [INFO] Scanning
TIME [ERROR] no sources to compile
TIME [ERROR] Re-run Maven
------
Dockerfile:4:1: error: "RUN echo '[INFO] Scanning'; echo '[ERROR] no sources to compile'; echo '[ERROR] Re-run Maven'; exit 1" ended with exit code 1 [E-RUN-FAILED]
   4 | RUN echo '[INFO] Scanning'; echo '[ERROR] no sources to compile'; echo '[ERROR] Re-run Maven'; exit 1
     | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  why: [ERROR] no sources to compile
  hint: "COPY . ." on line 3 brought 1 file only, Dockerfile: are the sources in the context?
shipway: build failed: process "/bin/sh -c echo '[INFO] Scanning'; echo '[ERROR] no sources to compile'; echo '[ERROR] Re-run Maven'; exit 1" did not complete successfully: exit code: 1
  hint: the whole log: shipway build history logs ID
"##,
    );
}

#[test]
fn m_15_a_path_that_no_instruction_makes() {
    let said = Notes::new().build(&[("Dockerfile", "FROM diamol/base AS builder\nWORKDIR /usr/src/iotd\nCOPY pom.xml .\n\nFROM diamol/base\nWORKDIR /app\nCOPY --from=builder /usr/src/iotd/target/iotd-service-0.1.0.jar .\n"), ("pom.xml", "")], &[]);
    check(
        &said,
        1,
        r##"
------
 > [stage-1 3/3] COPY --from=builder /usr/src/iotd/target/iotd-service-0.1.0.jar .:
------
Dockerfile:7:21: error: stage "builder" has no "/usr/src/iotd/target/iotd-service-0.1.0.jar" [E-COPY-FROM-NOTFOUND]
   7 | COPY --from=builder /usr/src/iotd/target/iotd-service-0.1.0.jar .
     |                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  why: nothing in stage "builder" creates /usr/src/iotd/target; it has /usr/src/iotd/pom.xml only
  hint: add the instruction that makes it to stage "builder", or copy a path that is there
shipway: build failed: stage "builder" has no "/usr/src/iotd/target/iotd-service-0.1.0.jar"
"##,
    );
}

#[test]
fn m_16_a_missing_dot_in_the_name_of_an_artifact() {
    let said = Notes::new().build(&[("Dockerfile", "FROM diamol/base AS builder\nWORKDIR /usr/src/iotd\nCOPY pom.xml .\nRUN mkdir target && touch target/iotd-service-0.1.0.jar\n\nFROM diamol/base\nWORKDIR /app\nCOPY --from=builder /usr/src/iotd/target/iotd-service-0.1.0jar .\n"), ("pom.xml", "")], &[]);
    check(
        &said,
        1,
        r##"
------
 > [stage-1 3/3] COPY --from=builder /usr/src/iotd/target/iotd-service-0.1.0jar .:
------
Dockerfile:8:21: error: stage "builder" has no "/usr/src/iotd/target/iotd-service-0.1.0jar" [E-COPY-FROM-NOTFOUND]
   8 | COPY --from=builder /usr/src/iotd/target/iotd-service-0.1.0jar .
     |                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  why: it has /usr/src/iotd/target/iotd-service-0.1.0.jar (made by "RUN mkdir target && touch target/iotd-service-0.1.0.jar", line 4)
  hint: did you mean /usr/src/iotd/target/iotd-service-0.1.0.jar? Use COPY --from=builder /usr/src/iotd/target/iotd-service-0.1.0.jar .
shipway: build failed: stage "builder" has no "/usr/src/iotd/target/iotd-service-0.1.0jar"
"##,
    );
}

#[test]
fn m_17_a_path_of_the_wrong_folder_names_the_right_one_and_the_command() {
    let said = Notes::new().build(
        &[(
            "Dockerfile",
            "FROM golang AS builder\nRUN mkdir /web && touch /web/server\n\nFROM diamol/base\nCOPY --from=builder /server .\n",
        )],
        &[],
    );
    check(
        &said,
        1,
        r##"
------
 > [stage-1 2/2] COPY --from=builder /server .:
------
Dockerfile:5:21: error: stage "builder" has no "/server" [E-COPY-FROM-NOTFOUND]
   5 | COPY --from=builder /server .
     |                     ^^^^^^^
  why: it has /web/server (made by "RUN mkdir /web && touch /web/server", line 2)
  hint: did you mean /web/server? Use COPY --from=builder /web/server .
shipway: build failed: stage "builder" has no "/server"
"##,
    );
}

#[test]
fn m_24_a_digest_after_a_colon() {
    let said =
        Notes::new().build(&[("Dockerfile", "FROM centos:sha256:76d24f3ba3317fa945743bb3746fbaf3a0b752f10b10376960de01da70685fbd\n")], &[]);
    check(
        &said,
        1,
        r##"
Dockerfile:1:6: error: a digest is written with @: centos@sha256:76d24f3ba3317fa945743bb3746fbaf3a0b752f10b10376960de01da70685fbd [E-REFERENCE-DIGEST]
   1 | FROM centos:sha256:76d24f3ba3317fa945743bb3746fbaf3a0b752f10b10376960de01da70685fbd
     |      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  why: after ":" stands a tag; "@" pins an image by its digest
  hint: write centos@sha256:76d24f3ba3317fa945743bb3746fbaf3a0b752f10b10376960de01da70685fbd
shipway: build failed: line 1: a digest is written with @: centos@sha256:76d24f3ba3317fa945743bb3746fbaf3a0b752f10b10376960de01da70685fbd
"##,
    );
}

#[test]
fn m_31_a_mistyped_stage_is_answered_before_any_image_is_asked_for() {
    let said = Notes::new()
        .build(&[("Dockerfile", "FROM diamol/base AS builder\nRUN echo hi > /x\n\nFROM diamol/base\nCOPY --from=bulider /x /x\n")], &[]);
    check(
        &said,
        1,
        r##"
Dockerfile:5:13: error: there is no stage "bulider" [E-STAGE-UNKNOWN]
   5 | COPY --from=bulider /x /x
     |             ^^^^^^^
  why: the stage "builder" begins on line 1; an image named "bulider" is not known here
  hint: did you mean builder? For an image, write its full name: docker.io/library/bulider
shipway: build failed: line 5: there is no stage "bulider"
"##,
    );
}

#[test]
fn mistakes_of_all_kinds_are_told_in_one_answer_before_anything_runs() {
    let said = Notes::new().build(
        &[(
            "Dockerfile",
            "FROM diamol/base AS builder\nEVN A=b\nRUN echo 'open\nCOPY gone.txt .\nFROM DIAMOL/BASE\nCOPY --from=bulider /x /x\n",
        )],
        &[],
    );
    check(
        &said,
        1,
        r##"
Dockerfile:2:1: error: unknown instruction: "EVN" [E-INSTRUCTION-UNKNOWN]
   2 | EVN A=b
     | ^^^
  hint: did you mean ENV?
Dockerfile:3:10: error: the single quote is not closed [ShellSyntax]
   3 | RUN echo 'open
     |          ^
  why: the shell would refuse the whole command
  hint: close it with ', or write \' for the letter itself
Dockerfile:4:6: error: "gone.txt" is not in the build context [E-COPY-NOTFOUND]
   4 | COPY gone.txt .
     |      ^^^^^^^^
  why: the context CONTEXT has Dockerfile
Dockerfile:5:6: error: image names are lowercase: DIAMOL/BASE -> diamol/base [E-REFERENCE-CASE]
   5 | FROM DIAMOL/BASE
     |      ^^^^^^^^^^^
  why: names of stages may be of any case, names of images may not; no stage of this file has this name
  hint: write diamol/base
Dockerfile:6:13: error: there is no stage "bulider" [E-STAGE-UNKNOWN]
   6 | COPY --from=bulider /x /x
     |             ^^^^^^^
  why: the stage "builder" begins on line 1; an image named "bulider" is not known here
  hint: did you mean builder? For an image, write its full name: docker.io/library/bulider
shipway: build failed: line 2: unknown instruction: "EVN" (and 4 more)
"##,
    );
}

#[test]
fn m_01_also_warns_about_the_stage_in_capitals() {
    let said = Notes::new().warnings(&[("Dockerfile", "FROM DIAMOL/BASE AS BUILD-STAGE\n")], &[]);
    assert!(
        said.text.starts_with(
            " 1 warning found:\n - StageNameCasing: Stage name 'BUILD-STAGE' should be lowercase (line 1)\n   write build-stage\n"
        ),
        "{said:?}"
    );
}

#[test]
fn m_08_a_tag_that_begins_with_a_dash() {
    let said = Notes::new().shipway(&["image", "build", "--tag", "-web-ping", "./"]);
    check(
        &said,
        125,
        r##"
shipway: invalid argument "-web-ping" for "-t, --tag" flag: invalid reference format
  hint: names start with a letter or digit; did you mean web-ping?
"##,
    );
}

#[test]
fn m_09_a_mistyped_group_gets_the_whole_line_back() {
    let said = Notes::new().shipway(&["iage", "build", "-t", "image-gallery", "."]);
    check(
        &said,
        1,
        r##"
shipway: unknown command: shipway iage
See 'shipway --help'.
  hint: did you mean "shipway image build -t image-gallery ."?
"##,
    );
}

#[test]
fn m_18_m_29_m_30_habits_are_warned_of_with_the_reason_and_the_right_line() {
    let files = [("Dockerfile", "FROM diamol/base as BUILDER\nWORKDIR web\nCMD cat /build.txt\n")];
    check(
        &Notes::new().warnings(&files, &[]),
        0,
        r##"
 4 warnings found:
 - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)
   write AS
 - StageNameCasing: Stage name 'BUILDER' should be lowercase (line 1)
   write builder
 - WorkdirRelativePath: Relative workdir "web" can have unexpected results if the base image changes (line 2)
   WORKDIR web is /web here; it changes if the base image changes
   write WORKDIR /web
 - JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 3)
   the shell stands between the container and the program: a stop signal reaches the shell only, and stopping takes 10 seconds
   write CMD ["cat", "/build.txt"]
"##,
    );
}

#[test]
fn m_19_an_image_where_a_container_was_meant_names_the_container_and_the_command() {
    let notes = Notes::new();
    assert_eq!(notes.build(&[("Dockerfile", "FROM diamol/base\nCMD [\"true\"]\n")], &["-t", "multi-stage"]).code, 0);
    assert_eq!(notes.shipway(&["run", "--name", "ms-test", "multi-stage"]).code, 0);
    let said = notes.shipway(&["exec", "-it", "multi-stage", "sh"]);
    let text = said.text.replace("Less than a second ago", "AGO").replace("1 second ago", "AGO").replace("2 seconds ago", "AGO");
    check(
        &Said { text, code: said.code },
        1,
        r##"
shipway: Error response from daemon: No such container: multi-stage
  hint: multi-stage is an image. Container ms-test was made from it but exited (0) AGO - "true" finished. For a shell: shipway run -it multi-stage sh
"##,
    );
    let said = notes.shipway(&["exec", "-it", "ms-test", "sh"]);
    let wanted = ["is not running", "exited (0)", "shipway start ms-test"];
    assert!(said.code == 1 && wanted.iter().all(|words| said.text.contains(words)), "{said:?}");
}

#[test]
fn m_24_a_digest_after_a_colon_is_refused_by_run_too() {
    let said = Notes::new().shipway(&["run", "--rm", "centos:sha256:76d24f3ba331"]);
    check(
        &said,
        125,
        r##"
shipway: invalid reference format
  hint: a digest is written with @: centos@sha256:76d24f3ba331
"##,
    );
}

#[test]
fn m_25_a_dockerfile_given_as_the_context() {
    let notes = Notes::new();
    let folder = notes.folder(&[("Dockerfile", "FROM diamol/base\n")]);
    let place = folder.join("Dockerfile");
    let said = notes.said(&notes.daemon.shipway(&["build", "-t", "x", place.to_str().unwrap()]), folder.to_str().unwrap());
    check(
        &said,
        1,
        r##"
shipway: unable to prepare context: context must be a directory: CONTEXT/Dockerfile
  hint: the argument is the context directory; the Dockerfile is named with -f: shipway build -f CONTEXT/Dockerfile CONTEXT
"##,
    );
}

#[test]
fn m_26_a_build_without_a_context_directory_gets_the_whole_line() {
    let said = Notes::new().shipway(&["build", "-t", "x"]);
    check(
        &said,
        1,
        r##"
shipway: "shipway build" requires exactly 1 argument.
See 'shipway build --help'.

Usage:  shipway build [OPTIONS] PATH | URL | -

Build an image from a Dockerfile
  hint: add the context directory, usually ".": shipway build -t x .
"##,
    );
}

#[test]
fn m_27_a_dockerfile_on_standard_input_has_no_files_beside_it() {
    let notes = Notes::new();
    let output = notes.daemon.shipway_with_input(&["build", "-q", "-"], "FROM no/such\nCOPY pom.xml .\n");
    check(
        &notes.said(&output, "nowhere"),
        1,
        r##"
Dockerfile:2:6: error: this build has no context, so there is no "pom.xml" in it [E-NO-CONTEXT]
   2 | COPY pom.xml .
     |      ^^^^^^^
  why: the Dockerfile came on standard input, so there are no files to copy
  hint: add the context directory: shipway build -f - . < Dockerfile
shipway: build failed: line 2: this build has no context, so there is no "pom.xml" in it
"##,
    );
}

#[test]
fn m_28_two_names_of_one_image_stand_together() {
    let notes = Notes::new();
    for name in ["sample_image", "other", "sample_iamge"] {
        let text = if name == "other" { "FROM diamol/base\nLABEL a=b\n" } else { "FROM diamol/base\nCMD [\"ls\"]\n" };
        assert_eq!(notes.build(&[("Dockerfile", text)], &["-t", name]).code, 0);
    }
    let listed = notes.daemon.shipway(&["image", "ls", "--format", "{{.Repository}} {{.ID}}"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once(' ')).collect();
    let first = names.iter().position(|(name, _)| *name == "sample_iamge").unwrap();
    assert_eq!((names[first + 1].0, names[first + 1].1), ("sample_image", names[first].1), "{listed}");
}

#[test]
fn m_32_a_build_argument_nobody_asked_for_names_the_one_that_was_meant() {
    let files = [("Dockerfile", "FROM diamol/base\nARG FOO=1\nRUN echo $FOO\n")];
    let said = Notes::new().warnings(&files, &["--build-arg", "FOOO=2"]);
    check(
        &said,
        0,
        " 1 warning found:\n - UnconsumedBuildArg: build argument \"FOOO\" is not used by any ARG\n   did you mean FOO (ARG on line 2)?\n",
    );
}

#[test]
fn m_33_an_unknown_filter_names_the_nearest_and_lists_all() {
    let said = Notes::new().shipway(&["image", "ls", "-f", "ref=x"]);
    check(
        &said,
        1,
        r##"
shipway: Error response from daemon: invalid filter 'ref'
  hint: did you mean reference? accepted filters: dangling, label, label!, before, since, until, reference
"##,
    );
}

#[test]
fn m_34_an_image_with_nothing_to_run() {
    let notes = Notes::new();
    assert_eq!(notes.build(&[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")], &["-t", "files"]).code, 0);
    let said = notes.shipway(&["run", "--rm", "files"]);
    check(
        &said,
        125,
        r##"
shipway: Error response from daemon: no command specified
  hint: image files has neither CMD nor ENTRYPOINT; give one: shipway run files <command>
"##,
    );
}

/// dockerd's line stays the first of a refusal and the last of a stream; ours stands beside it.
#[test]
fn dockers_client_reads_dockerds_words_and_the_finding() {
    let notes = Notes::new();
    let said = |text: &str| notes.docker_build(&[("Dockerfile", text), ("Apple.js", "")], &[]);
    let Some((_, refused)) = said("FROM diamol/base\nEVN A=b\n") else { return };
    check(
        &refused,
        1,
        r##"
Error response from daemon: dockerfile parse error on line 2: unknown instruction: EVN
Dockerfile:2:1: error: unknown instruction: "EVN" [E-INSTRUCTION-UNKNOWN]
   2 | EVN A=b
     | ^^^
  hint: did you mean ENV?
"##,
    );
    let (_, refused) = said("FROM diamol/base\nCOPY apple.js .\n").unwrap();
    check(
        &refused,
        1,
        r##"
Error response from daemon: COPY failed: file not found in build context or excluded by .dockerignore: stat apple.js: file does not exist
Dockerfile:2:6: error: "apple.js" is not in the build context [E-COPY-NOTFOUND]
   2 | COPY apple.js .
     |      ^^^^^^^^
  why: names are case sensitive: the context has "Apple.js"
  hint: write Apple.js
"##,
    );
    let (stream, failed) =
        said("FROM golang AS builder\nRUN mkdir /web && touch /web/server\nFROM diamol/base\nCOPY --from=builder /server .\n").unwrap();
    check(&failed, 1, "COPY failed: stat server: file does not exist");
    assert!(stream.ends_with("  hint: did you mean /web/server? Use COPY --from=builder /web/server .\n"), "{stream}");
    // Nothing is known beyond what the program said itself, so nothing is added.
    let (stream, failed) = said("FROM diamol/base\nRUN echo why; exit 7\n").unwrap();
    check(&failed, 7, "The command '/bin/sh -c echo why; exit 7' returned a non-zero code: 7");
    assert!(stream.ends_with("\nwhy\n"), "{stream}");
}

/// The end of a failed build names its log, and the log is there under that name.
#[test]
fn processors_the_machine_does_not_have_are_refused_in_the_words_of_run() {
    let notes = Notes::new();
    let said = notes.build(&[("Dockerfile", "FROM diamol/base\nRUN true\n")], &["--cpuset-cpus", "9999"]);
    let words = "Requested CPUs are not available - requested 9999, available: 0";
    assert!(said.code == 1 && said.text.contains(words) && !said.text.contains("cgroup"), "{said:?}");
}

/// Ctrl-C: the step is told as cancelled, the code is that of a program ended by the signal, and the daemon ends the step.
#[test]
fn an_interrupted_build_says_so_and_its_step_ends() {
    let notes = Notes::new();
    let folder = notes.folder(&[("Dockerfile", "FROM diamol/base\nRUN echo begun; exec sleep 97531\n")]);
    let mut build = std::process::Command::new(BINARY)
        .args(["-H", &format!("unix://{}", notes.daemon.socket().display()), "build", "--progress", "plain", "--network", "none"])
        .arg(folder)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = std::io::BufReader::new(build.stderr.take().unwrap());
    let mut text = String::new();
    while !text.ends_with(" begun\n") {
        assert_ne!(stderr.read_line(&mut text).unwrap(), 0, "{text}");
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&build), rustix::process::Signal::INT).unwrap();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(build.wait().unwrap().code(), Some(130), "{text}");
    assert!(text.contains(" CANCELED\n") && text.ends_with("shipway: build canceled: context canceled\n"), "{text}");
    eventually("the end of the step", 10, || {
        let lists =
            std::fs::read_dir("/proc").unwrap().flatten().map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default());
        lists.into_iter().all(|words| words != b"sleep\x0097531\0").then_some(())
    });
}

#[test]
fn a_failure_names_the_log_that_is_kept() {
    let notes = Notes::new();
    let folder = notes.folder(&[("Dockerfile", "FROM diamol/base\nRUN echo why; exit 7\n")]);
    let output = notes.daemon.shipway(&["build", "-q", folder.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let id = said.trim_end().rsplit_once("shipway build history logs ").expect(&said).1;
    let log = notes.daemon.shipway(&["build", "history", "logs", id]);
    assert!(String::from_utf8_lossy(&log.stdout).contains(" why\n"), "{log:?}");
}

/// `--explain` tells one line per step, and names the file that was edited.
#[test]
fn an_explained_build_names_the_file_that_changed() {
    let notes = Notes::new();
    let folder = notes.folder(&[("Dockerfile", "FROM diamol/base\nCOPY . /site/\nRUN true\n"), ("pages/index.html", "1")]);
    let place = folder.to_str().unwrap();
    let build =
        || String::from_utf8_lossy(&notes.daemon.shipway(&["build", "--explain", "--progress", "plain", place]).stderr).into_owned();
    build();
    assert!(build().contains("\n3 of 3 steps were known:\n  [2/3] COPY . /site/: cached: made "));
    std::fs::write(folder.join("pages/index.html"), "22").unwrap();
    let told = build();
    assert!(told.contains("  [2/3] COPY . /site/: not cached: pages/index.html changed\n"), "{told}");
    assert!(told.contains("  [3/3] RUN true: not cached: the step before it gave another result than the last time\n"), "{told}");
}
