//! Owns pages: how much one answer holds, and the token with which the next begins. A token that was not given for the same
//! question is refused.

use effect::Result;
use prost::Message;

use super::fields::wrong;

/// What a page holds where the caller does not say, and at most.
const USUAL: usize = 100;
const MOST: usize = 1000;
/// Octets of a page.
const LARGEST: usize = 1 << 20;
/// No token is longer.
const LONGEST: usize = 200;

/// How many items a page has.
pub(super) fn size(given: u32) -> usize {
    match given as usize {
        0 => USUAL,
        given => given.min(MOST),
    }
}

/// What a caller asks for, page by page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// The call.
    pub(super) call: &'a str,
    /// What else it says.
    pub(super) about: &'a str,
}

impl Question<'_> {
    /// The token for the page behind `position`.
    pub(super) fn token(self, position: &str) -> String {
        format!("{position}~{}", self.mark(position))
    }

    /// Where the page begins; nothing for the first.
    pub(super) fn position(self, token: &str) -> Result<Option<String>> {
        if token.is_empty() {
            return Ok(None);
        }
        let known = (token.len() <= LONGEST).then(|| token.rsplit_once('~')).flatten();
        match known {
            Some((position, mark)) if mark == self.mark(position) => Ok(Some(position.to_owned())),
            _ => Err(wrong("page_token", "it is not what a page before this one gave for the same question")
                .hint("leave it empty for the first page")),
        }
    }

    /// Against mistakes, not against malice: whoever makes a token up sees nothing that it may not see.
    fn mark(self, position: &str) -> String {
        let text = format!("{}\0{}\0{position}", self.call, self.about);
        blake3::hash(text.as_bytes()).to_hex()[..12].to_owned()
    }
}

/// As many of `found` as fit a page, at least one; how many.
pub(super) fn fill<T: Message>(found: Vec<T>) -> (Vec<T>, bool) {
    let (count, mut octets) = (found.len(), 0);
    let mut page = Vec::with_capacity(count);
    for message in found {
        octets += message.encoded_len();
        if octets > LARGEST && !page.is_empty() {
            break;
        }
        page.push(message);
    }
    let is_whole = page.len() == count;
    (page, is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_its_question_only() {
        let question = Question { call: "ListRuns", about: "done" };
        let token = question.token("01abc");
        assert_eq!(question.position(&token).unwrap().as_deref(), Some("01abc"));
        assert_eq!(question.position("").unwrap(), None);
        let other = Question { about: "failed", ..question };
        assert!(other.position(&token).is_err());
        for made_up in ["01abc", "01abc~", "~", "01abd~0123456789ab", &"x".repeat(9000)] {
            assert!(question.position(made_up).unwrap_err().message.starts_with("`page_token`"), "{made_up}");
        }
    }

    #[test]
    fn a_page_has_a_size_and_at_least_one_item() {
        assert_eq!([size(0), size(7), size(1_000_000)], [100, 7, 1000]);
        let large = |count: usize| vec![vec![0_u8; 700 << 10]; count];
        assert_eq!(fill(large(3)).0.len(), 1);
        assert_eq!(fill(vec![vec![0_u8; 10]; 3]), (vec![vec![0_u8; 10]; 3], true));
    }
}
