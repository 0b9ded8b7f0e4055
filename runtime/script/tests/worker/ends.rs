//! How runs end: errors of every kind, limits, interruption, lost workers; and what a script finds taken away.

use std::time::Duration;

use effect::Code;
use script::{Ended, Launch, Limits};

use crate::support::{World, failure, launch, printed, run_in, run_with};

#[test]
fn a_syntax_error_has_its_line() {
    let failed = failure("local a = 1\nlocal = 2\n");
    assert_eq!((failed.error.code, failed.place.line), (Code::Syntax, 2));
    assert!(!failed.error.message.contains("test.luau"), "{}", failed.error.message);
}

#[test]
fn errors_of_every_type_are_reported() {
    let cases = [
        ("error('text')", "MC-S002", "text"),
        ("local t = nil; t.x = 1", "MC-S002", "attempt to index nil with 'x'"),
        ("error()", "MC-S002", "the script raised nil"),
        ("error(true)", "MC-S002", "the script raised true"),
        ("error({})", "MC-S002", "the script raised a table without a `code`"),
        ("error({ code = 'MINE', message = 'own' })", "MC-S002", "MINE: own"),
        ("error({ code = 'MC-H001', message = 'own' })", "MC-H001", "own"),
        (
            "error(setmetatable({}, { __tostring = function() while true do end end }))",
            "MC-S002",
            "the script raised",
        ),
        ("fail('enough')", "MC-S003", "enough"),
        ("assert(false, 'asserted')", "MC-S002", "asserted"),
    ];
    for (script, code, message) in cases {
        let failed = failure(script);
        assert_eq!(failed.error.code.as_str(), code, "{script}");
        assert!(failed.error.message.starts_with(message), "{script}: {}", failed.error.message);
        assert_eq!(failed.place.line, 1, "{script}");
    }
}

pub(crate) fn limit(source: &str, set: &[&str]) -> script::LimitHit {
    let mut limits = Limits::default();
    for setting in set {
        limits.set(setting).unwrap();
    }
    match run_with(Launch { limits, ..launch(source) }, &World::default()) {
        Ended::Limit(hit) => hit,
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn a_loop_is_ended_with_its_place() {
    let hit = limit("local n = 0\nwhile true do\n  n += 1\nend", &["exec=100ms"]);
    assert_eq!(hit.error.code, Code::LimitExecution);
    assert!((2..=4).contains(&hit.place.line), "{hit:?}");
    assert!(!hit.stack.is_empty());
}

#[test]
fn no_pcall_swallows_a_limit() {
    let looping = "while true do pcall(function() while true do end end) end";
    assert_eq!(limit(looping, &["exec=100ms"]).error.code, Code::LimitExecution);
    let hungry =
        "local function eat() local t = {} while true do t[#t + 1] = string.rep('x', 100000) .. #t end end\n";
    for catch in [
        "pcall(eat)",
        "xpcall(eat, print)",
        "coroutine.resume(coroutine.create(eat))",
        "step('s', eat)",
        "pcall(pcall, eat)",
    ] {
        let hit = limit(&format!("{hungry}while true do {catch} end"), &["memory=16MiB"]);
        assert_eq!(hit.error.code, Code::LimitMemory, "{catch}");
    }
}

#[test]
fn a_native_call_that_never_ends_is_killed() {
    let hit = limit("string.find(string.rep('a', 100000), string.rep('.-', 50) .. 'b')", &["exec=100ms"]);
    assert_eq!(hit.error.code, Code::LimitExecution);
}

#[test]
fn a_limit_that_the_host_enforces_has_the_last_known_place() {
    let hit = limit("test.echo {}\ntest.stuck {}", &["wall=1s"]);
    assert_eq!(hit.error.details, ["after test.luau:2"]);
}

#[test]
fn each_other_limit_has_its_code() {
    let cases = [
        ("while true do test.echo {} end", "effects=10", Code::LimitEffects),
        ("while true do print('x') end", "output=1KiB", Code::LimitOutput),
        ("while true do progress('x') end", "output=1KiB", Code::LimitOutput),
        ("test.hang {}", "wall=50ms", Code::LimitWall),
    ];
    for (source, setting, code) in cases {
        assert_eq!(limit(source, &[setting]).error.code, code, "{source}");
    }
}

#[test]
fn the_deadline_counts_between_effects_only() {
    let world = World::default();
    let limits = Limits { exec: Duration::from_millis(300), ..Limits::default() };
    let source = "for _ = 1, 20 do for _ = 1, 200000 do end test.echo {} end print('end')";
    let ended = run_with(Launch { limits, ..launch(source) }, &world);
    assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
}

#[test]
fn a_source_above_its_limit_is_not_even_started() {
    let world = World::default();
    let limits = Limits { source: 10, ..Limits::default() };
    let ended = run_with(Launch { limits, ..launch("print('too long')") }, &world);
    assert!(matches!(ended, Ended::Failed(failed) if failed.error.code == Code::LimitSource));
    assert_eq!(world.landlock.get(), None);
}

#[test]
fn a_worker_that_dies_before_its_answer_is_written_is_lost() {
    let ended = run_with(launch("test.kill {}"), &World::default());
    assert!(matches!(&ended, Ended::Lost(lost) if lost.error.code == Code::WorkerLost), "{ended:?}");
}

#[test]
fn a_program_that_is_no_worker_is_lost() {
    let lost = run_in("/bin/false".as_ref(), launch(""), &World::default()).unwrap();
    assert!(matches!(lost, Ended::Lost(lost) if lost.error.code == Code::WorkerLost));
    let missing = run_in("/no/such/program".as_ref(), launch(""), &World::default()).unwrap_err();
    assert_eq!(missing.code, Code::WorkerLost);
}

#[test]
fn what_is_unsafe_or_differs_between_replays_is_gone() {
    let lines = printed(
        r#"
        for _, name in { "loadstring", "getfenv", "setfenv", "newproxy", "collectgarbage", "gcinfo", "dofile", "load", "io", "package" } do
            if pcall(function() return _G[name] end) then print("found", name) end
        end
        print(pcall(function() return os.time() end))
        print(pcall(debug.info, 1, "f"))
        print((debug.info(1, "s")), tostring({}), tostring(print))
        print(pcall(function() string.find = nil end))
        global = 1
        print(global, _G.global)
        "#,
    );
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[0].starts_with("false\tMC-A003"), "{lines:?}");
    assert!(lines[1].starts_with("false"), "{lines:?}");
    assert_eq!(lines[2], "test.luau\ttable\tfunction");
    assert!(lines[3].contains("readonly"), "{lines:?}");
    assert_eq!(lines[4], "1\t1");
}

#[test]
fn plain_find_and_split_behave_as_before() {
    let lines = printed(
        r#"
        print(("a.b"):find(".", 1, true), ("abc"):find("b"), (("x"):find("y", 1, true)))
        print(table.concat(("a,b,,c"):split(","), "|"), #(""):split(","), table.concat(("abc"):split(""), "|"))
        print(pcall(string.find))
        "#,
    );
    assert_eq!(lines[0], "2\t2\tnil");
    assert_eq!(lines[1], "a|b||c\t1\ta|b|c");
    assert!(lines[2].starts_with("false"), "{lines:?}");
}

#[test]
fn no_way_of_making_text_shows_an_address() {
    let lines = printed(
        r#"
        local named = setmetatable({}, { __tostring = function() return "named" end })
        print(tostring({}), `{ {} }|{print}|{named}`, ("%*|%5s|%s|%%"):format({}, named, coroutine.create(print)))
        print(`{1}|{nil}|{true}|{"x"}`, ("%d|%q|%5.1f"):format(3, "y", 0.25))
        print(select(2, pcall(string.format, "%s|%d", {}, {})))
        print(pcall(string.format, "%s %s", {}))
        "#,
    );
    assert_eq!(lines[0], "table\ttable|function|named\ttable|named|thread|%");
    assert_eq!(lines[1], "1|nil|true|x\t3|\"y\"|  0.2");
    assert!(lines[2].ends_with("(number expected, got table)"), "{lines:?}");
    assert!(lines[3].starts_with("false"), "{lines:?}");
}
