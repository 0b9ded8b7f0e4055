//! Owns places in a text: an offset becomes the line and the column that a person counts.

/// The line and the column of byte `offset`, both from 1; columns count characters.
pub(super) fn of(text: &str, offset: usize) -> String {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    format!("{line}:{}", before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn lines_and_columns_count_from_one() {
        assert_eq!(of("ab\ncd", 0), "1:1");
        assert_eq!(of("ab\ncd", 4), "2:2");
        assert_eq!(of("ä\nöx", 5), "2:2");
        assert_eq!(of("ab", 99), "1:3");
    }
}
