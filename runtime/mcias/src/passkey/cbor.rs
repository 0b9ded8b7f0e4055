//! Owns reading CBOR (RFC 8949) as authenticators write it (CTAP 2.1, section 8): definite lengths, no tags, no floats. It
//! borrows from what it reads, and what is claimed beyond the octets that are there costs nothing.

/// Attestation statements lie three deep.
const DEEPEST: u8 = 8;
/// Items of one value, all in all.
const MOST_ITEMS: usize = 512;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A whole number, of either sign.
    Number(i128),
    /// Octets.
    Bytes(&'a [u8]),
    /// Text.
    Text(&'a str),
    /// A list.
    List(Vec<Value<'a>>),
    /// Pairs, no two of which have the same key.
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// `true` or `false`.
    Bool(bool),
    /// `null` or `undefined`.
    Null,
}

impl<'a> Value<'a> {
    /// What a map has under a key.
    pub(super) fn get(&self, key: &Value<'_>) -> Option<&Value<'a>> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// What a map has under a number.
    pub(super) fn at(&self, key: i128) -> Option<&Value<'a>> {
        self.get(&Value::Number(key))
    }

    /// What a map has under a word.
    pub(super) fn named(&self, key: &str) -> Option<&Value<'a>> {
        self.get(&Value::Text(key))
    }

    pub(super) fn number(&self) -> Option<i128> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// How many pairs a map has.
    pub(super) fn pairs(&self) -> Option<usize> {
        if let Self::Map(pairs) = self { Some(pairs.len()) } else { None }
    }
}

/// The value at the beginning of `octets`, and what comes after it. Nothing where there is none that is understood.
pub(super) fn first(octets: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let mut reader = Reader { rest: octets, items: 0 };
    let value = reader.value(0)?;
    Some((value, reader.rest))
}

/// The one value that `octets` are.
pub(super) fn only(octets: &[u8]) -> Option<Value<'_>> {
    first(octets).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

struct Reader<'a> {
    rest: &'a [u8],
    items: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn value(&mut self, depth: u8) -> Option<Value<'a>> {
        self.items += 1;
        if depth > DEEPEST || self.items > MOST_ITEMS {
            return None;
        }
        let head = *self.take(1)?.first()?;
        let (major, info) = (head >> 5, head & 0x1f);
        if major == 7 {
            return match info {
                20 | 21 => Some(Value::Bool(info == 21)),
                22 | 23 => Some(Value::Null),
                _ => None,
            };
        }
        let argument = self.argument(info)?;
        match major {
            0 => Some(Value::Number(i128::from(argument))),
            1 => Some(Value::Number(-1 - i128::from(argument))),
            2 => Some(Value::Bytes(self.take(usize::try_from(argument).ok()?)?)),
            3 => {
                let text = self.take(usize::try_from(argument).ok()?)?;
                Some(Value::Text(std::str::from_utf8(text).ok()?))
            }
            4 => self.list(argument, depth),
            5 => self.map(argument, depth),
            _ => None,
        }
    }

    fn argument(&mut self, info: u8) -> Option<u64> {
        let width = match info {
            0..24 => return Some(u64::from(info)),
            24..28 => 1 << (info - 24),
            // An end that comes later is not told in advance.
            _ => return None,
        };
        Some(self.take(width)?.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }

    fn list(&mut self, count: u64, depth: u8) -> Option<Value<'a>> {
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(self.value(depth + 1)?);
        }
        Some(Value::List(items))
    }

    fn map(&mut self, count: u64, depth: u8) -> Option<Value<'a>> {
        let mut pairs: Vec<(Value<'a>, Value<'a>)> = Vec::new();
        for _ in 0..count {
            let key = self.value(depth + 1)?;
            // A key that is given twice would be read in two ways.
            let is_plain = matches!(key, Value::Number(_) | Value::Text(_) | Value::Bytes(_));
            if !is_plain || pairs.iter().any(|(known, _)| *known == key) {
                return None;
            }
            pairs.push((key, self.value(depth + 1)?));
        }
        Some(Value::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_standard_are_read() {
        for (octets, value) in [
            (&[0x17][..], Value::Number(23)),
            (&[0x18, 0x64], Value::Number(100)),
            (&[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Number(u64::MAX.into())),
            (&[0x38, 0x63], Value::Number(-100)),
            (&[0x44, 1, 2, 3, 4], Value::Bytes(&[1, 2, 3, 4])),
            (&[0x64, 0x49, 0x45, 0x54, 0x46], Value::Text("IETF")),
            (&[0x82, 0xf5, 0xf6], Value::List(vec![Value::Bool(true), Value::Null])),
            (&[0xa1, 0x01, 0x02], Value::Map(vec![(Value::Number(1), Value::Number(2))])),
        ] {
            assert_eq!(only(octets), Some(value), "{octets:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_none() {
        let deep = [vec![0x81; 20], vec![0]].concat();
        let many = [vec![0x99, 0x03, 0x00], vec![0; 768]].concat();
        for octets in [
            &[][..],
            &[0x18],
            &[0x1c],
            &[0x44, 1],
            &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x9f, 0xff],
            &[0x61, 0xff],
            &[0xa2, 0x01, 0x02, 0x01, 0x03],
            &[0xa1, 0x80, 0x01],
            &[0xc0, 0x00],
            &[0xf9, 0x00, 0x00],
            &[0x00, 0x00],
            &deep,
            &many,
        ] {
            assert_eq!(only(octets), None, "{octets:?}");
        }
    }
}
