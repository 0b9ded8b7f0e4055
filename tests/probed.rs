//! `mcrun` with a crash point: the process kills itself, as `kill -9` would, at a point that the journal or a driver call
//! passes, or at one of the writes and syncs that SQLite makes behind such a point.
//!
//! `MCRUN_CRASH_AT` says where: `17` is the seventeenth point of all, `end:before-commit@3` the third of that name, and
//! `end:before-commit@3+5` the fifth operation on the database's files behind it, or the end of that commit where it has
//! fewer. `start@1+2` is the second operation of all. `MCRUN_CRASH_LOG` names a file for a list of what can be asked for.
//!
//! `MCRUN_FULL_AT` says in the same way where the disk is full from then on: the file that `MCRUN_FULL_BY` names takes all that
//! there is room for, and while it is there the database is told that there is none.
//!
//! `MCRUN_PANIC_AT` says in the same way where a thread panics, with what the file that `MCRUN_PANIC_WITH` names holds: as a panic
//! would that has a secret in hand.
//!
//! With `MCRUN_CLOCK_JUMPS` the clock is set ten days forth or back, now and then, from that seed.

#[path = "../runtime/journal/tests/disk/vfs.rs"]
#[expect(dead_code, reason = "the model of power loss uses the rest")]
mod vfs;

use std::cell::Cell;
use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use vfs::{Operation, Verdict, Watcher};

/// Where the process ends.
enum Fatal {
    Number(u64),
    At { name: String, nth: u32, operation: u32 },
}

impl Fatal {
    /// Whether it is a point itself, and this one.
    fn is(&self, number: u64, point: &str, nth: u32) -> bool {
        match self {
            Self::Number(fatal) => *fatal == number,
            Self::At { name, nth: fatal, operation } => name == point && *fatal == nth && *operation == 0,
        }
    }
}

static FATAL: OnceLock<Fatal> = OnceLock::new();
/// Where the disk is full, and the file that fills it.
static FULL: OnceLock<(Fatal, PathBuf)> = OnceLock::new();
/// Where a thread panics, and the file of what it says then.
static PANIC: OnceLock<(Fatal, PathBuf)> = OnceLock::new();
static IS_FULL: AtomicBool = AtomicBool::new(false);
static PASSED: AtomicU64 = AtomicU64::new(0);
static COUNTS: Mutex<Option<HashMap<&'static str, u32>>> = Mutex::new(None);
/// A write was cut in half, and nothing may follow it.
static CUT: AtomicBool = AtomicBool::new(false);

/// What stands for a point before the first one.
const START: &str = "start";

const BEFORE: &str = ":before-commit";
const AFTER: &str = ":after-commit";

thread_local! {
    /// The point to which this thread's operations belong, and how many there were since.
    static LAST: Cell<Option<(&'static str, u32, u32)>> = const { Cell::new(None) };
    /// How many operations there were since the fatal point was passed on this thread.
    static ARMED: Cell<Option<u32>> = const { Cell::new(None) };
}

fn main() -> ExitCode {
    let fatal = std::env::var("MCRUN_CRASH_AT").ok();
    if let Some(fatal) = fatal.as_deref().and_then(read) {
        FATAL.get_or_init(|| fatal);
    }
    let full = std::env::var("MCRUN_FULL_AT").ok().as_deref().and_then(read);
    if let (Some(full), Some(file)) = (full, std::env::var_os("MCRUN_FULL_BY")) {
        FULL.get_or_init(|| (full, file.into()));
    }
    let panics = std::env::var("MCRUN_PANIC_AT").ok().as_deref().and_then(read);
    if let (Some(panics), Some(file)) = (panics, std::env::var_os("MCRUN_PANIC_WITH")) {
        PANIC.get_or_init(|| (panics, file.into()));
    }
    if fatal.is_some()
        || FULL.get().is_some()
        || PANIC.get().is_some()
        || std::env::var_os("MCRUN_CRASH_LOG").is_some()
    {
        LAST.set(Some((START, 1, 0)));
        if matches!(FATAL.get(), Some(Fatal::At { name, .. }) if name == START) {
            ARMED.set(Some(0));
        }
        journal::set_probe(passed);
        vfs::watch(Box::new(Points));
    }
    if let Some(seed) = std::env::var("MCRUN_CLOCK_JUMPS").ok().and_then(|text| text.parse().ok()) {
        JUMPS.store(seed, Ordering::SeqCst);
        journal::set_skew(jump);
    }
    if let Some(skew) = std::env::var("MCRUN_CLOCK_SKEW").ok().and_then(|text| text.parse().ok()) {
        SKEW.store(skew, Ordering::SeqCst);
        journal::set_skew(|| SKEW.load(Ordering::SeqCst));
    }
    mcrun::main()
}

static JUMPS: AtomicU64 = AtomicU64::new(0);
static SKEW: AtomicI64 = AtomicI64::new(0);

/// Milliseconds by which the clock is wrong: at every sixteenth look it is set ten days forth or back.
fn jump() -> i64 {
    const TEN_DAYS: i64 = 10 * 24 * 60 * 60 * 1000;
    // A linear congruence is chance enough; its upper bits are the better ones.
    let mixed =
        JUMPS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |seed| Some(next(seed))).map_or(0, next);
    match mixed >> 59 {
        0 => SKEW.fetch_add(TEN_DAYS, Ordering::SeqCst) + TEN_DAYS,
        1 => SKEW.fetch_sub(TEN_DAYS, Ordering::SeqCst) - TEN_DAYS,
        _ => SKEW.load(Ordering::SeqCst),
    }
}

fn next(seed: u64) -> u64 {
    seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

fn read(text: &str) -> Option<Fatal> {
    let Some((name, place)) = text.split_once('@') else { return text.parse().ok().map(Fatal::Number) };
    let (nth, operation) = place.split_once('+').unwrap_or((place, "0"));
    Some(Fatal::At { name: name.to_owned(), nth: nth.parse().ok()?, operation: operation.parse().ok()? })
}

/// Counts the point; the fatal one is the process's last.
fn passed(point: &'static str) {
    let nth = count(point);
    note(&format!("{point}@{nth}"));
    if ARMED.get().is_some() && (point.ends_with(AFTER) || LAST.get().is_some_and(|last| last.0 == START)) {
        // The commit had fewer operations this time.
        die();
    }
    // The operations of a group belong to its first request.
    let goes_on =
        LAST.get().is_some_and(|last| last.2 == 0 && last.0.ends_with(BEFORE) && point.ends_with(BEFORE));
    if !goes_on {
        LAST.set(Some((point, nth, 0)));
    }
    let number = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some((full, file)) = FULL.get()
        && full.is(number, point, nth)
    {
        fill(file);
    }
    if let Some((panics, file)) = PANIC.get()
        && panics.is(number, point, nth)
    {
        panic!("in hand: {:?}", std::fs::read_to_string(file));
    }
    match FATAL.get() {
        Some(Fatal::Number(fatal)) if *fatal == number => die(),
        Some(Fatal::At { name, nth: fatal, operation }) if name == point && *fatal == nth => {
            match operation {
                0 => die(),
                _ => ARMED.set(Some(0)),
            }
        }
        _ => {}
    }
}

fn count(point: &'static str) -> u32 {
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let nth = counts.get_or_insert_default().entry(point).or_default();
    *nth += 1;
    *nth
}

/// One write call a line, so that threads do not mix theirs; a lost line fails the test that counts them.
fn note(line: &str) {
    if let Some(path) = std::env::var_os("MCRUN_CRASH_LOG") {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let _ = log.and_then(|mut log| log.write_all(format!("{line}\n").as_bytes()));
    }
}

/// Has the file take what room there is.
fn fill(file: &Path) {
    IS_FULL.store(true, Ordering::SeqCst);
    let full =
        std::fs::File::create(file).and_then(|mut file| std::io::copy(&mut std::io::repeat(0), &mut file));
    // Where it is not the disk that ended it, whoever asked for this sees that nothing was full.
    let _ = full;
}

/// Nothing after this runs, on any thread.
fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

/// The operations on the database's files.
struct Points;

impl Watcher for Points {
    fn before(&self, _: &Path, operation: Operation<'_>) -> Verdict {
        if let Some((point, nth, operations)) = LAST.get() {
            LAST.set(Some((point, nth, operations + 1)));
            note(&format!("{point}@{nth}+{}", operations + 1));
        }
        if IS_FULL.load(Ordering::SeqCst)
            && matches!(operation, Operation::Write { .. })
            && FULL.get().is_some_and(|(_, file)| file.exists())
        {
            return Verdict::Fail(rusqlite::ffi::SQLITE_FULL);
        }
        let Some(armed) = ARMED.get() else { return Verdict::Go };
        ARMED.set(Some(armed + 1));
        if !matches!(FATAL.get(), Some(Fatal::At { operation, .. }) if *operation == armed + 1) {
            return Verdict::Go;
        }
        match operation {
            // Every other write is cut: a kill may arrive between two pages of it.
            Operation::Write { data, .. } if armed % 2 == 1 => {
                CUT.store(true, Ordering::SeqCst);
                Verdict::Short(data.len() / 2, rusqlite::ffi::SQLITE_IOERR_WRITE)
            }
            _ => die(),
        }
    }

    fn after(&self, _: &Path, _: Operation<'_>) {
        if CUT.load(Ordering::SeqCst) {
            die();
        }
    }
}
