//! Owns what this process counts: which figures there are, how they are counted, and a bound on how many lines any of
//! them can grow to. Other rooms call one function each; how figures are shown is left to the neighbours, the page for
//! Prometheus and the telemetry that is sent.

mod page;
mod process;
mod series;
mod server;

use std::sync::LazyLock;
use std::time::Duration;

use journal::RunState;

pub use page::{CONTENT_TYPE, text};
pub use process::gather;
pub use series::{BOUNDS, Family, Figure, Histogram, Kind, Sample};
pub use server::{Page, Settings};

use crate::runs::Told;
use series::Series;

/// What this process counts. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Series);

static SHARED: LazyLock<Metrics> = LazyLock::new(Metrics::default);

const RUNS_ENDED: Family = Family::counter(
    "mcrun_runs_ended_total",
    "Runs that came to an end or a pause here, by playbook and state.",
    &["playbook", "state"],
);
const EFFECTS: Family =
    Family::counter("mcrun_effects_total", "Effects by name and outcome.", &["effect", "outcome"]);
const EFFECT_TIMES: Family =
    Family::histogram("mcrun_effect_duration_seconds", "How long effects took.", &["effect"]);
const QUEUED: Family = Family::gauge("mcrun_runs_queued", "Runs that wait for a place to be executed.", &[]);
const WORKERS: Family = Family::gauge("mcrun_workers", "Runs that are executed now.", &[]);
const OCCURRENCES: Family = Family::counter(
    "mcrun_occurrences_total",
    "Occurrences of triggers by playbook and outcome.",
    &["playbook", "outcome"],
);
const PLAYBOOKS: Family =
    Family::gauge("mcrun_playbooks", "Playbooks that are loaded, and files that cannot be.", &["state"]);
const EVENTS: Family = Family::counter("mcrun_events_total", "Events that the daemon told of.", &["event"]);
const RELOADS: Family = Family::counter(
    "mcrun_reloads_total",
    "Reloads of the configuration and of playbooks, by outcome.",
    &["what", "outcome"],
);
const CALLS: Family =
    Family::counter("mcrun_api_calls_total", "Calls of the API by method and code.", &["method", "code"]);
const CALL_TIMES: Family =
    Family::histogram("mcrun_api_call_duration_seconds", "How long calls of the API took.", &["method"]);
const TELEMETRY: Family = Family::counter(
    "mcrun_telemetry_total",
    "Spans and batches of figures by what became of them: sent, dropped.",
    &["kind", "outcome"],
);
const LOOKS: Family = Family::histogram(
    "mcrun_monitor_duration_seconds",
    "How long a look of each monitor took.",
    &["monitor"],
);

/// Every figure that is counted here, beside those that are gathered.
pub const COUNTED: [Family; 13] = [
    RUNS_ENDED,
    EFFECTS,
    EFFECT_TIMES,
    QUEUED,
    WORKERS,
    OCCURRENCES,
    PLAYBOOKS,
    EVENTS,
    RELOADS,
    CALLS,
    CALL_TIMES,
    TELEMETRY,
    LOOKS,
];

impl Metrics {
    /// The one of this process.
    #[must_use]
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// A run came to an end or a pause; `playbook` is what it is a run of.
    pub fn run_ended(&self, playbook: Option<&str>, state: RunState) {
        self.0.add(&RUNS_ENDED, &[playbook.unwrap_or_default(), state.as_str()], 1);
    }

    /// What a run tells: its effects are counted.
    pub fn told(&self, told: &Told) {
        if let Told::Ended { effect, action, error, millis } = told {
            let outcome = match (error, action.as_str()) {
                (Some(_), _) => "failed",
                (None, "none") => "unchanged",
                (None, _) => "done",
            };
            self.effect_ended(&effect.name, outcome, *millis);
        }
    }

    /// An effect ended: `done`, `unchanged` or `failed`.
    pub fn effect_ended(&self, name: &str, outcome: &str, millis: i64) {
        self.0.add(&EFFECTS, &[name, outcome], 1);
        self.0.observe(&EFFECT_TIMES, &[name], Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
    }

    /// How many runs wait for a place, and how many are executed.
    pub fn set_running(&self, queued: usize, workers: usize) {
        self.0.set(&QUEUED, &[], queued as u64);
        self.0.set(&WORKERS, &[], workers as u64);
    }

    /// What became of an occurrence: `started`, `skipped`, `queued`, `missed`, ….
    pub fn occurrence(&self, playbook: &str, outcome: &str) {
        self.0.add(&OCCURRENCES, &[playbook, outcome], 1);
    }

    /// How many playbooks are loaded, and how many files cannot be.
    pub fn set_playbooks(&self, loaded: usize, broken: usize) {
        self.0.set(&PLAYBOOKS, &["loaded"], loaded as u64);
        self.0.set(&PLAYBOOKS, &["broken"], broken as u64);
    }

    /// The daemon told of an event.
    pub fn event(&self, name: &str) {
        self.0.add(&EVENTS, &[name], 1);
    }

    /// `configuration` or `playbooks` was read again.
    pub fn reloaded(&self, what: &str, is_good: bool) {
        self.0.add(&RELOADS, &[what, if is_good { "good" } else { "broken" }], 1);
    }

    /// A call of the API was answered.
    pub fn call(&self, method: &str, code: &str, took: Duration) {
        self.0.add(&CALLS, &[method, code], 1);
        self.0.observe(&CALL_TIMES, &[method], took);
    }

    /// Telemetry of a kind, `spans` or `metrics`, was `sent` or `dropped`.
    pub fn telemetry(&self, kind: &str, outcome: &str, count: u64) {
        self.0.add(&TELEMETRY, &[kind, outcome], count);
    }

    /// A monitor has looked.
    pub fn looked(&self, monitor: &str, took: Duration) {
        self.0.observe(&LOOKS, &[monitor], took);
    }

    /// Everything as it is now, in the order of [`COUNTED`].
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        self.0.figures(&COUNTED)
    }
}
