//! The nearest known flag to a mistyped one.

use std::collections::HashSet;

/// Beyond this many edits a suggestion is a guess.
const FARTHEST: usize = 4;

/// The known flag with the fewest edits from `flag`; the first by name where several are as near.
pub(super) fn closest<'a>(flag: &str, known: &'a HashSet<String>) -> Option<&'a str> {
    let near = known.iter().map(|candidate| (distance(flag, candidate), candidate.as_str()));
    near.filter(|(edits, _)| *edits <= FARTHEST).min().map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted_once_each() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn nothing_is_suggested_for_a_word_unlike_all() {
        let known = HashSet::from(["--http-addr".to_owned()]);
        assert_eq!(closest("--htp-adr", &known), Some("--http-addr"));
        assert_eq!(closest("--wavelength", &known), None);
    }
}
