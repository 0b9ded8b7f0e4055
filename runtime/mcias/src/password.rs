//! Owns passwords: which are taken, how they are hashed (argon2id, PHC strings), and the queue that keeps hashing from
//! taking every core and all memory.

use std::borrow::Cow;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use argon2::{Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use effect::{Code, Error, Result};
use icu_normalizer::ComposingNormalizerBorrowed;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::random;

/// Longer ones are refused before they are hashed.
pub const LONGEST: usize = 1024;
/// What waits beyond this is told to come again: at 40 ms each, the last of them waits for 1.3 s a core.
const MOST_WAITING: usize = 64;
const SALT: usize = 16;
/// How much a hash gives way, as `nice` counts it.
const YIELDING: i32 = 5;

/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
fn hasher() -> Result<Argon2<'static>> {
    let params = Params::new(19 * 1024, 2, 1, None)
        .map_err(|_| Error::new(Code::Internal, "the parameters of argon2 make no sense"))?;
    Ok(Argon2::from(params))
}

/// What a password turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is the right one.
    pub is_right: bool,
    /// Whether its hash was made with other parameters than those of today.
    pub is_outdated: bool,
}

/// One hash at a time on each core, and a bounded number of those who wait.
#[derive(Debug)]
pub struct Queue {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
    hashed: AtomicU64,
}

impl Default for Queue {
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, NonZero::get), MOST_WAITING)
    }
}

impl Queue {
    /// A queue with `slots` hashes at a time and at most `most_waiting` behind them.
    #[must_use]
    pub fn new(slots: usize, most_waiting: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            waiting: AtomicUsize::new(0),
            most_waiting,
            hashed: AtomicU64::new(0),
        }
    }

    /// How many hashes were computed.
    #[must_use]
    pub fn hashed(&self) -> u64 {
        self.hashed.load(Ordering::Relaxed)
    }

    /// Hashes a password.
    ///
    /// # Errors
    /// `MC-W007` where too many wait.
    pub async fn hash(&self, password: &str) -> Result<Zeroizing<String>> {
        let password = prepared(password);
        self.run(move || {
            let salt = random::bytes::<SALT>()?;
            let hash = hasher()?.hash_password_with_salt(password.as_bytes(), &*salt);
            let hash = hash.map_err(|_| Error::new(Code::Internal, "a password cannot be hashed"))?;
            Ok(Zeroizing::new(hash.to_string()))
        })
        .await
    }

    /// Compares a password with a hash. Without one the same is computed, and the password is wrong.
    ///
    /// # Errors
    /// `MC-W007` where too many wait.
    pub async fn verify(&self, password: &str, hash: Option<Zeroizing<String>>) -> Result<Verdict> {
        // What nobody can have chosen is hashed as if it were short: the time must not tell.
        let password = prepared(if password.len() > LONGEST { "" } else { password });
        self.run(move || {
            let hasher = hasher()?;
            let Some(hash) = hash else {
                let (salt, mut out) = (random::bytes::<SALT>()?, Zeroizing::new([0; 32]));
                // Only the time that it takes is wanted.
                let _ = hasher.hash_password_into(password.as_bytes(), &*salt, &mut *out);
                return Ok(Verdict { is_right: false, is_outdated: false });
            };
            let damaged = || Error::new(Code::JournalBroken, "the hash of a password is damaged");
            let hash = PasswordHash::new(&hash).map_err(|_| damaged())?;
            let params = Params::try_from(&hash).map_err(|_| damaged())?;
            let is_right = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
            let now = hasher.params();
            let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
            Ok(Verdict { is_right, is_outdated: costs(&params) != costs(now) })
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let slot = {
            let _place = self.place()?;
            let slots = self.slots.clone();
            slots.acquire_owned().await.map_err(|_| Error::new(Code::Internal, "the queue is closed"))?
        };
        self.hashed.fetch_add(1, Ordering::Relaxed);
        let cut = |error: &dyn std::fmt::Display| Error::new(Code::Internal, "a hash was cut").because(error);
        let (tell, done) = tokio::sync::oneshot::channel();
        let hash = move || {
            // Whoever asked may be gone: the slot is free when the core is.
            let _slot = slot;
            // Everybody else goes first: a hash takes a core for longer than any other call may. A kernel that refuses
            // takes nothing but that.
            let _ = rustix::process::setpriority_process(None, YIELDING);
            let _ = tell.send(work());
        };
        // A thread of its own, since what gave way to others does not get its place back.
        let thread = std::thread::Builder::new().name("mcias-hash".into()).spawn(hash);
        thread.map_err(|error| cut(&error))?;
        done.await.map_err(|error| cut(&error))?
    }

    fn place(&self) -> Result<Place<'_>> {
        let place = Place(&self.waiting);
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let is_full = ahead >= self.most_waiting + self.slots.available_permits();
        if is_full { Err(busy()) } else { Ok(place) }
    }
}

/// One that waits.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn busy() -> Error {
    Error::new(Code::IdentityBusy, "too many passwords wait to be checked").retryable()
}

/// A password as it is hashed (RFC 8265, section 4.2): the same letters are the same octets on whatever device they were
/// typed, and each kind of space is a space.
fn prepared(password: &str) -> Zeroizing<String> {
    let spaces = |c: char| if c.is_whitespace() && !c.is_ascii() && !c.is_control() { ' ' } else { c };
    let spaced: Zeroizing<String> = Zeroizing::new(password.chars().map(spaces).collect());
    match ComposingNormalizerBorrowed::new_nfc().normalize(&spaced) {
        Cow::Borrowed(_) => spaced,
        Cow::Owned(composed) => Zeroizing::new(composed),
    }
}

/// Refuses passwords that are too short or too long to be chosen.
///
/// # Errors
/// `MC-W006` without a piece of it.
pub fn check(password: &str, shortest: usize) -> Result<()> {
    if password.len() > LONGEST {
        let message = format!("the password is longer than {LONGEST} bytes");
        return Err(Error::new(Code::PasswordRefused, message));
    }
    let length = prepared(password).chars().count();
    if length < shortest {
        let message = format!("the password has {length} characters, and {shortest} are the least");
        return Err(Error::new(Code::PasswordRefused, message));
    }
    let is_one_letter = password.chars().all(|c| password.starts_with(c));
    if is_one_letter || password.chars().any(char::is_control) {
        let message = "the password is one letter again and again, or has characters that nobody can type";
        return Err(Error::new(Code::PasswordRefused, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let queue = Queue::default();
        let hash = queue.hash("correct horse battery").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", &**hash);
        let right = queue.verify("correct horse battery", Some(hash.clone())).await.unwrap();
        assert_eq!(right, Verdict { is_right: true, is_outdated: false });
        assert!(!queue.verify("correct horse", Some(hash.clone())).await.unwrap().is_right);
        assert!(!queue.verify(&"x".repeat(LONGEST + 1), Some(hash)).await.unwrap().is_right);
        assert!(!queue.verify("correct horse battery", None).await.unwrap().is_right);
        assert_eq!(queue.hashed(), 5);
    }

    #[tokio::test]
    async fn a_password_is_the_same_however_a_device_spells_it() {
        let queue = Queue::default();
        let hash = queue.hash("pa\u{df}wort \u{c5}ngstr\u{f6}m").await.unwrap();
        for same in ["pa\u{df}wort A\u{30a}ngstro\u{308}m", "pa\u{df}wort\u{a0}\u{212b}ngstr\u{f6}m"] {
            assert!(queue.verify(same, Some(hash.clone())).await.unwrap().is_right, "{same:?}");
        }
        for other in [
            "passwort \u{c5}ngstr\u{f6}m",
            "pa\u{df}wort \u{e5}ngstr\u{f6}m",
            "pa\u{df}wort  \u{c5}ngstr\u{f6}m",
        ] {
            assert!(!queue.verify(other, Some(hash.clone())).await.unwrap().is_right, "{other:?}");
        }
        // What is one letter however it is written counts once.
        assert_eq!(check(&"o\u{308}".repeat(11), 12).unwrap_err().code, Code::PasswordRefused);
    }

    #[tokio::test]
    async fn a_hash_with_other_parameters_is_outdated() {
        let weak = Argon2::from(Params::new(8 * 1024, 1, 1, None).unwrap());
        let hash = weak.hash_password_with_salt(b"correct horse battery", b"0123456789abcdef").unwrap();
        let hash = Zeroizing::new(hash.to_string());
        let verdict = Queue::default().verify("correct horse battery", Some(hash)).await.unwrap();
        assert_eq!(verdict, Verdict { is_right: true, is_outdated: true });
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_told_to_come_again() {
        let queue = Queue::new(1, 1);
        let all = futures_util::future::join_all((0..4).map(|_| queue.verify("whatever", None))).await;
        let refused = all.iter().filter_map(|one| one.as_ref().err()).collect::<Vec<_>>();
        assert!(!refused.is_empty(), "nobody was sent away");
        assert!(refused.iter().all(|error| error.code == Code::IdentityBusy && error.retryable));
        assert!(queue.verify("whatever", None).await.is_ok(), "the queue did not empty");
    }

    #[test]
    fn a_password_has_a_least_and_a_greatest_length() {
        assert!(check("correct horse battery", 12).is_ok());
        for password in ["short", "aaaaaaaaaaaaaaaa", "tab\tand more of it", &"x y".repeat(LONGEST)] {
            let error = check(password, 12).unwrap_err();
            assert_eq!(error.code, Code::PasswordRefused);
            assert!(!error.to_string().contains(password));
        }
    }
}
