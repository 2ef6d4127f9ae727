//! `--chmod`: octal digits or the symbolic form of chmod(1).
//!
//! Symbolic form: clauses joined by commas, each `[ugoa...]` then one or more of `+`, `-`, `=` each followed by `rwxXst` letters or one of `u`, `g`, `o` to
//! copy from. Without a class the change is for all; there is no umask in a build.
//!
//! # Source
//! chmod(1), POSIX "chmod" extended description. Dockerfile reference, COPY --chmod (1.14 for the symbolic form).

use crate::graph::ModeChange;

/// Reads the value of `--chmod`.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<ModeChange, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(ModeChange::Octal(mode)),
            _ => Err(format!("\"{text}\" is not an octal mode between 0 and 7777")),
        };
    }
    clauses(text)?;
    Ok(ModeChange::Symbolic(text.to_owned()))
}

/// The mode after the change. `is_folder` matters for `X`.
pub(crate) fn apply(change: &ModeChange, mode: u32, is_folder: bool) -> u32 {
    match change {
        ModeChange::Octal(mode) => *mode,
        // Parsed once already when it was accepted; a text that does not parse changes nothing.
        ModeChange::Symbolic(text) => {
            clauses(text).map_or(mode, |clauses| clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_folder)))
        }
    }
}

/// One `who op what`.
struct Clause {
    /// Bits of the classes named: 0o700, 0o070, 0o007.
    who: u32,
    action: char,
    what: What,
}

enum What {
    Letters(String),
    /// The bits of another class, as three bits' shift.
    CopyOf(u32),
}

fn clauses(text: &str) -> Result<Vec<Clause>, String> {
    let mut parsed = Vec::new();
    for clause in text.split(',') {
        let wrong = || format!("\"{text}\" is neither an octal mode nor a symbolic one such as u=rwX,go=rX");
        let actions_at = clause.find(['+', '-', '=']).ok_or_else(wrong)?;
        let (classes, mut rest) = clause.split_at(actions_at);
        let mut who = 0;
        for class in classes.chars() {
            who |= match class {
                'u' => 0o700,
                'g' => 0o070,
                'o' => 0o007,
                'a' => 0o777,
                _ => return Err(wrong()),
            };
        }
        let who = if who == 0 { 0o777 } else { who };
        while let Some(action) = rest.chars().next() {
            let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
            let what = match &rest[1..end] {
                "u" => What::CopyOf(6),
                "g" => What::CopyOf(3),
                "o" => What::CopyOf(0),
                letters if letters.chars().all(|letter| "rwxXst".contains(letter)) => What::Letters(letters.to_owned()),
                _ => return Err(wrong()),
            };
            parsed.push(Clause { who, action, what });
            rest = &rest[end..];
        }
    }
    Ok(parsed)
}

impl Clause {
    fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        let mut bits = 0;
        match &self.what {
            What::CopyOf(shift) => {
                let class = mode >> shift & 7;
                bits = (class | class << 3 | class << 6) & self.who;
            }
            What::Letters(letters) => {
                for letter in letters.chars() {
                    bits |= match letter {
                        'r' => 0o444 & self.who,
                        'w' => 0o222 & self.who,
                        'x' => 0o111 & self.who,
                        'X' if is_folder || mode & 0o111 != 0 => 0o111 & self.who,
                        's' => self.set_ids(),
                        't' => 0o1000,
                        _ => 0,
                    };
                }
            }
        }
        match self.action {
            '+' => mode | bits,
            '-' => mode & !bits,
            // A folder keeps its set-id bits unless they are named, as chmod(1) of GNU does.
            _ if is_folder => mode & !self.who | bits,
            _ => mode & !(self.who | self.set_ids()) | bits,
        }
    }

    fn set_ids(&self) -> u32 {
        (if self.who & 0o700 != 0 { 0o4000 } else { 0 }) | (if self.who & 0o070 != 0 { 0o2000 } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, before: u32, is_folder: bool, after: u32) {
        let change = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let got = apply(&change, before, is_folder);
        assert_eq!(got, after, "{text} on {before:o}: {got:o} instead of {after:o}");
    }

    #[test]
    fn modes_change_as_chmod_changes_them() {
        for (text, before, is_folder, after) in [
            ("0644", 0o777, false, 0o644),
            ("4755", 0o600, false, 0o4755),
            ("u=rwX,go=rX", 0o640, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("+x", 0o600, false, 0o711),
            ("go-w", 0o666, false, 0o644),
            ("u+s,g+s", 0o755, false, 0o6755),
            ("+t", 0o777, true, 0o1777),
            ("g=u", 0o640, false, 0o660),
            ("o=", 0o777, false, 0o770),
            ("u=rw+x", 0o000, false, 0o700),
        ] {
            check(text, before, is_folder, after);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "8", "77777", "u", "u=rwz", "x+r", "u=r,", "-1", "ug"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
