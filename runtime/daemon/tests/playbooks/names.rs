//! Names: two files of one, and files that change theirs.

use std::fs;

use effect::Code;

use crate::stage::{Stage, playbook};

#[tokio::test]
async fn of_two_files_of_one_name_the_first_stays() {
    let stage = Stage::new();
    stage.write("b.lua", &playbook("same", "first"));
    let kept = stage.keep().await;
    stage.write("a.lua", &playbook("same", "second"));
    let broken = kept.until_broken(&stage.at("a.lua"), Code::PlaybookTwice).await;
    for name in ["a.lua", "b.lua", "`same`"] {
        assert!(broken.error.message.contains(name), "{}", broken.error);
    }
    kept.until_text("same", "first").await;
    // Another start makes no difference, although the other comes first by its name.
    kept.stop().await;
    let kept = stage.keep().await;
    kept.until_broken(&stage.at("a.lua"), Code::PlaybookTwice).await;
    kept.until_text("same", "first").await;
    assert_eq!(kept.told().await, 1, "it is told once");
    // Once the first is gone, the second is what it says it is.
    fs::remove_file(stage.at("b.lua")).unwrap();
    kept.until_text("same", "second").await;
    kept.until_whole().await;
}

#[tokio::test]
async fn a_file_that_changes_its_name_leaves_the_old_one() {
    let stage = Stage::new();
    stage.write("a.lua", &playbook("old", "first"));
    let kept = stage.keep().await;
    stage.write("a.lua", &playbook("new", "second"));
    kept.until_text("new", "second").await;
    assert_eq!(kept.names(), ["new"]);
}

#[tokio::test]
async fn two_files_swap_their_names_at_once() {
    let stage = Stage::new();
    stage.write("a.lua", &playbook("x", "of a"));
    stage.write("b.lua", &playbook("y", "of b"));
    let kept = stage.keep().await;
    // Both are in place before anybody looks.
    stage.write(".a", &playbook("y", "of a"));
    stage.write(".b", &playbook("x", "of b"));
    fs::rename(stage.at(".a"), stage.at("a.lua")).unwrap();
    fs::rename(stage.at(".b"), stage.at("b.lua")).unwrap();
    kept.until_text("x", "of b").await;
    kept.until_text("y", "of a").await;
    kept.until_whole().await;
}

#[tokio::test]
async fn a_file_that_moves_to_another_folder_stays_the_same_version() {
    let mut stage = Stage::new();
    fs::create_dir(stage.beside("other")).unwrap();
    stage.settings.folders.push(stage.beside("other"));
    stage.write("a.lua", &playbook("a", "first"));
    let kept = stage.keep().await;
    let before = kept.until_text("a", "first").await;
    let to = stage.beside("other/a.lua");
    fs::rename(stage.at("a.lua"), &to).unwrap();
    let moved = kept
        .until("it has moved", |table| {
            let playbook = table.playbooks.get("a").expect("it is there all the time");
            (playbook.file == to).then(|| playbook.clone())
        })
        .await;
    assert_eq!((moved.number, moved.loaded), (1, before.loaded));
    kept.until_whole().await;
}
