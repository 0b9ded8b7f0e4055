//! Owns what an account is. Leaves its passwords and second factors to [`crate::credentials`], which nobody reads by
//! reading an account.

use std::collections::BTreeSet;

use effect::{Code, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{Email, Name};

/// Groups or tags of one account, at most.
pub(crate) const MOST_WORDS: usize = 64;

/// Who an account is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A person, who signs in.
    #[default]
    Human,
    /// A service, which has tokens that last and no roles.
    System,
}

impl Kind {
    /// The word for it, as in a script.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::System => "system",
        }
    }
}

/// Whether an account can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It can.
    #[default]
    Active,
    /// It cannot, and none of its tokens is valid.
    Disabled,
}

impl Status {
    /// The word for it, as in a script.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// What a person is trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Accounts, policy and zones.
    Admin,
    /// Whatever needs no admin.
    User,
    /// Reading.
    Guest,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Admin, Self::User, Self::Guest];

    /// The word for it, as in a script.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
            Self::Guest => "guest",
        }
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// What tells it from every other account that there ever was, also under the same name.
    pub id: String,
    /// What it is called.
    pub name: Name,
    /// Who it is for.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The address of its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// Whether it can be used.
    pub status: Status,
    /// What it is trusted with; nothing for a system account.
    pub roles: BTreeSet<Role>,
    /// The groups that it belongs to.
    pub groups: BTreeSet<Name>,
    /// What else is to be known of it.
    pub tags: BTreeSet<Name>,
    /// When it was made, in unix milliseconds.
    pub created: i64,
    /// When it was changed last, in unix milliseconds.
    pub changed: i64,
}

impl Account {
    /// A new account without any role.
    ///
    /// # Errors
    /// Only where the machine has no randomness.
    pub fn new(name: Name, kind: Kind, now: i64) -> Result<Self> {
        Ok(Self {
            id: crate::random::token::<16>()?,
            name,
            kind,
            email: None,
            status: Status::Active,
            roles: BTreeSet::new(),
            groups: BTreeSet::new(),
            tags: BTreeSet::new(),
            created: now,
            changed: now,
        })
    }

    /// Whether it is an admin that can act as one.
    #[must_use]
    pub fn is_active_admin(&self) -> bool {
        self.is_active() && self.roles.contains(&Role::Admin)
    }

    /// Whether it can be used.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == Status::Active
    }

    /// Whether it differs from `other` in what can be described; times do not count.
    #[must_use]
    pub fn differs(&self, other: &Self) -> bool {
        Self { created: 0, changed: 0, ..self.clone() } != Self { created: 0, changed: 0, ..other.clone() }
    }

    /// Refuses what no account may be.
    ///
    /// # Errors
    /// `MC-W003` for a system account with roles, `MC-A001` for too many groups or tags.
    pub fn check(&self) -> Result<()> {
        if self.kind == Kind::System && !self.roles.is_empty() {
            return Err(system_roles(&self.name));
        }
        for (what, words) in [("groups", &self.groups), ("tags", &self.tags)] {
            if words.len() > MOST_WORDS {
                let message = format!("`{what}`: an account has at most {MOST_WORDS}, not {}", words.len());
                return Err(Error::new(Code::Argument, message));
            }
        }
        Ok(())
    }
}

/// The refusal of roles for a system account.
pub(crate) fn system_roles(name: &Name) -> Error {
    Error::new(Code::AccountKind, format!("`{name}` is a system account, and those have no roles"))
        .hint("each service's own policy says what a system account may do; roles are for people")
}

/// The refusal to make something else of an account.
pub(crate) fn other_kind(account: &Account, wanted: Kind) -> Error {
    let message =
        format!("`{}` is a {} account, not a {} one", account.name, account.kind.as_str(), wanted.as_str());
    Error::new(Code::AccountKind, message)
        .hint("an account keeps its type: make another one under another name")
}
