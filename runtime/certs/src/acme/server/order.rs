//! Owns orders (RFC 8555, sections 7.1.3 and 7.4) until they are finalized: which names, for how long, in whose place.

use std::sync::Arc;
use std::time::Duration;

use effect::Timestamp;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::jws::Jws;
use super::problem::{Kind, Outcome, Problem};
use super::prover;
use super::record::{
    ACCOUNT, Authorization, Challenge, Listed, ORDER, Order, Proven, REPLACED, Replaced, Stage, Standing,
    Status,
};
use super::{Inner, random};
use crate::names::{Name, Names};

/// How long to wait before asking again what becomes of an order.
const SOON: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wanted {
    pub(super) identifiers: Vec<Identifier>,
    pub(super) not_before: Option<String>,
    pub(super) not_after: Option<String>,
    replaces: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Identifier {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

impl Inner {
    /// newOrder.
    pub(super) async fn new_order(&self, account_id: &str, jws: &Jws) -> Outcome<Answer> {
        let wanted: Wanted = jws.says()?;
        let names = names(&wanted.identifiers)?;
        let now = self.store.now();
        lifetime(wanted.not_before.as_deref(), wanted.not_after.as_deref(), now)?;
        let _lock = self.store.lock(account_id).await;
        let mut account = self.account(account_id).await?;
        self.check_binding(&account).await?;
        self.check_failures(account_id)?;
        self.signer.admit(&names, account.service.as_deref())?;
        if let Some(replaces) = &wanted.replaces {
            self.check_replaced(replaces, account_id, &names).await?;
        }
        let (expired, kept): (Vec<Listed>, Vec<Listed>) =
            account.orders.into_iter().partition(|listed| listed.expires <= now);
        account.orders = kept;
        if account.orders.len() >= self.settings.limits.orders {
            let wait =
                account.orders.iter().map(|listed| listed.expires.since(now)).min().unwrap_or_default();
            return Err(Problem::rate_limited("the account has as many orders as it may have at once", wait));
        }
        let id = random::word()?;
        let expires = now.after(self.settings.limits.order_lifetime.0);
        let authorizations = names.as_slice().iter().map(authorization).collect::<Outcome<_>>()?;
        let order = Order {
            account: account_id.to_owned(),
            names,
            expires,
            not_before: wanted.not_before,
            not_after: wanted.not_after,
            replaces: wanted.replaces,
            authorizations,
            stage: Stage::Open,
        };
        account.orders.push(Listed { id: id.clone(), expires });
        let mut writes: Vec<_> = expired.iter().map(|listed| self.store.remove(ORDER, &listed.id)).collect();
        writes.push(self.store.put(ORDER, &id, &order)?);
        writes.push(self.store.put(ACCOUNT, account_id, &account)?);
        self.store.write(writes).await?;
        Ok(Answer::json(StatusCode::CREATED, self.show_order(&id, &order)).at(self.order_url(&id)))
    }

    /// The order of an account; another's is told apart from none, as ids cannot be guessed.
    pub(super) async fn order(&self, account: &str, id: &str) -> Outcome<Order> {
        let found = if random::is_word(id) { self.store.read::<Order>(ORDER, id).await? } else { None };
        match found {
            Some(order) if order.account == account => Ok(order),
            Some(_) => Err(Problem::unauthorized("the order is another account's")),
            None => Err(Problem::not_found("order")),
        }
    }

    /// Shows an order, and goes on with it where it waits for the authority.
    pub(super) async fn read_order(self: &Arc<Self>, account: &str, id: &str) -> Outcome<Answer> {
        let mut order = self.order(account, id).await?;
        if matches!(order.stage, Stage::Signing { .. }) {
            let _lock = self.store.lock(account).await;
            order = self.order(account, id).await?;
            // What fails for now is shown as still under way.
            if let Err(problem) = self.sign(id, &mut order).await {
                tracing::warn!(
                    order = id,
                    detail = problem.detail,
                    "an order still waits for its certificate"
                );
            }
        }
        self.resume_proofs(account, id, &order);
        Ok(self.answer_order(id, &order))
    }

    pub(super) fn answer_order(&self, id: &str, order: &Order) -> Answer {
        let answer = Answer::json(StatusCode::OK, self.show_order(id, order));
        match order.status(self.store.now()) {
            Status::Pending | Status::Processing => answer.after(SOON),
            _ => answer,
        }
    }

    pub(super) fn check_failures(&self, account: &str) -> Outcome<()> {
        self.failures
            .check(account, self.settings.limits.failures, self.store.now())
            .map_err(|wait| Problem::rate_limited("the account failed to prove too many names", wait))
    }

    /// RFC 9773, section 5: the certificate was ordered by this account, names something that the order names, and has no
    /// successor yet.
    async fn check_replaced(&self, id: &str, account: &str, names: &Names) -> Outcome<()> {
        let (serial, standing) = self.find_certificate(id).await?;
        if self.account_of(&standing.token) != Some(account) {
            return Err(Problem::unauthorized("the certificate to be replaced is another account's"));
        }
        if self.store.read::<Replaced>(REPLACED, &serial).await?.is_some() {
            return Err(Problem::new(Kind::AlreadyReplaced, "the certificate has a successor already"));
        }
        let facts = super::renewal::facts(&standing)?;
        if names.as_slice().iter().any(|name| facts.names.contains(name)) {
            return Ok(());
        }
        Err(Problem::malformed("the certificate to be replaced names nothing of what is ordered"))
    }

    fn show_order(&self, id: &str, order: &Order) -> Value {
        let status = order.status(self.store.now());
        let authorizations: Vec<String> = (0..order.authorizations.len())
            .map(|index| self.base.at(&format!("authz/{id}/{index}")))
            .collect();
        let mut shown = json!({
            "status": status.as_str(),
            "expires": order.expires.to_string(),
            "identifiers": order.names.as_slice().iter().map(identifier).collect::<Vec<_>>(),
            "authorizations": authorizations,
            "finalize": self.base.at(&format!("order/{id}/finalize")),
        });
        let given =
            [("notBefore", &order.not_before), ("notAfter", &order.not_after), ("replaces", &order.replaces)];
        for (name, value) in given {
            if let Some(value) = value {
                shown[name] = json!(value);
            }
        }
        match &order.stage {
            Stage::Issued { .. } => {
                shown["certificate"] = json!(self.base.at(&format!("order/{id}/certificate")))
            }
            Stage::Failed(problem) => shown["error"] = problem.document(),
            Stage::Open | Stage::Signing { .. } => {
                if let Some(problem) = order.failure(self.store.now()) {
                    shown["error"] = problem.document();
                }
            }
        }
        shown
    }

    pub(super) fn order_url(&self, id: &str) -> String {
        self.base.at(&format!("order/{id}"))
    }
}

impl Order {
    /// Why no certificate will come of it, where names have failed.
    fn failure(&self, now: Timestamp) -> Option<Problem> {
        let failed = self.authorizations.iter().flat_map(|one| {
            one.challenges.iter().filter_map(|challenge| match &challenge.state {
                Proven::Invalid(problem) => Some((one.name.clone(), problem.kind, problem.detail.clone())),
                _ => None,
            })
        });
        let parts: Vec<_> = failed.collect();
        match parts.as_slice() {
            [] if self.status(now) != Status::Invalid => None,
            [] => {
                let is_deactivated =
                    |one: &Authorization| one.standing(self.expires, now) == Standing::Deactivated;
                let why = match self.authorizations.iter().any(is_deactivated) {
                    true => "an authorization was deactivated",
                    false => "the order has expired",
                };
                Some(Problem::unauthorized(why))
            }
            [(_, kind, detail)] => Some(Problem::new(*kind, detail.clone())),
            _ => Some(Problem { parts, ..Problem::unauthorized("several names were not proven") }),
        }
    }
}

fn authorization(name: &Name) -> Outcome<Authorization> {
    let kinds = prover::Kind::ALL.into_iter().filter(|kind| kind.fits(name));
    let challenge = |kind| Ok(Challenge { kind, token: random::word()?, state: Proven::Pending });
    let challenges = kinds.map(challenge).collect::<Outcome<_>>()?;
    Ok(Authorization { name: name.clone(), challenges, deactivated: false })
}

/// A name as the protocol writes it (RFC 8555, section 9.7.7; RFC 8738).
pub(super) fn identifier(name: &Name) -> Value {
    let kind = if name.domain().is_some() { "dns" } else { "ip" };
    json!({ "type": kind, "value": name.to_string() })
}

pub(super) fn names(identifiers: &[Identifier]) -> Outcome<Names> {
    let one = |identifier: &Identifier| {
        let name = identifier.value.parse::<Name>();
        match (identifier.kind.as_str(), name) {
            ("dns", Ok(name @ Name::Dns(_))) | ("ip", Ok(name @ Name::Ip(_))) => Ok(name),
            ("dns" | "ip", Ok(_)) => Err(Problem::malformed("an identifier is of another type than it says")),
            ("dns" | "ip", Err(error)) => Err(Problem::from(error)),
            _ => {
                Err(Problem::new(Kind::UnsupportedIdentifier, "identifiers are of the types `dns` and `ip`"))
            }
        }
    };
    let names = identifiers.iter().map(one).collect::<Outcome<Vec<Name>>>()?;
    Names::new(names).map_err(|error| Problem::malformed(error.message))
}

/// How long the certificate is wanted for. The authority signs for now: what is to begin later is ordered later.
pub(super) fn lifetime(
    not_before: Option<&str>,
    not_after: Option<&str>,
    now: Timestamp,
) -> Outcome<Option<Duration>> {
    /// Clocks differ.
    const EARLY: Duration = Duration::from_secs(300);
    let moment = |name: &str, text: &str| match text.parse::<jiff::Timestamp>() {
        Ok(moment) => Ok(Timestamp(moment.as_millisecond())),
        Err(_) => Err(Problem::malformed(format!("`{name}` is not a moment as RFC 3339 writes it"))),
    };
    let begins = not_before.map(|text| moment("notBefore", text)).transpose()?;
    let ends = not_after.map(|text| moment("notAfter", text)).transpose()?;
    if begins.is_some_and(|begins| begins > now.after(EARLY)) {
        return Err(Problem::malformed("certificates begin when they are signed: order it later"));
    }
    match ends {
        Some(ends) if ends <= now || begins.is_some_and(|begins| ends <= begins) => {
            Err(Problem::malformed("`notAfter` is over already, or before `notBefore`"))
        }
        Some(ends) => Ok(Some(ends.since(now))),
        None => Ok(None),
    }
}
