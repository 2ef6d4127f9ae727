//! All commands by name: the table, the search in it, and the help pages that list it.
//!
//! A command is a type with a name, a usage line and a `run`; its flags and help are a clap definition, built only when that command is called.
//! What must stay true: a name means one command; a mistyped name is answered with the whole line the person meant (M-09).

use super::exit::{Failure, Outcome};
use super::grammar::{self, Scanned};
use super::output;
use super::session::Session;
use std::future::Future;
use std::pin::Pin;

/// A command.
pub(crate) trait Verb: clap::Parser + 'static {
    /// Its full name first (`container run`), then its aliases (`run`).
    const NAMES: &'static [&'static str];
    /// What follows the name in the usage line.
    const USAGE: &'static str;
    /// How many words it takes.
    const WORDS: Words;
    /// Flags end at the first word: the rest belongs to a program.
    const OPTIONS_END_AT_FIRST_WORD: bool = false;
    /// A flag with which no words are needed.
    const WORDS_UNLESS: Option<&'static str> = None;

    /// Does it.
    fn run(self, session: &Session) -> impl Future<Output = Outcome>;
}

/// How many words a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// Exactly so many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
    /// Between two numbers.
    Between(usize, usize),
}

type Pending<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// One line of the table.
pub(crate) struct Entry {
    pub(crate) names: &'static [&'static str],
    usage: &'static str,
    words: Words,
    options_end_at_first_word: bool,
    words_unless: Option<&'static str>,
    definition: fn() -> clap::Command,
    start: for<'a> fn(&'a Session, Scanned, &str) -> Pending<'a>,
}

impl Entry {
    /// The entry of a command.
    pub(crate) const fn of<V: Verb>() -> Self {
        Self {
            names: V::NAMES,
            usage: V::USAGE,
            words: V::WORDS,
            options_end_at_first_word: V::OPTIONS_END_AT_FIRST_WORD,
            words_unless: V::WORDS_UNLESS,
            definition: V::command,
            start: start::<V>,
        }
    }

    /// Its flags and help.
    #[cfg(test)]
    pub(crate) fn definition(&self) -> clap::Command {
        (self.definition)()
    }

    /// One line about it.
    fn about(&self) -> String {
        (self.definition)().get_about().map(ToString::to_string).unwrap_or_default()
    }

    /// Scans the arguments, checks their number, and runs the command called by `name`.
    pub(crate) async fn call(&self, session: &Session, name: &str, arguments: &[String]) -> Outcome {
        let flags = grammar::flags_of(&(self.definition)());
        let see_help = |failure: Failure| match failure.reason {
            super::exit::Reason::Plain(message) => {
                Failure { reason: super::exit::Reason::Plain(format!("{message}\nSee 'shipway {name} --help'.")), ..failure }
            }
            _ => failure,
        };
        let scanned = grammar::scan(&flags, arguments, self.options_end_at_first_word).map_err(see_help)?;
        if scanned.help {
            return self.help(name);
        }
        let needless = self.words_unless.is_some_and(|flag| scanned.flags.iter().any(|given| given == flag));
        if !(needless && scanned.words.is_empty()) {
            self.check_words(name, scanned.words.len(), arguments)?;
        }
        (self.start)(session, scanned, name).await
    }

    /// Docker's sentences about the number of arguments, with its exit code 1.
    fn check_words(&self, name: &str, given: usize, arguments: &[String]) -> Outcome {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let complaint = match self.words {
            Words::Exactly(0) if given > 0 => "accepts no arguments".to_owned(),
            Words::Exactly(wanted) if given != wanted => format!("requires exactly {wanted} argument{}", plural(wanted)),
            Words::AtLeast(least) if given < least => format!("requires at least {least} argument{}", plural(least)),
            Words::Between(least, _) if given < least => format!("requires at least {least} argument{}", plural(least)),
            Words::Between(_, most) if given > most => format!("requires at most {most} argument{}", plural(most)),
            _ => return Ok(()),
        };
        let about = self.about();
        let failure = Failure::new(format!(
            "\"shipway {name}\" {complaint}.\nSee 'shipway {name} --help'.\n\nUsage:  shipway {name} {}\n\n{about}",
            self.usage
        ));
        Err(match (self.names[0], given) {
            ("image build", 0) => {
                let typed: String = arguments.iter().map(|word| format!(" {}", quote(word))).collect();
                failure.hint(format!("add the context directory, usually \".\": shipway {name}{typed} ."))
            }
            ("container rm" | "image rm" | "volume rm" | "network rm", 0) => failure.hint("nothing to remove: the list of names was empty"),
            ("container run" | "container create", 0) => failure.hint(format!("name an image: shipway {name} busybox")),
            _ => failure,
        })
    }

    fn help(&self, name: &str) -> Outcome {
        let mut definition = (self.definition)()
            .override_usage(format!("shipway {name} {}", self.usage))
            .disable_help_flag(true)
            .help_template("Usage:  {usage}\n\n{about-with-newline}\n{before-help}Options:\n{options}{after-help}\n")
            .term_width(super::terminal::columns().unwrap_or(100).clamp(60, 120));
        if self.names.len() > 1 {
            let names: Vec<String> = self.names.iter().map(|name| format!("shipway {name}")).collect();
            definition = definition.before_help(format!("Aliases:\n  {}", names.join(", ")));
        }
        if definition.get_arguments().all(|argument| argument.is_positional() || argument.is_hide_set()) {
            definition = definition.help_template("Usage:  {usage}\n\n{about-with-newline}\n{before-help}");
        }
        output::line(definition.render_help().to_string().trim_end())
    }
}

fn start<'a, V: Verb>(session: &'a Session, scanned: Scanned, name: &str) -> Pending<'a> {
    match parse::<V>(scanned) {
        Ok(verb) => Box::pin(verb.run(session)),
        Err(failure) => {
            let reason = super::exit::Reason::Plain(format!("{failure}\nSee 'shipway {name} --help'."));
            Box::pin(std::future::ready(Err(Failure { reason, ..failure })))
        }
    }
}

/// Hands the sorted words to clap and turns its complaints into docker's.
pub(crate) fn parse<V: clap::Parser>(scanned: Scanned) -> Outcome<V> {
    let definition = V::command().no_binary_name(true).args_override_self(true).disable_help_flag(true);
    let names: Vec<(String, Option<char>)> =
        definition.get_arguments().map(|argument| (argument.get_long().unwrap_or_default().to_owned(), argument.get_short())).collect();
    let words = scanned.flags.into_iter().chain(std::iter::once("--".to_owned())).chain(scanned.words);
    let mut matches = definition.try_get_matches_from(words).map_err(|error| complaint(&error, &names))?;
    V::from_arg_matches_mut(&mut matches).map_err(|error| complaint(&error, &names))
}

fn complaint(error: &clap::Error, names: &[(String, Option<char>)]) -> Failure {
    use clap::error::{ContextKind, ContextValue};
    use std::error::Error as _;
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    let long = argument.trim_start_matches('-').split([' ', '=']).next().unwrap_or_default();
    if long.is_empty() {
        return Failure::usage(error.to_string().trim_end());
    }
    let shown = match names.iter().find(|(name, _)| name == long) {
        Some((_, Some(short))) => format!("-{short}, --{long}"),
        _ => format!("--{long}"),
    };
    let cause = error.source().map_or_else(|| "invalid value".to_owned(), ToString::to_string);
    Failure::usage(format!("invalid argument \"{}\" for \"{shown}\" flag: {cause}", context(ContextKind::InvalidValue)))
}

/// What a line of arguments names.
pub(crate) enum Found<'a> {
    /// A command, the name it was called by, and how many words that name has.
    Command(&'a Entry, String, usize),
    /// A group such as `image`, to be listed.
    Group(String),
}

/// Finds the command the words begin with.
pub(crate) fn find<'a>(table: &'a [Entry], words: &[String]) -> Outcome<Found<'a>> {
    let first = words.first().map(String::as_str).unwrap_or_default();
    for length in [3, 2, 1] {
        let Some(name) = words.get(..length).map(|words| words.join(" ")) else { continue };
        if let Some(entry) = table.iter().find(|entry| entry.names.contains(&name.as_str())) {
            return Ok(Found::Command(entry, name, length));
        }
    }
    if super::groups::GROUPS.iter().any(|group| group.name == first) {
        return match words.get(1) {
            None => Ok(Found::Group(first.to_owned())),
            Some(word) if word == "--help" || word == "-h" => Ok(Found::Group(first.to_owned())),
            Some(_) => Err(unknown(table, words, 2)),
        };
    }
    Err(unknown(table, words, 1))
}

/// Nobody is called that: rebuilds the line with the nearest name.
fn unknown(table: &[Entry], words: &[String], length: usize) -> Failure {
    let first = words[0].as_str();
    let names = || table.iter().flat_map(|entry| entry.names.iter().copied());
    let rebuilt = |name: &str, used: usize| {
        let rest: Vec<String> = words[used..].iter().map(|word| quote(word)).collect();
        format!("did you mean \"shipway {name}{}{}\"?", if rest.is_empty() { "" } else { " " }, rest.join(" "))
    };
    let message = if length == 2 {
        format!("unknown command: shipway {first} {}\nSee 'shipway {first} --help'.", words[1])
    } else {
        format!("unknown command: shipway {first}\nSee 'shipway --help'.")
    };
    let failure = Failure::new(message);
    // Two words first: "iage build -t x ." means "image build -t x .", although "images" alone would be near, too.
    if let Some(second) = words.get(1).filter(|word| !word.starts_with('-')) {
        let typed = format!("{first} {second}");
        if let Some(name) = crate::cli::nearest::near(&typed, names().filter(|name| name.contains(' '))) {
            return failure.hint(rebuilt(name, 2));
        }
    }
    if length == 2 {
        return failure;
    }
    let single = names().filter(|name| !name.contains(' ')).chain(super::groups::GROUPS.iter().map(|group| group.name));
    match crate::cli::nearest::near(first, single) {
        Some(name) => failure.hint(rebuilt(name, 1)),
        None => failure,
    }
}

/// Quotes a word for a shell when it needs it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_./:=@,+%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// `(name, about)` of the commands of a group, or of the single-word ones.
pub(crate) fn listing(table: &[Entry], group: Option<&str>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in table {
        let name = match group {
            Some(group) => entry.names.iter().find_map(|name| name.strip_prefix(group)?.strip_prefix(' ')),
            None => entry.names.iter().copied().find(|name| !name.contains(' ')),
        };
        if let Some(name) = name {
            found.push((name.to_owned(), entry.about()));
        }
    }
    found.sort();
    found
}
