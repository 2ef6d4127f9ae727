//! Finds commands the POSIX shell cannot read, before anything runs them: open quotes, redirections without a target,
//! operators with nothing after them.
//!
//! No false alarms: whatever this small reader does not understand for certain (here-documents, `case` inside
//! substitutions, backquotes, bash's `[[ ]]`, `(( ))` and `$'…'`) it leaves to the shell.

use std::ops::Range;

/// A command line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShellProblem {
    /// Where, in bytes of the command.
    pub(crate) range: Range<usize>,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Whether a `SHELL` is one whose grammar is known here.
pub(crate) fn is_posix_shell(shell: &[String]) -> bool {
    let name = shell.first().map(|path| path.rsplit('/').next().unwrap_or(""));
    let takes_text = shell.last().is_some_and(|flag| flag.starts_with('-') && flag.contains('c'));
    takes_text && matches!(name, Some("sh" | "ash" | "dash" | "bash"))
}

#[derive(Clone, Copy, PartialEq)]
enum Open {
    DoubleQuote(usize),
    /// `$(`, `$((` or `<(` with the number of parentheses still open.
    Substitution {
        start: usize,
        parentheses: usize,
        arithmetic: bool,
    },
    Brace(usize),
}

/// Reads a command; answers the first thing the shell would stumble over.
pub(crate) fn find_problem(command: &str) -> Option<ShellProblem> {
    let unclear = ["<<", "`", "$'", "$\"", "((", "[[", "=("].iter().any(|sign| command.contains(sign)) && !only_arithmetic(command);
    if unclear || (command.contains("$(") && command.contains("case")) {
        return None;
    }
    Reader { command, open: Vec::new(), word_start: true, last_operator: None }.read()
}

/// Whether the only unclear sign is `$((`, which is read.
fn only_arithmetic(command: &str) -> bool {
    let rest = command.replace("$((", "$( ");
    !["<<", "`", "$'", "$\"", "((", "[[", "=("].iter().any(|sign| rest.contains(sign))
}

struct Reader<'a> {
    command: &'a str,
    open: Vec<Open>,
    word_start: bool,
    /// A control operator nothing has followed yet.
    last_operator: Option<Range<usize>>,
}

/// What reading a letter says about the rest.
enum Verdict {
    Continue(usize),
    Problem(ShellProblem),
    /// Not for us to judge.
    Unclear,
    /// A comment: nothing more to read.
    Finished,
}

impl Reader<'_> {
    fn read(mut self) -> Option<ShellProblem> {
        let mut position = 0;
        while position < self.command.len() {
            match self.step(position) {
                Verdict::Continue(next) => position = next,
                Verdict::Problem(problem) => return Some(problem),
                Verdict::Unclear => return None,
                Verdict::Finished => break,
            }
        }
        self.finish()
    }

    fn step(&mut self, position: usize) -> Verdict {
        let rest = &self.command[position..];
        let letter = rest.chars().next().unwrap_or(' ');
        let next = position + letter.len_utf8();
        let top = self.open.last().copied();
        let quoted = matches!(top, Some(Open::DoubleQuote(_)));
        if letter == '\\' {
            self.word(false);
            return Verdict::Continue(next + rest[1..].chars().next().map_or(0, char::len_utf8));
        }
        if rest.starts_with("$(") {
            self.word(false);
            let arithmetic = rest.starts_with("$((");
            let parentheses = if arithmetic { 2 } else { 1 };
            self.open.push(Open::Substitution { start: position, parentheses, arithmetic });
            self.word_start = true;
            return Verdict::Continue(position + 1 + parentheses);
        }
        if rest.starts_with("${") {
            self.word(false);
            self.open.push(Open::Brace(position));
            return Verdict::Continue(position + 2);
        }
        match (top, letter) {
            (Some(Open::DoubleQuote(_)), '"') => {
                self.open.pop();
                Verdict::Continue(next)
            }
            (Some(Open::DoubleQuote(_)), _) => Verdict::Continue(next),
            (Some(Open::Brace(_)), '}') => {
                self.open.pop();
                Verdict::Continue(next)
            }
            // Quotes inside ${…} inside quotes mean different things to different operators.
            (Some(Open::Brace(_)), '\'' | '"') if self.open.iter().any(|open| matches!(open, Open::DoubleQuote(_))) => Verdict::Unclear,
            (_, '\'') => self.single_quote(position),
            (_, '"') => {
                self.word(false);
                self.open.push(Open::DoubleQuote(position));
                Verdict::Continue(next)
            }
            (Some(Open::Brace(_)), _) => Verdict::Continue(next),
            (Some(Open::Substitution { start, parentheses, arithmetic }), '(' | ')') => {
                self.open.pop();
                let parentheses = if letter == '(' { parentheses + 1 } else { parentheses - 1 };
                if parentheses > 0 {
                    self.open.push(Open::Substitution { start, parentheses, arithmetic });
                    self.word_start = true;
                }
                self.last_operator = None;
                Verdict::Continue(next)
            }
            (Some(Open::Substitution { arithmetic: true, .. }), _) => Verdict::Continue(next),
            (_, '#') if self.word_start && !quoted => Verdict::Finished,
            (_, '<' | '>') => self.redirection(position),
            (_, '|' | '&') => {
                let length = if rest[1..].starts_with(letter) { 2 } else { 1 };
                // A single & ends a command and may end the line; `&>` is a redirection.
                let waits = letter == '|' || length == 2;
                self.word_start = true;
                self.last_operator = waits.then_some(position..position + length);
                Verdict::Continue(position + length)
            }
            (_, ' ' | '\t' | '\n' | ';' | '(' | ')') => {
                self.word_start = true;
                Verdict::Continue(next)
            }
            _ => {
                self.word(false);
                Verdict::Continue(next)
            }
        }
    }

    fn word(&mut self, starts: bool) {
        self.word_start = starts;
        self.last_operator = None;
    }

    fn single_quote(&mut self, position: usize) -> Verdict {
        self.word(false);
        match self.command[position + 1..].find('\'') {
            Some(length) => Verdict::Continue(position + length + 2),
            None => Verdict::Problem(open_quote(position, '\'', "single")),
        }
    }

    fn redirection(&mut self, position: usize) -> Verdict {
        let rest = &self.command[position..];
        self.word(false);
        if rest.starts_with("<(") || rest.starts_with(">(") {
            self.open.push(Open::Substitution { start: position, parentheses: 1, arithmetic: false });
            return Verdict::Continue(position + 2);
        }
        let length = [">>", ">&", "<&", ">|", "<>"].into_iter().find(|sign| rest.starts_with(sign)).map_or(1, str::len);
        let operator = &rest[..length];
        let target = rest[length..].trim_start_matches([' ', '\t']);
        if target.is_empty() || target.starts_with([';', '|', '&', ')', '\n', '<', '>']) {
            return Verdict::Problem(ShellProblem {
                range: position..position + length,
                message: format!("the redirection \"{operator}\" has no file name after it"),
                hint: format!("write a file name after {operator}, or take it away"),
            });
        }
        Verdict::Continue(position + length)
    }

    fn finish(self) -> Option<ShellProblem> {
        match self.open.last() {
            Some(Open::DoubleQuote(start)) => Some(open_quote(*start, '"', "double")),
            Some(Open::Brace(start)) => Some(ShellProblem {
                range: *start..start + 2,
                message: "the variable \"${\" is not closed".to_owned(),
                hint: "close it with }".to_owned(),
            }),
            Some(Open::Substitution { start, .. }) => Some(ShellProblem {
                range: *start..start + 2,
                message: format!("the substitution {:?} is not closed", &self.command[*start..start + 2]),
                hint: "close it with )".to_owned(),
            }),
            None => self.last_operator.map(|range| ShellProblem {
                message: format!("nothing follows \"{}\"", &self.command[range.clone()]),
                hint: "write the next command after it, or take it away".to_owned(),
                range,
            }),
        }
    }
}

fn open_quote(position: usize, sign: char, name: &str) -> ShellProblem {
    ShellProblem {
        range: position..position + 1,
        message: format!("the {name} quote is not closed"),
        hint: format!("close it with {sign}, or write \\{sign} for the letter itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_a_shell_cannot_read_are_found() {
        for (command, at, part) in [
            ("echo 'Testing...'  >", 19, "has no file name"),
            ("echo a > ; b", 7, "has no file name"),
            ("echo a 2>&", 8, "has no file name"),
            ("echo 'a", 5, "single quote"),
            ("echo \"a", 5, "double quote"),
            ("echo \"$(echo \"a)\"", 6, "not closed"),
            ("a && b &&", 7, "nothing follows \"&&\""),
            ("a |", 2, "nothing follows \"|\""),
            ("echo ${a", 5, "not closed"),
            ("echo $(ls", 5, "not closed"),
        ] {
            let problem = find_problem(command).unwrap_or_else(|| panic!("{command}"));
            assert_eq!(problem.range.start, at, "{command}");
            assert!(problem.message.contains(part), "{command}: {}", problem.message);
        }
    }

    #[test]
    fn readable_commands_raise_no_alarm() {
        for command in [
            "echo hi > file 2>&1",
            "a && b || c & d",
            "a &",
            "echo \"it's\" 'say \"x\"' it\\'s",
            "echo \"$(echo \"nested\" 'x')\" # it's a comment",
            "echo ${x:-a} ${#y} $# a#b",
            "test $((1 + (2 > 1))) -gt 0",
            "diff <(a) >(b)",
            "exec 3>&- 2>/dev/null",
            "pip install 'a>=1' b>=2",
            "cat <<EOF",
            "if [[ a > b ]]; then :; fi",
            "x=$(case a in a) echo 1;; esac)",
            "echo `date`",
            "for i in a b; do echo $i; done",
            "case x in a) b ;; esac",
            "echo \"${x:-it's}\"",
            "(cd a && b) > c",
            "a; # don't",
            "f() { echo; }",
            "",
        ] {
            assert_eq!(find_problem(command), None, "{command}");
        }
    }
}
