//! `parallel` with `on_failure = "cancel"`: what becomes of the siblings of a branch that fails.

use effect::Code;

use crate::support::{World, again, done, failure, launch, planned, printed, resumed, run_with};

const CANCELS: &str = r#"
    local ok, e = pcall(parallel, { on_failure = "cancel" }, {
        a = function() test.echo {} test.fail {} end,
        b = function() test.wait {} print("b goes on") end,
        c = function()
            local ok, e = pcall(test.finish, {})
            print("c", ok, e.code)
            print("again", select(2, pcall(test.echo, {})).code)
        end,
    })
    print(ok, e.code, e.message, e.branch)
    print(table.concat(e.details, "; "))
    print(test.echo { last = true }.last)
"#;

#[test]
fn siblings_of_a_failed_branch_are_cancelled() {
    let world = World::default();
    done(CANCELS, &world);
    let expected = [
        "c\tfalse\tMC-S033",
        "again\tMC-S033",
        "false\tMC-C002\tbranch `a`: it went wrong\ta",
        "branch `b` was cancelled",
        "true",
    ];
    assert_eq!(world.messages(), expected);
    assert_eq!(world.requests.borrow().len(), 5);
}

#[test]
fn a_cancellation_is_replayed() {
    let first = World::default();
    done(CANCELS, &first);
    let all = first.completed.borrow().len();
    for kept in 0..=all {
        let second = resumed(&first);
        second.history.borrow_mut().truncate(kept);
        assert!(matches!(run_with(again(CANCELS), &second), script::Ended::Done { .. }));
        assert_eq!(second.messages(), first.messages(), "{kept}");
        assert_eq!(second.requests.borrow().len(), all - kept, "{kept}");
    }
}

#[test]
fn branches_of_a_cancelled_branch_are_cancelled_and_no_new_ones_get_anywhere() {
    let lines = printed(
        r#"
        local ok, e = pcall(parallel, { on_failure = "cancel" }, {
            a = function() test.echo {} fail("a") end,
            b = function()
                pcall(parallel, { inner = function() test.wait {} end })
                local ok, e = pcall(parallel, { late = function() test.echo {} print("late") end })
                print(ok, e.code, e.message)
            end,
        })
        print(ok, e.message)
        "#,
    );
    assert_eq!(
        lines,
        [
            "false\tMC-S033\tbranch `late`: branch `parallel.b` was cancelled: branch `a` failed: a",
            "false\tbranch `a`: a"
        ]
    );
}

#[test]
fn branches_that_were_not_started_never_are() {
    let world = World::default();
    done(
        r#"
        pcall(parallel, { limit = 1, on_failure = "cancel" }, {
            a = function() test.fail {} end,
            b = function() test.echo {} end,
        })
        "#,
        &world,
    );
    assert_eq!(world.asked(), ["parallel.a#1 test.fail {}"]);
}

#[test]
fn a_retry_does_not_hold_up_a_cancellation() {
    let failed = failure(
        r#"
        parallel({ on_failure = "cancel" }, {
            a = function() test.echo {} fail("a") end,
            b = function() retry({ times = 1000 }, function() test.wait {} end) end,
        })
        "#,
    );
    assert_eq!(failed.error.message, "branch `a`: a");
    assert_eq!(failed.error.details, ["branch `b` was cancelled"]);
}

#[test]
fn without_it_siblings_come_to_their_own_end() {
    let lines = printed(
        r#"
        pcall(parallel, { on_failure = "finish" }, {
            a = function() test.fail {} end,
            b = function() test.echo {} test.echo {} print("b ends") end,
        })
        "#,
    );
    assert_eq!(lines, ["b ends"]);
}

#[test]
fn a_plan_shows_every_branch() {
    let world = World::default();
    planned(
        r#"
        pcall(parallel, { on_failure = "cancel" }, {
            a = function() test.fail {} end,
            b = function() test.echo {} test.echo { second = true } end,
        })
        "#,
        &world,
    );
    assert_eq!(world.requests.borrow().len(), 3);
}

#[test]
fn a_transaction_in_a_cancelled_branch_is_taken_back() {
    let world = World::default();
    let mut transaction = launch(
        r#"
        pcall(parallel, { on_failure = "cancel" }, {
            a = function() test.echo {} test.fail {} end,
            b = function()
                transaction(function()
                    test.act { undo = function() test.echo { undone = true } end }
                    test.wait {}
                end)
            end,
        })
        "#,
    );
    transaction.rewinds.insert("test.act".to_owned(), effect::Rewind::Refuse);
    run_with(transaction, &world);
    let asked = world.asked();
    assert_eq!(asked.last().unwrap(), r#"parallel.b/transaction#3 test.echo {"undone":true}"#, "{asked:?}");
}

#[test]
fn another_word_for_it_is_refused() {
    let failed = failure(r#"parallel({ on_failure = "stop" }, {})"#);
    assert_eq!(failed.error.code, Code::Argument);
}
