//! What the output of a failed process tells about the cause (M-02, M-14): a program that is not there, else the first line that speaks of an error.

use shipway_store::Store;

use crate::graph::RunOp;
use crate::ops::layer::View;
use crate::ops::select::{self, SourceTree};
use crate::ops::{Cause, MissingProgram, Stack};
use crate::suggestions;

/// Commands a shell has without any file. Only those people type in a RUN.
const BUILTINS: [&str; 14] =
    ["cd", "echo", "eval", "exec", "exit", "export", "printf", "set", "shift", "source", "test", "trap", "umask", "unset"];

/// Where programs are looked for when the step has no `PATH`.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Reads the output of a failed step.
pub(crate) fn cause(store: &Store, op: &RunOp, below: &Stack, output: &str) -> Cause {
    let program = output.lines().rev().find_map(not_found).map(|name| missing(store, op, below, &name));
    let first_error = output.lines().find(|line| is_error_line(line)).map(|line| line.trim().to_owned());
    Cause { first_error, program }
}

/// A program by a name the image does not have.
pub(crate) fn missing(store: &Store, op: &RunOp, below: &Stack, name: &str) -> MissingProgram {
    let programs = View::of(store, below).map(|view| programs(&view, op)).unwrap_or_default();
    let lower = name.to_lowercase();
    // Without a shell in between there are only files.
    let builtins: &[&str] = if op.args.first().is_some_and(|first| first == name) { &[] } else { &BUILTINS };
    let known = || builtins.iter().copied().chain(programs.iter().map(String::as_str));
    let same = known().find(|known| *known == lower);
    let near = same.or_else(|| suggestions::spelling(name, known())).filter(|near| *near != name);
    MissingProgram { name: name.to_owned(), near: near.map(str::to_owned) }
}

/// Names of the files in the folders of `PATH`.
fn programs(view: &View, op: &RunOp) -> Vec<String> {
    let path = op.env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(USUAL_PATH);
    let folders = path.split(':').filter_map(|folder| select::resolve(view, folder.trim_matches('/').as_bytes()).ok().flatten());
    let names = folders.filter_map(|(folder, _)| view.names(&folder).ok()).flatten();
    names.filter_map(|name| String::from_utf8(name).ok()).collect()
}

/// Whether a line of output speaks of an error. Lines of tools that grade their lines are taken at their word.
fn is_error_line(line: &str) -> bool {
    let line = line.to_lowercase();
    let is_mild =
        ["[info]", "[debug]", "[warn", "info:", "warning:", "debug:", "0 errors", "no errors"].iter().any(|sign| line.contains(sign));
    !is_mild
        && ["error", "fatal", "cannot ", "can't ", "failed", "failure", "no such file", "denied"].iter().any(|word| line.contains(word))
}

/// The program a shell did not find: `/bin/sh: ECHO: not found`, `/bin/sh: 1: ECHO: not found`, `bash: line 1: ECHO: command not found`.
fn not_found(line: &str) -> Option<String> {
    let before = line.trim_end().strip_suffix(": not found").or_else(|| line.trim_end().strip_suffix(": command not found"))?;
    let program = before.rsplit(": ").next()?;
    (!program.is_empty() && !program.contains([' ', '/'])).then(|| program.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_tell_which_program_is_missing() {
        for (line, expected) in [
            ("/bin/sh: ECHO: not found", Some("ECHO")),
            ("/bin/sh: 1: mvn: not found", Some("mvn")),
            ("bash: line 1: gcc: command not found", Some("gcc")),
            ("error: package foo not found", None),
            ("sh: /x/y: not found", None),
        ] {
            assert_eq!(not_found(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn the_line_that_names_the_cause_is_told_from_the_noise_around_it() {
        for (line, expected) in [
            ("[ERROR] COMPILATION ERROR :", true),
            ("fatal: not a git repository", true),
            ("cp: can't stat 'x': No such file or directory", true),
            ("[INFO] BUILD FAILURE", false),
            ("[INFO] Tests run: 4, Failures: 0, Errors: 0", false),
            ("warning: unused variable `error`", false),
            ("compiled with 0 errors", false),
            ("Downloading", false),
        ] {
            assert_eq!(is_error_line(line), expected, "{line}");
        }
    }
}
