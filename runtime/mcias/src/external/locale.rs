//! Owns which language somebody likes to be spoken to in while they sign in elsewhere: one language tag (RFC 5646), from an
//! address, from the client that sends them, or from their browser. Our own pages are in English.

/// RFC 5646, section 4.4.1, needs no more.
const LONGEST: usize = 35;
/// Languages of a list that are looked at.
const MOST: usize = 32;

/// A language tag, by its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Locale(String);

impl Locale {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A single tag; nothing where it is none.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut pieces = text.split('-');
        let is_language = |piece: &str| {
            (2..=8).contains(&piece.len()) && piece.bytes().all(|octet| octet.is_ascii_alphabetic())
        };
        let is_piece = |piece: &str| {
            (1..=8).contains(&piece.len()) && piece.bytes().all(|octet| octet.is_ascii_alphanumeric())
        };
        let is_tag = text.len() <= LONGEST && pieces.next().is_some_and(is_language) && pieces.all(is_piece);
        is_tag.then(|| Self(text.to_owned()))
    }

    /// The first one of `ui_locales`, which are parted by spaces, the best first (OpenID Connect Core, section 3.1.2.1).
    pub(crate) fn first_of(locales: &str) -> Option<Self> {
        locales.split(' ').take(MOST).find_map(Self::read)
    }

    /// The one that `Accept-Language` likes best (RFC 9110, section 12.5.4).
    pub(crate) fn preferred(accepted: &str) -> Option<Self> {
        let weighed = accepted.split(',').take(MOST).filter_map(|item| {
            let (tag, parameters) = item.split_once(';').unwrap_or((item, "q=1"));
            let weight: f32 = parameters.trim().strip_prefix("q=")?.parse().ok()?;
            Some((Self::read(tag.trim())?, weight))
                .filter(|(_, weight)| (f32::EPSILON..=1.0).contains(weight))
        });
        // Of those that are liked alike the first one counts.
        weighed.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(tag, _)| tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_by_its_shape() {
        for good in ["en", "de-AT", "zh-Hant-TW", "sl-rozaj-biske-1994", "de-1996"] {
            assert_eq!(Locale::read(good).unwrap().as_str(), good);
        }
        let long = format!("en{}", "-abcdefgh".repeat(4));
        for wrong in
            ["", "e", "1a", "de_AT", "de-", "-de", "de--AT", "*", "d\u{e9}", "de&x=y", "de\r\nX: y", &long]
        {
            assert_eq!(Locale::read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_best_of_several_counts() {
        let preferred = |text: &str| Locale::preferred(text).map(|tag| tag.0);
        assert_eq!(preferred("en;q=0.5, de-AT, fr;q=0.9").as_deref(), Some("de-AT"));
        assert_eq!(preferred("*, fr;q=0.8;x=y, it; q=0.3").as_deref(), Some("it"));
        assert_eq!(preferred("de;q=0, fr;q=2, pt;q=nan"), None);
        assert_eq!(preferred(&"x,".repeat(100_000)), None);
        assert_eq!(Locale::first_of("_ fr-CA en").map(|tag| tag.0).as_deref(), Some("fr-CA"));
    }
}
