//! Owns what can be typed after `mcrun mcias`.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use mcias::{FirstFactor, Name};

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

fn first_factor(text: &str) -> Result<FirstFactor, String> {
    let known = FirstFactor::ALL.into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| {
        format!("the first factors are {}", FirstFactor::ALL.map(FirstFactor::as_str).join(", "))
    })
}
