//! Columns: text with tabs in, aligned text out, byte for byte what Go's `text/tabwriter` gives docker (minimum 10, padding 3, spaces).
//!
//! What must stay true: a column is as wide as its widest cell in *neighbouring* lines that have it, and the last cell of a line never pads.
//! Widths are terminal columns, so Korean names line up; for plain ASCII they equal Go's rune count.

use unicode_width::UnicodeWidthStr;

/// Cells are at least this wide, padding included.
const MINIMUM: usize = 10;
/// Spaces after the widest cell.
const PADDING: usize = 3;

/// Aligns lines whose cells are separated by tabs.
pub(crate) fn align(text: &str) -> String {
    align_with(text, MINIMUM, PADDING)
}

/// Aligns with another minimum width and padding.
pub(crate) fn align_with(text: &str, minimum: usize, padding: usize) -> String {
    let ended = text.ends_with('\n');
    let body = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<Vec<&str>> = body.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut writer = Writer { lines: &lines, widths: Vec::new(), out: String::with_capacity(text.len() * 2), minimum, padding };
    writer.format(0, lines.len());
    if !ended {
        writer.out.pop();
    }
    writer.out
}

struct Writer<'a> {
    lines: &'a [Vec<&'a str>],
    widths: Vec<usize>,
    out: String,
    minimum: usize,
    padding: usize,
}

impl Writer<'_> {
    fn format(&mut self, from: usize, to: usize) {
        let column = self.widths.len();
        let mut unwritten = from;
        let mut at = from;
        while at < to {
            if column + 1 >= self.lines[at].len() {
                at += 1;
                continue;
            }
            self.write_lines(unwritten, at);
            unwritten = at;
            let mut width = self.minimum;
            while at < to && column + 1 < self.lines[at].len() {
                width = width.max(self.lines[at][column].width() + self.padding);
                at += 1;
            }
            self.widths.push(width);
            self.format(unwritten, at);
            self.widths.pop();
            unwritten = at;
        }
        self.write_lines(unwritten, to);
    }

    fn write_lines(&mut self, from: usize, to: usize) {
        for line in &self.lines[from..to] {
            for (index, cell) in line.iter().enumerate() {
                self.out.push_str(cell);
                if let Some(width) = self.widths.get(index)
                    && index + 1 < line.len()
                {
                    let gap = width.saturating_sub(cell.width());
                    self.out.extend(std::iter::repeat_n(' ', gap));
                }
            }
            self.out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_as_gos_tabwriter_does() {
        let table = [
            ("A\tB\n", "A         B\n"),
            ("CONTAINER ID\tIMAGE\tNAMES\nabc\tbusybox\tx\n", "CONTAINER ID   IMAGE     NAMES\nabc            busybox   x\n"),
            ("a\t\tb\n", "a                   b\n"),
            ("a\t\n", "a         \n"),
            ("one\n", "one\n"),
            ("long-cell-here\tx\nplain line\nb\ty\n", "long-cell-here   x\nplain line\nb         y\n"),
            ("이미지\tx\n", "이미지    x\n"),
        ];
        for (input, expected) in table {
            assert_eq!(align(input), expected, "{input:?}");
        }
    }
}
