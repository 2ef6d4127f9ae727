//! The nearest right thing: one spelling distance for every "did you mean".

/// Texts longer than this are not compared: nobody mistypes a novel.
const LONGEST: usize = 128;

/// How many letters must be inserted, deleted, replaced or swapped with their neighbour to turn `one` into `other`.
pub fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let width = other.len() + 1;
    let mut rows = vec![0_usize; width * 3];
    let (mut before, rest) = rows.split_at_mut(width);
    let (mut previous, mut current) = rest.split_at_mut(width);
    for (column, cell) in previous.iter_mut().enumerate() {
        *cell = column;
    }
    for (row, letter) in one.iter().enumerate() {
        current[0] = row + 1;
        for (column, candidate) in other.iter().enumerate() {
            let replaced = previous[column] + usize::from(letter != candidate);
            let mut best = replaced.min(previous[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && *letter == other[column - 1] && one[row - 1] == *candidate;
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            current[column + 1] = best;
        }
        (before, previous, current) = (previous, current, before);
    }
    previous[other.len()]
}

/// How many letters somebody must have typed before a word that begins so is offered.
const SHORTEST_BEGINNING: usize = 3;

/// The candidate nearest to `word` for a "did you mean": nearly spelled the same, or else begun by `word` (`ref` for `reference`).
///
/// What decides instead of advises takes [`nearest_spelling`]: the beginning of a name is no misspelling of it.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, most: usize) -> Option<&'a str> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    nearest_spelling(word, candidates.iter().copied(), most).or_else(|| begun_by(word, &candidates))
}

/// The shortest candidate that begins with `word`, the first of several equals. Letter case does not count.
fn begun_by<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let folded = word.to_lowercase();
    if word.len() > LONGEST || folded.chars().count() < SHORTEST_BEGINNING {
        return None;
    }
    let begun = candidates.iter().filter(|candidate| candidate.len() <= LONGEST && **candidate != word);
    begun.filter(|candidate| candidate.to_lowercase().starts_with(&folded)).min_by_key(|candidate| candidate.len()).copied()
}

/// The candidate nearest to `word` in spelling, at most `most` letters away and not the word itself. Letter case does not count as a
/// difference unless nothing else differs.
pub fn nearest_spelling<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, most: usize) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let folded = word.to_lowercase();
    let length = folded.chars().count();
    candidates
        .into_iter()
        .filter(|candidate| *candidate != word && candidate.len() <= LONGEST)
        .map(|candidate| (distance(&folded, &candidate.to_lowercase()), candidate))
        // A word of three letters with three wrong ones is another word.
        .filter(|(far, candidate)| *far <= most && *far < length.max(candidate.chars().count()).max(1))
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, expected) in
            [("", "", 0), ("a", "", 1), ("EVN", "ENV", 1), ("iage", "image", 1), ("diamlo", "diamol", 1), ("abc", "xyz", 3)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn the_nearest_is_near() {
        assert_eq!(nearest("bulider", ["builder", "test"], 2), Some("builder"));
        assert_eq!(nearest("BUILDER", ["builder"], 2), Some("builder"));
        assert_eq!(nearest("ab", ["xy"], 2), None);
        assert_eq!(nearest("same", ["same"], 2), None);
    }

    #[test]
    fn the_beginning_of_a_word_counts_as_near_but_not_as_its_spelling() {
        for (word, candidates, expected) in [
            ("ref", ["dangling", "reference", "since"], Some("reference")),
            ("REF", ["dangling", "reference", "since"], Some("reference")),
            ("anc", ["ancestors-of", "ancestor", "name"], Some("ancestor")),
            // Nearly right beats begun.
            ("stat", ["stationery", "status", "name"], Some("status")),
            ("re", ["reference", "since", "until"], None),
            ("reference", ["reference", "since", "until"], None),
            ("ference", ["reference", "since", "until"], Some("reference")),
            ("erence", ["reference", "since", "until"], None),
        ] {
            assert_eq!(nearest(word, candidates, 2), expected, "{word}");
        }
        assert_eq!(nearest_spelling("nginx", ["nginx-config"], 2), None);
    }
}
