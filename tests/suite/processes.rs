//! Owns what the suite reads of other processes in /proc, and the signals that it sends to those it has started.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal};

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) words: Vec<String>,
}

/// Every process of this machine that can be read and is not a zombie.
pub(crate) fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(read)).collect()
}

fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    (state != "Z").then(|| Process { pid, parent, words: words.filter(|word| !word.is_empty()).collect() })
}

/// The worker of a host, once there is one.
pub(crate) fn worker_of(host: u32) -> Option<u32> {
    let is_worker = |process: &Process| {
        process.parent == host && process.words.get(1).is_some_and(|word| word == "worker")
    };
    all().into_iter().find(is_worker).map(|process| process.pid)
}

/// Those that have `text` among their arguments.
pub(crate) fn with_word(text: &str) -> Vec<u32> {
    let has_it = |process: &Process| process.words.iter().any(|word| word == text);
    all().into_iter().filter(has_it).map(|process| process.pid).collect()
}

/// Sends a signal to a process that a test has started. One that is gone is fine.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = rustix::process::kill_process(pid, signal);
}

/// Sends a signal to a group of processes that a test has started, by its leader.
pub(crate) fn signal_group(leader: u32, signal: Signal) {
    let leader = i32::try_from(leader).ok().and_then(Pid::from_raw).expect("a process id");
    rustix::process::kill_process_group(leader, signal).expect("the group is there");
}

/// Kills the shims of a state directory and what they supervise.
pub(crate) fn end_shims_of(state: &Path) {
    let everything = all();
    let is_ours = |process: &&Process| {
        process.words.get(1).is_some_and(|word| word == "shim")
            && process.words.get(2).is_some_and(|folder| Path::new(folder).starts_with(state))
    };
    for shim in everything.iter().filter(is_ours) {
        signal(shim.pid, Signal::KILL);
        for program in everything.iter().filter(|process| process.parent == shim.pid) {
            signal(program.pid, Signal::KILL);
        }
    }
}
