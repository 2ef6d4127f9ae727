//! Docker's grammar of words and flags, in front of clap.
//!
//! clap keeps the types and the help; this scanner keeps the rules people type by: `-aq`, `-e=K=V`, `--rm=false`, a value that begins with a
//! dash, flags between words (but none after IMAGE for run, create, exec and top), and docker's own texts for what is wrong.
//! What must stay true: what leaves here is unambiguous for clap (`--name=value`, then `--`, then words), and nothing here guesses.

use super::exit::Failure;

/// One flag of a command, as the scanner needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    /// Name after two dashes; always present.
    pub(crate) long: String,
    /// Other long names for the same flag.
    pub(crate) aliases: Vec<String>,
    /// Letter after one dash.
    pub(crate) short: Option<char>,
    /// False for a switch, which may still be written `--rm=false`.
    pub(crate) takes_value: bool,
}

/// The words of one command, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// `--name` or `--name=value`, in the order given.
    pub(crate) flags: Vec<String>,
    /// Everything that is not a flag.
    pub(crate) words: Vec<String>,
    /// The person asked for help; nothing else matters then.
    pub(crate) help: bool,
}

/// Reads the flags of a clap definition. Every flag of ours has a long name.
pub(crate) fn flags_of(definition: &clap::Command) -> Vec<Flag> {
    definition
        .get_arguments()
        .filter(|argument| !argument.is_positional())
        .map(|argument| Flag {
            long: argument.get_long().unwrap_or_default().to_owned(),
            aliases: argument.get_all_aliases().unwrap_or_default().into_iter().map(str::to_owned).collect(),
            short: argument.get_short(),
            takes_value: argument.get_action().takes_values(),
        })
        .collect()
}

/// Sorts `arguments` into flags and words.
///
/// # Errors
/// Docker's texts, with the nearest flag as a hint.
pub(crate) fn scan(flags: &[Flag], arguments: &[String], options_end_at_first_word: bool) -> Result<Scanned, Failure> {
    let mut scanned = Scanned::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            scanned.words.extend(rest.cloned());
            break;
        }
        if let Some(body) = argument.strip_prefix("--") {
            scan_long(flags, body, &mut rest, &mut scanned)?;
        } else if argument.len() > 1 && argument.starts_with('-') {
            scan_cluster(flags, argument, &mut rest, &mut scanned)?;
        } else {
            scanned.words.push(argument.clone());
            if options_end_at_first_word {
                scanned.words.extend(rest.cloned());
                break;
            }
        }
        if scanned.help {
            break;
        }
    }
    Ok(scanned)
}

fn scan_long<'a>(flags: &[Flag], body: &str, rest: &mut impl Iterator<Item = &'a String>, scanned: &mut Scanned) -> Result<(), Failure> {
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    let Some(flag) = flags.iter().find(|flag| flag.long == name || flag.aliases.iter().any(|alias| alias == name)) else {
        if name == "help" {
            scanned.help = true;
            return Ok(());
        }
        return Err(unknown_long(flags, name));
    };
    match (flag.takes_value, value) {
        (true, Some(value)) => scanned.flags.push(format!("--{}={value}", flag.long)),
        (true, None) => match rest.next() {
            Some(value) => scanned.flags.push(format!("--{}={value}", flag.long)),
            None => return Err(Failure::usage(format!("flag needs an argument: --{name}"))),
        },
        (false, value) => switch(flags, flag, value, scanned)?,
    }
    Ok(())
}

fn scan_cluster<'a>(
    flags: &[Flag],
    argument: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    scanned: &mut Scanned,
) -> Result<(), Failure> {
    let cluster = &argument[1..];
    for (at, letter) in cluster.char_indices() {
        let after = &cluster[at + letter.len_utf8()..];
        let Some(flag) = flags.iter().find(|flag| flag.short == Some(letter)) else {
            if letter == 'h' {
                scanned.help = true;
                return Ok(());
            }
            return Err(unknown_short(flags, letter, argument));
        };
        if !flag.takes_value {
            if let Some(value) = after.strip_prefix('=') {
                return switch(flags, flag, Some(value), scanned);
            }
            switch(flags, flag, None, scanned)?;
            continue;
        }
        let value = if let Some(value) = after.strip_prefix('=') {
            value.to_owned()
        } else if !after.is_empty() {
            after.to_owned()
        } else {
            match rest.next() {
                Some(value) => value.clone(),
                None => return Err(Failure::usage(format!("flag needs an argument: '{letter}' in {argument}"))),
            }
        };
        scanned.flags.push(format!("--{}={value}", flag.long));
        return Ok(());
    }
    Ok(())
}

/// The last word on a switch wins, so turning it off forgets an earlier turning on. A switch that is on by default has a hidden opposite
/// (`--no-sig-proxy`), which is what clap sees for `--sig-proxy=false`.
fn switch(flags: &[Flag], flag: &Flag, value: Option<&str>, scanned: &mut Scanned) -> Result<(), Failure> {
    let written = format!("--{}", flag.long);
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => {
            if !scanned.flags.contains(&written) {
                scanned.flags.push(written);
            }
        }
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => {
            scanned.flags.retain(|other| *other != written);
            let negative = format!("no-{}", flag.long);
            if flags.iter().any(|other| other.long == negative) {
                scanned.flags.push(format!("--{negative}"));
            }
        }
        Some(other) => {
            let names = match flag.short {
                Some(short) => format!("-{short}, --{}", flag.long),
                None => written,
            };
            return Err(Failure::usage(format!("invalid argument \"{other}\" for \"{names}\" flag: not a truth value (true or false)")));
        }
    }
    Ok(())
}

fn unknown_long(flags: &[Flag], name: &str) -> Failure {
    let failure = Failure::usage(format!("unknown flag: --{name}"));
    match nearest_flag(flags, name) {
        Some(flag) => failure.hint(match flag.short {
            Some(short) => format!("did you mean --{} (-{short})?", flag.long),
            None => format!("did you mean --{}?", flag.long),
        }),
        None => failure,
    }
}

fn unknown_short(flags: &[Flag], letter: char, argument: &str) -> Failure {
    let failure = Failure::usage(format!("unknown shorthand flag: '{letter}' in {argument}"));
    let name = argument.trim_start_matches('-');
    let long_name = name.split('=').next().unwrap_or(name);
    match flags.iter().find(|flag| flag.long == long_name && long_name.len() > 1) {
        Some(flag) => failure.hint(format!("a long flag takes two dashes: --{}", flag.long)),
        None => failure,
    }
}

fn nearest_flag<'a>(flags: &'a [Flag], name: &str) -> Option<&'a Flag> {
    let nearest = crate::cli::nearest::near(name, flags.iter().map(|flag| flag.long.as_str()))?;
    flags.iter().find(|flag| flag.long == nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Vec<Flag> {
        let flag = |long: &str, short, takes_value| Flag { long: long.to_owned(), aliases: Vec::new(), short, takes_value };
        let mut network = flag("network", None, true);
        network.aliases.push("net".to_owned());
        vec![
            flag("all", Some('a'), false),
            flag("quiet", Some('q'), false),
            flag("env", Some('e'), true),
            flag("publish", Some('p'), true),
            flag("rm", None, false),
            flag("tag", Some('t'), true),
            flag("sig-proxy", None, false),
            flag("no-sig-proxy", None, false),
            network,
        ]
    }

    fn check(arguments: &[&str], end_at_word: bool, expected_flags: &[&str], expected_words: &[&str]) {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let scanned = scan(&flags(), &arguments, end_at_word).unwrap();
        assert_eq!(scanned.flags, expected_flags, "{arguments:?}");
        assert_eq!(scanned.words, expected_words, "{arguments:?}");
    }

    #[test]
    fn words_and_flags_follow_dockers_grammar() {
        check(&["-aq"], false, &["--all", "--quiet"], &[]);
        check(&["-qe", "A=b", "x"], false, &["--quiet", "--env=A=b"], &["x"]);
        check(&["-eA=b"], false, &["--env=A=b"], &[]);
        check(&["-e=A=b"], false, &["--env=A=b"], &[]);
        check(&["--env", "-x"], false, &["--env=-x"], &[]);
        check(&["x", "-a", "y"], false, &["--all"], &["x", "y"]);
        check(&["x", "-a", "y"], true, &[], &["x", "-a", "y"]);
        check(&["-a", "--", "-q"], true, &["--all"], &["-q"]);
        check(&["--rm", "--rm=false", "x"], true, &[], &["x"]);
        check(&["--rm=true", "-a=0"], true, &["--rm"], &[]);
        check(&["--sig-proxy=false"], true, &["--no-sig-proxy"], &[]);
        check(&["--net", "host"], true, &["--network=host"], &[]);
        check(&["-"], false, &[], &["-"]);
        check(&["-t", "-web-ping", "./"], false, &["--tag=-web-ping"], &["./"]);
    }

    #[test]
    fn wrong_flags_get_dockers_text_and_our_hint() {
        let table: [(&[&str], &str, &[&str]); 7] = [
            (&["--public", "8080:80"], "unknown flag: --public", &["did you mean --publish (-p)?"]),
            (&["--zzz"], "unknown flag: --zzz", &[]),
            (&["-x"], "unknown shorthand flag: 'x' in -x", &[]),
            (&["-rm"], "unknown shorthand flag: 'r' in -rm", &["a long flag takes two dashes: --rm"]),
            (&["--env"], "flag needs an argument: --env", &[]),
            (&["-ae"], "flag needs an argument: 'e' in -ae", &[]),
            (&["-a=maybe"], "invalid argument \"maybe\" for \"-a, --all\" flag: not a truth value (true or false)", &[]),
        ];
        for (arguments, message, hints) in table {
            let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
            let failure = scan(&flags(), &arguments, true).unwrap_err();
            assert_eq!(failure.to_string(), message);
            assert_eq!(failure.hints, hints, "{message}");
            assert_eq!(failure.code, 125);
        }
    }

    #[test]
    fn help_wins_over_everything_after_it() {
        let arguments: Vec<String> = ["-a", "--help", "--nonsense"].iter().map(|word| (*word).to_owned()).collect();
        assert!(scan(&flags(), &arguments, false).unwrap().help);
    }
}
