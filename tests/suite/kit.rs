//! `mcrun test`: what ships passes its tests, and the kit tells what does not hold.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Place, Seen};

const HEAD: &str = "local test = require(\"@std/test\")\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn test(place: &Place, code: i32, body: &str) -> Seen {
    let file = place.script("a.test.lua", &format!("{HEAD}{body}"));
    place.ends(code, &["test", &file])
}

#[test]
fn the_tests_that_ship_pass() {
    let place = Place::new();
    for folder in ["stdlib", "scripts"] {
        let folder = root().join(folder);
        let seen = place.ends(0, &["test", folder.to_str().expect("a plain path")]);
        assert!(seen.stderr.contains(" 0 failed"), "{seen}");
    }
}

#[test]
fn the_tests_of_a_new_project_pass() {
    let place = Place::new();
    let project = place.at("project");
    place.ends(0, &["new", &project]);
    place.ends(0, &["test", &project]).says(&["3 tests: 3 passed, 0 failed"]);
}

#[test]
fn every_test_has_a_world_of_its_own_and_leaves_nothing() {
    let place = Place::new();
    let body = r#"
        local function make() return containers.ensure { name = "web", image = "x:v1" }.changed end
        test("one", function() test.equal(make(), true); files.write { path = "/etc/mcrun-kit", content = "1" } end)
        test("two", function() test.equal(make(), true); test.equal(files.stat({ path = "/etc/mcrun-kit" }).exists, false) end)
    "#;
    test(&place, 0, body).says(&["2 tests: 2 passed"]);
    assert!(!Path::new("/etc/mcrun-kit").exists());
    assert!(!place.state().exists(), "a test touched the operator's state directory");
}

#[test]
fn files_lie_in_a_scratch_root_and_those_beside_the_script_can_be_read() {
    let place = Place::new();
    place.script("data.toml", "a = 1\n");
    let body = r#"
        test("files", function()
            test.equal(files.read({ path = "data.toml" }).content, "a = 1\n")
            files.write { path = "data.toml", content = "a = 2\n" }
            test.equal(files.read({ path = "data.toml" }).content, "a = 2\n")
            files.write { path = "/srv/app/x", content = "x", parents = true }
            test.changes { "files.write data.toml", { effect = "files.write /srv/app/x", action = "create" } }
            test.fails("MC-F001", function() files.read { path = "../outside" } end)
        end)
    "#;
    test(&place, 0, body);
    assert_eq!(place.read("scripts/data.toml"), "a = 1\n");
    assert!(!Path::new("/srv/app/x").exists());
}

#[test]
fn images_come_from_registries_that_have_everything() {
    let place = Place::new();
    fs::create_dir_all(place.at("scripts/web")).unwrap();
    fs::write(place.at("scripts/web/Containerfile"), "FROM scratch\n").unwrap();
    let body = r#"
        test("images", function()
            local web = images.ensure({ image = "mcr.example/web:v1" })
            test.equal({ web.changed, images.ensure({ image = "mcr.example/web:v1" }).changed }, { true, false })
            containers.ensure { name = "web", image = web.after.reference }
            containers.ensure { name = "db", image = "db:v1" }
            images.tag { image = "mcr.example/web:v1", tag = "localhost/web:dev" }
            local built = images.build { context = "web", tag = "mcr.example/built:v1" }
            test.equal(images.build({ context = "web", tag = "mcr.example/built:v1" }).changed, false)
            test.equal(images.push({ image = "mcr.example/built:v1" }).after.id, built.after.id)
            test.equal(images.push({ image = "mcr.example/built:v1" }).changed, false)
            test.equal(images.digest({ image = "mcr.example/built:v1" }).id, built.after.id)
            images.remove { image = "localhost/web:dev" }
            test.fails("MC-C002", function() images.remove { image = "mcr.example/web:v1" } end)
            containers.remove { name = "web" }
            images.remove { image = "mcr.example/web:v1" }
            local names = {}
            for _, image in images.list {} do table.insert(names, image.name) end
            test.equal(names, { "docker.io/library/db:v1", "mcr.example/built:v1" })
        end)
    "#;
    test(&place, 0, body);
}

#[test]
fn time_passes_at_once() {
    let place = Place::new();
    let body = r#"
        test("time", function()
            local start = now()
            sleep("3d")
            test.equal(now() - start, 3 * 86400)
            retry({ times = 3, backoff = "1h" }, function()
                test.fault { effect = "http.get", times = 0 }
            end)
        end)
    "#;
    test(&place, 0, body);
}

#[test]
fn programs_and_addresses_answer_what_the_test_says() {
    let place = Place::new();
    let body = r#"
        test("answers", function()
            local unanswered = test.fails("MC-T002", function() http.get { url = "http://x.example/" } end)
            test.equal(unanswered.effect, "http.get")
            test.answer { effect = "http.get", result = { status = 503 } }
            test.answer { effect = "http.get", subject = "http://x.example/*", result = { body = "hi" } }
            test.equal(http.get({ url = "http://x.example/a" }).body, "hi")
            test.equal(http.get({ url = "http://y.example/" }).status, 503)
            test.fails("MC-H003", function() http.get { url = "http://y.example/", check = true } end)
            test.answer { effect = "exec.run", subject = "no-such-program *", result = { code = 2 }, times = 1 }
            test.fails("MC-X003", function() exec.run { argv = { "no-such-program", "x" } } end)
            test.fails("MC-T002", function() exec.run { argv = { "no-such-program", "x" } } end)
            test.fails("MC-A002", function() test.answer { effect = "exec.run", result = { stduot = "" } } end)
            test.fails("MC-A001", function() test.answer { effect = "files.read" } end)
            health.http { url = "http://x.example/health" }
            test.fault { effect = "health.http", code = "MC-H001" }
            test.fails("MC-H001", function() health.http { url = "http://x.example/health" } end)
            test.heal()
            health.http { url = "http://x.example/health" }
        end)
    "#;
    test(&place, 0, body);
}

#[test]
fn faults_fail_before_or_after_the_work() {
    let place = Place::new();
    let body = r#"
        local function make(name) return containers.ensure { name = name, image = "x:v1" } end
        test("before", function()
            test.fault { effect = "containers.ensure", skip = 1, times = 1, code = "MC-C001", retryable = true }
            make("a")
            local fault = test.fails("MC-C001", function() make("b") end)
            test.equal(fault.retryable, true)
            test.equal(#containers.list {}, 1)
            make("b")
            test.effects { "containers.ensure a", { effect = "containers.ensure b", fails = "MC-C001" }, "containers.ensure b" }
        end)
        test("after", function()
            test.fault { effect = "containers.ensure", subject = "b", times = 1, outcome = "loses_answer" }
            make("a")
            test.fails("MC-C002", function() make("b") end)
            test.equal(#containers.list {}, 2)
            test.equal(make("b").changed, false)
        end)
        test("an act and an answer", function()
            make("a")
            test.fault { effect = "containers.restart", times = 1, outcome = "loses_answer" }
            test.fails("MC-C002", function() containers.restart { name = "a" } end)
            test.answer { effect = "exec.run" }
            test.fault { effect = "exec.run", times = 1, outcome = "loses_answer", code = "MC-X001" }
            test.fails("MC-X001", function() exec.run { argv = { "/bin/true" } } end)
            test.equal(exec.run({ argv = { "/bin/true" } }).code, 0)
        end)
        test("wrong", function()
            test.fails("MC-A001", function() test.fault { effect = "x", code = "MC-XXX" } end)
            test.fails("MC-A002", function() test.fault { efect = "x" } end)
        end)
    "#;
    test(&place, 0, body).says(&["4 passed"]);
}

#[test]
fn containers_in_memory_differ_and_clash_like_real_ones() {
    let place = Place::new();
    let body = r#"
        local function make(more)
            local spec = { name = "a", image = "x:v1", ports = { { host = 80, container = 80 } } }
            for name, value in more or {} do spec[name] = value end
            return containers.ensure(spec)
        end
        test("all", function()
            make()
            test.equal(make().changed, false)
            make { memory = "64MiB" }
            make { image = "x:v2" }
            test.fails("MC-C005", function() make { name = "b" } end)
            test.fails("MC-C006", function() containers.ensure { name = "n", exec = { "/bin/sh" }, memory = "64MiB" } end)
            containers.stop { name = "a" }
            test.equal(containers.get({ name = "a" }).state, "exited")
            containers.remove { name = "a" }
            test.equal(containers.get { name = "a" }, nil)
            test.changes {
                { effect = "containers.ensure a", action = "create" },
                { effect = "containers.ensure a", action = "update" },
                { effect = "containers.ensure a", action = "replace" },
                { effect = "containers.ensure b", fails = "MC-C005" },
                { effect = "containers.ensure n", fails = "MC-C006" },
                "containers.stop a",
                "containers.remove a",
            }
        end)
    "#;
    test(&place, 0, body);
}

#[test]
fn a_difference_is_shown_with_both_sides_and_the_tests_own_line() {
    let place = Place::new();
    let body = "test(\"differs\", function()\n    containers.ensure { name = \"a\", image = \"x:v1\" }\n    log.info(\"a line\")\n    test.changes { \"containers.ensure b\" }\nend)";
    test(&place, 1, body).says(&[
        "✗ differs",
        "error[MC-T001]",
        "--> a.test.lua:5:",
        "- containers.ensure b",
        "+ containers.ensure a (create)",
        "│ info a line",
        "1 test: 0 passed, 1 failed",
    ]);
    for (body, said) in [
        ("test.equal({ a = 1 }, { a = 2 })", "expected {\"a\"=2}"),
        ("test.fails('MC-X001', function() end)", "nothing failed"),
        ("test.fails('MC-X001', function() fail('other') end)", "found    MC-S003: other"),
        ("test.effects { { efect = 'x' } }", "did you mean `effect`?"),
    ] {
        test(&place, 1, &format!("test('t', function() {body} end)")).says(&[said]);
    }
}

#[test]
fn a_script_is_run_and_planned_in_the_world_of_the_test() {
    let place = Place::new();
    place.script("lib.luau", "return { name = 'web' }");
    place.script(
        "s.lua",
        "local lib = require('./lib')\ncontainers.ensure { name = lib.name, image = `x:{params.tag}` }\nsleep('1h')\nprint(args[1])",
    );
    let body = r#"
        local options = { args = { "word" }, params = { tag = "v1" } }
        test("script", function()
            test.equal(test.plan("./s.lua", options).effects[1].action, "create")
            test.equal(#containers.list {}, 0)
            local ran = test.plan_equals_apply("./s.lua", options)
            test.equal(ran.output[1], "word")
            test.equal(test.run("./s.lua", options).changed, false)
            local denied = test.run("./s.lua", { params = options.params, allow = { "ports" } })
            test.equal(denied.exit_code, 4)
            test.equal(denied.error.code, "MC-P001")
            test.fails("MC-S008", function() test.run("./none.lua") end)
        end)
    "#;
    test(&place, 0, body);
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    let place = Place::new();
    test(&place, 1, "").says(&["MC-T003", "has no tests"]);
    test(&place, 1, "test('a', function() end) test('a', function() end)").says(&["MC-T003", "two tests"]);
    test(&place, 1, "test('a')").says(&["MC-A001"]);
    test(&place, 1, "error('at the top')").says(&["at the top", "the file as a whole"]);
    test(&place, 1, "test(uuid(), function() end)").says(&["MC-T003", "did not come up again"]);
    test(&place, 1, "test('spins', function() while true do end end)").says(&["MC-S011"]);
    place.ends(1, &["test", &place.at("nowhere.test.lua")]).says(&["MC-S008"]);
    fs::create_dir(place.at("empty")).expect("the place is writable");
    place.ends(1, &["test", &place.at("empty")]).says(&["MC-T003", "there is no test file"]);
}

#[test]
fn tests_are_chosen_by_name_and_listed_as_json() {
    let place = Place::new();
    let body = "test('good one', function() end)\ntest('bad one', function() fail('no') end)";
    let file = place.script("a.test.lua", &format!("{HEAD}{body}"));
    place.ends(0, &["test", &file, "--filter", "good"]).says(&["1 test: 1 passed"]);
    place.ends(1, &["test", &file, "--filter", "ugly"]).says(&["no test has this name"]);
    let listed = place.json(&["test", &file, "--json"]);
    let outcome = |index: usize, name: &str| -> Value { listed[index][name].clone() };
    assert_eq!((outcome(0, "name"), outcome(0, "passed")), ("good one".into(), true.into()));
    assert_eq!((outcome(1, "passed"), outcome(1, "error")["code"].clone()), (false.into(), "MC-S003".into()));
    assert_eq!(outcome(1, "place")["line"], 3);
}

#[test]
fn the_kit_is_not_there_outside_a_test() {
    let place = Place::new();
    let script = place.script("s.lua", "local test = require('@std/test')\ntest('a', function() end)");
    place.ends(1, &[&script, "--allow", "*"]).says(&["mcrun test"]);
}

#[test]
fn whoever_is_asked_in_a_test_says_yes_unless_a_fault_says_otherwise() {
    let place = Place::new();
    let body = r#"
        test("asked", function()
            test.equal(approve({ title = "Switch?", by = "group:ops" }).by, { "account:tester" })
            docs.push { slug = "story", title = "The story", body = "One" }
            test.equal(#docs.list(), 1)
        end)
    "#;
    test(&place, 0, body).says(&["1 passed"]);
}
