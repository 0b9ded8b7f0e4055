//! Owns how the records of a message are read where more than the question matters: updates, signatures, transfers. What
//! a question alone needs is read by `query`.

use std::ops::Range;

use domain::base::iana::Rtype;
use domain::base::name::{ParsedName, ToName as _};
use domain::base::rdata::{ComposeRecordData as _, ParseRecordData as _};
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;

use super::query::{Edns, HEADER, SMALLEST_UDP, rcode};
use crate::name::Name;
use crate::record::{RecordType, Value};

/// Records of one message that are looked at: what 64 KiB of changes need, far below what they have room for.
pub(crate) const MOST_RECORDS: usize = 4096;
const OPT: u16 = 41;

/// One record of a message. Its name is read when it is asked for: long chains of pointers cost nothing to those who do not
/// even have a key.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) rtype: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// Where it begins, with its name.
    pub(crate) begin: usize,
    /// Where its value lies.
    pub(crate) data: Range<usize>,
}

/// The records of a message after its question, by section.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    /// What an answer says, or what an update requires.
    pub(crate) first: Vec<Record>,
    /// The authority section, or what an update changes.
    pub(crate) second: Vec<Record>,
    /// The additional section.
    pub(crate) additional: Vec<Record>,
}

impl Records {
    /// Reads the records of `message`, whose question ends at `at`.
    ///
    /// # Errors
    /// `FORMERR` where the message is cut or goes on, `REFUSED` where there are too many.
    pub(crate) fn read(message: &[u8], at: usize) -> Result<Self, u8> {
        let counts = [6, 8, 10].map(|at| usize::from(number(message, at).unwrap_or(u16::MAX)));
        if counts.iter().sum::<usize>() > MOST_RECORDS {
            return Err(rcode::REFUSED);
        }
        let mut parser = Parser::from_ref(message);
        parser.advance(at).map_err(|_| rcode::FORMERR)?;
        let mut section = |count: usize| -> Result<Vec<Record>, u8> {
            (0..count).map(|_| Record::read(&mut parser).ok_or(rcode::FORMERR)).collect()
        };
        let records =
            Self { first: section(counts[0])?, second: section(counts[1])?, additional: section(counts[2])? };
        if parser.remaining() == 0 { Ok(records) } else { Err(rcode::FORMERR) }
    }

    /// What the client says beyond the question.
    ///
    /// # Errors
    /// `FORMERR` for two of them.
    pub(crate) fn edns(&self) -> Result<Option<Edns>, u8> {
        let mut all = self.additional.iter().filter(|record| record.rtype == OPT);
        let edns = all.next().map(|record| Edns {
            size: usize::from(record.class).max(SMALLEST_UDP),
            wants_signatures: record.ttl & 0x8000 != 0,
        });
        if all.next().is_some() { Err(rcode::FORMERR) } else { Ok(edns) }
    }
}

impl Record {
    fn read(parser: &mut Parser<'_, [u8]>) -> Option<Self> {
        let begin = parser.pos();
        ParsedName::skip(parser).ok()?;
        let rtype = parser.parse_u16_be().ok()?;
        let class = parser.parse_u16_be().ok()?;
        let ttl = parser.parse_u32_be().ok()?;
        let length = usize::from(parser.parse_u16_be().ok()?);
        let data = parser.pos()..parser.pos() + length;
        parser.advance(length).ok()?;
        Some(Self { rtype, class, ttl, begin, data })
    }

    /// Whose it is.
    ///
    /// # Errors
    /// `FORMERR` where that is no name.
    pub(crate) fn owner(&self, message: &[u8]) -> Result<Name, u8> {
        let mut parser = Parser::from_ref(message);
        parser.advance(self.begin).map_err(|_| rcode::FORMERR)?;
        name(&mut parser).ok_or(rcode::FORMERR)
    }

    /// Whether it has no value.
    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Its value, with whole names; none where it is none of the type.
    pub(crate) fn value(&self, message: &[u8]) -> Option<Value> {
        let mut parser = Parser::with_range(message, ..self.data.end);
        parser.advance(self.data.start).ok()?;
        let data: ZoneRecordData<&[u8], ParsedName<&[u8]>> =
            ZoneRecordData::parse_rdata(Rtype::from_int(self.rtype), &mut parser).ok()??;
        if parser.remaining() != 0 {
            return None;
        }
        let mut wire = Vec::with_capacity(self.data.len());
        data.compose_rdata(&mut wire).ok()?;
        Value::from_wire(RecordType::of(self.rtype), &wire).ok()
    }
}

/// The name at which `parser` stands, followed through pointers: `domain` lets them lead backwards only, and 255 times.
pub(crate) fn name(parser: &mut Parser<'_, [u8]>) -> Option<Name> {
    let parsed = ParsedName::parse(parser).ok()?;
    let whole: domain::base::Name<Vec<u8>> = parsed.to_name();
    Name::from_wire(whole.as_slice()).ok()
}

/// The number at `at`.
pub(crate) fn number(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

/// An answer of nothing but a code, to a message with a whole header that could not be read further.
pub(crate) fn bare(message: &[u8], code: u8) -> Vec<u8> {
    let mut answer = vec![0; HEADER];
    answer[..2].copy_from_slice(&message[..2]);
    answer[2] = 0x80 | message[2] & 0x79;
    answer[3] = code & 0x0F;
    answer
}
