//! Owns what is done with one message, whatever socket it came from: answered from the zones, from the cache, refused, or
//! handed on to what takes longer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use domain::base::iana::{Class, Rtype};

use super::counts::{Counts, Heard, Protocol};
use super::lookup::{self, Found};
use super::query::{HEADER, Query, Refusal, SMALLEST_UDP, opcode, opcode_of, rcode};
use super::records::Records;
use super::{Beyond, Snapshot, beyond, follow};
use crate::forward::{Forwarder, Lookup, OwnedQuestion, Question};
use crate::name::Name;
use crate::record::RecordType;

/// Octets of any message over TCP.
const LARGEST: usize = u16::MAX as usize;
/// The only class that is served.
const IN: u16 = 1;

/// What answers: the zones as they stand, and who is asked for the rest.
pub struct Service {
    current: ArcSwap<Snapshot>,
    forwarder: Option<Arc<Forwarder>>,
    beyond: Option<Beyond>,
    /// One question in so many is logged; 0 for none.
    log_one_in: u32,
    asked: AtomicU32,
}

/// What became of a message.
pub enum Outcome {
    /// The answer is written.
    Answered,
    /// Nobody gets an answer to this.
    Silence,
    /// The answer takes longer: [`Service::finish`] gives it.
    Later(Later),
}

/// A message whose answer takes longer.
pub struct Later {
    work: Work,
    heard: Heard,
    since: Instant,
}

enum Work {
    /// Others are asked.
    Ask {
        question: OwnedQuestion,
        /// The answer as far as our own zones have it, where the name leads out of them.
        begun: Option<Box<[u8]>>,
        limit: usize,
    },
    /// The client has its answer, which ends soon: the next one gets a new one.
    Refresh(OwnedQuestion),
    /// Something other than a plain question.
    Beyond { message: Box<[u8]>, peer: IpAddr, is_stream: bool },
}

/// How a later answer came out.
pub enum Finished {
    /// There is none, or it was given already.
    Nothing,
    /// One message.
    One(Vec<u8>),
    /// Messages one after the other, over a connection.
    Many(Box<dyn Iterator<Item = Vec<u8>> + Send>),
}

impl Service {
    /// A service without zones yet that asks `forwarder` for all other names, leaves what is no plain question to
    /// `beyond`, and logs one question in `log_one_in`.
    #[must_use]
    pub fn new(forwarder: Option<Arc<Forwarder>>, beyond: Option<Beyond>, log_one_in: u32) -> Arc<Self> {
        let (current, asked) = (ArcSwap::default(), AtomicU32::new(0));
        Arc::new(Self { current, forwarder, beyond, log_one_in, asked })
    }

    /// Logs the question if its turn has come.
    fn sample(&self, name: &[u8], heard: Heard, peer: IpAddr, since: Instant) {
        if self.log_one_in == 0 || !self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.log_one_in)
        {
            return;
        }
        let name = Name::from_wire(name).map(|name| name.to_string()).unwrap_or_default();
        tracing::info!(
            target: "dns::query",
            %peer,
            name,
            r#type = %RecordType::of(heard.rtype),
            code = rcode::name(heard.code),
            forwarded = heard.forwarded,
            microseconds = since.elapsed().as_micros(),
            "question"
        );
    }

    /// The zones as they stand.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Answers from `snapshot` from now on.
    pub fn put(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }

    /// Who is asked for names that are not ours.
    #[must_use]
    pub fn forwarder(&self) -> Option<&Arc<Forwarder>> {
        self.forwarder.as_ref()
    }

    /// Answers `message` into `out` where that takes no waiting.
    pub fn hear(
        &self,
        message: &[u8],
        peer: SocketAddr,
        protocol: Protocol,
        counts: &Counts,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let since = Instant::now();
        out.clear();
        if let Some(later) = self.to_beyond(message, None, peer, protocol, since) {
            return Outcome::Later(later);
        }
        let query = match Query::read(message) {
            Ok(query) => query,
            Err(Refusal::Silence) => {
                counts.dropped();
                return Outcome::Silence;
            }
            Err(Refusal::Code(code)) => {
                refuse(message, code, out);
                counts.heard(Heard { code, ..Heard::unread(protocol) }, since);
                return Outcome::Answered;
            }
        };
        let mut heard = Heard { rtype: query.rtype, ..Heard::unread(protocol) };
        if let Some(later) = self.to_beyond(message, Some(&query), peer, protocol, since) {
            return Outcome::Later(later);
        }
        if let Some(code) = unanswerable(&query) {
            lookup::refuse(&query, out, code, false);
            counts.heard(Heard { code, ..heard }, since);
            return Outcome::Answered;
        }
        let limit = if protocol == Protocol::Udp { query.largest_answer() } else { LARGEST };
        let client = peer.ip().to_canonical();
        let forwarder = self.forwarder.as_ref().filter(|forwarder| forwarder.admits(client));
        let snapshot = self.current.load();
        let answered = lookup::answer(&snapshot, &query, out, limit, forwarder.is_some());
        (heard.zone, heard.code) = (answered.zone, answered.code);
        self.sample(query.name.wire(), heard, client, since);
        let Some(forwarder) = forwarder.filter(|_| query.wants_recursion()) else {
            counts.heard(heard, since);
            return Outcome::Answered;
        };
        let (name, begun) = match answered.found {
            Found::Whole => {
                counts.heard(heard, since);
                return Outcome::Answered;
            }
            Found::NotOurs => (None, None),
            Found::Leads(target) => (Some(target), Some(out.as_slice().into())),
        };
        self.ask(forwarder, &query, Wanted { name, begun, limit, heard, client, since }, counts, out)
    }

    /// What is no plain question, for those who can do with it: first by what the head says, then by the question.
    fn to_beyond(
        &self,
        message: &[u8],
        query: Option<&Query<'_>>,
        peer: SocketAddr,
        protocol: Protocol,
        since: Instant,
    ) -> Option<Later> {
        self.beyond.as_ref()?;
        let is_for_it = match query {
            Some(query) => Beyond::takes(query),
            None => message.len() >= HEADER && message[2] & 0x80 == 0 && opcode_of(message) != opcode::QUERY,
        };
        let heard = Heard { rtype: query.map_or(0, |query| query.rtype), ..Heard::unread(protocol) };
        is_for_it.then(|| Later {
            work: Work::Beyond {
                message: message.into(),
                peer: peer.ip().to_canonical(),
                is_stream: protocol == Protocol::Tcp,
            },
            heard,
            since,
        })
    }

    /// Looks for the answer of others in the cache; where it is not there, it takes longer.
    fn ask(
        &self,
        forwarder: &Arc<Forwarder>,
        query: &Query<'_>,
        wanted: Wanted,
        counts: &Counts,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let Wanted { name, begun, limit, heard, client, since } = wanted;
        let heard = Heard { forwarded: true, ..heard };
        if !forwarder.allows(client, since) {
            // No answer: whoever asks in the name of another gets nothing to send there.
            counts.limited();
            return Outcome::Silence;
        }
        let question = Question {
            id: u16::from_be_bytes(query.id()),
            recursion_desired: true,
            checking_disabled: query.checks_itself(),
            edns: query.edns.is_some(),
            dnssec_ok: query.edns.is_some_and(|edns| edns.wants_signatures),
            limit,
            name: query.name.wire(),
            original: query.question(),
            rtype: Rtype::from_int(query.rtype),
            class: Class::IN,
        };
        let asking = |question| Later { work: Work::Ask { question, begun, limit }, heard, since };
        if let Some(name) = name {
            return Outcome::Later(asking(question.to_owned().of(&name)));
        }
        out.clear();
        match forwarder.cached(&question, since, out) {
            Lookup::Hit { prefetch } => {
                counts.heard(Heard { code: code_of(out), ..heard }, since);
                match prefetch {
                    true => Outcome::Later(Later { work: Work::Refresh(question.to_owned()), heard, since }),
                    false => Outcome::Answered,
                }
            }
            Lookup::Stale | Lookup::Miss => Outcome::Later(asking(question.to_owned())),
        }
    }

    /// The answer to what takes longer.
    pub async fn finish(&self, later: Later, counts: &Counts) -> Finished {
        let Later { work, heard, since } = later;
        let out = match (work, &self.forwarder, &self.beyond) {
            (Work::Refresh(question), Some(forwarder), _) => {
                forwarder.refresh(question).await;
                return Finished::Nothing;
            }
            (Work::Ask { question, begun, limit }, Some(forwarder), _) => {
                let answer = forwarder.resolve(question.clone()).await;
                let mut out = Vec::with_capacity(SMALLEST_UDP);
                match begun {
                    None => answer.write(&question.borrow(), Instant::now(), &mut out),
                    Some(begun) => {
                        let mut rest = Vec::new();
                        answer.write(&question.whole().borrow(), Instant::now(), &mut rest);
                        out = follow::joined(&begun, &rest, limit);
                    }
                }
                out
            }
            (Work::Beyond { message, peer, is_stream }, _, Some(beyond)) => {
                let snapshot = self.snapshot();
                match beyond.answer(&snapshot, &message, peer, is_stream).await {
                    beyond::Outcome::Silence => {
                        counts.dropped();
                        return Finished::Nothing;
                    }
                    beyond::Outcome::One(answer) => answer,
                    beyond::Outcome::Many(answers) => {
                        counts.heard(heard, since);
                        return Finished::Many(answers);
                    }
                }
            }
            // Made only where there is somebody to do it.
            _ => return Finished::Nothing,
        };
        counts.heard(Heard { code: code_of(&out), ..heard }, since);
        Finished::One(out)
    }
}

fn code_of(answer: &[u8]) -> u8 {
    answer.get(3).map_or(rcode::SERVFAIL, |octet| octet & 0x0F)
}

/// What is needed to go on with a question that is not, or not only, ours.
struct Wanted {
    name: Option<Box<[u8]>>,
    begun: Option<Box<[u8]>>,
    limit: usize,
    heard: Heard,
    client: IpAddr,
    since: Instant,
}

impl Later {
    /// Whether the client has its answer already.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        matches!(self.work, Work::Refresh(_))
    }
}

/// The code for a question that is never answered with records (RFC 6895, section 3.1; RFC 8906).
fn unanswerable(query: &Query<'_>) -> Option<u8> {
    match (query.class, query.rtype) {
        // OPT, TKEY and TSIG describe messages.
        (_, 41 | 249 | 250) => Some(rcode::FORMERR),
        // Mailboxes are asked for by their types since RFC 1035.
        (_, 253 | 254) => Some(rcode::NOTIMP),
        // Whole zones go over TCP, to those who may have them.
        (_, 251 | 252) => Some(rcode::REFUSED),
        (IN, _) => None,
        _ => Some(rcode::REFUSED),
    }
}

/// Answers what cannot be read as a question: with the question where that much could be read.
fn refuse(message: &[u8], code: u8, out: &mut Vec<u8>) {
    match Query::head(message) {
        Ok(mut query) => {
            if code == rcode::BADVERS {
                // The bit is given back in every answer with EDNS (RFC 3225, section 3).
                let records = Records::read(message, query.end).unwrap_or_default();
                query.answer_edns(records.wants_signatures());
            }
            lookup::refuse(&query, out, code, false);
        }
        Err(_) => {
            out.extend_from_slice(&message[..HEADER]);
            out[2] = 0x80 | message[2] & 0x79;
            out[3] = code & 0x0F;
            out[4..HEADER].fill(0);
        }
    }
    debug_assert!(opcode_of(message) != opcode::QUERY || !out.is_empty());
}
