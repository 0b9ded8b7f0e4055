//! Folders: gone, back, full, and where nothing is heard.

use std::fs;
use std::sync::atomic::Ordering;

use effect::Code;
use effect::units::Span;

use crate::stage::{Stage, playbook};

#[tokio::test]
async fn what_lies_in_a_folder_at_the_start_is_loaded() {
    let stage = Stage::new();
    for number in 0..1000 {
        stage.write(&format!("{number}.lua"), &playbook(&format!("p{number}"), "first"));
    }
    let kept = stage.keep().await;
    assert_eq!(kept.names().len(), 1000);
    assert_eq!(stage.reader.reads.load(Ordering::Relaxed), 1000);
}

#[tokio::test]
async fn a_thousand_files_that_come_at_once_are_all_loaded() {
    let stage = Stage::new();
    let kept = stage.keep().await;
    assert_eq!(kept.names().len(), 0);
    for number in 0..1000 {
        stage.write(&format!("{number}.lua"), &playbook(&format!("p{number}"), "first"));
    }
    kept.until("all are there", |table| (table.playbooks.len() == 1000).then_some(())).await;
    for number in 0..1000 {
        stage.write(&format!("{number}.lua"), &playbook(&format!("p{number}"), "second"));
    }
    kept.until("all are new", |table| {
        table.playbooks.values().all(|playbook| playbook.source.contains("second")).then_some(())
    })
    .await;
    kept.until_whole().await;
    fs::remove_dir_all(stage.folder()).unwrap();
    fs::create_dir(stage.folder()).unwrap();
    kept.until("all are gone", |table| table.playbooks.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_folder_that_vanishes_leaves_what_was_loaded_and_comes_back_by_itself() {
    let stage = Stage::new();
    stage.write("a.lua", &playbook("a", "first"));
    let kept = stage.keep().await;
    fs::rename(stage.folder(), stage.beside("away")).unwrap();
    let broken = kept.until_broken(&stage.folder(), Code::PlaybookFolder).await;
    assert!(broken.error.message.contains("playbooks"), "{}", broken.error);
    kept.until_text("a", "first").await;
    // Nothing of another start either.
    kept.stop().await;
    let kept = stage.keep().await;
    kept.until_broken(&stage.folder(), Code::PlaybookFolder).await;
    kept.until_text("a", "first").await;
    fs::rename(stage.beside("away"), stage.folder()).unwrap();
    kept.until_whole().await;
    stage.write("a.lua", &playbook("a", "second"));
    kept.until_text("a", "second").await;
}

#[tokio::test]
async fn a_folder_that_is_made_anew_is_watched_like_the_old_one() {
    let stage = Stage::new();
    stage.write("a.lua", &playbook("a", "first"));
    stage.write("lib/x.luau", "return 1");
    let kept = stage.keep().await;
    for round in 0..3 {
        fs::remove_dir_all(stage.folder()).unwrap();
        stage.write("a.lua", &playbook("a", &format!("round {round}")));
        kept.until_text("a", &format!("round {round}")).await;
        stage.write("a.lua", &playbook("a", &format!("again {round}")));
        kept.until_text("a", &format!("again {round}")).await;
    }
    kept.until_whole().await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_yet_is_awaited() {
    let mut stage = Stage::new();
    let folder = stage.beside("some/where/later");
    stage.settings.folders = vec![folder.clone()];
    let kept = stage.keep().await;
    kept.until_broken(&folder, Code::PlaybookFolder).await;
    fs::create_dir_all(&folder).unwrap();
    kept.until_whole().await;
    fs::write(folder.join("a.lua"), playbook("a", "first")).unwrap();
    kept.until_text("a", "first").await;
}

#[tokio::test]
async fn a_folder_by_a_link_follows_the_link() {
    let mut stage = Stage::new();
    stage.write("a.lua", &playbook("a", "first"));
    fs::create_dir(stage.beside("second")).unwrap();
    fs::write(stage.beside("second/a.lua"), playbook("a", "second")).unwrap();
    let link = stage.beside("current");
    std::os::unix::fs::symlink("playbooks", &link).unwrap();
    stage.settings.folders = vec![link.clone()];
    let kept = stage.keep().await;
    kept.until_text("a", "first").await;
    std::os::unix::fs::symlink("second", stage.beside("next")).unwrap();
    fs::rename(stage.beside("next"), &link).unwrap();
    kept.until_text("a", "second").await;
    fs::write(stage.beside("second/a.lua"), playbook("a", "third")).unwrap();
    kept.until_text("a", "third").await;
}

#[tokio::test]
async fn a_change_that_nobody_tells_of_is_seen_by_looking() {
    let mut stage = Stage::new();
    stage.settings.poll = Span::seconds(1);
    let first = playbook("a", "first");
    stage.write("a.lua", &first);
    let kept = stage.keep().await;
    // A mapped file changes without a word: notifications know writes only.
    let file = fs::OpenOptions::new().read(true).write(true).open(stage.at("a.lua")).unwrap();
    let at = first.find("first").unwrap();
    // SAFETY: the mapping is as long as the file, which nobody cuts, and is gone with its last use.
    unsafe {
        use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
        let map = mmap(
            std::ptr::null_mut(),
            first.len(),
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &file,
            0,
        )
        .unwrap();
        std::slice::from_raw_parts_mut(map.cast::<u8>(), first.len())[at..at + 5].copy_from_slice(b"FIRST");
        msync(map, first.len(), MsyncFlags::SYNC).unwrap();
        munmap(map, first.len()).unwrap();
    }
    kept.until_text("a", "FIRST").await;
}

#[tokio::test]
async fn a_file_that_takes_long_to_read_holds_no_other_up() {
    let stage = Stage::new();
    let kept = stage.keep().await;
    stage.reader.held.send_replace(Some("slow"));
    stage.write("slow.lua", &playbook("slow", "slow"));
    kept.until_whole().await;
    stage.write("a.lua", &playbook("a", "first"));
    kept.until_text("a", "first").await;
    stage.write("a.lua", &playbook("a", "second"));
    kept.until_text("a", "second").await;
    assert_eq!(kept.names(), ["a"]);
    stage.reader.held.send_replace(None);
    kept.until_text("slow", "slow").await;
}
