//! Owns how records are read and written. Whoever changes what belongs to an account holds its lock, so that nothing
//! is read before and written after somebody else's change.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use journal::{Expect, Journal, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, MutexGuard};

use super::problem::{Kind, Outcome, Problem};

/// Accounts share locks, so that there are not more of them than this.
pub(super) const LOCKS: usize = 64;

pub(super) struct Store {
    journal: Journal,
    node: String,
    locks: Vec<Mutex<()>>,
}

impl Store {
    pub(super) fn new(journal: Journal, node: &str) -> Self {
        Self { journal, node: node.to_owned(), locks: (0..LOCKS).map(|_| Mutex::default()).collect() }
    }

    pub(super) fn now(&self) -> journal::Timestamp {
        self.journal.clock().now()
    }

    /// Waits until nobody else changes what belongs to the account.
    pub(super) async fn lock(&self, account: &str) -> MutexGuard<'_, ()> {
        self.locks[self.stripe(account)].lock().await
    }

    /// Which of the locks an account shares with others: a number below [`LOCKS`].
    pub(super) fn stripe(&self, account: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        account.hash(&mut hasher);
        // The remainder is below the number of locks.
        usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or_default()
    }

    pub(super) async fn read<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Outcome<Option<T>> {
        let record = self.journal.record(kind, &self.node, name).await?;
        record.map(|record| parsed(kind, name, &record.value)).transpose()
    }

    /// All records of a kind with their names.
    pub(super) async fn read_all<T: DeserializeOwned>(&self, kind: &str) -> Outcome<Vec<(String, T)>> {
        let records = self.journal.records(kind, Some(&self.node)).await?;
        let one =
            |record: journal::Record| Ok((record.name.clone(), parsed(kind, &record.name, &record.value)?));
        records.into_iter().map(one).collect()
    }

    pub(super) async fn count(&self, kind: &str) -> Outcome<usize> {
        Ok(self.journal.records(kind, Some(&self.node)).await?.len())
    }

    pub(super) fn put<T: Serialize>(&self, kind: &str, name: &str, value: &T) -> Outcome<Write> {
        self.put_if(Expect::Any, kind, name, value)
    }

    pub(super) fn put_if<T: Serialize>(
        &self,
        expect: Expect,
        kind: &str,
        name: &str,
        value: &T,
    ) -> Outcome<Write> {
        let value = serde_json::to_string(value).map_err(|error| {
            tracing::error!(%error, kind, "an ACME record cannot be written");
            Problem::new(Kind::ServerInternal, "the authority cannot record this")
        })?;
        Ok(Write {
            kind: kind.into(),
            node: self.node.clone(),
            name: name.into(),
            value: Some(value),
            expect,
        })
    }

    pub(super) fn remove(&self, kind: &str, name: &str) -> Write {
        let expect = Expect::Any;
        Write { kind: kind.into(), node: self.node.clone(), name: name.into(), value: None, expect }
    }

    /// Makes all the changes or none. Durable on return.
    pub(super) async fn write(&self, writes: Vec<Write>) -> journal::Result<()> {
        self.journal.write(writes).await
    }
}

fn parsed<T: DeserializeOwned>(kind: &str, name: &str, value: &str) -> Outcome<T> {
    serde_json::from_str(value).map_err(|error| {
        tracing::error!(%error, kind, name, "an ACME record cannot be read");
        Problem::new(Kind::ServerInternal, "a record of the authority cannot be read")
    })
}
