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

/// The candidate nearest to `word`, at most `most` letters away and not the word itself. Letter case does not count as a difference
/// unless nothing else differs.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, most: usize) -> Option<&'a str> {
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
}
