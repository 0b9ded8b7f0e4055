//! Owns the run of the hostile scripts in `tests/hostile`: each names in its first lines the code it must end with and
//! the limits it runs under, and each must end in time with the host in good health.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use script::{Ended, Launch, Limits, Modules};

use crate::support::{World, again, launch, printed, run_with};

/// What a script may take beyond its limit before it is over.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Case {
    path: PathBuf,
    source: String,
    expected: String,
    limits: Limits,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let mut cases: Vec<Case> =
        std::fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap().path())).collect();
    cases.sort_by(|left, right| left.path.cmp(&right.path));
    cases
}

fn read(path: PathBuf) -> Case {
    let source = std::fs::read_to_string(&path).unwrap();
    let mut limits: Limits = "exec=200ms,memory=32MiB,wall=20s,output=1MiB,effects=1000".parse().unwrap();
    let header = |name: &str| {
        let prefix = format!("-- {name}: ");
        source
            .lines()
            .filter_map(move |line| line.strip_prefix(&prefix).map(str::to_owned))
            .collect::<Vec<_>>()
    };
    for setting in header("limit") {
        limits.set(&setting).unwrap();
    }
    let expected = header("expect").pop().unwrap_or_else(|| panic!("{} names no code", path.display()));
    Case { path, source, expected, limits }
}

/// A script's folder with a link out of it, and a file that only the link would reach.
fn prepared_folder() -> (tempfile::TempDir, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("scripts");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(outer.path().join("outside.luau"), "return 'outside'").unwrap();
    std::os::unix::fs::symlink("../outside.luau", folder.join("link.luau")).unwrap();
    std::fs::write(folder.join("circle.luau"), "return require('./circle')").unwrap();
    std::fs::write(folder.join("bytecode.luau"), b"\x06\x03\x00\x01").unwrap();
    std::fs::write(folder.join("large.luau"), vec![b' '; 300 << 10]).unwrap();
    std::fs::write(folder.join("spins.luau"), "while true do end").unwrap();
    (outer, folder)
}

/// What a run ended with, as the header of a script names it.
fn code(ended: &Ended<String>) -> String {
    match ended {
        Ended::Done { .. } => "done".to_owned(),
        Ended::Failed(failure) => failure.error.code.to_string(),
        Ended::Limit(hit) => hit.error.code.to_string(),
        Ended::Lost(lost) => lost.error.code.to_string(),
        other => format!("{other:?}"),
    }
}

/// One test, so that the scripts run one after another and each has the machine for itself.
#[test]
fn every_hostile_script_ends_in_time_with_its_code() {
    let cases = cases();
    assert!(cases.len() >= 60, "only {} scripts", cases.len());
    let mut wrong = Vec::new();
    let (_keep, folder) = prepared_folder();
    for case in cases {
        let started = Instant::now();
        let modules = Modules::open(&folder, |_| None, case.limits.source).unwrap();
        let world = World { folder: Some(modules), ..World::default() };
        let ended = run_with(Launch { limits: case.limits.clone(), ..launch(&case.source) }, &world);
        let most = case.limits.exec + PATIENCE;
        let name = case.path.file_name().unwrap().to_string_lossy().into_owned();
        if code(&ended) != case.expected {
            wrong.push(format!("{name}: expected {}, got {ended:?}", case.expected));
        } else if started.elapsed() > most {
            wrong.push(format!("{name}: took {:?}", started.elapsed()));
        }
        assert_eq!(printed("print(1 + 1)"), ["2"], "the host after {name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_spinning_branch_beside_a_waiting_one_is_ended() {
    let limits: Limits = "exec=200ms".parse().unwrap();
    let source = "parallel { a = function() test.hang {} end, b = function() while true do end end }";
    let ended = run_with(Launch { limits, ..launch(source) }, &World::default());
    assert_eq!(code(&ended), "MC-S011");
}

#[test]
fn a_replay_that_spins_is_ended() {
    let limits: Limits = "exec=200ms".parse().unwrap();
    let ended = run_with(Launch { limits, ..again("while true do end") }, &World::default());
    assert_eq!(code(&ended), "MC-S011");
}
