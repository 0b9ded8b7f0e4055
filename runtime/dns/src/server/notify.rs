//! Owns how secondaries learn of new versions of a zone (RFC 1996): one message that stands open for each zone and
//! secondary, about the newest version, sent again with growing pauses until it is acknowledged. Answers never wait for it.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use effect::{Code, Error, Result};
use journal::Clock;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::beyond::seconds;
use super::query::{HEADER, Query, opcode, opcode_of, rcode};
use super::records::{Records, number};
use super::signed::{Key, Keys, Session, Signature};
use super::snapshot::Snapshot;
use super::transfer::ZoneSettings;
use super::zone::{SOA, soa_value};
use crate::driver;
use crate::name::Name;
use crate::settings::Address;

/// Times that one version is told of; a secondary that is away for longer looks by itself (RFC 1996, section 3.6).
pub const MOST_TRIES: u32 = 8;
/// The pause after the first try; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A secondary is told of a zone no more often: versions that follow each other faster are told of together.
const CLOSEST: Duration = Duration::from_millis(200);
/// After a socket failed, so that one that goes on failing takes no time.
const SOCKET_PAUSE: Duration = Duration::from_secs(1);
/// Octets of an acknowledgement that are looked at.
const LARGEST_ANSWER: usize = 1232;

/// What tells secondaries.
pub struct Notifier {
    keys: HashMap<Name, Arc<Key>>,
    state: Mutex<State>,
    wake: tokio::sync::Notify,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    told: BTreeMap<(Name, SocketAddr), Told>,
    /// The serial that was last told of.
    serials: HashMap<Name, u32>,
}

/// What one secondary is told of one zone.
#[derive(Default)]
struct Told {
    /// What it has not acknowledged.
    open: Option<Open>,
    sent: Option<Instant>,
}

struct Open {
    soa: driver::Zone,
    tries: u32,
    due: Instant,
    /// Of the last try: its id, and with whom it was signed.
    id: u16,
    session: Option<Session>,
}

impl Notifier {
    /// What tells the secondaries of `zones`, signing with `keys`.
    ///
    /// # Errors
    /// `MC-U002` for a key that is not there.
    pub fn new(zones: &BTreeMap<String, ZoneSettings>, keys: &Keys, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut state = State::default();
        let mut signing = HashMap::new();
        for (text, settings) in zones {
            let wrong = |why: String| Error::new(Code::Config, format!("[dns.zones.\"{text}\"]: {why}"));
            settings.check(text)?;
            let zone = Name::absolute(text).map_err(|error| wrong(error.message))?;
            for Address(address) in &settings.notify {
                state.told.insert((zone.clone(), *address), Told::default());
            }
            if let Some(key) = &settings.key {
                let name = Name::absolute(key).map_err(|error| wrong(error.message))?;
                let known = keys.get(&name).ok_or_else(|| {
                    wrong(format!("there is no key `{key}`"))
                        .hint(format!("[dns.keys.\"{key}\"] makes it known"))
                })?;
                signing.insert(zone, known.clone());
            }
        }
        Ok(Self { keys: signing, state: Mutex::new(state), wake: tokio::sync::Notify::new(), clock })
    }

    /// Whether anybody is to be told of anything.
    #[must_use]
    pub fn has_secondaries(&self) -> bool {
        !self.state().told.is_empty()
    }

    /// Tells of every zone of `snapshot` that has another serial than when this was last called. A server that starts
    /// tells of all (RFC 1996, section 3.11).
    pub fn look(&self, snapshot: &Snapshot) {
        let zones: Vec<Name> = {
            let state = self.state();
            let mut zones: Vec<Name> = state.told.keys().map(|(zone, _)| zone.clone()).collect();
            zones.dedup();
            zones
        };
        for zone in zones {
            if let Some(zone) = snapshot.zone(&zone) {
                self.changed(&zone.soa);
            }
        }
    }

    /// Tells of the version of a zone that its SOA names, unless that was done; what was told of another and is not
    /// acknowledged is not told of any more.
    pub fn changed(&self, soa: &driver::Zone) {
        let now = Instant::now();
        let mut state = self.state();
        if state.serials.insert(soa.zone.clone(), soa.serial) == Some(soa.serial) {
            return;
        }
        for ((_, _), told) in state.told.iter_mut().filter(|((zone, _), _)| *zone == soa.zone) {
            let due = told.sent.map_or(now, |sent| now.max(sent + CLOSEST));
            told.open = Some(Open { soa: soa.clone(), tries: 0, due, id: 0, session: None });
        }
        drop(state);
        self.wake.notify_one();
    }

    /// How many messages are not acknowledged.
    #[must_use]
    pub fn open(&self) -> usize {
        self.state().told.values().filter(|told| told.open.is_some()).count()
    }

    /// Sends what is to be sent and takes acknowledgements, for as long as it is polled.
    ///
    /// # Errors
    /// `MC-Q020` where no socket can be had.
    pub async fn run(&self) -> Result<std::convert::Infallible> {
        let four = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await;
        // A machine without IPv6 has no secondaries there.
        let six = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await.ok();
        let four = match four {
            Ok(four) => Some(four),
            Err(_) if six.is_some() => None,
            Err(error) => {
                let message = "secondaries cannot be told of new versions";
                return Err(Error::new(Code::DnsListen, message).because(error));
            }
        };
        loop {
            let next = self.send_due(four.as_ref(), six.as_ref()).await;
            let (mut first, mut second) = ([0; LARGEST_ANSWER], [0; LARGEST_ANSWER]);
            let received = tokio::select! {
                () = self.wake.notified() => continue,
                () = sleep_until(next) => continue,
                received = receive(four.as_ref(), &mut first) => received.map(|(length, from)| (&first[..length], from)),
                received = receive(six.as_ref(), &mut second) => received.map(|(length, from)| (&second[..length], from)),
            };
            match received {
                Ok((answer, from)) => self.take(answer, from),
                Err(error) => {
                    tracing::warn!(%error, "acknowledgements of secondaries cannot be received");
                    tokio::time::sleep(SOCKET_PAUSE).await;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends everything that is due, and says when something will be again.
    async fn send_due(&self, four: Option<&UdpSocket>, six: Option<&UdpSocket>) -> Option<Instant> {
        let (messages, next) = self.due(Instant::now());
        for (message, to) in messages {
            let socket = if to.is_ipv4() { four } else { six };
            let sent = match socket {
                Some(socket) => socket.send_to(&message, to).await.map(drop),
                None => Err(std::io::ErrorKind::AddrNotAvailable.into()),
            };
            // As good as lost on the way: it is sent again.
            if let Err(error) = sent {
                tracing::debug!(%error, %to, "a secondary cannot be told");
            }
        }
        next
    }

    /// The messages that are due at `now`, and when the next one is.
    fn due(&self, now: Instant) -> (Vec<(Vec<u8>, SocketAddr)>, Option<Instant>) {
        let mut messages = Vec::new();
        let mut state = self.state();
        for ((zone, address), told) in &mut state.told {
            let Some(open) = told.open.as_mut().filter(|open| open.due <= now) else { continue };
            if open.tries >= MOST_TRIES {
                tracing::warn!(%zone, secondary = %address, serial = open.soa.serial, "a secondary does not acknowledge");
                told.open = None;
                continue;
            }
            open.due = now + LONGEST_PAUSE.min(PAUSE * 2_u32.pow(open.tries));
            open.tries += 1;
            open.id = random();
            let mut message = message(&open.soa, open.id);
            open.session = self.keys.get(zone).map(|key| Session::opening(key.clone()));
            if let Some(session) = &mut open.session {
                session.sign(&mut message, seconds(&*self.clock));
            }
            told.sent = Some(now);
            messages.push((message, *address));
        }
        let next = state.told.values().filter_map(|told| Some(told.open.as_ref()?.due)).min();
        (messages, next)
    }

    /// Takes an acknowledgement, if it is one of what is open.
    fn take(&self, answer: &[u8], from: SocketAddr) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let Some((zone, code)) = acknowledged(answer) else { return };
        let mut state = self.state();
        let Some(told) = state.told.get_mut(&(zone.clone(), from)) else { return };
        let Some(open) = &told.open else { return };
        if open.tries == 0 || number(answer, 0) != Some(open.id) {
            return;
        }
        if let Some(session) = &open.session
            && !is_believed(session, answer, seconds(&*self.clock))
        {
            tracing::debug!(%zone, secondary = %from, "an acknowledgement is not signed by the key");
            return;
        }
        match code {
            rcode::NOERROR => {
                tracing::debug!(%zone, secondary = %from, serial = open.soa.serial, "a secondary knows");
                told.open = None;
            }
            // It may be able to later.
            rcode::SERVFAIL => {}
            code => {
                tracing::warn!(%zone, secondary = %from, code = rcode::name(code), "a secondary does not want to know");
                told.open = None;
            }
        }
    }
}

/// The zone and the code of an answer to what we send.
fn acknowledged(answer: &[u8]) -> Option<(Name, u8)> {
    if answer.len() < HEADER || answer[2] & 0x80 == 0 || opcode_of(answer) != opcode::NOTIFY {
        return None;
    }
    Some((question(answer)?.0, answer[3] & 0x0F))
}

/// Name and end of the question of an answer.
fn question(answer: &[u8]) -> Option<(Name, usize)> {
    let mut asked = answer.to_vec();
    asked[2] &= 0x7F;
    let query = Query::head(&asked).ok()?;
    Some((Name::trusted(query.name.wire()), query.end))
}

fn is_believed(session: &Session, answer: &[u8], now: u64) -> bool {
    let signature = question(answer)
        .and_then(|(_, end)| Records::read(answer, end).ok())
        .and_then(|records| Signature::of(answer, &records).ok().flatten());
    signature.is_some_and(|signature| signature.error == 0 && session.believes(answer, &signature, now))
}

/// RFC 1996, section 3.7: the SOA goes along, so that a secondary that has this version need not ask.
fn message(soa: &driver::Zone, id: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[opcode::NOTIFY << 3 | 0x04, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    message.extend_from_slice(soa.zone.wire());
    message.extend_from_slice(&SOA.to_be_bytes());
    message.extend_from_slice(&[0, 1, 0xC0, 12]);
    message.extend_from_slice(&SOA.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message.extend_from_slice(&soa.minimum.to_be_bytes());
    let value = soa_value(soa);
    message.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    message.extend_from_slice(&value);
    message
}

/// Not to be guessed, as it is what an acknowledgement is known by.
fn random() -> u16 {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .expect("getrandom without flags fails only where the kernel lacks it");
    u16::from_be_bytes(bytes)
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn receive(socket: Option<&UdpSocket>, into: &mut [u8]) -> std::io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(into).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "notify/tests.rs"]
mod tests;
