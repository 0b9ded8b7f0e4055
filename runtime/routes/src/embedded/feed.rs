//! Owns how the edge keeps up with the records: what was written since the last look, in its own words.

use std::path::Path;

use effect::{Error, Result, Timestamp};
use journal::{Followed, Follower, Topic};

use super::proofs::{Offered, Proof};
use super::rows;
use crate::route::Key;

const CERTIFICATE: &str = "certificate";
const TOPICS: &[Topic] = &[Topic::Kind(CERTIFICATE), Topic::Kind(rows::PROOF), Topic::Kind(rows::ROUTE)];

/// Follows the routes of a node in the database of a state directory, with proofs that are offered and certificates.
#[derive(Debug)]
pub struct Feed {
    follower: Follower,
}

/// What a look found.
#[derive(Debug)]
pub enum Look {
    /// Nothing was written since.
    Nothing,
    /// Everything that is recorded. What is known and not among it was taken away if [`Feed::remembers`] it.
    All(Vec<Changed>),
    /// What was written since.
    Some(Vec<Changed>),
}

/// A row that was written, with its value as it is recorded; none where it is gone.
#[derive(Debug)]
pub enum Changed {
    /// A certificate, by its id.
    Certificate(String, Option<String>),
    /// A proof, by its id, and until when it counts.
    Proof(String, Option<(Proof, Timestamp)>),
    /// A route.
    Route(Key, Option<String>),
}

impl Feed {
    /// Follows from now on; the first look finds everything.
    ///
    /// # Errors
    /// Where the database cannot be opened.
    pub fn open(state: &Path, node: &str) -> Result<Self> {
        Ok(Self { follower: Follower::open(state, node, TOPICS)? })
    }

    /// What was written since the last look. Rows that cannot be read are told in the log and left out.
    ///
    /// # Errors
    /// Where the database cannot be read; the next look makes up for it.
    pub fn look(&mut self) -> Result<Look> {
        Ok(match self.follower.look()? {
            Followed::Nothing => Look::Nothing,
            Followed::All(records) => Look::All(
                records.into_iter().filter_map(|row| changed(&row.kind, row.name, Some(row.value))).collect(),
            ),
            Followed::Some(written) => Look::Some(
                written.into_iter().filter_map(|row| changed(&row.kind, row.name, row.value)).collect(),
            ),
        })
    }

    /// Whether the route was ever recorded here.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn remembers(&self, key: &Key) -> Result<bool> {
        Ok(self.follower.remembers(rows::ROUTE, &key.to_string())?)
    }

    /// Whether the certificate was ever recorded here, as far as that is known.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn remembers_certificate(&self, id: &str) -> Result<bool> {
        Ok(self.follower.remembers(CERTIFICATE, id)?)
    }
}

fn changed(kind: &str, name: String, value: Option<String>) -> Option<Changed> {
    let unreadable = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, kind, name, "a recorded row cannot be read");
    };
    match kind {
        CERTIFICATE => Some(Changed::Certificate(name, value)),
        rows::ROUTE => {
            let key = name.parse().inspect_err(|error: &Error| unreadable(error)).ok()?;
            Some(Changed::Route(key, value))
        }
        rows::PROOF => {
            let read = value.as_deref().map(serde_json::from_str::<Offered>).transpose();
            let offered = read.inspect_err(|error| unreadable(error)).ok()?;
            Some(Changed::Proof(name, offered.map(|offered| (offered.proof, offered.until))))
        }
        _ => None,
    }
}
