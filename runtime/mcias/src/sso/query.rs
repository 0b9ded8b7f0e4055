//! Owns taking queries and forms apart (`application/x-www-form-urlencoded`), strictly: a name that comes twice, an escape
//! that is none and bytes that are no text are refused rather than read in one of several ways.

/// Longer ones are none.
const LONGEST: usize = 16 * 1024;
const MOST: usize = 64;

/// The pairs of a query or a form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Takes them apart; nothing where they are malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for piece in text.split('&').filter(|piece| !piece.is_empty()) {
            let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
            let (key, value) = (decoded(key)?, decoded(value)?);
            // RFC 6749, section 3.1: none comes more than once.
            if pairs.len() == MOST || pairs.iter().any(|(known, _)| *known == key) {
                return None;
            }
            pairs.push((key, value));
        }
        Some(Self(pairs))
    }

    /// Whether a name is there, whatever it stands for.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    /// What a name stands for. An empty value is none (RFC 6749, section 3.1).
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

impl Drop for Pairs {
    /// Passwords come in forms.
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        for (_, value) in &mut self.0 {
            value.zeroize();
        }
    }
}

/// One name or value, without control characters: nothing that is asked for here has any.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_in_one_way_only() {
        let pairs = Pairs::parse("a=1&b=x+y%2Bz&c=&&d").unwrap();
        assert_eq!((pairs.get("a"), pairs.get("b")), (Some("1"), Some("x y+z")));
        assert_eq!((pairs.get("c"), pairs.get("d"), pairs.get("e")), (None, None, None));
        for text in ["a=1&a=2", "a=1&%61=2", "a=%", "a=%4", "a=%zz", "a=%ff", "a=%0d%0aX", "a=%00"] {
            assert!(Pairs::parse(text).is_none(), "{text}");
        }
        assert!(Pairs::parse(&"a".repeat(LONGEST + 1)).is_none());
        let many: Vec<String> = (0..=MOST).map(|number| format!("k{number}=1")).collect();
        assert!(Pairs::parse(&many.join("&")).is_none());
    }
}
