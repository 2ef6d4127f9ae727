//! The nearest right word, for hints.

use shipway_model::suggest;

/// The candidate nearest to `word`, when it is near enough to be meant: at most 2 letters off, and less than half of a short word.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = match word.chars().count() {
        0..=2 => 1,
        _ => 2,
    };
    suggest::nearest(word, candidates, allowed)
}
