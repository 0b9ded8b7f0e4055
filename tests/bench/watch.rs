//! The watcher: what a daemon takes that looks after two hundred containers which do nothing.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{Journal, SystemClock};

use crate::Row;
use crate::daemon::{share, times};
use crate::engine::{IMAGE, Service, build_image, podman};
use crate::whole::{command, timed};

/// How many containers there are, unless `MCRUN_BENCH_CONTAINERS` says otherwise: a small machine has no room for all.
const CONTAINERS: usize = 200;
const WHILE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(120);
/// How often everything is compared with the registry, at default settings.
const COMPARED_EVERY: f64 = 600.0;

pub(crate) fn rows(program: &Path) -> Vec<Row> {
    if !podman(&["--version"]) {
        eprintln!("podman is not installed: the row on watching is left out");
        return Vec::new();
    }
    let wanted = std::env::var("MCRUN_BENCH_CONTAINERS").ok().and_then(|text| text.parse().ok());
    let count = wanted.unwrap_or(CONTAINERS);
    build_image();
    let service = Service::start();
    let row = watched(program, service.place(), count);
    let names: Vec<String> = (1..=count).map(name).collect();
    for some in names.chunks(20) {
        let words: Vec<&str> =
            ["rm", "-f", "-t", "0"].into_iter().chain(some.iter().map(String::as_str)).collect();
        podman(&words);
    }
    podman(&["rmi", IMAGE]);
    vec![row]
}

fn name(number: usize) -> String {
    format!("mcrun-bench-watch-{}-{number}", std::process::id())
}

/// Containers without a network: what they cost their engine is not what is measured.
fn script(count: usize) -> String {
    let prefix = name(0);
    let prefix = prefix.trim_end_matches('0');
    format!(
        "for number = 1, {count} do\n    local name = `{prefix}{{number}}`\n    \
         local spec = {{ name = name, service = name, image = \"{IMAGE}\", network = \"none\", stop_timeout = \"0s\" }}\n    \
         containers.ensure(spec)\n    \
         registry.put {{ service = name, spec = {{ containers = {{ spec }}, checks = {{}} }}, \
         release = {{ version = \"v1\" }} }}\nend\n"
    )
}

fn watched(program: &Path, state: &Path, count: usize) -> Row {
    let scripts = tempfile::tempdir().unwrap();
    let file = scripts.path().join("many.lua");
    std::fs::write(&file, script(count)).unwrap();
    timed(command(program, state, &[file.as_os_str()]));
    let compared = compared(program, state);
    let mut daemon = command(program, state, &[OsStr::new("serve")]).spawn().unwrap();
    until_seen(state, count);
    // What starting has left is given back.
    std::thread::sleep(Duration::from_secs(10));
    let looks = share(daemon.id(), WHILE);
    // An error means that it is gone already.
    let _ = daemon.kill();
    let _ = daemon.wait();
    let comparisons = compared.as_secs_f64() / COMPARED_EVERY * 100.0;
    Row {
        what: "watcher for 200 containers, a minute at default settings",
        measured: format!("{:.2} % of a core, {count} containers", looks + comparisons),
        baseline: format!(
            "looks {looks:.2} %, a comparison with the registry every ten minutes {comparisons:.2} %"
        ),
        ratio: "–".into(),
        promise: "≤ 1 % of a core",
    }
}

/// The processor time of one comparison of everything with the registry, workers included.
fn compared(program: &Path, state: &Path) -> Duration {
    let of_children = || -> u64 { times("self")[2..].iter().sum() };
    let before = of_children();
    timed(command(program, state, &[OsStr::new("drift")]));
    Duration::from_millis((of_children() - before) * 10)
}

/// Waits until the monitors have seen every container.
fn until_seen(state: &Path, count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let journal = Journal::open(state, Arc::new(SystemClock)).unwrap();
    let begin = Instant::now();
    loop {
        let known = runtime.block_on(journal.records("monitor", None)).unwrap();
        if known.iter().filter(|record| record.name.starts_with("container/")).count() >= count {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "not all containers are seen");
        std::thread::sleep(Duration::from_millis(50));
    }
}
