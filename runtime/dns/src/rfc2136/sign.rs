//! Owns signatures of messages by a shared key: TSIG (RFC 8945), of requests, of answers, and of transfers whose messages
//! are signed in a chain. Leaves the hash itself to hickory's signer.

use domain::base::Message;
use domain::base::iana::{Class, TsigRcode};
use domain::base::name::ParsedName;
use domain::dep::octseq::Parser;
use domain::rdata::tsig::Tsig;
use effect::{Code, Error, Result};
use hickory_proto::rr;
use hickory_proto::rr::TSigner;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use serde::Deserialize;

use crate::name::Name;

/// For how many seconds before and after its time a signature holds (RFC 8945, section 10).
const FUDGE: u16 = 300;
/// Messages in a row of a transfer that need no signature of their own (RFC 8945, section 5.3.1).
const MOST_UNSIGNED: usize = 99;
/// Octets that a signature adds to a message at most: two names, the longest hash, and what is fixed.
pub(super) const LARGEST_SIGNATURE: usize = 256 + 16 + 64 + 32;
const TYPE_TSIG: u16 = 250;
const CLASS_ANY: u16 = 255;
const HEADER: usize = 12;

/// How messages are hashed. SHA-1 and MD5 are left out (RFC 8945, section 6, has them for old servers only), and so are the
/// truncated forms and SHA-224, which no server prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Algorithm {
    /// What `tsig-keygen` and `keymgr` make unless told otherwise.
    #[default]
    #[serde(rename = "hmac-sha256")]
    Sha256,
    /// SHA-384.
    #[serde(rename = "hmac-sha384")]
    Sha384,
    /// SHA-512.
    #[serde(rename = "hmac-sha512")]
    Sha512,
}

impl Algorithm {
    /// As servers write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    fn hash(self) -> TsigAlgorithm {
        match self {
            Self::Sha256 => TsigAlgorithm::HmacSha256,
            Self::Sha384 => TsigAlgorithm::HmacSha384,
            Self::Sha512 => TsigAlgorithm::HmacSha512,
        }
    }

    fn wire(self) -> Vec<u8> {
        let text = self.as_str().as_bytes();
        // Every name of an algorithm is one label.
        let mut wire = vec![u8::try_from(text.len()).unwrap_or(0)];
        wire.extend_from_slice(text);
        wire.push(0);
        wire
    }
}

/// A key that both sides have.
#[derive(Clone)]
pub(super) struct Key {
    signer: TSigner,
    name: Name,
    algorithm: Algorithm,
}

/// Why an answer cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It has no signature.
    Unsigned,
    /// The server says what is wrong about the request's signature; it cannot sign that.
    Told(TsigRcode),
    /// The server says that the request's time is off, in seconds; this was signed.
    Clock(i64),
    /// Its own signature is wrong.
    Wrong(&'static str),
}

impl Key {
    /// # Errors
    /// `MC-U002` where hickory does not take the name.
    pub(super) fn new(name: &Name, algorithm: Algorithm, secret: Vec<u8>) -> Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| {
            Error::new(Code::Config, format!("[drivers.rfc2136] key: `{name}` cannot name a key"))
                .because(error)
        };
        // What hickory signs is put together here, byte by byte: of the name it only keeps a copy.
        let kept = rr::Name::root();
        let signer = TSigner::new(secret, algorithm.hash(), kept, FUDGE).map_err(|error| wrong(&error))?;
        Ok(Self { signer, name: name.clone(), algorithm })
    }

    /// Signs a request that was made at `now`, in seconds. What comes back knows its answers.
    pub(super) fn sign(&self, message: &mut Vec<u8>, now: u64) -> Result<Chain> {
        let id = number(message, 0);
        let mut signed = message.clone();
        self.variables(now, FUDGE, 0, &[], &mut signed);
        let mac = self
            .signer
            .sign(&signed)
            .map_err(|error| Error::new(Code::Internal, "a message cannot be signed").because(error))?;
        let mut data = self.algorithm.wire();
        data.extend_from_slice(&now.to_be_bytes()[2..]);
        data.extend_from_slice(&FUDGE.to_be_bytes());
        data.extend_from_slice(&length(&mac));
        data.extend_from_slice(&mac);
        data.extend_from_slice(&id.to_be_bytes());
        data.extend_from_slice(&[0; 4]);
        message.extend_from_slice(self.name.wire());
        message.extend_from_slice(&TYPE_TSIG.to_be_bytes());
        message.extend_from_slice(&CLASS_ANY.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&length(&data));
        message.extend_from_slice(&data);
        let additional = number(message, 10) + 1;
        message[10..HEADER].copy_from_slice(&additional.to_be_bytes());
        Ok(Chain { key: self.clone(), before: mac, asked: now, latest: 0, unsigned: Vec::new(), count: 0 })
    }

    /// RFC 8945, section 4.3.3.
    fn variables(&self, time: u64, fudge: u16, error: u16, other: &[u8], into: &mut Vec<u8>) {
        into.extend_from_slice(self.name.wire());
        into.extend_from_slice(&CLASS_ANY.to_be_bytes());
        into.extend_from_slice(&[0; 4]);
        into.extend_from_slice(&self.algorithm.wire());
        timers(time, fudge, into);
        into.extend_from_slice(&error.to_be_bytes());
        into.extend_from_slice(&length(other));
        into.extend_from_slice(other);
    }
}

/// The answers to one request: each is signed together with what came before it.
pub(super) struct Chain {
    key: Key,
    before: Vec<u8>,
    /// When the request was signed, in seconds.
    asked: u64,
    /// The latest time of an answer's signature; none yet is 0.
    latest: u64,
    /// Messages since the last signature.
    unsigned: Vec<u8>,
    count: usize,
}

impl Chain {
    /// Checks one message. One without a signature is believed only when a later one vouches for it: then this says no.
    pub(super) fn verify(&mut self, message: &[u8]) -> Result<bool, Doubt> {
        let Some((begin, tsig)) = signature(message)? else {
            let is_first = self.latest == 0;
            if is_first || self.count >= MOST_UNSIGNED {
                return Err(Doubt::Unsigned);
            }
            self.count += 1;
            self.unsigned.extend_from_slice(message);
            return Ok(false);
        };
        if tsig.mac.is_empty() && tsig.error != 0 {
            return Err(Doubt::Told(TsigRcode::from_int(tsig.error)));
        }
        if tsig.name != self.key.name {
            return Err(Doubt::Wrong("it is signed by another key"));
        }
        if !tsig.algorithm.eq_ignore_ascii_case(&self.key.algorithm.wire()) {
            return Err(Doubt::Wrong("it is signed by another algorithm"));
        }
        self.check_hash(&message[..begin], &tsig)?;
        if tsig.error == TsigRcode::BADTIME.to_int() {
            let server = tsig.other.iter().fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte));
            return Err(Doubt::Clock(self.asked.cast_signed() - server));
        }
        if tsig.error != 0 {
            return Err(Doubt::Told(TsigRcode::from_int(tsig.error)));
        }
        if tsig.time.abs_diff(self.asked) > u64::from(tsig.fudge.min(FUDGE)) {
            return Err(Doubt::Wrong("it is signed at another time"));
        }
        if tsig.time < self.latest {
            return Err(Doubt::Wrong("it is signed before the message ahead of it"));
        }
        self.latest = tsig.time;
        self.before = tsig.mac;
        self.unsigned.clear();
        self.count = 0;
        Ok(true)
    }

    fn check_hash(&self, message: &[u8], tsig: &Signature) -> Result<(), Doubt> {
        let mut signed = length(&self.before).to_vec();
        signed.extend_from_slice(&self.before);
        signed.extend_from_slice(&self.unsigned);
        let begin = signed.len();
        signed.extend_from_slice(message);
        signed[begin..begin + 2].copy_from_slice(&tsig.id.to_be_bytes());
        let additional = number(message, 10) - 1;
        signed[begin + 10..begin + HEADER].copy_from_slice(&additional.to_be_bytes());
        if self.latest == 0 {
            self.key.variables(tsig.time, tsig.fudge, tsig.error, &tsig.other, &mut signed);
        } else {
            timers(tsig.time, tsig.fudge, &mut signed);
        }
        // One that is cut short is weaker than what was asked for, and no server has reason to send it.
        self.key
            .signer
            .verify(&signed, &tsig.mac)
            .map_err(|_| Doubt::Wrong("its signature is not that of the key"))
    }
}

struct Signature {
    name: Name,
    algorithm: Vec<u8>,
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    id: u16,
    error: u16,
    other: Vec<u8>,
}

/// The signature of a message, which is its last record, and where it begins.
fn signature(message: &[u8]) -> Result<Option<(usize, Signature)>, Doubt> {
    const BROKEN: Doubt = Doubt::Wrong("it cannot be read");
    if message.len() < HEADER {
        return Err(BROKEN);
    }
    let Some(begin) = last_additional(message).ok_or(BROKEN)? else { return Ok(None) };
    let whole = Message::from_octets(message).map_err(|_| BROKEN)?;
    let Some(record) = whole.get_last_additional::<Tsig<_, ParsedName<_>>>() else { return Ok(None) };
    // The hash takes both for granted (RFC 8945, section 4.2).
    if record.class() != Class::ANY || record.ttl().as_secs() != 0 {
        return Err(BROKEN);
    }
    let owner: domain::base::Name<Vec<u8>> = domain::base::ToName::to_name(record.owner());
    let algorithm: domain::base::Name<Vec<u8>> = domain::base::ToName::to_name(record.data().algorithm());
    let data = record.data();
    let time = data.time_signed().into_octets().iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let signature = Signature {
        name: Name::from_wire(owner.as_slice()).map_err(|_| BROKEN)?,
        algorithm: algorithm.as_slice().to_vec(),
        time,
        fudge: data.fudge(),
        mac: data.mac_slice().to_vec(),
        id: data.original_id(),
        error: data.error().to_int(),
        other: data.other().to_vec(),
    };
    Ok(Some((begin, signature)))
}

/// Where the last record of the additional section begins, in a message that ends with it.
fn last_additional(message: &[u8]) -> Option<Option<usize>> {
    let mut parser = Parser::from_ref(message);
    parser.advance(HEADER).ok()?;
    for _ in 0..number(message, 4) {
        ParsedName::skip(&mut parser).ok()?;
        parser.advance(4).ok()?;
    }
    let additional = number(message, 10);
    let records = u32::from(number(message, 6)) + u32::from(number(message, 8)) + u32::from(additional);
    let mut begin = None;
    for _ in 0..records {
        begin = Some(parser.pos());
        ParsedName::skip(&mut parser).ok()?;
        parser.advance(8).ok()?;
        let length = parser.parse_u16_be().ok()?;
        parser.advance(usize::from(length)).ok()?;
    }
    (parser.remaining() == 0).then_some(begin.filter(|_| additional > 0))
}

fn timers(time: u64, fudge: u16, into: &mut Vec<u8>) {
    into.extend_from_slice(&time.to_be_bytes()[2..]);
    into.extend_from_slice(&fudge.to_be_bytes());
}

fn number(message: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([message[at], message[at + 1]])
}

fn length(of: &[u8]) -> [u8; 2] {
    u16::try_from(of.len()).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
#[path = "sign/tests.rs"]
mod tests;
