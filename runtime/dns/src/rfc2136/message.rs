//! Owns requests and answers: questions, transfers and updates (RFC 2136, section 2) as messages, and the records of what
//! comes back. Leaves signatures to `sign.rs`, and what a refusal means to `failure.rs`.

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::message::RecordSection;
use domain::base::message_builder::{AdditionalBuilder, PushError, TreeCompressor};
use domain::base::name::{Name as WireName, ParsedName};
use domain::base::rdata::{ComposeRecordData as _, UnknownRecordData};
use domain::base::{Message, MessageBuilder, ToName as _};
use domain::rdata::ZoneRecordData;
use effect::{Code, Error, Result};

use super::sign::LARGEST_SIGNATURE;
use crate::name::Name;
use crate::record::{LONGEST_TTL, RecordType, Value};

/// Octets of a message over TCP (RFC 1035, section 4.2.2).
pub(super) const LARGEST_MESSAGE: usize = 65_535;
/// Octets that an answer over UDP may have: what passes everywhere in one piece (DNS flag day 2020).
pub(super) const LARGEST_DATAGRAM: usize = 1232;

type Builder = MessageBuilder<TreeCompressor<Vec<u8>>>;

/// One line of an update or of its preconditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) name: &'a Name,
    pub(super) class: Class,
    pub(super) rtype: RecordType,
    pub(super) ttl: u32,
    pub(super) data: &'a [u8],
}

/// One record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) rtype: RecordType,
    pub(super) ttl: u32,
    pub(super) value: Value,
}

/// What an answer says.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) rcode: Rcode,
    /// Whether the server has the zone itself.
    pub(super) is_authoritative: bool,
    pub(super) is_truncated: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authority: Vec<Record>,
}

/// What of an answer must fit its request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) id: u16,
    pub(super) opcode: Opcode,
}

/// A request before it is signed.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
    pub(super) expected: Expected,
}

fn wire(name: &Name) -> Result<WireName<&[u8]>> {
    WireName::from_octets(name.wire())
        .map_err(|error| Error::new(Code::Internal, "a checked name is none").because(error))
}

fn begin(opcode: Opcode) -> (Builder, Expected) {
    let mut id = [0; 2];
    super::random(&mut id);
    let expected = Expected { id: u16::from_be_bytes(id), opcode };
    let mut builder = MessageBuilder::from_target(TreeCompressor::new(Vec::new()))
        .expect("an empty vector has room for a header");
    builder.set_push_limit(LARGEST_MESSAGE - LARGEST_SIGNATURE);
    builder.header_mut().set_id(expected.id);
    builder.header_mut().set_opcode(opcode);
    (builder, expected)
}

fn too_large(_: PushError) -> Error {
    Error::new(Code::Unsupported, "the dns driver `rfc2136` cannot make a change this large at once")
        .because("one message of RFC 2136 has 65,535 octets")
        .hint("divide the change into several")
}

fn finished(builder: AdditionalBuilder<TreeCompressor<Vec<u8>>>, expected: Expected) -> Request {
    Request { bytes: builder.finish().into_target(), expected }
}

/// Asks for one set. Recursion is not desired: what the server heard elsewhere is not asked for.
pub(super) fn query(name: &Name, rtype: RecordType) -> Result<Request> {
    let (builder, expected) = begin(Opcode::QUERY);
    let mut questions = builder.question();
    questions.push((wire(name)?, rtype.0, Class::IN)).map_err(too_large)?;
    let mut additional = questions.additional();
    let size = u16::try_from(LARGEST_DATAGRAM).unwrap_or(512);
    additional
        .opt(|opt| {
            opt.set_udp_payload_size(size);
            Ok(())
        })
        .map_err(too_large)?;
    Ok(finished(additional, expected))
}

/// Asks for a whole zone (RFC 5936).
pub(super) fn transfer(zone: &Name) -> Result<Request> {
    let (builder, expected) = begin(Opcode::QUERY);
    let mut questions = builder.question();
    questions.push((wire(zone)?, Rtype::AXFR, Class::IN)).map_err(too_large)?;
    Ok(finished(questions.additional(), expected))
}

/// Asks for `lines` to be carried out in their order where all of `preconditions` hold, and for nothing else.
///
/// # Errors
/// `MC-C006` where it does not fit one message.
pub(super) fn update(zone: &Name, preconditions: &[Line<'_>], lines: &[Line<'_>]) -> Result<Request> {
    let (builder, expected) = begin(Opcode::UPDATE);
    let mut zones = builder.question();
    zones.push((wire(zone)?, Rtype::SOA, Class::IN)).map_err(too_large)?;
    let mut answer = zones.answer();
    for line in preconditions {
        answer.push(composed(line)?).map_err(too_large)?;
    }
    let mut authority = answer.authority();
    for line in lines {
        authority.push(composed(line)?).map_err(too_large)?;
    }
    Ok(finished(authority.additional(), expected))
}

type Composed<'a> = (WireName<&'a [u8]>, Class, u32, UnknownRecordData<&'a [u8]>);

fn composed<'a>(line: &Line<'a>) -> Result<Composed<'a>> {
    let data = UnknownRecordData::from_octets(line.rtype.0, line.data)
        .map_err(|error| Error::new(Code::DnsValue, "a value is too long for a message").because(error))?;
    Ok((wire(line.name)?, line.class, line.ttl, data))
}

impl Reply {
    /// Reads a message that is the answer to what was asked.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn read(message: &[u8], expected: Expected) -> Result<Self, String> {
        let head = head(message, expected)?;
        let message = Message::from_octets(message).map_err(|error| error.to_string())?;
        let (answers, authority) = match head.opcode() {
            // An answer to an update may repeat it.
            Opcode::UPDATE => (Vec::new(), Vec::new()),
            _ => {
                let answer = message.answer().map_err(|error| error.to_string())?;
                let authority = message.authority().map_err(|error| error.to_string())?;
                (records(answer)?, records(authority)?)
            }
        };
        Ok(Self {
            rcode: head.rcode(),
            is_authoritative: head.aa(),
            is_truncated: head.tc(),
            answers,
            authority,
        })
    }

    /// The records of the answer that `name` has of `rtype`.
    pub(super) fn of<'a>(
        records: &'a [Record],
        name: &'a Name,
        rtype: RecordType,
    ) -> impl Iterator<Item = &'a Record> {
        records.iter().filter(move |record| record.name == *name && record.rtype == rtype)
    }
}

/// Whether it is an answer, and to this request.
pub(super) fn head(message: &[u8], expected: Expected) -> Result<domain::base::Header, String> {
    let read = Message::from_octets(message).map_err(|_| "it is shorter than a head".to_owned())?;
    let head = read.header();
    if !head.qr() || head.id() != expected.id || head.opcode() != expected.opcode {
        return Err("it does not belong to the request".into());
    }
    Ok(head)
}

/// The records of a section that zones have; those of the message itself are left out.
fn records(section: RecordSection<'_, &[u8]>) -> Result<Vec<Record>, String> {
    let mut found = Vec::new();
    for record in section {
        let record = record.map_err(|error| error.to_string())?;
        let rtype = RecordType(record.rtype());
        if record.class() != Class::IN || !rtype.is_stored() {
            continue;
        }
        let owner: WireName<Vec<u8>> = record.owner().to_name();
        let name = Name::from_wire(owner.as_slice()).map_err(|error| error.message)?;
        let ttl = record.ttl().as_secs();
        let data = record
            .into_record::<ZoneRecordData<_, ParsedName<_>>>()
            .map_err(|error| format!("`{name}` {rtype}: {error}"))?;
        let Some(data) = data else { continue };
        let mut value = Vec::new();
        data.data().compose_rdata(&mut value).map_err(|_| format!("`{name}` {rtype}: it is too long"))?;
        let value = Value::from_wire(rtype, &value).map_err(|why| format!("`{name}` {rtype}: {why}"))?;
        // RFC 2181, section 8: a number with its highest bit set is read as 0.
        let ttl = if ttl > LONGEST_TTL { 0 } else { ttl };
        found.push(Record { name, rtype, ttl, value });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPECTED: Expected = Expected { id: 0x1234, opcode: Opcode::QUERY };

    /// An answer with records whose names are compressed.
    fn answer() -> Vec<u8> {
        let zone = Name::absolute("mcrun.test").unwrap();
        let name = Name::absolute("www.mcrun.test").unwrap();
        let value = Value::parse(RecordType::NS, "ns1.mcrun.test.", &zone).unwrap();
        let line = Line { name: &name, class: Class::IN, rtype: RecordType::NS, ttl: 60, data: value.wire() };
        let mut message = update(&zone, &[line, line], &[line]).unwrap().bytes;
        message[..4].copy_from_slice(&[0x12, 0x34, 0x84, 0]);
        message
    }

    #[test]
    fn an_answer_reads_as_it_was_written() {
        let reply = Reply::read(&answer(), EXPECTED).unwrap();
        assert_eq!((reply.answers.len(), reply.authority.len()), (2, 1));
        assert!(reply.is_authoritative && !reply.is_truncated && reply.rcode == Rcode::NOERROR);
        assert_eq!(reply.answers[0].value.text(RecordType::NS), "ns1.mcrun.test.");
    }

    #[test]
    fn a_name_that_leads_to_itself_ends() {
        let mut looping = vec![0x12, 0x34, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1];
        looping.extend_from_slice(&[0xc0, 18, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]);
        assert!(Reply::read(&looping, EXPECTED).is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(head) = bytes.get_mut(..3) {
                head.copy_from_slice(&[0x12, 0x34, 0x84]);
            }
            let _ = Reply::read(&bytes, EXPECTED);
        }

        #[test]
        fn a_damaged_answer_is_read_or_refused(at in 3_usize..90, octet: u8, length in 0_usize..120) {
            let mut message = answer();
            let last = message.len() - 1;
            message[at.min(last)] = octet;
            message.truncate(length);
            let _ = Reply::read(&message, EXPECTED);
        }
    }
}
