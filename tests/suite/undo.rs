//! What a run or a failed transaction changed comes back as it was; what was built on top is not taken away.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::Place;

const CHANGES: &str = r#"
files.write { path = "new.txt", content = "new\n" }
files.write { path = "kept.txt", content = "changed\n", mode = "0600" }
files.remove { path = "old.txt" }
files.directory { path = "folder" }
local port = ports.allocate { service = "hello" }
registry.put { service = "hello", spec = { port = port } }
"#;

fn scripts(place: &Place, name: &str) -> String {
    place.at(&format!("scripts/{name}"))
}

/// A place in which a run has made all of `CHANGES`; the run's id.
fn changed() -> (Place, String) {
    let place = Place::new();
    let script = place.script("change.lua", CHANGES);
    fs::write(scripts(&place, "kept.txt"), "before\n").unwrap();
    fs::set_permissions(scripts(&place, "kept.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(scripts(&place, "old.txt"), "old\n").unwrap();
    let run = place.json(&[&script, "--allow", "*", "--json"])["run"].as_str().unwrap().to_owned();
    assert_eq!(place.read("scripts/kept.txt"), "changed\n");
    (place, run)
}

#[track_caller]
fn is_as_before(place: &Place) {
    assert!(!fs::exists(scripts(place, "new.txt")).unwrap());
    assert!(!fs::exists(scripts(place, "folder")).unwrap());
    assert_eq!(place.read("scripts/kept.txt"), "before\n");
    let mode = fs::metadata(scripts(place, "kept.txt")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(place.read("scripts/old.txt"), "old\n");
    assert_eq!(place.json(&["status", "--json"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn undo_brings_back_what_was_there() {
    let (place, run) = changed();
    place.ends(0, &["undo", &run, "--yes"]);
    is_as_before(&place);
    let again = place.json(&["undo", &run, "--plan", "--json"]);
    let steps = again["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| matches!(step["action"].as_str(), Some("none" | "read"))), "{again:#}");
}

#[test]
fn the_plan_of_an_undo_is_what_it_does_and_changes_nothing() {
    let (place, run) = changed();
    let planned = place.json(&["undo", &run, "--plan", "--json"]);
    assert_eq!(place.read("scripts/kept.txt"), "changed\n");
    let undone = place.json(&["undo", &run, "--yes", "--json"]);
    let shown = place.json(&["show", undone["run"].as_str().unwrap(), "--json"]);
    let names = |steps: &serde_json::Value, of: fn(&serde_json::Value) -> String| {
        steps.as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let identity = |value: &serde_json::Value| {
        let identity = &value["identity"];
        format!("{}#{} {}", identity["scope"], identity["counter"], identity["name"])
    };
    assert_eq!(names(&planned["steps"], identity), names(&shown["entries"], identity));
}

/// Kills a command at its `point`th write or driver call, and finishes what it left.
pub(crate) fn kill_and_resume(place: &Place, words: &[&str], point: u32) {
    let before = newest(place);
    let mut command = place.command(words);
    let killed = command.env("MCRUN_CRASH_AT", point.to_string()).output().unwrap();
    if killed.status.success() {
        return;
    }
    let left = newest(place);
    if left == before {
        place.run(words);
    } else {
        place.run(&["resume", &left]);
    }
}

fn newest(place: &Place) -> String {
    let runs = place.json(&["runs", "--json"]);
    runs[0]["id"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_undo_that_is_killed_anywhere_goes_on_where_it_stopped() {
    for point in [2, 5, 8, 11, 14, 17] {
        let (place, run) = changed();
        kill_and_resume(&place, &["undo", &run, "--yes"], point);
        is_as_before(&place);
    }
}

#[test]
fn what_a_later_run_has_changed_again_is_not_taken_away() {
    let (place, run) = changed();
    let later = place.script("later.lua", r#"files.write { path = "kept.txt", content = "later\n" }"#);
    let later = place.json(&[&later, "--allow", "*", "--json"])["run"].as_str().unwrap().to_owned();
    let refused = place.ends(1, &["undo", &run, "--yes"]);
    assert!(refused.stderr.contains("MC-B002") && refused.stderr.contains(&later), "{refused}");
    assert_eq!(place.read("scripts/kept.txt"), "later\n");

    place.ends(0, &["undo", &later, "--yes"]);
    assert_eq!(place.read("scripts/kept.txt"), "changed\n");
    place.ends(0, &["undo", &run, "--yes"]);
    is_as_before(&place);
}

#[test]
fn force_brings_back_the_older_state_all_the_same() {
    let (place, run) = changed();
    let later = place.script("later.lua", r#"files.write { path = "kept.txt", content = "later\n" }"#);
    place.ends(0, &[&later, "--allow", "*"]);
    place.ends(0, &["undo", &run, "--force", "--yes"]);
    is_as_before(&place);
}

#[test]
fn a_run_that_may_go_on_is_not_undone() {
    let place = Place::new();
    let script = place.script("sleeps.lua", r#"pause { reason = "wait" }"#);
    place.ends(6, &[&script, "--allow", "*"]);
    let run = place.json(&["runs", "--json"])[0]["id"].as_str().unwrap().to_owned();
    let refused = place.ends(1, &["undo", &run, "--yes"]);
    assert!(refused.stderr.contains("MC-J009") && refused.stderr.contains("mcrun cancel"), "{refused}");
}

#[test]
fn an_undo_asks_first() {
    let (place, run) = changed();
    let refused = place.ends(2, &["undo", &run]);
    assert!(refused.stderr.contains("--yes"), "{refused}");
    assert_eq!(place.read("scripts/kept.txt"), "changed\n");
}

#[test]
fn a_failed_transaction_leaves_nothing_behind() {
    let place = Place::new();
    let script = place.script(
        "transaction.lua",
        r#"
        local ok, problem = pcall(transaction, function()
            files.write { path = "kept.txt", content = "changed\n" }
            parallel {
                one = function() files.write { path = "one.txt", content = "1" } end,
                two = function() files.write { path = "two.txt", content = "2" } end,
            }
            transaction(function() files.write { path = "inner.txt", content = "3" } end)
            exec.run { argv = { "/bin/echo", "did" }, undo = function(result) print("took back " .. result.stdout) end }
            fail("not today")
        end)
        print(ok, problem.message)
        "#,
    );
    fs::write(scripts(&place, "kept.txt"), "before\n").unwrap();
    let seen = place.ends(0, &[&script, "--allow", "*"]);
    assert!(seen.stdout.contains("took back did") && seen.stdout.contains("not today"), "{seen}");
    assert_eq!(place.read("scripts/kept.txt"), "before\n");
    for gone in ["one.txt", "two.txt", "inner.txt"] {
        assert!(!fs::exists(scripts(&place, gone)).unwrap(), "{gone} is left");
    }
}

#[test]
fn a_transaction_that_is_killed_anywhere_leaves_nothing_behind() {
    for point in [4, 8, 11, 13, 15, 17] {
        let place = Place::new();
        let script = place.script(
            "transaction.lua",
            r#"
            transaction(function()
                files.write { path = "one.txt", content = "1" }
                files.write { path = "two.txt", content = "2" }
                fail("not today")
            end)
            "#,
        );
        kill_and_resume(&place, &[&script, "--allow", "*"], point);
        for gone in ["one.txt", "two.txt"] {
            assert!(!fs::exists(scripts(&place, gone)).unwrap(), "{gone} is left after a kill at {point}");
        }
    }
}

#[test]
fn an_act_without_a_way_back_is_refused_in_a_transaction_by_the_plan_already() {
    let place = Place::new();
    let script =
        place.script("transaction.lua", r#"transaction(function() exec.run { argv = { "/bin/true" } } end)"#);
    let refused = place.ends(1, &["plan", &script, "--allow", "*"]);
    assert!(refused.stderr.contains("MC-B003") && refused.stderr.contains("undo = function"), "{refused}");
}

#[test]
fn a_transaction_says_what_it_could_not_take_back() {
    let place = Place::new();
    let script = place.script(
        "transaction.lua",
        r#"
        transaction(function()
            exec.run { argv = { "/bin/true" }, undo = function() fail("cannot be unsent") end }
            fail("not today")
        end)
        "#,
    );
    let seen = place.ends(1, &[&script, "--allow", "*"]);
    for text in ["MC-B004", "not today", "cannot be unsent"] {
        assert!(seen.stderr.contains(text), "{text} is missing in {seen}");
    }
}

#[test]
fn what_an_act_did_is_named_and_left() {
    let place = Place::new();
    let script = place.script("act.lua", r#"exec.run { argv = { "/bin/true" } }"#);
    let run = place.json(&[&script, "--allow", "*", "--json"])["run"].as_str().unwrap().to_owned();
    let seen = place.ends(0, &["undo", &run, "--yes"]);
    assert!(seen.stderr.contains("exec.run cannot be undone"), "{seen}");

    let restore = format!(r#"runs.restore {{ run = "{run}", scope = "", counter = 1 }}"#);
    let refused = place.ends(1, &[&place.script("restore.lua", &restore), "--allow", "*"]);
    assert!(refused.stderr.contains("MC-B001"), "{refused}");
}

#[test]
fn a_script_may_only_restore_what_it_may_change() {
    let (place, run) = changed();
    let script =
        place.script("restore.lua", &format!(r#"runs.restore {{ run = "{run}", scope = "", counter = 2 }}"#));
    let refused = place.ends(4, &[&script, "--allow", "runs:read:*"]);
    assert!(refused.stderr.contains("files:write:"), "{refused}");
    let refused = place.ends(4, &[&script, "--allow", "files"]);
    assert!(refused.stderr.contains("runs:read:"), "{refused}");
    assert_eq!(place.read("scripts/kept.txt"), "changed\n");
}

#[test]
fn a_plan_marks_what_undo_could_not_take_back() {
    let place = Place::new();
    let script = place.script(
        "marks.lua",
        r#"
        files.write { path = "small.txt", content = "new" }
        files.write { path = "large.bin", content = "new" }
        files.remove { path = "large-too.bin" }
        exec.run { argv = { "/bin/true" }, assume = { code = 0 } }
        containers.ensure { name = "web", exec = { "/bin/sleep", "600" }, stop_timeout = "0s" }
        containers.restart { name = "web" }
        containers.remove { name = "web" }
        files.write { path = "small.txt", content = "new" }
        "#,
    );
    fs::write(scripts(&place, "small.txt"), "old").unwrap();
    for large in ["large.bin", "large-too.bin"] {
        fs::write(scripts(&place, large), vec![b'x'; (1 << 20) + 1]).unwrap();
    }
    let plan = place.json(&["plan", &script, "--allow", "*", "--json"]);
    let marked = |step: &serde_json::Value| {
        let reasons = step["cannot_undo"].as_array()?;
        Some((step["place"]["line"].as_u64().unwrap(), reasons[0].as_str().unwrap().to_owned()))
    };
    let marked: Vec<(u64, String)> = plan["steps"].as_array().unwrap().iter().filter_map(marked).collect();
    let large = "the old content is too large to be kept for undo".to_owned();
    let expected = [
        (3, large.clone()),
        (4, large),
        (5, "what it did is left as it is".to_owned()),
        (8, "what `web` wrote outside its volumes is lost".to_owned()),
    ];
    assert_eq!(marked, expected, "{plan:#}");
    assert_eq!(plan["counts"]["cannot_undo"], 4);
    let shown = place.ends(0, &["plan", &script, "--allow", "*"]).stdout;
    let line = "cannot be undone: 4 (files.write marks.lua:3, files.remove marks.lua:4, exec.run marks.lua:5, \
                containers.remove marks.lua:8)";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn the_way_back_of_an_act_is_typed() {
    let place = Place::new();
    let calls = |undo: &str| {
        let text = format!(
            "--!strict\ntransaction(function()\n    exec.run {{ argv = {{ \"/bin/true\" }}, undo = {undo} }}\nend)\n"
        );
        place.script("typed.lua", &text)
    };
    place.ends(0, &["check", &calls("function(result) print(result.code) end")]);
    place.ends(1, &["check", &calls("function(result) print(result.cod) end")]);
    place.ends(1, &["check", &calls("true")]);
}

#[test]
fn a_plan_shows_how_a_text_changes_and_hides_what_is_not_for_everybody() {
    let place = Place::new();
    fs::write(place.at("secret"), "hunter2-and-more").unwrap();
    let configured = fs::read_to_string(place.config()).unwrap();
    let (file, to) = (place.at("secret"), place.at("scripts/**"));
    let secret = format!("[secrets.token]\nfile = \"{file}\"\nto = [\"files:{to}\"]\n");
    fs::write(place.config(), configured + &secret).unwrap();
    let script = place.script(
        "diff.lua",
        r#"
        files.write { path = "app.toml", content = "[app]\nport = 9\nname = \"a\"\n" }
        files.template { path = "site.conf", template = "listen {{ port }}\n", values = { port = 81 } }
        files.write { path = "private.toml", content = "password = new\n" }
        files.template { path = "token.conf", template = "t = {{ t }}\n", secrets = { t = secrets.get("token") } }
        files.write { path = "image.bin", content = "text now\n" }
        "#,
    );
    fs::write(scripts(&place, "app.toml"), "[app]\nport = 8\nname = \"a\"\n").unwrap();
    fs::write(scripts(&place, "site.conf"), "listen 80\n").unwrap();
    fs::write(scripts(&place, "private.toml"), "password = old-one\n").unwrap();
    fs::set_permissions(scripts(&place, "private.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(scripts(&place, "token.conf"), "t = hunter2-of-old\n").unwrap();
    fs::write(scripts(&place, "image.bin"), [0, 1, 255]).unwrap();

    let plan = place.json(&["plan", &script, "--allow", "*", "--json"]);
    let steps = plan["steps"].as_array().unwrap();
    let diff = |path: &str| {
        let step = steps.iter().find(|step| step["subject"] == path);
        step.unwrap_or_else(|| panic!("{path} is missing in {plan:#}"))["diff"].clone()
    };
    assert_eq!(diff("app.toml"), "@@ -1,3 +1,3 @@\n [app]\n-port = 8\n+port = 9\n name = \"a\"");
    assert_eq!(diff("site.conf"), "@@ -1 +1 @@\n-listen 80\n+listen 81");
    for hidden in ["private.toml", "token.conf", "image.bin"] {
        assert_eq!(diff(hidden), serde_json::Value::Null, "{hidden}");
    }
    let shown = place.ends(0, &["plan", &script, "--allow", "*"]).stdout;
    assert!(shown.contains("      -port = 8\n      +port = 9\n"), "{shown}");
    for text in ["hunter2", "old-one"] {
        assert!(!shown.contains(text) && !plan.to_string().contains(text), "{text} is shown: {shown}");
    }

    // The run records no text, and the undo's plan shows the way back.
    let run = place.json(&[&script, "--allow", "*", "--json"])["run"].as_str().unwrap().to_owned();
    let recorded = place.json(&["show", &run, "--json"]).to_string();
    assert!(!recorded.contains("port = 8") && !recorded.contains("old-one"), "{recorded}");
    let back = place.ends(0, &["undo", &run, "--plan"]).stdout;
    assert!(back.contains("      -port = 9\n      +port = 8\n") && !back.contains("old-one"), "{back}");
}
