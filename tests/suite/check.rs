//! `mcrun check`: everything that ships and is shown passes, and what is wrong is found at its place.

use std::fs;
use std::path::{Path, PathBuf};

use crate::docs::{blocks, pages};
use crate::harness::Place;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

#[track_caller]
fn passes(place: &Place, path: &str) {
    let seen = place.ends(0, &["check", path]);
    assert_eq!(seen.stdout, "", "{seen}");
}

#[test]
fn what_ships_passes_the_type_check() {
    let place = Place::new();
    passes(&place, root().join("scripts").to_str().expect("a plain path"));
    // The older facts in `stdlib/tests` pretend to be the world themselves, which no type allows.
    let is_kit_test = |path: &Path| path.to_string_lossy().ends_with(".test.luau");
    for (folder, all) in [("stdlib", true), ("stdlib/tests", false)] {
        for entry in fs::read_dir(root().join(folder)).expect("there is a library").flatten() {
            let path = entry.path();
            if path.is_file() && (all || is_kit_test(&path)) {
                passes(&place, path.to_str().expect("a plain path"));
            }
        }
    }
}

#[test]
fn a_new_project_passes_the_type_check() {
    let place = Place::new();
    place.ends(0, &["new", &place.at("project")]);
    passes(&place, &place.at("project"));
}

#[test]
fn every_example_passes_the_type_check() {
    let place = Place::new();
    let readme = root().join("README.md");
    let mut all = pages();
    all.push(("README.md".to_owned(), fs::read_to_string(readme).expect("there is a README")));
    let mut count = 0;
    for (path, page) in all {
        let name = Path::new(&path).file_stem().expect("pages have names").to_string_lossy().into_owned();
        for (index, example) in blocks(&page, &["lua", "luau"]).iter().enumerate() {
            place.script(&format!("{name}-{index}.lua"), example);
            count += 1;
        }
    }
    assert!(count >= 50, "{count} examples");
    let seen = place.ends(0, &["check", &place.at("scripts")]);
    // A warning is no mistake of an example: most declare what a reader would go on with.
    assert!(!seen.stdout.contains("error: "), "{seen}");
}

/// A mistake, where it is found, and what is said of it.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("containers.ensure { name = \"x\", exce = { \"/bin/true\" } }", "1:40", "this field is unknown"),
    ("containers.ensure { exec = { \"/bin/true\" } }", "1:19", "missing"),
    ("containers.ensur { name = \"x\" }", "1:1", "'ensur' not found"),
    ("files.write { path = 1, content = \"\" }", "1:22", "Expected this to be 'string'"),
    ("local n: number = json.encode(1)\nprint(n)", "1:19", "Expected this to be 'number', but got 'string'"),
    ("print(regex.find(\"a\", \"b\").text)", "1:7", "could be nil"),
    ("print(undefined_thing)", "1:7", "Unknown global 'undefined_thing'"),
    ("local deploy = require(\"@std/deploy\")\ndeploy.rollot({})", "2:1", "Key 'rollot' not found"),
    (
        "local deploy = require(\"@std/deploy\")\ndeploy.service { name = \"a\", image = \"x:v1\", replicas = \"2\" }",
        "2:57",
        "Expected this to be 'number?'",
    ),
    ("local lib = require(\"./lib\")\nlocal n: number = lib.name\nprint(n)", "2:19", "but got 'string'"),
    ("local gone = require(\"./gone\")\nprint(gone)", "1:14", "Unknown require"),
    ("local x = ", "1:11", "Expected identifier"),
    (
        "local text: string = secrets.get(\"a\")\nprint(text)",
        "1:22",
        "Expected this to be 'string', but got 'Secret'",
    ),
];

#[test]
fn every_mistake_is_found_at_its_place() {
    let place = Place::new();
    place.script("lib.luau", "--!strict\nreturn { name = \"web\" }\n");
    for (source, at, message) in MISTAKES {
        let script = place.script("wrong.lua", source);
        let seen = place.ends(1, &["check", &script]);
        let expected = format!("{script}:{at}: error: ");
        let found = seen.stdout.lines().any(|line| line.starts_with(&expected) && line.contains(message));
        assert!(found, "{source}\nexpected {expected}… {message}\n{seen}");
    }
}

#[test]
fn a_module_is_checked_with_the_script_that_requires_it() {
    let place = Place::new();
    let library = place.script("sub/lib.luau", "return { n = 1 + nil }\n");
    let script = place.script("main.lua", "print(require(\"./sub/lib\").n)\n");
    let seen = place.ends(1, &["check", &script]);
    let expected = format!("{library}:1:14: error: ");
    assert!(seen.stdout.lines().any(|line| line.starts_with(&expected)), "{seen}");
}

#[test]
fn findings_are_listed_as_json() {
    let place = Place::new();
    let script = place.script("wrong.lua", "local unused = 1\nprint(nothing)\n");
    let found = place.json(&["check", &script, "--json"]);
    let found = found.as_array().expect("a list");
    let error = found.iter().find(|finding| finding["severity"] == "error").expect("there is an error");
    assert_eq!((error["line"].as_u64(), error["column"].as_u64()), (Some(2), Some(7)));
    assert_eq!(error["file"], script);
    assert!(found.iter().any(|finding| finding["severity"] == "warning"), "{found:?}");
}

#[test]
fn what_cannot_be_checked_says_why() {
    let place = Place::new();
    place.ends(1, &["check", "nothing.lua"]).says(&["MC-S008", "nothing.lua"]);
    fs::create_dir(place.at("empty")).expect("the place is writable");
    place.ends(1, &["check", &place.at("empty")]).says(&["MC-S008", "holds no script"]);
    place.ends(2, &["check"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the program runs with another helper")]
fn a_helper_that_is_missing_or_fails_says_so() {
    let place = Place::new();
    let script = place.script("a.lua", "print(1)\n");
    let with = |helper: &str| {
        let output = place.command(&["check", &script]).env("MCRUN_CHECKER", helper).output();
        let output = output.expect("the program starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let talker = place.at("talker");
    fs::write(&talker, "#!/bin/sh\necho nonsense\n").expect("the place is writable");
    fs::set_permissions(&talker, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    for (helper, said) in [
        ("/bin/false", "MC-K002"),
        ("/nothing/there", "it cannot be started"),
        (talker.as_str(), "its answer cannot be read"),
    ] {
        let (code, stderr) = with(helper);
        assert!(code == Some(1) && stderr.contains(said), "{helper:?}: {code:?} {stderr}");
    }
    let alone = place.at("mcrun-alone");
    fs::copy(crate::harness::PROGRAM, &alone).expect("the place is writable");
    let output = std::process::Command::new(alone)
        .args(["check", &script])
        .env_clear()
        .env("PATH", place.at("scripts"))
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("MC-K001"), "{stderr}");
}
