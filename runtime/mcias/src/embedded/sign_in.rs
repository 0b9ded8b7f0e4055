//! Owns signing in: one call that either lets somebody in, asks for more, or says nothing but no. An unknown name, a wrong
//! password, a disabled account and a refusal by policy are told apart by the audit alone: they take the same steps and
//! the same time, and have the same answer.

use std::net::IpAddr;
use std::time::Duration;

use effect::Result;

use super::Embedded;
use super::entry::Entry;
use crate::account::{Account, Kind};
use crate::attempts::Try;
use crate::credentials::{Credentials, Factor, First, Second};
use crate::driver::Issued;
use crate::name::{Name, shown};
use crate::passkey::{Asserted, Refusal};
use crate::policy::Attempt;
use crate::store::{MOST_TRIES, Row, contended};
use crate::witness::{Event, Reason};

/// Somebody who wants in.
#[derive(Clone, Copy)]
pub struct SignIn<'a> {
    /// As what; nothing where a passkey is to say so.
    pub name: &'a str,
    /// With what.
    pub first: First<'a>,
    /// With what else, where somebody gives it.
    pub second: Option<Second<'a>>,
    /// To what.
    pub service: &'a str,
    /// From where, as far as that is known.
    pub address: Option<IpAddr>,
}

/// What becomes of it.
#[derive(Debug)]
pub enum Outcome {
    /// Somebody is in.
    Token(Box<Issued>),
    /// One of these is asked for as well; the whole call is made again with it.
    Challenge(Vec<Factor>),
    /// Too many tries: the next one is looked at after this time.
    Wait(Duration),
    /// No.
    Refused,
}

/// What is known before the second factor.
pub(super) struct Known<'a> {
    pub(super) account: Account,
    /// What proves who that is, as it was when the first factor was looked at.
    pub(super) credentials: Option<Row<Credentials>>,
    pub(super) service: Name,
    factors: Vec<Factor>,
    pub(super) first: Proven<'a>,
}

/// What was shown first, and is right.
pub(super) enum Proven<'a> {
    /// Nothing is left to be done.
    Done,
    /// A password whose hash was made with other parameters than those of today.
    Outdated(&'a str),
    /// A passkey, which is used up once everything else is right: whoever is asked for more shows it again.
    Passkey(Box<Asserted>),
}

/// Why somebody is not let in, with the rule that decided.
struct No(Reason, Option<String>);

impl Embedded {
    /// Lets somebody in, or not.
    ///
    /// # Errors
    /// `MC-W007` where too many wait for their passwords to be checked; else where the journal cannot be used.
    pub async fn sign_in(&self, wish: &SignIn<'_>) -> Result<Outcome> {
        let owner = match wish.first {
            First::Passkey(shown) if wish.name.is_empty() => self.owner_of(shown).await?,
            _ => None,
        };
        let wish = &SignIn { name: owner.as_ref().map_or(wish.name, Name::as_str), ..*wish };
        let tried = match self.live.attempts.begin(wish.name, wish.address, self.now()) {
            Ok(tried) => tried,
            Err(wait) => {
                self.refuse(wish, No(Reason::TooOften, None)).await?;
                return Ok(Outcome::Wait(wait));
            }
        };
        let outcome = self.try_to_sign_in(wish, tried).await;
        match &outcome {
            Ok(Outcome::Token(_)) => self.live.attempts.succeeded(tried),
            // Whoever is asked for more has shown that much; a wrong answer counts when it comes.
            Ok(Outcome::Challenge(_)) | Err(_) => self.live.attempts.undecided(tried),
            Ok(Outcome::Wait(_) | Outcome::Refused) => {}
        }
        outcome
    }

    async fn try_to_sign_in(&self, wish: &SignIn<'_>, tried: Try) -> Result<Outcome> {
        for _ in 0..MOST_TRIES {
            if let Some(outcome) = self.look_and_enter(wish, tried).await? {
                return Ok(outcome);
            }
        }
        Err(contended("what proves who this is"))
    }

    /// Nothing where somebody else changed what was looked at meanwhile, such as another sign-in with the same code: then
    /// nothing was used up, and all of it is looked at once more.
    async fn look_and_enter(&self, wish: &SignIn<'_>, tried: Try) -> Result<Option<Outcome>> {
        let refused = async |no| self.refuse(wish, no).await.map(|()| Some(Outcome::Refused));
        let known = match self.check_first_factor(wish).await? {
            Ok(known) => known,
            Err(no) => return refused(no).await,
        };
        let second = match (wish.second, known.factors.is_empty()) {
            (_, true) => None,
            (None, false) => {
                let (account, address) = (known.account.name, wish.address);
                self.tell(Event::Challenged { account, address }).await?;
                return Ok(Some(Outcome::Challenge(known.factors)));
            }
            // A passkey that came first is not taken for another thing that somebody has.
            (Some(second), false) if known.factors.contains(&second.factor()) => Some(second),
            (Some(_), false) => return refused(No(Reason::WrongSecondFactor, None)).await,
        };
        let is_code = matches!(second, Some(Second::Totp(_)));
        if is_code && let Err(wait) = self.live.attempts.show_code(tried, self.now()) {
            self.refuse(wish, No(Reason::TooOften, None)).await?;
            return Ok(Some(Outcome::Wait(wait)));
        }
        let entry = self.enter(&known, wish, second).await;
        if is_code && !matches!(entry, Ok(Entry::Refused(_))) {
            self.live.attempts.code_counts_not(tried);
        }
        let issued = match entry? {
            Entry::In(issued) => issued,
            Entry::Refused(reason) => return refused(No(reason, None)).await,
            Entry::Meanwhile => return Ok(None),
        };
        let event = Event::SignedIn {
            account: known.account.name,
            service: known.service,
            address: wish.address,
            token: issued.token.id.clone(),
            first: wish.first.factor(),
            factor: second.map(|second| second.factor()),
        };
        self.tell(event).await?;
        Ok(Some(Outcome::Token(issued)))
    }

    /// Everything but the second factor. All is looked at whatever comes of it, and a password costs one hash.
    async fn check_first_factor<'a>(&self, wish: &SignIn<'a>) -> Result<Result<Known<'a>, No>> {
        let service: Option<Name> = wish.service.parse().ok();
        let account = match wish.name.parse::<Name>() {
            Ok(name) => self.account_named(&name).await?,
            Err(_) => None,
        };
        let credentials = match &account {
            Some(account) => self.credentials_found(account).await?,
            None => None,
        };
        let policy = self.policy().await?;
        let found = credentials.as_ref().map(|row| &row.value);
        let shown = self.look_at_first(wish.first, account.as_ref(), found).await?;
        let no = |reason| Ok(Err(No(reason, None)));
        let Some(account) = account else { return no(Reason::UnknownName) };
        if account.kind != Kind::Human {
            return no(Reason::NotHuman);
        }
        let first = match shown {
            Ok(first) => first,
            Err(reason) => return no(reason),
        };
        if !account.is_active() {
            return no(Reason::Disabled);
        }
        let Some(service) = service else { return no(Reason::UnknownService) };
        let tags = self.settings.tags(&service);
        let attempt = Attempt {
            account: &account,
            service: &service,
            service_tags: &tags,
            address: wish.address,
            at: self.now(),
            first: Some(wish.first.factor()),
        };
        let decision = policy.decide(&attempt);
        let rule = decision.rule.map(ToString::to_string);
        let after = |credentials: &Credentials| credentials.factors_after(wish.first.factor());
        let factors = found.map(after).unwrap_or_default();
        if !decision.is_allowed {
            return Ok(Err(No(Reason::Policy, rule)));
        }
        if decision.needs_second_factor && factors.is_empty() {
            return Ok(Err(No(Reason::NoSecondFactor, rule)));
        }
        Ok(Ok(Known { account, credentials, service, factors, first }))
    }

    /// Whether what is shown first is right.
    async fn look_at_first<'a>(
        &self,
        first: First<'a>,
        account: Option<&Account>,
        credentials: Option<&Credentials>,
    ) -> Result<Result<Proven<'a>, Reason>> {
        match first {
            First::Password(password) => {
                let hash = credentials.map(|credentials| credentials.hash(&self.sealer)).transpose()?;
                let verdict = self.live.hashes.verify(password, hash.flatten()).await?;
                let proven = if verdict.is_outdated { Proven::Outdated(password) } else { Proven::Done };
                Ok(if verdict.is_right { Ok(proven) } else { Err(Reason::WrongPassword) })
            }
            First::Passkey(shown) => {
                let refused = |refusal| Ok(Err(Reason::WrongPasskey(refusal)));
                match self.look_at_passkey(credentials, shown).await? {
                    Err(refusal) => refused(refusal),
                    // Alone it has to show who holds it, and whom it was made for.
                    Ok(asserted) if !asserted.is_verified => refused(Refusal::NotVerified),
                    Ok(asserted) if asserted.user_handle.is_none() => refused(Refusal::UserHandle),
                    Ok(asserted) => Ok(Ok(Proven::Passkey(Box::new(asserted)))),
                }
            }
            First::External { account: meant } => {
                let is_meant = account.is_some_and(|account| account.id == meant);
                Ok(if is_meant { Ok(Proven::Done) } else { Err(Reason::WrongExternal) })
            }
        }
    }

    async fn refuse(&self, wish: &SignIn<'_>, No(reason, rule): No) -> Result<()> {
        self.tell(Event::Refused {
            name: shown(wish.name),
            service: shown(wish.service),
            address: wish.address,
            reason,
            rule,
        })
        .await
    }
}
