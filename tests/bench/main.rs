//! `make bench`: the figures that mcrun promises, each beside a baseline of the same run on the same machine.
//! Prints a Markdown table; docs/benchmarks.md holds one with the machine it came from.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up is of no use")]
#![expect(clippy::disallowed_macros, reason = "a table on standard output is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it starts the programs that it measures")]

mod access;
mod audit;
mod boot;
mod certs;
mod daemon;
mod dns;
mod engine;
mod lab;
mod load;
mod many;
mod mcias;
mod peers;
mod recover;
mod routes;
mod signing;
mod snapshot;
mod steps;
mod watch;
mod whole;

use std::path::PathBuf;
use std::time::Duration;

const INTRODUCTION: &str = "\
# Benchmarks

Written by `make bench`. Every figure stands beside a baseline that was measured in the same run on the same machine;
compare ratios, not absolutes. Medians of whole commands, the release binary, a state directory on the same disk as the
baseline's database.
";

/// Processors, memory and kernel, as far as they matter for a comparison.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown processor".to_owned());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{count} × {model}, Linux {}", kernel.trim())
}

/// One row of the table.
struct Row {
    what: &'static str,
    measured: String,
    baseline: String,
    ratio: String,
    promise: &'static str,
}

fn main() {
    let mut words = std::env::args().skip(1);
    let program = words.next().map(PathBuf::from).expect("usage: mcrun-bench PATH-OF-MCRUN [PART…]");
    let parts: Vec<String> = words.collect();
    let measures = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let mut rows = Vec::new();
    if measures("start") {
        rows.push(whole::cold_start(&program));
    }
    if measures("steps") {
        rows.extend(steps::durable_steps(&program));
    }
    if measures("resume") {
        rows.push(whole::resume(&program));
        rows.push(whole::resume_memory(&program));
    }
    if measures("many") {
        rows.push(many::throughput(&program));
        rows.push(many::sleepers(&program));
        rows.push(peers::worker_memory(&program));
    }
    if measures("certs") {
        rows.extend(certs::rows(&program));
    }
    if measures("dns") {
        rows.extend(dns::rows(&program));
    }
    if measures("routes") {
        rows.extend(routes::rows(&program));
    }
    if measures("daemon") {
        rows.extend(daemon::rows(&program));
    }
    if measures("watch") {
        rows.extend(watch::rows(&program));
    }
    if measures("audit") {
        rows.extend(audit::rows());
    }
    if measures("access") {
        rows.extend(access::rows());
    }
    if measures("mcias") {
        rows.extend(mcias::rows());
    }
    if measures("signing") {
        rows.extend(signing::rows(&program));
    }
    if measures("engine") {
        rows.extend(engine::rows(&program));
    }
    if measures("recover") {
        rows.extend(recover::rows(&program));
    }
    if measures("boot") {
        rows.extend(boot::rows(&program));
    }
    if measures("snapshot") {
        rows.extend(snapshot::rows(&program));
    }
    if measures("peers") {
        rows.extend(peers::rows(&program));
    }
    println!("{INTRODUCTION}\nMachine: {}.\n", machine());
    println!(
        "| what | measured | baseline of the same run | ratio | promise |\n| --- | --- | --- | --- | --- |"
    );
    for row in &rows {
        println!("| {} | {} | {} | {} | {} |", row.what, row.measured, row.baseline, row.ratio, row.promise);
    }
}

/// The middle of several measurements.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn micros(time: Duration) -> String {
    format!("{:.0} µs", time.as_secs_f64() * 1e6)
}

fn ratio(measured: Duration, baseline: Duration) -> String {
    format!("{:.2} ×", measured.as_secs_f64() / baseline.as_secs_f64())
}
