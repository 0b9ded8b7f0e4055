//! Owns how what the embedded service knows lies among the records of the state directory. Every change names what it
//! expects to find, so that of two at once the second looks again.

use effect::{Code, Error, Result};
use journal::{Expect, Journal, Look, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Accounts, by name.
pub(crate) const ACCOUNT: &str = "mcias-account";
/// Who can act as an admin: one record, so that no two changes at once take the last two away.
pub(crate) const ADMINS: &str = "mcias-admins";
/// Passwords and second factors, by name of the account.
pub(crate) const CREDENTIALS: &str = "mcias-credentials";
/// Whose passkey it is, by SHA-256 of the key's id: no two accounts have the same.
pub(crate) const PASSKEY: &str = "mcias-passkey";
/// Challenges that were used, by their SHA-256.
pub(crate) const CHALLENGE: &str = "mcias-challenge";
/// Tokens, by id of the account and their own.
pub(crate) const TOKEN: &str = "mcias-token";
/// Keys that sign tokens, by their id.
pub(crate) const KEY: &str = "mcias-key";
/// Clients of single sign-on, by id.
pub(crate) const CLIENT: &str = "mcias-sso-client";
/// Codes of single sign-on, by client and their SHA-256.
pub(crate) const CODE: &str = "mcias-sso-code";
/// People of other issuers, by provider and the SHA-256 of what it calls them.
pub(crate) const EXTERNAL: &str = "mcias-external";
/// Sets of rules, by name.
pub(crate) const RULES: &str = "mcias-rules";

/// How often a change is tried again that others come before.
pub(crate) const MOST_TRIES: usize = 16;

/// The records of one node.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) journal: Journal,
    pub(crate) node: String,
}

/// A record as it was found.
pub(crate) struct Row<T> {
    pub(crate) value: T,
    raw: String,
}

impl<T> Row<T> {
    /// What a change of this record expects.
    pub(crate) fn expected(&self) -> Expect {
        Expect::Value(self.raw.as_str().into())
    }
}

/// What a change of a record expects that was looked for.
pub(crate) fn expected<T>(row: Option<&Row<T>>) -> Expect {
    row.map_or(Expect::Absent, Row::expected)
}

impl Store {
    pub(crate) async fn read<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Result<Option<Row<T>>> {
        let record = self.journal.record(kind, &self.node, name).await?;
        record.map(|record| row(kind, record.value)).transpose()
    }

    pub(crate) async fn all<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>> {
        let records = self.journal.records(kind, Some(&self.node)).await?;
        records.iter().map(|record| decode(kind, &record.value)).collect()
    }

    pub(crate) async fn beneath<T: DeserializeOwned>(&self, kind: &str, prefix: &str) -> Result<Vec<T>> {
        let look = Look::Beneath { kind: kind.to_owned(), prefix: prefix.to_owned() };
        let found = self.journal.look(&self.node, vec![look]).await?;
        found.iter().flatten().map(|record| decode(kind, &record.value)).collect()
    }

    /// Two records as of the same moment.
    pub(crate) async fn both<A: DeserializeOwned, B: DeserializeOwned>(
        &self,
        one: (&str, &str),
        other: (&str, &str),
    ) -> Result<(Option<A>, Option<B>)> {
        let look = |(kind, name): (&str, &str)| Look::One { kind: kind.to_owned(), name: name.to_owned() };
        let found = self.journal.look(&self.node, vec![look(one), look(other)]).await?;
        let value = |at: usize| found.get(at).and_then(|records| records.first());
        Ok((
            value(0).map(|record| decode(one.0, &record.value)).transpose()?,
            value(1).map(|record| decode(other.0, &record.value)).transpose()?,
        ))
    }

    pub(crate) fn write(
        &self,
        kind: &str,
        name: &str,
        value: &impl Serialize,
        expect: Expect,
    ) -> Result<Write> {
        let value = serde_json::to_string(value)
            .map_err(|error| Error::new(Code::Internal, "a record cannot be encoded").because(error))?;
        Ok(Write { value: Some(value), ..self.removal(kind, name, expect) })
    }

    pub(crate) fn removal(&self, kind: &str, name: &str, expect: Expect) -> Write {
        Write { kind: kind.to_owned(), node: self.node.clone(), name: name.to_owned(), value: None, expect }
    }

    /// A change that changes nothing and expects a record as it was found: for others that rest on it.
    pub(crate) fn unchanged<T>(&self, kind: &str, name: &str, row: &Row<T>) -> Write {
        Write { value: Some(row.raw.clone()), ..self.removal(kind, name, row.expected()) }
    }

    /// Makes all of the changes or none. False where something was not as expected. Durable on return.
    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Result<bool> {
        match self.journal.write(writes).await {
            Ok(()) => Ok(true),
            Err(journal::Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn row<T: DeserializeOwned>(kind: &str, raw: String) -> Result<Row<T>> {
    Ok(Row { value: decode(kind, &raw)?, raw })
}

fn decode<T: DeserializeOwned>(kind: &str, value: &str) -> Result<T> {
    // What serde says could repeat a piece of the record.
    serde_json::from_str(value)
        .map_err(|_| Error::new(Code::JournalBroken, format!("a record of kind `{kind}` cannot be decoded")))
}

/// The error of who came second again and again.
pub(crate) fn contended(what: &str) -> Error {
    Error::new(Code::IdentityBusy, format!("{what} is being changed by others all the time")).retryable()
}
