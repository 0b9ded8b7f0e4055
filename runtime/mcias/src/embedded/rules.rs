//! Owns the login policy of the embedded service.

use effect::{Code, Error, Result};

use super::Embedded;
use crate::account::Kind;
use crate::credentials::FirstFactor;
use crate::driver::Question;
use crate::name::Name;
use crate::policy::{Attempt, Explanation, Policy, RECOVERED_SET, RuleSet};
use crate::store::{RULES, Row, expected};
use crate::witness::Event;

const MOST_SETS: usize = 100;

impl Embedded {
    pub(super) async fn rules_named(&self, set: &Name) -> Result<Option<RuleSet>> {
        Ok(self.store.read(RULES, set.as_str()).await?.map(|row| row.value))
    }

    /// Puts a set of anybody's in the place of the one before.
    pub(super) async fn put_rule_set(&self, before: Option<&RuleSet>, after: Option<&RuleSet>) -> Result<()> {
        if after.is_some_and(|after| after.name.as_str() == RECOVERED_SET) {
            let message = format!("`{RECOVERED_SET}` comes before all other rules, and nobody writes it");
            return Err(Error::new(Code::LoginPolicy, message)
                .hint("`mcrun mcias recover-admin` makes it on the machine; it may be taken away"));
        }
        self.put_any_rule_set(before, after).await
    }

    pub(super) async fn put_any_rule_set(
        &self,
        before: Option<&RuleSet>,
        after: Option<&RuleSet>,
    ) -> Result<()> {
        let Some(name) = after.or(before).map(|set| &set.name) else { return Ok(()) };
        if let Some(after) = after {
            after.check()?;
            let sets: Vec<RuleSet> = self.store.all(RULES).await?;
            if before.is_none() && sets.len() >= MOST_SETS {
                let message = format!("the login policy has {MOST_SETS} sets of rules, and that is the most");
                return Err(Error::new(Code::LoginPolicy, message));
            }
        }
        let found: Option<Row<RuleSet>> = self.store.read(RULES, name.as_str()).await?;
        let changed = || {
            let message = format!("the rules `{name}` were changed by somebody else meanwhile");
            Error::new(Code::AccountChanged, message).retryable()
        };
        if found.as_ref().map(|row| &row.value) != before {
            return Err(changed());
        }
        let expect = expected(found.as_ref());
        let write = match after {
            Some(after) => self.store.write(RULES, name.as_str(), after, expect)?,
            None => self.store.removal(RULES, name.as_str(), expect),
        };
        if !self.store.commit(vec![write]).await? {
            return Err(changed());
        }
        self.tell(Event::PolicyChanged { set: name.clone() }).await
    }

    /// Every set of rules, by name.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn every_rule_set(&self) -> Result<Vec<RuleSet>> {
        self.store.all(RULES).await
    }

    /// The login policy as of now.
    pub(super) async fn policy(&self) -> Result<Policy> {
        Policy::new(&self.store.all::<RuleSet>(RULES).await?)
    }

    pub(super) async fn explained(&self, question: &Question<'_>) -> Result<Explanation> {
        let account = match &question.planned.account {
            Some(planned) => planned.clone(),
            None => self.known_account(question.account).await?,
        };
        if !account.is_active() {
            return Ok(Explanation::refused(format!(
                "`{}` is disabled, whatever the rules say",
                account.name
            )));
        }
        let tags = self.settings.tags(question.service);
        let attempt = Attempt {
            account: &account,
            service: question.service,
            service_tags: &tags,
            address: question.address,
            at: question.at.unwrap_or_else(|| self.now()),
            first: (account.kind == Kind::Human).then_some(question.first.unwrap_or(FirstFactor::Password)),
        };
        let mut sets: Vec<RuleSet> = self.store.all(RULES).await?;
        for (name, planned) in &question.planned.rules {
            sets.retain(|set| &set.name != name);
            sets.extend(planned.clone());
        }
        Ok(Policy::new(&sets)?.explain(&attempt))
    }
}
