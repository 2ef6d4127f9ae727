//! "Did you mean": how near a name must be before it is offered. A wrong offer is worse than none, so short words allow one slip only.

/// The candidate nearest to `word`, if it is near enough for a word of this length.
pub(crate) fn near<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 2);
    shipway_model::suggest::nearest(word, candidates, allowed)
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn only_near_names_are_offered() {
        let table = [
            ("nope", "gone", None),
            ("foo", "top", None),
            ("rnu", "run", Some("run")),
            ("public", "publish", Some("publish")),
            ("iage", "image", Some("image")),
        ];
        for (word, candidate, expected) in table {
            assert_eq!(near(word, [candidate]), expected, "{word}");
        }
    }
}
