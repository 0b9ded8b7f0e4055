//! Owns what is answered beyond plain questions: updates, transfers, what is signed. Whoever holds the sockets hands the
//! messages over and sends what comes back; a signature is checked before anything else is done.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use effect::{Code, Error, Result};
use journal::Clock;
use tokio::sync::{Mutex, Semaphore};

use super::lookup;
use super::query::{Query, Refusal, opcode, opcode_of, rcode};
use super::records::{Records, bare};
use super::repeats::{Known, Repeats};
use super::signed::{Keys, Session, Signature};
use super::snapshot::Snapshot;
use super::transfer::{self, AXFR, IXFR, MOST_TRANSFERS, Transfer, ZoneSettings};
use super::update::Update;
use crate::embedded::Embedded;
use crate::name::Name;

/// Updates that wait for their turn; whoever comes beyond is told to come again.
pub const MOST_UPDATES: usize = 256;
const CLASS_IN: u16 = 1;
const LARGEST: usize = u16::MAX as usize;

/// What came of a message.
pub enum Outcome {
    /// It is not answered.
    Silence,
    /// One message.
    One(Vec<u8>),
    /// Messages that are sent one after the other, over a stream; each is made when the one before has been sent. Whoever
    /// sends them bounds how long each may take, and closes the stream where that is not kept.
    Many(Box<dyn Iterator<Item = Vec<u8>> + Send>),
}

/// What answers beyond plain questions.
pub struct Beyond {
    keys: Arc<Keys>,
    zones: BTreeMap<Name, ZoneSettings>,
    /// Where updates are written; none where this process has no database.
    store: Option<Embedded>,
    clock: Arc<dyn Clock>,
    recursion: bool,
    transfers: Arc<Semaphore>,
    updates: Semaphore,
    /// Updates are made one after the other, as each is worked out from the one before.
    turn: Mutex<()>,
    repeats: Repeats,
}

/// Seconds since 1970.
pub(crate) fn seconds(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.now().0 / 1000).unwrap_or(0)
}

impl Beyond {
    /// What answers with `keys`, for zones set up as `zones`, and writes updates to `store`. `recursion` is what answers
    /// to signed questions say of others being asked.
    ///
    /// # Errors
    /// `MC-U002` for zones that name no zone, or a key that is not there.
    pub fn new(
        keys: Arc<Keys>,
        zones: &BTreeMap<String, ZoneSettings>,
        store: Option<Embedded>,
        clock: Arc<dyn Clock>,
        recursion: bool,
    ) -> Result<Self> {
        let mut known = BTreeMap::new();
        for (name, settings) in zones {
            settings.check(name)?;
            let zone = Name::absolute(name).map_err(|error| {
                Error::new(Code::Config, format!("[dns.zones.\"{name}\"] names no zone"))
                    .because(error.message)
            })?;
            known.insert(zone, settings.clone());
        }
        Ok(Self {
            keys,
            zones: known,
            store,
            clock,
            recursion,
            transfers: Arc::new(Semaphore::new(MOST_TRANSFERS)),
            updates: Semaphore::new(MOST_UPDATES),
            turn: Mutex::new(()),
            repeats: Repeats::default(),
        })
    }

    /// Whether a question with this type, and with or without a signature, is answered here.
    #[must_use]
    pub fn takes(query: &Query<'_>) -> bool {
        query.signature.is_some() || matches!(query.rtype, AXFR | IXFR)
    }

    /// Answers `message`, which came from `peer`.
    pub async fn answer(
        &self,
        snapshot: &Arc<Snapshot>,
        message: &[u8],
        peer: IpAddr,
        is_stream: bool,
    ) -> Outcome {
        let is_question = message.len() > 2 && opcode_of(message) == opcode::QUERY;
        let query = if is_question { Query::read(message) } else { Query::head(message) };
        let mut query = match query {
            Ok(query) => query,
            Err(Refusal::Silence) => return Outcome::Silence,
            Err(Refusal::Code(code)) => return Outcome::One(bare(message, code)),
        };
        let records = match Records::read(message, query.end) {
            Ok(records) => records,
            Err(code) => return Outcome::One(bare(message, code)),
        };
        let (Ok(edns), Ok(signature)) = (records.edns(), Signature::of(message, &records)) else {
            return Outcome::One(bare(message, rcode::FORMERR));
        };
        query.edns = edns;
        let now = seconds(&*self.clock);
        let session = match signature.map(|signature| self.keys.check(message, signature, now)).transpose() {
            Ok(session) => session,
            Err(fault) => {
                let code = if fault.is_form() { rcode::FORMERR } else { rcode::NOTAUTH };
                tracing::debug!(%peer, code = rcode::name(code), "a signature is not believed");
                let mut answer = refused(&query, code, self.recursion);
                fault.sign(&mut answer, now);
                return Outcome::One(answer);
            }
        };
        match opcode_of(message) {
            opcode::UPDATE => self.update(&query, &records, session).await,
            opcode::QUERY if matches!(query.rtype, AXFR | IXFR) => {
                self.transfer(snapshot, &query, &records, session, (peer, is_stream)).await
            }
            opcode::QUERY => self.question(snapshot, &query, session, is_stream),
            // This server is nobody's secondary (RFC 1996, section 3.10).
            opcode::NOTIFY => self.code(&query, rcode::NOTAUTH, session),
            _ => self.code(&query, rcode::NOTIMP, session),
        }
    }

    fn code(&self, query: &Query<'_>, code: u8, session: Option<Session>) -> Outcome {
        let mut answer = refused(query, code, self.recursion);
        if let Some(mut session) = session {
            session.sign(&mut answer, seconds(&*self.clock));
        }
        Outcome::One(answer)
    }

    /// A question like any other, but signed.
    fn question(
        &self,
        snapshot: &Snapshot,
        query: &Query<'_>,
        session: Option<Session>,
        is_stream: bool,
    ) -> Outcome {
        if query.class != CLASS_IN {
            return self.code(query, rcode::REFUSED, session);
        }
        let limit = if is_stream { LARGEST } else { query.largest_answer() };
        let room = session.as_ref().map_or(0, Session::room);
        let mut answer = Vec::new();
        lookup::answer(snapshot, query, &mut answer, limit - room, self.recursion);
        if let Some(mut session) = session {
            session.sign(&mut answer, seconds(&*self.clock));
        }
        Outcome::One(answer)
    }

    async fn transfer(
        &self,
        snapshot: &Snapshot,
        query: &Query<'_>,
        records: &Records,
        session: Option<Session>,
        (peer, is_stream): (IpAddr, bool),
    ) -> Outcome {
        // RFC 5936, section 4.2; a part may be asked for over UDP, and the SOA sends whoever asks to TCP (RFC 1995).
        if !is_stream && query.rtype == AXFR {
            return self.code(query, rcode::FORMERR, session);
        }
        let name = Name::trusted(query.name.wire());
        let Some(zone) = snapshot.zone(&name).filter(|_| query.class == CLASS_IN) else {
            return self.code(query, rcode::NOTAUTH, session);
        };
        if let Err(code) = transfer::check(zone, self.zones.get(&name), session.as_ref(), peer) {
            tracing::debug!(zone = %name, %peer, "a transfer is refused");
            return self.code(query, code, session);
        }
        let Ok(turn) = self.transfers.clone().try_acquire_owned() else {
            return self.code(query, rcode::SERVFAIL, session);
        };
        let transfer =
            |names, session| Transfer::new(query, zone.clone(), names, session, self.clock.clone(), turn);
        if !is_stream || transfer::is_current(query, records, zone) {
            return transfer(None, session).next().map_or(Outcome::Silence, Outcome::One);
        }
        let Some(names) = transfer::names(zone).await else { return Outcome::Silence };
        tracing::info!(zone = %name, %peer, serial = zone.soa.serial, "a transfer begins");
        Outcome::Many(Box::new(transfer(Some(names), session)))
    }

    /// Nobody may change anything without a key: an address proves nothing.
    async fn update(&self, query: &Query<'_>, records: &Records, session: Option<Session>) -> Outcome {
        let Some(mut session) = session else { return self.code(query, rcode::REFUSED, None) };
        let now = seconds(&*self.clock);
        let repeat = match self.repeats.begin(session.hash(), now) {
            Known::New(repeat) => repeat,
            Known::UnderWay => return Outcome::Silence,
            Known::Answered(code) => return self.code(query, code, Some(session)),
        };
        let code = self.perform(query, records, &session).await;
        // What failed for reasons of ours may be tried again.
        repeat.end((code != rcode::SERVFAIL).then_some(code));
        let mut answer = refused(query, code, self.recursion);
        session.sign(&mut answer, seconds(&*self.clock));
        Outcome::One(answer)
    }

    async fn perform(&self, query: &Query<'_>, records: &Records, session: &Session) -> u8 {
        let update = match Update::of(query, records) {
            Ok(update) => update,
            Err(code) => return code,
        };
        if !update.is_allowed(session.key()) {
            tracing::info!(zone = %update.zone(), key = %session.key().name(), "an update is refused");
            return rcode::REFUSED;
        }
        let (Some(store), Ok(_place)) = (&self.store, self.updates.try_acquire()) else {
            return rcode::SERVFAIL;
        };
        let _turn = self.turn.lock().await;
        match store.update(&update).await {
            Ok(Ok(())) => {
                tracing::info!(zone = %update.zone(), key = %session.key().name(), "an update is made");
                rcode::NOERROR
            }
            Ok(Err(code)) => code,
            Err(error) => code_of(&error, update.zone()),
        }
    }
}

fn refused(query: &Query<'_>, code: u8, recursion: bool) -> Vec<u8> {
    let mut answer = Vec::new();
    lookup::refuse(query, &mut answer, code, recursion);
    answer
}

fn code_of(error: &Error, zone: &Name) -> u8 {
    match error.code {
        Code::DnsZone => rcode::NOTAUTH,
        Code::DnsExclusive | Code::DnsValue => rcode::REFUSED,
        _ => {
            tracing::error!(%error, %zone, "an update cannot be made");
            rcode::SERVFAIL
        }
    }
}

#[cfg(test)]
#[path = "beyond/tests.rs"]
mod tests;
