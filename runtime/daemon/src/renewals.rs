//! Owns the renewal of certificates by themselves: each when its time has come, failed ones again after a while, and what
//! is told about it as events. That one was renewed is told by the effect that renews it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use certs::{Certificate, renewal, store};
use effect::{Result, Timestamp};
use journal::Journal;
use serde_json::json;
use tokio::sync::watch;

/// How often it is looked whether something is due.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);
/// How long after a first failure it is tried again; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(600);
const LONGEST_PAUSE: Duration = Duration::from_secs(12 * 3600);
/// How often it is told that a certificate is about to expire.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(86_400);

/// What renews a certificate: a run of its own.
#[async_trait(?Send)]
pub trait Renewer {
    /// Renews the certificate called `id`.
    ///
    /// # Errors
    /// Where the run does not end well.
    async fn renew(&self, id: &str) -> Result<()>;
}

/// What is remembered of certificates between two looks. Lost with the process: then everything is tried at once.
#[derive(Debug, Default)]
struct Memory {
    /// How often in a row renewing failed, and when it is tried again.
    failed: BTreeMap<String, (u32, Timestamp)>,
    /// When it was last told that one expires.
    warned: BTreeMap<String, Timestamp>,
}

/// Renews what is due until `shutdown` becomes true.
pub async fn keep_renewing(
    journal: &Journal,
    node: &str,
    renewer: &dyn Renewer,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut memory = Memory::default();
    loop {
        if let Err(error) = look(journal, node, renewer, &mut memory, &shutdown).await {
            tracing::warn!(%error, "certificates cannot be looked at");
        }
        tokio::select! {
            () = tokio::time::sleep(BETWEEN_LOOKS) => {}
            _ = shutdown.wait_for(|is_over| *is_over) => return,
        }
    }
}

/// Renews what is due now, one after the other.
async fn look(
    journal: &Journal,
    node: &str,
    renewer: &dyn Renewer,
    memory: &mut Memory,
    shutdown: &watch::Receiver<bool>,
) -> Result<()> {
    for certificate in store::certificates(journal, node).await? {
        let now = journal.clock().now();
        if *shutdown.borrow() {
            return Ok(());
        }
        memory.warn(journal, &certificate, now).await?;
        if !memory.is_due(&certificate, now) {
            continue;
        }
        match renewer.renew(&certificate.id).await {
            Ok(()) => {
                memory.failed.remove(&certificate.id);
            }
            Err(error) => {
                let again = memory.failed_again(&certificate, journal.clock().now());
                let data =
                    json!({ "id": certificate.id, "error": error.to_string(), "again": again.to_string() });
                journal.emit("certs.failed", &data.to_string()).await?;
                tracing::warn!(id = certificate.id, %error, %again, "a certificate could not be renewed");
            }
        }
    }
    Ok(())
}

impl Memory {
    fn is_due(&self, certificate: &Certificate, now: Timestamp) -> bool {
        let waits = self.failed.get(&certificate.id).is_some_and(|(_, again)| *again > now);
        !waits && !certificate.revoked && certificate.renew_at <= now.0
    }

    /// When it is tried again: never so late that the certificate would be missing meanwhile.
    fn failed_again(&mut self, certificate: &Certificate, now: Timestamp) -> Timestamp {
        let (times, again) = self.failed.entry(certificate.id.clone()).or_default();
        let pause = FIRST_PAUSE.saturating_mul(1 << (*times).min(16)).min(LONGEST_PAUSE);
        *times += 1;
        *again = now.after(pause.min((certificate.left(now) / 4).max(BETWEEN_LOOKS)));
        *again
    }

    /// Tells once a day that a certificate expires which should have been renewed by now.
    async fn warn(&mut self, journal: &Journal, certificate: &Certificate, now: Timestamp) -> Result<()> {
        let is_late = certificate.left(now) <= renewal::margin(certificate.life(), None);
        let was_told = self.warned.get(&certificate.id).is_some_and(|at| now.since(*at) < BETWEEN_WARNINGS);
        if certificate.revoked || !is_late || was_told {
            return Ok(());
        }
        self.warned.insert(certificate.id.clone(), now);
        let expires = Timestamp(certificate.not_after).to_string();
        let data = json!({ "id": certificate.id, "serial": certificate.serial, "not_after": expires });
        journal.emit("certs.expiring", &data.to_string()).await?;
        Ok(())
    }
}
