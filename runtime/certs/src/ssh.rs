//! Owns the authority for SSH: its two keys, what it signs for users and hosts, and what it revokes. Certificates are in
//! OpenSSH's form (PROTOCOL.certkeys), lists of what is revoked in that of PROTOCOL.krl.
//!
//! Everything is a record: `ssh-authority` (a key of the authority, sealed), `ssh-certificate` by serial number,
//! `ssh-order` by the token of the order, `ssh-revocation`.

pub mod authority;
mod certificate;
pub mod issue;
pub mod key;
pub mod krl;
pub mod order;
pub mod revocation;

use std::collections::BTreeMap;
use std::time::Duration;

use effect::units::Span;
use effect::{Context, Error, Result, Sealer, Timestamp};
use journal::{Journal, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::Policy;
use crate::profile::{Profile, Profiles};

pub use authority::Authority;
pub use issue::Signed;
pub use order::{Order, Wish};
pub use revocation::Revocation;

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Somebody who signs in.
    User,
    /// A machine that is signed in to.
    Host,
}

impl Kind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::User, Self::Host];

    /// The word for it, as in a script.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Host => "host",
        }
    }
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// `[certs.ssh]` of mcrun.toml: how long certificates live unless asked otherwise, and how long they may.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of users, unless said: a working day.
    pub user_lifetime: Span,
    /// Of users, at most.
    pub user_longest: Span,
    /// Of hosts, unless said.
    pub host_lifetime: Span,
    /// Of hosts, at most.
    pub host_longest: Span,
}

impl Default for Settings {
    fn default() -> Self {
        let span = |seconds| Span(Duration::from_secs(seconds));
        Self {
            user_lifetime: span(16 * HOUR),
            user_longest: span(30 * DAY),
            host_lifetime: span(90 * DAY),
            host_longest: span(366 * DAY),
        }
    }
}

impl Settings {
    pub(crate) fn lifetime(&self, kind: Kind) -> Duration {
        match kind {
            Kind::User => self.user_lifetime.0.min(self.user_longest.0),
            Kind::Host => self.host_lifetime.0.min(self.host_longest.0),
        }
    }

    /// How long certificates of a kind may live.
    #[must_use]
    pub fn longest(&self, kind: Kind) -> Duration {
        match kind {
            Kind::User => self.user_longest.0,
            Kind::Host => self.host_longest.0,
        }
    }
}

/// What the effects need beyond the run's own context.
#[derive(Debug)]
pub struct World {
    pub(crate) policy: Policy,
    pub(crate) settings: Settings,
    pub(crate) internal: Profile,
    pub(crate) public: Profile,
}

impl World {
    /// A world in which hosts are named by `policy`.
    ///
    /// # Errors
    /// Only where the built-in profiles are gone.
    pub fn new(policy: Policy, settings: Settings) -> Result<Self> {
        let profiles = Profiles::new(&BTreeMap::new())?;
        let (internal, public) = (profiles.get("server")?.clone(), profiles.get("public")?.clone());
        Ok(Self { policy, settings, internal, public })
    }
}

/// Where the authority keeps what it knows, and what time it is there.
#[derive(Clone, Copy)]
pub struct Store<'a> {
    /// The records.
    pub journal: &'a Journal,
    /// Seals the authority's keys.
    pub sealer: &'a Sealer,
    /// The node whose authority it is.
    pub node: &'a str,
    /// The present moment.
    pub now: Timestamp,
    /// The run that asks, if one does.
    pub run: Option<&'a RunId>,
    /// Whether keys may be made where there are none; a plan makes nothing.
    pub may_make: bool,
}

impl<'a> Store<'a> {
    /// The store of a run.
    #[must_use]
    pub fn of(context: &'a Context) -> Self {
        let (journal, sealer) = (&context.journal, &*context.sealer);
        Self {
            journal,
            sealer,
            node: &context.node,
            now: context.now(),
            run: Some(&context.run),
            may_make: !context.planning(),
        }
    }

    fn write(
        &self,
        kind: &str,
        name: &str,
        value: &impl Serialize,
        expect: journal::Expect,
    ) -> Result<journal::Write> {
        let value = serde_json::to_string(value).map_err(|error| {
            Error::new(effect::Code::Internal, "a record cannot be encoded").because(error)
        })?;
        Ok(journal::Write {
            kind: kind.to_owned(),
            node: self.node.to_owned(),
            name: name.to_owned(),
            value: Some(value),
            expect,
        })
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, kind: &str, name: &str) -> Result<Option<T>> {
        let record = self.journal.record(kind, self.node, name).await?;
        record.map(|record| decode(kind, &record.value)).transpose()
    }

    async fn read_all<T: serde::de::DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>> {
        let records = self.journal.records(kind, Some(self.node)).await?;
        records.iter().map(|record| decode(kind, &record.value)).collect()
    }
}

fn decode<T: serde::de::DeserializeOwned>(kind: &str, value: &str) -> Result<T> {
    serde_json::from_str(value).map_err(|error| {
        Error::new(effect::Code::JournalBroken, format!("a record of kind `{kind}` cannot be decoded"))
            .because(error)
    })
}

/// What cannot go wrong with data that was checked.
fn unencodable(error: impl std::fmt::Display) -> Error {
    Error::new(effect::Code::Internal, "what was checked cannot be encoded for SSH").because(error)
}
