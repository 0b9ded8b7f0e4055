//! Any change of files and trees, and the way back: what was described is there, and then what was there before.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::trees::tree;

/// Names that are files in one tree and folders in another.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A small tree: files by their paths, each with a content and a mode; a path that leads through a file is left out.
type Files = BTreeMap<Vec<&'static str>, (String, u32)>;

fn files() -> impl Strategy<Value = Files> {
    let name = prop::sample::select(&NAMES[..]);
    let path = prop::collection::vec(name, 1..4);
    let content =
        prop::sample::select(vec!["", "one", "two\n", "three\nlines\nhere\n"]).prop_map(str::to_owned);
    let mode = prop::sample::select(vec![0o644, 0o600, 0o755, 0o640]);
    prop::collection::btree_map(path, (content, mode), 0..8)
}

fn write(root: &Path, files: &Files) {
    fs::create_dir(root).unwrap();
    for (path, (content, mode)) in files {
        let (last, above) = path.split_last().unwrap();
        let folder: std::path::PathBuf = root.join(above.iter().collect::<std::path::PathBuf>());
        if fs::create_dir_all(&folder).is_err() || folder.join(last).is_dir() {
            continue;
        }
        fs::write(folder.join(last), content).unwrap();
        fs::set_permissions(folder.join(last), fs::Permissions::from_mode(*mode)).unwrap();
    }
}

/// Whether some path is a file on one side and a folder on the other, which only `delete` may bring about.
fn clashes(one: &Path, other: &Path) -> bool {
    let kinds = |root: &Path| -> BTreeMap<String, bool> {
        let name = |line: &String| line.split(' ').next().unwrap().to_owned();
        tree(root)
            .iter()
            .map(name)
            .map(|name| (name.trim_end_matches('/').to_owned(), name.ends_with('/')))
            .collect()
    };
    let other = kinds(other);
    kinds(one).into_iter().any(|(name, is_folder)| other.get(&name).is_some_and(|it| *it != is_folder))
}

async fn there_and_back(before: Option<&Files>, source: &Files, delete: bool, packed: bool) {
    let bench = Bench::new();
    let (from, to) = (bench.root().join("from"), bench.root().join("to"));
    write(&from, source);
    if let Some(before) = before {
        write(&to, before);
    }
    if !delete && before.is_some() && clashes(&from, &to) {
        return;
    }
    let was = before.map(|_| tree(&to));
    let script = bench.run().await;
    let mut calls: Vec<(&str, Value)> = vec![("files.sync", json!({ "path": "to", "source": "from" }))];
    if packed {
        calls = vec![
            ("files.archive", json!({ "path": "packed.tar", "source": "from" })),
            ("files.extract", json!({ "path": "to", "archive": "packed.tar" })),
        ];
    }
    let (_, last) = calls.last_mut().unwrap();
    last["delete"] = delete.into();
    for (name, arguments) in &calls {
        script.done(name, arguments.clone()).await;
    }
    let (name, arguments) = calls.last().unwrap();
    assert_eq!(
        script.done(name, arguments.clone()).await["changed"],
        json!(false),
        "apply(diff(a → b)) is b"
    );
    if delete {
        assert_eq!(tree(&to), tree(&from));
    }
    for counter in (1..=calls.len()).rev() {
        script.done("runs.restore", json!({ "scope": "", "counter": counter })).await;
    }
    assert_eq!(to.exists().then(|| tree(&to)), was);
    assert!(!bench.root().join("packed.tar").exists());
}

/// One single file or folder, or nothing.
#[derive(Debug, Clone)]
enum Single {
    Nothing,
    File(String, u32),
    Folder(u32),
}

fn single() -> impl Strategy<Value = Single> {
    let mode = prop::sample::select(vec![0o644_u32, 0o600, 0o755, 0o700]);
    prop_oneof![
        Just(Single::Nothing),
        ("[a-z\n]{0,12}", mode.clone()).prop_map(|(content, mode)| Single::File(content, mode)),
        mode.prop_map(Single::Folder),
    ]
}

fn describe(path: &str, wanted: &Single) -> (&'static str, Value) {
    let octal = |mode: &u32| format!("{mode:04o}");
    match wanted {
        Single::Nothing => ("files.remove", json!({ "path": path })),
        Single::File(content, mode) => {
            ("files.write", json!({ "path": path, "content": content, "mode": octal(mode) }))
        }
        Single::Folder(mode) => ("files.directory", json!({ "path": path, "mode": octal(mode) })),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_is_brought_there_and_back(
        before in prop::option::weighted(0.8, files()),
        source in files(),
        delete: bool,
        packed: bool,
    ) {
        runtime().block_on(there_and_back(before.as_ref(), &source, delete, packed));
    }

    #[test]
    fn single_files_and_folders_are_brought_there_and_back(steps in prop::collection::vec(single(), 2..7)) {
        runtime().block_on(async {
            let bench = Bench::new();
            let script = bench.run().await;
            let mut seen = vec![tree(&bench.root())];
            let mut done = Vec::new();
            for (index, step) in steps.iter().enumerate() {
                let (name, arguments) = describe("it", step);
                // What is of another kind is refused, and then nothing has changed.
                if script.call(name, arguments.clone()).await.is_ok() {
                    let again = bench.run().await.done(name, arguments).await;
                    assert_eq!(again["changed"], json!(false));
                    done.push(index + 1);
                    seen.push(tree(&bench.root()));
                }
            }
            for counter in done.iter().rev() {
                assert_eq!(tree(&bench.root()), seen.pop().unwrap());
                script.done("runs.restore", json!({ "scope": "", "counter": counter })).await;
            }
            assert_eq!(tree(&bench.root()), seen.pop().unwrap());
        });
    }
}
