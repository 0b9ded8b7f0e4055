//! Files that change start playbooks: once for what belongs together, however an editor saves them, also while nobody
//! watches.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::playbooks::{CatchUp, OnFile, Overlap, Trigger};
use daemon::triggers::files::Files;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::stage::{NODE, Stage, playbook, until};

fn on(path: PathBuf) -> Stage {
    let trigger = Trigger::File(OnFile { path, settle: Duration::from_millis(100) });
    Stage::with(vec![playbook("p", vec![trigger], Overlap::Queue, CatchUp::Once)])
}

struct Watched {
    end: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Watched {
    /// Watches, from when the files as they are now are known.
    async fn begin(stage: &Stage) -> Self {
        let engine = stage.engine().await;
        let (end, ending) = watch::channel(false);
        let files = Files::new(stage.journal.clone(), NODE.into(), stage.table.subscribe(), engine.inbox());
        let tasks = vec![tokio::spawn(engine.run(ending.clone())), tokio::spawn(files.run(ending))];
        until("what files are is recorded", || async {
            !stage.journal.records("trigger-files", None).await.unwrap().is_empty()
        })
        .await;
        Self { end, tasks }
    }

    async fn end(self) {
        self.end.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// Waits until every one of `paths` was told of, in one go or in several.
async fn told(stage: &Stage, paths: &[&Path]) {
    let expected: BTreeSet<String> = paths.iter().map(|path| path.display().to_string()).collect();
    until("the playbook was told of what changed", || async {
        stage.finish("p").await;
        let mut found = BTreeSet::new();
        for told in stage.told("p").await {
            assert_eq!(told["kind"], "file");
            found.extend(
                told["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned()),
            );
        }
        assert!(found.is_subset(&expected), "{found:?} are more than {expected:?}");
        found == expected
    })
    .await;
}

#[tokio::test]
async fn a_file_is_told_of_however_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.toml");
    fs::write(&file, "a = 1").unwrap();
    let stage = on(file.clone());
    let watched = Watched::begin(&stage).await;
    type Save = fn(&Path);
    let saves: &[Save] = &[
        |file| fs::write(file, "a = 22").unwrap(),
        |file| {
            let beside = file.with_extension("new");
            fs::write(&beside, "a = 333").unwrap();
            fs::rename(beside, file).unwrap();
        },
        |file| {
            fs::rename(file, file.with_extension("old")).unwrap();
            fs::write(file, "a = 4444").unwrap();
        },
        |file| fs::remove_file(file).unwrap(),
        |file| {
            fs::write(file.with_extension("real"), "a = 55555").unwrap();
            std::os::unix::fs::symlink(file.with_extension("real"), file).unwrap();
        },
    ];
    for (count, save) in saves.iter().enumerate() {
        save(&file);
        until("a save was told of", || async {
            stage.finish("p").await;
            stage.runs_of("p").await.len() > count
        })
        .await;
    }
    told(&stage, &[&file]).await;
    watched.end().await;
}

#[tokio::test]
async fn a_pattern_is_for_files_of_these_names_and_a_folder_for_what_lies_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let stage = on(folder.path().join("*.toml"));
    let watched = Watched::begin(&stage).await;
    let (one, other, no) =
        (folder.path().join("a.toml"), folder.path().join("b.toml"), folder.path().join("c.txt"));
    for file in [&no, &one, &other] {
        fs::write(file, "x").unwrap();
    }
    told(&stage, &[&one, &other]).await;
    watched.end().await;

    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("conf/deep");
    let stage = on(folder.path().join("conf"));
    // The folder is not there yet.
    let watched = Watched::begin(&stage).await;
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("one"), "x").unwrap();
    told(&stage, &[&deep.join("one")]).await;
    // It is taken away and made again.
    fs::rename(folder.path().join("conf"), folder.path().join("gone")).unwrap();
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("two"), "x").unwrap();
    told(&stage, &[&deep.join("one"), &deep.join("two")]).await;
    watched.end().await;
}

#[tokio::test]
async fn what_changes_while_nobody_watches_is_told_of_at_the_next_start_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.toml");
    fs::write(&file, "a = 1").unwrap();
    let stage = on(file.clone());
    Watched::begin(&stage).await.end().await;
    fs::write(&file, "a = 22").unwrap();
    let watched = Watched::begin(&stage).await;
    told(&stage, &[&file]).await;
    watched.end().await;
    let runs = stage.runs_of("p").await.len();
    // Nothing has changed since: what is told next is what changes next.
    let watched = Watched::begin(&stage).await;
    fs::remove_file(&file).unwrap();
    until("the file that is gone was told of", || async { stage.runs_of("p").await.len() > runs }).await;
    assert_eq!(stage.runs_of("p").await.len(), runs + 1);
    watched.end().await;
}

#[tokio::test]
async fn a_thousand_files_at_once_start_it_a_few_times_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let stage = on(folder.path().to_owned());
    let watched = Watched::begin(&stage).await;
    let files: Vec<PathBuf> = (0..1000).map(|number| folder.path().join(format!("{number}.conf"))).collect();
    for file in &files {
        fs::write(file, "x").unwrap();
    }
    told(&stage, &files.iter().map(PathBuf::as_path).collect::<Vec<_>>()).await;
    // Each is a time of its own to settle, at least.
    assert!(stage.runs_of("p").await.len() < 100);
    watched.end().await;
}
