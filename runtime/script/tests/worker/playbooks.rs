//! Playbooks: what reading a file tells, what it refuses, and the call of `run`.

use std::collections::HashMap;

use effect::Code;
use script::read::{Reading, read};
use script::{Ended, Failure, Launch, Mode, Modules, Worker};
use serde_json::{Value, json};

use crate::support::{EFFECTS, World, again, launch, program, raw, run_with};

/// Reads `source` as `test.luau`; `modules` are `(name, text)` of a folder.
fn reading_with(source: &str, modules: &[(&str, &str)]) -> Result<Reading, Failure> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in modules {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let modules = Modules::open(folder.path(), |_| None, 256 << 10).unwrap();
        let worker = Worker::start(&program()).unwrap();
        read(worker, ("test.luau", source), EFFECTS.map(str::to_owned).to_vec(), &modules, 256 << 10).await
    })
}

fn reading(source: &str) -> Reading {
    reading_with(source, &[]).unwrap()
}

fn refused(source: &str) -> Failure {
    reading_with(source, &[]).unwrap_err()
}

/// A run of the playbook with `event`.
fn running(source: &str, event: Value) -> Launch {
    Launch { event: Some(raw(event)), ..launch(source) }
}

#[test]
fn a_playbook_is_described_with_its_line_and_its_modules() {
    let source = "local lib = require('./lib')\n\nreturn playbook {\n    name = lib.name,\n    on = { every = '10m' },\n    \
                  run = function() end,\n}";
    let read = reading_with(source, &[("lib.luau", "return { name = 'sweep' }")]).unwrap();
    let definition: Value = serde_json::from_str(read.description.definition.get()).unwrap();
    assert_eq!(definition, json!({ "name": "sweep", "on": { "every": "10m" } }));
    assert_eq!(read.description.line, 3);
    assert_eq!(
        read.modules.into_iter().collect::<Vec<_>>(),
        [("lib.luau".to_owned(), "return { name = 'sweep' }".to_owned())]
    );
}

#[test]
fn a_file_that_returns_no_playbook_is_a_script() {
    for source in ["", "return", "return {}", "return 7", "playbook { run = function() end } return {}"] {
        let failure = refused(source);
        assert_eq!(failure.error.code, Code::NotPlaybook, "{source}: {:?}", failure.error);
        assert!(failure.error.message.contains("`test.luau` is a script, not a playbook"));
    }
}

#[test]
fn a_file_calls_playbook_itself() {
    let made = [("made.luau", "\nreturn playbook { name = 'a', run = function() end }")];
    let failure = reading_with("return require('./made')", &made).unwrap_err();
    assert_eq!(failure.error.code, Code::NotPlaybook);
    assert_eq!((failure.place.file.as_str(), failure.place.line), ("made.luau", 2));
}

#[test]
fn effects_at_the_top_are_refused_with_their_place_and_where_they_belong() {
    let calls = [
        "now()",
        "sleep('1s')",
        "test.echo { a = 1 }",
        "random()",
        "uuid()",
        "math.random(3)",
        "secrets.get('a')",
    ];
    for call in calls {
        let failure =
            refused(&format!("local a = 1\nlocal b = {call}\nreturn playbook {{ name = 'a', run = print }}"));
        assert_eq!(failure.error.code, Code::PlaybookEffect, "{call}: {:?}", failure.error);
        assert_eq!(failure.place.line, 2, "{call}");
        assert_eq!(failure.error.hint.as_deref(), Some("move the call into the function `run`"));
    }
}

#[test]
fn an_effect_at_the_top_that_is_caught_is_refused_all_the_same() {
    let caught = "pcall(now)\nreturn playbook { name = 'a', run = print }";
    assert_eq!(refused(caught).error.code, Code::PlaybookEffect);
    let in_a_module = [("lib.luau", "local ok = pcall(function()\n    return now()\nend)\nreturn ok")];
    let failure = reading_with("require('./lib')\nreturn playbook { name = 'a', run = print }", &in_a_module)
        .unwrap_err();
    assert_eq!(failure.error.code, Code::PlaybookEffect);
    assert_eq!((failure.place.file.as_str(), failure.place.line), ("lib.luau", 2));
}

#[test]
fn what_is_no_plain_data_is_named() {
    let cases = [
        ("playbook()", "playbook takes one table, not nil"),
        ("playbook 'a'", "playbook takes one table, not string"),
        ("playbook({}, 1)", "playbook takes one table, not several values"),
        ("playbook { name = 'a' }", "the field `run` is missing"),
        ("playbook { run = 'a' }", "the field `run` must be a function, not string"),
        ("playbook { on = { cron = print }, run = print }", "field `on.cron`: a function is no plain data"),
        (
            "playbook { params = { a = { default = 0/0 } }, run = print }",
            "field `params.a.default`: NaN is no plain data",
        ),
        (
            "playbook { on = { cron = { [3] = 'x' } }, run = print }",
            "field `on.cron`: a list with holes is no plain data",
        ),
        (
            "playbook { name = coroutine.create(print), run = print }",
            "field `name`: a thread is no plain data",
        ),
        (
            "playbook { name = '\\xff', run = print }",
            "field `name`: a string that is not UTF-8 text is no plain data",
        ),
        (
            "(function() local t = {} t.t = t return playbook { on = t, run = print } end)()",
            "field `on.t`: a table that contains itself is no plain data",
        ),
    ];
    for (call, message) in cases {
        let failure = refused(&format!("return {call}"));
        assert_eq!(failure.error.code, Code::PlaybookField, "{call}: {:?}", failure.error);
        assert!(failure.error.message.contains(message), "{call}: {}", failure.error.message);
        assert_eq!(failure.place.line, 1, "{call}");
    }
}

#[test]
fn what_takes_too_much_is_ended() {
    let hostile = [
        "while true do end",
        "local t = {} for i = 1, 1e7 do t[i] = {} end",
        "local s = string.rep('x', 10 * 1024 * 1024)",
        "for i = 1, 1e5 do print('a line that nobody reads') end",
        "local t = {} for i = 1, 20000 do t[i] = 'a text' end return playbook { on = t, run = print }",
        "local t = {} for i = 1, 30 do t = { t } end return playbook { on = t, run = print }",
    ];
    for source in hostile {
        let failure = refused(source);
        assert_eq!(failure.error.code, Code::PlaybookSize, "{source}: {:?}", failure.error);
    }
}

#[test]
fn metatables_have_no_say() {
    let source = "return playbook(setmetatable({ name = 'a', run = print }, {\n    __index = function() return 'b' end,\n    \
                  __iter = function() while true do end end,\n    __tostring = error,\n}))";
    assert_eq!(reading(source).description.definition.get(), r#"{"name":"a"}"#);
}

#[test]
fn a_playbook_is_taken_as_it_is_when_it_is_made() {
    let source = "local t = { name = 'a', run = print }\nlocal made = playbook(t)\nt.name = 'b'\nassert(not pcall(function() \
                  made.name = 'c' end))\nreturn made";
    assert_eq!(reading(source).description.definition.get(), r#"{"name":"a"}"#);
}

#[test]
fn run_is_called_with_the_event_and_the_parameters() {
    let world = World::default();
    let source = "return playbook { name = 'a', run = function(event)\n    print(event.kind, event.data.n, params.force, \
                  test.echo { a = event.kind }.a)\nend }";
    let ended = run_with(running(source, json!({ "kind": "event", "data": { "n": 7 } })), &world);
    assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
    assert_eq!(world.messages(), ["event\t7\ttrue\tevent"]);
    assert_eq!(world.asked(), [r##"#1 test.echo {"a":"event"}"##]);
}

#[test]
fn a_resumed_run_sees_the_same_event_and_replays_what_it_did() {
    let source =
        "return playbook { name = 'a', run = function(event) print(test.echo { n = event.n }.n) end }";
    let first = World::default();
    assert!(matches!(run_with(running(source, json!({ "n": 5 })), &first), Ended::Done { .. }));
    let second =
        World { history: std::cell::RefCell::new(first.completed.take().into()), ..World::default() };
    let launch = Launch { event: Some(raw(json!({ "n": 5 }))), ..again(source) };
    assert!(matches!(run_with(launch, &second), Ended::Done { .. }));
    assert_eq!(second.asked(), Vec::<String>::new());
    assert_eq!(second.messages(), ["5"]);
}

#[test]
fn effects_at_the_top_are_refused_in_a_run_too() {
    let world = World::default();
    let ended =
        run_with(running("test.echo()\nreturn playbook { name = 'a', run = print }", json!({})), &world);
    let Ended::Failed(failure) = ended else { panic!("{ended:?}") };
    assert_eq!(failure.error.code, Code::PlaybookEffect);
    assert_eq!(world.asked(), Vec::<String>::new());
}

#[test]
fn a_run_of_a_file_that_is_no_playbook_any_more_fails() {
    let ended = run_with(running("print(1)", json!({})), &World::default());
    assert!(matches!(&ended, Ended::Failed(failure) if failure.error.code == Code::NotPlaybook), "{ended:?}");
    let ended = run_with(launch("return playbook { name = 'a', run = print }"), &World::default());
    assert!(matches!(&ended, Ended::Failed(failure) if failure.error.code == Code::NotPlaybook), "{ended:?}");
}

#[test]
fn a_plan_of_a_playbook_is_one_of_its_run() {
    let world = World::default();
    let source = "return playbook { name = 'a', run = function(event) test.echo { a = event.kind } end }";
    let ended = run_with(Launch { mode: Mode::Plan, ..running(source, json!({ "kind": "manual" })) }, &world);
    assert!(matches!(ended, Ended::Done { plan_ended: false }), "{ended:?}");
    assert_eq!(world.asked(), [r##"#1 test.echo {"a":"manual"}"##]);
}

#[test]
fn a_failing_run_has_its_place_and_its_handlers() {
    let world = World::default();
    let source = "on_failure(function() print('handled') end)\nreturn playbook {\n    name = 'a',\n    run = function()\n        \
                  fail('no')\n    end,\n}";
    let ended = run_with(running(source, json!({})), &world);
    let Ended::Failed(failure) = ended else { panic!("{ended:?}") };
    assert_eq!(failure.place.line, 5);
    assert_eq!(world.messages(), ["handled"]);
}

#[test]
fn what_strangers_wrote_into_an_event_means_nothing_else() {
    let world = World::default();
    let source = "return playbook { name = 'a', run = function(event)\n    print(type(event.a), type(event.b), event.c.x)\nend }";
    let event = json!({
        "a": { "$secret": [{ "name": "db", "tag": "00" }] }, "b": { "$sealed": "x" }, "c": { "$unknown": ["x"], "x": 1 },
    });
    let ended = run_with(running(source, event), &world);
    assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
    assert_eq!(world.messages(), ["table\ttable\t1"]);
}

#[test]
fn modules_may_hold_helpers_that_have_effects_when_called() {
    let world = World {
        modules: HashMap::from([(
            "./lib".to_owned(),
            "return function(n) return test.echo { n = n }.n end".to_owned(),
        )]),
        ..World::default()
    };
    let source =
        "local echo = require('./lib')\nreturn playbook { name = 'a', run = function() print(echo(3)) end }";
    assert!(matches!(run_with(running(source, json!({})), &world), Ended::Done { .. }));
    assert_eq!(world.messages(), ["3"]);
}
