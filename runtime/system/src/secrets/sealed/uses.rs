//! Owns what is recorded of a secret's use: which run took which version where, and when. The newest of each secret are
//! kept, and written before a value leaves.

use effect::{Code, Error, Result, Timestamp};
use journal::audit::New;
use journal::{Expect, RunId, Write};
use serde::{Deserialize, Serialize};

use super::{ATTEMPTS, Vault, contended, record};

/// What is recorded of a secret's use, by its name.
pub(super) const USE: &str = "secret-use";
/// How many are kept of each secret.
const KEPT: usize = 100;

/// One use of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// Which version.
    pub version: u32,
    /// Where it went, `containers:mcq`.
    pub to: String,
    /// The run that took it; nothing for plans and for what mcrun itself does with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// When: the first time of this run.
    pub at: Timestamp,
}

impl Vault {
    /// Records a use, together with what the audit is `told` of it. Durable on return.
    pub(in super::super) async fn record_use(
        &self,
        name: &str,
        version: u32,
        run: Option<&str>,
        to: &str,
        told: &New,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let found = self.journal.record(USE, &self.node, name).await?;
            // One that cannot be read any more is begun anew: that it was used now counts more.
            let mut uses: Vec<Use> =
                found.as_ref().and_then(|found| serde_json::from_str(&found.value).ok()).unwrap_or_default();
            let is_known =
                |known: &Use| known.version == version && known.run.as_deref() == run && known.to == to;
            match run {
                Some(_) if uses.iter().any(is_known) => return Ok(()),
                // What has no run is kept once, with the last time.
                None => uses.retain(|known| !is_known(known)),
                Some(_) => {}
            }
            let at = self.journal.clock().now();
            uses.push(Use { version, to: to.to_owned(), run: run.map(str::to_owned), at });
            uses.drain(..uses.len().saturating_sub(KEPT));
            let write = Write {
                kind: USE.into(),
                node: self.node.clone(),
                name: name.to_owned(),
                value: Some(record::text(&uses)?),
                expect: found.map_or(Expect::Absent, |found| Expect::Value(found.value.into())),
            };
            match self.journal.tell_audited(Vec::new(), vec![write], vec![told.clone()]).await {
                Err(journal::Error::Conflict { .. }) => {}
                other => return Ok(other?),
            }
        }
        Err(contended())
    }

    /// Tells the audit of a use of what is not in the store. Where a run uses it, it is durable on return; what mcrun does
    /// itself, such as answering for names, goes on with a full disk as well.
    pub(in super::super) async fn audit_use(&self, told: New) -> Result<()> {
        match told.run {
            Some(_) => Ok(self.journal.tell_audited(Vec::new(), Vec::new(), vec![told]).await?),
            None => {
                drop(self.journal.audit(told));
                Ok(())
            }
        }
    }

    /// Who had a run recorded.
    pub(in super::super) async fn starter(&self, run: &RunId) -> Result<Option<String>> {
        Ok(self.journal.starter(run).await?)
    }

    /// The recorded uses of a secret, the last one last.
    ///
    /// # Errors
    /// `MC-P015` where they cannot be read.
    pub async fn uses(&self, name: &str) -> Result<Vec<Use>> {
        let Some(found) = self.journal.record(USE, &self.node, name).await? else { return Ok(Vec::new()) };
        serde_json::from_str(&found.value).map_err(|_| {
            Error::new(
                Code::SecretBroken,
                format!("what is recorded of the use of secret `{name}` cannot be read"),
            )
        })
    }
}
