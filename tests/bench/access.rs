//! The policy of access with 1,000 rules, beside one look into a table.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use effect::Principal;
use effect::access::{Policy, Request, Rule};
use serde_json::json;

use crate::{Row, ratio};

const RULES: usize = 1_000;
const TURNS: u32 = 20_000;

fn nanos(time: Duration) -> String {
    format!("{:.2} µs", time.as_secs_f64() * 1e6)
}

fn each(turn: impl Fn()) -> Duration {
    let begin = Instant::now();
    (0..TURNS).for_each(|_| turn());
    begin.elapsed() / TURNS
}

pub(crate) fn rows() -> Vec<Row> {
    // Each kind of pattern, and as many rules for everybody as for somebody.
    let rule = |number: usize| {
        let principal = match number % 4 {
            0 => format!("account:a{number}"),
            1 => format!("group:g{number}-*"),
            2 => format!("certificate:*.{number}.example"),
            _ => "*".to_owned(),
        };
        let object =
            if number.is_multiple_of(2) { format!("service-{number}") } else { format!("s{number}-*") };
        json!({ "principals": [principal], "actions": ["playbooks.*", "runs.read"], "objects": [object],
                "effect": "allow", "priority": number % 7 })
    };
    let rules: Vec<Rule> = serde_json::from_value(json!((0..RULES).map(rule).collect::<Vec<_>>())).unwrap();
    let policy = Policy::new(&rules, Vec::new()).unwrap();
    let principal = "account:a996".parse::<Principal>().unwrap().with(&["user".into()], &["ops".into()]);
    let found = Request::of("playbooks.start", "service-996");
    let none = Request::of("playbooks.start", "nothing");
    assert!(policy.decide(&principal, &found).is_allowed && !policy.decide(&principal, &none).is_allowed);
    let table: BTreeMap<String, usize> =
        (0..RULES).map(|number| (format!("service-{number}"), number)).collect();
    let decided = each(|| drop(black_box(policy.decide(&principal, &found))));
    let denied = each(|| drop(black_box(policy.decide(&principal, &none))));
    let looked = each(|| {
        black_box(table.get(black_box("service-996")));
    });
    let row = |what, time| Row {
        what,
        measured: nanos(time),
        baseline: format!("{} one look into a table", nanos(looked)),
        ratio: ratio(time, looked),
        promise: "≤ 10 µs",
    };
    vec![row("a decision with 1,000 access rules", decided), row("a denial with 1,000 access rules", denied)]
}
