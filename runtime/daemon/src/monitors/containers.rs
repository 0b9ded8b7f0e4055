//! Owns what happens to the containers of deployed services without a run: which exit, which are started again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ::containers::{Driver, Observed, State};
use effect::{Code, Error, Result};
use journal::{Journal, LastLease, RunId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Parts;
use super::memory::{Changes, Memory};

/// For a driver to list what it has.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of a run's changes only so many are looked through, the last first.
const MOST_CHANGES: usize = 2000;
const PAGE: usize = 200;

/// A driver and its containers, or why it does not answer.
type Listed = (Arc<dyn Driver>, Result<Vec<Observed>>);

/// Everything that one look has found.
pub(super) struct Seen {
    /// By driver.
    pub(super) drivers: Vec<Listed>,
    /// The containers that each deployed service has by the registry.
    pub(super) services: BTreeMap<String, Vec<String>>,
    leases: BTreeMap<String, LastLease>,
    /// Services that a run changes now.
    pub(super) held: BTreeSet<String>,
    /// Recorded containers that an engine makes, from an image.
    of_images: BTreeSet<String>,
}

impl Seen {
    /// Looks once. What runs do is looked at after the containers: whoever has changed one of them is known by then.
    pub(super) async fn look(parts: &Parts<'_>) -> Result<Self> {
        let Recorded { services, of_images } = recorded(parts.journal, parts.node).await?;
        let mut drivers = Vec::new();
        // Without services nobody needs to be asked, but an engine may be lost all the same.
        for driver in parts.world.drivers() {
            let listed = tokio::time::timeout(PATIENCE, driver.list()).await.unwrap_or_else(|_| {
                let message = format!("{} does not answer within {} s", driver.name(), PATIENCE.as_secs());
                Err(Error::new(Code::EngineUnavailable, message).retryable())
            });
            drivers.push((driver.clone(), listed));
        }
        let is_held = |service: &&String| parts.journal.holder_of_lease(parts.node, service).is_some();
        let held = services.keys().filter(is_held).cloned().collect();
        let leases = parts.journal.last_leases(parts.node).await?.into_iter().collect();
        Ok(Self { drivers, services, leases, held, of_images })
    }

    /// The container called `name` and its driver.
    pub(super) fn find(&self, name: &str) -> Option<(&Arc<dyn Driver>, &Observed)> {
        self.drivers.iter().find_map(|(driver, listed)| {
            let listed = listed.as_ref().ok()?;
            listed.iter().find(|container| container.name == name).map(|found| (driver, found))
        })
    }

    /// How many containers of images are recorded that no run changes now, and how many of them are there.
    pub(super) fn of_images(&self) -> (usize, usize) {
        let recorded: Vec<&String> =
            self.settled().map(|(_, name)| name).filter(|name| self.of_images.contains(*name)).collect();
        let found = recorded.iter().filter(|name| self.find(name).is_some()).count();
        (recorded.len(), found)
    }

    /// Who took the service last.
    pub(super) fn lease(&self, service: &str) -> Option<&LastLease> {
        self.leases.get(service)
    }

    /// Whether everybody answered: what is not found then is gone.
    fn is_whole(&self) -> bool {
        self.drivers.iter().all(|(_, listed)| listed.is_ok())
    }

    /// The services that no run changes now, with their containers.
    pub(super) fn settled(&self) -> impl Iterator<Item = (&String, &String)> {
        let free = self.services.iter().filter(|(service, _)| !self.held.contains(*service));
        free.flat_map(|(service, names)| names.iter().map(move |name| (service, name)))
    }
}

/// What the registry says of containers.
#[derive(Debug, Default)]
struct Recorded {
    services: BTreeMap<String, Vec<String>>,
    of_images: BTreeSet<String>,
}

async fn recorded(journal: &Journal, node: &str) -> Result<Recorded> {
    let mut recorded = Recorded::default();
    for record in journal.records("service", Some(node)).await? {
        let value: Value = serde_json::from_str(&record.value).unwrap_or_default();
        let containers = value["spec"]["containers"].as_array().into_iter().flatten();
        let mut names = Vec::new();
        for container in containers {
            let Some(name) = container["name"].as_str() else { continue };
            names.push(name.to_owned());
            if container["image"].is_string() {
                recorded.of_images.insert(name.to_owned());
            }
        }
        recorded.services.insert(record.name, names);
    }
    Ok(recorded)
}

/// The containers of every deployed service, by the registry.
pub(super) async fn services(journal: &Journal, node: &str) -> Result<BTreeMap<String, Vec<String>>> {
    Ok(recorded(journal, node).await?.services)
}

/// How a container stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stood {
    up: bool,
    /// A run stopped it.
    pub(super) stopped: bool,
    id: String,
    restarts: u32,
    started: Option<String>,
    /// How often a run had taken its service.
    epoch: u64,
}

pub(super) fn key(name: &str) -> String {
    format!("container/{name}")
}

/// Tells what happened since the last look.
pub(super) async fn compare(parts: &Parts<'_>, memory: &mut Memory, seen: &Seen) -> Result<()> {
    let mut changes = Changes::default();
    for (service, name) in seen.settled() {
        let found = seen.find(name).map(|(_, found)| found);
        // It may be with the driver that does not answer.
        if found.is_none() && !seen.is_whole() {
            continue;
        }
        let before: Option<Stood> = memory.of(&key(name)).await?;
        let lease = seen.lease(service);
        let mut now = stands(found, lease.map_or(0, |lease| lease.epoch), before.as_ref());
        if !now.up {
            now.stopped = is_stopped(parts.journal, name, before.as_ref(), lease).await?;
        }
        if let Some((event, data)) = told(service, name, before.as_ref(), &now, found) {
            changes.tell(event, data);
        }
        changes.keep(key(name), &now);
    }
    let names: BTreeSet<&String> = seen.services.values().flatten().collect();
    for known in memory.all().await?.keys() {
        let is_gone = known.split_once('/').is_some_and(|(kind, name)| {
            matches!(kind, "container" | "health") && !names.contains(&name.to_owned())
        });
        if is_gone {
            changes.forget(known.clone());
        }
    }
    memory.settle(changes).await
}

/// Whether it was a run that stopped a container which is down. `before` is how it was remembered last.
pub(super) async fn is_stopped(
    journal: &Journal,
    name: &str,
    before: Option<&Stood>,
    lease: Option<&LastLease>,
) -> Result<bool> {
    let epoch = lease.map_or(0, |lease| lease.epoch);
    let touched = before.is_none_or(|before| before.epoch != epoch);
    match lease.filter(|_| touched) {
        Some(lease) => {
            let usual = before.is_some_and(|before| before.stopped);
            Ok(was_stopped(journal, &lease.run, name).await?.unwrap_or(usual))
        }
        None => Ok(before.is_some_and(|before| !before.up && before.stopped)),
    }
}

fn stands(found: Option<&Observed>, epoch: u64, before: Option<&Stood>) -> Stood {
    match found {
        Some(found) => Stood {
            up: matches!(found.state, State::Running | State::Restarting | State::Paused | State::Stopping),
            stopped: false,
            id: found.id.clone(),
            restarts: found.restarts,
            started: found.started_at.clone(),
            epoch,
        },
        None => Stood {
            up: false,
            stopped: false,
            id: before.map(|before| before.id.clone()).unwrap_or_default(),
            restarts: 0,
            started: before.and_then(|before| before.started.clone()),
            epoch,
        },
    }
}

/// What a change is told as.
fn told(
    service: &str,
    name: &str,
    before: Option<&Stood>,
    now: &Stood,
    found: Option<&Observed>,
) -> Option<(&'static str, Value)> {
    if now.up {
        let before = before?;
        let again = now.restarts > before.restarts && now.id == before.id && now.epoch == before.epoch;
        let data = json!({ "name": name, "service": service, "restarts": now.restarts });
        return again.then_some(("container.restarted", data));
    }
    // It was told already, unless it has run meanwhile.
    let is_news = before.is_none_or(|before| before.up || before.stopped || before.started != now.started);
    let exit_code = found.and_then(|found| found.exit_code);
    let data = json!({ "name": name, "service": service, "exit_code": exit_code });
    (is_news && !now.stopped).then_some(("container.exited", data))
}

/// Whether the last thing that a run did to a container was to stop it or take it away; nothing where it did not touch it.
async fn was_stopped(journal: &Journal, run: &str, name: &str) -> Result<Option<bool>> {
    let Ok(run) = run.parse::<RunId>() else { return Ok(None) };
    let (mut before, mut looked) = (None, 0);
    loop {
        let page = match journal.changed(&run, before, PAGE).await {
            Ok(page) => page,
            // It was taken away long since.
            Err(journal::Error::UnknownRun { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        for entry in &page {
            let arguments: Value = serde_json::from_str(&entry.arguments).unwrap_or_default();
            if entry.identity.name.starts_with("containers.") && arguments["name"] == name {
                return Ok(Some(matches!(&*entry.identity.name, "containers.stop" | "containers.remove")));
            }
        }
        looked += page.len();
        before = page.iter().filter_map(|entry| entry.order).min();
        if before.is_none() || looked >= MOST_CHANGES {
            return Ok(None);
        }
    }
}
