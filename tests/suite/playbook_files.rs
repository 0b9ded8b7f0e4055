//! What a playbook's file is: it runs like a script, by its `run`, with an event and checked parameters.

use serde_json::{Value, json};

use crate::harness::{Place, Seen, Started, program, until};

const GREET: &str = r#"--!strict
return playbook {
    name = "greet",
    description = "Writes a greeting.",
    params = {
        whom = { type = "string" },
        times = { type = "integer", default = 1 },
        loud = { type = "boolean", default = false },
    },
    run = function(event)
        print(`{event.kind} {params.whom} {params.times} {params.loud}`)
        files.write { path = "greeting", content = params.whom }
    end,
}
"#;

/// One that starts by itself.
const WELCOME: &str = r#"--!strict
return playbook {
    name = "welcome",
    description = "Writes a greeting by itself.",
    on = { cron = { "17 3 * * *", { at = "@daily", zone = "Europe/Berlin", jitter = "5m" } }, boot = true },
    params = {
        whom = { type = "string", default = "everybody" },
    },
    run = function(_event)
        files.write { path = "greeting", content = params.whom }
    end,
}
"#;

#[track_caller]
fn prints(seen: &Seen, text: &str) {
    assert!(seen.stdout.contains(text), "`{text}` is missing\n{seen}");
}

fn granted(place: &Place) -> String {
    format!("files:write:{}/**", place.at("scripts"))
}

#[test]
fn a_playbook_runs_with_the_event_of_its_start_and_checked_parameters() {
    let place = Place::new();
    let file = place.script("greet.lua", GREET);
    let words = [&*file, "--allow", &granted(&place), "--set", "whom=7", "--set", "loud=true"];
    let seen = place.ends(0, &words);
    prints(&seen, "manual 7 1 true");
    assert_eq!(place.read("scripts/greeting"), "7");
    let run = place.newest_shown();
    assert_eq!(run["playbook"], "greet", "{run:#}");
    let cause = &run["cause"];
    assert_eq!(cause["event"], json!({ "kind": "manual" }), "{run:#}");
    assert!(cause["caller"].as_str().is_some_and(|caller| caller.starts_with("user:")), "{run:#}");
    assert_eq!(run["params"], json!({ "loud": true, "times": 1, "whom": "7" }), "{run:#}");
}

#[test]
fn wrong_parameters_are_all_told_and_nothing_starts() {
    let place = Place::new();
    let file = place.script("greet.lua", GREET);
    let seen = place.ends(2, &[&file, "--set", "times=x", "--set", "lout=true"]);
    seen.says(&[
        "MC-L005",
        "parameter `lout` is unknown",
        "did you mean `loud`?",
        "`times` must be a whole number, not `x`",
        "`whom` is missing",
    ]);
    assert_eq!(place.runs(), Vec::<Value>::new());
}

#[test]
fn a_plan_of_a_playbook_can_be_saved_and_applied() {
    let place = Place::new();
    let file = place.script("greet.lua", GREET);
    let plan = place.at("greet.plan");
    let words = ["plan", &file, "--allow", &granted(&place), "--set", "whom=you", "--out", &plan];
    let seen = place.ends(0, &words);
    assert!(seen.stdout.contains("files.write"), "{seen}");
    assert_eq!(place.read("scripts/greeting"), "");
    place.ends(0, &["apply", &plan]);
    assert_eq!(place.read("scripts/greeting"), "you");
    assert_eq!(place.newest()["playbook"], "greet");
}

#[test]
fn a_playbook_only_narrows_what_it_is_granted() {
    let place = Place::new();
    let source = GREET.replace("    params = {", "    allow = { \"dns\" },\n    params = {");
    let file = place.script("greet.lua", &source);
    place.ends(4, &[&file, "--allow", "*", "--set", "whom=you", "--no-input"]).says(&["MC-P001"]);
    let all = GREET.replace("    params = {", "    allow = { \"*\" },\n    params = {");
    let all = place.script("all.lua", &all);
    place.ends(4, &[&all, "--set", "whom=you", "--no-input"]).says(&["MC-P001"]);
}

#[test]
fn the_event_and_the_sources_are_the_same_when_a_run_is_resumed() {
    let place = Place::new();
    place.script("lib.luau", "return { word = \"before\" }\n");
    let source = r#"
return playbook {
    name = "waits",
    params = { tag = { type = "string", default = "v1" } },
    run = function(event)
        local lib = require("./lib")
        wait_for { event = "go" }
        print(`{event.kind} {params.tag} {lib.word}`)
    end,
}
"#;
    let file = place.script("waits.lua", source);
    let mut host = place.start(&[&file, "--set", "tag=v2"]);
    let run = until("the run waits", || {
        let run = place.runs().into_iter().next()?;
        (run["state"] == "waiting").then(|| run["id"].as_str().map(str::to_owned))?
    });
    host.kill();
    // Whoever changes the files changes what runs next, not what runs.
    place.script("lib.luau", "return { word = \"after\" }\n");
    place.script("waits.lua", "error(\"another file\")\n");
    place.ends(0, &["emit", "go"]);
    prints(&place.ends(0, &["resume", &run]), "manual v2 before");
}

#[test]
fn what_is_wrong_with_a_file_has_its_code_and_line() {
    let place = Place::new();
    let table = [
        ("now()\nreturn playbook { name = \"a\", run = function() end }", &["MC-L003", "wrong.lua:1"][..]),
        (
            "return playbook {\n    name = \"a\",\n    on = { corn = \"@daily\" },\n    run = function() end,\n}",
            &["MC-L002", "did you mean `cron`?", "wrong.lua:3"],
        ),
        (
            "return playbook {\n    name = \"a\",\n    on = { every = { every = \"1m\",\n        jitter = \"2m\" } },\n    run = print,\n}",
            &["MC-L010", "field `on.every.jitter`", "wrong.lua:4"],
        ),
        (
            "return playbook {\n    name = \"a\", on = { event = \"contaner.exited\" },\n    run = print,\n}",
            &["MC-L002", "did you mean `container.exited`?", "wrong.lua:2"],
        ),
        (
            "return playbook {\n    name = \"a\", on = { boot = true },\n    params = { tag = { type = \"string\" } },\n    run = print,\n}",
            &["MC-L002", "field `params.tag` needs a default", "wrong.lua:3"],
        ),
        ("return playbook { name = \"a\" }", &["MC-L002", "`run` is missing", "wrong.lua:1"]),
        ("while true do end\nreturn playbook { name = \"a\", run = function() end }", &["MC-L004"]),
        ("local p = playbook\nreturn (p { name = \"a\", on = { boot = 3 }, run = print })", &[]),
        ("return playbook {", &["MC-S001", "wrong.lua:1"]),
    ];
    for (source, said) in table {
        let file = place.script("wrong.lua", source);
        let seen = place.run(&[&file]);
        assert_eq!(seen.code, Some(1), "{source}\n{seen}");
        seen.says(said);
    }
}

#[test]
fn a_playbook_may_take_the_whole_library() {
    let place = Place::new();
    let modules = [
        "deploy",
        "data",
        "definition",
        "import",
        "ingress",
        "inventory",
        "placement",
        "services",
        "strategy",
    ];
    let required: String =
        modules.iter().map(|name| format!("local {name} = require(\"@std/{name}\")\n")).collect();
    let used = modules.join(", ");
    let file = place.script(
        "large.lua",
        &format!(
            "{required}return playbook {{ name = \"large\", run = function() print(#{{ {used} }}) end }}\n"
        ),
    );
    prints(&place.ends(0, &[&file]), &modules.len().to_string());
}

#[test]
fn a_script_may_use_the_word() {
    let place = Place::new();
    let file = place.script("word.lua", "local playbook = { a = now() }\nprint(type(playbook.a))\n");
    prints(&place.ends(0, &[&file]), "number");
}

#[test]
fn a_playbook_that_another_file_makes_is_refused() {
    let place = Place::new();
    place.script("made.luau", "return playbook { name = \"a\", run = function() end }\n");
    let file = place.script("main.lua", "return require(\"./made\")\n");
    place.ends(1, &[&file]).says(&["MC-L001", "call `playbook` in the file itself"]);
}

#[test]
fn playbooks_are_tested_with_an_event_and_parameters() {
    let place = Place::new();
    place.script("greet.lua", GREET);
    let test = place.script(
        "greet.test.luau",
        r#"local test = require("@std/test")
test("it greets", function()
    local ran = test.run("./greet.lua", { event = { kind = "cron", at = 7 }, params = { whom = "you" } })
    test.equal(ran.output, { "cron you 1 false" })
    test.plan_equals_apply("./greet.lua", { params = { whom = "all" } })
    test.fails("MC-L005", function()
        test.run("./greet.lua", { params = { whom = 3 } })
    end)
end)
"#,
    );
    place.ends(0, &["test", &test]);
}

/// A mistake in a playbook, where it is found, and what is said of it.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "return playbook { name = \"a\", run = function() end, descriptoin = \"x\" }",
        "1:67",
        "this field is unknown",
    ),
    (
        "return playbook { name = \"a\", run = function() end, on = { corn = \"@daily\" } }",
        "1:67",
        "this field is unknown",
    ),
    ("return playbook { name = \"a\", run = function() end, overlap = \"skp\" }", "1:", "skp"),
    ("return playbook { name = \"a\" }", "1:", "run"),
    ("return playbook { name = 7, run = function() end }", "1:", "string"),
    ("return playbook { name = \"a\", run = function(event) print(event.kind + 1) end }", "1:", "number"),
    (
        "return playbook { name = \"a\", run = function() end, params = { a = { type = \"bool\" } } }",
        "1:",
        "bool",
    ),
    (
        "return playbook { name = \"a\", run = function() end, on = { webhook = { path = \"a\" } } }",
        "1:",
        "secret",
    ),
];

#[test]
fn a_playbook_is_checked_by_its_types() {
    let place = Place::new();
    let full = r#"--!strict
return playbook {
    name = "full",
    description = "All that there is.",
    on = {
        cron = { "17 3 * * *", { at = "@daily", zone = "Europe/Berlin", jitter = "5m" } },
        every = "10m",
        at = { "2026-12-24T18:00:00Z", "2027-12-24T18:00:00Z" },
        boot = true,
        event = { name = "container.exited", where = { name = "web-*" }, at_most = "3/10m" },
        file = { "/etc/a", { path = "/etc/b", settle = 2 } },
        webhook = { path = "deploy", secret = "forge/hook", format = "github", events = { "push" } },
    },
    allow = { "certs:write:*" },
    params = {
        force = { type = "boolean", default = false },
        tag = { type = "string", choices = { "a", "b" }, default = "a", description = "which" },
        count = { type = "integer", default = 3 },
        within = { type = "duration", default = "10m" },
    },
    overlap = "skip",
    catch_up = "once",
    timeout = "1h",
    run = function(event)
        print(event.kind, event.name, params.force)
    end,
}
"#;
    for (name, source) in [("full.lua", full), ("greet.lua", GREET), ("welcome.lua", WELCOME)] {
        let file = place.script(name, source);
        let seen = place.run(&["check", &file]);
        assert!(seen.code == Some(0) && seen.stdout.is_empty(), "{source}\n{seen}");
    }
    for (source, at, message) in MISTAKES {
        let file = place.script("wrong.lua", source);
        let seen = place.ends(1, &["check", &file]);
        let expected = format!("{file}:{at}");
        let found =
            seen.stdout.lines().any(|line| line.starts_with(&expected)) && seen.stdout.contains(message);
        assert!(found, "{source}\nexpected {expected}… {message}\n{seen}");
    }
}

/// A place whose playbooks lie in a folder of their own and may write beneath it.
fn with_folder() -> Place {
    let place = Place::new();
    let folder = place.at("scripts");
    place.configure(&format!(
        "[drivers]\ncontainers = \"process\"\n[policy]\nscripts = [\"files:write:{folder}/**\", \"registry\"]\n\
         [playbooks]\nfolders = [\"{folder}\"]\n"
    ));
    place.script("greet.lua", GREET);
    place.script("lib.luau", "return {}\n");
    place
}

#[test]
fn a_playbook_is_started_by_its_name_with_parameters_as_options() {
    let place = with_folder();
    let seen = place.ends(0, &["start", "greet", "--whom", "you", "--times=2", "--loud"]);
    prints(&seen, "manual you 2 true");
    assert_eq!(place.read("scripts/greeting"), "you");
    let seen = place.run(&["start", "greet", "--whom=me", "--json", "--no-loud"]);
    let outcome: Value = serde_json::from_str(&seen.stdout).expect("JSON");
    assert_eq!(outcome["state"], "done", "{seen}");
    assert_eq!(place.newest_shown()["params"], json!({ "loud": false, "times": 1, "whom": "me" }));
}

#[test]
fn a_playbook_may_have_another_name_than_its_file() {
    let place = with_folder();
    place.script("other.lua", &GREET.replace("\"greet\"", "\"welcome\""));
    prints(&place.ends(0, &["start", "welcome", "--whom", "you"]), "manual you");
}

#[test]
fn the_help_of_a_playbook_shows_what_it_takes_and_when_it_starts() {
    let place = with_folder();
    let seen = place.ends(0, &["start", "greet", "--help"]);
    let expected = format!(
        "Writes a greeting.\n\n\
         Usage: mcrun start greet [PARAMETERS] [OPTIONS]\n\n\
         Parameters:\n  --loud             [default: false]\n  --times <integer>  [default: 1]\n  --whom <string>    (required)\n\n\
         Starts by itself:\n  never\n\n\
         File: {}\n`mcrun start --help` shows the options of every start.\n",
        place.at("scripts/greet.lua")
    );
    assert_eq!(seen.stdout, expected, "{seen}");
    place.script("welcome.lua", WELCOME);
    let seen = place.ends(0, &["start", "welcome", "--help"]);
    prints(&seen, "  --whom <string>  [default: everybody]\n");
    prints(&seen, "Starts by itself:\n  cron 17 3 * * *\n  cron @daily Europe/Berlin\n  boot\n");
    let seen = place.ends(0, &["start", "--help"]);
    assert!(seen.stdout.contains("--detach") && seen.stdout.contains("<NAME>"), "{seen}");
}

#[test]
fn what_cannot_be_started_says_why() {
    let place = with_folder();
    place.ends(2, &["start", "greet"]).says(&["MC-L005", "`whom` is missing"]);
    place.ends(2, &["start", "greet", "--whom"]).says(&["MC-L005", "`whom` has no value"]);
    place
        .ends(2, &["start", "greet", "--whom", "you", "now"])
        .says(&["MC-L005", "`now` belongs to no parameter"]);
    place.ends(2, &["start", "greet", "--whom", "you", "--detach"]).says(&["there is no daemon"]);
    place.ends(1, &["start", "playbook:sweep"]).says(&["MC-L008", "there is no playbook `sweep`"]);
    place.ends(1, &["start", "sweep"]).says(&["there is no service and no playbook `sweep`"]);
    place.ends(2, &["start", "sweep", "--tag", "x"]).says(&["a service takes no parameters such as `--tag`"]);
    place.ends(2, &["start"]);
    place.script("broken.lua", "return playbook { name = \"broken\" }\n");
    place.ends(1, &["start", "broken"]).says(&["MC-L002", "`run` is missing", "broken.lua:1"]);
    assert_eq!(place.runs(), Vec::<Value>::new());
}

#[test]
fn a_name_that_a_service_has_too_must_say_which_is_meant() {
    let place = with_folder();
    let record = place
        .script("record.lua", "registry.put { service = \"greet\", spec = { exec = { \"/bin/true\" } } }\n");
    place.ends(0, &[&record]);
    place
        .ends(2, &["start", "greet", "--whom", "you"])
        .says(&["both a service and a playbook", "playbook:greet"]);
    prints(&place.ends(0, &["start", "playbook:greet", "--whom", "you"]), "manual you");
}

#[test]
fn a_check_tells_what_a_definition_means() {
    let place = Place::new();
    let source = WELCOME.replace("\"17 3 * * *\"", "\"0 0 30 2 *\"");
    let file = place.script("welcome.lua", &source);
    let seen = place.ends(1, &["check", &file]);
    assert!(seen.stdout.starts_with(&format!("{file}:5:1: error: MC-L")), "{seen}");
    assert!(seen.stdout.contains("field `on.cron[1]`"), "{seen}");
}

/// A daemon that has looked at every file of its folders.
fn serving(place: &Place, variables: &[(&str, &str)]) -> Started {
    let started = place.start_with(&["serve"], variables);
    until("it is ready", || started.stderr().contains("ready").then_some(()));
    started
}

#[test]
fn a_daemon_starts_a_playbook_by_its_name() {
    let place = with_folder();
    let alone = place.ends(0, &["start", "greet", "--help"]).stdout;
    let _daemon = serving(&place, &[]);
    assert_eq!(place.ends(0, &["start", "greet", "--help"]).stdout, alone);
    let seen = place.ends(0, &["start", "greet", "--whom", "you", "--loud"]);
    prints(seen.says(&["done greet.lua"]), "manual you 1 true");
    assert_eq!(place.read("scripts/greeting"), "you");
    place.ends(2, &["start", "greet", "--whmo", "you"]).says(&["MC-L005", "did you mean `whom`?"]);
    place.ends(2, &["start", "greet", "--whom", "you", "--allow", "*"]).says(&["the operator's policy"]);
    place.ends(1, &["start", "playbook:sweep"]).says(&["MC-L008"]);
    let run = place.ends(0, &["start", "greet", "--whom", "me", "--detach"]).stdout.trim().to_owned();
    until("the run is done", || (place.json(&["show", &run, "--json"])["state"] == "done").then_some(()));
    assert_eq!(place.read("scripts/greeting"), "me");
    let outcome: Value =
        serde_json::from_str(&place.run(&["start", "greet", "--whom", "x", "--json"]).stdout).expect("JSON");
    assert_eq!(outcome["state"], "done");
}

#[test]
fn what_a_daemon_loads_has_passed_the_type_check() {
    let place = with_folder();
    let wrong = "return playbook {\n    name = \"wrong\",\n    run = function()\n        \
                 files.write { path = \"x\", contnet = \"y\" }\n    end,\n}\n";
    place.script("wrong.lua", wrong);
    let _daemon = serving(&place, &[]);
    let listed = place.run(&["playbooks"]);
    let all = format!("{}{}", listed.stdout, listed.stderr);
    for text in ["greet", "MC-K003", "wrong.lua:4"] {
        assert!(all.contains(text), "`{text}` is missing\n{listed}");
    }
    place.ends(1, &["start", "playbook:wrong"]);
}

#[test]
fn a_type_check_that_cannot_be_made_is_told_and_keeps_nothing_from_being_loaded() {
    let place = with_folder();
    let daemon = serving(&place, &[("MCRUN_CHECKER", "/nothing/there")]);
    assert!(daemon.stderr().contains("the types of playbooks are not checked"), "{}", daemon.stderr());
    prints(&place.ends(0, &["start", "greet", "--whom", "you"]), "manual you");
}

#[test]
fn the_checker_goes_on_from_task_to_task_and_sees_every_change() {
    use std::io::{BufRead as _, Write as _};
    let mut child = program(env!("CARGO_BIN_EXE_mcrun-check-probed"))
        .arg("keep")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the helper starts");
    let mut input = child.stdin.take().expect("it has a pipe");
    let mut lines = std::io::BufReader::new(child.stdout.take().expect("it has a pipe")).lines();
    let mut ask = |task: Value| -> Vec<Value> {
        writeln!(input, "{task}").expect("it reads");
        let line = lines.next().expect("it answers").expect("it answers in text");
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(
        ask(json!({ "definitions": "declare function shout(text: string): ()\n" })),
        Vec::<Value>::new()
    );
    let module = |text: &str| {
        json!({
            "sources": { "a.lua": "local lib = require(\"./lib\")\nshout(lib.word)\n", "lib.luau": text },
            "targets": { "a.lua": { "./lib": "lib.luau" }, "lib.luau": {} },
            "check": ["a.lua", "lib.luau"], "seconds": 20,
        })
    };
    let (good, bad) = ("--!strict\nreturn { word = \"a\" }\n", "--!strict\nreturn { word = 7 }\n");
    for _ in 0..3 {
        assert_eq!(ask(module(good)), Vec::<Value>::new());
        let found = ask(module(bad));
        assert_eq!((&found[0]["module"], &found[0]["line"]), (&json!("a.lua"), &json!(2)), "{found:?}");
    }
    // More modules than it keeps: the first ones are looked at anew.
    for index in 0..300 {
        let name = format!("many{index}.lua");
        let task =
            json!({ "sources": { &name: "shout(1)\n" }, "targets": {}, "check": [&name], "seconds": 20 });
        assert_eq!(ask(task).len(), 1, "{index}");
    }
    assert_eq!(ask(module(good)), Vec::<Value>::new());
    drop(input);
    assert!(child.wait().expect("it ends").success());
}
