//! Owns the memory of calls that were made: each is recorded together with what it started, so that it counts once, over
//! restarts as well.

use aws_lc_rs::digest;
use effect::{Result, Timestamp};
use journal::{Expect, Journal, Write};

use crate::triggers::identity::hex;
use crate::triggers::occurrence::write;

/// The kind of the records.
pub(in crate::triggers) const KIND: &str = "delivery";

/// What is told apart by its hash: a signature need not be kept.
pub(super) fn mark(what: &str, bytes: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(what.as_bytes());
    context.update(b"\0");
    context.update(bytes);
    hex(&context.finish().as_ref()[..16])
}

/// The record that a trigger has been told of something, kept until a time.
pub(super) fn seen(node: &str, trigger: &str, mark: &str, until: Timestamp) -> Write {
    write(KIND, node, &format!("{trigger}/{mark}"), Some(until.0.to_string()), Expect::Absent)
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
