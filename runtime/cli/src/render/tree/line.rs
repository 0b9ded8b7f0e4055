//! Owns one line of the tree: what is cut when the terminal is narrow, and what stays.

use anstyle::Style;
use unicode_width::UnicodeWidthChar as _;

use crate::render::{DIM, RED, styled};

/// One line: guides, mark, text that may be cut, and what always stays at its end.
#[derive(Clone, Default)]
pub(super) struct Line {
    pub(super) guides: Vec<&'static str>,
    pub(super) mark: Option<(Style, String)>,
    pub(super) text: Vec<(Style, String)>,
    pub(super) time: Option<(Style, String)>,
    pub(super) failure: Option<String>,
}

impl Line {
    /// A line about lines that are not there.
    pub(super) fn remark(text: String) -> Self {
        Self { text: vec![(DIM, text)], ..Self::default() }
    }

    /// All of it, however long.
    pub(super) fn whole(&self) -> String {
        self.shown(usize::MAX)
    }

    /// What of it fits into `width` columns; the time always does, where there is room for anything.
    pub(super) fn fitted(&self, width: usize) -> String {
        self.shown(width)
    }

    fn shown(&self, width: usize) -> String {
        let mut pen = Pen { out: String::new(), room: width };
        let time = self.time.as_ref().map(|(style, time)| (*style, format!("  {time}")));
        let reserved = time.as_ref().map_or(0, |(_, time)| time.chars().count());
        pen.write(DIM, &self.guides.concat(), reserved);
        if let Some((style, mark)) = &self.mark {
            pen.write(*style, mark, reserved);
            pen.write(Style::new(), " ", reserved);
        }
        for (style, text) in &self.text {
            pen.write(*style, text, reserved);
        }
        if let Some((style, time)) = &time {
            pen.write(*style, time, 0);
        }
        if let Some(failure) = &self.failure {
            pen.write(RED, &format!("  {failure}"), 0);
        }
        pen.out
    }
}

/// Writes into a line of limited width.
struct Pen {
    out: String,
    room: usize,
}

impl Pen {
    /// Writes `text`, cut so that `reserved` columns stay free after it.
    fn write(&mut self, style: Style, text: &str, reserved: usize) {
        let room = self.room.saturating_sub(reserved);
        let shown = cut(text, room);
        self.room -= width(&shown).min(self.room);
        if !shown.is_empty() {
            self.out.push_str(&styled(style, shown));
        }
    }
}

pub(super) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// `text` in at most `room` columns, with `…` where something is left out.
fn cut(text: &str, room: usize) -> String {
    if text.len() <= room || width(text) <= room {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        shown.push(c);
    }
    if room > 0 {
        shown.push('…');
    }
    shown
}
