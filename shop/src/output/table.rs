//! Columns of text, as wide as what is in them.

const GAP: &str = "  ";

/// The rows as lines, each with its end of line; the columns named in `right` stand to the right. A
/// cell may have several lines, and colours, which take no room.
pub(super) fn render(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.flat_map(|cell| cell.lines()).map(visible).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().flat_map(|row| row_lines(row, &widths, right)).collect()
}

fn row_lines(row: &[String], widths: &[usize], right: &[usize]) -> Vec<String> {
    let height = row.iter().map(|cell| cell.lines().count()).max().unwrap_or_default();
    let line = |at: usize| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            padded(cell.lines().nth(at).unwrap_or_default(), *width, right.contains(&column))
        });
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned() + "\n"
    };
    (0..height).map(line).collect()
}

fn padded(text: &str, width: usize, to_the_right: bool) -> String {
    let room = " ".repeat(width - visible(text).min(width));
    if to_the_right { room + text } else { text.to_owned() + &room }
}

/// The characters that are seen: a colour is an escape sequence that ends with `m`.
fn visible(text: &str) -> usize {
    let mut parts = text.split('\u{1b}');
    let plain = parts.next().unwrap_or_default().chars().count();
    let after_colours = parts.map(|part| part.split_once('m').map_or(part, |(_, seen)| seen));
    plain + after_colours.map(|seen| seen.chars().count()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn numbers_stand_to_the_right_and_no_line_ends_with_blanks() {
        let table = rows(&[&["what", "n", ""], &["orders", "12", ""], &["é", "3", "late"]]);
        assert_eq!(render(&table, &[1]), "what     n\norders  12\né        3  late\n");
    }

    #[test]
    fn colours_take_no_room() {
        let table = rows(&[&["\u{1b}[32m✓\u{1b}[0m", "fine"], &["no", "mark"]]);
        assert_eq!(render(&table, &[]), "\u{1b}[32m✓\u{1b}[0m   fine\nno  mark\n");
    }

    #[test]
    fn the_lines_of_a_cell_stay_in_its_column() {
        let table = rows(&[&["x", "port 1\nfix: port 2"], &["yy", "fine"]]);
        assert_eq!(render(&table, &[]), "x   port 1\n    fix: port 2\nyy  fine\n");
    }
}
