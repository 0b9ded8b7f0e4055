//! A plan lists every effect of the run that follows, under the same identities, with the same actions and fields; and
//! after the run there is nothing left to plan.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{PROGRAM, Place, data};
use crate::service::Deploy;

/// The same without what is sealed: a hidden value has a keyed hash, which is compared, and a box that differs each time.
fn without_boxes(value: &Value) -> Value {
    match value {
        Value::Object(fields) if fields.contains_key("$hidden") => json!({ "$hidden": fields["$hidden"] }),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), without_boxes(field))).collect()
        }
        Value::Array(items) => items.iter().map(without_boxes).collect(),
        other => other.clone(),
    }
}

/// What a plan or a run says of one effect.
#[derive(Debug, PartialEq)]
struct Said {
    action: String,
    fields: Value,
}

type Effects = BTreeMap<(String, u64, String), Said>;

fn identity(of: &Value) -> (String, u64, String) {
    let identity = &of["identity"];
    let text = |name: &str| identity[name].as_str().expect("an identity has names").to_owned();
    (text("scope"), identity["counter"].as_u64().expect("an identity has a counter"), text("name"))
}

fn planned(plan: &Value) -> Effects {
    let steps = plan["steps"].as_array().expect("a plan has steps");
    let said = |step: &Value| {
        let fields = if step["fields"].is_null() { json!([]) } else { without_boxes(&step["fields"]) };
        Said { action: step["action"].as_str().unwrap().to_owned(), fields }
    };
    let effects: Effects = steps.iter().map(|step| (identity(step), said(step))).collect();
    assert_eq!(effects.len(), steps.len(), "every identity once");
    effects
}

/// Our own records commit together with their end, without a begin that says what changes: for them the plan's word
/// counts wherever the run says that something has changed.
fn applied(run: &Value, planned: &Effects) -> Effects {
    let entries = run["entries"].as_array().expect("a run has entries");
    let said = |entry: &Value| {
        let change = Some(data(&entry["change"])).filter(|change| !change.is_null());
        let (action, fields) = match (entry["kind"].as_str().unwrap(), &change) {
            ("ensure", Some(change)) => {
                (change["action"].as_str().unwrap(), without_boxes(&change["fields"]))
            }
            ("ensure", None) if entry["changed"] == true => match planned.get(&identity(entry)) {
                Some(said) if said.action != "none" => (said.action.as_str(), said.fields.clone()),
                _ => ("a change that was not planned", Value::Null),
            },
            ("ensure", None) => ("none", json!([])),
            (kind, _) => (kind, json!([])),
        };
        Said { action: action.to_owned(), fields }
    };
    entries.iter().map(|entry| (identity(entry), said(entry))).collect()
}

/// Plans, runs and compares; then plans again.
#[track_caller]
pub(crate) fn compare(place: &Place, what: &str, words: &[&str], settles: bool) {
    let plan_words = [&["plan", "--json"], words].concat();
    let plan = place.json(&plan_words);
    assert_eq!(plan["ends"], json!([]), "{what}: the plan goes to the end");
    let seen = place.run(words);
    assert_eq!(seen.code, Some(0), "{what}: {seen}");
    let planned = planned(&plan);
    assert_eq!(planned, applied(&place.newest_shown(), &planned), "{what}");
    if settles {
        let again = place.json(&plan_words);
        assert_eq!(again["has_changes"], false, "{what}: {:#}", again["steps"]);
    }
}

fn compare_script(place: &Place, what: &str, text: &str, settles: bool) {
    let script = place.script("script.lua", text);
    compare(place, what, &[&script, "--allow", "*"], settles);
}

#[test]
fn of_the_demo() {
    let place = Place::new();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo/hello.lua");
    let program = format!("mcrun={PROGRAM}");
    compare(&place, "demo", &[demo, "--allow", "*", "--set", &program], true);
    compare(
        &place,
        "changed demo",
        &[demo, "--allow", "*", "--set", &program, "--set", "message=changed"],
        true,
    );
}

fn roll_outs(strategy: &str) {
    roll_outs_without(strategy, "nothing");
}

fn roll_outs_without(strategy: &str, setting: &str) {
    let place = Place::new();
    for settings in [
        &["version=v1"][..],
        &["version=v1"],
        &["version=v2", "message=second"],
        &["version=v2", "message=second", "level=debug"],
        &["version=v2", "message=second", "replicas=2"],
        &["version=v3", "message=third", "replicas=2"],
        &["version=v3", "message=third", "replicas=3", "soak=30ms"],
        &["version=v4", "message=fourth", "stop_first=true"],
        &["version=v5", "message=fifth", "stop_first=true"],
    ] {
        let settings: Vec<&str> =
            settings.iter().copied().filter(|given| !given.starts_with(setting)).chain([strategy]).collect();
        compare(&place, &settings.join(" "), &Deploy::new(&place, &settings).words(&[]), true);
    }
}

#[test]
fn of_a_recreating_roll_out() {
    roll_outs("strategy=recreate");
}

#[test]
fn of_a_rolling_roll_out() {
    roll_outs("strategy=rolling");
}

#[test]
fn of_a_blue_green_roll_out() {
    roll_outs_without("strategy=blue_green", "stop_first");
}

#[test]
fn of_a_canary_roll_out() {
    roll_outs("strategy=canary");
}

#[test]
fn of_every_field_of_a_native_service() {
    let place = Place::new();
    let with = |fields: &str| format!("containers.ensure {{ name = \"web\", {fields} }}\n");
    let base = "exec = { \"/bin/sleep\", \"600\" }";
    compare_script(&place, "first", &with(base), true);
    for field in [
        "env = { LEVEL = \"debug\" }",
        "env = { LEVEL = \"info\" }",
        "labels = { team = \"a\" }",
        "restart = \"on-failure:3\"",
        "stop_signal = \"SIGINT\"",
        "stop_timeout = \"3s\"",
        "workdir = \"/tmp\"",
        "health = { exec = { \"/bin/true\" } }",
        "ports = { { host = 0, container = 0 } }",
        "service = \"other\"",
        "user = \"nobody\"",
    ] {
        // A port of our own: two tests must not want the same.
        let port = 20000 + std::process::id() % 20000;
        let field = field.replace("= 0", &format!("= {port}"));
        compare_script(&place, &field, &with(&format!("{base}, {field}")), true);
    }
    compare_script(&place, "back", &with(base), true);
    compare_script(&place, "another program", &with("exec = { \"/bin/sleep\", \"601\" }"), true);
}

#[test]
fn of_what_is_done_to_a_service() {
    let place = Place::new();
    compare_script(
        &place,
        "ensure",
        "containers.ensure { name = \"web\", exec = { \"/bin/sleep\", \"600\" } }\n",
        true,
    );
    compare_script(&place, "stop", "containers.stop { name = \"web\" }\n", true);
    compare_script(&place, "start", "containers.start { name = \"web\" }\n", true);
    compare_script(&place, "restart", "containers.restart { name = \"web\" }\n", false);
    compare_script(&place, "remove", "containers.remove { name = \"web\" }\n", true);
    compare_script(&place, "remove nothing", "containers.remove { name = \"web\" }\n", true);
    let sequence = "containers.ensure { name = \"web\", exec = { \"/bin/sleep\", \"600\" } }\n\
         containers.stop { name = \"web\" }\n\
         assert(containers.get({ name = \"web\" }).state ~= \"running\")\n\
         containers.start { name = \"web\" }\n\
         assert(containers.get({ name = \"web\" }).state == \"running\")\n\
         containers.remove { name = \"web\" }\n\
         assert(containers.get { name = \"web\" } == nil)\n";
    compare_script(&place, "one after the other", sequence, false);
}

#[test]
fn of_files() {
    let place = Place::new();
    for (what, text) in [
        ("create", "files.write { path = \"a\", content = \"one\" }"),
        ("change", "files.write { path = \"a\", content = \"two\" }"),
        ("mode", "files.write { path = \"a\", content = \"two\", mode = \"0600\" }"),
        ("owner", "files.write { path = \"a\", content = \"two\", owner = \"65534:65534\" }"),
        ("template", "files.template { path = \"a\", template = \"{{ x }}\", values = { x = 3 } }"),
        ("parents", "files.write { path = \"b/c/d\", content = \"x\", parents = true }"),
        ("directory", "files.directory { path = \"e\", mode = \"0700\" }"),
        ("directory mode", "files.directory { path = \"e\", mode = \"0750\" }"),
        ("inside", "files.directory { path = \"f\" } files.write { path = \"f/g\", content = \"x\" }"),
        (
            "remove",
            "files.remove { path = \"a\" } files.remove { path = \"f/g\" } files.remove { path = \"f\" }",
        ),
    ] {
        compare_script(&place, what, text, true);
    }
    let sequence = "files.write { path = \"h\", content = \"one\" }\n\
         assert(files.read({ path = \"h\" }) ~= nil)\n\
         files.write { path = \"h\", content = \"two\" }\n\
         files.remove { path = \"h\" }\n\
         assert(not files.stat({ path = \"h\" }).exists)\n";
    compare_script(&place, "one after the other", sequence, false);
}

#[test]
fn of_trees_and_archives() {
    let place = Place::new();
    let sync = "files.sync { path = \"b\", source = \"a\"";
    for (what, text) in [
        (
            "source",
            "files.write { path = \"a/x/one\", content = \"1\", parents = true } files.write { path = \"a/two\", content = \"2\" }",
        ),
        ("sync", &format!("{sync} }}")),
        ("change", "files.write { path = \"a/two\", content = \"3\", mode = \"0600\" }"),
        ("sync again", &format!("{sync} }}")),
        ("surplus", "files.write { path = \"b/y/surplus\", content = \"4\", parents = true }"),
        ("surplus stays", &format!("{sync} }}")),
        ("surplus goes", &format!("{sync}, delete = true }}")),
        ("modes", &format!("{sync}, file_mode = \"0640\", folder_mode = \"0750\" }}")),
        (
            "owner",
            &format!("{sync}, file_mode = \"0640\", folder_mode = \"0750\", owner = \"65534:65534\" }}"),
        ),
        ("archive", "files.archive { path = \"a.tar.zst\", source = \"a\" }"),
        ("plain archive", "files.archive { path = \"a.tar\", source = \"a\", mode = \"0600\" }"),
        ("extract", "files.extract { path = \"c\", archive = \"a.tar.zst\" }"),
        ("extract plain", "files.extract { path = \"c\", archive = \"a.tar\", delete = true }"),
        ("strip", "files.extract { path = \"d\", archive = \"a.tar\", strip = 1, parents = true }"),
    ] {
        compare_script(&place, what, &format!("{text}\n"), true);
    }
    // Every step stands on what an earlier one only plans.
    let sequence = "files.write { path = \"e/x/one\", content = \"1\", parents = true }\n\
         files.write { path = \"e/two\", content = \"2\", mode = \"0600\" }\n\
         files.sync { path = \"f\", source = \"e\" }\n\
         assert(files.read({ path = \"f/x/one\" }).content == \"1\")\n\
         files.write { path = \"f/two\", content = \"other\" }\n\
         files.archive { path = \"f.tar.zst\", source = \"f\" }\n\
         files.extract { path = \"g\", archive = \"f.tar.zst\" }\n\
         assert(files.read({ path = \"g/two\" }).content == \"other\")\n\
         files.sync { path = \"g\", source = \"e\", delete = true }\n\
         assert(files.stat({ path = \"g/two\" }).mode == \"0600\")\n";
    compare_script(&place, "one after the other", sequence, false);
    assert_eq!((place.read("scripts/g/two").as_str(), place.read("scripts/f/two").as_str()), ("2", "other"));
}

#[test]
fn of_ports_and_registry() {
    let place = Place::new();
    for (what, text, settles) in [
        (
            "allocate",
            "ports.allocate { service = \"a\" } ports.allocate { service = \"a\", name = \"admin\" }",
            true,
        ),
        (
            "used",
            "files.write { path = \"port\", content = tostring(ports.allocate { service = \"b\" }) }",
            true,
        ),
        ("release", "ports.release { service = \"a\", name = \"admin\" }", true),
        ("put", "registry.put { service = \"a\", spec = { x = 1 }, release = { version = \"1\" } }", true),
        ("change", "registry.put { service = \"a\", spec = { x = 2 }, release = { version = \"2\" } }", true),
        ("remove", "registry.remove { service = \"a\" } ports.release { service = \"a\" }", true),
        (
            "allocate and release",
            "ports.allocate { service = \"c\" } ports.release { service = \"c\" }",
            false,
        ),
    ] {
        compare_script(&place, what, text, settles);
    }
}

#[test]
fn of_branches_acts_and_waits() {
    let place = Place::new();
    let script = "local done = parallel {\n\
             a = function() return step(\"inner\", function() return files.write { path = \"a\", content = \"x\" } end) end,\n\
             b = function() sleep(\"10ms\") return files.write { path = \"b\", content = \"x\" } end,\n\
         }\n\
         local out = exec.run { argv = { \"/bin/true\" }, assume = { code = 0, stdout = \"\", stderr = \"\" } }\n\
         if out.code == 0 and done.a.changed then files.write { path = \"c\", content = \"x\" } end\n\
         local listed = exec.query { argv = { \"/bin/echo\", \"hello\" } }\n\
         files.write { path = \"d\", content = listed.stdout }\n";
    compare_script(&place, "branches", script, false);
}

#[test]
fn what_nobody_can_know_ends_the_plan_with_a_note() {
    let place = Place::new();
    let script = place.script("a.lua", "local out = exec.run { argv = { \"/bin/true\" } }\nfiles.write { path = \"a\", content = \"x\" }\nif out.code == 0 then files.write { path = \"b\", content = \"x\" } end\n");
    let plan = place.json(&["plan", &script, "--json", "--allow", "*"]);
    let names: Vec<_> =
        plan["steps"].as_array().unwrap().iter().map(|step| step["identity"]["name"].clone()).collect();
    assert_eq!(names, ["exec.run", "files.write"]);
    assert_eq!(plan["ends"][0]["place"]["line"], 3, "{:#}", plan["ends"]);
    assert_eq!(plan["has_changes"], true);
}
