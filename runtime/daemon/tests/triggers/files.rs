//! Files that change start playbooks: once for what belongs together, however an editor saves them, also while nobody
//! watches.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::playbooks::{CatchUp, Definition, OnFile, Overlap, Trigger};
use daemon::triggers::files::Files;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::stage::{MINUTE, NODE, Stage, playbook, until};

fn on(path: PathBuf) -> Stage {
    Stage::with(vec![following("p", path)])
}

fn following(name: &str, path: PathBuf) -> Definition {
    let trigger = Trigger::File(OnFile { path, settle: Duration::from_millis(100) });
    playbook(name, vec![trigger], Overlap::Queue, CatchUp::Once)
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
    until("the file that is gone was told of", || async {
        // The one before may still be under way: it was told of in the moment in which it was looked.
        stage.finish("p").await;
        stage.runs_of("p").await.len() > runs
    })
    .await;
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

/// Writes one file after the other, and waits each time until the playbook was told of it.
async fn each_is_told_of(stage: &Stage, known: &mut Vec<PathBuf>, files: &[PathBuf]) {
    for file in files {
        fs::write(file, "x").unwrap();
        known.push(file.clone());
        told(stage, &known.iter().map(PathBuf::as_path).collect::<Vec<_>>()).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_made_anew_is_watched_like_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("conf");
    // The folder that files are in, and the folder that is itself what is followed.
    for path in [conf.join("*.toml"), conf.clone()] {
        fs::create_dir(&conf).unwrap();
        let stage = on(path);
        let watched = Watched::begin(&stage).await;
        let mut known = Vec::new();
        for round in 0..3 {
            // Where the file system has it so, the new one is of the old one's number.
            fs::remove_dir_all(&conf).unwrap();
            fs::create_dir(&conf).unwrap();
            let files = ["one", "two"].map(|name| conf.join(format!("{name}-{round}.toml")));
            each_is_told_of(&stage, &mut known, &files).await;
        }
        watched.end().await;
        fs::remove_dir_all(&conf).unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_is_moved_away_and_back_is_still_watched() {
    let folder = tempfile::tempdir().unwrap();
    let (conf, away) = (folder.path().join("conf"), folder.path().join("away"));
    fs::create_dir(&conf).unwrap();
    let stage = on(conf.clone());
    let watched = Watched::begin(&stage).await;
    let mut known = Vec::new();
    each_is_told_of(&stage, &mut known, &[conf.join("one")]).await;
    fs::rename(&conf, &away).unwrap();
    fs::rename(&away, &conf).unwrap();
    each_is_told_of(&stage, &mut known, &[conf.join("two"), conf.join("three")]).await;
    watched.end().await;
}

#[tokio::test]
async fn a_folder_by_a_link_is_followed_to_wherever_the_link_leads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (release, file) in [("rel1", "rel1/one.toml"), ("rel2", "rel2/two.toml")] {
        fs::create_dir(at(release)).unwrap();
        fs::write(at(file), "x").unwrap();
    }
    std::os::unix::fs::symlink("rel1", at("current")).unwrap();
    let stage = on(at("current/*.toml"));
    let watched = Watched::begin(&stage).await;
    let mut known = Vec::new();
    each_is_told_of(&stage, &mut known, &[at("current/more.toml")]).await;
    std::os::unix::fs::symlink("rel2", at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    known.extend([at("current/one.toml"), at("current/two.toml")]);
    told(&stage, &known.iter().map(PathBuf::as_path).collect::<Vec<_>>()).await;
    each_is_told_of(&stage, &mut known, &[at("current/three.toml")]).await;
    watched.end().await;
}

#[tokio::test]
async fn what_changes_after_a_flood_of_others_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let (noise, quiet) = (folder.path().join("noise"), folder.path().join("quiet"));
    fs::create_dir(&noise).unwrap();
    fs::create_dir(&quiet).unwrap();
    let stage = Stage::with(vec![following("noisy", noise.clone()), following("p", quiet.join("*.toml"))]);
    let watched = Watched::begin(&stage).await;
    let mut known = Vec::new();
    each_is_told_of(&stage, &mut known, &[quiet.join("one.toml")]).await;
    // Nobody else gets a turn until the test waits: more is heard than anybody keeps.
    for number in 0..4000 {
        fs::write(noise.join(number.to_string()), "x").unwrap();
    }
    each_is_told_of(&stage, &mut known, &[quiet.join("two.toml")]).await;
    watched.end().await;
}

#[tokio::test]
async fn what_nobody_tells_of_is_seen_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    let (conf, other) = (folder.path().join("conf"), folder.path().join("other"));
    fs::create_dir(&conf).unwrap();
    fs::create_dir(&other).unwrap();
    let file = conf.join("app.toml");
    fs::write(&file, "a = 1").unwrap();
    fs::hard_link(&file, other.join("app.toml")).unwrap();
    let stage = on(conf.join("*.toml"));
    let watched = Watched::begin(&stage).await;
    let mut known = Vec::new();
    each_is_told_of(&stage, &mut known, &[conf.join("other.toml")]).await;
    // The folder that is watched does not hear of what is written by the other name.
    fs::write(other.join("app.toml"), "a = 22").unwrap();
    tokio::time::pause();
    tokio::time::advance(MINUTE * 2).await;
    tokio::time::resume();
    told(&stage, &[&file, &known[0]]).await;
    watched.end().await;
}
