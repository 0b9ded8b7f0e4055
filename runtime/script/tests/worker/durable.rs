//! Steps, branches, retries, random numbers, failure handlers, log lines.

use effect::Code;

use crate::support::{World, done, failure, launch, printed, run_with};

#[test]
fn scopes_and_counters_name_effects() {
    let world = World::default();
    done(
        r#"
        test.echo {}
        step("deploy", function()
            test.echo {}
            step("mcq", function() test.echo {} test.echo {} end)
            test.echo {}
        end)
        step("deploy", function() test.echo {} end)
        parallel { b = function() test.echo {} end, a = function() step("x", function() test.echo {} end) end }
        parallel { a = function() test.echo {} end }
        retry({ times = 2 }, function() test.echo {} end)
        test.echo {}
        "#,
        &world,
    );
    let identities: Vec<String> = world
        .requests
        .borrow()
        .iter()
        .map(|request| format!("{}#{}", request.scope, request.counter))
        .collect();
    let expected = [
        "#1",
        "deploy#1",
        "deploy/mcq#1",
        "deploy/mcq#2",
        "deploy#2",
        "deploy~2#1",
        "parallel.a/x#1",
        "parallel.b#1",
        "parallel~2.a#1",
        "retry/1#1",
        "#2",
    ];
    assert_eq!(identities, expected);
}

#[test]
fn a_step_returns_what_its_body_returns_and_passes_errors_on() {
    let lines = printed(
        r#"
        print(step("a", function() return 1, nil, 3 end))
        print(pcall(step, "b", function() error("no", 0) end))
        print(pcall(step, "x/y", print))
        "#,
    );
    assert_eq!(lines[..2], ["1\tnil\t3", "false\tno"]);
    assert!(lines[2].starts_with("false\tMC-A001"), "{lines:?}");
}

#[test]
fn branches_overlap() {
    let lines = printed(
        r#"
        local r = parallel { a = function() return test.meet {} end, b = function() return test.meet {} end }
        print(r.a, r.b)
        "#,
    );
    assert_eq!(lines, ["true\ttrue"]);
}

#[test]
fn a_limit_bounds_how_many_branches_are_open() {
    let world = World::default();
    done(
        r#"
        local open, most = 0, 0
        local branches = {}
        for i = 1, 6 do
            branches["b" .. i] = function()
                open += 1
                most = math.max(most, open)
                test.echo {}
                open -= 1
                return i
            end
        end
        local r = parallel({ limit = 2 }, branches)
        print(most, r.b1, r.b6)
        "#,
        &world,
    );
    assert_eq!(world.messages(), ["2\t1\t6"]);
}

#[test]
fn a_failed_branch_is_named_after_the_others_have_ended() {
    let lines = printed(
        r#"
        local ended = false
        local ok, e = pcall(parallel, {
            a = function() test.after { name = "a", after = "b" } ended = true end,
            b = function() test.after { name = "b" } test.fail {} end,
        })
        print(ok, e.code, e.message, e.branch, ended)
        "#,
    );
    assert_eq!(lines, ["false\tMC-C002\tbranch `b`: it went wrong\tb\ttrue"]);
}

#[test]
fn every_branch_that_failed_is_listed_with_its_place() {
    let failed = failure(
        "parallel {\n a = function() fail('one') end,\n b = function()\n  parallel { c = function() fail('two') end, d = function() error('three') end }\n end,\n}",
    );
    assert_eq!(failed.error.message, "branch `a`: one");
    let expected = [
        "branch `b` failed too at test.luau:4: MC-S003: branch `c`: two",
        "  branch `d` failed too at test.luau:4: MC-S002: three",
    ];
    assert_eq!(failed.error.details, expected);
}

#[test]
fn a_failed_branch_keeps_its_place() {
    let failed = failure("parallel {\n  a = function()\n    error('boom')\n  end,\n}");
    assert_eq!(failed.error.code, Code::Uncaught);
    assert_eq!(failed.error.message, "branch `a`: boom");
    assert_eq!(failed.place.line, 3);
}

#[test]
fn retry_tries_what_may_pass_by_itself() {
    let world = World::default();
    done(
        r#"print(retry({ times = 5, backoff = "1s..4s" }, function() return test.flaky { succeeds_at = 4 } end))"#,
        &world,
    );
    assert_eq!(world.messages(), ["4"]);
    let sleeps: Vec<f64> = world
        .requests
        .borrow()
        .iter()
        .filter(|request| request.name == "sleep")
        .map(|request| request.args.get().parse().unwrap())
        .collect();
    assert_eq!(sleeps.len(), 3);
    for (sleep, most) in sleeps.iter().zip([1.0, 2.0, 4.0]) {
        assert!((most / 2.0..=most).contains(sleep), "{sleeps:?}");
    }
}

#[test]
fn retry_gives_up_on_what_cannot_pass() {
    let world = World::default();
    done("print(pcall(retry, { times = 5 }, function() test.echo {} fail('no') end))", &world);
    assert_eq!(world.requests.borrow().len(), 1);
    let world = World::default();
    done("print(pcall(retry, { times = 3, on = { 'MC-C002' } }, function() test.fail {} end))", &world);
    assert_eq!(world.requests.borrow().len(), 3);
}

#[test]
fn exhausted_retries_may_pause_and_start_anew() {
    let world = World::default();
    done(
        r#"print(retry({ times = 2, on_exhausted = "pause" }, function() return test.flaky { succeeds_at = 3 } end))"#,
        &world,
    );
    let names: Vec<String> = world.requests.borrow().iter().map(|request| request.name.clone()).collect();
    assert_eq!(names, ["test.flaky", "test.flaky", "pause", "test.flaky"]);
}

#[test]
fn wrong_options_are_suggested() {
    let failed = failure("retry({ time = 3 }, print)");
    assert_eq!(failed.error.code, Code::UnknownField);
    assert_eq!(failed.error.hint.as_deref(), Some("did you mean `times`?"));
    assert_eq!(failure("retry({ backoff = 'soon' }, print)").error.code, Code::Argument);
    assert_eq!(failure("parallel({ limt = 3 }, {})").error.code, Code::UnknownField);
}

#[test]
fn random_numbers_are_the_same_in_every_run_and_differ_between_branches() {
    let script = r#"
        local function draw() return random(1000000), random(5, 6), random() < 1, uuid() end
        print(draw())
        parallel { a = function() print(draw()) end, b = function() print(draw()) end }
        print(math.random(1000000))
    "#;
    let lines = printed(script);
    assert_eq!(lines, printed(script));
    assert_ne!(lines[1], lines[2]);
    let world = World::default();
    let other_seed = script::Launch { seed: 43, ..launch(script) };
    run_with(other_seed, &world);
    assert_ne!(world.messages(), lines);
}

#[test]
fn failure_handlers_run_in_reverse_with_the_error() {
    let world = World::default();
    let ended = run_with(
        launch(
            r#"
            on_failure(function(e) print("first", e.message) test.echo {} end)
            on_failure(function(e) print("second", e.message) error("handler") end)
            fail("enough")
            "#,
        ),
        &world,
    );
    let script::Ended::Failed(failed) = ended else { panic!("{ended:?}") };
    assert_eq!((failed.error.code, failed.error.message.as_str()), (Code::Failed, "enough"));
    assert_eq!(
        world.messages(),
        ["second\tenough", "a handler of on_failure failed: handler", "first\tenough"]
    );
    assert_eq!(world.asked(), ["on_failure~2#1 test.echo {}"]);
}

#[test]
fn a_field_that_is_no_plain_data_is_described_and_never_dropped() {
    let world = World::default();
    done(
        r#"
        local deep = {} local inner = deep
        for _ = 1, 100 do inner.a = {} inner = inner.a end
        log.info("deep", { deep = deep, beside = 1 })
        log.info("mixed", { 1, two = 2, [true] = 3 })
        log.info("large", { text = string.rep("x", 2^23) })
        "#,
        &world,
    );
    let lines = world.lines.borrow();
    let fields: Vec<&str> = lines.iter().map(|line| line.fields.as_ref().unwrap().get()).collect();
    assert!(fields[0].contains("(nested more than 64 levels deep)"), "{}", fields[0]);
    assert!(fields[0].starts_with(r#"{"beside":1,"#), "{}", fields[0]);
    assert_eq!(fields[1], r#"{"(boolean)":3,"1":1,"two":2}"#);
    assert_eq!(fields[2], r#""(the value is larger than 4194304 bytes)""#);
}

#[test]
fn log_lines_have_level_fields_scope_and_number() {
    let world = World::default();
    done(
        r#"
        log.info("one", { service = "mcq", list = { 1 }, fn = print })
        step("s", function() log.warn("two") print("three", nil, 4) end)
        log.error(nil)
        progress { done = 1, of = 2 }
        "#,
        &world,
    );
    let lines = world.lines.borrow();
    let shown: Vec<String> = lines
        .iter()
        .map(|line| {
            format!("{:?} {}#{} {} @{}", line.level, line.scope, line.number, line.message, line.place.line)
        })
        .collect();
    assert_eq!(shown, ["Info #1 one @2", "Warn s#1 two @3", "Print s#2 three\tnil\t4 @3", "Error #2 nil @4"]);
    let fields = lines[0].fields.as_ref().unwrap().get();
    assert_eq!(fields, r#"{"fn":"function","list":[1],"service":"mcq"}"#);
    assert_eq!(world.progress.borrow()[0], serde_json::json!({ "done": 1, "of": 2 }));
}

#[test]
fn arguments_and_parameters_are_there() {
    assert_eq!(printed("print(args[1], args[2], #args, params.force)"), ["first\tsecond\t2\ttrue"]);
}

#[test]
fn time_and_sleep_are_effects() {
    let world = World::default();
    done("print(now()) sleep('10m') sleep(3)", &world);
    assert_eq!(world.asked(), ["#1 now {}", r##"#2 sleep "10m""##, "#3 sleep 3"]);
    assert_eq!(world.messages(), ["1700000000"]);
}
