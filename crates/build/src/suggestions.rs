//! The nearest right word, for hints.

use shipway_model::suggest;

/// The candidate nearest to `word`, when it is near enough to be meant: at most 2 letters off, and less than half of a short word.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    suggest::nearest(word, candidates, tolerance(word))
}

/// As [`nearest`], but the beginning of a word is not near to it: `make` is no slip for `makedepend`.
pub(crate) fn spelling<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // In a folder of five hundred programs something is always two letters away from a short word.
    let allowed = if word.chars().count() < 5 { 1 } else { tolerance(word) };
    suggest::nearest_spelling(word, candidates, allowed)
}

fn tolerance(word: &str) -> usize {
    match word.chars().count() {
        0..=2 => 1,
        _ => 2,
    }
}
