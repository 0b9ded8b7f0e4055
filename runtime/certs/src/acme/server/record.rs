//! Owns what the server records: accounts, and orders with the proofs of their names.

use effect::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::Problem;
use super::prover::Kind;
use crate::names::{Name, Names};

/// The kind of an account's record, under its id.
pub(super) const ACCOUNT: &str = "acme-account";
/// The kind of the record that says whose key it is, under its thumbprint.
pub(super) const KEY: &str = "acme-key";
/// The kind of an order's record, under its id.
pub(super) const ORDER: &str = "acme-order";
/// The kind of the record that says that a certificate has a successor, under its serial number.
pub(super) const REPLACED: &str = "acme-replaced";
/// The kind of the record of a key for the external account binding, under its id.
pub(super) const EAB: &str = "acme-eab";

/// An account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Account {
    /// Its key as JSON (RFC 7517).
    pub(super) key: Value,
    pub(super) contact: Vec<String>,
    pub(super) agreed: bool,
    /// The service that its external account binding names.
    pub(super) service: Option<String>,
    /// The key that it was bound with.
    pub(super) eab: Option<String>,
    pub(super) deactivated: bool,
    pub(super) made: Timestamp,
    /// Its orders that have not expired, the oldest first.
    pub(super) orders: Vec<Listed>,
}

/// An order in the list of its account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) expires: Timestamp,
}

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) account: String,
}

/// That a certificate has a successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Replaced {
    pub(super) order: String,
    /// When the certificate expires, and nobody asks any more.
    pub(super) until: Timestamp,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) account: String,
    pub(super) names: Names,
    pub(super) expires: Timestamp,
    /// As the client wrote them.
    pub(super) not_before: Option<String>,
    pub(super) not_after: Option<String>,
    /// The certificate in whose place it comes, as RFC 9773, section 4.1 names it.
    pub(super) replaces: Option<String>,
    /// One for each name, in the same order.
    pub(super) authorizations: Vec<Authorization>,
    pub(super) stage: Stage,
}

/// How far an order is, beyond its authorizations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Names are being proven.
    Open,
    /// The key of the request is fixed, the certificate is not there yet.
    Signing { public: Vec<u8> },
    /// The certificate is there.
    Issued { public: Vec<u8>, chain: String },
    /// There will be none.
    Failed(Problem),
}

/// What proves one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Authorization {
    pub(super) name: Name,
    pub(super) challenges: Vec<Challenge>,
    pub(super) deactivated: bool,
}

/// One way to prove it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Challenge {
    pub(super) kind: Kind,
    pub(super) token: String,
    pub(super) state: Proven,
}

/// How far a proof is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Proven {
    /// The client has not said that it is ready.
    Pending,
    /// It is being looked at.
    Processing,
    /// It was right.
    Valid(Timestamp),
    /// It was not.
    Invalid(Problem),
}

/// The status of an authorization (RFC 8555, section 7.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Pending,
    Valid,
    Invalid,
    Deactivated,
    Expired,
}

impl Standing {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Deactivated => "deactivated",
            Self::Expired => "expired",
        }
    }
}

impl Authorization {
    pub(super) fn standing(&self, expires: Timestamp, now: Timestamp) -> Standing {
        let any = |is: fn(&Proven) -> bool| self.challenges.iter().any(|challenge| is(&challenge.state));
        if self.deactivated {
            Standing::Deactivated
        } else if any(|state| matches!(state, Proven::Invalid(_))) {
            Standing::Invalid
        } else if any(|state| matches!(state, Proven::Valid(_))) {
            if now < expires { Standing::Valid } else { Standing::Expired }
        } else if now < expires {
            Standing::Pending
        } else {
            Standing::Invalid
        }
    }
}

/// The status of an order (RFC 8555, section 7.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
        }
    }
}

impl Order {
    pub(super) fn status(&self, now: Timestamp) -> Status {
        match &self.stage {
            Stage::Signing { .. } => return Status::Processing,
            Stage::Issued { .. } => return Status::Valid,
            Stage::Failed(_) => return Status::Invalid,
            Stage::Open => {}
        }
        let standings = self.authorizations.iter().map(|one| one.standing(self.expires, now));
        let mut status = Status::Ready;
        for standing in standings {
            match standing {
                Standing::Valid => {}
                Standing::Pending => status = Status::Pending,
                Standing::Invalid | Standing::Deactivated | Standing::Expired => return Status::Invalid,
            }
        }
        status
    }
}
