//! Owns revocation (RFC 8555, section 7.6): by the account that ordered it, by one that has proven all its names, or by
//! the key of the certificate.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::Deserialize;

use super::Inner;
use super::answer::Answer;
use super::jwk::Jwk;
use super::jws::Jws;
use super::problem::{Kind, Outcome, Problem};
use super::record::{ORDER, Order, Standing as Proven};
use crate::certificate::Facts;
use crate::driver::Reason;
use crate::names::Name;

#[derive(Deserialize)]
pub(super) struct Revocation {
    certificate: String,
    reason: Option<u8>,
}

/// Who asks.
pub(super) enum Asker<'a> {
    Account(&'a str),
    Key(&'a Jwk),
}

impl Inner {
    /// revokeCert.
    pub(super) async fn revoke(&self, asker: Asker<'_>, jws: &Jws) -> Outcome<Answer> {
        let wanted: Revocation = jws.says()?;
        let der = URL_SAFE_NO_PAD
            .decode(&wanted.certificate)
            .map_err(|_| Problem::malformed("`certificate` is not base64url without padding"))?;
        let reason = match wanted.reason.map(Reason::from_number) {
            None => Reason::Unspecified,
            Some(Some(reason)) => reason,
            Some(None) => {
                return Err(Problem::new(
                    Kind::BadRevocationReason,
                    "the reason is none that certificates have here",
                ));
            }
        };
        let facts = Facts::of(&der).map_err(|error| Problem::malformed(error.message))?;
        let standing = self.signer.standing(&facts.serial).await?;
        // A serial number alone is quickly written.
        let known =
            standing.filter(|standing| standing.chain.first().is_some_and(|first| first.as_ref() == der));
        let standing = known.ok_or_else(|| Problem::not_found("certificate of this authority"))?;
        let may = match asker {
            Asker::Key(key) => Jwk::from_public(&facts.public).as_ref() == Some(key),
            Asker::Account(account) => {
                self.account_of(&standing.token) == Some(account)
                    || self.has_proven(account, &facts.names).await?
            }
        };
        if !may {
            return Err(Problem::unauthorized(
                "neither the account nor the key has a say over this certificate",
            ));
        }
        if standing.revoked {
            return Err(Problem::new(Kind::AlreadyRevoked, "the certificate is revoked already"));
        }
        self.signer.revoke(&facts.serial, reason).await?;
        tracing::info!(serial = facts.serial, "a certificate was revoked by ACME");
        Ok(Answer::empty(StatusCode::OK))
    }

    /// Whether the account has valid authorizations for all the names.
    async fn has_proven(&self, account: &str, names: &[Name]) -> Outcome<bool> {
        let mut missing = names.to_vec();
        let now = self.store.now();
        for listed in self.account(account).await?.orders.iter().filter(|listed| listed.expires > now) {
            if missing.is_empty() {
                break;
            }
            let Some(order) = self.store.read::<Order>(ORDER, &listed.id).await? else { continue };
            let is_valid = |name: &Name| {
                let mut of_name = order.authorizations.iter().filter(|one| one.name == *name);
                of_name.any(|one| one.standing(order.expires, now) == Proven::Valid)
            };
            missing.retain(|name| !is_valid(name));
        }
        Ok(missing.is_empty() && !names.is_empty())
    }
}
