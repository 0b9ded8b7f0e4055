//! Owns how an answer is put together: header, the question as it came, records, EDNS. Names of records are pointers to
//! where they stand already: in the question, or in the value that led to them (RFC 1035, section 4.1.4).

use super::query::{HEADER, Query, rcode};
use super::zone::Set;
use crate::name::LONGEST;

/// Octets of the record with which EDNS is answered.
const EDNS: usize = 11;
/// What we say we take over UDP.
const OUR_SIZE: u16 = 1232;
/// The largest place that a pointer can lead to.
const FARTHEST: usize = 0x3FFF;

/// Bits of the third and fourth octet of a header.
const ANSWER: u8 = 0x80;
const AUTHORITATIVE: u8 = 0x04;
const TRUNCATED: u8 = 0x02;
const RECURSION_AVAILABLE: u8 = 0x80;

/// The parts of an answer, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Answer = 6,
    Authority = 8,
    Additional = 10,
}

/// Whose record it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// The name that stands at this place of the message.
    At(usize),
    /// A name that stands nowhere yet.
    Whole(&'a [u8]),
}

/// An answer while it is put together.
pub(crate) struct Reply<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    code: u8,
    has_edns: bool,
    wants_signatures: bool,
}

impl<'a> Reply<'a> {
    /// An answer to `query` without records, in at most `limit` octets.
    pub(crate) fn to(query: &Query<'_>, out: &'a mut Vec<u8>, limit: usize, recursion: bool) -> Self {
        out.clear();
        out.extend_from_slice(&query.id());
        // Opcode and whether recursion was wanted stay as they came, and so does whether the client checks signatures.
        out.push(ANSWER | query.message[2] & 0x79);
        out.push(if recursion { RECURSION_AVAILABLE } else { 0 } | query.message[3] & 0x10);
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(query.question());
        let has_edns = query.edns.is_some();
        let wants_signatures = query.edns.is_some_and(|edns| edns.wants_signatures);
        let limit = limit - if has_edns { EDNS } else { 0 };
        Self { out, limit, code: rcode::NOERROR, has_edns, wants_signatures }
    }

    pub(crate) fn set_code(&mut self, code: u8) {
        self.code = code;
    }

    /// The server has the zone.
    pub(crate) fn set_authoritative(&mut self) {
        self.out[2] |= AUTHORITATIVE;
    }

    /// Something that belongs to the answer has no room.
    pub(crate) fn set_truncated(&mut self) {
        self.out[2] |= TRUNCATED;
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.out[2] & TRUNCATED != 0
    }

    /// Adds every value of `set` and calls `each` with the place of each; where they do not fit, none is added.
    pub(crate) fn add(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        set: &Set,
        mut each: impl FnMut(usize),
    ) -> bool {
        let before = self.out.len();
        for value in &set.values {
            if !self.add_value(owner, set.rtype, set.ttl, value.wire()) {
                self.out.truncate(before);
                return false;
            }
        }
        self.count(section, set.values.len());
        let mut end = self.out.len();
        for value in set.values.iter().rev() {
            end -= value.wire().len();
            each(end);
            end -= 10 + owner.length();
        }
        true
    }

    /// Adds one record.
    pub(crate) fn add_one(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        (rtype, ttl): (u16, u32),
        value: &[u8],
    ) -> Option<usize> {
        if !self.add_value(owner, rtype, ttl, value) {
            return None;
        }
        self.count(section, 1);
        Some(self.out.len() - value.len())
    }

    fn add_value(&mut self, owner: Owner<'_>, rtype: u16, ttl: u32, value: &[u8]) -> bool {
        let Ok(length) = u16::try_from(value.len()) else { return false };
        if self.out.len() + owner.length() + 10 + value.len() > self.limit {
            return false;
        }
        match owner {
            Owner::At(at) => {
                let pointer = u16::try_from(at).expect("checked against the farthest place") | 0xC000;
                self.out.extend_from_slice(&pointer.to_be_bytes());
            }
            Owner::Whole(name) => self.out.extend_from_slice(name),
        }
        let mut head = [0; 10];
        head[..2].copy_from_slice(&rtype.to_be_bytes());
        head[3] = 1;
        head[4..8].copy_from_slice(&ttl.to_be_bytes());
        head[8..].copy_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(&head);
        self.out.extend_from_slice(value);
        true
    }

    fn count(&mut self, section: Section, added: usize) {
        let at = section as usize;
        let count = u16::from_be_bytes([self.out[at], self.out[at + 1]]);
        let count = count.saturating_add(u16::try_from(added).unwrap_or(u16::MAX));
        self.out[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    /// Takes every record out again.
    pub(crate) fn clear_records(&mut self, end_of_question: usize) {
        self.out.truncate(end_of_question);
        self.out[6..HEADER].fill(0);
    }

    /// Ends the answer.
    pub(crate) fn finish(mut self) {
        self.out[3] |= self.code & 0x0F;
        if self.has_edns {
            let mut edns = [0; EDNS];
            edns[2] = 41;
            edns[3..5].copy_from_slice(&OUR_SIZE.to_be_bytes());
            edns[5] = self.code >> 4;
            edns[7] = if self.wants_signatures { 0x80 } else { 0 };
            self.out.extend_from_slice(&edns);
            self.count(Section::Additional, 1);
        }
    }
}

impl<'a> Owner<'a> {
    /// The name at `at`, where a pointer can lead there; else `name` whole.
    pub(crate) fn at(at: usize, name: &'a [u8]) -> Self {
        debug_assert!(name.len() <= LONGEST);
        if at <= FARTHEST { Self::At(at) } else { Self::Whole(name) }
    }

    fn length(self) -> usize {
        match self {
            Self::At(_) => 2,
            Self::Whole(name) => name.len(),
        }
    }
}
