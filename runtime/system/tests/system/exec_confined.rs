use std::path::Path;

use effect::{Code, Mode};
use serde_json::json;

use crate::bench::Bench;

async fn attempt(bench: &Bench, text: &str) -> (i64, String) {
    let script = bench.run().await;
    let argv = ["/bin/sh", "-c", text];
    let out = script.done("exec.query", json!({ "argv": argv, "check": false })).await;
    (
        out["code"].as_i64().unwrap(),
        format!("{}{}", out["stdout"].as_str().unwrap(), out["stderr"].as_str().unwrap()),
    )
}

#[tokio::test]
async fn a_query_reads_and_writes_only_to_its_output() {
    let bench = Bench::new();
    std::fs::write(bench.root().join("a"), "content\n").unwrap();
    assert_eq!(attempt(&bench, "cat a | tee /dev/null; echo x > /dev/null").await, (0, "content\n".into()));
}

#[tokio::test]
async fn a_query_changes_nothing_whatever_it_tries() {
    let bench = Bench::new();
    let file = bench.root().join("a");
    std::fs::write(&file, "content\n").unwrap();
    std::fs::create_dir(bench.root().join("folder")).unwrap();
    let before = std::fs::metadata(&file).unwrap();
    for text in [
        "echo x > a",
        "echo x >> a",
        ": > a",
        "truncate -s 0 a",
        "rm a",
        "mv a b",
        "ln a b",
        "ln -s a b",
        "cp a b",
        "mkdir new",
        "rmdir folder",
        "mkfifo pipe",
        "chmod 777 a",
        "chown 1:1 a",
        "touch a",
        "echo x > /tmp/mcrun-query-was-here",
        "echo x > /dev/shm/mcrun-query-was-here",
        "kill -9 $PPID",
    ] {
        let (code, output) = attempt(&bench, text).await;
        assert_ne!(code, 0, "{text}: {output}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "content\n");
    let after = std::fs::metadata(&file).unwrap();
    assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    assert_eq!(after.permissions(), before.permissions());
    let left: Vec<_> =
        std::fs::read_dir(bench.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(!Path::new("/tmp/mcrun-query-was-here").exists());
}

/// `bash` opens sockets by itself through /dev/tcp.
#[tokio::test]
async fn a_query_opens_no_socket() {
    let bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{}", listener.local_addr().unwrap().port());
    let script = bench.run().await;
    let free = script.done("exec.run", json!({ "argv": ["bash", "-c", connect], "check": false })).await;
    assert_eq!(free["code"], 0, "{free}");
    let confined =
        script.done("exec.query", json!({ "argv": ["bash", "-c", connect], "check": false })).await;
    assert_ne!(confined["code"], 0);
    assert!(confined["stderr"].as_str().unwrap().contains("not permitted"), "{confined}");
}

#[tokio::test]
async fn a_query_runs_in_a_plan_and_needs_only_reading() {
    let bench = Bench::new();
    let program = Path::new("/bin/cat").canonicalize().unwrap();
    let allow = format!("exec:read:{}", program.display());
    let script = bench.script(Mode::Plan, &[&allow]).await;
    let out = script.done("exec.query", json!({ "argv": ["cat"], "stdin": "hello" })).await;
    assert_eq!(out["stdout"], "hello");
    let script = bench.script(Mode::Run, &[&allow]).await;
    let error = script.fails("exec.run", json!({ "argv": ["cat"] })).await;
    assert_eq!(error.code, Code::Denied);
}

#[test]
fn this_kernel_confines() {
    assert_eq!(system::exec::confinement_missing(), None);
}
