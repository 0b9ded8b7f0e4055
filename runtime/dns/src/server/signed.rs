//! Owns signatures of messages by a shared key: TSIG (RFC 8945), of what clients ask, of what they are answered, and of
//! transfers, whose messages are signed in a chain. Leaves the hash itself to hickory's signer: its reader of messages
//! takes the fudge off a time that may be smaller, so that what comes from the network is read here.

mod keys;
mod wire;

use std::sync::Arc;

use super::query::HEADER;
use super::records::number;

pub use keys::{Algorithm, DESTINATION, Key, KeySettings, Keys, MOST_KEYS, SHORTEST_SECRET};
pub(crate) use wire::Signature;

/// For how many seconds before and after its time a signature holds (RFC 8945, section 10). A client may ask for less;
/// more would let whoever recorded a message send it again for longer.
pub const FUDGE: u16 = 300;
/// Octets of a hash that is cut as short as a client may ever send it (RFC 8945, section 5.2.2.1).
const SHORTEST_HASH: usize = 10;

/// Codes of the signature itself (RFC 8945, section 3).
const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;
const BADTRUNC: u16 = 22;

/// Why a signed message is not believed.
pub(crate) enum Fault {
    /// The signature cannot be one: `FORMERR`.
    Form,
    /// Key or hash are wrong: `NOTAUTH`, told without a signature, as there is nobody to sign for.
    Unsigned(u16, Box<Signature>),
    /// Time or length are wrong: `NOTAUTH`, told with a signature.
    Signed(u16, Box<Signature>, Box<Session>),
}

impl Keys {
    /// Checks `message`, which came with `signature`, at `now`, in seconds since 1970: key, hash, time and length, in this
    /// order (RFC 8945, section 5.2).
    pub(crate) fn check(&self, message: &[u8], signature: Signature, now: u64) -> Result<Session, Fault> {
        let known =
            self.get(&signature.key).filter(|key| *key.algorithm.wire() == *signature.algorithm.wire());
        let Some(key) = known else { return Err(Fault::Unsigned(BADKEY, signature.into())) };
        let length = key.algorithm.length();
        if signature.mac.len() > length || signature.mac.len() < SHORTEST_HASH.max(length / 2) {
            return Err(Fault::Form);
        }
        if !key.vouches(message, &signature, &[], true) {
            return Err(Fault::Unsigned(BADSIG, signature.into()));
        }
        let session = Session { key: key.clone(), before: signature.mac.clone(), is_first: true };
        if !is_timely(&signature, now) {
            return Err(Fault::Signed(BADTIME, signature.into(), session.into()));
        }
        // Cut short is weaker than what the key was made for, and no client has reason to.
        if signature.mac.len() < length {
            return Err(Fault::Signed(BADTRUNC, signature.into(), session.into()));
        }
        Ok(session)
    }
}

impl Fault {
    /// Whether it is no signature at all.
    pub(crate) fn is_form(&self) -> bool {
        matches!(self, Self::Form)
    }

    /// Puts the signature that tells of it behind `answer`, whose code is `NOTAUTH`.
    pub(crate) fn sign(self, answer: &mut Vec<u8>, now: u64) {
        match self {
            Self::Form => {}
            Self::Unsigned(error, signature) => {
                let told = Signature {
                    error,
                    time: now,
                    fudge: FUDGE,
                    mac: Vec::new(),
                    other: Vec::new(),
                    ..*signature
                };
                told.append(answer);
            }
            Self::Signed(error, signature, mut session) => {
                // With the client's own time, so that it believes this answer though the clocks differ; ours goes along.
                let (time, other) = match error {
                    BADTIME => (signature.time, now.to_be_bytes()[2..].to_vec()),
                    _ => (now, Vec::new()),
                };
                session.sign_as(answer, time, error, other);
            }
        }
    }
}

fn is_timely(signature: &Signature, now: u64) -> bool {
    now.abs_diff(signature.time) <= u64::from(signature.fudge.min(FUDGE))
}

impl Key {
    /// Whether the signature is this key's, made with the hash `before` of the message that this one answers or follows.
    fn vouches(&self, message: &[u8], signature: &Signature, before: &[u8], is_first: bool) -> bool {
        let Some(additional) = number(message, 10).and_then(|count| count.checked_sub(1)) else {
            return false;
        };
        let mut signed = prefixed(before);
        let begin = signed.len();
        signed.extend_from_slice(&message[..signature.begin]);
        signed[begin..begin + 2].copy_from_slice(&signature.id.to_be_bytes());
        signed[begin + 10..begin + HEADER].copy_from_slice(&additional.to_be_bytes());
        if is_first {
            signature.variables(&mut signed)
        } else {
            signature.timers(&mut signed)
        }
        if signature.mac.len() == self.algorithm.length() {
            return self.signer.verify(&signed, &signature.mac).is_ok();
        }
        let whole = self.hash(&signed);
        (SHORTEST_HASH..whole.len()).contains(&signature.mac.len())
            && is_same(&whole[..signature.mac.len()], &signature.mac)
    }

    fn hash(&self, signed: &[u8]) -> Vec<u8> {
        self.signer.sign(signed).expect("an algorithm that did not hash was refused with its key")
    }
}

/// Compares in a time that does not tell where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differences =
        one.iter().zip(other).fold(0, |sum, (one, other)| std::hint::black_box(sum | one ^ other));
    one.len() == other.len() && differences == 0
}

/// A hash before a message, as it is signed: nothing where there is none.
fn prefixed(hash: &[u8]) -> Vec<u8> {
    match u16::try_from(hash.len()) {
        Ok(length) if length > 0 => [&length.to_be_bytes(), hash].concat(),
        _ => Vec::new(),
    }
}

/// One exchange with a key: each message is signed together with the one before it.
#[derive(Debug)]
pub(crate) struct Session {
    key: Arc<Key>,
    before: Vec<u8>,
    is_first: bool,
}

impl Session {
    /// The session of a message that is sent first.
    pub(crate) fn opening(key: Arc<Key>) -> Self {
        Self { key, before: Vec::new(), is_first: true }
    }

    /// Whose it is.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The hash of the message before, of which there are no two.
    pub(crate) fn hash(&self) -> &[u8] {
        &self.before
    }

    /// Octets that its signature adds to a message.
    pub(crate) fn room(&self) -> usize {
        self.key.name.wire().len()
            + self.key.algorithm.wire().len()
            + self.key.algorithm.length()
            + wire::FIXED
    }

    /// Signs the next message, at `now`, in seconds since 1970.
    pub(crate) fn sign(&mut self, message: &mut Vec<u8>, now: u64) {
        self.sign_as(message, now, 0, Vec::new());
    }

    fn sign_as(&mut self, message: &mut Vec<u8>, time: u64, error: u16, other: Vec<u8>) {
        let mut signature = Signature {
            key: self.key.name.clone(),
            algorithm: crate::name::Name::trusted(self.key.algorithm.wire()),
            time,
            fudge: FUDGE,
            mac: Vec::new(),
            id: number(message, 0).unwrap_or(0),
            error,
            other,
            begin: message.len(),
        };
        let mut signed = prefixed(&self.before);
        signed.extend_from_slice(message);
        if self.is_first {
            signature.variables(&mut signed)
        } else {
            signature.timers(&mut signed)
        }
        signature.mac = self.key.hash(&signed);
        self.before.clone_from(&signature.mac);
        self.is_first = false;
        signature.append(message);
    }

    /// Whether `answer` is signed by whom this session's one message was sent to.
    pub(crate) fn believes(&self, answer: &[u8], signature: &Signature, now: u64) -> bool {
        signature.key == self.key.name
            && *signature.algorithm.wire() == *self.key.algorithm.wire()
            && signature.mac.len() == self.key.algorithm.length()
            && self.key.vouches(answer, signature, &self.before, true)
            && is_timely(signature, now)
    }
}

#[cfg(test)]
#[path = "signed/tests.rs"]
mod tests;
