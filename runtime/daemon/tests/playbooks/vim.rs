//! Real editors, as Debian has them.
#![expect(clippy::disallowed_methods, reason = "the test starts the editors")]

use std::path::Path;
use std::process::{Command, Stdio};

use crate::stage::{Stage, playbook};

fn run(program: &str, words: &[&str], folder: &Path) {
    let mut command = Command::new(program);
    command.args(words).current_dir(folder).env("HOME", folder.parent().unwrap()).env("TERM", "dumb");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().unwrap_or_else(|error| panic!("{program}: {error}: see tests/install.sh"));
    assert!(status.success(), "{program} {words:?}: {status}");
}

#[tokio::test]
async fn what_vim_saves_is_loaded() {
    let stage = Stage::new();
    stage.write("a.lua", &playbook("a", "first"));
    let kept = stage.keep().await;
    let ways: [(&str, &[&str]); 4] = [
        ("one", &[]),
        ("two", &["-c", "set backup"]),
        ("three", &["-c", "set backupcopy=yes"]),
        ("four", &["-c", "set backupcopy=no", "-c", "set writebackup"]),
    ];
    for (round, (word, settings)) in ways.iter().enumerate() {
        let change = format!("%s/^-- .*$/-- {word}/");
        let words = [&["-u", "NONE", "-e", "-s"], *settings, &["-c", &change, "-c", "wq", "a.lua"]].concat();
        run("vim.tiny", &words, &stage.folder());
        let playbook = kept.until_text("a", &format!("-- {word}\n")).await;
        assert_eq!(playbook.number, round as u64 + 2);
    }
    kept.until_whole().await;
    assert_eq!((kept.names(), kept.told().await), (vec!["a".to_owned()], 0));
}

#[tokio::test]
async fn what_sed_and_friends_save_is_loaded() {
    let stage = Stage::new();
    stage.write("a.lua", &playbook("a", "first"));
    let kept = stage.keep().await;
    run("sed", &["-i", "s/first/second/", "a.lua"], &stage.folder());
    kept.until_text("a", "second").await;
    run("sed", &["-i.bak", "s/second/third/", "a.lua"], &stage.folder());
    kept.until_text("a", "third").await;
    std::fs::write(stage.beside("new.lua"), playbook("a", "fourth")).unwrap();
    run("install", &["-m", "0644", "../new.lua", "a.lua"], &stage.folder());
    kept.until_text("a", "fourth").await;
    run("cp", &["a.lua", "../new.lua"], &stage.folder());
    run("sed", &["-i", "s/fourth/fifth/", "../new.lua"], &stage.folder());
    run("mv", &["../new.lua", "a.lua"], &stage.folder());
    kept.until_text("a", "fifth").await;
    kept.until_whole().await;
    assert_eq!((kept.names(), kept.told().await), (vec!["a".to_owned()], 0));
}
