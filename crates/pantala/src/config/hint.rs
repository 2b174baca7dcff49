//! "Did you mean ...": the nearest of some names, if one is near enough.

/// The name nearest to `written`, unless it differs in more than a third of its letters.
pub(crate) fn nearest<'a>(
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (distance(written, name), name))
        .min()
        .filter(|(far, name)| *far <= name.len().div_ceil(3))
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace) from one text to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let names = ["data_dir", "run_dir", "topology"];
        assert_eq!(nearest("datadir", names), Some("data_dir"));
        assert_eq!(nearest("topolgy", names), Some("topology"));
        assert_eq!(nearest("listen", names), None);
    }
}
