//! Every call as reflection describes it, by grpcio: valid, malformed, oversized.

use std::path::Path;
use std::process::{Command, Stdio};

use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage, python};

#[expect(clippy::disallowed_methods, reason = "the test is about this client")]
fn client() -> Command {
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/client.py")).stdin(Stdio::null());
    command
}

#[tokio::test]
async fn every_call_takes_what_is_right_and_refuses_the_rest_with_a_code() {
    let stage = Stage::open().await;
    let mut command = client();
    command.arg(stage.socket());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = timeout(PATIENCE * 3, output).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaints}");
    assert!(said.contains("calls: 42"), "{said}");
    let calls = stage.executor.calls.lock().unwrap().clone();
    for call in [
        "submit deploy.lua",
        "start nightly {\"force\":true}",
        "restart mcq",
        "interrupt true",
        "go on Wish { patience: Some(5s), asks: true, doubts: [(Some(\"main:3\"), \"redo\")], limits: [], leave_plan: false }",
    ] {
        assert!(calls.iter().any(|one| one == call), "{call} is missing among {calls:#?}");
    }
    // Neither a malformed nor an oversized call has begun anything.
    assert_eq!(calls.iter().filter(|call| call.starts_with("submit")).count(), 1, "{calls:#?}");
    assert_eq!(calls.iter().filter(|call| call.starts_with("start")).count(), 1, "{calls:#?}");
}
