//! "Did you mean" with the tolerance this crate uses everywhere.

use shipway_model::suggest;

/// How many letters of a word may be wrong for a suggestion to be likely: none of very short words, two of long ones.
pub(crate) fn tolerance(word: &str) -> usize {
    match word.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    }
}

/// The candidate with the fewest differing letters, at most [`tolerance`]; the first of several equals. Letter case does not count.
///
/// Spelling only, for it decides: `COPY --from=nginx` beside a stage `nginx-config` means the image.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    suggest::nearest_spelling(word, candidates, tolerance(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_tolerate_what_fingers_do() {
        let names = ["ENV", "RUN", "EXPOSE", "builder", "target"];
        for (typed, wanted) in [
            ("EVN", Some("ENV")),
            ("RUNN", Some("RUN")),
            ("bulider", Some("builder")),
            ("taget", Some("target")),
            ("zzzz", None),
            ("E", None),
        ] {
            assert_eq!(nearest(typed, names), wanted, "{typed}");
        }
    }
}
