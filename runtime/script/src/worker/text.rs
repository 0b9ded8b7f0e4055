//! Owns the linear replacements of the VM's plain `string.find` and `string.split`, which take a quadratic time in which
//! no interrupt fires.

use memchr::memmem;

/// Where `needle` first occurs at or after `start` (from 1, negative from the end, as in Lua): the first and last byte.
pub(super) fn find(text: &[u8], needle: &[u8], start: f64) -> Option<(usize, usize)> {
    let from = offset(text.len(), start)?;
    let at = from + memmem::find(&text[from..], needle)?;
    Some((at + 1, at + needle.len()))
}

/// The offset that a Lua position means; none when it lies beyond the end.
fn offset(length: usize, start: f64) -> Option<usize> {
    let length_number = length as f64;
    let start = if start < 0.0 { (length_number + start + 1.0).max(1.0) } else { start.max(1.0) };
    // The float-to-integer conversion saturates, and NaN has become 1.
    (start <= length_number + 1.0).then_some(start as usize - 1)
}

/// The parts of `text` between occurrences of `separator`, which is not empty.
pub(super) fn split<'a>(text: &'a [u8], separator: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let width = separator.len();
    let ends: Vec<usize> = memmem::find_iter(text, separator).collect();
    let starts = std::iter::once(0).chain(ends.clone().into_iter().map(move |end| end + width));
    starts.zip(ends.into_iter().chain(std::iter::once(text.len()))).map(|(start, end)| &text[start..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_counts_as_lua_does() {
        assert_eq!(find(b"hello", b"l", 1.0), Some((3, 3)));
        assert_eq!(find(b"hello", b"l", 4.0), Some((4, 4)));
        assert_eq!(find(b"hello", b"h", -2.0), None);
        assert_eq!(find(b"hello", b"lo", -2.0), Some((4, 5)));
        assert_eq!(find(b"hello", b"", 6.0), Some((6, 5)));
        assert_eq!(find(b"hello", b"", 7.0), None);
        assert_eq!(find(b"hello", b"h", f64::NEG_INFINITY), Some((1, 1)));
        assert_eq!(find(b"hello", b"h", f64::NAN), Some((1, 1)));
    }

    #[test]
    fn split_keeps_empty_parts() {
        let parts = |text: &'static str, separator: &'static str| -> Vec<String> {
            split(text.as_bytes(), separator.as_bytes())
                .map(|part| String::from_utf8(part.to_vec()).unwrap())
                .collect()
        };
        assert_eq!(parts("a,b,,c", ","), ["a", "b", "", "c"]);
        assert_eq!(parts("", ","), [""]);
        assert_eq!(parts("a--b--", "--"), ["a", "b", ""]);
    }
}
