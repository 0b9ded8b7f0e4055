//! Owns the run of the hostile scripts in `tests/hostile`: each must end in time, with the code that stands before it, and
//! leave its host in good health. The form in which they are written is the business of [`cases`](super::cases).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use script::{Ended, Launch, Limits, Modules};

use crate::cases::{self, Case};
use crate::support::{World, again, launch, printed, run_with};

/// What a script may take beyond its limit before it is over.
const PATIENCE: Duration = Duration::from_secs(1);
/// Unless a case says more.
const LIMITS: &str = "exec=200ms,memory=32MiB,wall=20s,output=1MiB,effects=1000";
/// As many as this must there be, or files have been lost.
const LEAST: usize = 700;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile")
}

/// A script's folder, with links out of it, what only the links would reach, and modules that are hostile themselves.
fn prepared_folder() -> (tempfile::TempDir, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("scripts");
    for name in ["folder", "named.luau"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    std::fs::write(outer.path().join("outside.luau"), "return 'outside'").unwrap();
    std::os::unix::fs::symlink("../outside.luau", folder.join("link.luau")).unwrap();
    std::os::unix::fs::symlink("..", folder.join("up")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("fifo.luau"), rustix::fs::FileType::Fifo, mode, 0)
        .unwrap();
    std::fs::write(folder.join("large.luau"), vec![b' '; 300 << 10]).unwrap();
    std::fs::write(folder.join("bytecode.luau"), b"\x06\x03\x00\x01").unwrap();
    std::fs::write(folder.join("latin.luau"), b"return '\xE4' .. \xE4").unwrap();
    for (name, source) in [
        ("circle", "return require('./circle')"),
        ("first", "return require('./second')"),
        ("second", "return require('./third')"),
        ("third", "return require('./first')"),
        ("ping", "test.echo {} return require('./pong')"),
        ("pong", "test.echo {} return require('./ping')"),
        ("spins", "while true do end"),
        ("raises", "error('raised')"),
        ("yields", "coroutine.yield(1) return 1"),
        ("returns", "return 1, 2, 3, table.unpack(table.create(7000, 0))"),
        ("eats", "local s = 'x' while true do s ..= s end"),
        ("table", "return {}"),
    ] {
        std::fs::write(folder.join(name).with_extension("luau"), source).unwrap();
    }
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

/// A case that ends as it should, but late, is tried again: a busy machine is late now and then, a missing limit always.
fn trouble(case: &Case, folder: &Path) -> Option<String> {
    let attempts = (0..3).map(|_| attempt(case, folder));
    let mut late = None;
    for attempt in attempts {
        match attempt {
            Ok(took) if took.is_zero() => return None,
            Ok(took) => late = Some(format!("{}: took {took:?} beyond its limit, three times", case.name)),
            Err(trouble) => return Some(trouble),
        }
    }
    late
}

/// Runs `case`; how much later than allowed it ended, or what is wrong with how it ended.
fn attempt(case: &Case, folder: &Path) -> Result<Duration, String> {
    let mut limits: Limits = LIMITS.parse().unwrap();
    // A busy machine takes its time for what is to end for another reason.
    if case.expected != "MC-S011" {
        limits.exec = Duration::from_secs(10);
    }
    for setting in &case.settings {
        limits.set(setting).unwrap();
    }
    let modules = Modules::open(folder, |_| None, limits.source).unwrap();
    let world = World { folder: Some(modules), ..World::default() };
    let most = limits.exec.max(limits.wall.filter(|_| case.expected == "MC-S012").unwrap_or_default());
    let started = Instant::now();
    let ended = run_with(Launch { limits, ..launch(&case.source) }, &world);
    let took = started.elapsed();
    assert_eq!(printed("print(1 + 1)"), ["2"], "the host after {}", case.name);
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    if code(&ended) != case.expected {
        Err(format!("{}: expected {}, got {ended:?}", case.name, case.expected))
    } else if !children.is_empty() {
        Err(format!("{}: leaves the processes {children}", case.name))
    } else {
        Ok(took.saturating_sub(most + PATIENCE))
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Runs the scripts of one file, one after another.
fn run_file(name: &str) {
    let (_keep, folder) = prepared_folder();
    printed("print(1 + 1)");
    let before = open_descriptors();
    let cases = cases::read_file(&corpus().join(name).with_extension("luau"));
    let wrong: Vec<String> = cases.iter().filter_map(|case| trouble(case, &folder)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(open_descriptors(), before, "descriptors of the host");
}

macro_rules! files {
    ($($name:ident),*) => {
        const FILES: &[&str] = &[$(stringify!($name)),*];
        /// One test a file, each script of which ends in time with its code.
        mod every_hostile_script_ends_in_time {
            $(#[test] fn $name() { super::run_file(stringify!($name)) })*
        }
    };
}

files!(
    argument, compile, data, effects, forge, loops, memory, native, nesting, output, poison, require, secret
);

#[test]
fn no_hostile_script_is_forgotten() {
    let files = std::fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path());
    let mut stems: Vec<String> =
        files.map(|file| file.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    stems.sort();
    assert_eq!(stems, FILES);
    let count: usize = cases::read(&corpus()).len();
    assert!(count >= LEAST, "only {count} scripts");
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
