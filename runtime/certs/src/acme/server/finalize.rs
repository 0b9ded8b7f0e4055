//! Owns the end of an order (RFC 8555, sections 7.4 and 7.4.2): the signing request, signing, the certificate.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::Inner;
use super::answer::Answer;
use super::jwk::Jwk;
use super::jws::Jws;
use super::order::lifetime;
use super::problem::{Kind, Outcome, Problem};
use super::record::{Account, ORDER, Order, REPLACED, Replaced, Stage, Status};
use super::signer::SignOrder;
use crate::certificate::{Facts, to_pem};
use crate::request::Request;

/// What the tokens of orders begin with.
const TOKEN: &str = "acme";

#[derive(Deserialize)]
pub(super) struct Finalization {
    csr: String,
}

impl Inner {
    /// Takes the signing request and has the certificate signed.
    pub(super) async fn finalize(&self, account_id: &str, id: &str, jws: &Jws) -> Outcome<Answer> {
        let wanted: Finalization = jws.says()?;
        let der = URL_SAFE_NO_PAD
            .decode(&wanted.csr)
            .map_err(|_| Problem::malformed("`csr` is not base64url without padding"))?;
        let _lock = self.store.lock(account_id).await;
        let account = self.account(account_id).await?;
        self.check_binding(&account).await?;
        let mut order = self.order(account_id, id).await?;
        // Said before the request is looked at, as that costs more.
        if matches!(order.status(self.store.now()), Status::Pending | Status::Invalid) {
            return Err(not_ready(&order, self.store.now()));
        }
        let request = Request::from_der(&der)?;
        if !request.names.same_as(&order.names) {
            return Err(Problem::new(
                Kind::BadCsr,
                "the request does not have exactly the names of the order",
            ));
        }
        match &order.stage {
            Stage::Open => {
                self.check_key(&account, &request)?;
                self.signer.admit(&order.names, account.service.as_deref())?;
                order.stage = Stage::Signing { public: request.public };
                self.store.write(vec![self.store.put(ORDER, id, &order)?]).await?;
                journal::reached("acme:key-recorded");
            }
            // The answer to the same request was lost on its way.
            Stage::Signing { public } | Stage::Issued { public, .. } if *public == request.public => {}
            _ => return Err(not_ready(&order, self.store.now())),
        }
        if let Err(problem) = self.sign(id, &mut order).await {
            tracing::warn!(order = id, detail = problem.detail, "an order waits for its certificate");
        }
        Ok(self.answer_order(id, &order).at(self.order_url(id)))
    }

    /// RFC 8555, section 11.1: who has the key of a certificate must not thereby have the account.
    fn check_key(&self, account: &Account, request: &Request) -> Outcome<()> {
        match Jwk::from_public(&request.public) {
            Some(key) if key == Jwk::from_json(&account.key)? => Err(Problem::new(
                Kind::BadCsr,
                "the key of a certificate is another than that of the account",
            )),
            _ => Ok(()),
        }
    }

    /// Has the certificate signed where the order waits for that. An error leaves it waiting: it is tried again whenever
    /// the order is read.
    pub(super) async fn sign(&self, id: &str, order: &mut Order) -> Outcome<()> {
        let Stage::Signing { public } = &order.stage else { return Ok(()) };
        let account = self.account(&order.account).await?;
        let signed = self.signed(id, order, public, account.service.as_deref()).await;
        let mut writes = Vec::new();
        let stage = match signed {
            Ok((chain, replaced)) => {
                writes.extend(replaced);
                Stage::Issued { public: public.clone(), chain }
            }
            Err(problem) if problem.retry_after.is_some() => return Err(problem),
            Err(problem) => Stage::Failed(problem),
        };
        let done = Order { stage, ..order.clone() };
        writes.push(self.store.put(ORDER, id, &done)?);
        self.store.write(writes).await?;
        *order = done;
        Ok(())
    }

    /// The chain in PEM, and the mark that it takes another's place.
    async fn signed(
        &self,
        id: &str,
        order: &Order,
        public: &[u8],
        service: Option<&str>,
    ) -> Outcome<(String, Option<journal::Write>)> {
        let token = format!("{TOKEN}/{}/{id}", order.account);
        let now = self.store.now();
        let lifetime = lifetime(order.not_before.as_deref(), order.not_after.as_deref(), now)?;
        self.signer.admit(&order.names, service)?;
        let wanted = SignOrder { token: &token, names: &order.names, public, service, lifetime };
        let chain = self.signer.sign(&wanted).await?;
        let first = chain.first().map(|first| Facts::of(first)).transpose()?;
        if first.is_none_or(|facts| facts.public != public) {
            tracing::error!(order = id, "the authority signed another key than it was asked to");
            return Err(Problem::new(Kind::ServerInternal, "the authority made a mistake"));
        }
        journal::reached("acme:signed");
        let replaced = match &order.replaces {
            Some(replaces) => self.mark_replaced(id, replaces).await?,
            None => None,
        };
        tracing::info!(order = id, account = order.account, names = %order.names, "a certificate was issued by ACME");
        Ok((to_pem(&chain), replaced))
    }

    /// The mark that a certificate has a successor. What was forgotten meanwhile needs none.
    async fn mark_replaced(&self, order: &str, replaces: &str) -> Outcome<Option<journal::Write>> {
        let (serial, standing) = match self.find_certificate(replaces).await {
            Ok(found) => found,
            Err(problem) if problem.retry_after.is_some() => return Err(problem),
            Err(_) => return Ok(None),
        };
        let until = super::renewal::facts(&standing)?.not_after;
        let mark = Replaced { order: order.to_owned(), until };
        self.store.put(REPLACED, &serial, &mark).map(Some)
    }

    /// The certificate of an order.
    pub(super) async fn certificate(&self, account: &str, id: &str) -> Outcome<Answer> {
        let order = self.order(account, id).await?;
        match &order.stage {
            Stage::Issued { chain, .. } => Ok(Answer::chain(chain.clone())),
            _ => Err(Problem::not_found("certificate yet")),
        }
    }

    /// The account whose order has this token; none for orders from elsewhere.
    pub(super) fn account_of<'a>(&self, token: &'a str) -> Option<&'a str> {
        token.strip_prefix(TOKEN)?.strip_prefix('/')?.split_once('/').map(|(account, _)| account)
    }
}

fn not_ready(order: &Order, now: effect::Timestamp) -> Problem {
    let status = order.status(now).as_str();
    Problem::new(Kind::OrderNotReady, format!("the order is {status}, not ready"))
}
