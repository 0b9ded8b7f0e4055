//! Owns that what happens to accounts, tokens and sign-ins stands in the audit, with who did it and from where.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use daemon::api::Denials;
use effect::{Principal, Result};
use journal::audit::{Kind, New};
use journal::{Clock, Journal, RunId};
use mcias::witness::{actor, run};
use mcias::{Event, Name, Witness};
use serde_json::{Value, json};

/// Writes to the audit.
pub(crate) struct Audited {
    journal: Journal,
    clock: Arc<dyn Clock>,
    /// Who does what nobody else is known to do.
    own: Principal,
    refusals: Arc<Refusals>,
}

/// Who does what is told.
struct By {
    principal: String,
    address: Option<String>,
    run: Option<RunId>,
}

/// The addresses that were refused of late.
pub(crate) type Refusals = Denials<IpAddr>;

impl Audited {
    /// One that writes to `journal`; what nobody else is known to do is done by `own`.
    pub(crate) fn new(
        journal: Journal,
        clock: Arc<dyn Clock>,
        own: Principal,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self { journal, clock, own, refusals }
    }

    /// In whose name it is done: a caller's, or that of whoever started the run that does it.
    async fn by(&self) -> Result<By> {
        if let Some(actor) = actor() {
            let address = actor.address.map(|address| address.to_string());
            return Ok(By { principal: actor.principal, address, run: None });
        }
        let run = run();
        let starter = match &run {
            Some(run) => self.journal.starter(run).await?,
            None => None,
        };
        let principal = starter.unwrap_or_else(|| self.own.to_string());
        Ok(By { principal, address: None, run })
    }

    fn record(&self, event: &Event, by: &By) -> Option<New> {
        let changed = |action: &str, object: &str, outcome: &str, details: Value| {
            let new = New::of(Kind::Account, &by.principal, action, object, outcome);
            let new = New { address: by.address.clone(), run: by.run, ..new };
            if details.is_null() { new } else { new.with(details) }
        };
        // Whoever signs in has no name but the one that they sign in under.
        let signing = |name: &str, address: &Option<IpAddr>, service: &str, outcome: &str, details: Value| {
            let new = New::of(Kind::SignIn, &format!("account:{name}"), "mcias.sign_in", service, outcome);
            New { address: address.map(|address| address.to_string()), ..new.with(details) }
        };
        Some(match event {
            Event::SignedIn { account, service, address, token, first, factor } => {
                let factor = factor.map(|factor| factor.as_str());
                let details = json!({ "token": token, "first": first.as_str(), "factor": factor });
                signing(account.as_str(), address, service.as_str(), "allowed", details)
            }
            Event::Challenged { account, address } => {
                signing(account.as_str(), address, "", "challenged", json!({}))
            }
            Event::Refused { name, service, address, reason, rule } => {
                let left_out = self.refusals.counts(*address, self.clock.now())?;
                let mut details = json!({ "why": reason.as_str() });
                if let Some(rule) = rule {
                    details["rule"] = rule.as_str().into();
                }
                if left_out > 0 {
                    details["left_out"] = left_out.into();
                }
                // What is no name may be a password that somebody typed into the wrong field.
                let name = if name.parse::<Name>().is_ok() { name } else { "?" };
                signing(name, address, service, "denied", details)
            }
            Event::TokenIssued { account, service, token } => changed(
                "mcias.tokens.issue",
                account.as_str(),
                "issued",
                json!({ "token": token, "service": service }),
            ),
            Event::TokenRevoked { account, token } => {
                changed("mcias.tokens.revoke", account.as_str(), "revoked", json!({ "token": token }))
            }
            Event::AccountChanged { account, what } => {
                changed("mcias.accounts", account.as_str(), what, Value::Null)
            }
            Event::RoleGranted { account, role } => {
                changed("mcias.roles.grant", account.as_str(), "granted", json!({ "role": role }))
            }
            Event::RoleRevoked { account, role } => {
                changed("mcias.roles.revoke", account.as_str(), "revoked", json!({ "role": role }))
            }
            Event::PasswordSet { account } => changed("mcias.password", account.as_str(), "set", Value::Null),
            Event::SecondFactor { account, what } => {
                changed("mcias.factors", account.as_str(), what, Value::Null)
            }
            Event::Passkey { account, key, what } => {
                changed("mcias.passkeys", account.as_str(), what, json!({ "key": key }))
            }
            Event::External { account, provider, what } => {
                changed("mcias.external", account.as_str(), what, json!({ "provider": provider }))
            }
            Event::ClientChanged { client, what } => {
                changed("mcias.sso_clients", client.as_str(), what, Value::Null)
            }
            Event::SsoGranted { account, client, service, address, token } => {
                let details = json!({ "token": token, "client": client });
                signing(account.as_str(), address, service.as_str(), "allowed", details)
            }
            Event::SsoReplayed { account, client, address } => {
                let details = json!({ "client": client, "why": "a code was replayed" });
                signing(account.as_str(), address, "", "denied", details)
            }
            Event::PolicyChanged { set } => changed("mcias.policy", set.as_str(), "changed", Value::Null),
            Event::KeyRotated { kid } => changed("mcias.keys", kid, "rotated", Value::Null),
            Event::AdminRecovered { account } => {
                changed("mcias.recover_admin", account.as_str(), "recovered", Value::Null)
            }
        })
    }
}

#[async_trait]
impl Witness for Audited {
    async fn witness(&self, event: &Event) -> Result<()> {
        let by = self.by().await?;
        match self.record(event, &by) {
            // What cannot be recorded is not told to have been done.
            Some(record) => Ok(self.journal.audit(record).durable().await?),
            None => Ok(()),
        }
    }
}
