//! `containers.ensure`: what it needs, and what it finds out before the old container is gone.

use std::os::unix::fs::symlink;

use containers::State;
use effect::{Access, Action, Code, Declared as _, Ensure as _, Mode};
use serde_json::{Value, json};

use crate::bench::{Bench, NAME, may_run, sleeping};

fn needs(bench: &Bench, more: Value) -> Vec<String> {
    sleeping(more).needs(&bench.world).unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn a_probe_beside_a_native_program_needs_exec() {
    let needs = needs(&Bench::new(), json!({ "health": { "exec": ["/bin/cat", "/etc/hostname"] } }));
    assert!(needs.contains(&may_run("/bin/cat")), "{needs:?}");
}

#[test]
fn another_user_is_granted_by_the_containers_name() {
    let needs = sleeping(json!({ "user": "nobody" })).needs(&Bench::new().world).unwrap();
    let users = needs.iter().find(|need| need.access == Access::Extra("users")).unwrap();
    assert_eq!(users.name, NAME);
}

#[tokio::test]
async fn a_link_that_was_bent_after_the_check_is_refused() {
    let bench = Bench::new();
    let (good, evil, link) = (bench.path("good"), bench.path("evil"), bench.path("link"));
    std::fs::create_dir(&good).unwrap();
    std::fs::create_dir(&evil).unwrap();
    symlink(&good, &link).unwrap();
    let files = format!("files:write:{}/**", good.display());
    let context = bench.run(&["containers", "exec", &files]);
    let mount = format!("{0}:{0}", link.display());
    let ensure = sleeping(json!({ "volumes": [mount] }));
    let (before, change) = bench.change(&context, &ensure).await.unwrap();
    std::fs::remove_file(&link).unwrap();
    symlink(&evil, &link).unwrap();
    let error = ensure.apply(&bench.world, &context, before.as_ref(), &change).await.unwrap_err();
    assert_eq!(error.code, Code::Denied);
    assert_eq!(error.missing, [format!("files:write:{}/**", evil.display())]);
    assert!(bench.live().await.is_none());
}

#[tokio::test]
async fn a_plan_shows_a_program_that_cannot_run() {
    let bench = Bench::new();
    bench.started(json!({})).await;
    let plain = bench.path("plain");
    std::fs::write(&plain, "text").unwrap();
    for program in [bench.path("missing"), plain, bench.path("")] {
        let context = bench.context(Mode::Plan, &["*"]);
        let error = bench.change(&context, &sleeping(json!({ "exec": [program] }))).await.unwrap_err();
        assert_eq!(error.code, Code::ProgramMissing, "{error}");
    }
    assert_eq!(bench.live().await.unwrap().state, State::Running);
}

#[tokio::test]
async fn a_plan_shows_a_mount_that_is_not_there() {
    let bench = Bench::new();
    let missing = bench.path("missing");
    let ensure = sleeping(json!({ "volumes": [format!("{0}:{0}", missing.display())] }));
    let error = bench.change(&bench.context(Mode::Plan, &["*"]), &ensure).await.unwrap_err();
    assert_eq!(error.code, Code::Argument, "{error}");
    let context = bench.context(Mode::Plan, &["*"]);
    let file = missing.join("config.toml");
    context.overlay.set(&context.key("files", None, &file.to_string_lossy()), Some(&json!({})));
    bench.change(&context, &ensure).await.unwrap();
}

#[tokio::test]
async fn a_plan_shows_a_user_that_does_not_exist() {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let bench = Bench::new();
    let ensure = sleeping(json!({ "user": "nobody-of-this-name" }));
    let error = bench.change(&bench.context(Mode::Plan, &["*"]), &ensure).await.unwrap_err();
    assert_eq!(error.code, Code::Argument);
    assert!(error.message.contains("nobody-of-this-name"), "{error}");
}

#[tokio::test]
async fn a_program_that_the_plan_writes_first_counts_as_there() {
    let bench = Bench::new();
    let program = bench.path("program");
    let context = bench.context(Mode::Plan, &["*"]);
    context.overlay.set(&context.key("files", None, &program.to_string_lossy()), Some(&json!({})));
    let (_, change) = bench.change(&context, &sleeping(json!({ "exec": [program] }))).await.unwrap();
    assert_eq!(change.action, Action::Create);
}

#[tokio::test]
async fn a_program_that_runs_as_described_needs_its_file_no_more() {
    let bench = Bench::new();
    let program = bench.path("program");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let more = json!({ "exec": [program, "1000"] });
    bench.started(more.clone()).await;
    std::fs::remove_file(&program).unwrap();
    let (_, change) = bench.change(&bench.run(&["*"]), &sleeping(more)).await.unwrap();
    assert_eq!(change.action, Action::None);
}

#[tokio::test]
async fn a_secret_without_a_value_leaves_the_old_program_running() {
    let bench = Bench::new();
    let before = bench.started(json!({})).await;
    let secret = serde_json::to_value(effect::Secret::named("token", "tag".to_owned())).unwrap();
    let ensure = sleeping(json!({ "secrets": { "TOKEN": secret } }));
    let error = bench.ensure(&bench.run(&["*"]), &ensure).await.unwrap_err();
    assert_eq!(error.code, Code::SecretSource);
    assert_eq!(bench.live().await.unwrap().pid, before.pid);
}
