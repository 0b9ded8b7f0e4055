//! Owns accounts (RFC 8555, sections 7.1.2 and 7.3): registering, changing, the change of keys, the list of orders.

use std::net::SocketAddr;

use http::StatusCode;
use journal::Expect;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::eab;
use super::jwk::Jwk;
use super::jws::{Identity, Jws};
use super::limits::source;
use super::problem::{Kind, Outcome, Problem};
use super::record::{ACCOUNT, Account, KEY, ORDER, Order, Owner, Status};
use super::{Inner, random};

const MOST_CONTACTS: usize = 5;
const LONGEST_CONTACT: usize = 320;
/// Orders on one page of the list.
const PAGE: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Registration {
    #[serde(default)]
    contact: Vec<String>,
    #[serde(default)]
    terms_of_service_agreed: bool,
    #[serde(default)]
    only_return_existing: bool,
    external_account_binding: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct Change {
    contact: Option<Vec<String>>,
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rollover {
    account: String,
    old_key: Value,
}

impl Inner {
    /// newAccount: registers a key, or finds the account that it has.
    pub(super) async fn register(&self, jws: &Jws, key: &Jwk, peer: SocketAddr) -> Outcome<Answer> {
        let wanted: Registration = jws.says()?;
        if let Some(owner) = self.store.read::<Owner>(KEY, &key.thumbprint()).await? {
            return self.existing(&owner.account).await;
        }
        if wanted.only_return_existing {
            return Err(Problem::new(Kind::AccountDoesNotExist, "no account has this key"));
        }
        check_contacts(&wanted.contact)?;
        if let (Some(terms), false) = (&self.settings.terms_of_service, wanted.terms_of_service_agreed) {
            let problem = Problem::new(Kind::UserActionRequired, "agree to the terms of service first");
            return Err(Problem { terms: Some(terms.clone()), ..problem });
        }
        let bound = match &wanted.external_account_binding {
            Some(binding) => Some(eab::check(&self.store, &self.sealer, binding, &jws.url, key).await?),
            None if self.settings.eab => {
                let detail =
                    "registering takes a key of an external account; whoever runs this authority makes one";
                return Err(Problem::new(Kind::ExternalAccountRequired, detail));
            }
            None => None,
        };
        self.check_room(peer).await?;
        let (eab, service) = bound.unzip();
        let account = Account {
            key: key.to_json(),
            contact: wanted.contact,
            agreed: wanted.terms_of_service_agreed,
            service,
            eab,
            deactivated: false,
            made: self.store.now(),
            orders: Vec::new(),
        };
        self.record_account(key, &account).await
    }

    async fn record_account(&self, key: &Jwk, account: &Account) -> Outcome<Answer> {
        let id = random::word()?;
        let thumbprint = key.thumbprint();
        let owner = Owner { account: id.clone() };
        let writes = vec![
            self.store.put_if(Expect::Absent, KEY, &thumbprint, &owner)?,
            self.store.put_if(Expect::Absent, ACCOUNT, &id, account)?,
        ];
        match self.store.write(writes).await {
            Ok(()) => {
                tracing::info!(account = %id, service = account.service, "an ACME account was registered");
                self.registered();
                Ok(Answer::json(StatusCode::CREATED, self.show_account(&id, account))
                    .at(self.account_url(&id)))
            }
            // The same client was quicker by another connection.
            Err(journal::Error::Conflict { .. }) => match self.store.read::<Owner>(KEY, &thumbprint).await? {
                Some(owner) => self.existing(&owner.account).await,
                None => Err(Problem::new(Kind::ServerInternal, "the account could not be recorded")),
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn existing(&self, id: &str) -> Outcome<Answer> {
        let account = self.account(id).await?;
        Ok(Answer::json(StatusCode::OK, self.show_account(id, &account)).at(self.account_url(id)))
    }

    /// The account with this id, unless it was deactivated.
    pub(super) async fn account(&self, id: &str) -> Outcome<Account> {
        let found = if random::is_word(id) { self.store.read::<Account>(ACCOUNT, id).await? } else { None };
        match found {
            Some(account) if account.deactivated => {
                let problem = Problem::unauthorized("the account was deactivated");
                Err(problem.with_status(StatusCode::UNAUTHORIZED))
            }
            Some(account) => Ok(account),
            None => Err(Problem::new(Kind::AccountDoesNotExist, "there is no such account")),
        }
    }

    /// Refuses new certificates to accounts whose external account is gone.
    pub(super) async fn check_binding(&self, account: &Account) -> Outcome<()> {
        let Some(id) = &account.eab else { return Ok(()) };
        match self.store.read::<eab::Binding>(super::record::EAB, id).await? {
            Some(_) => Ok(()),
            None => Err(Problem::unauthorized("the key of the external account was taken away")),
        }
    }

    async fn check_room(&self, peer: SocketAddr) -> Outcome<()> {
        let limits = &self.settings.limits;
        if self.accounts().await? >= limits.accounts {
            let hour = std::time::Duration::from_secs(3600);
            return Err(Problem::rate_limited("there are as many accounts as this authority takes", hour));
        }
        self.registrations
            .count(&source(peer.ip()), limits.accounts_per_address, self.store.now())
            .map_err(|wait| Problem::rate_limited("too many accounts were made from this address", wait))
    }

    /// Shows an account, changes its contacts, or deactivates it.
    pub(super) async fn change_account(&self, id: &str, jws: &Jws) -> Outcome<Answer> {
        let change = if jws.is_reading() { Change { contact: None, status: None } } else { jws.says()? };
        let _lock = self.store.lock(id).await;
        let mut account = self.account(id).await?;
        match change.status.as_deref() {
            None => {}
            Some("deactivated") => account.deactivated = true,
            Some(_) => return Err(Problem::malformed("an account can only become `deactivated`")),
        }
        let is_changed = account.deactivated || change.contact.is_some();
        if let Some(contact) = change.contact {
            check_contacts(&contact)?;
            account.contact = contact;
        }
        if is_changed {
            self.store.write(vec![self.store.put(ACCOUNT, id, &account)?]).await?;
        }
        Ok(Answer::json(StatusCode::OK, self.show_account(id, &account)))
    }

    /// keyChange (RFC 8555, section 7.3.5): the old key signs outside, the new one inside.
    pub(super) async fn change_key(&self, id: &str, outer: &Jws) -> Outcome<Answer> {
        let inner = Jws::from_bytes(&outer.payload)?;
        let Identity::Jwk(new) = &inner.identity else {
            return Err(Problem::malformed(
                "the inner request is signed by the new key and holds it as `jwk`",
            ));
        };
        inner.verify(new)?;
        if inner.nonce.is_some() || inner.url != outer.url {
            return Err(Problem::malformed("the inner request has the outer `url` and no `nonce`"));
        }
        let wanted: Rollover = inner.says()?;
        let _lock = self.store.lock(id).await;
        let mut account = self.account(id).await?;
        let old = Jwk::from_json(&account.key)?;
        if wanted.account != self.account_url(id) || Jwk::from_json(&wanted.old_key)? != old {
            return Err(Problem::malformed("the inner request is for another account or another key"));
        }
        account.key = new.to_json();
        let writes = vec![
            self.store.put_if(Expect::Absent, KEY, &new.thumbprint(), &Owner { account: id.to_owned() })?,
            self.store.remove(KEY, &old.thumbprint()),
            self.store.put(ACCOUNT, id, &account)?,
        ];
        match self.store.write(writes).await {
            Ok(()) => Ok(Answer::json(StatusCode::OK, self.show_account(id, &account))),
            Err(journal::Error::Conflict { .. }) => {
                let owner = self.store.read::<Owner>(KEY, &new.thumbprint()).await?;
                let location = owner.map(|owner| self.account_url(&owner.account));
                let problem = Problem::malformed("an account has the new key already");
                Err(Problem { location, ..problem.with_status(StatusCode::CONFLICT) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The orders of an account (RFC 8555, section 7.1.2.1) from `cursor` on; those that have failed are left out.
    pub(super) async fn list_orders(&self, id: &str, cursor: usize) -> Outcome<Answer> {
        let account = self.account(id).await?;
        let now = self.store.now();
        let mut urls = Vec::new();
        for listed in account.orders.iter().skip(cursor).take(PAGE).filter(|listed| listed.expires > now) {
            let order = self.store.read::<Order>(ORDER, &listed.id).await?;
            if order.is_some_and(|order| order.status(now) != Status::Invalid) {
                urls.push(self.base.at(&format!("order/{}", listed.id)));
            }
        }
        let answer = Answer::json(StatusCode::OK, json!({ "orders": urls }));
        let next = cursor.saturating_add(PAGE);
        if next >= account.orders.len() {
            return Ok(answer);
        }
        Ok(answer.link(self.base.at(&format!("account/{id}/orders?cursor={next}")), "next"))
    }

    fn show_account(&self, id: &str, account: &Account) -> Value {
        let mut shown = json!({
            "status": if account.deactivated { "deactivated" } else { "valid" },
            "contact": account.contact,
            "orders": self.base.at(&format!("account/{id}/orders")),
        });
        if account.agreed {
            shown["termsOfServiceAgreed"] = json!(true);
        }
        shown
    }

    pub(super) fn account_url(&self, id: &str) -> String {
        self.base.at(&format!("account/{id}"))
    }
}

/// RFC 8555, section 7.3: mail addresses, each alone and without header fields.
fn check_contacts(contacts: &[String]) -> Outcome<()> {
    if contacts.len() > MOST_CONTACTS {
        return Err(Problem::new(
            Kind::InvalidContact,
            format!("an account has at most {MOST_CONTACTS} contacts"),
        ));
    }
    for contact in contacts {
        let Some(address) = contact.strip_prefix("mailto:") else {
            return Err(Problem::new(Kind::UnsupportedContact, "a contact is a `mailto:` address"));
        };
        let is_one = address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
            && address.len() <= LONGEST_CONTACT
            && address.matches('@').count() == 1
            && !address
                .contains(|one: char| one.is_whitespace() || one.is_control() || "?,;<>".contains(one));
        if !is_one {
            return Err(Problem::new(Kind::InvalidContact, "a contact is not one mail address"));
        }
    }
    Ok(())
}
