//! Owns what can be typed after `mcrun mcias`.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use mcias::{Email, FirstFactor, Kind, Name, Role, Status};

use super::How;
use super::certs::Passphrase;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Mcias {
    /// Make the first admin. Once: it is refused where there is one.
    Init(NewAdmin),
    /// Say whether the login policy lets an account in, which rule decides, and why each one before it does not.
    /// Exits with 1 when it does not.
    Explain(Question),
    /// Make an account an admin who signs in with a new password alone, whatever was lost. Whoever has the machine may.
    RecoverAdmin(NewAdmin),
    /// Make sure that there is an account, on these terms; what is left out stays as it is.
    Set(Box<AccountWanted>),
    /// Give a person a new password. Whoever is signed in under that name is signed out.
    SetPassword {
        /// The account.
        name: Name,
        #[command(flatten)]
        password: Passphrase,
    },
    /// Make sure that an account cannot be used: nobody signs in with it, and none of its tokens is valid.
    Disable {
        /// The account.
        name: Name,
        #[command(flatten)]
        how: How,
    },
    /// List the tokens of an account that have not expired: its sessions, and what it was given.
    Tokens {
        /// The account.
        name: Name,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token of an account, or all of them.
    Revoke {
        /// The account.
        name: Name,
        /// The token's id, as `mcrun mcias tokens` lists it; every token unless given.
        #[arg(allow_hyphen_values = true)]
        id: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Sign with a new key from now on. What the old one signed stays valid until it expires.
    RotateKey,
    /// List the passkeys of an account, with when each was used last.
    Passkeys {
        /// The account.
        name: Name,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a passkey that was lost.
    RemovePasskey {
        /// The account.
        name: Name,
        /// The passkey's id, as `mcrun mcias passkeys` lists it.
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
    /// Take every second factor of an account away: for somebody who lost them all.
    ResetFactors {
        /// The account.
        name: Name,
    },
    /// List the accounts.
    Accounts {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// An admin with a password.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewAdmin {
    /// What the account is called.
    #[arg(default_value = "admin")]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) password: Passphrase,
}

/// An account as it is wanted.
#[derive(Debug, Clone, Args)]
pub(crate) struct AccountWanted {
    /// What it is called.
    pub(crate) name: Name,
    /// Who it is for, `human` or `system`; it never changes. A person unless given.
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    pub(crate) kind: Option<Kind>,
    /// The address of its owner.
    #[arg(long)]
    pub(crate) email: Option<Email>,
    /// Whether it can be used: `active` or `disabled`.
    #[arg(long, value_parser = status)]
    pub(crate) status: Option<Status>,
    /// What a person is trusted with, `admin`, `user` or `guest`: exactly these roles.
    #[arg(long = "role", value_name = "ROLE", value_parser = role)]
    pub(crate) roles: Vec<Role>,
    /// The groups that it belongs to: exactly these.
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<Name>,
    /// What else is to be known of it: exactly these tags.
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<Name>,
    #[command(flatten)]
    pub(crate) how: How,
}

/// A sign-in that is tried out.
#[derive(Debug, Clone, Args)]
pub(crate) struct Question {
    /// The account.
    pub(crate) name: Name,
    /// The service that it wants in to.
    #[arg(long)]
    pub(crate) service: Name,
    /// From which address; one that is not known unless given.
    #[arg(long)]
    pub(crate) address: Option<IpAddr>,
    /// At what time, such as 2026-02-03T04:05:06Z; now unless given.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// What is shown first: a password unless given.
    #[arg(long, value_name = "FACTOR", value_parser = first_factor)]
    pub(crate) first_factor: Option<FirstFactor>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The one of `all` that `text` names, else what they are.
fn one_of<T: Copy>(text: &str, all: &[T], word: impl Fn(T) -> &'static str, what: &str) -> Result<T, String> {
    let known = all.iter().copied().find(|one| word(*one) == text);
    known.ok_or_else(|| {
        format!("the {what} are {}", all.iter().map(|one| word(*one)).collect::<Vec<_>>().join(", "))
    })
}

fn first_factor(text: &str) -> Result<FirstFactor, String> {
    one_of(text, &FirstFactor::ALL, FirstFactor::as_str, "first factors")
}

fn kind(text: &str) -> Result<Kind, String> {
    one_of(text, &[Kind::Human, Kind::System], Kind::as_str, "types")
}

fn status(text: &str) -> Result<Status, String> {
    one_of(text, &[Status::Active, Status::Disabled], Status::as_str, "states")
}

fn role(text: &str) -> Result<Role, String> {
    one_of(text, &Role::ALL, Role::as_str, "roles")
}
