//! Owns what an upstream's answer is worth: whether it answers what was asked, and which of its records are kept.
//! A pure function of bytes, so that it can be fuzzed. Leaves the ways that bytes come to [`super::exchange`].

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::message_builder::HashCompressor;
use domain::base::name::FlattenInto as _;
use domain::base::opt::ExtendedError;
use domain::base::record::ParsedRecord;
use domain::base::{
    Message, MessageBuilder, Name, ParsedName, Record, RecordSection, ToName as _, UnknownRecordData,
};
use domain::rdata::{AllRecordData, Cname, Soa};

/// Aliases are followed this far; longer chains are loops or attacks.
const LONGEST_CHAIN: usize = 16;
/// No answer is believed for longer, RFC 8767 section 4 advises days at most.
pub const LONGEST_TTL: u32 = 86_400;
/// "There is none" is believed for an hour at most, RFC 2308 section 5.
pub const LONGEST_NEGATIVE_TTL: u32 = 3600;
const HEADER: usize = 12;
/// QR and RD: what every stored answer begins with.
const FLAGS: [u8; 2] = [0x81, 0x80];

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
    /// All is right but the case of the question, RFC-to-be dns0x20.
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
type Builder = domain::base::message_builder::AnswerBuilder<HashCompressor<Vec<u8>>>;

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

/// Two answers as one: `first` ends in an alias that leads to what `second` answers.
pub(super) fn join(first: &Reply, second: &Reply) -> Result<Reply, Flaw> {
    let (start, end) = (parse(first)?, parse(second)?);
    let question = start.sole_question().map_err(|_| BROKEN)?;
    let mut builder =
        MessageBuilder::from_target(HashCompressor::new(Vec::with_capacity(512))).map_err(|_| BROKEN)?;
    builder.header_mut().set_rcode(end.header().rcode());
    let mut builder = builder.question();
    builder.push(question).map_err(|_| BROKEN)?;
    let (start, end) = (Sections::read(&start)?, Sections::read(&end)?);
    let mut builder = builder.answer();
    for record in start.answer.iter().chain(&end.answer) {
        let (owner, class, ttl) = (record.owner(), record.class(), record.ttl());
        match known(record)? {
            Some(data) => builder.push(Record::new(owner, class, ttl, data)),
            None => builder.push(Record::new(owner, class, ttl, opaque(record)?)),
        }
        .map_err(|_| BROKEN)?;
    }
    let mut builder = builder.authority();
    for record in &end.authority {
        let (owner, class, ttl) = (record.owner(), record.class(), record.ttl());
        match known(record)? {
            Some(data) => builder.push(Record::new(owner, class, ttl, data)),
            None => builder.push(Record::new(owner, class, ttl, opaque(record)?)),
        }
        .map_err(|_| BROKEN)?;
    }
    let mut message = builder.finish().into_target();
    message[2] = FLAGS[0];
    message[3] = FLAGS[1] | message[3] & 0x0f;
    let ttls = ttl_places(&message).ok_or(BROKEN)?;
    let ttl = first.ttl.min(second.ttl);
    Ok(Reply { message: message.into(), ttls, ttl, echoed: true, dangling: second.dangling.clone() })
}

fn parse(reply: &Reply) -> Result<Message<&[u8]>, Flaw> {
    Message::from_octets(&*reply.message).map_err(|_| BROKEN)
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
    let chain = Chain::follow(start, &sections.answer, sent)?;
    if chain.kept.is_empty() && !sections.answer.is_empty() {
        return Err(Flaw::Malformed("its records answer another question"));
    }
    let negative = !chain.ended || message.header().rcode() == Rcode::NXDOMAIN;
    let soa = sections.authority.iter().filter(|_| negative).find(|record| {
        record.rtype() == Rtype::SOA && record.class() == sent.class && chain.last.ends_with(&record.owner())
    });
    let refers = sections.authority.iter().any(|record| record.rtype() == Rtype::NS);
    if chain.kept.is_empty() && soa.is_none() && refers {
        return Err(Flaw::Malformed("it refers to others instead of answering"));
    }

    let mut keeper = Keeper::new(&start, message.header().rcode(), sent)?;
    for record in &chain.kept {
        keeper.answer(record)?;
    }
    let authority = keeper.close_answer(soa, negative)?;
    let proofs = sections.authority.iter().filter(|record| {
        sent.dnssec_ok && matches!(record.rtype(), Rtype::NSEC | Rtype::NSEC3 | Rtype::RRSIG)
    });
    let (message, ttl) = authority.finish(proofs)?;
    let dangling = (!chain.ended && !chain.kept.is_empty() && soa.is_none())
        .then(|| chain.last.to_canonical_name::<Vec<u8>>().as_slice().into());
    let ttls = ttl_places(&message).ok_or(BROKEN)?;
    Ok(Reply { message: message.into(), ttls, ttl, echoed: true, dangling })
}

/// The way from the name that was asked for, over its aliases.
struct Chain<'r, 'a> {
    kept: Vec<&'r Parsed<'a>>,
    last: ParsedOwner<'a>,
    /// Whether records of the wanted type stand at its end.
    ended: bool,
}

impl<'r, 'a> Chain<'r, 'a> {
    fn follow(start: ParsedOwner<'a>, answer: &'r [Parsed<'a>], sent: &Sent<'_>) -> Result<Self, Flaw> {
        let mut chain = Self { kept: Vec::new(), last: start, ended: false };
        for _ in 0..LONGEST_CHAIN {
            let owned = |record: &&Parsed<'a>| record.class() == sent.class && record.owner() == chain.last;
            let wanted: Vec<_> = answer
                .iter()
                .filter(owned)
                .filter(|record| sent.rtype == Rtype::ANY || record.rtype() == sent.rtype)
                .collect();
            let alias = answer.iter().filter(owned).find(|record| record.rtype() == Rtype::CNAME);
            if !wanted.is_empty() {
                chain.kept.extend(wanted);
                chain.keep_signatures(answer, sent);
                chain.ended = true;
                return Ok(chain);
            }
            let Some(alias) = alias else { return Ok(chain) };
            chain.kept.extend(answer.iter().filter(|record| {
                record.rtype() == Rtype::DNAME
                    && record.class() == sent.class
                    && chain.last.ends_with(&record.owner())
            }));
            chain.kept.push(alias);
            chain.keep_signatures(answer, sent);
            chain.last = target(alias)?;
        }
        Err(Flaw::Malformed("its aliases lead on without end"))
    }

    /// Signatures over what the last step kept.
    fn keep_signatures(&mut self, answer: &'r [Parsed<'a>], sent: &Sent<'_>) {
        if !sent.dnssec_ok || matches!(sent.rtype, Rtype::ANY | Rtype::RRSIG) {
            return;
        }
        let signs = |record: &Parsed<'a>, kept: &[&Parsed<'a>]| {
            record.rtype() == Rtype::RRSIG
                && kept.iter().any(|kept| kept.owner() == record.owner())
                && !kept.iter().any(|kept| std::ptr::eq(*kept, record))
        };
        let signatures: Vec<_> = answer.iter().filter(|record| signs(record, &self.kept)).collect();
        self.kept.extend(signatures);
    }
}

fn target<'a>(alias: &Parsed<'a>) -> Result<ParsedOwner<'a>, Flaw> {
    let record = alias.clone().into_record::<Cname<ParsedName<&'a [u8]>>>().map_err(|_| BROKEN)?;
    Ok(record.ok_or(BROKEN)?.into_data().into_cname())
}

/// Writes what is kept, and knows for how long.
struct Keeper<'s> {
    sent: &'s Sent<'s>,
    builder: Builder,
    ttl: u32,
}

impl<'s> Keeper<'s> {
    fn new(start: &ParsedOwner<'_>, rcode: Rcode, sent: &'s Sent<'s>) -> Result<Self, Flaw> {
        let mut builder =
            MessageBuilder::from_target(HashCompressor::new(Vec::with_capacity(512))).map_err(|_| BROKEN)?;
        builder.header_mut().set_rcode(rcode);
        let mut builder = builder.question();
        builder.push((start, sent.rtype, sent.class)).map_err(|_| BROKEN)?;
        Ok(Self { sent, builder: builder.answer(), ttl: LONGEST_TTL })
    }

    fn answer(&mut self, record: &Parsed<'_>) -> Result<(), Flaw> {
        let ttl = believed(record.ttl().as_secs()).min(LONGEST_TTL);
        self.ttl = self.ttl.min(ttl);
        match known(record)? {
            Some(data) => self.builder.push(Record::new(
                record.owner(),
                record.class(),
                domain::base::Ttl::from_secs(ttl),
                data,
            )),
            None => self.builder.push(Record::new(
                record.owner(),
                record.class(),
                domain::base::Ttl::from_secs(ttl),
                opaque(record)?,
            )),
        }
        .map_err(|_| BROKEN)
    }

    /// RFC 2308 section 5: what is not there is missing for as long as the SOA says; without one it is not kept.
    fn close_answer(mut self, soa: Option<&Parsed<'_>>, negative: bool) -> Result<Closing<'s>, Flaw> {
        let alias_only = self.builder.counts().ancount() > 0;
        let mut soa_record = None;
        match soa {
            Some(record) => {
                let parsed = record
                    .clone()
                    .into_record::<Soa<ParsedName<&[u8]>>>()
                    .map_err(|_| BROKEN)?
                    .ok_or(BROKEN)?;
                let minimum = parsed.data().minimum().as_secs();
                let ttl = believed(record.ttl().as_secs()).min(minimum).min(LONGEST_NEGATIVE_TTL);
                self.ttl = self.ttl.min(ttl);
                let data: Soa<Name<Vec<u8>>> =
                    parsed.data().clone().try_flatten_into().map_err(|_| BROKEN)?;
                let owner = record.owner().to_name::<Vec<u8>>();
                soa_record =
                    Some(Record::new(owner, record.class(), domain::base::Ttl::from_secs(ttl), data));
            }
            None if negative && !alias_only => self.ttl = 0,
            None => {}
        }
        let rcode = self.builder.as_builder().header().rcode();
        if soa_record.is_none() && rcode == Rcode::NXDOMAIN {
            self.ttl = 0;
        }
        let mut authority = self.builder.authority();
        if let Some(record) = soa_record {
            authority.push(record).map_err(|_| BROKEN)?;
        }
        Ok(Closing { sent: self.sent, authority, ttl: self.ttl })
    }
}

struct Closing<'s> {
    sent: &'s Sent<'s>,
    authority: domain::base::message_builder::AuthorityBuilder<HashCompressor<Vec<u8>>>,
    ttl: u32,
}

impl Closing<'_> {
    fn finish<'r, 'a: 'r>(
        mut self,
        proofs: impl Iterator<Item = &'r Parsed<'a>>,
    ) -> Result<(Vec<u8>, u32), Flaw> {
        for record in proofs.filter(|record| record.class() == self.sent.class) {
            let ttl = believed(record.ttl().as_secs()).min(LONGEST_TTL);
            self.ttl = self.ttl.min(ttl);
            let record = Record::new(
                record.owner(),
                record.class(),
                domain::base::Ttl::from_secs(ttl),
                opaque(record)?,
            );
            self.authority.push(record).map_err(|_| BROKEN)?;
        }
        let mut message = self.authority.finish().into_target();
        message[2] = FLAGS[0];
        message[3] = FLAGS[1] | message[3] & 0x0f;
        Ok((message, self.ttl))
    }
}

/// RFC 2181 section 8: a TTL with its highest bit set is none.
fn believed(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

/// Data whose names may be compressed must be unpacked, RFC 3597 section 4, and addresses must have their length;
/// everything else passes through untouched, whatever it holds.
fn known<'a>(record: &Parsed<'a>) -> Result<Option<AllRecordData<&'a [u8], ParsedName<&'a [u8]>>>, Flaw> {
    let unpacked = matches!(
        record.rtype(),
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
    );
    if !unpacked {
        return Ok(None);
    }
    let record = record.clone().into_any_record::<AllRecordData<_, _>>().map_err(|_| BROKEN)?;
    Ok(Some(record.into_data()))
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
    (at == message.len()).then(|| places.into())
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
