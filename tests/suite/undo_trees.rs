//! Trees and archives that a run changed are as they were before it; what others put beside them stays.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::harness::Place;
use crate::undo::kill_and_resume;

const CHANGES: &str = r#"
files.sync { path = "site", source = "source", delete = true, exclude = { "kept-out" } }
files.sync { path = "fresh/deep", source = "source", parents = true }
files.archive { path = "old.tar.zst", source = "source" }
files.archive { path = "new.tar.zst", source = "source" }
files.extract { path = "unpacked", archive = "new.tar.zst" }
"#;

/// Every path beneath a folder with its mode and content.
fn seen(root: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, stat) = (entry.path(), entry.path().symlink_metadata().unwrap());
            let content = match stat.file_type() {
                kind if kind.is_dir() => {
                    folders.push(path.clone());
                    Vec::new()
                }
                kind if kind.is_symlink() => {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                }
                _ => fs::read(&path).unwrap(),
            };
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, (stat.permissions().mode(), content));
        }
    }
    found
}

fn scripts(place: &Place) -> BTreeMap<String, (u32, Vec<u8>)> {
    seen(&place.path().join("scripts"))
}

fn write(place: &Place, name: &str, mode: u32, content: &[u8]) {
    let path = place.path().join("scripts").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A place with a source, and a tree that differs from it in every way that there is.
fn place() -> (Place, String) {
    let place = Place::new();
    let script = place.script("change.lua", CHANGES);
    write(&place, "source/same.txt", 0o644, b"same");
    write(&place, "source/changed.txt", 0o644, b"new");
    write(&place, "source/mode.txt", 0o600, b"mode");
    write(&place, "source/added/deep/file.bin", 0o640, &[0, 255, 1]);
    write(&place, "source/becomes-folder/file", 0o644, b"x");
    write(&place, "source/becomes-file", 0o644, b"y");
    write(&place, "site/same.txt", 0o644, b"same");
    write(&place, "site/changed.txt", 0o640, b"old");
    write(&place, "site/mode.txt", 0o644, b"mode");
    write(&place, "site/surplus/deep/old.txt", 0o600, b"surplus");
    write(&place, "site/becomes-folder", 0o644, b"was a file");
    write(&place, "site/becomes-file/inside.txt", 0o644, b"was in a folder");
    write(&place, "site/kept-out", 0o644, b"left alone");
    symlink("same.txt", place.at("scripts/site/link")).unwrap();
    write(&place, "old.tar.zst", 0o640, b"no archive at all");
    (place, script)
}

#[test]
fn trees_and_archives_are_as_they_were() {
    let (place, script) = place();
    let before = scripts(&place);
    let run = place.json(&[&script, "--allow", "*", "--json"])["run"].as_str().unwrap().to_owned();
    assert_eq!(place.read("scripts/site/changed.txt"), "new");
    assert_eq!(place.read("scripts/unpacked/changed.txt"), "new");
    let changed = scripts(&place);
    let plan = place.json(&["undo", &run, "--plan", "--json"]);
    assert!(plan["steps"].as_array().unwrap().iter().all(|step| step["error"].is_null()), "{plan:#}");
    assert_eq!(scripts(&place), changed, "a plan changes nothing");
    place.ends(0, &["undo", &run, "--yes"]);
    let mut after = scripts(&place);
    // Folders above a tree that were made on the way stay, as with every file.
    after.remove("fresh");
    assert_eq!(after, before);
    let again = place.json(&["undo", &run, "--plan", "--json"]);
    assert_eq!(again["has_changes"], false, "{again:#}");
}

#[test]
fn an_undo_of_trees_that_is_killed_anywhere_goes_on_where_it_stopped() {
    for point in [2, 5, 7, 9, 11, 13] {
        let (place, script) = place();
        let before = scripts(&place);
        let run = place.json(&[&script, "--allow", "*", "--json"])["run"].as_str().unwrap().to_owned();
        kill_and_resume(&place, &["undo", &run, "--yes"], point);
        let mut after = scripts(&place);
        after.remove("fresh");
        assert_eq!(after, before, "killed at {point}");
    }
}

#[test]
fn what_others_put_into_a_new_tree_stays() {
    let (place, script) = place();
    let run = place.json(&[&script, "--allow", "*", "--json"])["run"].as_str().unwrap().to_owned();
    write(&place, "unpacked/added/theirs.txt", 0o644, b"theirs");
    let plan = place.json(&["undo", &run, "--plan", "--json"]).to_string();
    assert!(plan.contains("1 folders stay, `added` first"), "{plan}");
    place.ends(0, &["undo", &run, "--yes"]);
    let left = seen(&place.path().join("scripts/unpacked"));
    assert_eq!(left.keys().collect::<Vec<_>>(), ["added", "added/theirs.txt"]);
}

#[test]
fn a_script_is_not_told_what_only_undo_knows() {
    let (place, _) = place();
    let script = place.script(
        "told.lua",
        r#"
        local made = files.sync { path = "made", source = "source" }
        assert(made.changed and made.before == nil and made.after.files == 6)
        "#,
    );
    place.ends(0, &["plan", &script, "--allow", "*"]);
    place.ends(0, &[&script, "--allow", "*"]);
}

#[test]
fn what_is_too_large_to_be_kept_is_told_by_the_plan_and_refused_by_the_undo() {
    let (place, script) = place();
    write(&place, "site/surplus/large", 0o644, &vec![b'x'; (1 << 20) + 1]);
    let plan = place.ends(0, &["plan", &script, "--allow", "*"]);
    assert!(plan.stdout.contains("too large to be kept for undo"), "{plan}");
    let run = place.json(&[&script, "--allow", "*", "--json"])["run"].as_str().unwrap().to_owned();
    let refused = place.ends(1, &["undo", &run, "--yes"]);
    refused.says(&["MC-B001", "site/surplus/large"]);
    assert_eq!(place.read("scripts/site/changed.txt"), "new", "nothing of it is brought back");
}

#[test]
fn a_failed_transaction_leaves_trees_as_they_were() {
    let (place, _) = place();
    let script =
        place.script("transaction.lua", &format!("transaction(function()\n{CHANGES}\nfail(\"no\")\nend)"));
    let before = scripts(&place);
    place.ends(1, &[&script, "--allow", "*"]).says(&["no"]);
    let mut after = scripts(&place);
    after.remove("fresh");
    assert_eq!(after, before);
}
