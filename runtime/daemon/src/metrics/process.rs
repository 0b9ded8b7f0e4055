//! Owns the figures that are not counted but looked up when somebody asks: the process, the journal, the runs.

use std::fs;

use journal::{Journal, RunState};

use super::Metrics;
use super::series::{Family, Figure, Sample};

const BUILD: Family = Family::gauge("mcrun_build_info", "The version, as a label.", &["version"]);
const MEMORY: Family = Family::gauge("mcrun_process_resident_memory_bytes", "Memory of the daemon.", &[]);
const PROCESSOR: Family =
    Family::counter("mcrun_process_cpu_seconds_total", "Time of processors that the daemon took.", &[]);
const DESCRIPTORS: Family = Family::gauge("mcrun_process_open_fds", "Open descriptors of the daemon.", &[]);
const MOST_DESCRIPTORS: Family =
    Family::gauge("mcrun_process_max_fds", "Descriptors that the daemon may have open.", &[]);
const STARTED: Family =
    Family::gauge("mcrun_process_start_time_seconds", "When the daemon started, in seconds since 1970.", &[]);
const JOURNAL: Family = Family::gauge("mcrun_journal_size_bytes", "The journal on the disk.", &[]);
const RUNS: Family = Family::gauge("mcrun_runs", "Runs in the journal by state.", &["state"]);

/// Everything that this process can tell, as it is now. What cannot be read is left out.
pub async fn gather(metrics: &Metrics, journal: &Journal) -> Vec<Figure> {
    let mut figures = vec![one(BUILD, &[env!("CARGO_PKG_VERSION")], 1.0)];
    figures.extend(process());
    figures.push(one(JOURNAL, &[], journal.size() as f64));
    match journal.count_runs().await {
        Ok(counts) => figures.push(runs(&counts)),
        Err(error) => tracing::debug!(%error, "runs cannot be counted"),
    }
    figures.extend(metrics.figures());
    figures
}

fn runs(counts: &[(RunState, u64)]) -> Figure {
    let found = |state| counts.iter().find(|(known, _)| *known == state).map_or(0, |(_, count)| *count);
    let sample = |state: RunState| (vec![state.as_str().to_owned()], Sample::Number(found(state) as f64));
    Figure { family: RUNS, samples: RunState::ALL.into_iter().map(sample).collect() }
}

fn one(family: Family, labels: &[&str], number: f64) -> Figure {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Figure { family, samples: vec![(labels, Sample::Number(number))] }
}

fn process() -> Vec<Figure> {
    let mut figures = Vec::new();
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::read(&text)) {
        let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
        figures.push(one(MEMORY, &[], stat.pages as f64 * rustix::param::page_size() as f64));
        figures.push(one(PROCESSOR, &[], stat.ticks as f64 / ticks));
        if let Some(boot) = boot() {
            figures.push(one(STARTED, &[], boot + stat.started as f64 / ticks));
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The one that lists them is not counted.
        figures.push(one(DESCRIPTORS, &[], open.count().saturating_sub(1) as f64));
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        figures.push(one(MOST_DESCRIPTORS, &[], most as f64));
    }
    figures
}

/// When the machine came up, in seconds since 1970.
fn boot() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// What proc(5) tells of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ticks: u64,
    started: u64,
    pages: u64,
}

impl Stat {
    fn read(text: &str) -> Option<Self> {
        // The name of the program may have spaces and brackets.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { ticks: field(14)? + field(15)?, started: field(22)?, pages: field(24)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let text = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22";
        assert_eq!(Stat::read(text), Some(Stat { ticks: 23, started: 19, pages: 21 }));
        assert_eq!(Stat::read("7 (a) S 1"), None);
    }
}
