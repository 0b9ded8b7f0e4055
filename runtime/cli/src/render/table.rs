//! Owns tables: aligned columns without borders, so that they can be cut and grepped.

use comfy_table::{ContentArrangement, presets};

use super::{BOLD, printable, styled};

/// A table that is printed to stdout.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(header.iter().map(|name| name.to_uppercase()));
        Self(table)
    }

    pub(crate) fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        self.0.add_row(cells.into_iter().map(|cell| printable(&cell)));
    }

    pub(crate) fn print(&self) {
        self.lines().iter().for_each(super::out);
    }

    /// Its lines, the header first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = self.0.to_string();
        let lines = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
        let shown = lines
            .enumerate()
            .map(|(index, line)| if index == 0 { styled(BOLD, line) } else { line.to_owned() });
        shown.collect()
    }
}
