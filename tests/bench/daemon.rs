//! The daemon: a playbook that was saved, a thousand of them at the start, schedules that wait, watchers, and what all of it
//! costs while nothing happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::daemon::api::client::Client;
use journal::{Filter, Journal, SystemClock};
use tempfile::TempDir;

use crate::many::status;
use crate::whole::command;
use crate::{Row, median, millis, ratio};

const PLAYBOOKS: usize = 1_000;
/// Schedules of each.
const SCHEDULES: usize = 10;
const SAVES: usize = 41;
const EVENTS: usize = 41;
const WATCHERS: usize = 500;
const IDLE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon with a folder of playbooks.
struct Served {
    place: TempDir,
    child: Option<Child>,
    journal: Journal,
    runtime: tokio::runtime::Runtime,
}

impl Served {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("playbooks");
        fs::create_dir(&folder).unwrap();
        let state = place.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::write(state.join("mcrun.toml"), format!("[playbooks]\nfolders = [\"{}\"]\n", folder.display()))
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let journal = Journal::open(&state, Arc::new(SystemClock)).unwrap();
        Self { place, child: None, journal, runtime }
    }

    fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.place.path().join("playbooks").join(name), text).unwrap();
    }

    /// Starts it: how long until so many playbooks are active.
    fn start(&mut self, program: &Path, playbooks: usize) -> Duration {
        let begin = Instant::now();
        let serve = std::ffi::OsStr::new("serve");
        self.child = Some(command(program, &self.state(), &[serve]).spawn().unwrap());
        let socket = self.state().join("daemon.sock");
        self.until("playbooks are loaded", || self.active().len() == playbooks && socket.exists());
        begin.elapsed()
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // The socket of one that was killed would pass for that of the next.
        let _ = fs::remove_file(self.state().join("daemon.sock"));
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn active(&self) -> Vec<journal::Record> {
        self.runtime.block_on(self.journal.records("playbook", None)).unwrap()
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < PATIENCE, "never: {what}");
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// The part of one core that it took, in percent, over a while.
    fn share(&self, time: Duration) -> f64 {
        share(self.pid(), time)
    }
}

/// The part of one core that a process took, in percent, over a while.
pub(crate) fn share(pid: u32, time: Duration) -> f64 {
    let ticks = || -> u64 { times(&pid.to_string())[..2].iter().sum() };
    let before = ticks();
    std::thread::sleep(time);
    // A tick is a hundredth of a second.
    (ticks() - before) as f64 / time.as_secs_f64()
}

/// The ticks that a process has had: its own and the kernel's for it, and those of children that it waited for.
pub(crate) fn times(process: &str) -> [u64; 4] {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<u64> =
        text.rsplit(')').next().unwrap().split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    [fields[11], fields[12], fields[13], fields[14]]
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}

fn playbook(name: &str, on: &str, what: &str) -> String {
    format!(
        "-- {what}\nreturn playbook {{\n    name = \"{name}\",\n    on = {{ {on} }},\n    run = function(event) end,\n}}\n"
    )
}

/// Times of the coming year, none of them soon.
fn schedules(number: usize) -> String {
    let crons = (0..SCHEDULES).map(|one| format!("\"{} {} 29 2 *\"", (number + one) % 60, one * 2));
    format!("cron = {{ {} }}", crons.collect::<Vec<_>>().join(", "))
}

pub(crate) fn rows(program: &Path) -> Vec<Row> {
    let mut served = Served::new();
    for number in 0..PLAYBOOKS {
        let name = format!("p{number}");
        served.write(&format!("{name}.lua"), &playbook(&name, &schedules(number), "first"));
    }
    let first = served.start(program, PLAYBOOKS);
    served.stop();
    let again = served.start(program, PLAYBOOKS);
    let loaded = Row {
        what: "1,000 playbooks loaded by a daemon that has never seen them",
        measured: millis(first),
        baseline: format!("the next start, nothing changed: {}", millis(again)),
        ratio: ratio(first, again),
        promise: "≤ 2 s",
    };
    let reload = reload(&served);
    let full = idle(&served);
    drop(served);
    let mut empty = Served::new();
    empty.start(program, 0);
    let empty = idle(&empty);
    let idle = Row {
        what: "a daemon without playbooks, idle for a minute",
        measured: format!("{:.1} MB, {:.2} % of a core", empty.0, empty.1),
        baseline: "–".into(),
        ratio: "–".into(),
        promise: "≤ 40 MB, ≤ 0.1 %",
    };
    let scheduled = Row {
        what: "1,000 playbooks with 10,000 schedules, idle for a minute",
        measured: format!("{:.1} MB, {:.2} % of a core", full.0, full.1),
        baseline: format!("without any {:.1} MB, {:.2} %", empty.0, empty.1),
        ratio: format!("{:.1} KiB a playbook", (full.0 - empty.0) * 1024.0 / PLAYBOOKS as f64),
        promise: "schedules cost nothing",
    };
    vec![loaded, reload, idle, scheduled, event(program), watchers(program)]
}

/// From the end of a save to the new version being active and kept, among a thousand others.
fn reload(served: &Served) -> Row {
    let number = || {
        let record = served.runtime.block_on(served.journal.records("playbook", None)).unwrap();
        let record = record.into_iter().find(|record| record.name == "p7").unwrap();
        serde_json::from_str::<serde_json::Value>(&record.value).unwrap()["number"].as_u64().unwrap()
    };
    let one = || {
        let node = served.active().first().unwrap().node.clone();
        let record =
            served.runtime.block_on(served.journal.record("playbook", &node, "p7")).unwrap().unwrap();
        serde_json::from_str::<serde_json::Value>(&record.value).unwrap()["number"].as_u64().unwrap()
    };
    let before = number();
    let times = (0..SAVES as u64).map(|round| {
        served.write("p7.lua", &playbook("p7", "boot = true", &format!("save {round}")));
        let begin = Instant::now();
        served.until("it is active", || one() == before + round + 1);
        begin.elapsed()
    });
    let measured = median(times.collect());
    let settle = Duration::from_millis(25);
    Row {
        what: "a playbook that was saved is active, among 1,000",
        measured: millis(measured),
        baseline: format!("waiting for further writes: {}", millis(settle)),
        ratio: ratio(measured, settle),
        promise: "≤ 100 ms",
    }
}

/// Nothing happens: the memory that it has, in MB, and the part of a core that it takes, in percent.
fn idle(served: &Served) -> (f64, f64) {
    // What starting has left is given back.
    std::thread::sleep(Duration::from_secs(35));
    let share = served.share(IDLE);
    (status(served.pid(), "VmRSS") as f64 / 1024.0, share)
}

/// From an event being written down to the run that it starts being written down.
fn event(program: &Path) -> Row {
    let mut served = Served::new();
    served.write("on.lua", &playbook("on-event", "event = \"bench.happened\"", "first"));
    served.start(program, 1);
    // What was told before a trigger was there does not concern it.
    served.until("its trigger is armed", || {
        let triggers = served.runtime.block_on(served.journal.records("trigger", None)).unwrap();
        triggers.iter().any(|trigger| trigger.name.starts_with("on-event"))
    });
    let started = |count: usize| {
        let filter = Filter { limit: EVENTS + 1, ..Filter::default() };
        served.runtime.block_on(served.journal.runs(filter)).unwrap().len() >= count
    };
    let times = (0..EVENTS).map(|round| {
        served.until("the one before is over", || {
            let runs = served.runtime.block_on(served.journal.unfinished_of("on-event")).unwrap();
            runs.is_empty()
        });
        let begin = Instant::now();
        served.runtime.block_on(served.journal.emit("bench.happened", "{}")).unwrap();
        served.until("it has started", || started(round + 1));
        begin.elapsed()
    });
    let measured = median(times.collect());
    let raw = crate::steps::raw_commits(served.place.path());
    Row {
        what: "an event to the start of the playbook that waits for it",
        measured: millis(measured),
        baseline: format!("raw SQLite WAL-FULL commit {}", millis(raw)),
        ratio: ratio(measured, raw),
        promise: "≤ 20 ms",
    }
}

/// Five hundred clients that follow events: each is told.
fn watchers(program: &Path) -> Row {
    let mut served = Served::new();
    served.start(program, 0);
    let socket = served.state().join("daemon.sock");
    let alone = status(served.pid(), "VmRSS") as f64 / 1024.0;
    let took = served.runtime.block_on(async {
        let client = Client::connect(&socket).await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..WATCHERS {
            streams.push(client.watch_events(vec!["bench.*".into()], None).await.unwrap());
        }
        let begin = Instant::now();
        client.emit("bench.happened", "{}").await.unwrap();
        for stream in &mut streams {
            stream.next().await.unwrap().expect("an event");
        }
        let took = begin.elapsed();
        let resident = status(served.pid(), "VmRSS") as f64 / 1024.0;
        (took, resident)
    });
    Row {
        what: "500 watchers, until the last is told of an event",
        measured: format!("{}, {:.1} MB", millis(took.0), took.1),
        baseline: format!("without watchers {alone:.1} MB"),
        ratio: format!("{:.1} KiB a watcher", (took.1 - alone) * 1024.0 / WATCHERS as f64),
        promise: "500 watchers",
    }
}
