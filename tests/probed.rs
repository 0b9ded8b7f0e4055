//! `mcrun` with a crash point: the process kills itself, as power loss or `kill -9` would, at the Nth point that the
//! journal or a driver call passes.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static PASSED: AtomicU64 = AtomicU64::new(0);
static FATAL: OnceLock<u64> = OnceLock::new();

fn main() -> ExitCode {
    if let Some(fatal) = std::env::var("MCRUN_CRASH_AT").ok().and_then(|text| text.parse().ok()) {
        FATAL.get_or_init(|| fatal);
    }
    if std::env::var_os("MCRUN_CRASH_AT").is_some() || std::env::var_os("MCRUN_CRASH_LOG").is_some() {
        journal::set_probe(passed);
    }
    mcrun::main()
}

/// Counts the point; the fatal one is the process's last.
fn passed(point: &'static str) {
    let number = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(path) = std::env::var_os("MCRUN_CRASH_LOG") {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path);
        // One write call, so that threads do not mix their lines; a lost line fails the test that counts them.
        let _ = log.and_then(|mut log| log.write_all(format!("{point}\n").as_bytes()));
    }
    if FATAL.get() == Some(&number) {
        // Nothing after this line runs, on any thread.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
