//! Owns authorizations and their challenges (RFC 8555, sections 7.1.4, 7.1.5 and 7.5), and the looking beside requests.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Inner;
use super::answer::Answer;
use super::jwk::Jwk;
use super::jws::Jws;
use super::order::identifier;
use super::problem::{Kind, Outcome, Problem};
use super::prover::{self, Cause, Failure, Proof};
use super::record::{Account, Authorization, Challenge, ORDER, Order, Proven, Standing, Status};
use crate::names::Name;

/// How long to wait before asking again whether a name was proven.
const SOON: Duration = Duration::from_secs(2);

/// A challenge, by where it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) account: String,
    pub(super) order: String,
    /// Which authorization of the order.
    pub(super) index: usize,
    /// Which challenge of the authorization.
    pub(super) challenge: usize,
}

/// The proofs that are being looked at.
pub(super) type Looking = Mutex<HashSet<Place>>;

/// Takes its place out of the list, however the looking ends.
struct Entry(Arc<Inner>, Place);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.looking.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

#[derive(Deserialize)]
struct Change {
    status: Option<String>,
}

impl Inner {
    /// Shows an authorization or deactivates it (RFC 8555, section 7.5.2).
    pub(super) async fn change_authorization(
        self: &Arc<Self>,
        account: &str,
        id: &str,
        index: usize,
        jws: &Jws,
    ) -> Outcome<Answer> {
        if jws.is_reading() {
            let order = self.order(account, id).await?;
            self.resume_proofs(account, id, &order);
            return self.answer_authorization(id, index, &order);
        }
        match jws.says::<Change>()?.status.as_deref() {
            Some("deactivated") => {}
            _ => return Err(Problem::malformed("an authorization can only become `deactivated`")),
        }
        let _lock = self.store.lock(account).await;
        self.account(account).await?;
        let mut order = self.order(account, id).await?;
        let (now, expires) = (self.store.now(), order.expires);
        let authorization =
            order.authorizations.get_mut(index).ok_or_else(|| Problem::not_found("authorization"))?;
        if !matches!(authorization.standing(expires, now), Standing::Pending | Standing::Valid) {
            return Err(Problem::malformed("the authorization is over already"));
        }
        authorization.deactivated = true;
        self.store.write(vec![self.store.put(ORDER, id, &order)?]).await?;
        self.answer_authorization(id, index, &order)
    }

    fn answer_authorization(&self, id: &str, index: usize, order: &Order) -> Outcome<Answer> {
        let authorization =
            order.authorizations.get(index).ok_or_else(|| Problem::not_found("authorization"))?;
        let standing = authorization.standing(order.expires, self.store.now());
        let is_shown = |challenge: &&Challenge| match standing {
            Standing::Valid => matches!(challenge.state, Proven::Valid(_)),
            Standing::Invalid => !matches!(challenge.state, Proven::Valid(_)),
            _ => true,
        };
        let challenges: Vec<Value> = authorization
            .challenges
            .iter()
            .filter(is_shown)
            .map(|challenge| self.show_challenge(id, index, challenge))
            .collect();
        let bare = match authorization.name.domain() {
            Some(domain) => Name::Dns(domain.to_owned()),
            None => authorization.name.clone(),
        };
        let mut shown = json!({
            "status": standing.as_str(),
            "expires": order.expires.to_string(),
            "identifier": identifier(&bare),
            "challenges": challenges,
        });
        if authorization.name.is_wildcard() {
            shown["wildcard"] = json!(true);
        }
        let answer = Answer::json(StatusCode::OK, shown);
        Ok(if standing == Standing::Pending { answer.after(SOON) } else { answer })
    }

    fn show_challenge(&self, id: &str, index: usize, challenge: &Challenge) -> Value {
        let kind = challenge.kind.as_str();
        let url = self.base.at(&format!("challenge/{id}/{index}/{kind}"));
        let mut shown = json!({ "type": kind, "url": url, "token": challenge.token });
        shown["status"] = json!(match &challenge.state {
            Proven::Pending => "pending",
            Proven::Processing => "processing",
            Proven::Valid(at) => {
                shown["validated"] = json!(at.to_string());
                "valid"
            }
            Proven::Invalid(problem) => {
                shown["error"] = problem.document();
                "invalid"
            }
        });
        shown
    }

    /// Shows a challenge, or begins to look at what the client says is ready (RFC 8555, section 7.5.1).
    pub(super) async fn answer_challenge(
        self: &Arc<Self>,
        account: &str,
        id: &str,
        index: usize,
        kind: prover::Kind,
        jws: &Jws,
    ) -> Outcome<Answer> {
        if !jws.is_reading() {
            // Nothing of what it says counts, but it is an object.
            jws.says::<Value>()?;
        }
        let _lock = self.store.lock(account).await;
        self.account(account).await?;
        let mut order = self.order(account, id).await?;
        let status = order.status(self.store.now());
        let unknown = || Problem::not_found("challenge");
        let authorization = order.authorizations.get_mut(index).ok_or_else(unknown)?;
        let challenge = authorization
            .challenges
            .iter()
            .position(|challenge| challenge.kind == kind)
            .ok_or_else(unknown)?;
        let is_open = authorization.challenges.iter().all(|challenge| challenge.state == Proven::Pending);
        if !jws.is_reading() && is_open && status == Status::Pending {
            self.check_failures(account)?;
            authorization.challenges[challenge].state = Proven::Processing;
            self.store.write(vec![self.store.put(ORDER, id, &order)?]).await?;
        }
        self.resume_proofs(account, id, &order);
        let shown = &order.authorizations[index].challenges[challenge];
        let answer = Answer::json(StatusCode::OK, self.show_challenge(id, index, shown))
            .link(self.base.at(&format!("authz/{id}/{index}")), "up");
        Ok(if shown.state == Proven::Processing { answer.after(SOON) } else { answer })
    }

    /// Looks at whatever waits to be looked at and nobody does: after a restart too.
    pub(super) fn resume_proofs(self: &Arc<Self>, account: &str, id: &str, order: &Order) {
        if order.status(self.store.now()) != Status::Pending {
            return;
        }
        for (index, authorization) in order.authorizations.iter().enumerate() {
            let waiting = authorization.challenges.iter().position(|one| one.state == Proven::Processing);
            let Some(challenge) = waiting else { continue };
            let place = Place { account: account.to_owned(), order: id.to_owned(), index, challenge };
            if self.looking.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone()) {
                let entry = Entry(self.clone(), place);
                tokio::spawn(async move {
                    let Entry(inner, place) = &entry;
                    if let Err(problem) = inner.look(place).await {
                        tracing::warn!(
                            order = place.order,
                            detail = problem.detail,
                            "a proof could not be recorded"
                        );
                    }
                });
            }
        }
    }

    async fn look(&self, place: &Place) -> Outcome<()> {
        let gone = |_| Problem::new(Kind::ServerInternal, "the server is ending");
        // In this order: whoever waits for the others of its account keeps nobody else from being looked at.
        let _share = self.shares[self.store.stripe(&place.account)].acquire().await.map_err(gone)?;
        let _permit = self.proofs.acquire().await.map_err(gone)?;
        let account = self.account(&place.account).await?;
        let order = self.order(&place.account, &place.order).await?;
        let Some(proof) = proof(&account, &order.authorizations, place)? else { return Ok(()) };
        let state = match self.check_failures(&place.account) {
            Ok(()) => self.proven(place, &proof).await,
            // What was begun before the account had failed too often is not looked at any more.
            Err(problem) => Proven::Invalid(problem),
        };
        let _lock = self.store.lock(&place.account).await;
        let mut order = self.order(&place.account, &place.order).await?;
        let authorization = order.authorizations.get_mut(place.index);
        let challenge = authorization.and_then(|one| one.challenges.get_mut(place.challenge));
        if let Some(challenge) = challenge {
            challenge.state = state;
            self.store.write(vec![self.store.put(ORDER, &place.order, &order)?]).await?;
        }
        Ok(())
    }

    async fn proven(&self, place: &Place, proof: &Proof) -> Proven {
        let outcome = self.try_to_prove(proof).await;
        let now = self.store.now();
        match outcome {
            Ok(()) => Proven::Valid(now),
            Err(failure) => {
                tracing::info!(account = place.account, name = %proof.name, %failure, "a name was not proven");
                // The count is looked at before the next one begins; this one is over already.
                let _ = self.failures.count(&place.account, u32::MAX, now);
                Proven::Invalid(problem(&failure))
            }
        }
    }

    async fn try_to_prove(&self, proof: &Proof) -> Result<(), Failure> {
        let limits = &self.settings.limits;
        let mut pause = limits.pause.0;
        for _ in 1..limits.attempts {
            match self.prover.prove(proof).await {
                Ok(()) => return Ok(()),
                // Servers start and name servers take up changes while the first look is made.
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        self.prover.prove(proof).await
    }
}

/// What has to be shown; nothing where it is no longer waited for.
fn proof(account: &Account, authorizations: &[Authorization], place: &Place) -> Outcome<Option<Proof>> {
    let Some(authorization) = authorizations.get(place.index).filter(|one| !one.deactivated) else {
        return Ok(None);
    };
    let Some(challenge) = authorization.challenges.get(place.challenge) else { return Ok(None) };
    if challenge.state != Proven::Processing {
        return Ok(None);
    }
    let thumbprint = Jwk::from_json(&account.key)?.thumbprint();
    Ok(Some(Proof {
        kind: challenge.kind,
        name: authorization.name.clone(),
        token: challenge.token.clone(),
        key_authorization: format!("{}.{thumbprint}", challenge.token),
    }))
}

fn problem(failure: &Failure) -> Problem {
    let kind = match failure.cause {
        Cause::Connection => Kind::Connection,
        Cause::Dns => Kind::Dns,
        Cause::Tls => Kind::Tls,
        Cause::Wrong => Kind::IncorrectResponse,
    };
    Problem::new(kind, failure.detail.clone())
}
