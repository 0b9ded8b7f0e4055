//! Owns signing in: one call that either lets somebody in, asks for more, or says nothing but no. An unknown name, a wrong
//! password, a disabled account and a refusal by policy are told apart by the audit alone: they take the same steps and
//! the same time, and have the same answer.

use std::net::IpAddr;
use std::time::Duration;

use effect::Result;

use super::Embedded;
use super::tokens::Wanted;
use crate::account::{Account, Kind};
use crate::credentials::{Credentials, Factor, First, Second};
use crate::driver::{Issued, Via};
use crate::name::{Name, shown};
use crate::passkey::{Asserted, Refusal};
use crate::policy::Attempt;
use crate::random;
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
struct Known<'a> {
    account: Account,
    service: Name,
    factors: Vec<Factor>,
    first: Proven<'a>,
}

/// What was shown first, and is right.
enum Proven<'a> {
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
        let outcome = self.try_to_sign_in(wish).await;
        match &outcome {
            Ok(Outcome::Token(_)) => self.live.attempts.succeeded(tried),
            // Whoever is asked for more has shown that much; a wrong answer counts when it comes.
            Ok(Outcome::Challenge(_)) | Err(_) => self.live.attempts.undecided(tried),
            Ok(Outcome::Wait(_) | Outcome::Refused) => {}
        }
        outcome
    }

    async fn try_to_sign_in(&self, wish: &SignIn<'_>) -> Result<Outcome> {
        let known = match self.check_first_factor(wish).await? {
            Ok(known) => known,
            Err(no) => {
                self.refuse(wish, no).await?;
                return Ok(Outcome::Refused);
            }
        };
        let account = &known.account;
        let factor = match (wish.second, known.factors.is_empty()) {
            (_, true) => None,
            (None, false) => {
                let (account, address) = (account.name.clone(), wish.address);
                self.tell(Event::Challenged { account, address }).await?;
                return Ok(Outcome::Challenge(known.factors));
            }
            (Some(second), false) => {
                // A passkey that came first is not taken for another thing that somebody has.
                let is_asked = known.factors.contains(&second.factor());
                let redeemed = match is_asked {
                    true => self.redeem(account, second).await?,
                    false => Err(Reason::WrongSecondFactor),
                };
                if let Err(reason) = redeemed {
                    self.refuse(wish, No(reason, None)).await?;
                    return Ok(Outcome::Refused);
                }
                Some(second.factor())
            }
        };
        match &known.first {
            Proven::Done => {}
            Proven::Outdated(password) => self.rehash(account, password).await?,
            Proven::Passkey(asserted) => {
                if let Err(refusal) = self.spend_passkey(account, asserted).await? {
                    self.refuse(wish, No(Reason::WrongPasskey(refusal), None)).await?;
                    return Ok(Outcome::Refused);
                }
            }
        }
        let issued = self
            .make_token(Wanted {
                account,
                service: &known.service,
                lifetime: self.settings.lifetime(account.kind),
                id: random::token::<16>()?,
                via: Via::SignIn,
                address: wish.address,
                first: Some(wish.first.factor()),
                has_second_factor: factor.is_some(),
                client: None,
            })
            .await?;
        let event = Event::SignedIn {
            account: account.name.clone(),
            service: known.service,
            address: wish.address,
            token: issued.token.id.clone(),
            first: wish.first.factor(),
            factor,
        };
        self.tell(event).await?;
        Ok(Outcome::Token(Box::new(issued)))
    }

    /// Everything but the second factor. All is looked at whatever comes of it, and a password costs one hash.
    async fn check_first_factor<'a>(&self, wish: &SignIn<'a>) -> Result<Result<Known<'a>, No>> {
        let service: Option<Name> = wish.service.parse().ok();
        let account = match wish.name.parse::<Name>() {
            Ok(name) => self.account_named(&name).await?,
            Err(_) => None,
        };
        let credentials = match &account {
            Some(account) => self.credentials(account).await?,
            None => None,
        };
        let policy = self.policy().await?;
        let shown = self.look_at_first(wish.first, account.as_ref(), credentials.as_ref()).await?;
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
        let factors = credentials.as_ref().map(after).unwrap_or_default();
        if !decision.is_allowed {
            return Ok(Err(No(Reason::Policy, rule)));
        }
        if decision.needs_second_factor && factors.is_empty() {
            return Ok(Err(No(Reason::NoSecondFactor, rule)));
        }
        Ok(Ok(Known { account, service, factors, first }))
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
                let Some(account) = account else { return refused(Refusal::UnknownKey) };
                match self.look_at_passkey(account, shown).await? {
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

    async fn rehash(&self, account: &Account, password: &str) -> Result<()> {
        let hash = self.live.hashes.hash(password).await?;
        self.change_credentials(account, |credentials| {
            credentials.password = Some(self.sealer.hide(hash.as_bytes()));
            Ok(Some(()))
        })
        .await?;
        Ok(())
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
