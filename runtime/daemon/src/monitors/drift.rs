//! Owns whether services are what the registry says. Each is compared by itself, so that one that cannot be hides no other.

use std::collections::BTreeSet;
use std::time::Duration;

use effect::{Code, Error, Result};
use journal::LastLease;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::containers::{self, Stood as Container};
use super::memory::{Changes, Memory};
use super::{Compared, Difference, Parts};

/// For one comparison.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of more differences than these only the first are told.
const MOST: usize = 50;

/// What is known of the last look.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Services that could not be compared; each is told of once in the log.
    blind: BTreeSet<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stood {
    drifts: bool,
}

fn key(service: &str) -> String {
    format!("drift/{service}")
}

impl Watch {
    pub(super) async fn compare(
        &mut self,
        parts: &Parts<'_>,
        memory: &mut Memory,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<()> {
        let services = containers::services(parts.journal, parts.node).await?;
        let stood: Vec<String> = memory
            .all()
            .await?
            .keys()
            .filter_map(|key| key.strip_prefix("drift/"))
            .map(str::to_owned)
            .collect();
        let mut changes = Changes::default();
        for service in stood.iter().filter(|service| !services.contains_key(*service)) {
            changes.forget(key(service));
        }
        memory.settle(changes).await?;
        self.blind.retain(|service| services.contains_key(service));
        for (service, names) in &services {
            if *shutdown.borrow() {
                return Ok(());
            }
            let is_held = || parts.journal.holder_of_lease(parts.node, service).is_some();
            if is_held() {
                continue;
            }
            let before = last_lease(parts, service).await?;
            let compared = compare(parts, service).await.and_then(|Compared { differences, refused }| {
                // What is known to differ does, whatever else there may be.
                refused.filter(|_| differences.is_empty()).map_or(Ok(differences), Err)
            });
            // What a run has begun to change meanwhile is its business.
            let lease = last_lease(parts, service).await?;
            let epoch = |lease: &Option<LastLease>| lease.as_ref().map(|lease| lease.epoch);
            if is_held() || epoch(&lease) != epoch(&before) {
                continue;
            }
            match compared {
                Ok(differences) => {
                    self.blind.remove(service);
                    let left = if differences.is_empty() {
                        differences
                    } else {
                        without_stopped(names, &stopped(parts, names, lease.as_ref()).await?, differences)
                    };
                    settle(memory, service, left).await?;
                }
                Err(error) if self.blind.insert(service.clone()) => {
                    tracing::warn!(service, %error, "a service cannot be compared with the registry");
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// How a service differs from its record, within a time.
pub(super) async fn compare(parts: &Parts<'_>, service: &str) -> Result<Compared> {
    let compared = tokio::time::timeout(PATIENCE, parts.judge.compare(service)).await;
    compared
        .unwrap_or_else(|_| Err(Error::new(Code::TimedOut, format!("comparing `{service}` took too long"))))
}

async fn settle(memory: &mut Memory, service: &str, mut differences: Vec<Difference>) -> Result<()> {
    let stood: Option<Stood> = memory.of(&key(service)).await?;
    let (drifted, drifts) = (stood.is_some_and(|stood| stood.drifts), !differences.is_empty());
    let mut changes = Changes::default();
    if drifts && !drifted {
        differences.truncate(MOST);
        changes.tell("drift.detected", json!({ "service": service, "differences": differences }));
        changes.keep(key(service), &Stood { drifts: true });
    }
    if drifted && !drifts {
        changes.tell("drift.gone", json!({ "service": service }));
        changes.forget(key(service));
    }
    memory.settle(changes).await
}

async fn last_lease(parts: &Parts<'_>, service: &str) -> Result<Option<LastLease>> {
    let leases = parts.journal.last_leases(parts.node).await?;
    Ok(leases.into_iter().find_map(|(name, lease)| (name == service).then_some(lease)))
}

/// Those of the containers that a run has stopped. The other loop may not have looked since.
async fn stopped(parts: &Parts<'_>, names: &[String], lease: Option<&LastLease>) -> Result<BTreeSet<String>> {
    let mut memory = Memory::new(parts);
    let mut stopped = BTreeSet::new();
    for name in names {
        let before: Option<Container> = memory.of(&containers::key(name)).await?;
        if containers::is_stopped(parts.journal, name, before.as_ref(), lease).await? {
            stopped.insert(name.clone());
        }
    }
    Ok(stopped)
}

/// Without that a container of the service does not run which a run has stopped: somebody wanted that.
pub(super) fn without_stopped(
    names: &[String],
    stopped: &BTreeSet<String>,
    mut differences: Vec<Difference>,
) -> Vec<Difference> {
    // A service that was stopped has no names and no routes either.
    if !stopped.is_empty() && stopped.len() == names.len() {
        differences.retain(|difference| difference.effect == "containers.ensure");
    }
    for difference in &mut differences {
        if stopped.contains(&difference.object) {
            difference.fields.retain(|field| field != "state");
        }
    }
    differences.retain(|difference| {
        !(stopped.contains(&difference.object)
            && difference.action == "update"
            && difference.fields.is_empty())
    });
    differences
}
