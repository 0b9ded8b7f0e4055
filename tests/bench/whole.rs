//! Whole commands: the cold start of a script that does nothing, and a resume of 100,000 recorded steps.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Row, median, millis, ratio};

/// How often a short command is measured.
const TIMES: usize = 41;
const STEPS: u32 = 100_000;

/// A command in a place of its own, silent.
pub(crate) fn command(program: &Path, state: &Path, words: &[&OsStr]) -> Command {
    let mut command = Command::new(program);
    command.args(words).env("MCRUN_STATE", state).env("MCRUN_CONFIG", state.join("mcrun.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

pub(crate) fn timed(mut command: Command) -> Duration {
    let started = Instant::now();
    let status = command.status().unwrap();
    let took = started.elapsed();
    assert!(status.success(), "{command:?} ended with {status}");
    took
}

/// A place with an empty configuration.
pub(crate) fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("mcrun.toml"), "").unwrap();
    place
}

/// A script that does nothing, in a state directory that is there already.
pub(crate) fn start_with_state(program: &Path, state: &Path) -> Duration {
    let scripts = tempfile::tempdir().unwrap();
    let script = scripts.path().join("noop.lua");
    std::fs::write(&script, "-- nothing\n").unwrap();
    std::fs::write(state.join("mcrun.toml"), "").unwrap();
    let run = || timed(command(program, state, &[script.as_os_str()]));
    run();
    median((0..TIMES).map(|_| run()).collect())
}

pub(crate) fn cold_start(program: &Path) -> Row {
    let place = place();
    let scripts = tempfile::tempdir().unwrap();
    let script = scripts.path().join("noop.lua");
    std::fs::write(&script, "-- nothing\n").unwrap();
    let run = || timed(command(program, place.path(), &[script.as_os_str()]));
    run();
    let measured = median((0..TIMES).map(|_| run()).collect());
    let python = || {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", "pass"]);
        timed(command)
    };
    python();
    let baseline = median((0..TIMES).map(|_| python()).collect());
    Row {
        what: "no-op script, cold start",
        measured: format!(
            "{}, {:.1} MB peak",
            millis(measured),
            peak_memory(program, place.path(), &[script.as_os_str()])
        ),
        baseline: format!("`python3 -c pass` {}", millis(baseline)),
        ratio: ratio(measured, baseline),
        promise: "≤ 12 ms, ≤ 40 MB",
    }
}

/// The greatest memory of a command and of the processes that it started, in MB, as the kernel counted it.
fn peak_memory(program: &Path, state: &Path, words: &[&OsStr]) -> f64 {
    let mut measured = Command::new("/usr/bin/python3");
    let code = "import resource, subprocess, sys\n\
        subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)\n\
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    measured.args([OsStr::new("-c"), OsStr::new(code), program.as_os_str()]).args(words);
    let output = measured.env("MCRUN_STATE", state).output().unwrap();
    let peak: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(f64::NAN);
    peak / 1024.0
}

/// What only this process has, in KiB.
pub(crate) fn private_memory(pid: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let private = |line: &str| {
        let value = line.strip_prefix("Private_Dirty:").or_else(|| line.strip_prefix("Private_Clean:"))?;
        value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    text.lines().filter_map(private).sum()
}

/// A run that has come through `steps` steps and waits to be resumed: its id, and the folder of its script.
fn cut(program: &Path, place: &Path, steps: u32) -> (String, tempfile::TempDir) {
    let scripts = tempfile::tempdir().unwrap();
    let script = scripts.path().join("steps.lua");
    std::fs::write(&script, format!("for _ = 1, {steps} do now() end\nnow()\n")).unwrap();
    let limit = format!("effects={steps}");
    let words = [script.as_os_str(), OsStr::new("--limit"), OsStr::new(&limit)];
    let status = command(program, place, &words).status().unwrap();
    assert_eq!(status.code(), Some(6), "the run pauses at its limit");
    let listed = Command::new(program).args(["runs", "--json"]).env("MCRUN_STATE", place).output().unwrap();
    let runs: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    (runs[0]["id"].as_str().unwrap().to_owned(), scripts)
}

/// Reading what a replay needs, and nothing else.
fn raw_read(place: &Path) -> Duration {
    let connection = rusqlite::Connection::open(place.join("journal.db")).unwrap();
    let started = Instant::now();
    let mut statement = connection.prepare("SELECT scope, counter, name, hash, result FROM entries").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut bytes = 0;
    while let Some(row) = rows.next().unwrap() {
        let name: String = row.get(2).unwrap();
        let result: Option<String> = row.get(4).unwrap();
        bytes += name.len() + result.map_or(0, |result| result.len());
    }
    assert!(bytes > 0);
    started.elapsed()
}

pub(crate) fn resume(program: &Path) -> Row {
    let place = place();
    let (run, _scripts) = cut(program, place.path(), STEPS);
    let baseline = raw_read(place.path());
    let words = ["resume", &run, "--limit", "effects=none"].map(OsStr::new);
    let measured = timed(command(program, place.path(), &words));
    Row {
        what: "resuming a run of 100,000 steps",
        measured: format!(
            "{}, {:.1} µs a step",
            millis(measured),
            measured.as_secs_f64() * 1e6 / f64::from(STEPS)
        ),
        baseline: format!("reading the rows with SQLite {}", millis(baseline)),
        ratio: ratio(measured, baseline),
        promise: "≤ 0.8 s",
    }
}

/// The memory that a resume takes, after a hundred thousand entries and after a million.
pub(crate) fn resume_memory(program: &Path) -> Row {
    let peak = |steps: u32| {
        let place = place();
        let (run, _scripts) = cut(program, place.path(), steps);
        peak_memory(program, place.path(), &["resume", &run, "--limit", "effects=none"].map(OsStr::new))
    };
    let (few, many) = (peak(STEPS), peak(STEPS * 10));
    Row {
        what: "resuming a history of 1,000,000 entries",
        measured: format!("{many:.1} MB peak"),
        baseline: format!("a history of 100,000 entries {few:.1} MB peak"),
        ratio: format!("{:.2} ×", many / few),
        promise: "memory does not grow with it",
    }
}
