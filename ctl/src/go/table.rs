//! Tables as upstream draws them: a frame of `+-|`, the header centred and in capitals, cells to
//! the right, texts with spaces folded at 30 columns.

/// Columns from which a text with spaces is folded.
const FOLD_COLUMNS: usize = 30;
/// What a line costs that is too long for its column.
const TOO_LONG: usize = 100_000;

/// The whole table, with a line end behind each line.
pub(crate) fn text(header: &[&str], rows: &[Vec<String>]) -> String {
    let titles: Vec<String> = header.iter().map(|name| title(name)).collect();
    let titles: Vec<Vec<String>> = titles.iter().map(|name| fold(name)).collect();
    let cells: Vec<Vec<Vec<String>>> =
        rows.iter().map(|row| row.iter().map(|cell| fold(cell)).collect()).collect();
    let width_of = |lines: &[String]| lines.iter().map(|line| columns(line)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len())
        .map(|at| {
            let own = cells.iter().filter_map(|row| row.get(at)).map(|cell| width_of(cell)).max();
            own.unwrap_or(0).max(width_of(&titles[at]))
        })
        .collect();
    let rule: String = widths.iter().map(|width| "-".repeat(width + 2) + "+").collect();
    let rule = format!("+{rule}\n");
    let mut out = rule.clone();
    push_row(&mut out, &titles, &widths, centred);
    out.push_str(&rule);
    for row in &cells {
        push_row(&mut out, row, &widths, to_the_right);
    }
    if !cells.is_empty() {
        out.push_str(&rule);
    }
    out
}

fn push_row(
    out: &mut String,
    cells: &[Vec<String>],
    widths: &[usize],
    pad: fn(&str, usize) -> String,
) {
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..height {
        for (at, width) in widths.iter().enumerate() {
            let text = cells.get(at).and_then(|cell| cell.get(line)).map_or("", String::as_str);
            out.push_str("| ");
            out.push_str(&pad(text, *width));
            out.push(' ');
        }
        out.push_str("|\n");
    }
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

fn centred(text: &str, width: usize) -> String {
    let gap = width.saturating_sub(columns(text));
    format!("{}{text}{}", " ".repeat(gap / 2), " ".repeat(gap - gap / 2))
}

fn to_the_right(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(columns(text))))
}

/// A header's words: capitals, with a space for `_` and `.`.
fn title(name: &str) -> String {
    name.replace(['_', '.'], " ").to_uppercase()
}

/// A cell's lines.
fn fold(cell: &str) -> Vec<String> {
    let words: Vec<&str> = cell.split_whitespace().collect();
    if columns(cell) <= FOLD_COLUMNS || words.len() < 2 {
        return vec![words.join(" ")];
    }
    let widest = words.iter().map(|word| columns(word)).max().unwrap_or(0);
    let limit = widest.max(FOLD_COLUMNS);
    let mut lines = Vec::new();
    let mut at = 0;
    let breaks = breaks(&words, limit);
    while at < words.len() {
        lines.push(words[at..breaks[at]].join(" "));
        at = breaks[at];
    }
    lines
}

/// For each word the end of the line that begins with it: the sum of the squares of what is left
/// free is the least there is, the last line not counted.
fn breaks(words: &[&str], limit: usize) -> Vec<usize> {
    let count = words.len();
    let length = |from: usize, to: usize| {
        words[from..to].iter().map(|word| columns(word)).sum::<usize>() + (to - from - 1)
    };
    let (mut ends, mut costs) = (vec![count; count], vec![usize::MAX; count + 1]);
    costs[count] = 0;
    for from in (0..count).rev() {
        if length(from, count) <= limit {
            costs[from] = 0;
            continue;
        }
        for to in from + 1..count {
            let own = length(from, to);
            let free = limit.abs_diff(own);
            let penalty = if own > limit { TOO_LONG } else { 0 };
            let cost = (free * free).saturating_add(costs[to]).saturating_add(penalty);
            if cost < costs[from] {
                (costs[from], ends[from]) = (cost, to);
            }
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_as_upstream_draws() {
        let rows = [vec!["127.0.0.1:11379".to_owned(), "2.1 GB".to_owned(), String::new()]];
        let drawn = text(&["endpoint", "quota", "hash_revision"], &rows);
        let want = "\
+-----------------+--------+---------------+
|    ENDPOINT     | QUOTA  | HASH REVISION |
+-----------------+--------+---------------+
| 127.0.0.1:11379 | 2.1 GB |               |
+-----------------+--------+---------------+
";
        assert_eq!(drawn, want);
    }

    #[test]
    fn long_texts_are_folded_and_long_words_are_not() {
        let text = "memberID:4883755753530146457 alarm:NOSPACE and some more words";
        let lines = fold(text);
        assert!(lines.len() > 1 && lines.iter().all(|line| columns(line) <= 30), "{lines:?}");
        assert_eq!(lines.join(" "), text);
        let word = "http://127.0.0.1:11380,http://127.0.0.1:11381";
        assert_eq!(fold(word), [word]);
    }
}
