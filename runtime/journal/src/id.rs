//! Owns the ids of runs: 13 lowercase letters and digits that sort by time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

const LENGTH: usize = 13;
const BITS_OF_CHANCE: u32 = 25;
/// Crockford's alphabet: no letter that reads like a digit or another letter.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 2025-01-01: 40 bits of milliseconds from here last until 2059.
const EPOCH: i64 = 1_735_689_600_000;

/// The id of a run: 40 bits of time and 25 bits of chance in 13 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId([u8; LENGTH]);

/// The text is not the id of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a run id: 13 letters and digits without i, l, o and u")]
pub struct InvalidId(String);

impl RunId {
    /// The id for a run made at `at`; `chance` tells runs of the same millisecond apart (its low 25 bits count).
    #[must_use]
    pub fn new(at: Timestamp, chance: u32) -> Self {
        let time = u128::from(at.0.saturating_sub(EPOCH).clamp(0, (1 << 40) - 1).unsigned_abs());
        let chance = u128::from(chance & ((1 << BITS_OF_CHANCE) - 1));
        let bits = (time << BITS_OF_CHANCE) | chance;
        let mut characters = [0; LENGTH];
        for (place, character) in characters.iter_mut().rev().enumerate() {
            let digit = (bits >> (5 * place)) & 31;
            *character = ALPHABET[digit as usize];
        }
        Self(characters)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("every character comes from the alphabet, which is ASCII")
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({})", self.as_str())
    }
}

impl FromStr for RunId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let lowered = text.to_ascii_lowercase();
        let characters: [u8; LENGTH] =
            lowered.as_bytes().try_into().map_err(|_| InvalidId(text.to_owned()))?;
        if characters.iter().all(|character| ALPHABET.contains(character)) {
            Ok(Self(characters))
        } else {
            Err(InvalidId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_whatever_chance_says() {
        let earlier = RunId::new(Timestamp(EPOCH + 5_000), u32::MAX);
        let later = RunId::new(Timestamp(EPOCH + 5_001), 0);
        assert!(earlier < later);
        assert!(earlier.as_str() < later.as_str());
    }

    #[test]
    fn an_id_reads_back_from_its_text_in_either_case() {
        let id = RunId::new(Timestamp(EPOCH + 123_456_789), 7_654_321);
        assert_eq!(id.as_str().len(), 13);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "abc", "0123456789abi", "0123456789ab/", "0123456789abcd"] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
