//! Owns an answer that is kept, and how it is written for a client: in the client's case, with its id and flags, TTLs
//! counted down, cut where the client takes less.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::base::iana::{ExtendedErrorCode, Rcode, Rtype};

use super::question::{Moment, Question};
use super::reply::Reply;

/// TTL of an answer past its end, RFC 8767 section 4.
pub(super) const STALE_TTL: u32 = 30;
/// How long a failure is remembered, RFC 9520 section 3.2 (1 s to 5 min).
pub(super) const FAILURE_TTL: Duration = Duration::from_secs(5);
/// How long it is remembered where this machine has no network: that may end any moment.
pub(super) const OFFLINE_TTL: Duration = Duration::from_secs(1);
/// Answers that live shorter are not fetched before their end: they would be fetched all the time.
const SHORTEST_PREFETCHED: u32 = 10;
/// What we take over UDP ourselves, told in every OPT record; fits any path, as the DNS flag day 2020 settled.
pub(super) const OUR_LIMIT: u16 = 1232;
const HEADER: usize = 12;
const QR: u8 = 0x80;
const TC: u8 = 0x02;
const RD: u8 = 0x01;
const RA: u8 = 0x80;
const CD: u8 = 0x10;
/// An OPT record without options.
const OPT: usize = 11;
/// An option of RFC 8914 without text.
const EDE: usize = 6;

/// One answer.
#[derive(Debug)]
pub(super) struct Stored {
    /// Header, lower-case question and records; no OPT record.
    message: Box<[u8]>,
    ttls: Box<[u16]>,
    born: Moment,
    lifetime: Duration,
    stale_for: Duration,
    /// Past its end, and given as it is until then because nobody answered.
    renewed_until: Option<Moment>,
    ede: Option<ExtendedErrorCode>,
    prefetching: AtomicBool,
}

/// How old an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// This many seconds of its life are over.
    Fresh(u32),
    /// Past its end, but nobody answered a moment ago: as good as it gets.
    Renewed,
    /// Past its end, to be given only if nobody answers.
    Stale,
    Dead,
}

impl Stored {
    /// What an upstream answered.
    pub(super) fn answer(reply: Reply, born: Moment, stale_for: Duration) -> Self {
        Self {
            lifetime: Duration::from_secs(reply.ttl.into()),
            message: reply.message,
            ttls: reply.ttls,
            born,
            stale_for,
            renewed_until: None,
            ede: None,
            prefetching: AtomicBool::new(false),
        }
    }

    /// That there is no answer.
    pub(super) fn failure(
        question: &Question<'_>,
        rcode: Rcode,
        ede: Option<ExtendedErrorCode>,
        born: Moment,
        lifetime: Duration,
    ) -> Self {
        let mut message = vec![0, 0, QR | RD, RA | rcode.to_int() & 0x0f, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(question.name);
        message.extend(question.rtype.to_int().to_be_bytes());
        message.extend(question.class.to_int().to_be_bytes());
        Self {
            message: message.into(),
            ttls: Box::default(),
            born,
            lifetime,
            stale_for: Duration::ZERO,
            renewed_until: None,
            ede,
            prefetching: AtomicBool::new(false),
        }
    }

    /// The same answer past its end, which is given for a while before anybody is asked again.
    pub(super) fn renewed(&self, now: Moment) -> Self {
        let stale = match self.rcode() {
            Rcode::NXDOMAIN => ExtendedErrorCode::STALE_NXDOMAIN_ANSWER,
            _ => ExtendedErrorCode::STALE_ANSWER,
        };
        Self {
            message: self.message.clone(),
            ttls: self.ttls.clone(),
            born: self.born,
            lifetime: self.lifetime,
            stale_for: self.stale_for,
            renewed_until: Some(now + Duration::from_secs(STALE_TTL.into())),
            ede: Some(stale),
            prefetching: AtomicBool::new(false),
        }
    }

    pub(super) fn rcode(&self) -> Rcode {
        Rcode::masked_from_int(self.message[3])
    }

    /// Whether it has not been given out of the cache yet.
    pub(super) fn is_new(&self) -> bool {
        self.renewed_until.is_none()
    }

    /// Whether it may be kept at all.
    pub(super) fn keeps(&self) -> bool {
        !self.lifetime.is_zero()
    }

    pub(super) fn age(&self, now: Moment) -> Age {
        let age = now.saturating_duration_since(self.born);
        if age < self.lifetime {
            return Age::Fresh(u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
        }
        match self.renewed_until {
            Some(until) if now < until => Age::Renewed,
            _ if age < self.lifetime + self.stale_for => Age::Stale,
            _ => Age::Dead,
        }
    }

    /// Whether to ask anew already; says yes once.
    pub(super) fn prefetch_due(&self, seconds: u32) -> bool {
        let lifetime = self.lifetime.as_secs() as u32;
        lifetime >= SHORTEST_PREFETCHED
            && !self.ttls.is_empty()
            && lifetime - seconds.min(lifetime) <= lifetime / 10
            && !self.prefetching.swap(true, Ordering::Relaxed)
    }

    /// Bytes that it takes in memory.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.message.len() + 2 * self.ttls.len()
    }

    /// Appends the answer to `out`, as `question`'s client takes it.
    pub(super) fn write(&self, question: &Question<'_>, now: Moment, out: &mut Vec<u8>) {
        let tail = self.tail(question);
        let start = out.len();
        let length = self.message.len() + tail;
        if length <= question.limit {
            out.reserve(length);
            out.extend_from_slice(&self.message);
            self.count_down(now, &mut out[start..]);
        } else {
            let end = (HEADER + question.name.len() + 4).min(self.message.len());
            out.reserve(end + tail);
            out.extend_from_slice(&self.message[..end]);
            out[start + 6..start + HEADER].fill(0);
            out[start + 2] |= TC;
        }
        self.address(question, &mut out[start..]);
        if question.edns {
            count_opt(&mut out[start..HEADER + start]);
            self.append_opt(question, out);
        }
    }

    fn count_down(&self, now: Moment, message: &mut [u8]) {
        let age = now.saturating_duration_since(self.born).as_secs();
        let age = u32::try_from(age).unwrap_or(u32::MAX);
        if age == 0 && self.renewed_until.is_none() {
            return;
        }
        for &place in &self.ttls {
            let place = usize::from(place);
            let Some(bytes) = message.get_mut(place..).and_then(|rest| rest.first_chunk_mut::<4>()) else {
                return;
            };
            let left = match self.renewed_until {
                Some(_) => STALE_TTL,
                None => u32::from_be_bytes(*bytes).saturating_sub(age),
            };
            *bytes = left.to_be_bytes();
        }
    }

    /// Id, flags and question of the client.
    fn address(&self, question: &Question<'_>, message: &mut [u8]) {
        message[..2].copy_from_slice(&question.id.to_be_bytes());
        message[2] = QR | message[2] & TC | if question.recursion_desired { RD } else { 0 };
        message[3] = RA | message[3] & 0x0f | if question.checking_disabled { CD } else { 0 };
        let length = question.name.len() + 4;
        if let (Some(place), Some(original)) =
            (message.get_mut(HEADER..HEADER + length), question.original.get(..length))
        {
            place.copy_from_slice(original);
        }
    }

    /// Bytes of the OPT record.
    fn tail(&self, question: &Question<'_>) -> usize {
        match (question.edns, self.ede) {
            (false, _) => 0,
            (true, None) => OPT,
            (true, Some(_)) => OPT + EDE,
        }
    }

    fn append_opt(&self, question: &Question<'_>, out: &mut Vec<u8>) {
        let mut opt = [0; OPT];
        opt[1..3].copy_from_slice(&Rtype::OPT.to_int().to_be_bytes());
        opt[3..5].copy_from_slice(&OUR_LIMIT.to_be_bytes());
        opt[7] = if question.dnssec_ok { 0x80 } else { 0 };
        opt[10] = if self.ede.is_some() { EDE as u8 } else { 0 };
        out.extend_from_slice(&opt);
        if let Some(code) = self.ede {
            out.extend_from_slice(&[0, 15, 0, 2]);
            out.extend_from_slice(&code.to_int().to_be_bytes());
        }
    }
}

fn count_opt(header: &mut [u8]) {
    let additional = u16::from_be_bytes([header[10], header[11]]) + 1;
    header[10..].copy_from_slice(&additional.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use domain::base::Message;

    use super::*;
    use crate::forward::OwnedQuestion;
    use crate::forward::special;

    fn stored(born: Moment) -> (OwnedQuestion, Stored) {
        let question = OwnedQuestion::new("localhost", Rtype::A).unwrap();
        let asked = question.borrow();
        let reply = special::answer(&asked, special::kind(asked.name)).unwrap();
        let stored = Stored::answer(reply, born, Duration::from_secs(100));
        (question, stored)
    }

    fn written(stored: &Stored, question: &Question<'_>, now: Moment) -> Message<Vec<u8>> {
        let mut out = Vec::new();
        stored.write(question, now, &mut out);
        assert!(out.len() <= question.limit.max(HEADER + question.original.len() + OPT + EDE));
        let message = Message::from_octets(out).unwrap();
        assert!(message.iter().all(|record| record.is_ok()));
        message
    }

    fn ttl(message: &Message<Vec<u8>>) -> u32 {
        message.answer().unwrap().next().unwrap().unwrap().ttl().as_secs()
    }

    #[test]
    fn an_answer_ages_to_its_end_and_beyond() {
        let born = Instant::now();
        let (question, stored) = stored(born);
        let at = |seconds| born + Duration::from_secs(seconds);
        for (seconds, age) in [
            (0, Age::Fresh(0)),
            (10_799, Age::Fresh(10_799)),
            (10_800, Age::Stale),
            (10_899, Age::Stale),
            (10_900, Age::Dead),
        ] {
            assert_eq!(stored.age(at(seconds)), age);
        }
        assert_eq!(ttl(&written(&stored, &question.borrow(), at(800))), 10_000);
        let renewed = stored.renewed(at(10_850));
        assert_eq!(renewed.age(at(10_879)), Age::Renewed);
        assert_eq!(renewed.age(at(10_880)), Age::Stale);
        assert_eq!(ttl(&written(&renewed, &question.borrow(), at(10_860))), STALE_TTL);
    }

    #[test]
    fn a_clock_that_seems_to_go_back_ages_nothing() {
        let born = Instant::now() + Duration::from_secs(1000);
        let (question, stored) = stored(born);
        let earlier = born - Duration::from_secs(500);
        assert_eq!(stored.age(earlier), Age::Fresh(0));
        assert_eq!(ttl(&written(&stored, &question.borrow(), earlier)), 10_800);
    }

    #[test]
    fn an_answer_is_cut_to_every_limit() {
        let now = Instant::now();
        let (question, stored) = stored(now);
        for limit in 0..120 {
            for edns in [false, true] {
                let asked = Question { limit, edns, ..question.borrow() };
                let message = written(&stored, &asked, now);
                let whole = message.header_counts().ancount() == 1;
                assert_eq!(message.header().tc(), !whole);
                assert_eq!(message.opt().is_some(), edns);
                let length = stored.message.len() + if edns { OPT } else { 0 };
                assert_eq!(whole, length <= limit);
            }
        }
    }

    #[test]
    fn failures_say_why_to_those_who_listen() {
        let now = Instant::now();
        let question = OwnedQuestion::new("www.example", Rtype::A).unwrap();
        let asked = question.borrow();
        let why = Some(ExtendedErrorCode::NO_REACHABLE_AUTHORITY);
        let failure = Stored::failure(&asked, Rcode::SERVFAIL, why, now, FAILURE_TTL);
        let message = written(&failure, &asked, now);
        assert_eq!(message.header().rcode(), Rcode::SERVFAIL);
        assert!(message.as_slice().ends_with(&[0, 6, 0, 15, 0, 2, 0, 22]));
        assert!(!failure.prefetch_due(4));
    }
}
