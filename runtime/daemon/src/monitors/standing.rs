//! Owns how services stand at this moment, for whoever asks: judged as the monitors judge them, without telling of it. What
//! the monitors remember is of use where there is any; nothing of it is needed.

use std::collections::BTreeSet;
use std::time::Duration;

use ::containers::{Observed, State as Running};
use effect::Result;
use journal::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::containers::{self, Seen, Stood};
use super::memory::Memory;
use super::{Difference, Parts, drift, health};

/// One that is started again so often, and was lately, is flapping.
const RESTARTS: u32 = 3;
const LATELY: Duration = Duration::from_secs(600);
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
    /// It runs, but not with all of its containers, or a health check fails.
    Degraded,
    /// A container was started again several times lately.
    Flapping,
    /// It is not as recorded.
    Drifted,
    /// A recorded container is not there.
    Missing,
    /// It cannot be compared.
    Unknown,
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
}

/// Looks at these services once; at all of them where none is named.
///
/// # Errors
/// Where the journal cannot be read.
pub async fn report(parts: &Parts<'_>, wanted: &[String]) -> Result<Report> {
    let records = parts.journal.records("service", Some(parts.node)).await?;
    let seen = Seen::look(parts).await?;
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
    let unanswered = seen.drivers.iter().filter_map(|(driver, listed)| {
        let is_missed = parts.world.is_engine_chosen() || driver.name() != parts.world.engine().name();
        let error = listed.as_ref().err().filter(|_| is_missed)?;
        Some(format!("{}: {error}", driver.name()))
    });
    Ok(Report {
        orphaned: orphans(&seen, &known, &is_wanted, wanted.is_empty()),
        unanswered: unanswered.collect(),
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
        match drift::differences(parts, service).await {
            Ok(differences) => {
                found.differences = drift::without_stopped(names, &stopped, differences);
            }
            Err(error) => found.add(State::Unknown, format!("{}: {}", error.code, error.message)),
        }
        let up = names.iter().filter(|name| seen.find(name).is_some_and(|(_, container)| container.is_up()));
        let runs = up.count() > 0;
        for difference in &found.differences.clone() {
            found.differs(difference, runs);
        }
        found.states.extend((!stopped.is_empty()).then_some(State::Stopped));
        found.reasons.extend(stopped.iter().map(|name| format!("{name}: stopped on purpose")));
        for name in names {
            found.watch(parts, seen, name).await;
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
    async fn watch(&mut self, parts: &Parts<'_>, seen: &Seen, name: &str) {
        let Some((driver, container)) = seen.find(name) else { return };
        if is_flapping(container, parts.journal.clock().now()) {
            let last = container.started_at.as_deref().unwrap_or("an unknown time");
            let times = container.restarts;
            self.add(State::Flapping, format!("{name}: started again {times} times, the last at {last}"));
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

fn is_flapping(container: &Observed, now: Timestamp) -> bool {
    let started = container.started_at.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let is_recent = started.is_none_or(|at| now.since(Timestamp(at.as_millisecond())) <= LATELY);
    container.restarts >= RESTARTS && is_recent
}

#[cfg(test)]
mod tests;
