//! Owns the renewal of certificates by themselves: each when its time has come, failed ones again after a while, and what
//! is told about it as events. That one was renewed is told by the effect that renews it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use certs::{Certificate, store};
use effect::{Result, Timestamp};
use journal::{Expect, Journal, Write};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::metrics::Metrics;

/// How often it is looked whether something is due.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);
/// How long after a first failure it is tried again; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(600);
const LONGEST_PAUSE: Duration = Duration::from_secs(12 * 3600);
/// How often authorities are asked when they want theirs renewed.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(6 * 3600);
/// How often it is told that a certificate is about to expire.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(86_400);
/// The kind of the records of what was told.
const KIND: &str = "monitor";

/// What renews a certificate: a run of its own.
#[async_trait(?Send)]
pub trait Renewer {
    /// Renews the certificate called `id`.
    ///
    /// # Errors
    /// Where the run does not end well.
    async fn renew(&self, id: &str) -> Result<()>;

    /// When the authority of a certificate wants it renewed (RFC 9773), if it says so.
    ///
    /// # Errors
    /// Where the authority does not answer.
    async fn window(&self, certificate: &Certificate) -> Result<Option<(Timestamp, Timestamp)>>;
}

/// What is remembered of certificates between two looks. Lost with the process: then everything is tried at once. What
/// was told is kept in records.
#[derive(Debug, Default)]
struct Memory {
    /// How often in a row renewing failed, and when it is tried again.
    failed: BTreeMap<String, (u32, Timestamp)>,
    /// When an authority was last asked about a certificate, and from when on it wants it renewed.
    windows: BTreeMap<String, (Timestamp, Option<Timestamp>)>,
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
        memory.warn(journal, node, &certificate, now).await?;
        memory.ask(renewer, &certificate, now).await;
        if !memory.is_due(&certificate, now) {
            continue;
        }
        match renewer.renew(&certificate.id).await {
            Ok(()) => {
                memory.failed.remove(&certificate.id);
                memory.windows.remove(&certificate.serial);
            }
            Err(error) => {
                let again = memory.failed_again(&certificate, journal.clock().now());
                let mut data = described(&certificate);
                data["code"] = json!(error.code);
                data["message"] = json!(error.message);
                data["error"] = json!(error.to_string());
                data["again"] = json!(again.to_string());
                journal.emit("certs.failed", &data.to_string()).await?;
                Metrics::shared().event("certs.failed");
                tracing::warn!(id = certificate.id, %error, %again, "a certificate could not be renewed");
            }
        }
    }
    Ok(())
}

impl Memory {
    fn is_due(&self, certificate: &Certificate, now: Timestamp) -> bool {
        let waits = self.failed.get(&certificate.id).is_some_and(|(_, again)| *again > now);
        let window = self.windows.get(&certificate.serial).and_then(|(_, from)| *from);
        let is_time = certificate.renew_at <= now.0 || window.is_some_and(|from| from <= now);
        !waits && !certificate.revoked && is_time
    }

    /// Asks the authority when it wants a certificate renewed: it may have to be replaced before its time.
    async fn ask(&mut self, renewer: &dyn Renewer, certificate: &Certificate, now: Timestamp) {
        let was_asked = |(at, _): &(Timestamp, _)| now.since(*at) < BETWEEN_QUESTIONS;
        if self.windows.get(&certificate.serial).is_some_and(was_asked) {
            return;
        }
        let from = match renewer.window(certificate).await {
            Ok(window) => window.map(|(from, _)| from),
            Err(error) => {
                tracing::debug!(id = certificate.id, %error, "the authority does not say when to renew");
                None
            }
        };
        self.windows.insert(certificate.serial.clone(), (now, from));
    }

    /// When it is tried again: never so late that the certificate would be missing meanwhile.
    fn failed_again(&mut self, certificate: &Certificate, now: Timestamp) -> Timestamp {
        let (times, again) = self.failed.entry(certificate.id.clone()).or_default();
        let pause = FIRST_PAUSE.saturating_mul(1 << (*times).min(16)).min(LONGEST_PAUSE);
        *times += 1;
        *again = now.after(pause.min((certificate.left(now) / 4).max(BETWEEN_LOOKS)));
        *again
    }

    /// Tells once a day that a certificate expires which should have been renewed by now, whichever process does.
    async fn warn(
        &mut self,
        journal: &Journal,
        node: &str,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<()> {
        if !certificate.is_late(now) {
            return Ok(());
        }
        let name = format!("certificate/{}", certificate.id);
        let told = journal.record(KIND, node, &name).await?;
        let told = told.and_then(|record| serde_json::from_str::<Warned>(&record.value).ok());
        // A clock that was set back does not keep it from being told.
        let is_told = told.is_some_and(|told| {
            told.serial == certificate.serial && told.at <= now && now.since(told.at) < BETWEEN_WARNINGS
        });
        if is_told {
            return Ok(());
        }
        let mut data = described(certificate);
        data["serial"] = json!(certificate.serial);
        data["not_after"] = data["expires"].clone();
        let warned = Warned { serial: certificate.serial.clone(), at: now };
        let write = Write {
            kind: KIND.to_owned(),
            node: node.to_owned(),
            name,
            value: serde_json::to_string(&warned).ok(),
            expect: Expect::Any,
        };
        journal.tell(vec![("certs.expiring".to_owned(), data.to_string())], vec![write]).await?;
        Metrics::shared().event("certs.expiring");
        Ok(())
    }
}

/// That it was told of a certificate, so that a restart does not tell it again.
#[derive(Serialize, Deserialize)]
struct Warned {
    serial: String,
    at: Timestamp,
}

/// What every event about a certificate says.
fn described(certificate: &Certificate) -> Value {
    let hostnames: Vec<String> = certificate.hostnames.as_slice().iter().map(ToString::to_string).collect();
    let expires = Timestamp(certificate.not_after).to_string();
    json!({ "id": certificate.id, "hostnames": hostnames, "expires": expires })
}

#[cfg(test)]
mod tests {
    use certs::{KeyType, Names};
    use effect::{Code, Error, Sealer};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const BEGIN: Timestamp = Timestamp(1_800_000_000_000);

    /// One that lives for 90 days and is renewed after 60.
    fn certificate() -> Certificate {
        Certificate {
            id: "a.test".into(),
            hostnames: Names::parse(&["a.test"]).unwrap(),
            profile: "server".into(),
            key_type: KeyType::P256,
            lifetime: None,
            service: None,
            driver: "acme".into(),
            serial: "01".into(),
            fingerprint: String::new(),
            not_before: BEGIN.0,
            not_after: BEGIN.after(DAY * 90).0,
            renew_at: BEGIN.after(DAY * 60).0,
            chain: String::new(),
            roots: String::new(),
            files: None,
            amiss: Vec::new(),
            key: Sealer::ephemeral().hide(b""),
            order: String::new(),
            revoked: false,
        }
    }

    /// An authority that wants certificates renewed from a day on.
    struct Wanted(Option<u32>);

    #[async_trait(?Send)]
    impl Renewer for Wanted {
        async fn renew(&self, _: &str) -> Result<()> {
            Err(Error::new(Code::AuthorityUnavailable, "nobody is there"))
        }

        async fn window(&self, _: &Certificate) -> Result<Option<(Timestamp, Timestamp)>> {
            let from = self.0.map(|day| BEGIN.after(DAY * day));
            Ok(from.map(|from| (from, from.after(DAY))))
        }
    }

    #[test]
    fn a_certificate_is_due_from_its_time_on_unless_it_is_revoked() {
        let (memory, certificate) = (Memory::default(), certificate());
        assert!(!memory.is_due(&certificate, BEGIN.after(DAY * 59)));
        assert!(memory.is_due(&certificate, BEGIN.after(DAY * 61)));
        assert!(!memory.is_due(&Certificate { revoked: true, ..certificate }, BEGIN.after(DAY * 61)));
    }

    #[tokio::test]
    async fn an_authority_may_want_it_renewed_before_its_time() {
        let (mut memory, certificate) = (Memory::default(), certificate());
        memory.ask(&Wanted(Some(3)), &certificate, BEGIN.after(DAY)).await;
        assert!(!memory.is_due(&certificate, BEGIN.after(DAY * 2)));
        assert!(memory.is_due(&certificate, BEGIN.after(DAY * 4)));
        // It is not asked at every look; what it says then counts.
        memory.ask(&Wanted(None), &certificate, BEGIN.after(DAY)).await;
        assert!(memory.is_due(&certificate, BEGIN.after(DAY * 4)));
        memory.ask(&Wanted(None), &certificate, BEGIN.after(DAY * 2)).await;
        assert!(!memory.is_due(&certificate, BEGIN.after(DAY * 4)));
    }

    #[test]
    fn what_failed_is_tried_again_ever_later_and_in_time() {
        let (mut memory, certificate) = (Memory::default(), certificate());
        let now = BEGIN.after(DAY * 61);
        let first = memory.failed_again(&certificate, now);
        assert_eq!(first, now.after(FIRST_PAUSE));
        assert!(!memory.is_due(&certificate, now));
        assert!(memory.is_due(&certificate, first));
        let second = memory.failed_again(&certificate, now);
        assert_eq!(second, now.after(FIRST_PAUSE * 2));
        for _ in 0..40 {
            assert!(memory.failed_again(&certificate, now) <= now.after(LONGEST_PAUSE));
        }
        let last_hour = Timestamp(certificate.not_after - 3_600_000);
        assert_eq!(memory.failed_again(&certificate, last_hour), last_hour.after(Duration::from_secs(900)));
    }
}
