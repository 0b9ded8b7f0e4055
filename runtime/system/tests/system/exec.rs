use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use effect::{Code, Mode};
use serde_json::json;

use crate::bench::{Bench, eventually, secret};

fn shell(text: &str) -> Vec<String> {
    vec!["/bin/sh".into(), "-c".into(), text.into()]
}

#[tokio::test]
async fn a_program_returns_its_output_and_code() {
    let script = Bench::new().run().await;
    let argv = shell("cat; echo oops >&2; exit 3");
    let out = script.done("exec.run", json!({ "argv": argv, "stdin": "hello", "check": false })).await;
    assert_eq!(out, json!({ "code": 3, "stdout": "hello", "stderr": "oops\n", "truncated": false }));
}

#[tokio::test]
async fn a_failing_program_is_an_error_with_its_last_lines() {
    let script = Bench::new().run().await;
    let error = script.fails("exec.run", json!({ "argv": shell("seq 1 100 >&2; exit 2") })).await;
    assert_eq!(error.code, Code::ExitStatus);
    assert!(error.message.contains("exit code 2"), "{error}");
    assert_eq!(error.details.last().unwrap(), "100");
    assert_eq!(error.details.len(), 12);
}

#[tokio::test]
async fn the_environment_is_what_the_call_gives() {
    let script = Bench::new().run().await;
    let out = script.done("exec.run", json!({ "argv": ["env"], "env": { "GREETING": "hello" } })).await;
    let mut names: Vec<&str> =
        out["stdout"].as_str().unwrap().lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["GREETING", "MCRUN_IDEMPOTENCY_KEY", "PATH"]);
}

#[tokio::test]
async fn a_signal_is_told_apart_from_an_exit_code() {
    let script = Bench::new().run().await;
    let out = script.done("exec.run", json!({ "argv": shell("kill -9 $$"), "check": false })).await;
    assert_eq!((out["code"].clone(), out["signal"].clone()), (json!(137), json!(9)));
}

#[tokio::test]
async fn output_beyond_its_limit_is_cut_and_its_end_is_shown_in_errors() {
    let script = Bench::new().run().await;
    let argv = shell("head -c 300000 /dev/zero | tr '\\0' x; echo; echo the end; exit 1");
    let arguments = json!({ "argv": argv, "output_limit": "1KiB", "check": false });
    let out = script.done("exec.run", arguments.clone()).await;
    assert_eq!(out["truncated"], true);
    assert_eq!(out["stdout"].as_str().unwrap().len(), 1024);
    let mut checked = arguments;
    checked["check"] = json!(true);
    let error = script.fails("exec.run", checked).await;
    assert_eq!(error.details.last().unwrap(), "the end");
}

#[tokio::test]
async fn a_program_that_overstays_is_asked_and_then_killed_with_its_children() {
    let bench = Bench::new();
    let script = bench.run().await;
    let pids = bench.root().join("pids");
    let text = format!(
        "trap '' TERM; sleep 1000 & echo $! > {0}; echo $$ >> {0}; echo waiting; while :; do sleep 1000; done",
        pids.display()
    );
    let error = script.fails("exec.run", json!({ "argv": shell(&text), "timeout": "300ms" })).await;
    assert_eq!(error.code, Code::TimedOut);
    assert_eq!(error.details, ["waiting"]);
    for pid in read_pids(&pids) {
        eventually("the process is gone", || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn what_a_program_leaves_in_its_session_ends_with_it() {
    let bench = Bench::new();
    let script = bench.run().await;
    let pids = bench.root().join("pids");
    // `set -m` gives the job a process group of its own.
    let text = format!("set -m; sleep 1000 & echo $! > {}", pids.display());
    script.done("exec.run", json!({ "argv": shell(&text) })).await;
    for pid in read_pids(&pids) {
        eventually("the job is gone", || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let script = Bench::new().run().await;
    let error = script.fails("exec.run", json!({ "argv": ["no-such-program"] })).await;
    assert_eq!(error.code, Code::ExecFailed);
    let error = script.fails("exec.run", json!({ "argv": ["true"], "cwd": "missing" })).await;
    assert_eq!(error.code, Code::ExecFailed);
    let error = script.fails("exec.run", json!({ "argv": [] })).await;
    assert_eq!(error.code, Code::Argument);
}

#[tokio::test]
async fn the_capability_is_the_resolved_program() {
    let bench = Bench::new();
    std::os::unix::fs::symlink("/bin/sh", bench.root().join("innocent")).unwrap();
    let real = Path::new("/bin/sh").canonicalize().unwrap();
    let script = bench.script(Mode::Run, &[&format!("exec:write:{}/innocent", bench.root().display())]).await;
    let error = script.fails("exec.run", json!({ "argv": ["./innocent", "-c", "true"] })).await;
    assert_eq!(error.missing, [format!("exec:write:{}", real.display())]);
    let script = bench.script(Mode::Run, &[&format!("exec:write:{}", real.display())]).await;
    script.done("exec.run", json!({ "argv": ["./innocent", "-c", "true"] })).await;
}

#[tokio::test]
async fn a_secret_reaches_a_program_in_memory_and_is_masked_in_its_output() {
    let real = Path::new("/bin/sh").canonicalize().unwrap();
    let bench = Bench::new().with_secret("db", "hunter2", &[&format!("exec:{}", real.display())]);
    let script = bench.run().await;
    let db = secret(&script, "db").await;
    let text = "echo ${PASSWORD:-unset}; wc -c < $PASSWORD_FILE; cat $PASSWORD_FILE";
    let out = script.done("exec.run", json!({ "argv": shell(text), "secrets": { "PASSWORD": db } })).await;
    assert_eq!(out["stdout"], "unset\n7\nsecret(db)");
    let error = script.fails("exec.run", json!({ "argv": ["true"], "secrets": { "PASSWORD": db } })).await;
    assert_eq!(error.code, Code::SecretPlace);
}

#[tokio::test]
async fn a_plan_lists_a_run_and_goes_on_with_what_is_assumed() {
    let bench = Bench::new();
    let script = bench.plan().await;
    let out = script.done("exec.run", json!({ "argv": ["touch", "made"], "assume": { "code": 0 } })).await;
    assert_eq!(out, json!({ "code": 0 }));
    assert_eq!(script.steps()[0].subject, "touch made");
    assert!(!bench.root().join("made").exists());
}

#[tokio::test]
async fn a_run_that_is_given_up_ends_its_program() {
    let bench = Bench::new();
    let script = bench.run().await;
    let pids = bench.root().join("pids");
    let text = format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 1000", pids.display());
    tokio::select! {
        _ = script.call("exec.run", json!({ "argv": shell(&text) })) => panic!("the program ended"),
        () = eventually("the program runs", || pids.exists()) => {}
    }
    for pid in read_pids(&pids) {
        eventually("the process is gone", || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn a_program_does_not_outlive_its_watcher() {
    let bench = Bench::new();
    let script = bench.run().await;
    let pids = bench.root().join("pids");
    let text =
        format!("sleep 1000 & echo $! > {0}; echo $$ >> {0}; kill -9 $PPID; sleep 1000", pids.display());
    let error = script.fails("exec.run", json!({ "argv": shell(&text) })).await;
    assert!(error.message.contains("watcher"), "{error}");
    for pid in read_pids(&pids) {
        eventually("the process is gone", || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn a_program_need_not_read_its_input_and_gets_no_descriptor_but_three() {
    let script = Bench::new().run().await;
    let out = script
        .done("exec.run", json!({ "argv": ["ls", "/proc/self/fd"], "stdin": "x".repeat(1 << 20) }))
        .await;
    // The fourth is the folder that `ls` reads.
    assert_eq!(out["stdout"], "0\n1\n2\n3\n");
}

/// The host is an example program that performs one `exec.run`.
#[tokio::test]
async fn a_program_and_its_children_die_with_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let text = format!(
        "set -m; sleep 1000 & echo $! > {0}.new; echo $$ >> {0}.new; mv {0}.new {0}; sleep 1000",
        pids.display()
    );
    let mut host = start_host(folder.path(), &text);
    eventually("the program runs", || pids.exists()).await;
    host.kill().unwrap();
    host.wait().unwrap();
    let pids = read_pids(&pids);
    assert_eq!(pids.len(), 2);
    for pid in pids {
        eventually("the process is gone", || !is_alive(pid)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a test starts the host that it kills")]
fn start_host(folder: &Path, text: &str) -> std::process::Child {
    let tests = std::env::current_exe().unwrap();
    let host = tests.parent().unwrap().parent().unwrap().join("examples/host");
    std::process::Command::new(host).arg0("host").arg(folder).arg(text).spawn().unwrap()
}

fn read_pids(path: &PathBuf) -> Vec<i32> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| line.trim().parse().unwrap()).collect()
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
