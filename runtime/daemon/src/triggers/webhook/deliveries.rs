//! Owns the memory of calls that were made: each is recorded together with what it started, so that it counts once, over
//! restarts as well. Calls that are ignored are recorded too: what says so of them is not signed.

use aws_lc_rs::digest;
use effect::{Result, Timestamp};
use journal::{Expect, Journal, Write};

use crate::triggers::identity::hex;
use crate::triggers::occurrence::write;

/// The kind of the records.
pub(in crate::triggers) const KIND: &str = "delivery";

/// What tells a call from others of its trigger. It is told apart by its hash: a signature need not be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::triggers) struct Mark {
    pub(super) hash: String,
    /// Whether the caller has signed it, rather than given it a name.
    pub(super) is_signed: bool,
    /// How long no other call may have it.
    until: Timestamp,
}

impl Mark {
    /// The signature of a call.
    pub(super) fn signature(tag: &[u8], until: Timestamp) -> Self {
        Self { hash: hash("signature", tag), is_signed: true, until }
    }

    /// The caller's name for a call.
    pub(super) fn delivery(name: &str, until: Timestamp) -> Self {
        Self { hash: hash("delivery", name.as_bytes()), is_signed: false, until }
    }
}

fn hash(what: &str, bytes: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(what.as_bytes());
    context.update(b"\0");
    context.update(bytes);
    hex(&context.finish().as_ref()[..16])
}

/// What is remembered of a call.
#[derive(Debug)]
pub(in crate::triggers) enum Recalled {
    /// Nothing; and what remembers it from now on.
    First(Vec<Write>),
    /// It was made before.
    Again,
    /// Another one with the same signature was made before, which is remembered so long.
    Twin { signature: String, until: Timestamp },
}

/// Looks whether a call with one of these marks was made before.
pub(in crate::triggers) async fn recall(
    journal: &Journal,
    node: &str,
    trigger: &str,
    marks: &[Mark],
    now: Timestamp,
) -> Result<Recalled> {
    let mut writes = Vec::new();
    let mut is_another = false;
    for mark in marks {
        let name = format!("{trigger}/{}", mark.hash);
        let found = journal.record(KIND, node, &name).await?;
        let until = found.as_ref().map(|found| Timestamp(found.value.parse().unwrap_or(i64::MAX)));
        match until {
            Some(until) if until >= now && is_another => {
                return Ok(Recalled::Twin { signature: mark.hash.clone(), until });
            }
            Some(until) if until >= now => return Ok(Recalled::Again),
            _ => {}
        }
        // What is over is not taken out at once.
        let expect = found.map_or(Expect::Absent, |found| Expect::Value(found.value.into()));
        writes.push(write(KIND, node, &name, Some(mark.until.0.to_string()), expect));
        is_another |= !mark.is_signed;
    }
    Ok(Recalled::First(writes))
}

/// The names of the records that need not be kept any more.
pub(in crate::triggers) async fn expired(
    journal: &Journal,
    node: &str,
    now: Timestamp,
) -> Result<Vec<String>> {
    let all = journal.records(KIND, Some(node)).await?;
    let is_over = |value: &str| value.parse::<i64>().is_ok_and(|until| until < now.0);
    Ok(all.into_iter().filter(|record| is_over(&record.value)).map(|record| record.name).collect())
}
