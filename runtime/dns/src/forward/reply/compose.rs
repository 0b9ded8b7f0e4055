//! Owns how records that are kept become a message again.

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::message_builder::{HashCompressor, RecordSectionBuilder};
use domain::base::{MessageBuilder, ParsedName, Record, Ttl, UnknownRecordData};
use domain::rdata::AllRecordData;

use super::{BROKEN, Flaw, HEADER, Parsed, ParsedOwner};

/// QR, RD and RA: what every kept answer begins with.
const FLAGS: [u8; 2] = [0x81, 0x80];
const USUAL_LENGTH: usize = 512;

/// A record, and how long it is believed in seconds.
pub(super) struct Kept<'r, 'a> {
    pub(super) record: &'r Parsed<'a>,
    pub(super) ttl: u32,
}

type Data<'a> = AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;

/// A message, and where its TTLs are.
type Composed = (Box<[u8]>, Box<[u16]>);

/// Writes the message.
pub(super) fn compose(
    question: (ParsedOwner<'_>, Rtype, Class),
    rcode: Rcode,
    answer: &[Kept<'_, '_>],
    authority: &[Kept<'_, '_>],
) -> Result<Composed, Flaw> {
    let target = HashCompressor::new(Vec::with_capacity(USUAL_LENGTH));
    let mut builder = MessageBuilder::from_target(target).map_err(|_| BROKEN)?.question();
    builder.push(question).map_err(|_| BROKEN)?;
    let mut builder = builder.answer();
    answer.iter().try_for_each(|kept| push(&mut builder, kept))?;
    let mut builder = builder.authority();
    authority.iter().try_for_each(|kept| push(&mut builder, kept))?;
    let mut message = builder.finish().into_target();
    message[2] = FLAGS[0];
    message[3] = FLAGS[1] | rcode.to_int() & 0x0f;
    let ttls = ttl_places(&message).ok_or(BROKEN)?;
    Ok((message.into(), ttls))
}

fn push<B>(builder: &mut B, kept: &Kept<'_, '_>) -> Result<(), Flaw>
where
    B: RecordSectionBuilder<HashCompressor<Vec<u8>>>,
{
    let Kept { record, ttl } = kept;
    let (owner, class, ttl) = (record.owner(), record.class(), Ttl::from_secs(*ttl));
    let pushed = if is_unpacked(record.rtype()) {
        builder.push(Record::new(owner, class, ttl, unpacked(record)?))
    } else {
        builder.push(Record::new(owner, class, ttl, opaque(record)?))
    };
    pushed.map_err(|_| BROKEN)
}

/// Data whose names may be compressed must be unpacked, RFC 3597 section 4, and addresses must have their length;
/// everything else passes through untouched, whatever it holds.
fn is_unpacked(rtype: Rtype) -> bool {
    matches!(
        rtype,
        Rtype::A
            | Rtype::AAAA
            | Rtype::NS
            | Rtype::MD
            | Rtype::MF
            | Rtype::CNAME
            | Rtype::SOA
            | Rtype::MB
            | Rtype::MG
            | Rtype::MR
            | Rtype::PTR
            | Rtype::MINFO
            | Rtype::MX
            | Rtype::SRV
            | Rtype::NAPTR
            | Rtype::DNAME
    )
}

fn unpacked<'a>(record: &Parsed<'a>) -> Result<Data<'a>, Flaw> {
    let record = record.clone().into_any_record::<Data<'a>>().map_err(|_| BROKEN)?;
    Ok(record.into_data())
}

fn opaque<'a>(record: &Parsed<'a>) -> Result<UnknownRecordData<&'a [u8]>, Flaw> {
    let record = record.clone().into_record::<UnknownRecordData<&'a [u8]>>().map_err(|_| BROKEN)?;
    Ok(record.ok_or(BROKEN)?.into_data())
}

/// Where the TTLs of all records of a message are.
fn ttl_places(message: &[u8]) -> Option<Box<[u16]>> {
    let count = |at: usize| Some(usize::from(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?])));
    let records = count(6)? + count(8)? + count(10)?;
    let mut at = after_name(message, HEADER)? + 4;
    let mut places = Vec::with_capacity(records);
    for _ in 0..records {
        at = after_name(message, at)?;
        places.push(u16::try_from(at + 4).ok()?);
        at += 10 + count(at + 8)?;
    }
    // Names that may not be compressed can make it longer than it came.
    (at == message.len() && at <= usize::from(u16::MAX)).then(|| places.into())
}

fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}
