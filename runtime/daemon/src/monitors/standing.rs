//! Owns how services stand at this moment, for whoever asks: judged as the monitors judge them, without telling of it. What
//! the monitors remember is of use where there is any; nothing of it is needed.

use std::collections::BTreeSet;
use std::time::Duration;

use ::containers::{Observed, State as Running};
use effect::{Code, Error, Result};
use serde::Serialize;
use serde_json::Value;

use super::containers::{self, Seen, Stood};
use super::engine::Lost;
use super::memory::Memory;
use super::{Difference, Parts, drift, flapping, health};

/// A probe that fails may be chance: it is made so often.
const PROBES: u32 = 3;
const BETWEEN_PROBES: Duration = Duration::from_millis(200);

/// How a service stands: the worst that is found of it, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is as recorded, and runs well.
    Healthy,
    /// A run has stopped it.
    Stopped,
    /// It cannot be compared, and nothing is known to be wrong.
    Unknown,
    /// It runs, but not with all of its containers, or a health check fails.
    Degraded,
    /// A container is started again several times within minutes.
    Flapping,
    /// It is not as recorded.
    Drifted,
    /// A recorded container is not there.
    Missing,
}

impl State {
    /// The word as it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Stopped => "stopped",
            Self::Degraded => "degraded",
            Self::Flapping => "flapping",
            Self::Drifted => "drifted",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is as somebody wanted it.
    #[must_use]
    pub fn is_as_wanted(self) -> bool {
        matches!(self, Self::Healthy | Self::Stopped)
    }
}

/// How one service stands.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// The service.
    pub service: String,
    /// The version that is recorded.
    pub version: Option<String>,
    /// The worst of what follows.
    pub state: State,
    /// What was found, in words.
    pub reasons: Vec<String>,
    /// In what it is not as recorded; fields by name, never by value.
    pub differences: Vec<Difference>,
}

/// A container that mcrun made and no record knows.
#[derive(Debug, Clone, Serialize)]
pub struct Orphan {
    /// The container.
    pub container: String,
    /// The service that it says it is of.
    pub service: Option<String>,
    /// The driver that has it.
    pub driver: String,
    /// What it is doing.
    pub state: Running,
}

/// How everything stands.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The services, by name.
    pub services: Vec<Standing>,
    /// What no record knows.
    pub orphaned: Vec<Orphan>,
    /// Drivers that did not answer, and why: what they have is not known.
    pub unanswered: Vec<String>,
    /// The engine, where it answers and has lost what is recorded.
    pub lost: Option<Lost>,
}

/// What the drivers have, without a comparison.
#[derive(Debug)]
pub struct Listing {
    /// By name.
    pub containers: Vec<Observed>,
    /// Drivers that did not answer, and why: what they have is not known.
    pub unanswered: Vec<String>,
    /// The engine, where it answers and has lost what is recorded.
    pub lost: Option<Lost>,
}

/// Lists once. An engine has `patience` to say what it has.
///
/// # Errors
/// Where the journal cannot be read.
pub async fn listing(parts: &Parts<'_>, patience: Duration) -> Result<Listing> {
    let seen = Seen::look(parts, patience).await?;
    let (lost, unanswered) = (lost(parts, &seen), unanswered(parts, &seen));
    let listed = seen.drivers.into_iter().filter_map(|(_, listed)| listed.ok());
    let mut containers: Vec<Observed> = listed.flatten().collect();
    containers.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Listing { containers, unanswered, lost })
}

/// The drivers that did not answer, without an engine that was only looked for and is not there.
fn unanswered(parts: &Parts<'_>, seen: &Seen) -> Vec<String> {
    let unanswered = seen.drivers.iter().filter_map(|(driver, listed)| {
        let is_missed = parts.world.is_engine_chosen() || driver.name() != parts.world.engine().name();
        let is_there = |error: &&Error| error.code != Code::EngineUnavailable;
        let error = listed.as_ref().err().filter(|error| is_missed || is_there(error))?;
        Some(format!("{}: {error}", driver.name()))
    });
    unanswered.collect()
}

fn lost(parts: &Parts<'_>, seen: &Seen) -> Option<Lost> {
    let engine = parts.world.engine().name();
    let is_there = |(driver, listed): &&containers::Listed| driver.name() == engine && listed.is_ok();
    seen.drivers.iter().find(is_there).and_then(|_| Lost::judge(engine, seen))
}

/// Looks at these services once; at all of them where none is named. An engine has `patience` to say what it has.
///
/// # Errors
/// Where the journal cannot be read.
pub async fn report(parts: &Parts<'_>, patience: Duration, wanted: &[String]) -> Result<Report> {
    let records = parts.journal.records("service", Some(parts.node)).await?;
    let seen = Seen::look(parts, patience).await?;
    let mut memory = Memory::new(parts);
    let is_wanted = |service: &str| wanted.is_empty() || wanted.iter().any(|name| name == service);
    let (mut services, mut known) = (Vec::new(), BTreeSet::new());
    for record in &records {
        let value: Value = serde_json::from_str(&record.value).unwrap_or_default();
        let standby = value["spec"]["standby"].as_array().into_iter().flatten();
        known.extend(standby.filter_map(|name| name.as_str().map(str::to_owned)));
        known.extend(seen.services.get(&record.name).into_iter().flatten().cloned());
        if is_wanted(&record.name) {
            let found = Found::of(parts, &seen, &mut memory, &record.name).await?;
            let version = value["version"].as_str().map(str::to_owned);
            services.push(found.standing(record.name.clone(), version));
        }
    }
    Ok(Report {
        orphaned: orphans(&seen, &known, &is_wanted, wanted.is_empty()),
        unanswered: unanswered(parts, &seen),
        lost: lost(parts, &seen),
        services,
    })
}

fn orphans(
    seen: &Seen,
    known: &BTreeSet<String>,
    is_wanted: &dyn Fn(&str) -> bool,
    all: bool,
) -> Vec<Orphan> {
    let listed = seen.drivers.iter().filter_map(|(_, listed)| listed.as_ref().ok()).flatten();
    let is_orphan = |container: &&Observed| {
        let service = container.service.as_deref();
        container.managed
            && !known.contains(&container.name)
            && (all || service.is_some_and(is_wanted))
            // What a run makes is recorded at its end.
            && service.is_none_or(|service| !seen.held.contains(service))
    };
    let mut orphans: Vec<Orphan> = listed
        .filter(is_orphan)
        .map(|container| Orphan {
            container: container.name.clone(),
            service: container.service.clone(),
            driver: container.driver.clone(),
            state: container.state,
        })
        .collect();
    orphans.sort_by(|one, other| one.container.cmp(&other.container));
    orphans
}

/// What was found of a service.
#[derive(Debug, Default)]
struct Found {
    states: BTreeSet<State>,
    reasons: Vec<String>,
    differences: Vec<Difference>,
}

impl Found {
    fn add(&mut self, state: State, reason: String) {
        self.states.insert(state);
        self.reasons.push(reason);
    }

    fn standing(self, service: String, version: Option<String>) -> Standing {
        let state = self.states.last().copied().unwrap_or(State::Healthy);
        Standing { service, version, state, reasons: self.reasons, differences: self.differences }
    }

    async fn of(parts: &Parts<'_>, seen: &Seen, memory: &mut Memory, service: &str) -> Result<Self> {
        let mut found = Self::default();
        let none = Vec::new();
        let names = seen.services.get(service).unwrap_or(&none);
        if let Some(holder) = parts.journal.holder_of_lease(parts.node, service) {
            found.add(State::Unknown, format!("a run changes it now: {}", holder.what));
            return Ok(found);
        }
        if names.is_empty() {
            found.add(State::Unknown, "its record has no containers".to_owned());
        }
        let stopped = stopped(parts, seen, memory, service, names).await?;
        let compared = drift::compare(parts, service).await;
        let (differences, refused) = compared
            .map_or_else(|error| (Vec::new(), Some(error)), |found| (found.differences, found.refused));
        found.differences = drift::without_stopped(names, &stopped, differences);
        let up = names.iter().filter(|name| seen.find(name).is_some_and(|(_, container)| container.is_up()));
        let runs = up.count() > 0;
        for difference in &found.differences.clone() {
            found.differs(difference, runs);
        }
        found.states.extend((!stopped.is_empty()).then_some(State::Stopped));
        found.reasons.extend(stopped.iter().map(|name| format!("{name}: stopped on purpose")));
        // Whoever recorded it may name what is somebody else's: that it is not there means nothing then.
        let is_denied = refused.as_ref().is_some_and(|error| error.code == Code::Denied);
        for name in names.iter().filter(|name| !is_denied && seen.is_gone(name)) {
            let is_told =
                |difference: &Difference| difference.object == *name && difference.action == "create";
            if !found.differences.iter().any(is_told) {
                found.add(State::Missing, format!("{name}: is not there"));
            }
        }
        for name in names {
            let stood: Option<Stood> = memory.of(&containers::key(name)).await?;
            found.watch(parts, seen, name, stood.as_ref()).await;
        }
        if let Some(error) = refused {
            found.add(State::Unknown, format!("{}: {}", error.code, error.message));
        }
        Ok(found)
    }

    /// Puts a difference in its place: a container that is only down makes a service that runs a degraded one.
    fn differs(&mut self, difference: &Difference, runs: bool) {
        let Difference { effect, object, action, fields } = difference;
        let is_container = effect == "containers.ensure";
        if is_container && action == "create" {
            self.add(State::Missing, format!("{object}: is not there"));
        } else if is_container && *fields == ["state"] {
            let state = if runs { State::Degraded } else { State::Drifted };
            self.add(state, format!("{object}: does not run"));
        } else if fields.is_empty() || action == "create" {
            self.add(State::Drifted, format!("{effect} {object}: {action}"));
        } else if is_container {
            self.add(State::Drifted, format!("{object}: {}", fields.join(", ")));
        } else {
            self.add(State::Drifted, format!("{effect} {object}: {}", fields.join(", ")));
        }
    }

    /// What a container does by itself.
    async fn watch(&mut self, parts: &Parts<'_>, seen: &Seen, name: &str, stood: Option<&Stood>) {
        let Some((driver, container)) = seen.find(name) else { return };
        if let Some(times) = flapping::judged(stood, container, parts.journal.clock().now()) {
            let last = container.started_at.as_deref().unwrap_or("an unknown time");
            let reason =
                format!("{name}: started again {times} times within ten minutes, the last at {last}");
            self.add(State::Flapping, reason);
        }
        let Some(check) = container.health.as_ref().filter(|_| container.state == Running::Running) else {
            return;
        };
        let patience = check.timeout.map_or(health::PATIENCE, |timeout| timeout.0.min(health::PATIENCE));
        for number in 1..=PROBES {
            match parts.judge.probe(driver, container, patience).await {
                Ok(()) => return,
                Err(message) if number == PROBES => {
                    self.add(State::Degraded, format!("{name}: the health check fails: {message}"));
                }
                Err(_) => tokio::time::sleep(BETWEEN_PROBES).await,
            }
        }
    }
}

/// Those of the containers that are there and down because a run has stopped them.
async fn stopped(
    parts: &Parts<'_>,
    seen: &Seen,
    memory: &mut Memory,
    service: &str,
    names: &[String],
) -> Result<BTreeSet<String>> {
    let mut stopped = BTreeSet::new();
    for name in names {
        let is_down = seen
            .find(name)
            .is_some_and(|(_, found)| matches!(found.state, Running::Exited | Running::Created));
        if !is_down {
            continue;
        }
        let before: Option<Stood> = memory.of(&containers::key(name)).await?;
        if containers::is_stopped(parts.journal, name, before.as_ref(), seen.lease(service)).await? {
            stopped.insert(name.clone());
        }
    }
    Ok(stopped)
}

#[cfg(test)]
mod tests;
