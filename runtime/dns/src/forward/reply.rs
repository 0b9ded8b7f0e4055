//! Owns what an upstream's answer is worth: whether it answers what was asked, and which of its records are kept.
//! A pure function of bytes, so that it can be fuzzed. Leaves the ways that bytes come to the peers.

mod chain;
mod compose;

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::opt::ExtendedError;
use domain::base::record::ParsedRecord;
use domain::base::{Message, ParsedName, RecordSection, ToName as _};
use domain::rdata::Soa;

use chain::Chain;
use compose::{Kept, compose};

/// No answer is believed for longer, RFC 8767 section 4 advises days at most.
pub const LONGEST_TTL: u32 = 86_400;
/// "There is none" is believed for an hour at most, RFC 2308 section 5.
pub const LONGEST_NEGATIVE_TTL: u32 = 3600;
const HEADER: usize = 12;

/// What was sent, which the answer must repeat.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// The id of the query.
    pub id: u16,
    /// The name in wire form, in the very case that was sent.
    pub name: &'a [u8],
    /// The type.
    pub rtype: Rtype,
    /// The class.
    pub class: Class,
    /// Whether signatures were asked for.
    pub dnssec_ok: bool,
    /// Whether it came over a connection, which nobody else can answer on: case is not needed then.
    pub stream: bool,
}

/// An answer that may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Header, the question in lower case, and the records that answer it.
    pub message: Box<[u8]>,
    /// Where in `message` the TTLs are.
    pub ttls: Box<[u16]>,
    /// How long it may be kept, in seconds; 0: not at all.
    pub ttl: u32,
    /// Whether the case of the question was repeated.
    pub echoed: bool,
    /// The lower-case name that an alias leads to and of which nothing is said.
    pub dangling: Option<Box<[u8]>>,
}

impl Reply {
    /// NOERROR or NXDOMAIN.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        Rcode::masked_from_int(self.message[3])
    }
}

/// Why bytes are not taken as the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It answers another question: a stray or a forgery.
    Unrelated,
    /// All is right but the case of the question, draft-vixie-dnsext-dns0x20.
    CaseLost,
    /// TC: the rest must be asked for over TCP.
    Truncated,
    /// It breaks the protocol.
    Malformed(&'static str),
    /// The upstream has no answer.
    Refused {
        /// The code, with its upper bits from EDNS.
        rcode: u16,
        /// The extended error, RFC 8914.
        ede: Option<u16>,
        /// Whether it speaks EDNS.
        edns: bool,
    },
}

type Parsed<'a> = ParsedRecord<'a, &'a [u8]>;
type ParsedOwner<'a> = ParsedName<&'a [u8]>;

const BROKEN: Flaw = Flaw::Malformed("it does not parse");

/// Reads an answer. The case of its question is lowered in place, so that names compressed against it lose what was
/// only sent as a riddle.
///
/// # Errors
/// What is wrong with it. Nothing of it may be used then.
pub fn read(bytes: &mut [u8], sent: &Sent<'_>) -> Result<Reply, Flaw> {
    let echoed = check_question(bytes, sent)?;
    let message = Message::from_octets(&*bytes).map_err(|_| BROKEN)?;
    if message.header().tc() {
        let over = Flaw::Malformed("it is truncated over TCP");
        return Err(if sent.stream { over } else { Flaw::Truncated });
    }
    let sections = Sections::read(&message)?;
    let (rcode, ede, edns) = verdict(&message)?;
    if ![Rcode::NOERROR, Rcode::NXDOMAIN].iter().any(|good| u16::from(good.to_int()) == rcode) {
        return Err(Flaw::Refused { rcode, ede, edns });
    }
    let mut reply = distil(&message, &sections, sent)?;
    reply.echoed = echoed;
    Ok(reply)
}

/// Whether the case was repeated; everything else must be.
fn check_question(bytes: &mut [u8], sent: &Sent<'_>) -> Result<bool, Flaw> {
    let end = HEADER + sent.name.len();
    let header = bytes.get(..HEADER).ok_or(Flaw::Unrelated)?;
    let is_answer = header[2] & 0x80 != 0 && header[2] >> 3 & 0x0f == Opcode::QUERY.to_int();
    if header[..2] != sent.id.to_be_bytes() || !is_answer {
        return Err(Flaw::Unrelated);
    }
    if header[4..6] == [0, 0] && header[6..8] == [0, 0] && matches!(header[3] & 0x0f, 1 | 2 | 4 | 5) {
        // Servers that could not read a question do not repeat it.
        return Err(Flaw::Refused { rcode: u16::from(header[3] & 0x0f), ede: None, edns: false });
    }
    if header[4..6] != [0, 1] {
        return Err(Flaw::Unrelated);
    }
    let tail = bytes.get(end..end + 4).ok_or(Flaw::Unrelated)?;
    if tail[..2] != sent.rtype.to_int().to_be_bytes() || tail[2..] != sent.class.to_int().to_be_bytes() {
        return Err(Flaw::Unrelated);
    }
    let name = &mut bytes[HEADER..end];
    let echoed = name == sent.name;
    if !name.eq_ignore_ascii_case(sent.name) {
        return Err(Flaw::Unrelated);
    }
    if !echoed && !sent.stream {
        return Err(Flaw::CaseLost);
    }
    // Lengths of labels are below `A`: only letters change.
    name.make_ascii_lowercase();
    Ok(echoed)
}

/// Every record of the message: counts that lie are found here.
struct Sections<'a> {
    answer: Vec<Parsed<'a>>,
    authority: Vec<Parsed<'a>>,
}

impl<'a> Sections<'a> {
    fn read(message: &'a Message<&'a [u8]>) -> Result<Self, Flaw> {
        let section = message.answer().map_err(|_| BROKEN)?;
        let (answer, section) = records(section)?;
        let (authority, section) = records(section.ok_or(BROKEN)?)?;
        let (additional, _) = records(section.ok_or(BROKEN)?)?;
        if additional.iter().filter(|record| record.rtype() == Rtype::OPT).count() > 1 {
            return Err(Flaw::Malformed("it has several OPT records"));
        }
        Ok(Self { answer, authority })
    }
}

type Listed<'a> = (Vec<Parsed<'a>>, Option<RecordSection<'a, &'a [u8]>>);

fn records<'a>(mut section: RecordSection<'a, &'a [u8]>) -> Result<Listed<'a>, Flaw> {
    let mut found = Vec::new();
    for record in section.by_ref() {
        found.push(record.map_err(|_| BROKEN)?);
    }
    Ok((found, section.next_section().map_err(|_| BROKEN)?))
}

/// The whole code, what was said of it, and whether EDNS was spoken.
fn verdict(message: &Message<&[u8]>) -> Result<(u16, Option<u16>, bool), Flaw> {
    let low = u16::from(message.header().rcode().to_int());
    let Some(opt) = message.opt() else { return Ok((low, None, false)) };
    let code = opt.rcode(message.header()).to_int();
    let ede = opt.opt().first::<ExtendedError<_>>().map(|error| error.code().to_int());
    Ok((code, ede, true))
}

/// Keeps the chain from the question to its end, and what proves that there is none.
fn distil(message: &Message<&[u8]>, sections: &Sections<'_>, sent: &Sent<'_>) -> Result<Reply, Flaw> {
    let start = message.sole_question().map_err(|_| BROKEN)?.into_qname();
    let rcode = message.header().rcode();
    let chain = Chain::follow(start, &sections.answer, sent)?;
    if chain.kept.is_empty() && !sections.answer.is_empty() {
        return Err(Flaw::Malformed("its records answer another question"));
    }
    let is_negative = !chain.ended || rcode == Rcode::NXDOMAIN;
    let soa = sections.authority.iter().filter(|_| is_negative).find(|record| {
        record.rtype() == Rtype::SOA && record.class() == sent.class && chain.last.ends_with(&record.owner())
    });
    let refers = sections.authority.iter().any(|record| record.rtype() == Rtype::NS);
    if chain.kept.is_empty() && soa.is_none() && refers {
        return Err(Flaw::Malformed("it refers to others instead of answering"));
    }

    let answer: Vec<_> = chain.kept.iter().map(|record| Kept { record, ttl: believed(record) }).collect();
    let mut authority = Vec::new();
    if let Some(record) = soa {
        authority.push(Kept { record, ttl: negative_ttl(record)? });
    }
    authority.extend(sections.authority.iter().filter(|record| is_proof(record, sent)).map(|record| {
        let ttl = believed(record);
        Kept { record, ttl }
    }));
    // RFC 2308 section 5: without an SOA nobody says for how long it is missing.
    let unsaid = soa.is_none() && (rcode == Rcode::NXDOMAIN || chain.kept.is_empty());
    let ttl = answer.iter().chain(&authority).map(|kept| kept.ttl).min().filter(|_| !unsaid);

    let (message, ttls) = compose((start, sent.rtype, sent.class), rcode, &answer, &authority)?;
    let is_dangling = !chain.ended && !chain.kept.is_empty() && soa.is_none();
    let dangling = is_dangling.then(|| chain.last.to_canonical_name::<Vec<u8>>().as_slice().into());
    Ok(Reply { message, ttls, ttl: ttl.unwrap_or_default(), echoed: true, dangling })
}

/// What a client that checks signatures needs to see that something is not there.
fn is_proof(record: &Parsed<'_>, sent: &Sent<'_>) -> bool {
    sent.dnssec_ok
        && record.class() == sent.class
        && matches!(record.rtype(), Rtype::NSEC | Rtype::NSEC3 | Rtype::RRSIG)
}

/// RFC 2181 section 8: a TTL with its highest bit set is none.
fn believed(record: &Parsed<'_>) -> u32 {
    let ttl = record.ttl().as_secs();
    if ttl > i32::MAX as u32 { 0 } else { ttl.min(LONGEST_TTL) }
}

/// RFC 2308 section 5: what is not there is missing for as long as the SOA says.
fn negative_ttl(soa: &Parsed<'_>) -> Result<u32, Flaw> {
    let record = soa.clone().into_record::<Soa<ParsedName<&[u8]>>>().map_err(|_| BROKEN)?;
    let minimum = record.ok_or(BROKEN)?.data().minimum().as_secs();
    Ok(believed(soa).min(minimum).min(LONGEST_NEGATIVE_TTL))
}

/// Two answers as one: `first` ends in an alias that leads to what `second` answers.
pub(super) fn join(first: &Reply, second: &Reply) -> Result<Reply, Flaw> {
    let (start, end) = (parse(first)?, parse(second)?);
    let question = start.sole_question().map_err(|_| BROKEN)?;
    let whole = (*question.qname(), question.qtype(), question.qclass());
    let (head, tail) = (Sections::read(&start)?, Sections::read(&end)?);
    let kept = |record| Kept { record, ttl: believed(record) };
    let answer: Vec<_> = head.answer.iter().chain(&tail.answer).map(kept).collect();
    let authority: Vec<_> = tail.authority.iter().map(kept).collect();
    let (message, ttls) = compose(whole, end.header().rcode(), &answer, &authority)?;
    let ttl = first.ttl.min(second.ttl);
    Ok(Reply { message, ttls, ttl, echoed: true, dangling: second.dangling.clone() })
}

fn parse(reply: &Reply) -> Result<Message<&[u8]>, Flaw> {
    Message::from_octets(&*reply.message).map_err(|_| BROKEN)
}

#[cfg(test)]
mod tests;
