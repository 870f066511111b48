//! Tables for people: columns as wide as their content, the last one cut to the terminal.

use crate::text::{Line, Span, Style};

/// Spaces between two columns.
const GAP: usize = 2;
/// The last column keeps at least so many columns, however narrow the terminal is.
const LAST_AT_LEAST: usize = 12;

/// Rows under a header.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Span>>,
}

impl Table {
    pub(crate) fn new(header: impl Into<Vec<&'static str>>) -> Self {
        Self { header: header.into(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<Span>>) {
        self.rows.push(cells.into());
    }

    /// The lines of the table, none wider than `width` columns unless all but the last column already are.
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<Line> {
        let header: Vec<Span> = self.header.iter().map(|title| Span::new(Style::Strong, title)).collect();
        // A column in which no row has anything is left out.
        let shown: Vec<usize> = (0..header.len())
            .filter(|&at| self.rows.iter().any(|row| row.get(at).is_some_and(|cell| !cell.text().is_empty())))
            .collect();
        let all = || std::iter::once(&header).chain(&self.rows);
        let widths: Vec<usize> = shown
            .iter()
            .map(|&at| all().filter_map(|row| row.get(at)).map(Span::width).max().unwrap_or(0))
            .collect();
        let before_last: usize = widths.iter().rev().skip(1).map(|width| width + GAP).sum();
        let last = width.map(|width| width.saturating_sub(before_last).max(LAST_AT_LEAST));

        all()
            .map(|row| {
                let mut line = Line::new();
                let mut owed = 0; // spaces, written only when something follows them
                for (&at, &width) in shown.iter().zip(&widths) {
                    let Some(cell) = row.get(at).filter(|cell| !cell.text().is_empty()) else {
                        owed += width + GAP;
                        continue;
                    };
                    if owed > 0 {
                        line.push(Span::plain(" ".repeat(owed)));
                    }
                    let is_last = Some(&at) == shown.last();
                    let cell = match last {
                        Some(limit) if is_last => cell.cut(limit),
                        _ => cell.clone(),
                    };
                    owed = width.saturating_sub(cell.width()) + GAP;
                    line.push(cell);
                }
                line
            })
            .collect()
    }
}

#[cfg(test)]
pub(crate) fn text(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        line.iter().for_each(|span| span.paint(false, &mut text));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NAME", "NOTHING", "STATUS", "ERROR"]);
        table.row([Span::plain("a"), Span::plain(""), Span::plain("healthy")]);
        table.row([
            Span::plain("漢字-server"),
            Span::plain(""),
            Span::plain("degraded"),
            Span::plain("connection refused by the peer"),
        ]);
        table
    }

    #[test]
    fn columns_align_and_empty_ones_are_left_out() {
        assert_eq!(
            text(&table().lines(None)),
            "NAME         STATUS    ERROR\n\
             a            healthy\n\
             漢字-server  degraded  connection refused by the peer\n"
        );
    }

    #[test]
    fn the_last_column_is_cut_to_the_terminal() {
        assert_eq!(
            text(&table().lines(Some(38))),
            "NAME         STATUS    ERROR\n\
             a            healthy\n\
             漢字-server  degraded  connection ref…\n"
        );
        let narrow = table().lines(Some(10));
        assert!(text(&narrow).ends_with("degraded  connection …\n"), "{narrow:?}");
    }

    #[test]
    fn a_table_without_rows_is_its_empty_header() {
        let table = Table::new(["NAME"]);
        assert_eq!(text(&table.lines(None)), "\n");
    }
}
