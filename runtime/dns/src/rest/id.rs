//! Owns the ids of records: they say of which record they are, so that none need be kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::name::{LONGEST, Name};
use crate::record::{RecordType, Value};

/// Octets of the hash that a value is told by: its whole would not fit an address.
const HASH: usize = 16;

/// Which record an id means.
pub(super) struct Id {
    pub(super) name: Name,
    pub(super) rtype: RecordType,
    hash: [u8; HASH],
}

impl Id {
    pub(super) fn of(name: &Name, rtype: RecordType, value: &Value) -> Self {
        let mut hash = [0; HASH];
        hash.copy_from_slice(&blake3::hash(&value.canonical(rtype)).as_bytes()[..HASH]);
        Self { name: name.clone(), rtype, hash }
    }

    /// The id that this text is; none where it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // Four letters hold three octets.
        if text.len() > (LONGEST + 2 + HASH).div_ceil(3) * 4 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (rest, hash) = bytes.split_last_chunk::<HASH>()?;
        let (name, rtype) = rest.split_last_chunk::<2>()?;
        Some(Self {
            name: Name::from_wire(name).ok()?,
            rtype: RecordType::of(u16::from_be_bytes(*rtype)),
            hash: *hash,
        })
    }

    pub(super) fn text(&self) -> String {
        let number = self.rtype.number().to_be_bytes();
        URL_SAFE_NO_PAD.encode([self.name.wire(), &number, &self.hash].concat())
    }

    /// Whether it is the id of `value`.
    pub(super) fn is_of(&self, value: &Value) -> bool {
        Self::of(&self.name, self.rtype, value).hash == self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_its_record_alone() {
        let zone = Name::absolute("mcrun.test").unwrap();
        let name = Name::within("we\\.ird", &zone).unwrap();
        let value = |text: &str| Value::parse(RecordType::NS, text, &zone).unwrap();
        let text = Id::of(&name, RecordType::NS, &value("A.example.")).text();
        let id = Id::parse(&text).unwrap();
        assert_eq!((&id.name, id.rtype), (&name, RecordType::NS));
        assert!(id.is_of(&value("a.EXAMPLE.")) && !id.is_of(&value("b.example.")));
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        for bad in ["", "x", "====", &"A".repeat(40), &"A".repeat(10_000), &text[1..]] {
            assert!(Id::parse(bad).is_none_or(|id| id.text() == *bad), "{bad}");
        }
    }
}
