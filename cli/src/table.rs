//! Prints rows under headings, with numbers aligned to the right. This module knows no
//! record.

pub struct Column {
    pub title: &'static str,
    pub numeric: bool,
}

/// Returns the lines of a table. Every row has as many cells as there are columns.
pub fn lines(columns: &[Column], rows: &[Vec<String>]) -> Vec<String> {
    let titles: Vec<String> = columns
        .iter()
        .map(|column| column.title.to_owned())
        .collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            let cells = rows.iter().chain([&titles]).filter_map(|row| row.get(at));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    [&titles]
        .into_iter()
        .chain(rows)
        .map(|row| {
            let cells = row.iter().zip(columns).zip(&widths);
            let line: Vec<_> = cells
                .map(|((cell, column), width)| match column.numeric {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                })
                .collect();
            line.join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned() {
        let column = |title, numeric| Column { title, numeric };
        let columns = [column("POD", false), column("CPU", true)];
        let row = |pod: &str, cpu: &str| vec![pod.to_owned(), cpu.to_owned()];
        let rows = [row("a-long-name", "1.0"), row("ä", "100.0")];
        assert_eq!(
            lines(&columns, &rows),
            [
                "POD            CPU",
                "a-long-name    1.0",
                "ä            100.0"
            ]
        );
    }
}
