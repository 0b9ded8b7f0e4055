//! Modules: what they change changes with them.

use std::fs;

use effect::Code;

use crate::stage::{Stage, playbook, requiring};

#[tokio::test]
async fn a_change_of_a_module_reloads_every_playbook_that_requires_it() {
    let stage = Stage::new();
    stage.write("lib/fleet.luau", "return 1");
    stage.write("lib/deep.luau", "require(\"./lib/fleet\")\nreturn 2");
    stage.write("a.lua", &requiring("a", "./lib/fleet"));
    stage.write("b.lua", &requiring("b", "./lib/deep"));
    stage.write("c.lua", &playbook("c", "alone"));
    let kept = stage.keep().await;
    stage.write("lib/fleet.luau", "return 3");
    kept.until("both are new", |table| {
        let new = |name: &str| {
            let playbook = table.playbooks.get(name)?;
            (playbook.number == 2 && &*playbook.modules["lib/fleet.luau"] == "return 3").then_some(())
        };
        let (a, b) = (new("a"), new("b"));
        assert_eq!(a, b, "they change together");
        a
    })
    .await;
    assert_eq!(kept.shelf.table().borrow().playbooks["c"].number, 1);
}

#[tokio::test]
async fn a_broken_module_keeps_the_version_that_was_good_last() {
    let stage = Stage::new();
    stage.write("lib/fleet.luau", "return 1");
    stage.write("a.lua", &requiring("a", "./lib/fleet"));
    let kept = stage.keep().await;
    stage.write("lib/fleet.luau", "return ((");
    let broken = kept.until_broken(&stage.at("a.lua"), Code::Syntax).await;
    assert_eq!(broken.playbook.as_deref(), Some("a"));
    let active = kept.until_text("a", "with a module").await;
    assert_eq!((active.number, &*active.modules["lib/fleet.luau"]), (1, "return 1"));
    stage.write("lib/fleet.luau", "return 2");
    kept.until_whole().await;
    assert_eq!(&*kept.until_text("a", "with a module").await.modules["lib/fleet.luau"], "return 2");
}

#[tokio::test]
async fn a_module_that_appears_mends_what_lacked_it() {
    let stage = Stage::new();
    stage.write("a.lua", &requiring("a", "./lib/later"));
    let kept = stage.keep().await;
    kept.until_broken(&stage.at("a.lua"), Code::ModuleNotFound).await;
    stage.write("lib/later.luau", "return 1");
    kept.until_whole().await;
    kept.until_text("a", "with a module").await;
}

#[tokio::test]
async fn a_file_that_comes_before_a_module_takes_its_place() {
    let stage = Stage::new();
    stage.write("lib/fleet.lua", "return 1");
    stage.write("a.lua", &requiring("a", "./lib/fleet"));
    let kept = stage.keep().await;
    stage.write("lib/fleet.luau", "return 2");
    kept.until("it is meant", |table| {
        table.playbooks.get("a")?.modules.contains_key("lib/fleet.luau").then_some(())
    })
    .await;
    fs::remove_file(stage.at("lib/fleet.luau")).unwrap();
    kept.until("the other is meant again", |table| {
        table.playbooks.get("a")?.modules.contains_key("lib/fleet.lua").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_module_beside_the_playbooks_is_no_broken_playbook() {
    let stage = Stage::new();
    stage.write("util.luau", "return {}");
    stage.write("a.lua", &requiring("a", "./util"));
    let kept = stage.keep().await;
    kept.until_whole().await;
    // Nobody requires this one, so it is a playbook that somebody forgot to return.
    stage.write("lost.lua", "local lost = 1");
    kept.until_broken(&stage.at("lost.lua"), Code::Syntax).await;
}
