//! Owns the record of how an answer came about: what `mcrun dns trace` shows.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::base::iana::Rcode;

use super::upstream::{Transport, Upstream};

/// More steps than an honest question takes are not recorded.
const MOST_STEPS: usize = 64;

/// Why an upstream gave no answer that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came in time.
    TimedOut,
    /// Another one was quicker.
    Overtaken,
    /// It cannot be reached: what the system said.
    Unreachable(String),
    /// Its certificate is not trusted: what TLS said.
    Untrusted(String),
    /// Its answer breaks the protocol.
    Malformed(&'static str),
    /// It has no answer itself.
    Refused {
        /// The code, with its upper bits from EDNS.
        rcode: u16,
        /// The extended error, RFC 8914.
        ede: Option<u16>,
    },
    /// Too many questions wait for it.
    Busy,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => formatter.write_str("time-out"),
            Self::Overtaken => formatter.write_str("no answer yet, another one was quicker"),
            Self::Unreachable(why) => write!(formatter, "not reachable: {why}"),
            Self::Untrusted(why) => write!(formatter, "not trusted: {why}"),
            Self::Malformed(why) => write!(formatter, "malformed answer: {why}"),
            Self::Refused { rcode, ede } => {
                match u8::try_from(*rcode) {
                    Ok(low) => write!(formatter, "answered {}", Rcode::masked_from_int(low))?,
                    Err(_) => write!(formatter, "answered code {rcode}")?,
                }
                ede.map_or(Ok(()), |code| write!(formatter, " (extended error {code})"))
            }
            Self::Busy => formatter.write_str("too many questions wait for it"),
        }
    }
}

/// One step on the way to an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The cache had it.
    Cached,
    /// It is answered here, without asking anybody.
    Local,
    /// The rule that chose whom to ask: the conditional zone.
    Zone(String),
    /// Somebody asked the same just now; the answer is shared.
    Joined,
    /// Asked an upstream.
    Asked {
        /// Which.
        upstream: Upstream,
        /// How: a UDP upstream may be asked over TCP.
        transport: Transport,
        /// What came of it.
        outcome: Result<Rcode, Failure>,
        /// How long it took.
        took: Duration,
    },
    /// The alias that an upstream left open was asked for in turn.
    Followed(String),
    /// An answer past its end was given, since there is none else.
    Stale,
    /// Too many different questions are under way.
    Crowded,
    /// Nobody is to be asked for this.
    Nobody,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cached => formatter.write_str("cache"),
            Self::Local => formatter.write_str("special name, answered here"),
            Self::Zone(zone) => write!(formatter, "forwarding of {zone}"),
            Self::Joined => formatter.write_str("the same question was under way"),
            Self::Asked { upstream, transport, outcome, took } => {
                write!(formatter, "{upstream} over {} ", transport.word())?;
                match outcome {
                    Ok(rcode) => write!(formatter, "answered {rcode}")?,
                    Err(failure) => write!(formatter, "{failure}")?,
                }
                write!(formatter, " after {} ms", took.as_millis())
            }
            Self::Followed(name) => write!(formatter, "alias followed to {name}"),
            Self::Stale => formatter.write_str("stale answer from the cache"),
            Self::Crowded => formatter.write_str("too many questions are under way"),
            Self::Nobody => formatter.write_str("nobody is to be asked"),
        }
    }
}

/// Steps as they happen, from attempts that run side by side.
#[derive(Debug, Default)]
pub(super) struct Steps(Mutex<Vec<Step>>);

impl Steps {
    pub(super) fn push(&self, step: Step) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() < MOST_STEPS {
            steps.push(step);
        }
    }

    pub(super) fn take(&self) -> Vec<Step> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
