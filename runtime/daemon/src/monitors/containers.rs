//! Owns what happens to the containers of deployed services without a run: which exit, which are started again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ::containers::{Driver, Observed, State};
use effect::units::Span;
use effect::{Code, Error, Result};
use journal::{Journal, LastLease, RunId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Parts;
use super::flapping::{self, Restarts};
use super::memory::{Changes, Memory};

/// Of a run's changes only so many are looked through, the last first.
const MOST_CHANGES: usize = 2000;
const PAGE: usize = 200;

/// A driver and its containers, or why it does not answer.
pub(super) type Listed = (Arc<dyn Driver>, Result<Vec<Observed>>);

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
    /// Looks once; a driver has `patience` to list what it has. What runs do is looked at after the containers: whoever has
    /// changed one of them is known by then.
    pub(super) async fn look(parts: &Parts<'_>, patience: Duration) -> Result<Self> {
        let Recorded { services, of_images } = recorded(parts.journal, parts.node).await?;
        let mut drivers = Vec::new();
        // Without services nobody needs to be asked, but an engine may be lost all the same.
        for driver in parts.world.drivers() {
            let listed = tokio::time::timeout(patience, driver.glance()).await.unwrap_or_else(|_| {
                let message = format!("{} does not answer within {}", driver.name(), Span(patience));
                Err(Error::new(Code::TimedOut, message).retryable())
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

    /// Whether a container is certainly not there.
    pub(super) fn is_gone(&self, name: &str) -> bool {
        self.is_whole() && self.find(name).is_none()
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
    pub(super) id: String,
    pub(super) restarts: u32,
    started: Option<String>,
    /// How often a run had taken its service.
    epoch: u64,
    /// When its engine started it again.
    #[serde(default, skip_serializing_if = "Restarts::is_quiet")]
    pub(super) lately: Restarts,
    /// It is down and that was not told: one that flaps is up again at the next look.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    untold: bool,
}

/// Whether this is the first look.
#[derive(Debug, Default)]
pub(super) struct Watch {
    has_looked: bool,
}

pub(super) fn key(name: &str) -> String {
    format!("container/{name}")
}

impl Watch {
    /// Tells what happened since the last look.
    pub(super) async fn compare(
        &mut self,
        parts: &Parts<'_>,
        memory: &mut Memory,
        seen: &Seen,
    ) -> Result<()> {
        let at = parts.journal.clock().now();
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
            let more = again(before.as_ref(), &now);
            // What happened while nobody looked may lie days apart.
            let counted = if self.has_looked { more } else { more.min(1) };
            let same = before.as_ref().filter(|before| before.id == now.id);
            now.lately = same.map(|before| before.lately.clone()).unwrap_or_default().after(counted, at);
            for (event, data) in told(service, name, before.as_ref(), &mut now, found) {
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
        memory.settle(changes).await?;
        self.has_looked = true;
        Ok(())
    }
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
    let gone = Stood {
        up: false,
        stopped: false,
        id: before.map(|before| before.id.clone()).unwrap_or_default(),
        restarts: before.map_or(0, |before| before.restarts),
        started: before.and_then(|before| before.started.clone()),
        epoch,
        lately: Restarts::default(),
        untold: false,
    };
    let Some(found) = found else { return gone };
    Stood {
        up: matches!(found.state, State::Running | State::Restarting | State::Paused | State::Stopping),
        id: found.id.clone(),
        restarts: found.restarts,
        started: found.started_at.clone(),
        ..gone
    }
}

/// How often its engine has started it again since it was looked at last. What a run did meanwhile is its business.
fn again(before: Option<&Stood>, now: &Stood) -> u32 {
    let same = before.filter(|before| now.id == before.id && now.epoch == before.epoch);
    same.map_or(0, |before| flapping::between(before.restarts, now.restarts))
}

/// What a change is told as. One that flaps is told of once, and not each time that it goes and comes.
fn told(
    service: &str,
    name: &str,
    before: Option<&Stood>,
    now: &mut Stood,
    found: Option<&Observed>,
) -> Vec<(&'static str, Value)> {
    let mut told = Vec::new();
    let flapped = before.is_some_and(|before| before.lately.flaps);
    let flaps = now.lately.flaps;
    if flaps && !flapped {
        let data = json!({ "name": name, "service": service, "restarts": now.lately.count() });
        told.push(("container.flapping", data));
    } else if !flaps && now.up && again(before, now) > 0 {
        let data = json!({ "name": name, "service": service, "restarts": now.restarts });
        told.push(("container.restarted", data));
    }
    if flapped && !flaps {
        told.push(("container.settled", json!({ "name": name, "service": service })));
    }
    if now.up {
        return told;
    }
    // It was told already, unless it has run meanwhile.
    let is_news = before.is_none_or(|before| before.up || before.stopped || before.started != now.started);
    now.untold = is_news && flaps;
    let was_untold = before.is_some_and(|before| before.untold);
    if !now.stopped && !now.untold && (is_news || was_untold) {
        let exit_code = found.and_then(|found| found.exit_code);
        told.push(("container.exited", json!({ "name": name, "service": service, "exit_code": exit_code })));
    }
    told
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stood(restarts: u32) -> Stood {
        Stood {
            up: true,
            stopped: false,
            id: "a".to_owned(),
            restarts,
            started: Some(format!("start {restarts}")),
            epoch: 1,
            lately: Restarts::default(),
            untold: false,
        }
    }

    /// The names of what is told of these looks, one after another.
    fn events(looks: impl IntoIterator<Item = Stood>) -> Vec<&'static str> {
        let (mut before, mut events) = (None::<Stood>, Vec::new());
        for (number, mut now) in looks.into_iter().enumerate() {
            let same = before.as_ref().filter(|before| before.id == now.id);
            let lately = same.map(|before| before.lately.clone()).unwrap_or_default();
            let at = journal::Timestamp(1_000_000 + i64::try_from(number).unwrap() * 60_000);
            now.lately = lately.after(again(before.as_ref(), &now), at);
            events.extend(told("web", "web", before.as_ref(), &mut now, None).iter().map(|(name, _)| *name));
            before = Some(now);
        }
        events
    }

    #[test]
    fn one_that_flaps_is_told_of_once_and_once_when_it_has_settled() {
        let restarts = (0..=20).chain(std::iter::repeat_n(20, 11)).map(stood);
        assert_eq!(
            events(restarts),
            ["container.restarted", "container.restarted", "container.flapping", "container.settled"]
        );
    }

    #[test]
    fn a_replaced_container_has_no_restarts_of_the_one_before() {
        let replaced = Stood { id: "b".to_owned(), ..stood(0) };
        let again = Stood { restarts: 1, ..replaced.clone() };
        assert_eq!(
            events([stood(0), stood(5), replaced, again]),
            ["container.flapping", "container.settled", "container.restarted"]
        );
    }

    #[test]
    fn restarts_over_days_are_told_one_by_one() {
        let looks = (0..30).map(|look| stood(look / 8));
        assert_eq!(events(looks), ["container.restarted"; 3]);
    }

    #[test]
    fn one_that_flaps_is_down_only_when_it_stays_down() {
        let down = |restarts| Stood { up: false, ..stood(restarts) };
        let looks = [stood(0), stood(3), down(3), stood(4), down(4), down(4), down(4)];
        assert_eq!(events(looks), ["container.flapping", "container.exited"]);
    }

    #[test]
    fn what_was_remembered_before_restarts_were_is_read() {
        let old = r#"{"up":true,"stopped":false,"id":"a","restarts":2,"started":null,"epoch":1}"#;
        let read: Stood = serde_json::from_str(old).unwrap();
        assert!(read.lately.is_quiet() && !read.untold);
        assert_eq!(serde_json::to_string(&read).unwrap(), old);
    }
}
