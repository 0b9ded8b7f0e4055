//! What is kept: over errors, over restarts, over full disks, and for how long.

use std::fs;
use std::io;
use std::sync::atomic::Ordering;

use effect::Code;

use crate::stage::{Stage, playbook, requiring};

#[tokio::test]
async fn a_broken_file_keeps_the_version_that_was_good_last_over_restarts() {
    let stage = Stage::new();
    stage.write("lib/x.luau", "return 1");
    stage.write("a.lua", &requiring("a", "./lib/x"));
    let kept = stage.keep().await;
    stage.write("a.lua", "return playbook {\n    name = ((\n}\n");
    let broken = kept.until_broken(&stage.at("a.lua"), Code::Syntax).await;
    assert_eq!((broken.playbook.as_deref(), broken.line), (Some("a"), Some(2)));
    let good = kept.until_text("a", "with a module").await;
    kept.stop().await;
    fs::remove_file(stage.at("lib/x.luau")).unwrap();
    for _ in 0..2 {
        let kept = stage.keep().await;
        let again = kept.until_broken(&stage.at("a.lua"), Code::Syntax).await;
        assert_eq!((again.since, again.line), (broken.since, broken.line));
        assert_eq!(kept.until_text("a", "with a module").await, good);
        assert_eq!(kept.told().await, 1, "it is told once, not at every start");
        kept.stop().await;
    }
    let kept = stage.keep().await;
    stage.write("a.lua", &playbook("a", "mended"));
    assert_eq!(kept.until_text("a", "mended").await.number, 2);
    kept.until_whole().await;
    stage.write("a.lua", "return playbook { ((");
    kept.until_broken(&stage.at("a.lua"), Code::Syntax).await;
    stage.write("a.lua", "return playbook { (((");
    let told = async {
        while kept.told().await < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), told).await.expect("each change is told of");
}

#[tokio::test]
async fn what_has_not_changed_is_not_read_again_at_the_next_start() {
    let mut stage = Stage::new();
    stage.write("lib/x.luau", "return 1");
    stage.write("a.lua", &requiring("a", "./lib/x"));
    stage.write("b.lua", &playbook("b", "first"));
    stage.keep().await.stop().await;
    let reads = || stage.reader.reads.load(Ordering::Relaxed);
    assert_eq!(reads(), 2);
    let kept = stage.keep().await;
    assert_eq!((kept.names(), reads()), (vec!["a".to_owned(), "b".to_owned()], 2));
    kept.stop().await;
    // A module that changed meanwhile is noticed.
    stage.write("lib/x.luau", "return 2");
    let kept = stage.keep().await;
    assert_eq!((kept.until_text("a", "with").await.number, reads()), (2, 3));
    kept.stop().await;
    // Another program may read the same otherwise.
    stage.program = "two".to_owned();
    let kept = stage.keep().await;
    assert_eq!(stage.reader.reads.load(Ordering::Relaxed), 5);
    assert_eq!(kept.until_text("a", "with").await.number, 2, "it is the same version");
}

#[tokio::test]
async fn what_was_removed_while_nobody_looked_is_out_at_the_next_start() {
    let stage = Stage::new();
    stage.write("a.lua", &playbook("a", "first"));
    stage.write("b.lua", &playbook("b", "first"));
    stage.keep().await.stop().await;
    fs::remove_file(stage.at("a.lua")).unwrap();
    let kept = stage.keep_without_waiting().await;
    // Not even for a moment: a trigger of it would go off.
    kept.until("b is loaded", |table| {
        assert!(!table.playbooks.contains_key("a"));
        table.playbooks.contains_key("b").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_leaves_the_old_version_and_is_tried_again() {
    let stage = Stage::new();
    fs::create_dir(stage.beside("state")).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("mcrun-test", stage.beside("state"), "tmpfs", flags, Some(c"size=1m"))
        .expect("this test mounts a small file system: run it as root");
    let small = Small(stage.beside("state"));
    stage.write("a.lua", &playbook("a", "first"));
    let kept = stage.keep().await;
    kept.until_text("a", "first").await;
    let junk = small.0.join("junk");
    io::copy(&mut io::repeat(0), &mut fs::File::create(&junk).unwrap()).expect_err("the file system is full");
    let long = "x".repeat(100_000);
    stage.write("a.lua", &playbook("a", &format!("second {long}")));
    let broken = kept.until_broken(&stage.at("a.lua"), Code::PlaybookNotKept).await;
    assert_eq!(broken.playbook.as_deref(), Some("a"));
    assert!(broken.error.cause.as_ref().is_some_and(|cause| cause.contains("MC-J006")), "{:?}", broken.error);
    kept.until_text("a", "first").await;
    fs::remove_file(junk).unwrap();
    assert_eq!(kept.until_text("a", "second").await.number, 2);
    kept.until_whole().await;
    kept.stop().await;
}

/// A file system that is gone with the test.
struct Small(std::path::PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        // A failed test must not fail again here; the file system goes with its last user.
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn the_newest_versions_are_kept_with_their_sources() {
    let mut stage = Stage::new();
    stage.settings.versions = 3;
    stage.write("lib/x.luau", "return 1");
    let text = |round: u64| format!("-- round {round}\n{}", requiring("a", "./lib/x"));
    stage.write("a.lua", &text(1));
    let kept = stage.keep().await;
    for round in 2..=6 {
        stage.write("a.lua", &text(round));
        assert_eq!(kept.until_text("a", &format!("round {round}\n")).await.number, round);
    }
    let history = kept.shelf.history().clone();
    let pruned = async {
        while history.versions("a").await.unwrap().len() > 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), pruned).await.expect("the oldest are taken out");
    let numbers: Vec<u64> =
        history.versions("a").await.unwrap().iter().map(|version| version.number).collect();
    assert_eq!(numbers, [6, 5, 4]);
    let fourth = history.version("a", Some(4)).await.unwrap();
    let sources = history.sources(&fourth).await.unwrap();
    assert_eq!(sources[0], ("a.lua".to_owned(), text(4)));
    assert_eq!(sources[1], ("lib/x.luau".to_owned(), "return 1".to_owned()));
    let sources = kept.journal.records("playbook-source", None).await.unwrap();
    assert_eq!(sources.len(), 4, "three texts of the playbook and one of its module");
    assert_eq!(history.version("a", Some(1)).await.unwrap_err().code, Code::PlaybookVersion);
    assert_eq!(history.versions("b").await.unwrap_err().code, Code::PlaybookUnknown);
}
