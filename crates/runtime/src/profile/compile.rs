//! From rules to a filter: one binary search per architecture, the tests of arguments at its leaves.
//!
//! What must stay true: an architecture that is not ours, and the x32 numbers, get the default action; a rule without tests wins over rules with tests
//! for the same call; among the latter the first that fits decides.

use std::collections::BTreeMap;

use shipway_sys::Error;
use shipway_sys::seccomp::{self, Assembler, IF_AT_LEAST, IF_EQUAL, IF_GREATER, Instruction, Label};

use super::syscalls::{NONE, SYSCALLS};

/// What happens to a call: the value of SECCOMP_RET_*.
pub type Action = u32;

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// ==
    Equal,
    /// !=
    NotEqual,
    /// <
    Less,
    /// <=
    LessOrEqual,
    /// >
    Greater,
    /// >=
    GreaterOrEqual,
    /// (argument & mask) == value
    MaskedEqual {
        /// Which bits count.
        mask: u64,
    },
}

/// One test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgumentTest {
    /// Which, 0-5.
    pub index: u32,
    /// How.
    pub comparison: Comparison,
    /// Against what.
    pub value: u64,
    /// Only the low 32 bits count, because the kernel takes no more of this argument.
    pub low_word: bool,
}

/// What happens to calls of these names when all tests hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names; unknown ones are skipped.
    pub names: Vec<String>,
    /// What.
    pub action: Action,
    /// When; empty for always.
    pub tests: Vec<ArgumentTest>,
}

/// A whole profile, for one set of capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// For everything no rule fits.
    pub default: Action,
    /// Allow 32-bit programs by the same rules.
    pub with_32_bit: bool,
    /// In order.
    pub rules: Vec<Rule>,
}

/// Bit of the x32 numbers.
const X32: u32 = 0x4000_0000;

/// What one number leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Always(Action),
    Tested(Vec<(Vec<ArgumentTest>, Action)>),
}

/// Compiles the profile for this machine.
///
/// # Errors
/// When the filter would be longer than the kernel takes.
pub fn compile(profile: &Profile) -> Result<Vec<Instruction>, Error> {
    let mut assembler = Assembler::default();
    let fallback = assembler.label();
    let (native, other) = (assembler.label(), assembler.label());
    assembler.load(seccomp::ARCHITECTURE);
    assembler.branch(IF_EQUAL, seccomp::NATIVE, native, other);
    assembler.place(native);
    assembler.load(seccomp::NUMBER);
    let ours = assembler.label();
    assembler.branch(IF_AT_LEAST, X32, fallback, ours);
    assembler.place(ours);
    search(&mut assembler, &ranges(profile, |call| call.1), profile.default);
    assembler.place(other);
    if profile.with_32_bit && seccomp::NATIVE == seccomp::X86_64 {
        let x86 = assembler.label();
        assembler.branch(IF_EQUAL, seccomp::X86, x86, fallback);
        assembler.place(x86);
        assembler.load(seccomp::NUMBER);
        search(&mut assembler, &ranges(profile, |call| call.2), profile.default);
    }
    assembler.place(fallback);
    assembler.finish(profile.default);
    assembler.assemble()
}

/// Numbers in runs of equal outcome, each with its first number; the first run starts at 0, the last one has no end.
fn ranges(profile: &Profile, number: impl Fn(&(&str, u16, u16)) -> u16) -> Vec<(u32, Outcome)> {
    let numbers: BTreeMap<&str, u32> = SYSCALLS
        .iter()
        .map(|call| (call.0, number(call)))
        .filter(|(_, number)| *number != NONE)
        .map(|(name, number)| (name, u32::from(number)))
        .collect();
    let mut outcomes: BTreeMap<u32, Outcome> = BTreeMap::new();
    for rule in &profile.rules {
        for number in rule.names.iter().filter_map(|name| numbers.get(name.as_str())) {
            let outcome = outcomes.entry(*number).or_insert_with(|| Outcome::Tested(Vec::new()));
            match outcome {
                Outcome::Always(_) => {}
                Outcome::Tested(_) if rule.tests.is_empty() => *outcome = Outcome::Always(rule.action),
                Outcome::Tested(list) => list.push((rule.tests.clone(), rule.action)),
            }
        }
    }
    let mut runs: Vec<(u32, Outcome)> = vec![(0, Outcome::Always(profile.default))];
    let mut expected = 0;
    for (number, outcome) in outcomes {
        if number > expected {
            append(&mut runs, expected, Outcome::Always(profile.default));
        }
        append(&mut runs, number, outcome);
        expected = number + 1;
    }
    append(&mut runs, expected, Outcome::Always(profile.default));
    runs
}

fn append(runs: &mut Vec<(u32, Outcome)>, start: u32, outcome: Outcome) {
    match runs.last_mut() {
        Some((_, last)) if *last == outcome => {}
        Some((at, last)) if *at == start => *last = outcome,
        _ => runs.push((start, outcome)),
    }
}

/// The search over runs; the number is loaded, and stays so until a leaf.
fn search(assembler: &mut Assembler, runs: &[(u32, Outcome)], default: Action) {
    match runs {
        [] => assembler.finish(default),
        [(_, Outcome::Always(action))] => assembler.finish(*action),
        [(_, Outcome::Tested(list))] => test(assembler, list, default),
        _ => {
            let (low, high) = runs.split_at(runs.len() / 2);
            let (above, below) = (assembler.label(), assembler.label());
            assembler.branch(IF_AT_LEAST, high[0].0, above, below);
            assembler.place(below);
            search(assembler, low, default);
            assembler.place(above);
            search(assembler, high, default);
        }
    }
}

fn test(assembler: &mut Assembler, list: &[(Vec<ArgumentTest>, Action)], default: Action) {
    for (tests, action) in list {
        let next = assembler.label();
        for one in tests {
            let holds = assembler.label();
            compare(assembler, one, holds, next);
            assembler.place(holds);
        }
        assembler.finish(*action);
        assembler.place(next);
    }
    assembler.finish(default);
}

/// Goes on at `yes` or `no`. BPF has words of 32 bits and no "less than": the high half decides first, and less is not-at-least.
fn compare(assembler: &mut Assembler, test: &ArgumentTest, yes: Label, no: Label) {
    let (low, high) = seccomp::argument_halves(test.index);
    let (value_low, value_high) = (test.value as u32, (test.value >> 32) as u32);
    let low_half = assembler.label();
    match test.comparison {
        Comparison::Equal | Comparison::MaskedEqual { .. } => {
            let mask = if let Comparison::MaskedEqual { mask } = test.comparison { mask } else { u64::MAX };
            if !test.low_word {
                assembler.load(high);
                assembler.and((mask >> 32) as u32);
                assembler.branch(IF_EQUAL, value_high, low_half, no);
            }
            assembler.place(low_half);
            assembler.load(low);
            assembler.and(mask as u32);
            assembler.branch(IF_EQUAL, value_low, yes, no);
        }
        Comparison::NotEqual => {
            if !test.low_word {
                assembler.load(high);
                assembler.branch(IF_EQUAL, value_high, low_half, yes);
            }
            assembler.place(low_half);
            assembler.load(low);
            assembler.branch(IF_EQUAL, value_low, no, yes);
        }
        Comparison::Greater => ordered(assembler, test, IF_GREATER, yes, no),
        Comparison::GreaterOrEqual => ordered(assembler, test, IF_AT_LEAST, yes, no),
        Comparison::Less => ordered(assembler, test, IF_AT_LEAST, no, yes),
        Comparison::LessOrEqual => ordered(assembler, test, IF_GREATER, no, yes),
    }
}

/// `code` on the low half decides between `then` and `otherwise` when the high halves are equal; a greater high half means `then`.
fn ordered(assembler: &mut Assembler, test: &ArgumentTest, code: u16, then: Label, otherwise: Label) {
    let (low, high) = seccomp::argument_halves(test.index);
    let (value_low, value_high) = (test.value as u32, (test.value >> 32) as u32);
    if !test.low_word {
        let (not_greater, equal) = (assembler.label(), assembler.label());
        assembler.load(high);
        assembler.branch(IF_GREATER, value_high, then, not_greater);
        assembler.place(not_greater);
        assembler.branch(IF_EQUAL, value_high, equal, otherwise);
        assembler.place(equal);
    }
    assembler.load(low);
    assembler.branch(code, value_low, then, otherwise);
}
