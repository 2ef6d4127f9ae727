//! The table as a whole: names, usage lines, and what happens to words nobody knows.

use super::TABLE;
use crate::cli::catalog::{Found, find};
use std::collections::HashSet;

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_name_means_one_command() {
    let mut seen = HashSet::new();
    for name in TABLE.iter().flat_map(|entry| entry.names) {
        assert!(seen.insert(*name), "{name} is there twice");
    }
}

#[test]
fn every_definition_is_sound_and_every_flag_is_long() {
    for entry in TABLE {
        let definition = entry.definition();
        definition.clone().disable_help_flag(true).debug_assert();
        assert!(definition.get_about().is_some(), "{:?} says nothing about itself", entry.names);
        for argument in definition.get_arguments().filter(|argument| !argument.is_positional()) {
            assert!(argument.get_long().is_some(), "{:?}: {argument}", entry.names);
        }
    }
}

#[test]
fn commands_are_found_by_one_two_or_three_words() {
    let table = [
        ("run -it busybox", "run", 1),
        ("container run busybox", "container run", 2),
        ("build history ls", "build history ls", 3),
        ("build .", "build", 1),
    ];
    for (line, expected, length) in table {
        match find(TABLE, &words(line)).unwrap() {
            Found::Command(_, name, used) => assert_eq!((name.as_str(), used), (expected, length), "{line}"),
            Found::Group(_) => panic!("{line} is a command"),
        }
    }
    assert!(matches!(find(TABLE, &words("image")).unwrap(), Found::Group(name) if name == "image"));
}

#[test]
fn mistyped_commands_are_rebuilt_with_their_arguments() {
    let table = [
        ("iage build -t image-gallery .", "unknown command: shipway iage", "did you mean \"shipway image build -t image-gallery .\"?"),
        ("image biuld .", "unknown command: shipway image biuld", "did you mean \"shipway image build .\"?"),
        ("rnu busybox", "unknown command: shipway rnu", "did you mean \"shipway run busybox\"?"),
        ("imags", "unknown command: shipway imags", "did you mean \"shipway images\"?"),
    ];
    for (line, message, hint) in table {
        let failure = find(TABLE, &words(line)).err().unwrap_or_else(|| panic!("{line} was found"));
        assert!(failure.to_string().starts_with(message), "{failure}");
        assert_eq!(failure.hints, [hint]);
    }
    assert!(find(TABLE, &words("zzzzzz")).err().unwrap().hints.is_empty());
}
