//! Owns what is remembered of an engine's containers between two glances: one list call tells which of them have started or
//! ended since, and only those are shown again. A hundred containers that do nothing cost one call.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::read;
use crate::observed::Observed;

/// Where a list says only roughly when a container was started, it is shown again after so long: docker's own words for a
/// time do not change within a minute.
const ROUGHLY: Duration = Duration::from_secs(60);

/// What a list says of a container. Only whether it is the same as before matters, not what it is.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    #[serde(deserialize_with = "read::identifier")]
    pub(crate) id: String,
    #[serde(default)]
    names: Value,
    #[serde(default)]
    state: Value,
    #[serde(default)]
    started_at: Value,
    #[serde(default)]
    pid: Value,
    #[serde(default)]
    exit_code: Value,
    /// docker's: "Up 3 minutes".
    #[serde(default)]
    status: Value,
}

impl Listed {
    /// What changes when the container starts or ends. `is_exact` says whether the list tells when it was started; where it
    /// does, what it says of that in words is not looked at.
    fn trace(&self, is_exact: bool) -> u64 {
        let mut hasher = DefaultHasher::new();
        [&self.names, &self.state, &self.started_at, &self.pid, &self.exit_code].hash(&mut hasher);
        if !is_exact {
            self.status.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Whether it may have started again between two lists that say the same.
    fn is_rough(&self) -> bool {
        self.status.as_str().is_some_and(|status| status.contains("second"))
    }
}

/// One container as it was last shown.
#[derive(Debug)]
struct Glimpse {
    trace: u64,
    shown: Instant,
    observed: Observed,
}

/// What was seen at the last glance, by id. As many as the engine then had.
#[derive(Debug, Default)]
pub(super) struct Glimpses(Mutex<BTreeMap<String, Glimpse>>);

impl Glimpses {
    /// The ids of those that have to be shown again.
    pub(super) fn changed(&self, listed: &[Listed], is_exact: bool) -> Vec<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |container: &&Listed| {
            known.get(&container.id).is_some_and(|glimpse| {
                let is_sure = is_exact || !container.is_rough() && glimpse.shown.elapsed() < ROUGHLY;
                is_sure && glimpse.trace == container.trace(is_exact)
            })
        };
        listed.iter().filter(|container| !is_known(container)).map(|container| container.id.clone()).collect()
    }

    /// Everything that is listed, by name: what was `shown` now, and the rest as it was.
    pub(super) fn after(&self, listed: Vec<Listed>, shown: Vec<Observed>, is_exact: bool) -> Vec<Observed> {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shown: BTreeMap<String, Observed> =
            shown.into_iter().map(|observed| (observed.id.clone(), observed)).collect();
        let mut next = BTreeMap::new();
        for container in listed {
            let trace = container.trace(is_exact);
            let glimpse = match shown.remove(&container.id) {
                Some(observed) => Some(Glimpse { trace, shown: now, observed }),
                // One that was to be shown and is gone meanwhile is not there.
                None => known.remove(&container.id).filter(|glimpse| glimpse.trace == trace),
            };
            next.extend(glimpse.map(|glimpse| (container.id, glimpse)));
        }
        *known = next;
        let mut found: Vec<Observed> = known.values().map(|glimpse| glimpse.observed.clone()).collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listed(value: Value) -> Listed {
        serde_json::from_value(value).unwrap()
    }

    fn same(one: Value, other: Value) -> bool {
        listed(one).trace(true) == listed(other).trace(true)
    }

    #[test]
    fn a_start_an_end_and_a_new_name_leave_a_trace() {
        let before = json!({ "Id": "aa", "Names": ["web"], "State": "running", "StartedAt": 1, "Pid": 7 });
        assert!(same(before.clone(), before.clone()));
        for (field, value) in [
            ("Names", json!(["db"])),
            ("State", json!("exited")),
            ("StartedAt", json!(2)),
            ("Pid", json!(8)),
            ("ExitCode", json!(1)),
        ] {
            let mut after = before.clone();
            after[field] = value;
            assert!(!same(before.clone(), after), "{field}");
        }
    }

    #[test]
    fn a_time_in_seconds_is_never_the_same_where_a_list_says_no_more() {
        for (status, is_rough) in [
            ("Up 3 seconds", true),
            ("Up Less than a second", true),
            ("Up 5 minutes", false),
            ("Up 2 days", false),
        ] {
            let container = listed(json!({ "Id": "aa", "State": "running", "Status": status }));
            assert_eq!(container.is_rough(), is_rough, "{status}");
            let other = listed(json!({ "Id": "aa", "State": "running", "Status": "Up 7 hours" }));
            assert!(
                container.trace(true) == other.trace(true) && container.trace(false) != other.trace(false)
            );
        }
    }

    #[test]
    fn what_an_engine_says_may_be_of_any_type() {
        let odd = listed(json!({ "Id": "aa", "Names": 7, "State": null, "StartedAt": {}, "Status": [1] }));
        assert!(!odd.is_rough());
    }
}
