//! Owns how a plan shows the difference of two texts: as a unified diff, within bounds, and never what is not for every
//! reader's eyes. The comparing itself is the crate `similar`'s.

use std::borrow::Cow;
use std::time::Duration;

use effect::Context;
use similar::TextDiff;

use super::object::{Kind, Object};

/// Larger texts are told by size and hash alone.
const LARGEST: usize = 256 << 10;
/// The most lines of one diff.
const MOST_LINES: usize = 40;
/// The longest line, in characters.
const LONGEST_LINE: usize = 200;
/// Lines shown around a change.
const AROUND: usize = 3;
/// Whoever takes longer gets a coarser diff.
const PATIENCE: Duration = Duration::from_millis(200);
/// The permission bit by which everybody may read.
const FOR_ALL: u32 = 0o004;

/// What a plan shows of a changed content; nothing for what is no text, too large, or not for everybody to read: it may
/// well hold a password that nobody told us of.
pub(super) fn between(context: &Context, before: Option<&Object>, after: Option<&Object>) -> Option<String> {
    let (before, after) = (before?, after?);
    let is_text = |object: &Object| object.kind == Kind::File && object.mode.0 & FOR_ALL != 0;
    if !context.planning() || before.hash == after.hash || !is_text(before) || !is_text(after) {
        return None;
    }
    let (old, new) = (text_of(context, before)?, text_of(context, after)?);
    // Before comparing: a secret of several lines would not be found again among signs and context.
    let (old, new) = (context.secrets.mask(&old), context.secrets.mask(&new));
    (old != new).then(|| shown(&old, &new))
}

fn text_of(context: &Context, object: &Object) -> Option<String> {
    let content = context.sealer.open_hidden(object.content.as_ref()?).ok()?;
    let text = (content.len() <= LARGEST).then(|| String::from_utf8(content.to_vec()).ok())??;
    (!text.contains('\0')).then_some(text)
}

fn shown(old: &str, new: &str) -> String {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(old, new);
    let unified = diff.unified_diff().context_radius(AROUND).to_string();
    let mut lines: Vec<Cow<'_, str>> = unified.lines().take(MOST_LINES).map(clipped).collect();
    let more = unified.lines().count().saturating_sub(MOST_LINES);
    if more > 0 {
        lines.push(format!("… {more} more lines").into());
    }
    lines.join("\n")
}

fn clipped(line: &str) -> Cow<'_, str> {
    match line.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{}…", &line[..end]).into(),
        None => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_lines_are_shown_around_a_change() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = old.replace('5', "five");
        assert_eq!(shown(old, &new), "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8");
    }

    #[test]
    fn a_missing_last_line_end_is_told() {
        assert_eq!(shown("a\n", "a"), "@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file");
    }

    #[test]
    fn a_diff_is_bounded_in_lines_and_in_their_length() {
        let new: String = (0..1000).map(|line| format!("{line}\n")).collect();
        let many = shown("", &new);
        assert_eq!(many.lines().count(), MOST_LINES + 1);
        assert!(many.ends_with("… 961 more lines"), "{many}");
        let long = shown("", &"ä".repeat(1000));
        assert!(long.lines().all(|line| line.chars().count() <= LONGEST_LINE + 1), "{long}");
    }
}
