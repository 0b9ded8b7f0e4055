//! Owns the embedded service: accounts, passwords, tokens and policy in the state directory.
//!
//! Everything is a record (see `store`), and every change says what it expects to find. What only this process knows
//! (caches, tries, the queue of hashes) is [`Live`], of which a process has one.

mod accounts;
mod clients;
mod entry;
mod external;
mod factors;
mod own;
mod passkeys;
mod rules;
mod sign_in;
mod sso;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use effect::{Result, Sealer, Timestamp};
use journal::{Clock, Journal};
use zeroize::Zeroizing;

pub use own::Proof;
pub use passkeys::{Enrolled, Passkey};
pub use sign_in::{Outcome, SignIn};
pub use sso::{Authorized, Granted, Leaving};

use crate::account::Account;
use crate::attempts::Attempts;
use crate::driver::{Driver, Feature, Holder, Issued, Order, Question, Token};
use crate::keys::Keys;
use crate::name::Name;
use crate::password::Queue;
use crate::policy::{Explanation, RuleSet};
use crate::settings::Settings;
use crate::sso::Client;
use crate::store::Store;
use crate::token::Refusal;
use crate::witness::{Event, Witness};

/// What only this process knows.
#[derive(Default)]
pub struct Live {
    hashes: Queue,
    attempts: Attempts,
    keys: Keys,
    valid: tokens::Valid,
    /// Held by whoever makes an account for somebody of another issuer: of two with one address the second finds it taken.
    joining: tokio::sync::Mutex<()>,
    /// Counts what changes the answers that are kept.
    changes: AtomicU64,
}

impl Live {
    /// How many password hashes were computed.
    #[must_use]
    pub fn hashed(&self) -> u64 {
        self.hashes.hashed()
    }

    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

/// What the service is put together from.
pub struct Parts {
    /// Where it records.
    pub journal: Journal,
    /// The node that records are kept under.
    pub node: String,
    /// What seals its keys.
    pub sealer: Arc<Sealer>,
    /// `[mcias]`.
    pub settings: Settings,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whoever keeps the audit.
    pub witness: Arc<dyn Witness>,
    /// What only this process knows.
    pub live: Arc<Live>,
}

/// The service.
pub struct Embedded {
    store: Store,
    sealer: Arc<Sealer>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    witness: Arc<dyn Witness>,
    live: Arc<Live>,
}

impl Embedded {
    /// The service of a state directory. Nothing is made before it is needed.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { journal, node, sealer, settings, clock, witness, live } = parts;
        Self { store: Store { journal, node }, sealer, settings, clock, witness, live }
    }

    /// `[mcias]`.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn tell(&self, event: Event) -> Result<()> {
        self.witness.witness(&event).await
    }

    /// Forgets every answer that is kept: what they were made of has changed, and is durable.
    fn forget_answers(&self) {
        self.live.changes.fetch_add(1, Ordering::AcqRel);
    }
}

#[async_trait]
impl Driver for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }

    async fn validate(&self, token: &str, service: &Name) -> Result<Result<Holder, Refusal>> {
        Ok(self.validated(token, service).await?.map(|holder| Holder::clone(&holder)))
    }

    async fn account(&self, name: &Name) -> Result<Option<Account>> {
        self.account_named(name).await
    }

    async fn accounts(&self) -> Result<Vec<Account>> {
        self.every_account().await
    }

    async fn put(&self, before: Option<&Account>, after: Option<&Account>) -> Result<()> {
        self.put_account(before, after).await
    }

    async fn set_password(&self, account: &Account, password: &str) -> Result<()> {
        self.give_password(account, password).await
    }

    async fn issue(&self, order: &Order<'_>) -> Result<Issued> {
        self.issue_ordered(order).await
    }

    async fn handed_on(&self, account: &Name, id: &str) -> Result<Zeroizing<String>> {
        self.made_again(account, id).await
    }

    async fn tokens(&self, account: &Name) -> Result<Vec<Token>> {
        self.tokens_of(account).await
    }

    async fn revoke(&self, account: &Name, ids: &[String]) -> Result<()> {
        self.revoke_tokens(account, ids).await
    }

    async fn rules(&self, set: &Name) -> Result<Option<RuleSet>> {
        self.rules_named(set).await
    }

    async fn put_rules(&self, before: Option<&RuleSet>, after: Option<&RuleSet>) -> Result<()> {
        self.put_rule_set(before, after).await
    }

    async fn sso_client(&self, id: &Name) -> Result<Option<Client>> {
        self.client(id).await
    }

    async fn sso_clients(&self) -> Result<Vec<Client>> {
        self.every_client().await
    }

    async fn put_sso_client(
        &self,
        before: Option<&Client>,
        after: Option<&Client>,
    ) -> Result<Option<Client>> {
        self.put_client(before, after).await
    }

    async fn client_secret(&self, id: &Name) -> Result<(u32, Zeroizing<Vec<u8>>)> {
        self.secret_of_client(id).await
    }

    async fn explain(&self, question: &Question<'_>) -> Result<Explanation> {
        self.explained(question).await
    }
}
