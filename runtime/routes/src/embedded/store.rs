//! Owns changing what is recorded: worked out from what is there, and again where somebody else was faster.

use effect::{Code, Error, Result};
use journal::Journal;

use super::rows::{self, Host};
use crate::driver::Standing;
use crate::route::Key;

/// A change is made again when somebody else was faster.
const ATTEMPTS: usize = 16;

/// The routes of one node.
#[derive(Debug, Clone)]
pub(super) struct Store {
    journal: Journal,
    node: String,
}

impl Store {
    pub(super) fn new(journal: Journal, node: &str) -> Self {
        Self { journal, node: node.to_owned() }
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(super) fn node(&self) -> &str {
        &self.node
    }

    pub(super) async fn list(&self) -> Result<Vec<Standing>> {
        let rows = self.journal.records(rows::ROUTE, Some(&self.node)).await?;
        let mut routes: Vec<Standing> =
            rows.iter().map(|row| rows::standing(&row.value)).collect::<Result<_>>()?;
        routes.sort_by_cached_key(|standing| standing.route.key());
        Ok(routes)
    }

    pub(super) async fn get(&self, key: &Key) -> Result<Option<Standing>> {
        let row = self.journal.record(rows::ROUTE, &self.node, &key.to_string()).await?;
        row.map(|row| rows::standing(&row.value)).transpose()
    }

    /// Records a route, and says what was there.
    ///
    /// # Errors
    /// `MC-G003` where the host name is another service's.
    pub(super) async fn put(&self, standing: &Standing) -> Result<Option<Standing>> {
        let key = standing.route.key();
        let mut before = None;
        self.change(&key, |host| {
            host.check_claim(standing)?;
            before = host.get(&key).cloned();
            Ok((before.as_ref() != Some(standing)).then_some(Some(standing)))
        })
        .await?;
        Ok(before)
    }

    /// Takes a record away, and says what it was.
    pub(super) async fn remove(&self, key: &Key) -> Result<Option<Standing>> {
        let mut before = None;
        self.change(key, |host| {
            before = host.get(key).cloned();
            Ok(before.is_some().then_some(None))
        })
        .await?;
        Ok(before)
    }

    /// Records `wanted` where `there` is what is recorded still; false where it is not.
    pub(super) async fn replace(
        &self,
        key: &Key,
        there: &Standing,
        wanted: Option<&Standing>,
    ) -> Result<bool> {
        let mut is_there = false;
        self.change(key, |host| {
            is_there = host.get(key) == Some(there);
            Ok(is_there.then_some(wanted))
        })
        .await?;
        Ok(is_there)
    }

    /// Makes what `decide` says of what is recorded: nothing, or another value.
    async fn change<'a>(
        &self,
        key: &Key,
        mut decide: impl FnMut(&Host) -> Result<Option<Option<&'a Standing>>>,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let host = Host::read(key, self.journal.look(&self.node, rows::looks(key)).await?)?;
            let Some(wanted) = decide(&host)? else { return Ok(()) };
            match self.journal.write(host.writes(&self.node, key, wanted)).await {
                Err(journal::Error::Conflict { .. }) => {}
                written => return Ok(written?),
            }
        }
        let message = format!("the route `{key}` was changed by others all the time");
        Err(Error::new(Code::ProxyRefused, message).retryable())
    }
}
