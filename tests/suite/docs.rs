//! Documents and program say the same, and every example runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::Place;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

pub(crate) fn pages() -> Vec<(String, String)> {
    let folder =
        fs::read_dir(root().join("docs/reference")).expect("`mcrun reference docs` has been run").flatten();
    let pages = folder.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "md"));
    let page =
        |path: PathBuf| (path.display().to_string(), fs::read_to_string(&path).expect("pages are text"));
    pages.map(|entry| page(entry.path())).collect()
}

/// The blocks of these languages in a page.
pub(crate) fn blocks(page: &str, languages: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("```").is_some_and(|language| languages.contains(&language)) {
            found.push(lines.by_ref().take_while(|line| *line != "```").collect::<Vec<_>>().join("\n"));
        }
    }
    found
}

/// Mistakes of the example itself. That this machine lacks an engine, a file or a secret is none.
const MISTAKES: &[&str] =
    &["MC-S001", "MC-S002", "MC-S004", "MC-A001", "MC-A002", "MC-A003", "MC-P002", "MC-Z001"];

fn check(place: &Place, origin: &str, example: &str) {
    let script = place.script("example.lua", example);
    let seen = place.run(&["plan", &script, "--allow", "*"]);
    let said = format!("{}{}", seen.stdout, seen.stderr);
    let mistakes: Vec<_> = MISTAKES.iter().filter(|code| said.contains(*code)).collect();
    assert!(mistakes.is_empty() && seen.code.is_some_and(|code| code < 2), "{origin}:\n{example}\n\n{seen}");
}

/// A place at which routes could be served.
fn place_with_routes() -> Place {
    let place = Place::new();
    place.configure("[routes]\naddresses = [\"127.0.0.1\"]\n");
    place
}

fn effects() -> BTreeSet<String> {
    let pages = pages();
    let headings =
        pages.iter().flat_map(|(_, page)| page.lines()).filter_map(|line| line.strip_prefix("## "));
    let is_effect =
        |name: &str| name.contains('.') && name.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c));
    headings.map(|heading| heading.trim_matches('`').to_owned()).filter(|name| is_effect(name)).collect()
}

#[test]
fn the_pages_are_those_that_the_program_writes() {
    let place = Place::new();
    let docs = root().join("docs");
    place.ends(0, &["reference", docs.to_str().expect("a plain path"), "--check"]);
}

#[test]
fn every_example_of_the_reference_plans() {
    let place = place_with_routes();
    let mut count = 0;
    for (path, page) in pages() {
        for example in blocks(&page, &["lua", "luau"]) {
            check(&place, &path, &example);
            count += 1;
        }
    }
    assert!(count >= 30, "{count} examples");
}

#[test]
fn every_example_of_the_readme_and_of_the_guide_plans() {
    let place = place_with_routes();
    for page in ["README.md", "docs/identity.md"] {
        let text = fs::read_to_string(root().join(page)).expect("it is there");
        let examples = blocks(&text, &["lua", "luau"]);
        assert!(!examples.is_empty(), "{page}");
        examples.iter().for_each(|example| check(&place, page, example));
    }
}

#[test]
fn the_type_definitions_have_every_effect() {
    let place = Place::new();
    let types = place.ends(0, &["types"]).stdout;
    let effects = effects();
    assert!(effects.len() >= 30, "{effects:?}");
    for effect in effects {
        let (family, name) = effect.split_once('.').expect("`effects` lets no other through");
        let declared =
            types.split(&format!("declare {family}: {{")).nth(1).and_then(|rest| rest.split("\n}").next());
        let mut within = declared;
        // Each family within a primitive is a table within its table.
        for part in name.split('.') {
            within = within.and_then(|body| body.split_once(&format!("    {part}: "))).map(|(_, rest)| rest);
        }
        assert!(within.is_some(), "{effect} has no type");
    }
}

#[test]
fn the_shipped_scripts_plan() {
    let place = Place::new();
    let program = format!("mcrun={}", crate::harness::PROGRAM);
    let demo = root().join("scripts/demo/hello.lua");
    place.ends(0, &["plan", demo.to_str().expect("a plain path"), "--allow", "*", "--set", &program]);
}

#[test]
fn what_is_generated_for_shells_and_readers_is_there() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.ends(0, &["completions", shell]).stdout.contains("undeploy"), "{shell}");
    }
    assert!(place.ends(0, &["man"]).stdout.contains(".TH"));
    assert!(place.ends(0, &["man", "plan"]).stdout.contains(".TH mcrun-plan 1"));
    place.ends(2, &["man", "paln"]).says(&["MC-U001", "did you mean `plan`?"]);
    place.ends(0, &["man", "--out", "pages"]);
    for page in ["mcrun.1", "mcrun-run.1", "mcrun-doctor.1", "mcrun-man.1"] {
        assert!(place.read(&format!("pages/{page}")).contains(".SH NAME"), "{page}");
    }
    let doctor: serde_json::Value = place.json(&["doctor", "--json"]);
    let names: Vec<_> =
        doctor.as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    for name in ["configuration", "sandbox", "state directory", "containers: process"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[test]
fn doctor_says_which_driver_is_used_and_why() {
    let place = Place::new();
    let plain = place.ends(0, &["doctor"]).stdout;
    assert!(plain.contains("`drivers.containers` is \"process\" in mcrun.toml"), "{plain}");
    assert!(!plain.contains("update-labels"), "{plain}");
    assert!(place.ends(0, &["doctor", "-v"]).stdout.contains("update-labels"));
    place.configure("[drivers]\ncontainers = \"podman\"\n[drivers.podman]\nsocket = \"/nonexistent\"\n");
    let broken = place.ends(1, &["doctor"]).stdout;
    assert!(broken.contains("nothing answers at /nonexistent"), "{broken}");
    assert!(broken.contains("hint: start it or correct `socket`"), "{broken}");
    place.configure("[drivers.podman]\nsocket = \"/nonexistent\"\n");
    let without = place.ends(0, &["doctor"]).stdout;
    assert!(without.contains("podman: is not there") && without.contains("install it"), "{without}");
}
