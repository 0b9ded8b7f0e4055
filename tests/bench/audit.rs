//! The audit: walking the chain beside only reading its rows, and what a record adds to a change that it tells of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::audit::{Kind, New};
use journal::{Expect, Journal, SystemClock, Write};
use rusqlite::Connection;
use serde_json::json;

use crate::{Row, median, micros, ratio};

const RECORDS: u32 = 200_000;
/// Queued at once.
const GROUP: u32 = 1_000;
const CHANGES: usize = 500;

fn record(number: u32) -> New {
    let object = format!("deploy/{number:013}");
    New::of(Kind::Decision, "certificate:ops.svc.example", "runs.cancel", &object, "allowed")
        .with(json!({ "rule": "[daemon.api] operators: ops.svc.example" }))
}

pub(crate) fn rows() -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let changed = runtime.block_on(changes(&journal, false));
    let audited = runtime.block_on(changes(&journal, true));
    let verified = runtime.block_on(async {
        for begin in (0..RECORDS).step_by(GROUP as usize) {
            let tickets: Vec<_> =
                (begin..begin + GROUP).map(|number| journal.audit(record(number))).collect();
            for ticket in tickets {
                ticket.durable().await.unwrap();
            }
        }
        let begin = Instant::now();
        let verified = journal.verify_audit(None).await.unwrap();
        assert!(verified.fault.is_none() && verified.records >= RECORDS.into());
        begin.elapsed()
    });
    let read = read(&folder.path().join("journal.db"));
    let rate = |time: Duration| format!("{:.0} records/s", f64::from(RECORDS) / time.as_secs_f64());
    vec![
        Row {
            what: "verification of 200,000 audit records",
            measured: rate(verified),
            baseline: format!("{} only read", rate(read)),
            ratio: ratio(verified, read),
            promise: "≥ 200,000 records/s",
        },
        Row {
            what: "a change with its audit record",
            measured: micros(audited),
            baseline: format!("{} without", micros(changed)),
            ratio: ratio(audited, changed),
            promise: "no sync of its own",
        },
    ]
}

/// The middle time of a durable change.
async fn changes(journal: &Journal, is_audited: bool) -> Duration {
    let mut times = Vec::with_capacity(CHANGES);
    for number in 0..CHANGES {
        let write = Write {
            kind: "bench".into(),
            node: "here".into(),
            name: "one".into(),
            value: Some(number.to_string()),
            expect: Expect::Any,
        };
        let begin = Instant::now();
        if is_audited {
            drop(journal.audit(record(0)));
        }
        journal.write(vec![write]).await.unwrap();
        times.push(begin.elapsed());
    }
    median(times)
}

fn read(database: &std::path::Path) -> Duration {
    let connection = Connection::open(database).unwrap();
    let begin = Instant::now();
    let mut statement = connection.prepare("SELECT * FROM audit ORDER BY number").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut octets = 0;
    while let Some(row) = rows.next().unwrap() {
        octets += row.get_ref(9).unwrap().as_str().unwrap().len();
    }
    assert!(octets > 0);
    begin.elapsed()
}
