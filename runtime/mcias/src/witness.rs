//! Owns what is told of sign-ins, tokens and accounts to whoever keeps the audit. Never a password, a code or a token.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use effect::Result;
use journal::RunId;

use crate::account::Role;
use crate::credentials::{Factor, FirstFactor};
use crate::name::Name;
use crate::passkey::Refusal;

/// Why somebody was not let in. It is for the audit alone: whoever asked learns nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is no such account.
    UnknownName,
    /// It is not a person's.
    NotHuman,
    /// The password is wrong.
    WrongPassword,
    /// The passkey is refused, whether it was the first factor or the second.
    WrongPasskey(Refusal),
    /// The word of another issuer is about an account that is not there any more.
    WrongExternal,
    /// The account is disabled.
    Disabled,
    /// The login policy does not let it in.
    Policy,
    /// The login policy asks for a second factor, and the account has none.
    NoSecondFactor,
    /// The second factor is wrong or was used.
    WrongSecondFactor,
    /// It was tried too often.
    TooOften,
    /// The service has no name that there could be.
    UnknownService,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody signed in.
    SignedIn {
        /// Who.
        account: Name,
        /// To what.
        service: Name,
        /// From where.
        address: Option<IpAddr>,
        /// The token that was given.
        token: String,
        /// With which first factor.
        first: FirstFactor,
        /// With which second factor.
        factor: Option<Factor>,
    },
    /// Somebody was not let in.
    Refused {
        /// As what: as it was typed, made fit to be shown.
        name: String,
        /// To what.
        service: String,
        /// From where.
        address: Option<IpAddr>,
        /// Why.
        reason: Reason,
        /// The rule that decided, where one did.
        rule: Option<String>,
    },
    /// A second factor was asked for.
    Challenged {
        /// Of whom.
        account: Name,
        /// From where.
        address: Option<IpAddr>,
    },
    /// A token was made without a sign-in.
    TokenIssued {
        /// For whom.
        account: Name,
        /// For what.
        service: Name,
        /// Which.
        token: String,
    },
    /// A token was revoked.
    TokenRevoked {
        /// Whose.
        account: Name,
        /// Which.
        token: String,
    },
    /// An account was made, changed or taken away.
    AccountChanged {
        /// Which.
        account: Name,
        /// What became of it: `created`, `changed`, `disabled`, `enabled`, `removed`.
        what: &'static str,
    },
    /// A role was given.
    RoleGranted {
        /// To whom.
        account: Name,
        /// Which.
        role: Role,
    },
    /// A role was taken.
    RoleRevoked {
        /// From whom.
        account: Name,
        /// Which.
        role: Role,
    },
    /// A password was set.
    PasswordSet {
        /// Of whom.
        account: Name,
    },
    /// Second factors were enrolled, renewed or taken away.
    SecondFactor {
        /// Of whom.
        account: Name,
        /// What became of them: `enrolled`, `renewed`, `reset`.
        what: &'static str,
    },
    /// A client of single sign-on was made, changed or taken away.
    ClientChanged {
        /// Which.
        client: Name,
        /// What became of it: `created`, `changed`, `removed`.
        what: &'static str,
    },
    /// A client of single sign-on was told who somebody is.
    SsoGranted {
        /// Who.
        account: Name,
        /// Which client.
        client: Name,
        /// To what.
        service: Name,
        /// From where.
        address: Option<IpAddr>,
        /// The token that it was given.
        token: String,
    },
    /// A code of single sign-on came a second time: what it gave is revoked.
    SsoReplayed {
        /// Whose code.
        account: Name,
        /// Which client.
        client: Name,
        /// From where.
        address: Option<IpAddr>,
    },
    /// A passkey was made or taken away.
    Passkey {
        /// Whose.
        account: Name,
        /// Which: the beginning of its key's id.
        key: String,
        /// What became of it: `enrolled`, `removed`.
        what: &'static str,
    },
    /// Somebody of another issuer was linked to an account, or the link was taken away.
    External {
        /// To which account.
        account: Name,
        /// Of which provider.
        provider: Name,
        /// What became of it: `linked`, `unlinked`.
        what: &'static str,
    },
    /// A set of rules of the login policy was changed.
    PolicyChanged {
        /// Which.
        set: Name,
    },
    /// A new key signs tokens.
    KeyRotated {
        /// Its id.
        kid: String,
    },
    /// An admin was made anew by whoever has the machine.
    AdminRecovered {
        /// Who.
        account: Name,
    },
}

/// Whoever keeps the audit.
#[async_trait]
pub trait Witness: Send + Sync {
    /// Takes note. What cannot be noted is not done, or is not told to have been done.
    async fn witness(&self, event: &Event) -> Result<()>;
}

/// Who does what is witnessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `account:alice`.
    pub principal: String,
    /// From where, where that is known.
    pub address: Option<IpAddr>,
}

tokio::task_local! {
    static ACTOR: Actor;
    static RUN: RunId;
}

/// Does something in somebody's name. What they sign in to by themselves is told without it.
pub async fn acting<T>(actor: Actor, doing: impl Future<Output = T>) -> T {
    ACTOR.scope(actor, doing).await
}

/// In whose name something is done; nobody's where it is not known.
#[must_use]
pub fn actor() -> Option<Actor> {
    ACTOR.try_with(Actor::clone).ok()
}

/// The run whose effect does it; none where it is not done by a script.
#[must_use]
pub fn run() -> Option<RunId> {
    RUN.try_with(|run| *run).ok()
}

/// Tells what a run's effects do together with the run. Whoever keeps the audit knows who started that.
pub(crate) struct InRun {
    run: RunId,
    witness: Arc<dyn Witness>,
}

impl InRun {
    pub(crate) fn new(run: RunId, witness: Arc<dyn Witness>) -> Self {
        Self { run, witness }
    }
}

#[async_trait]
impl Witness for InRun {
    async fn witness(&self, event: &Event) -> Result<()> {
        RUN.scope(self.run, self.witness.witness(event)).await
    }
}

impl Reason {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownName => "unknown name",
            Self::NotHuman => "no person's account",
            Self::WrongPassword => "wrong password",
            Self::WrongPasskey(refusal) => refusal.describe(),
            Self::WrongExternal => "wrong external account",
            Self::Disabled => "disabled",
            Self::Policy => "login policy",
            Self::NoSecondFactor => "no second factor",
            Self::WrongSecondFactor => "wrong second factor",
            Self::TooOften => "too often",
            Self::UnknownService => "no service",
        }
    }
}

/// For what is only looked at: nothing happens there that somebody could witness.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unheard;

#[async_trait]
impl Witness for Unheard {
    async fn witness(&self, _: &Event) -> Result<()> {
        Ok(())
    }
}
