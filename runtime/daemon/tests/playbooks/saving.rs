//! Every way in which editors and tools save a file, by the calls that they make.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::symlink;

use effect::Code;

use crate::stage::{Kept, Stage, playbook};

/// A folder with one playbook that is loaded.
async fn loaded() -> (Stage, Kept) {
    let stage = Stage::new();
    stage.write("a.lua", &playbook("a", "first"));
    let kept = stage.keep().await;
    kept.until_text("a", "first").await;
    (stage, kept)
}

#[tokio::test]
async fn a_file_that_is_written_in_place_is_loaded() {
    let (stage, kept) = loaded().await;
    fs::write(stage.at("a.lua"), playbook("a", "second")).unwrap();
    let second = kept.until_text("a", "second").await;
    assert_eq!((second.number, second.file.clone()), (2, stage.at("a.lua")));
}

#[tokio::test]
async fn a_file_that_is_written_in_several_pieces_is_loaded_when_it_is_whole() {
    let (stage, kept) = loaded().await;
    let text = playbook("a", "second");
    let mut file = OpenOptions::new().write(true).truncate(true).open(stage.at("a.lua")).unwrap();
    for piece in text.as_bytes().chunks(7) {
        file.write_all(piece).unwrap();
        tokio::task::yield_now().await;
    }
    drop(file);
    kept.until_text("a", "second").await;
    kept.until_whole().await;
}

#[tokio::test]
async fn a_file_that_is_overwritten_and_then_cut_is_loaded() {
    let (stage, kept) = loaded().await;
    let text = playbook("a", "2");
    let mut file = OpenOptions::new().write(true).open(stage.at("a.lua")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let end = file.stream_position().unwrap();
    file.set_len(end).unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert_eq!(*kept.until_text("a", "-- 2\n").await.source, *text);
}

#[tokio::test]
async fn a_file_that_is_emptied_for_a_moment_is_not_taken_for_broken() {
    let (stage, kept) = loaded().await;
    let mut file = File::create(stage.at("a.lua")).unwrap();
    // Longer than it takes to settle.
    tokio::time::sleep(stage.settings.settle.0 * 4).await;
    file.write_all(playbook("a", "second").as_bytes()).unwrap();
    drop(file);
    kept.until_text("a", "second").await;
    assert_eq!(kept.told().await, 0);
}

#[tokio::test]
async fn a_file_that_another_is_renamed_over_is_loaded() {
    let (stage, kept) = loaded().await;
    fs::write(stage.at(".a.lua.new"), playbook("a", "second")).unwrap();
    fs::rename(stage.at(".a.lua.new"), stage.at("a.lua")).unwrap();
    kept.until_text("a", "second").await;
    // From another folder of the same file system, as a package manager does.
    fs::write(stage.beside("new"), playbook("a", "third")).unwrap();
    fs::rename(stage.beside("new"), stage.at("a.lua")).unwrap();
    kept.until_text("a", "third").await;
}

#[tokio::test]
async fn vims_way_leaves_one_playbook_and_no_error() {
    let (stage, kept) = loaded().await;
    for round in 0..5 {
        fs::write(stage.at(".a.lua.swp"), [0, 1, 2]).unwrap();
        // It tries whether files can be made here, keeps the old one, writes the new one, forgets the old one.
        File::create(stage.at("4913")).unwrap();
        fs::remove_file(stage.at("4913")).unwrap();
        fs::rename(stage.at("a.lua"), stage.at("a.lua~")).unwrap();
        let mut file = File::create(stage.at("a.lua")).unwrap();
        file.write_all(playbook("a", &format!("round {round}")).as_bytes()).unwrap();
        file.sync_all().unwrap();
        drop(file);
        fs::remove_file(stage.at("a.lua~")).unwrap();
        fs::remove_file(stage.at(".a.lua.swp")).unwrap();
        let playbook = kept.until_text("a", &format!("round {round}")).await;
        assert_eq!(playbook.number, round + 2);
    }
    kept.until_whole().await;
    assert_eq!((kept.names(), kept.told().await), (vec!["a".to_owned()], 0));
}

#[tokio::test]
async fn emacs_way_leaves_one_playbook_and_no_error() {
    let (stage, kept) = loaded().await;
    // Its lock is a link that leads nowhere, and what is not saved yet lies beside it.
    symlink("me@here.1234:5678", stage.at(".#a.lua")).unwrap();
    fs::write(stage.at("#a.lua#"), playbook("a", "not saved")).unwrap();
    fs::rename(stage.at("a.lua"), stage.at("a.lua~")).unwrap();
    fs::write(stage.at("a.lua"), playbook("a", "second")).unwrap();
    fs::remove_file(stage.at("#a.lua#")).unwrap();
    fs::remove_file(stage.at(".#a.lua")).unwrap();
    kept.until_text("a", "second").await;
    assert_eq!((kept.names(), kept.told().await), (vec!["a".to_owned()], 0));
}

#[tokio::test]
async fn kates_way_leaves_one_playbook_and_no_error() {
    let (stage, kept) = loaded().await;
    fs::write(stage.at(".a.lua.kate-swp"), "swap").unwrap();
    fs::write(stage.at("a.lua.hJk3Xz"), playbook("a", "second")).unwrap();
    fs::rename(stage.at("a.lua.hJk3Xz"), stage.at("a.lua")).unwrap();
    fs::remove_file(stage.at(".a.lua.kate-swp")).unwrap();
    kept.until_text("a", "second").await;
    assert_eq!((kept.names(), kept.told().await), (vec!["a".to_owned()], 0));
}

#[tokio::test]
async fn a_file_that_is_removed_and_made_again_is_loaded() {
    let (stage, kept) = loaded().await;
    fs::remove_file(stage.at("a.lua")).unwrap();
    fs::write(stage.at("a.lua"), playbook("a", "second")).unwrap();
    assert_eq!(kept.until_text("a", "second").await.number, 2);
}

#[tokio::test]
async fn a_file_that_is_removed_takes_its_playbook_out() {
    let (stage, kept) = loaded().await;
    fs::remove_file(stage.at("a.lua")).unwrap();
    kept.until("it is out", |table| table.playbooks.is_empty().then_some(())).await;
    kept.until_whole().await;
    assert_eq!(kept.shelf.history().versions("a").await.unwrap().len(), 1, "what it was stays known");
    // The same again is the same version.
    stage.write("a.lua", &playbook("a", "first"));
    assert_eq!(kept.until_text("a", "first").await.number, 1);
}

#[tokio::test]
async fn a_file_that_is_only_touched_stays_the_version_that_it_is() {
    let (stage, kept) = loaded().await;
    fs::write(stage.at("a.lua"), playbook("a", "first")).unwrap();
    stage.write("b.lua", &playbook("b", "first"));
    kept.until_text("b", "first").await;
    assert_eq!(kept.until_text("a", "first").await.number, 1);
    assert_eq!(kept.shelf.history().versions("a").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_link_is_followed_to_wherever_it_leads() {
    let (stage, kept) = loaded().await;
    fs::create_dir(stage.beside("elsewhere")).unwrap();
    let target = stage.beside("elsewhere/real.lua");
    fs::write(&target, playbook("linked", "first")).unwrap();
    symlink(&target, stage.at("linked.lua")).unwrap();
    kept.until_text("linked", "first").await;
    // What it leads to changes, far from the folder.
    fs::write(&target, playbook("linked", "second")).unwrap();
    kept.until_text("linked", "second").await;
    // It leads somewhere else from now on.
    let other = stage.beside("elsewhere/other.lua");
    fs::write(&other, playbook("linked", "third")).unwrap();
    symlink(&other, stage.at(".new")).unwrap();
    fs::rename(stage.at(".new"), stage.at("linked.lua")).unwrap();
    kept.until_text("linked", "third").await;
    // It leads nowhere: what was good last stays.
    fs::remove_file(&other).unwrap();
    let broken = kept.until_broken(&stage.at("linked.lua"), Code::Unreadable).await;
    assert_eq!(broken.playbook.as_deref(), Some("linked"));
    kept.until_text("linked", "third").await;
    fs::write(&other, playbook("linked", "fourth")).unwrap();
    kept.until_text("linked", "fourth").await;
    kept.until_whole().await;
}

#[tokio::test]
async fn a_folder_of_kubernetes_changes_as_a_whole() {
    let stage = Stage::new();
    let publish = |number: u32| {
        let data = format!("..2026_{number}");
        stage.write(&format!("{data}/a.lua"), &playbook("a", &format!("release {number}")));
        stage.write(&format!("{data}/b.lua"), &playbook("b", &format!("release {number}")));
        symlink(&data, stage.at("..data_tmp")).unwrap();
        fs::rename(stage.at("..data_tmp"), stage.at("..data")).unwrap();
        if number > 1 {
            fs::remove_dir_all(stage.at(&format!("..2026_{}", number - 1))).unwrap();
        }
    };
    publish(1);
    for name in ["a.lua", "b.lua"] {
        symlink(format!("..data/{name}"), stage.at(name)).unwrap();
    }
    let kept = stage.keep().await;
    kept.until_text("a", "release 1").await;
    for number in 2..6 {
        publish(number);
        let says = format!("release {number}");
        kept.until("both are new", |table| {
            let new = table.playbooks.values().filter(|playbook| playbook.source.contains(&says)).count();
            assert!(new == 0 || new == 2, "one without the other");
            (new == 2).then_some(())
        })
        .await;
    }
    kept.until_whole().await;
}

#[tokio::test]
async fn what_is_no_regular_file_holds_nobody_up() {
    let (stage, kept) = loaded().await;
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, stage.at("pipe.lua"), fifo, mode, 0).unwrap();
    fs::create_dir(stage.at("folder.lua")).unwrap();
    let broken = kept.until_broken(&stage.at("pipe.lua"), Code::Unreadable).await;
    assert_eq!(broken.playbook, None);
    stage.write("b.lua", &playbook("b", "first"));
    kept.until_text("b", "first").await;
}
