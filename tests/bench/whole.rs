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
        measured: format!("{}, {}", millis(measured), memory(program, place.path(), &script)),
        baseline: format!("`python3 -c pass` {}", millis(baseline)),
        ratio: ratio(measured, baseline),
        promise: "≤ 12 ms, ≤ 40 MB",
    }
}

/// The peak memory of the host and of its worker, as the kernel counted it for both.
fn memory(program: &Path, state: &Path, script: &Path) -> String {
    let mut measured = Command::new("/usr/bin/python3");
    let code = "import resource, subprocess, sys\n\
        subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)\n\
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    measured.args([OsStr::new("-c"), OsStr::new(code), program.as_os_str(), script.as_os_str()]);
    let output = measured.env("MCRUN_STATE", state).output().unwrap();
    let peak: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(f64::NAN);
    format!("{:.1} MB peak", peak / 1024.0)
}

pub(crate) fn resume(program: &Path) -> Row {
    let place = place();
    let scripts = tempfile::tempdir().unwrap();
    let script = scripts.path().join("steps.lua");
    std::fs::write(&script, format!("for _ = 1, {STEPS} do now() end\nnow()\n")).unwrap();
    let limit = format!("effects={STEPS}");
    let words = [script.as_os_str(), OsStr::new("--limit"), OsStr::new(&limit)];
    let status = command(program, place.path(), &words).status().unwrap();
    assert_eq!(status.code(), Some(6), "the run pauses at its limit");
    let listed =
        Command::new(program).args(["runs", "--json"]).env("MCRUN_STATE", place.path()).output().unwrap();
    let runs: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let run = runs[0]["id"].as_str().unwrap();
    let words = ["resume", run, "--limit", "effects=none"].map(OsStr::new);
    let measured = timed(command(program, place.path(), &words));
    Row {
        what: "resuming a run of 100,000 steps",
        measured: millis(measured),
        baseline: "–".into(),
        ratio: format!("{:.1} µs a step", measured.as_secs_f64() * 1e6 / f64::from(STEPS)),
        promise: "≤ 0.8 s",
    }
}
