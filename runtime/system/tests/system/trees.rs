//! `files.sync` against real folders.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use effect::{Action, Code, Mode};
use serde_json::json;

use crate::bench::Bench;

pub(crate) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Writes files by their paths beneath `root`, making their folders.
pub(crate) fn fill(root: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Every path beneath `root` with its kind, mode and content, sorted.
pub(crate) fn tree(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if entry.file_type().unwrap().is_dir() {
                found.push(format!("{name}/ {:o}", mode(&path)));
                folders.push(path);
            } else {
                found.push(format!("{name} {:o} {}", mode(&path), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_sync_brings_content_and_modes_and_then_has_nothing_to_do() {
    let bench = Bench::new();
    let script = bench.run().await;
    let (from, to) = (bench.root().join("from"), bench.root().join("to"));
    fill(&from, &[("a", "1"), ("sub/b", "2"), ("sub/deep/c", "3")]);
    fs::create_dir(from.join("empty")).unwrap();
    fs::set_permissions(from.join("sub/b"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::set_permissions(from.join("sub/deep"), fs::Permissions::from_mode(0o555)).unwrap();
    let wanted = json!({ "path": "to", "source": "from" });
    let first = script.done("files.sync", wanted.clone()).await;
    assert_eq!(
        (&first["changed"], &first["after"]["files"], &first["after"]["folders"]),
        (&json!(true), &json!(3), &json!(3))
    );
    assert_eq!(mode(&to.join("sub/b")), 0o750, "special bits are never carried over");
    assert_eq!(mode(&to.join("sub/deep")), 0o555);
    fs::set_permissions(from.join("sub/b"), fs::Permissions::from_mode(0o750)).unwrap();
    assert_eq!(tree(&from), tree(&to));
    let inodes = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    let before = (inodes("a"), inodes("sub/b"));
    assert_eq!(script.done("files.sync", wanted.clone()).await["changed"], false);
    fill(&from, &[("sub/b", "changed")]);
    assert_eq!(script.done("files.sync", wanted).await["changed"], true);
    assert_eq!(
        (inodes("a"), fs::read_to_string(to.join("sub/b")).unwrap()),
        (before.0, "changed".to_owned())
    );
    fs::set_permissions(to.join("sub/deep"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(from.join("sub/deep"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_plan_names_what_is_added_changed_and_removed() {
    let bench = Bench::new();
    fill(
        &bench.root(),
        &[
            ("from/new", "1"),
            ("from/other", "22"),
            ("from/same", "3"),
            ("to/other", "4"),
            ("to/same", "3"),
            ("to/old/gone", "5"),
        ],
    );
    let plan = bench.plan().await;
    plan.done("files.sync", json!({ "path": "to", "source": "from", "delete": true })).await;
    let step = &plan.steps()[0];
    assert_eq!(step.action, Action::Update);
    let side = |value: &Option<serde_json::Value>| match value {
        Some(value) => value.as_str().unwrap().split(", ").next().unwrap().to_owned(),
        None => "-".to_owned(),
    };
    let fields: Vec<String> = step
        .fields
        .iter()
        .map(|field| format!("{} {} {}", field.path, side(&field.before), side(&field.after)))
        .collect();
    assert_eq!(fields, ["new - 1 bytes", "old folder -", "old/gone 1 bytes -", "other 1 bytes 2 bytes"]);
    assert_eq!(step.notes, ["1 added, 1 changed, 2 removed, 1 as they are"]);
    assert!(bench.root().join("to/old/gone").exists(), "a plan changes nothing");
    bench.run().await.done("files.sync", json!({ "path": "to", "source": "from", "delete": true })).await;
    assert_eq!(tree(&bench.root().join("to")), tree(&bench.root().join("from")));
}

#[tokio::test]
async fn what_is_left_out_is_neither_copied_nor_removed() {
    let bench = Bench::new();
    fill(
        &bench.root(),
        &[
            ("from/a", "1"),
            ("from/x.log", "2"),
            ("from/cache/big", "3"),
            ("to/old/y.log", "4"),
            ("to/cache/kept", "5"),
            ("to/old/z", "6"),
        ],
    );
    let wanted =
        json!({ "path": "to", "source": "from", "delete": true, "exclude": ["*.log", "cache/**", "cache"] });
    let script = bench.run().await;
    script.done("files.sync", wanted.clone()).await;
    let names: Vec<String> = tree(&bench.root().join("to"))
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["a", "cache/", "cache/kept", "old/", "old/y.log"]);
    assert_eq!(script.done("files.sync", wanted).await["changed"], false);
    let wrong = json!({ "path": "to", "source": "from", "exclude": ["a[" ] });
    assert_eq!(script.fails("files.sync", wrong).await.code, Code::Argument);
}

#[tokio::test]
async fn no_link_is_followed_on_either_side() {
    let bench = Bench::new();
    let root = bench.root();
    let outside = root.parent().unwrap().join("outside");
    fs::create_dir(outside.join("folder")).unwrap();
    fill(&root, &[("from/sub/a", "1"), ("to/x", "1")]);
    let wanted = json!({ "path": "to", "source": "from" });
    symlink(outside.join("folder"), root.join("to/sub")).unwrap();
    let script = bench.run().await;
    assert_eq!(script.fails("files.sync", wanted.clone()).await.code, Code::FileRefused);
    // With `delete` the link itself goes, and what it led to stays.
    fs::write(outside.join("folder/kept"), "x").unwrap();
    script.done("files.sync", json!({ "path": "to", "source": "from", "delete": true })).await;
    assert_eq!(fs::read_to_string(root.join("to/sub/a")).unwrap(), "1");
    assert!(outside.join("folder/kept").exists() && !outside.join("folder/a").exists());
    symlink("/etc/passwd", root.join("from/leak")).unwrap();
    let error = script.fails("files.sync", wanted.clone()).await;
    assert_eq!(error.code, Code::FileRefused);
    assert!(error.message.contains("leak") && error.hint.unwrap().contains("exclude"));
    script.done("files.sync", json!({ "path": "to", "source": "from", "exclude": ["leak"] })).await;
    symlink(root.join("from"), root.join("alias")).unwrap();
    let through = json!({ "path": "to2", "source": "alias" });
    assert_eq!(script.fails("files.sync", through).await.code, Code::FileRefused);
}

#[tokio::test]
async fn a_file_and_a_folder_change_places_only_with_delete() {
    let bench = Bench::new();
    fill(&bench.root(), &[("from/a/b", "1"), ("from/c", "2"), ("to/a", "3"), ("to/c/d/e", "4")]);
    let script = bench.run().await;
    let error = script.fails("files.sync", json!({ "path": "to", "source": "from" })).await;
    assert_eq!(error.code, Code::FileRefused);
    assert_eq!(fs::read_to_string(bench.root().join("to/a")).unwrap(), "3", "nothing was touched");
    script.done("files.sync", json!({ "path": "to", "source": "from", "delete": true })).await;
    assert_eq!(tree(&bench.root().join("to")), tree(&bench.root().join("from")));
}

#[tokio::test]
async fn a_sync_has_bounds_and_needs_both_trees() {
    let bench = Bench::new();
    fill(&bench.root(), &[("from/a", "12345"), ("from/b", "12345"), ("from/c", "12345")]);
    let script = bench.run().await;
    for bound in [json!({ "limit": 10 }), json!({ "entries": 2 })] {
        let mut arguments = json!({ "path": "to", "source": "from" });
        arguments.as_object_mut().unwrap().extend(bound.as_object().unwrap().clone());
        assert_eq!(script.fails("files.sync", arguments).await.code, Code::TooLarge, "{bound}");
    }
    assert!(!bench.root().join("to").exists());
    for (path, source) in [("from/x", "from"), ("from", "from/x"), ("from", "from")] {
        let error = script.fails("files.sync", json!({ "path": path, "source": source })).await;
        assert_eq!(error.code, Code::Argument);
    }
    assert_eq!(
        script.fails("files.sync", json!({ "path": "to", "source": "none" })).await.code,
        Code::FileFailed
    );
    let root = bench.root().display().to_string();
    let narrow = bench
        .script(Mode::Run, &[&format!("files:read:{root}/from"), &format!("files:write:{root}/to/**")])
        .await;
    let error = narrow.fails("files.sync", json!({ "path": "to", "source": "from" })).await;
    assert_eq!((error.code, error.missing), (Code::Denied, vec![format!("files:read:{root}/from/**")]));
}

#[tokio::test]
async fn what_was_there_is_recorded_sealed_and_not_told_to_the_script() {
    let bench = Bench::new();
    fill(&bench.root(), &[("from/a", "the new content"), ("to/a", "the old content")]);
    let script = bench.run().await;
    let done = script.done("files.sync", json!({ "path": "to", "source": "from" })).await;
    assert!(done["before"]["entries"]["$hidden"].is_string(), "{done}");
    assert!(done["before"]["entries"].get("box").is_none(), "{done}");
    let run = bench.journal().runs(journal::Filter::default()).await.unwrap().remove(0).id;
    let entries = bench.journal().entries(&run, 0, 10).await.unwrap();
    let before = entries[0].before.clone().unwrap();
    assert!(before.contains("\"box\"") && !before.contains("the old content"), "{before}");
}
