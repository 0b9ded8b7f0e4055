//! Owns what `/proc` tells of processes, and ending those that a program left behind.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::record::{Identity, Status};

const SWEEP_TIMEOUT: Duration = Duration::from_secs(5);
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

struct Stat {
    state: char,
    parent: i32,
    session: i32,
    ticks: u64,
}

/// `pid (comm) state ppid pgrp session …`; the name may contain anything, so everything counts from its last bracket.
fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let words: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        state: words.first()?.chars().next()?,
        parent: words.get(1)?.parse().ok()?,
        session: words.get(3)?.parse().ok()?,
        ticks: words.get(19)?.parse().ok()?,
    })
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The id of the running kernel's boot.
pub(super) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The identity of a process that exists now.
pub(super) fn identify(pid: i32) -> Option<Identity> {
    stat(pid).map(|stat| Identity { pid, ticks: stat.ticks })
}

/// Whether exactly this process lives; one that ended and was not waited for does not.
pub(super) fn is_alive(identity: Identity) -> bool {
    stat(identity.pid).is_some_and(|stat| stat.ticks == identity.ticks && stat.state != 'Z')
}

/// Sends `signal` to exactly this process; false when it is gone.
pub(super) fn signal(identity: Identity, signal: Signal) -> bool {
    let Some(pid) = Pid::from_raw(identity.pid) else { return false };
    // The descriptor keeps the number from being given to another process between the check and the signal.
    let Ok(descriptor) = pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return false };
    is_alive(identity) && pidfd_send_signal(&descriptor, signal).is_ok()
}

/// Children of this process.
pub(super) fn children() -> Vec<i32> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    pids().into_iter().filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == own)).collect()
}

/// Ends what a program left whose shim is gone: its session and its control group. Returns when nothing is left, or
/// after a while.
pub(super) fn sweep(status: Option<&Status>, group: Option<&str>) {
    let leader = status.filter(|status| status.boot == boot()).and_then(|status| status.program);
    let deadline = Instant::now() + SWEEP_TIMEOUT;
    loop {
        let mut left: Vec<i32> = leader.map(session_members).unwrap_or_default();
        left.extend(
            group.map(crate::cgroup::processes).unwrap_or_default().into_iter().map(|pid| pid as i32),
        );
        left.retain(|pid| stat(*pid).is_some_and(|stat| stat.state != 'Z'));
        if left.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in left.into_iter().filter_map(Pid::from_raw) {
            // It may have ended by itself meanwhile, which is just as well.
            let _ = kill_process(pid, Signal::KILL);
        }
        sleep(SWEEP_PAUSE);
    }
}

/// The number of a session is given to nobody else while it has members. A leader that started at another time means
/// that the session is a later one.
fn session_members(leader: Identity) -> Vec<i32> {
    if stat(leader.pid).is_some_and(|stat| stat.ticks != leader.ticks) {
        return Vec::new();
    }
    let is_member =
        |pid: &i32| stat(*pid).is_some_and(|stat| stat.session == leader.pid && stat.ticks >= leader.ticks);
    pids().into_iter().filter(is_member).collect()
}
