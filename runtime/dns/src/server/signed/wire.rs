//! Owns the record of a signature on the wire (RFC 8945, section 4.2).

use domain::dep::octseq::Parser;

use crate::name::Name;
use crate::server::records::{self, Record, Records, number};

/// The type of a signature.
const TSIG: u16 = 250;
const CLASS_ANY: u16 = 255;
/// Octets of a signature but its names and its hash, with the time of a server in other data.
pub(super) const FIXED: usize = 10 + 16 + 6;

/// A signature as it came, or as it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) key: Name,
    pub(super) algorithm: Name,
    /// When it was made, in seconds since 1970; 48 bits.
    pub(super) time: u64,
    pub(super) fudge: u16,
    pub(super) mac: Vec<u8>,
    pub(super) id: u16,
    pub(crate) error: u16,
    pub(super) other: Vec<u8>,
    /// Where it begins in its message.
    pub(super) begin: usize,
}

impl Signature {
    /// The signature of `message`, if it has one.
    ///
    /// # Errors
    /// Where there are several, or it is not the last record, or cannot be read: `FORMERR` (RFC 8945, section 5.1).
    pub(crate) fn of(message: &[u8], records: &Records) -> Result<Option<Self>, ()> {
        let elsewhere = records.first.iter().chain(&records.second);
        let Some((last, others)) = records.additional.split_last() else {
            return if elsewhere.clone().any(is_signature) { Err(()) } else { Ok(None) };
        };
        if elsewhere.chain(others).any(is_signature) {
            return Err(());
        }
        if !is_signature(last) {
            return Ok(None);
        }
        Self::read(message, last).map(Some).ok_or(())
    }

    fn read(message: &[u8], record: &Record) -> Option<Self> {
        if record.class != CLASS_ANY || record.ttl != 0 {
            return None;
        }
        let mut parser = Parser::with_range(message, ..record.data.end);
        parser.advance(record.data.start).ok()?;
        let algorithm = records::name(&mut parser)?;
        let time = u64::from(parser.parse_u16_be().ok()?) << 32 | u64::from(parser.parse_u32_be().ok()?);
        let fudge = parser.parse_u16_be().ok()?;
        let mac = octets(&mut parser)?;
        let id = parser.parse_u16_be().ok()?;
        let error = parser.parse_u16_be().ok()?;
        let other = octets(&mut parser)?;
        let key = record.owner(message).ok()?;
        let signature = Self { key, algorithm, time, fudge, mac, id, error, other, begin: record.begin };
        (parser.remaining() == 0).then_some(signature)
    }

    /// What is signed besides the first message (RFC 8945, section 4.3.3).
    pub(super) fn variables(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(self.key.wire());
        into.extend_from_slice(&CLASS_ANY.to_be_bytes());
        into.extend_from_slice(&[0; 4]);
        into.extend_from_slice(self.algorithm.wire());
        self.timers(into);
        into.extend_from_slice(&self.error.to_be_bytes());
        into.extend_from_slice(&length(&self.other));
        into.extend_from_slice(&self.other);
    }

    /// What is signed besides every other message (RFC 8945, section 5.3.1).
    pub(super) fn timers(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.time.to_be_bytes()[2..]);
        into.extend_from_slice(&self.fudge.to_be_bytes());
    }

    /// Puts it behind `message`.
    pub(super) fn append(&self, message: &mut Vec<u8>) {
        let mut data = self.algorithm.wire().to_vec();
        self.timers(&mut data);
        data.extend_from_slice(&length(&self.mac));
        data.extend_from_slice(&self.mac);
        data.extend_from_slice(&self.id.to_be_bytes());
        data.extend_from_slice(&self.error.to_be_bytes());
        data.extend_from_slice(&length(&self.other));
        data.extend_from_slice(&self.other);
        message.extend_from_slice(self.key.wire());
        message.extend_from_slice(&TSIG.to_be_bytes());
        message.extend_from_slice(&CLASS_ANY.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&length(&data));
        message.extend_from_slice(&data);
        let count = number(message, 10).unwrap_or(0).saturating_add(1);
        message[10..12].copy_from_slice(&count.to_be_bytes());
    }
}

fn is_signature(record: &Record) -> bool {
    record.rtype == TSIG
}

fn octets(parser: &mut Parser<'_, [u8]>) -> Option<Vec<u8>> {
    let length = usize::from(parser.parse_u16_be().ok()?);
    Some(parser.parse_octets(length).ok()?.to_vec())
}

fn length(of: &[u8]) -> [u8; 2] {
    u16::try_from(of.len()).unwrap_or(u16::MAX).to_be_bytes()
}
