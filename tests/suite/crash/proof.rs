//! Owns what must hold whenever a run was killed, and at its end: what the journal calls done is done, stays as it was
//! written and is never done again; nothing acted before it was announced; the first `before` is kept.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use journal::{Entry, Filter, Identity, Journal, Kind, Record, Run, RunState, Status, SystemClock};
use serde_json::Value;

use super::ledger::{Line, Page};
use crate::harness::{Place, until};
use crate::processes;

/// What journal and world say at one moment.
pub(super) struct Observed {
    pub(super) run: Option<Run>,
    pub(super) entries: Vec<Entry>,
    records: Vec<Record>,
    acts: Vec<Line>,
}

/// The history of one run over all its attempts.
pub(super) struct Proof<'a> {
    place: &'a Place,
    page: &'a Page<'a>,
    /// What the run's name begins with.
    name: &'a str,
    /// Whether what was done to a file may be taken back by the run itself.
    takes_back: bool,
    /// Every entry that was seen, with what the world showed of it when it was first seen completed.
    entries: BTreeMap<Identity, (Entry, String)>,
    /// How often an act that may be repeated was found cut.
    doubts: BTreeMap<String, usize>,
    pub(super) kills: usize,
    /// Acts that a look at the ledger decided about.
    pub(super) decided: usize,
}

impl<'a> Proof<'a> {
    pub(super) fn new(place: &'a Place, page: &'a Page<'a>, name: &'a str, takes_back: bool) -> Self {
        let (entries, doubts) = (BTreeMap::new(), BTreeMap::new());
        Self { place, page, name, takes_back, entries, doubts, kills: 0, decided: 0 }
    }

    /// Looks at what an attempt has left, and checks it against everything that was seen before.
    pub(super) fn observe(&mut self, killed: bool) -> Observed {
        let observed = self.look();
        self.check_history(&observed);
        check_order(&observed.entries);
        check_acts(&observed);
        for entry in &observed.entries {
            let witness =
                if entry.status == Status::Begun { String::new() } else { self.witness(entry, &observed) };
            match self.entries.get(&entry.identity) {
                Some((before, seen)) if before.status != Status::Begun => {
                    assert_eq!(&witness, seen, "this was done again: {entry:#?}");
                }
                _ => _ = self.entries.insert(entry.identity.clone(), (entry.clone(), witness)),
            }
            if killed && entry.kind == Kind::Act && entry.status == Status::Begun && !asks(entry) {
                *self.doubts.entry(label(entry)).or_default() += 1;
            }
        }
        self.kills += usize::from(killed);
        observed
    }

    /// What an operator says who looks into the ledger, for every act that is in doubt.
    pub(super) fn decisions(&mut self, observed: &Observed) -> Vec<String> {
        let in_doubt = observed.entries.iter().filter(|entry| entry.status == Status::Begun && asks(entry));
        let words = in_doubt.flat_map(|entry| {
            let word = if observed.times(&label(entry)) == 0 { "redo" } else { "done" };
            ["--doubt".to_owned(), format!("{}#{}={word}", entry.identity.scope, entry.identity.counter)]
        });
        let words: Vec<String> = words.collect();
        self.decided += words.len() / 2;
        words
    }

    /// The run is done: every effect took place, and none more often than doubt explains.
    pub(super) fn check_end(&self, observed: &Observed) {
        let run = observed.run.as_ref().expect("it has been recorded");
        assert_eq!(run.state, RunState::Done, "{:#?}", run.outcome);
        for entry in &observed.entries {
            assert_ne!(entry.status, Status::Begun, "a run that is done has nothing under way: {entry:#?}");
        }
        for entry in observed.entries.iter().filter(|entry| is_in_ledger(entry)) {
            let label = label(entry);
            let most = 1 + self.doubts.get(&label).copied().unwrap_or(0);
            let times = observed.times(&label);
            assert!((1..=most).contains(&times), "{label} took place {times} times, at most {most} are due");
        }
    }

    fn look(&self) -> Observed {
        // What a killed program had started dies with it, a moment later.
        let marker = self.place.at("marker");
        let begun = |entries: &[Entry]| {
            entries.iter().any(|entry| entry.identity.name == "exec.run" && entry.status == Status::Begun)
        };
        let (run, entries, records) = recorded(&self.place.state(), self.name);
        if begun(&entries) {
            until("programs die with their host", || processes::with_word(&marker).is_empty().then_some(()));
        }
        let written = self.place.read("out/ledger");
        let written = written.lines().filter_map(|line| line.split_once(' ')).map(|(key, label)| Line {
            key: key.to_owned(),
            label: label.to_owned(),
            seen: Vec::new(),
        });
        let acts = written.chain(self.page.lines()).collect();
        Observed { run, entries, records, acts }
    }

    fn check_history(&self, observed: &Observed) {
        for (identity, (before, _)) in &self.entries {
            let now = observed.entries.iter().find(|entry| entry.identity == *identity);
            let now = now.unwrap_or_else(|| panic!("this was lost: {before:#?}"));
            if before.status == Status::Begun {
                assert_eq!(
                    (&now.before, &now.change, now.begun_at, now.until, &now.arguments),
                    (&before.before, &before.change, before.begun_at, before.until, &before.arguments),
                    "what was written at first stays"
                );
            } else {
                assert_eq!(now, before, "what is recorded stays");
            }
        }
    }

    /// What the world shows of an effect, so that doing it again would show.
    fn witness(&self, entry: &Entry, observed: &Observed) -> String {
        let arguments: Value = serde_json::from_str(&entry.arguments).expect("arguments are JSON");
        let name = entry.identity.name.as_str();
        match name {
            _ if is_in_ledger(entry) => format!("{} times", observed.times(&label(entry))),
            _ if entry.kind == Kind::Ensure && name.starts_with("files.") && !self.takes_back => {
                file(Path::new(arguments["path"].as_str().unwrap_or_default()))
            }
            "ports.allocate" | "registry.put" if !self.takes_back => {
                let service = arguments["service"].as_str().unwrap_or_default();
                let (kind, object) = match arguments["name"].as_str() {
                    Some(port) => ("port", format!("{service}/{port}")),
                    None => ("service", service.to_owned()),
                };
                let of_it = |record: &&Record| record.kind == kind && record.name == object;
                observed.records.iter().find(of_it).map(|record| record.at.0.to_string()).unwrap_or_default()
            }
            "containers.ensure" => {
                let status =
                    self.place.state().join("process").join(arguments["name"].as_str().unwrap_or_default());
                let status = fs::read_to_string(status.join("status.json")).unwrap_or_default();
                let status: Value = serde_json::from_str(&status).unwrap_or_default();
                status["program"].to_string()
            }
            _ => String::new(),
        }
    }
}

impl Observed {
    pub(super) fn is_over(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.state.is_final())
    }

    /// Whether the script asked for the pause that the run is in.
    pub(super) fn pauses_by_itself(&self) -> bool {
        let asked = |entry: &Entry| entry.identity.name == "pause" && entry.status == Status::Begun;
        self.run.as_ref().is_some_and(|run| run.state == RunState::Paused) && self.entries.iter().any(asked)
    }

    fn times(&self, label: &str) -> usize {
        self.acts.iter().filter(|act| act.label == label).count()
    }
}

/// The newest run whose name begins so, with its entries and all records, as a copy of the files shows them: the program
/// under test finds its state as the kill left it.
fn recorded(state: &Path, name: &str) -> (Option<Run>, Vec<Entry>, Vec<Record>) {
    let copy = crate::harness::in_memory();
    for file in ["journal.db", "journal.db-wal"] {
        if state.join(file).exists() {
            fs::copy(state.join(file), copy.path().join(file)).expect("the copy has room");
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let journal = Journal::open(copy.path(), Arc::new(SystemClock)).expect("a killed journal opens");
        let runs = journal.runs(Filter { state: None, limit: 3 }).await.expect("runs can be read");
        let Some(run) = runs.into_iter().find(|run| run.name.starts_with(name)) else {
            return (None, Vec::new(), Vec::new());
        };
        let mut entries = Vec::new();
        loop {
            let after = entries.iter().filter_map(|entry: &Entry| entry.order).max().unwrap_or(0);
            let page = journal.entries(&run.id, after, usize::MAX).await.expect("entries can be read");
            let is_last = page.iter().all(|entry| entry.order.is_none());
            entries.extend(page);
            if is_last {
                break;
            }
        }
        let mut records = Vec::new();
        for kind in ["port", "service"] {
            records.extend(journal.records(kind, None).await.expect("records can be read"));
        }
        (Some(run), entries, records)
    })
}

/// Orders have no gaps, and whatever has begun has everything before it in its scope behind it.
fn check_order(entries: &[Entry]) {
    let orders: Vec<u64> = entries.iter().filter_map(|entry| entry.order).collect();
    assert_eq!(orders, (1..=orders.len() as u64).collect::<Vec<_>>(), "orders have no gaps");
    let mut scopes: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        scopes.entry(&entry.identity.scope).or_default().push(entry);
    }
    for (scope, entries) in scopes {
        let last = entries.iter().map(|entry| entry.identity.counter).max().unwrap_or(0);
        assert_eq!(last as usize, entries.len(), "`{scope}` has no gaps");
        for entry in entries.iter().filter(|entry| entry.status == Status::Begun) {
            assert_eq!(entry.identity.counter, last, "an end was lost before this began: {entry:#?}");
        }
    }
}

/// Whatever acted had begun, under one key, and everything that its script knew of is recorded.
fn check_acts(observed: &Observed) {
    let entries: BTreeMap<String, &Entry> = observed
        .entries
        .iter()
        .filter(|entry| is_in_ledger(entry))
        .map(|entry| (label(entry), entry))
        .collect();
    let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
    for act in &observed.acts {
        assert!(entries.contains_key(&act.label), "`{}` acted and is not in the journal", act.label);
        assert_eq!(act.key.len(), 32, "{act:?}");
        assert_eq!(
            *keys.entry(&act.label).or_insert(&act.key),
            act.key,
            "one key for every attempt: {act:?}"
        );
        for known in &act.seen {
            let is_recorded = entries.get(known).is_some_and(|entry| entry.status != Status::Begun);
            assert!(is_recorded, "`{}` acted on the end of `{known}`, which is not recorded", act.label);
        }
    }
    for (label, entry) in entries {
        assert!(
            entry.status != Status::Done || observed.times(&label) > 0,
            "`{label}` is done and never acted"
        );
    }
}

fn is_in_ledger(entry: &Entry) -> bool {
    entry.kind == Kind::Act && !label(entry).is_empty()
}

/// The name under which an act is in the ledger.
fn label(entry: &Entry) -> String {
    let arguments: Value = serde_json::from_str(&entry.arguments).expect("arguments are JSON");
    let label = arguments["json"]["label"].as_str().or(arguments["env"]["LABEL"].as_str());
    label.unwrap_or_default().to_owned()
}

fn asks(entry: &Entry) -> bool {
    let arguments: Value = serde_json::from_str(&entry.arguments).expect("arguments are JSON");
    entry.kind == Kind::Act && arguments["on_doubt"] == "ask"
}

fn file(path: &Path) -> String {
    match fs::symlink_metadata(path) {
        // A directory changes with what is put into it.
        Ok(found) if found.is_dir() => format!("{} {:o}", found.ino(), found.mode()),
        Ok(found) => format!("{} {}.{} {:o}", found.ino(), found.mtime(), found.mtime_nsec(), found.mode()),
        Err(_) => "absent".to_owned(),
    }
}
