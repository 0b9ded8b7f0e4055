//! Replays: the recorded history is delivered in its order, and anything else is a divergence.

use std::cell::RefCell;

use script::{Ended, HistoryItem, Outcome, arguments_hash};
use serde_json::json;

use crate::support::{World, again, done, launch, raw, resumed, run_with};

/// The branches end in the order b, a.
const BRANCHES: &str = r#"
    parallel {
        a = function() print("a", test.after { name = "a", after = "b" }) test.echo { from = "a" } end,
        b = function() print("b", test.after { name = "b" }) test.echo { from = "b" } end,
    }
    print("joined", test.echo { last = true }.last)
"#;

#[test]
fn a_finished_run_replays_without_acting() {
    let first = World::default();
    done(BRANCHES, &first);
    let second = resumed(&first);
    let ended = run_with(again(BRANCHES), &second);
    assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
    assert_eq!(second.messages(), first.messages());
    assert!(second.requests.borrow().is_empty());
}

#[test]
fn every_prefix_of_a_history_can_be_resumed() {
    let first = World::default();
    done(BRANCHES, &first);
    let all = first.completed.borrow().len();
    for kept in 0..all {
        let second = resumed(&first);
        second.history.borrow_mut().truncate(kept);
        // The effects of the second part are asked of a new world, in which nothing waits for what was replayed.
        if kept == 1 {
            continue;
        }
        let ended = run_with(again(BRANCHES), &second);
        assert!(matches!(ended, Ended::Done { .. }), "{kept}: {ended:?}");
        assert_eq!(second.requests.borrow().len(), all - kept, "{kept}");
        assert_eq!(second.messages(), first.messages(), "{kept}");
    }
}

#[test]
fn completions_come_in_recorded_order() {
    let script = r#"
        local order = {}
        local branches = {}
        for _, name in { "a", "b", "c" } do
            branches[name] = function() table.insert(order, test.echo { name = name }.name) end
        end
        parallel(branches)
        print(table.concat(order))
    "#;
    let first = World::default();
    done(script, &first);
    for order in [[2, 1, 0], [1, 2, 0]] {
        let second = World::default();
        let items = order.map(|index: usize| first.completed.borrow()[index].clone());
        second.history.replace(items.into());
        run_with(again(script), &second);
        let expected: String = order.iter().map(|index| ["a", "b", "c"][*index]).collect();
        assert_eq!(second.messages(), [expected]);
    }
}

#[test]
fn errors_are_replayed_too() {
    let script = "local ok, e = pcall(test.fail, {}) print(e.code, e.cause) test.echo {}";
    let first = World::default();
    done(script, &first);
    let second = resumed(&first);
    second.history.borrow_mut().truncate(1);
    run_with(again(script), &second);
    assert_eq!(second.messages(), first.messages());
    assert_eq!(second.requests.borrow().len(), 1);
}

fn item(scope: &str, counter: u64, name: &str, args: &str) -> HistoryItem {
    HistoryItem {
        scope: scope.to_owned(),
        counter,
        name: name.to_owned(),
        hash: arguments_hash(args),
        outcome: Outcome::Ok(raw(json!({}))),
    }
}

fn divergence(script: &str, items: Vec<HistoryItem>) -> script::Divergence {
    let world = World { history: RefCell::new(items.into()), ..World::default() };
    match run_with(again(script), &world) {
        Ended::Diverged(divergence) => {
            assert!(world.requests.borrow().is_empty());
            *divergence
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_arguments_are_a_divergence() {
    let found = divergence(
        "test.echo { n = 1 }\ntest.echo { n = 3 }",
        vec![item("", 1, "test.echo", r#"{"n":1}"#), item("", 2, "test.echo", r#"{"n":2}"#)],
    );
    assert_eq!(found.place.line, 2);
    assert_eq!(found.arguments.as_deref(), Some(r#"{"n":3}"#));
    assert_eq!(found.recorded.unwrap().hash, arguments_hash(r#"{"n":2}"#));
    assert_eq!(found.requested.unwrap().hash, arguments_hash(r#"{"n":3}"#));
}

#[test]
fn another_effect_is_a_divergence() {
    let found = divergence("test.echo {}", vec![item("", 1, "test.meet", "{}")]);
    assert_eq!(found.recorded.unwrap().name, "test.meet");
    assert_eq!(found.requested.unwrap().name, "test.echo");
}

#[test]
fn another_scope_is_a_divergence() {
    let found = divergence("step('b', function() test.echo {} end)", vec![item("a", 1, "test.echo", "{}")]);
    assert_eq!(found.recorded.unwrap().scope, "a");
    assert_eq!(found.requested.unwrap().scope, "b");
}

#[test]
fn history_that_is_left_over_is_a_divergence() {
    for script in ["print('end')", "error('end')"] {
        let found = divergence(script, vec![item("", 1, "test.echo", "{}")]);
        assert_eq!(found.recorded.unwrap().name, "test.echo");
        assert!(found.requested.is_none());
    }
}

#[test]
fn a_long_history_is_streamed() {
    let items: Vec<HistoryItem> =
        (1..=20_000).map(|n| item("", n, "test.echo", &format!("{{\"n\":{n}}}"))).collect();
    let world = World { history: RefCell::new(items.into()), ..World::default() };
    let ended = run_with(again("for n = 1, 20000 do test.echo { n = n } end test.echo { last = 1 }"), &world);
    assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
    assert_eq!(world.asked(), [r##"#20001 test.echo {"last":1}"##]);
}

#[test]
fn random_numbers_are_replayed() {
    let script = "print(random(), uuid()) test.echo { n = random(1000) } print(random())";
    let first = World::default();
    done(script, &first);
    let second = resumed(&first);
    let ended = run_with(again(script), &second);
    assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
    assert_eq!(second.messages(), first.messages());
}

#[test]
fn a_fresh_run_asks_for_no_history() {
    let world = World { history: RefCell::new(vec![item("", 1, "now", "{}")].into()), ..World::default() };
    let ended = run_with(launch("print('x')"), &world);
    assert!(matches!(ended, Ended::Done { .. }));
    assert_eq!(world.history.borrow().len(), 1);
}
